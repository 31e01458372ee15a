"""The lattice of the cubes' corners, and what a mesh decoder predicts at them.

A cube's corner i has the offset (i & 1, i >> 1 & 1, i >> 2 & 1). Corners of the lattice are numbered
(x (res + 1) + y) (res + 1) + z, cubes (x res + y) res + z.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from .case_tables import CORNERS

# The columns of a feature row: 8 distances, 8 deformations, the weights, 8 x (3 colour + 3 normal channels).
SDF, DEFORM, BETA, ALPHA, GAMMA, COLOR = (slice(*s) for s in ((0, 8), (8, 32), (32, 44), (44, 52), (52, 53), (53, 101)))


def number(points: torch.Tensor, size: int) -> torch.Tensor:
    """Points [..., 3] to their row-major numbers [...] in a grid of size^3."""
    return (points[..., 0] * size + points[..., 1]) * size + points[..., 2]


def point(numbers: torch.Tensor, size: int) -> torch.Tensor:
    """Numbers [...] to points [..., 3]: the inverse of ``number``."""
    return torch.stack([numbers // size**2, numbers // size % size, numbers % size], dim=-1)


def find(sorted_numbers: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """The index of each wanted number in a sorted list; the length of the list if it does not occur."""
    if not len(sorted_numbers):
        return torch.zeros_like(wanted)
    at = torch.searchsorted(sorted_numbers, wanted).clamp_(max=len(sorted_numbers) - 1)
    return torch.where(sorted_numbers[at] == wanted, at, len(sorted_numbers))


def all_finite(features: torch.Tensor) -> bool:
    """Whether features, at least one, hold no NaN and no infinity.

    Found by their minimum and maximum: a mask of all features would have as many elements.
    """
    return bool(torch.stack(features.aminmax()).isfinite().all())


@dataclass(frozen=True)
class Corners:
    """The M corners of the N active voxels, each with the mean distance of the voxels that share it."""

    numbers: torch.Tensor  # [M] int64, ascending
    rows: torch.Tensor  # [N, 8]: the indices of each voxel's corners in ``numbers``
    sdf: torch.Tensor  # [M + 1]: row M is for corners that no active voxel has
    interior: torch.Tensor  # [M] bool: whether all eight cubes at the corner are active

    @property
    def inside(self) -> torch.Tensor:
        """[M + 1] bool: whether the distance is negative."""
        return self.sdf < 0


def find_corners(coords: torch.Tensor, features: torch.Tensor, res: int) -> Corners:
    """The corners of voxels [N, 3] with features [N, 53 or 101]."""
    strides = number(torch.tensor(CORNERS, device=coords.device), res + 1)
    numbers, rows = torch.unique(number(coords, res + 1)[:, None] + strides, return_inverse=True)
    sdf, counts = means_of(rows, len(numbers), by_corner(features, SDF) - 1 / res)
    return Corners(numbers, rows, torch.cat([sdf[:, 0], sdf.new_ones(1)]), counts == 8)


def by_corner(features: torch.Tensor, columns: slice) -> torch.Tensor:
    """The given columns of features [N, C], which belong to the corners, as [N, 8, c]."""
    chosen = features[:, columns]
    return chosen.unflatten(1, (8, chosen.shape[1] // 8))


def means_of(rows: torch.Tensor, count: int, *values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Means [count, C] of the values [N, 8, c] with the same row in ``rows`` [N, 8], and their numbers [count].

    Values with row ``count`` are left out.
    """
    sums = values[0].new_zeros(count, sum(value.shape[2] for value in values))
    counts = sums.new_zeros(count)
    for i in range(8):  # a corner is the i-th of at most one voxel, so additions have the same order on any device
        given = torch.nonzero(rows[:, i] < count)[:, 0]
        row = rows[given, i]
        sums.index_add_(0, row, torch.cat([value[given, i] for value in values], dim=1))
        counts.index_add_(0, row, sums.new_ones(len(row)))
    return sums / counts[:, None], counts
