"""The lattice of the cubes' corners, and what a mesh decoder predicts at them.

A cube's corner i has the offset (i & 1, i >> 1 & 1, i >> 2 & 1). Corners of the lattice are numbered
(x (res + 1) + y) (res + 1) + z, cubes (x res + y) res + z; inside a ``Box`` both are numbered by their places in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import torch

from .. import MeshError
from .case_tables import CORNERS, tables_on

Size: TypeAlias = tuple[int, int, int]

# The columns of a feature row: 8 distances, 8 deformations, the weights, 8 x (3 colour + 3 normal channels).
SDF, DEFORM, BETA, ALPHA, GAMMA, COLOR = (slice(*s) for s in ((0, 8), (8, 32), (32, 44), (44, 52), (52, 53), (53, 101)))


def cubic(side: int) -> Size:
    """The size of a grid of side^3."""
    return side, side, side


def number(points: torch.Tensor, size: Size) -> torch.Tensor:
    """Points [..., 3] to their row-major numbers [...] in a grid of this size."""
    return (points[..., 0] * size[1] + points[..., 1]) * size[2] + points[..., 2]


def point(numbers: torch.Tensor, size: Size) -> torch.Tensor:
    """Numbers [...] to points [..., 3]: the inverse of ``number``."""
    _, y, z = size
    return torch.stack([numbers // (y * z), numbers // z % y, numbers % z], dim=-1)


def find(sorted_numbers: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """The index of each wanted number in a sorted list; the length of the list if it does not occur."""
    if not len(sorted_numbers):
        return torch.zeros_like(wanted)
    at = torch.searchsorted(sorted_numbers, wanted).clamp_(max=len(sorted_numbers) - 1)
    return torch.where(sorted_numbers[at] == wanted, at, len(sorted_numbers))


def finite(features: torch.Tensor) -> torch.Tensor:
    """[] bool: whether features, at least one, hold no NaN and no infinity.

    Found by their minimum and maximum: a mask of all features would have as many elements.
    """
    return torch.stack(features.aminmax()).isfinite().all()


@dataclass(frozen=True)
class Box:
    """The part of the grid that holds the N active cubes and, where the grid goes on, one more cube on every side.

    Around it is a rim of one place. A place stands for a cube and for that cube's corner 0, so cubes and corners have
    the same numbers in the box. One number for each place is little memory, and nothing has to be sorted or searched.
    """

    res: int
    size: Size  # places along the sides, rim included
    origin: torch.Tensor  # [3] int64: the place of this point of the grid is 0 0 0
    places: torch.Tensor  # [N] int64: the numbers of the active cubes
    rows: torch.Tensor  # [P] int32: the active cube at each of the P places; -1 if there is none

    @property
    def count(self) -> int:
        """The number of places."""
        x, y, z = self.size
        return x * y * z

    @property
    def offsets(self) -> list[int]:
        """What to add to a cube's number for the numbers of its 8 corners."""
        return [(x * self.size[1] + y) * self.size[2] + z for x, y, z in CORNERS]

    def rows_at(self, places: torch.Tensor) -> torch.Tensor:
        """The active cubes at places [...], int64; -1 where there is none."""
        return self.rows.index_select(0, places.flatten()).view(places.shape).long()

    def rows_around(self, corners: torch.Tensor) -> torch.Tensor:
        """[8, K] int64: the active cubes whose i-th corner is each of the corners [K]; -1 where there is none."""
        return self.rows_at(corners - number(tables_on(corners.device).corners, self.size)[:, None])

    def points(self, places: torch.Tensor) -> torch.Tensor:
        """The points [K, 3] of the grid or the lattice at places [K]."""
        return point(places, self.size) + self.origin

    def lattice_numbers(self, corners: torch.Tensor) -> torch.Tensor:
        """The numbers in the lattice of corners [K] of the box."""
        return number(self.points(corners), cubic(self.res + 1))

    def distinct(self) -> torch.Tensor:
        """[] bool: whether no cube was given twice."""
        rows = torch.arange(len(self.places), dtype=torch.int32, device=self.rows.device)
        return (self.rows.index_select(0, self.places) == rows).all()


def box_around(coords: torch.Tensor, res: int) -> Box:
    """The box around the active cubes [N, 3] int64. Raises MeshError if one lies outside the grid of res^3."""
    low, high = _range(coords, res)
    size = (
        min(high[0] + 2, res) - max(low[0] - 1, 0) + 2,
        min(high[1] + 2, res) - max(low[1] - 1, 0) + 2,
        min(high[2] + 2, res) - max(low[2] - 1, 0) + 2,
    )
    origin = (coords.amin(0) - 1).clamp_(min=0) - 1 if len(coords) else coords.new_zeros(3)
    places = number(coords - origin, size)
    rows = torch.full((size[0] * size[1] * size[2],), -1, dtype=torch.int32, device=coords.device)
    rows.index_copy_(0, places, torch.arange(len(coords), dtype=torch.int32, device=coords.device))
    return Box(res, size, origin, places, rows)


def _range(coords: torch.Tensor, res: int) -> tuple[list[int], list[int]]:
    """The lowest and highest coordinates of cubes, in one read from the device; all 0 if there are none."""
    if not len(coords):
        return [0, 0, 0], [0, 0, 0]
    low, high = torch.stack([coords.amin(0), coords.amax(0)]).tolist()
    if min(low) < 0 or max(high) >= res:
        raise MeshError("bad_features", f"a voxel lies outside the grid of {res}^3")
    return low, high


def sums_at_corners(box: Box, distances: torch.Tensor) -> torch.Tensor:
    """[P]: the sum of the distances [N, 8] that active cubes have at each corner, 0 where there is none."""
    sums = distances.new_zeros(box.count)
    for i, offset in enumerate(box.offsets):
        # A corner is the i-th of at most one cube, so additions have the same order on any device.
        sums = sums.index_add_(0, box.places + offset, distances[:, i])
    return sums


def active_corners(box: Box) -> torch.Tensor:
    """The corners [M] int64 of the active cubes, ascending."""
    active = torch.zeros(box.count, dtype=torch.bool, device=box.rows.device)
    for offset in box.offsets:
        active.index_fill_(0, box.places + offset, True)
    return torch.nonzero(active)[:, 0]


def distances_of(features: torch.Tensor, res: int) -> torch.Tensor:
    """The distances [N, 8] at the corners of cubes from their features [N, 53 or 101]: less 1 / res than predicted."""
    return features[:, SDF] - 1 / res


def by_corner(features: torch.Tensor, columns: slice) -> torch.Tensor:
    """The given columns of features [N, C], which belong to the corners, as [N, 8, c]."""
    chosen = features[:, columns]
    return chosen.unflatten(1, (8, chosen.shape[1] // 8))


def means_around(rows: torch.Tensor, *values: torch.Tensor) -> torch.Tensor:
    """Means [K, C] of the values [N, 8, c] of the cubes around K corners, given as ``Box.rows_around`` [8, K].

    Additions have the same order on any device. The mean of none is 0.
    """
    given = rows >= 0
    corner = torch.arange(8, device=rows.device)[:, None]
    chosen = [value[rows.clamp(min=0), corner] for value in values]
    sums = torch.cat(chosen, dim=-1).where(given[..., None], 0.0).sum(0)
    return sums / given.sum(0).clamp_(min=1)[:, None]
