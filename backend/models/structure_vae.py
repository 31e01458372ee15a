"""The structure VAE: a dense occupancy volume to and from a latent volume several times smaller per side.

The published pair maps 64^3 x 1 to 16^3 x 8 and back; a voxel is occupied where the decoder's logit is above zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers import (
    ChannelLayerNorm32,
    GroupNorm32,
    MixedPrecisionNetwork,
    pixel_shuffle_3d,
    posterior_sample,
    zero_parameters,
)


def output_norm(norm_type: str, channels: int) -> nn.Module:
    """The norm before the last convolution, "layer" (over channels) or "group" (32 groups); else ValueError."""
    if norm_type == "layer":
        return ChannelLayerNorm32(channels)
    if norm_type == "group":
        return GroupNorm32(32, channels)
    raise ValueError(f"norm_type must be 'layer' or 'group', not {norm_type!r}")


def output_layers(norm_type: str, channels: int, out_channels: int) -> nn.Sequential:
    """Norm, SiLU and a 3 x 3 x 3 convolution: [B, channels, X, Y, Z] to [B, out_channels, X, Y, Z]."""
    return nn.Sequential(output_norm(norm_type, channels), nn.SiLU(), nn.Conv3d(channels, out_channels, 3, padding=1))


class ResBlock(nn.Module):
    """Two 3 x 3 x 3 convolutions, each after a channel layer norm and a SiLU, added to the input [B, C, X, Y, Z]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1 = ChannelLayerNorm32(channels)
        self.norm2 = ChannelLayerNorm32(channels)
        self.conv1 = nn.Conv3d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv3d(channels, channels, 3, padding=1)
        zero_parameters(self.conv2)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, X, Y, Z] to the same shape."""
        h = self.conv1(F.silu(self.norm1(x)))
        return x + self.conv2(F.silu(self.norm2(h)))


class Downsample(nn.Module):
    """Halve a volume per side with a strided convolution."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(in_channels, out_channels, 2, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """[B, in_channels, X, Y, Z] to [B, out_channels, X / 2, Y / 2, Z / 2]."""
        return self.conv(x)


class Upsample(nn.Module):
    """Double a volume per side with a convolution and a pixel shuffle."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(in_channels, 8 * out_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, in_channels, X, Y, Z] to [B, out_channels, 2 X, 2 Y, 2 Z]."""
        return pixel_shuffle_3d(self.conv(x), 2)


def res_levels(channels: Sequence[int], blocks_per_level: int, resample: type[nn.Module]) -> nn.ModuleList:
    """``blocks_per_level`` residual blocks at each width, with a ``resample(in, out)`` between the levels."""
    blocks = nn.ModuleList(ResBlock(channels[0]) for _ in range(blocks_per_level))
    for previous, width in pairwise(channels):
        blocks.append(resample(previous, width))
        blocks.extend(ResBlock(width) for _ in range(blocks_per_level))
    return blocks


class VolumeNetwork(MixedPrecisionNetwork):
    """What encoder and decoder share: the torso consists of ``blocks`` and ``middle_block``."""

    middle_block: nn.Sequential

    def half_modules(self) -> list[nn.Module]:
        """The modules whose matrices may be kept in half precision."""
        return [self.blocks, self.middle_block]


class StructureEncoder(VolumeNetwork):
    """Occupancy [B, in_channels, R, R, R] to a Gaussian over latents [B, latent_channels, r, r, r].

    ``r = R / 2^(len(channels) - 1)``.
    """

    def __init__(
        self,
        in_channels: int,
        latent_channels: int,
        num_res_blocks: int,
        channels: Sequence[int],
        num_res_blocks_middle: int = 2,
        norm_type: str = "layer",
        use_fp16: bool = False,
    ) -> None:
        super().__init__()
        self.input_layer = nn.Conv3d(in_channels, channels[0], 3, padding=1)
        self.blocks = res_levels(channels, num_res_blocks, Downsample)
        self.middle_block = nn.Sequential(*(ResBlock(channels[-1]) for _ in range(num_res_blocks_middle)))
        self.out_layer = output_layers(norm_type, channels[-1], 2 * latent_channels)
        if use_fp16:
            self.convert_to_fp16()

    def forward(
        self, x: Tensor, sample_posterior: bool = False, return_raw: bool = False
    ) -> Tensor | tuple[Tensor, Tensor, Tensor]:
        """Occupancy [B, in_channels, R, R, R] to latents z: a sample of the posterior, or its mean.

        With ``return_raw`` also the mean and the log-variance. All are [B, latent_channels, r, r, r].
        """
        h = self.input_layer(x).to(self.dtype)
        for block in self.blocks:
            h = block(h)
        h = self.middle_block(h)
        mean, logvar = self.out_layer(h.to(x.dtype)).chunk(2, dim=1)
        z = posterior_sample(mean, logvar, torch.randn_like(mean)) if sample_posterior else mean
        return (z, mean, logvar) if return_raw else z


class StructureDecoder(VolumeNetwork):
    """Latents [B, latent_channels, r, r, r] to occupancy logits [B, out_channels, R, R, R].

    ``R = r 2^(len(channels) - 1)``.
    """

    def __init__(
        self,
        out_channels: int,
        latent_channels: int,
        num_res_blocks: int,
        channels: Sequence[int],
        num_res_blocks_middle: int = 2,
        norm_type: str = "layer",
        use_fp16: bool = False,
    ) -> None:
        super().__init__()
        self.input_layer = nn.Conv3d(latent_channels, channels[0], 3, padding=1)
        self.middle_block = nn.Sequential(*(ResBlock(channels[0]) for _ in range(num_res_blocks_middle)))
        self.blocks = res_levels(channels, num_res_blocks, Upsample)
        self.out_layer = output_layers(norm_type, channels[-1], out_channels)
        if use_fp16:
            self.convert_to_fp16()

    def forward(self, z: Tensor) -> Tensor:
        """Latents [B, latent_channels, r, r, r] to logits [B, out_channels, R, R, R]."""
        h = self.middle_block(self.input_layer(z).to(self.dtype))
        for block in self.blocks:
            h = block(h)
        return self.out_layer(h.to(z.dtype))
