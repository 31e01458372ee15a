"""The latent flow: velocities of the latents on the occupied voxels, given the time and an image's tokens."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..sparse.convolution import SparseConv3d
from ..sparse.resample import downsample, upsample
from ..sparse.tensor import SparseTensor, VoxelSet
from .layers import (
    AbsolutePositionEmbedder,
    FlowMapEmbedder,
    FlowNetwork,
    LayerNorm32,
    TimestepEmbedder,
    initialise_linears,
    is_second_family,
    modulation_layer,
    zero_parameters,
)
from .rotary import grid_rotation
from .sparse_layers import ModulatedSparseTransformerCrossBlock


class SparseResBlock3d(nn.Module):
    """Two 3 x 3 x 3 convolutions added to the input; the time embedding [B, emb_channels] modulates in between.

    With ``halve`` the block first averages the voxels in each cell of a grid twice as coarse. If ``voxels`` are given,
    it first copies the features of the coarse cells to these finer voxels. The skip path starts from the resampled
    input. (Norms and products are the same for all copies, so they are computed once for each cell.)
    """

    def __init__(self, channels: int, emb_channels: int, out_channels: int, *, halve: bool = False) -> None:
        super().__init__()
        self.halve = halve
        self.norm1 = LayerNorm32(channels, elementwise_affine=True, eps=1e-6)
        self.norm2 = LayerNorm32(out_channels, elementwise_affine=False, eps=1e-6)
        self.conv1 = SparseConv3d(channels, out_channels, 3)
        self.conv2 = SparseConv3d(out_channels, out_channels, 3)
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(emb_channels, 2 * out_channels))
        self.skip_connection = nn.Identity() if channels == out_channels else nn.Linear(channels, out_channels)
        initialise_linears(self)
        zero_parameters(self.conv2)

    def forward(self, x: SparseTensor, embedding: Tensor, voxels: VoxelSet | None = None) -> SparseTensor:
        """Features [N, channels] and embedding [B, emb_channels] to [M, out_channels].

        M counts the coarse cells with ``halve``, the given ``voxels``, or else the same N voxels.
        """
        if self.halve:
            x = downsample(x, 2)
        h = self.conv1(x.replace(F.silu(self.norm1(x.feats))), upsample=voxels)
        scale, shift = (h.voxels.spread(part) for part in self.emb_layers(embedding).chunk(2, dim=-1))
        h = self.conv2(h.replace(F.silu(self.norm2.modulated(h.feats, scale, shift))))
        x = x.replace(self.skip_connection(x.feats))
        return h.replace(h.feats + (x if voxels is None else upsample(x, voxels, 2)).feats)


class LatentFlow(FlowNetwork):
    """Velocity of latents [N, in_channels] at times [B] (flow time x 1000), given tokens [B, L, cond_channels].

    Residual blocks around a transformer, as a U-Net: for each entry of ``io_block_channels`` the input blocks halve the
    grid once and the output blocks undo it. The published model is called SLatFlowModel, in TRELLIS and in TRELLIS.2:
    ``is_second_family`` tells them apart. The second one has no input and output blocks and usually rotary positions;
    how it was initialised does not matter here.

    Args:
        patch_size: side, in voxels, of a cell of the transformer's grid: ``2 ** len(io_block_channels)``. Without
            ``io_block_channels`` the transformer works on the voxels themselves and ``patch_size`` has no effect.
        num_io_res_blocks: residual blocks per level and direction.
        use_skip_connection: give an output block also the output of the input block at the same level.
        share_mod: compute the transformer's modulation once for all blocks. The residual blocks keep their own.
        use_fp16: keep all matrices except the first, the last and those of the time embedding in half precision.
        flow_map: whether it is a flow map, see ``FlowNetwork``.
        dtype: the name of the precision of these matrices, if they are to be in another.
    """

    def __init__(
        self,
        resolution: int,
        in_channels: int,
        model_channels: int,
        cond_channels: int,
        out_channels: int,
        num_blocks: int,
        num_heads: int | None = None,
        num_head_channels: int = 64,
        mlp_ratio: float = 4,
        patch_size: int = 2,
        num_io_res_blocks: int = 2,
        io_block_channels: Sequence[int] | None = None,
        pe_mode: str = "ape",
        use_fp16: bool = False,
        use_skip_connection: bool = True,
        share_mod: bool = False,
        qk_rms_norm: bool = False,
        flow_map: bool = False,
        qk_rms_norm_cross: bool = False,
        initialization: str | None = None,
        dtype: str | None = None,
    ) -> None:
        super().__init__()
        self.second_family = is_second_family(pe_mode, initialization)
        if io_block_channels and patch_size != 2 ** len(io_block_channels):
            raise ValueError(f"patch_size {patch_size} does not fit {len(io_block_channels)} io_block_channels")
        self.resolution = resolution
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.model_channels = model_channels
        self.use_skip_connection = use_skip_connection
        levels = list(pairwise([*(io_block_channels or []), model_channels]))  # (channels, channels one level in)
        outer = levels[0][0] if levels else model_channels

        self.t_embedder = TimestepEmbedder(model_channels)
        self.map_embedder = FlowMapEmbedder(model_channels) if flow_map else None
        self.adaLN_modulation = modulation_layer(model_channels) if share_mod else nn.Identity()
        self.input_layer = nn.Linear(in_channels, outer)
        self.input_blocks = nn.ModuleList()
        for channels, inner in levels:
            for _ in range(num_io_res_blocks - 1):
                self.input_blocks.append(SparseResBlock3d(channels, model_channels, channels))
            self.input_blocks.append(SparseResBlock3d(channels, model_channels, inner, halve=True))
        heads = num_heads or model_channels // num_head_channels
        self.pos_embedder = AbsolutePositionEmbedder(model_channels) if pe_mode == "ape" else None
        self.rotary_channels = model_channels // heads if pe_mode == "rope" else 0  # of a head
        self.blocks = nn.ModuleList(
            ModulatedSparseTransformerCrossBlock(
                model_channels,
                cond_channels,
                heads,
                mlp_ratio=mlp_ratio,
                qk_rms_norm=qk_rms_norm,
                qk_rms_norm_cross=qk_rms_norm_cross,
                share_mod=share_mod,
                own_mod=self.second_family,
            )
            for _ in range(num_blocks)
        )
        self.out_blocks = nn.ModuleList()
        width = 2 if use_skip_connection else 1
        for channels, inner in reversed(levels):
            self.out_blocks.append(SparseResBlock3d(width * inner, model_channels, channels))
            for _ in range(num_io_res_blocks - 1):
                self.out_blocks.append(SparseResBlock3d(width * channels, model_channels, channels))
        self.out_layer = nn.Linear(outer, out_channels)
        initialise_linears(self.input_layer)
        zero_parameters(self.out_layer)
        if use_fp16 or dtype:
            self.convert_to(dtype or "float16")

    def half_modules(self) -> list[nn.Module]:
        """The modules whose matrices may be kept in half precision."""
        return [self.input_blocks, self.blocks, self.out_blocks]

    def forward(
        self,
        x: SparseTensor,
        t: Tensor,
        cond: Tensor,
        to: Tensor | None = None,
        guidance: Tensor | None = None,
        *,
        concat_cond: SparseTensor | None = None,
    ) -> SparseTensor:
        """Latents [N, in_channels], times [B] and tokens [B, L, cond_channels] to [N, out_channels].

        A flow map also gets its second times ``to`` [B] and the guidance strengths [B]. The channels of
        ``concat_cond``, on the same voxels, follow those of ``x``; together they are ``in_channels``. Raises ValueError
        for another number of channels, or other voxels.
        """
        if concat_cond is not None:
            if concat_cond.voxels is not x.voxels and not torch.equal(concat_cond.coords, x.coords):
                raise ValueError("the latents and those they are conditioned on have different voxels")
            x = x.replace(torch.cat([x.feats, concat_cond.feats], dim=1))
        if x.feats.shape[1] != self.in_channels:
            raise ValueError(f"expected latents [N, {self.in_channels}], got {list(x.feats.shape)}")
        dtype = self.dtype
        time = self.embedded_times(t, to, guidance)
        modulation = self.adaLN_modulation(time).to(dtype)
        time, context = time.to(dtype), cond.to(dtype)

        h = x.replace(self.input_layer(x.feats).to(dtype))
        outer = []  # for each input block: the voxels it was given and the features it returned
        for block in self.input_blocks:
            voxels = h.voxels
            h = block(h, time)
            outer.append((voxels, h.feats))
        if self.pos_embedder is not None:
            h = h.replace(h.feats + self.pos_embedder(h.coords[:, 1:]).to(dtype))
        rotation = grid_rotation(h.coords[:, 1:], self.rotary_channels) if self.rotary_channels else None
        for block in self.blocks:
            h = block(h, modulation, context, rotation)
        for block in self.out_blocks:
            voxels, skip = outer.pop()
            if self.use_skip_connection:
                h = h.replace(torch.cat([h.feats, skip], dim=1))
            h = block(h, time, None if voxels is h.voxels else voxels)
        # TRELLIS was trained with this norm in the torso's dtype, TRELLIS.2 with it in that of the latents.
        feats = h.feats.to(x.dtype) if self.second_family else h.feats
        return x.replace(self.out_layer(F.layer_norm(feats, feats.shape[-1:]).to(x.dtype)))
