"""A small pair of decoders of TRELLIS.2's kind, of shapes and of materials, and the encoders that they learn with.

Their latents come from the encoders. The objects are procedural: see ``decoder_pair_stages`` for how they are trained.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...material_stages import decode_materials, material_mesh
from ...mesh import MaterialMesh
from ...models.dual_grid_vae import DualGrid, DualGridDecoder, encoder_input
from ...models.sparse_unet import (
    ChannelToSpaceBlock,
    SpaceToChannelBlock,
    SparseConvNeXtBlock,
    SparseUnetDecoder,
    SparseUnetEncoder,
)
from ...sparse.convolution import SubmanifoldConv3d
from ...sparse.resample import Splits, splits
from ...sparse.tensor import SparseTensor, VoxelSet
from ...weights.checkpoints import NETWORKS, load_network
from ..loop import Schedule
from ..objects.dual_grid import VoxelObject

#: What each network is, by its published name.
KINDS = {
    "shape_encoder": "FlexiDualGridVaeEncoder",
    "shape_decoder": "FlexiDualGridVaeDecoder",
    "texture_encoder": "SparseUnetVaeEncoder",
    "texture_decoder": "SparseUnetVaeDecoder",
}

#: Base colour, metallic, roughness and alpha.
_MATERIAL_CHANNELS = 6

#: The logarithm of the latents' variance at the start. With noise as large as the latents nothing comes through.
_LOGVAR = -4.0

#: How large the neighbours' part of a convolution is at the start, beside what an initial weight usually is.
_NEIGHBOURS = 0.1


class Widths(NamedTuple):
    """The channels and the number of ConvNeXt blocks of each level, in the order in which a network passes them."""

    channels: tuple[int, ...]
    blocks: tuple[int, ...]


@dataclass(frozen=True)
class PairPreset:
    """Everything that defines a pair."""

    resolution: int  # of the objects' grid
    latent_channels: int
    encoder: Widths
    decoder: Widths
    shape: Schedule
    texture: Schedule

    @property
    def levels(self) -> int:
        """How often a latent's cell is split."""
        return len(self.decoder.channels) - 1

    @property
    def networks(self) -> dict[str, dict[str, Any]]:
        """The constructor arguments of the four networks, for the JSON files."""
        down, up = (
            {"model_channels": list(w.channels), "num_blocks": list(w.blocks), "latent_channels": self.latent_channels}
            for w in (self.encoder, self.decoder)
        )
        return {
            "shape_encoder": down,
            "shape_decoder": up | {"resolution": self.resolution},
            "texture_encoder": down | {"in_channels": _MATERIAL_CHANNELS},
            "texture_decoder": up | {"out_channels": _MATERIAL_CHANNELS, "pred_subdiv": False},
        }


PAIRS: dict[str, PairPreset] = {
    # Latents on a grid of 16^3, as fine as the structures of the bundled model; objects on one of 64^3. An encoder's
    # convolutions leave an eighth of the channels for each voxel: 64, so that six channels fit through.
    "mini": PairPreset(
        resolution=64,
        latent_channels=16,
        encoder=Widths((16, 64, 64), (0, 1, 1)),
        decoder=Widths((64, 32, 32), (1, 1, 1)),
        shape=Schedule(steps=2600, batch=2, rate=3e-3, warmup=50, ema=0.995, matrix_rate=0.02),
        # Slowly: at the shape's rate what the start lets through of some channels is lost before it is learnt.
        texture=Schedule(steps=800, batch=2, rate=1e-3, warmup=50, ema=0.99, matrix_rate=0.005),
    ),
    "smoke": PairPreset(
        resolution=16,
        latent_channels=4,
        encoder=Widths((8, 16, 16), (0, 1, 1)),
        decoder=Widths((16, 8, 8), (1, 1, 0)),
        shape=Schedule(steps=2, batch=2, rate=1e-4, warmup=1),
        texture=Schedule(steps=2, batch=2, rate=1e-4, warmup=1),
    ),
}


class Batch(NamedTuple):
    """Objects, one after another, and how their latents' cells are split into their voxels."""

    voxels: VoxelSet  # M
    grid: DualGrid  # [M, ...]
    materials: Tensor  # [M, 6]
    splits: Splits


def batch_of(objects: Sequence[VoxelObject], levels: int, device: torch.device) -> Batch:
    """Join objects for decoders that split their latents' cells ``levels`` times."""
    coords = torch.cat([F.pad(each.coords, (1, 0), value=item) for item, each in enumerate(objects)])
    voxels = VoxelSet(coords.to(device), len(objects))
    grid = DualGrid(*(torch.cat(parts).to(device) for parts in zip(*(each.grid for each in objects), strict=True)))
    return Batch(voxels, grid, torch.cat([each.materials for each in objects]).to(device), splits(voxels, levels))


class Gaussians(NamedTuple):
    """What an encoder says of latents: their means, [N, C], and the logarithms of their variances."""

    mean: SparseTensor
    logvar: SparseTensor

    def draw(self, generator: torch.Generator) -> SparseTensor:
        """A sample."""
        noise = torch.randn(self.mean.feats.shape, generator=generator).to(self.mean.device)
        return self.mean.replace(self.mean.feats + (0.5 * self.logvar.feats).exp() * noise)

    def kl(self) -> Tensor:
        """The Kullback-Leibler divergence from N(0, 1), mean over elements."""
        mean, logvar = self.mean.feats, self.logvar.feats
        return 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()


class Autoencoder(nn.Module):
    """One part of a pair: an encoder and its decoder."""

    part: ClassVar[str]

    def __init__(self, encoder: SparseUnetEncoder, decoder: SparseUnetDecoder) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    @classmethod
    def names(cls) -> tuple[str, str]:
        """Of the encoder and the decoder, in ``KINDS``."""
        return f"{cls.part}_encoder", f"{cls.part}_decoder"

    @classmethod
    def untrained(cls, preset: PairPreset) -> Self:
        """One with initial weights: see ``start_as_resampling``."""
        made = cls(*(_kind(name)(**preset.networks[name]) for name in cls.names()))
        start_as_resampling(made)
        with torch.no_grad():
            made.encoder.to_latent.bias[preset.latent_channels :] = _LOGVAR
        return made

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The one that ``export.export_autoencoder`` has written into a folder. Raises CheckpointError."""
        return cls(*(load_network(folder / name, _kind(name), torch.device("cpu")) for name in cls.names()))

    def encode(self, batch: Batch) -> Gaussians:
        """The latents of the objects. Those of both parts are on the same cells."""
        return Gaussians(*self.encoder(SparseTensor(self.seen(batch), batch.voxels), return_raw=True)[1:])

    def seen(self, batch: Batch) -> Tensor:
        """What the encoder is given, [M, 6]."""
        raise NotImplementedError


class ShapeAutoencoder(Autoencoder):
    """The part for shapes, which predicts how cells are split."""

    part = "shape"
    decoder: DualGridDecoder

    def seen(self, batch: Batch) -> Tensor:
        """Vertices and crossed edges."""
        return encoder_input(batch.grid.vertices, batch.grid.crossed)


class TextureAutoencoder(Autoencoder):
    """The part for materials, which is told how cells are split."""

    part = "texture"

    def seen(self, batch: Batch) -> Tensor:
        """The materials, in -1..1."""
        return 2 * batch.materials - 1


class DecoderPair(NamedTuple):
    """Both parts."""

    shape: ShapeAutoencoder
    texture: TextureAutoencoder

    @classmethod
    def load(cls, folder: Path) -> DecoderPair:
        """The pair that was written into a folder. Raises CheckpointError."""
        return cls(ShapeAutoencoder.load(folder), TextureAutoencoder.load(folder))

    def decode(self, shape: SparseTensor, texture: SparseTensor, resolution: int) -> MaterialMesh:
        """The surface of one object's latents, with materials. Raises GenerationError if there is none."""
        decoded = self.shape.decoder(shape)
        painted = decode_materials(self.texture.decoder, texture, decoded.masks)
        return material_mesh(self.shape.decoder, decoded.features, painted, resolution)


def _kind(name: str) -> type[Any]:
    return NETWORKS[KINDS[name]]


@torch.no_grad()
def start_as_resampling(network: nn.Module) -> None:
    """Give a sparse U-net initial weights with which it nearly averages its voxels going down, and repeats them going
    up; in the manner of Aitken et al. 2017 (arXiv 1707.02937), who start so where a picture is enlarged.

    The published start lets next to nothing of the input through a narrow network: the input's own split and join
    carry one number a voxel there, and a convolution's sum depends on which neighbours exist more than on what they
    hold. So each convolution begins with its middle, a matrix with orthogonal rows or columns, the same one for all
    eight children.
    """
    for block in network.modules():
        if isinstance(block, SparseConvNeXtBlock):
            width = block.conv.weight.shape[0]
            _start(block.conv, _orthogonal(width, width))
        elif isinstance(block, ChannelToSpaceBlock):
            width = block.conv2.weight.shape[0]
            _start(block.conv1, _orthogonal(width, block.conv1.weight.shape[-1]).repeat(8, 1))
            _start(block.conv2, _orthogonal(width, width))
        elif isinstance(block, SpaceToChannelBlock):
            share = block.out_channels // 8
            _start(block.conv1, _orthogonal(share, block.conv1.weight.shape[-1]))
            _start(block.conv2, _orthogonal(block.out_channels, share).repeat(1, 8) / 8)


def _orthogonal(rows: int, columns: int) -> Tensor:
    """A matrix whose outputs vary as much as its inputs."""
    return nn.init.orthogonal_(torch.empty(rows, columns)) * math.sqrt(max(1.0, rows / columns))


def _start(convolution: SubmanifoldConv3d, middle: Tensor) -> None:
    weight = convolution.weight  # [C_out, 3, 3, 3, C_in]
    nn.init.normal_(weight, std=_NEIGHBOURS / math.sqrt(weight[0].numel()))
    weight[:, 1, 1, 1] += middle
    nn.init.zeros_(convolution.bias)
