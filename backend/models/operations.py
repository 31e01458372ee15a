"""The least work that a stage's networks must do: floating-point operations, and bytes to move.

A multiplication and an addition are two operations. Only matrix products, convolutions and attention count: a sparse
convolution by the rows that it gathers, attention in windows by the voxels in the windows. The bytes are the weights,
read once per call.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn

from ..config import SamplerSettings
from ..sampling import time_steps
from ..sparse.convolution import SparseConv3d
from ..sparse.tensor import VoxelSet
from .image_encoder import ImageEncoder
from .latent_flow import LatentFlow, SparseResBlock3d
from .latent_vae import LatentMeshDecoder
from .layers import FlowNetwork
from .structure_flow import StructureFlow
from .structure_vae import StructureDecoder, Upsample

#: Layers whose input is one vector per object, that of the times.
PER_OBJECT = ("t_embedder", "map_embedder", "adaLN_modulation", "emb_layers")


@dataclass(frozen=True)
class Work:
    """The least work: floating-point operations, and bytes to read."""

    operations: float
    bytes: float

    def __add__(self, other: Work) -> Work:
        return Work(self.operations + other.operations, self.bytes + other.bytes)

    def __mul__(self, times: int) -> Work:
        return Work(self.operations * times, self.bytes * times)

    def seconds(self, matmul_rate: float, copy_rate: float) -> float:
        """The floor in seconds, on a machine with these operations and bytes per second."""
        return max(self.operations / matmul_rate, self.bytes / copy_rate)


def image_encoder(network: ImageEncoder) -> Work:
    """The work of one call with one image of the encoder's own size."""
    patches = network.grid**2
    tokens = 1 + network.register_tokens.shape[1] + patches
    attention = len(network.blocks) * _attention(tokens, tokens, network.cls_token.shape[-1])
    embedding = 2 * patches * network.patch_embed.proj.weight.numel()
    return _work(network, embedding + _linears(network, tokens) + attention)


def structure_flow(network: StructureFlow, context: int) -> Work:
    """The work of one call for one object with ``context`` condition tokens."""
    tokens = (network.resolution // network.patch_size) ** 3
    attention = len(network.blocks) * _attention(tokens, tokens + context, network.model_channels)
    return _work(network, _linears(network, tokens, context) + attention)


def structure_decoder(network: StructureDecoder, side: int) -> Work:
    """The work of one call for latents of ``side``^3."""
    operations = _convolutions([network.input_layer, network.middle_block], side**3)
    for block in network.blocks:
        operations += _convolutions([block], side**3)
        side *= 2 if isinstance(block, Upsample) else 1
    return _work(network, operations + _convolutions([network.out_layer], side**3))


def latent_flow(network: LatentFlow, fine: int, coarse: int, context: int) -> Work:
    """The work of one call for one object of ``fine`` voxels with ``context`` condition tokens. ``coarse`` is the
    number of cells of the transformer's grid, see ``cells_of``."""
    operations = _linears(network.t_embedder, 1) + _linears(network.adaLN_modulation, 1)
    operations += _linears(network.input_layer, fine) + _linears(network.out_layer, fine)
    block: Any
    inner = fine
    for block in network.input_blocks:
        inner = coarse if block.halve else inner
        operations += _linears(block, inner) + _convolutions([block], inner)
    for i, block in enumerate(network.out_blocks):
        cells = coarse if i == 0 else fine  # the first copies cells to voxels, after everything that works on cells
        operations += _linears(block, cells) + _convolutions([block.conv1], cells) + _convolutions([block.conv2], fine)
    attention = len(network.blocks) * _attention(coarse, coarse + context, network.model_channels)
    return _work(network, operations + _linears(network.blocks, coarse, context) + attention)


def cells_of(network: LatentFlow, voxels: VoxelSet) -> int:
    """How many cells of the transformer's grid hold these voxels. That grid is at most twice as coarse as theirs."""
    halves = any(cast(SparseResBlock3d, block).halve for block in network.input_blocks)
    return len(voxels.coarse(2).voxels) if halves else len(voxels)


def mesh_decoder(network: LatentMeshDecoder, voxels: VoxelSet) -> Work:
    """The work of one call for one object."""
    count, channels = len(voxels), network.pos_embedder.channels
    operations = _linears(network.input_layer, count) + _linears(network.blocks, count)
    block: Any
    for block in network.blocks:
        size, shift = block.attn.window_size, block.attn.shift
        operations += sum(_attention(n, n, channels) for n in _group_sizes(voxels, size, shift))
    for block in network.upsample:
        operations += _convolutions([block.skip_connection], count)
        # The first convolution's 27 taps cover 8 of the voxels before the split.
        operations += _convolutions([block.out_layers[0]], 8 * count) * 8 / 27
        count *= 8
        operations += _convolutions([block.out_layers[3]], count)
    return _work(network, operations + _linears(network.out_layer, count))


def network_calls(flow: FlowNetwork, sampler: SamplerSettings) -> int:
    """How many times a flow is called for one sample: twice in a step with guidance.

    A flow map takes guidance as an input, and with the strength -1 only the unconditional velocity counts: both need
    one call.
    """
    if flow.flow_map or sampler.guidance in (0, -1):
        return sampler.steps
    times = [float(t) for t in time_steps(sampler.steps, sampler.rescale_t)[:-1]]
    guided = sum(sampler.interval[0] <= t <= sampler.interval[1] for t in times)
    return sampler.steps + guided


def _work(network: nn.Module, operations: float) -> Work:
    return Work(operations, sum(weights.numel() * weights.element_size() for weights in network.parameters()))


def _linears(module: nn.Module, tokens: int, context: int = 0) -> float:
    """Operations of a module's linear layers on ``tokens`` vectors, or on ``context`` in layers that take those."""
    operations = 0.0
    for name, layer in module.named_modules():
        if isinstance(layer, nn.Linear):
            single = any(part in PER_OBJECT for part in name.split("."))
            rows = 1 if single else context if name.endswith("to_kv") else tokens
            operations += 2 * rows * layer.weight.numel()
    return operations


def _convolutions(modules: Iterable[nn.Module], cells: int) -> float:
    """Operations of dense and sparse convolutions with ``cells`` output cells, including those for padding."""
    layers = [layer for module in modules for layer in module.modules()]
    weights = [layer.weight for layer in layers if isinstance(layer, nn.Conv3d)]
    weights += [layer.conv.weight for layer in layers if isinstance(layer, SparseConv3d)]
    return 2.0 * cells * sum(weight.numel() for weight in weights)


def _attention(queries: int, keys: int, channels: int) -> float:
    return 4.0 * queries * keys * channels


def _group_sizes(voxels: VoxelSet, window: int | None, shift: int) -> list[int]:
    """The number of voxels in each group that attends to itself: all voxels, or those of a window."""
    if window is None:
        return [len(voxels)]
    cells = (voxels.coords[:, 1:] + shift) // window
    return torch.unique(cells, dim=0, return_counts=True)[1].tolist()
