"""The shape VAE of TRELLIS.2: a surface as a flexible dual grid, to and from latents on a grid 16 times as coarse.

In a dual grid every voxel near the surface has one vertex inside it, and a flag for each axis says whether the surface
crosses a lattice edge of the voxel along that axis (``mesh.extract.dual_grid``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .sparse_unet import SparseUnetDecoder, SparseUnetEncoder

#: Of the vertex, of the flags, and of the weight.
_OUT_CHANNELS = 3 + 3 + 1


class DualGrid(NamedTuple):
    """What is known of M voxels near a surface."""

    vertices: Tensor  # [M, 3]: in units of voxels, from the voxel's lower corner
    crossed: Tensor  # [M, 3] bool: whether the surface crosses the voxel's lattice edge along x, y and z
    weights: Tensor  # [M]: of the vertex, where a quad of four is split into triangles


class DualGridDecoder(SparseUnetDecoder):
    """Latents [N, latent_channels] to seven numbers for each of the fine voxels that it predicts.

    The published model is called FlexiDualGridVaeDecoder. ``resolution`` is not used: the grid is as fine as the
    latents' times ``2^(levels - 1)``. ``voxel_margin``, at most 0.5, is how far a vertex may leave its voxel.
    """

    def __init__(
        self,
        resolution: int,
        model_channels: Sequence[int],
        latent_channels: int,
        num_blocks: Sequence[int],
        voxel_margin: float = 0.5,
        **options: Any,
    ) -> None:
        if not 0 <= voxel_margin <= 0.5:
            raise ValueError(f"voxel_margin must be between 0 and 0.5, not {voxel_margin}")
        super().__init__(_OUT_CHANNELS, model_channels, latent_channels, num_blocks, **options)
        self.voxel_margin = voxel_margin

    def dual_grid(self, features: Tensor) -> DualGrid:
        """The dual grid of what ``forward`` returns for voxels, [M, 7]."""
        vertex, flags, weight = features.split([3, 3, 1], dim=1)
        margin = self.voxel_margin
        return DualGrid((1 + 2 * margin) * vertex.sigmoid() - margin, flags > 0, F.softplus(weight[:, 0]))


class DualGridEncoder(SparseUnetEncoder):
    """A dual grid to a Gaussian over latents. The published model is called FlexiDualGridVaeEncoder."""

    def __init__(
        self, model_channels: Sequence[int], latent_channels: int, num_blocks: Sequence[int], **options: Any
    ) -> None:
        super().__init__(6, model_channels, latent_channels, num_blocks, **options)


def encoder_input(vertices: Tensor, crossed: Tensor) -> Tensor:
    """What ``DualGridEncoder`` takes for vertices [N, 3] in 0..1 of their voxels and crossed edges [N, 3]: [N, 6]."""
    return torch.cat([vertices, crossed.to(vertices.dtype)], dim=1) - 0.5
