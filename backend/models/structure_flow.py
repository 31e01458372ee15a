"""The structure flow: a diffusion transformer over dense latent volumes, conditioned on image tokens."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers import (
    AbsolutePositionEmbedder,
    FlowMapEmbedder,
    FlowNetwork,
    ModulatedTransformerCrossBlock,
    TimestepEmbedder,
    initialise_linears,
    is_second_family,
    modulation_layer,
    pixel_shuffle_3d,
    pixel_unshuffle_3d,
    zero_parameters,
)
from .rotary import grid_rotation


def grid_coordinates(side: int) -> Tensor:
    """The indices [side^3, 3] of a cubic grid, x slowest, z fastest, on the CPU."""
    axis = torch.arange(side, device="cpu")
    return torch.cartesian_prod(axis, axis, axis)


class StructureFlow(FlowNetwork):
    """Velocity of latents [B, in_channels, R, R, R] at times [B] (flow time x 1000), given tokens [B, L, C].

    The volume is cut into ``(R / patch_size)^3`` tokens. Without ``num_heads`` each head has ``num_head_channels``
    channels. ``share_mod`` computes the modulation once for all blocks. ``dtype`` is what the blocks compute in. With
    ``flow_map`` it is a flow map, see ``FlowNetwork``. The published model is called SparseStructureFlowModel, in
    TRELLIS and in TRELLIS.2: ``is_second_family`` tells them apart. The second one has no patches and usually rotary
    positions; how it was initialised does not matter here.
    """

    pos_emb: Tensor | None

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
        patch_size: int | None = None,
        pe_mode: str = "ape",
        use_fp16: bool = False,
        share_mod: bool = False,
        qk_rms_norm: bool = False,
        qk_rms_norm_cross: bool = False,
        flow_map: bool = False,
        initialization: str | None = None,
        dtype: str | None = None,
    ) -> None:
        super().__init__()
        second = is_second_family(pe_mode, initialization)
        patch_size = patch_size or (1 if second else 2)
        if resolution % patch_size:
            raise ValueError(f"resolution {resolution} is not a multiple of patch_size {patch_size}")
        self.resolution = resolution
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.model_channels = model_channels
        self.patch_size = patch_size
        heads = num_heads or model_channels // num_head_channels
        patch_volume = patch_size**3

        self.t_embedder = TimestepEmbedder(model_channels)
        self.map_embedder = FlowMapEmbedder(model_channels) if flow_map else None
        self.adaLN_modulation = modulation_layer(model_channels) if share_mod else nn.Identity()
        self.input_layer = nn.Linear(in_channels * patch_volume, model_channels)
        self.register_buffer("pos_emb", None)
        if pe_mode == "ape":
            # Computed on the CPU: on the meta device some of its operations import torch's compiler, which takes 4 s.
            positions = AbsolutePositionEmbedder(model_channels)(grid_coordinates(resolution // patch_size))
            self.pos_emb = positions.to(self.input_layer.weight.device)
        self.rotary_channels = model_channels // heads if pe_mode == "rope" else 0  # of a head
        self.blocks = nn.ModuleList(
            ModulatedTransformerCrossBlock(
                model_channels,
                cond_channels,
                heads,
                mlp_ratio=mlp_ratio,
                qk_rms_norm=qk_rms_norm,
                qk_rms_norm_cross=qk_rms_norm_cross,
                share_mod=share_mod,
                own_mod=second,
            )
            for _ in range(num_blocks)
        )
        self.out_layer = nn.Linear(model_channels, out_channels * patch_volume)
        initialise_linears(self.input_layer)
        zero_parameters(self.out_layer)
        if use_fp16 or dtype:
            self.convert_to(dtype or "float16")

    def forward(
        self, x: Tensor, t: Tensor, cond: Tensor, to: Tensor | None = None, guidance: Tensor | None = None
    ) -> Tensor:
        """[B, in_channels, R, R, R], times [B] and tokens [B, L, cond_channels] to [B, out_channels, R, R, R].

        A flow map also gets its second times ``to`` [B] and the guidance strengths [B]. Raises ValueError for latents
        of another shape.
        """
        expected = (x.shape[0], self.in_channels, *[self.resolution] * 3)
        if x.shape != expected:
            raise ValueError(f"expected latents {expected}, got {tuple(x.shape)}")
        dtype = self.dtype
        tokens = pixel_unshuffle_3d(x, self.patch_size).flatten(2).transpose(1, 2)
        side = self.resolution // self.patch_size
        h = self.input_layer(tokens)
        h = (h if self.pos_emb is None else h + self.pos_emb).to(dtype)
        rotation = None
        if self.rotary_channels:
            rotation = grid_rotation(grid_coordinates(side).to(x.device), self.rotary_channels)
        embedding = self.adaLN_modulation(self.embedded_times(t, to, guidance)).to(dtype)
        context = cond.to(dtype)
        for block in self.blocks:
            h = block(h, embedding, context, rotation)
        h = h.to(x.dtype)
        h = self.out_layer(F.layer_norm(h, h.shape[-1:]))
        return pixel_shuffle_3d(h.transpose(1, 2).unflatten(2, (side, side, side)), self.patch_size)
