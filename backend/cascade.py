"""From a coarse sample to the voxels of a finer one, as many as a limit allows.

TRELLIS.2 samples a shape at 512^3 first. The voxels of that shape, put on the grid of a finer sample's latents, say
where these are. Nothing else passes from the first sample to the second.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Mode(NamedTuple):
    """How fine a shape is sampled, and whether a finer one follows."""

    first: int  # the resolution of the first shape
    second: int | None = None  # that of a finer one in its place, unless there is no room for so many voxels

    @property
    def voxels(self) -> int:
        """The side of the grid that the structure is put on."""
        return self.first // LATENT_CELL


#: The ways to sample that TRELLIS.2's pipeline has, by its names for them.
MODES = {
    "512": Mode(512),
    "1024": Mode(1024),
    "1024_cascade": Mode(512, 1024),
    "1536_cascade": Mode(512, 1536),
}

#: How many times finer than its latents a shape is.
LATENT_CELL = 16

#: The resolution that is taken however many voxels it has, and by how much others are lowered to come down to it.
LEAST_RESOLUTION, STEP = 1024, 128


class Refined(NamedTuple):
    """Where the latents of a finer sample are."""

    coords: Tensor  # [M, 4] int32 (batch, x, y, z), distinct and sorted
    resolution: int  # of the shape that they will be decoded to
    tried: tuple[tuple[int, int], ...]  # the resolutions that were tried, and the number of voxels of each


def refined(coords: Tensor, coarse: int, resolution: int, limit: int) -> Refined:
    """The cells of latents for a shape of ``resolution`` that hold the voxels [N, 4] of a shape of ``coarse``.

    While there are ``limit`` of them or more, in the whole batch, the resolution is lowered. A lower one need not have
    fewer cells: it cuts the shape elsewhere.
    """
    tried = []
    while True:
        cells = cells_of(coords, coarse, resolution // LATENT_CELL)
        tried.append((resolution, len(cells)))
        if len(cells) < limit or resolution <= LEAST_RESOLUTION:
            return Refined(cells, resolution, tuple(tried))
        resolution -= STEP


def cells_of(coords: Tensor, coarse: int, side: int) -> Tensor:
    """The cells [M, 4] int32 of a grid of side^3 in which the centres of voxels [N, 4] of ``coarse``^3 are.

    Distinct and sorted by (batch, x, y, z).
    """
    batch = coords[:, 0].long()
    x, y, z = ((2 * coords[:, 1:].long() + 1) * side // (2 * coarse)).unbind(1)
    numbers = torch.unique(((batch * side + x) * side + y) * side + z)
    parts = [numbers // side**3, numbers // side**2 % side, numbers // side % side, numbers % side]
    return torch.stack(parts, dim=1).int()
