"""From a coarse sample to the voxels of a finer one, as many as a limit allows.

TRELLIS.2 samples a shape at 512^3 first. The voxels of that shape, put on the grid of a finer sample's latents, say
where these are. Nothing else passes from the first sample to the second.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .modes import LATENT_CELL


class Refined(NamedTuple):
    """Where the latents of a finer sample are."""

    coords: Tensor  # [M, 4] int32 (batch, x, y, z), distinct and sorted
    resolution: int  # of the shape that they will be decoded to
    tried: tuple[tuple[int, int], ...]  # the resolutions that were tried, and the number of voxels of each


def refined(coords: Tensor, coarse: int, resolution: int, limit: int, cell: int = LATENT_CELL) -> Refined:
    """The cells of latents for a shape of ``resolution`` that hold the voxels [N, 4] of a shape of ``coarse``.

    A ``cell`` is that many voxels wide. While there are ``limit`` of them or more, in the whole batch, the resolution
    is lowered by a quarter of the coarse one, down to its double, which is taken however many there are. A lower one
    need not have fewer cells: it cuts the shape elsewhere.
    """
    tried = []
    while True:
        cells = cells_of(coords, coarse, resolution // cell)
        tried.append((resolution, len(cells)))
        if len(cells) < limit or resolution <= 2 * coarse:
            return Refined(cells, resolution, tuple(tried))
        resolution -= coarse // 4


def cells_of(coords: Tensor, coarse: int, side: int) -> Tensor:
    """The cells [M, 4] int32 of a grid of side^3 in which the centres of voxels [N, 4] of ``coarse``^3 are.

    Distinct and sorted by (batch, x, y, z).
    """
    batch = coords[:, 0].long()
    x, y, z = ((2 * coords[:, 1:].long() + 1) * side // (2 * coarse)).unbind(1)
    numbers = torch.unique(((batch * side + x) * side + y) * side + z)
    parts = [numbers // side**3, numbers // side**2 % side, numbers // side % side, numbers % side]
    return torch.stack(parts, dim=1).int()
