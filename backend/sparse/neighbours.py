"""Neighbour tables: the row of the neighbour of each voxel at each of the 27 offsets of {-1, 0, 1}^3 (z fastest).

A table [N, 27] int32 has N where there is no voxel. It is looked up in a dense grid where that is small. On finer grids
it follows from the table of a grid half as fine, so neither a large grid nor a search is needed at any resolution.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

#: The side of the largest grid in which neighbours are looked up.
LARGEST_GRID = 64

#: Rows of a table that are made at a time: the indices in between take eight times as much memory as the rows.
_ROWS = 1 << 16


def cube_offsets(side: int, start: int, device: torch.device) -> Tensor:
    """All offsets [side^3, 3] int32 in a cube, from ``start`` upwards on every axis, z fastest."""
    axis = torch.arange(start, start + side, device=device, dtype=torch.int32)
    return torch.cartesian_prod(axis, axis, axis)


def cube_number(offsets: Tensor, side: int, start: int) -> Tensor:
    """The rows [...] in ``cube_offsets(side, start)`` of offsets [..., 3]."""
    x, y, z = (offsets - start).unbind(-1)
    return (x * side + y) * side + z


def child_offsets(device: torch.device) -> Tensor:
    """The offsets [8, 3] int32 of the children of a voxel, x fastest: child k at (k & 1, k >> 1 & 1, k >> 2 & 1)."""
    return cube_offsets(2, 0, device).flip(1)


def child_number(offsets: Tensor) -> Tensor:
    """The rows [...] in ``child_offsets`` of offsets [..., 3] that are 0 or 1."""
    return cube_number(offsets.flip(-1), 2, 0)


def _dot(points: Tensor, strides: Sequence[int]) -> Tensor:
    """Integers [..., 3] times their strides, summed, as int64."""
    x, y, z = points.long().unbind(-1)
    return x * strides[0] + y * strides[1] + z * strides[2]


def neighbours_in_grid(coords: Tensor, batch_size: int, high: Sequence[int]) -> Tensor:
    """The table of voxels [N, 4], none above ``high``, looked up in a dense grid with a margin of 1.

    The grid takes 4 bytes per cell: 1.2 MB for an item of 64^3. Sorted keys and a binary search would take memory by
    the number of voxels instead, but 7 to 13 times as long (25,000 voxels on one CPU core: 35 to 67 ms instead of 5),
    and at 64^3 the table itself is larger than the grid from 11,000 voxels on.
    """
    count, device = len(coords), coords.device
    _, y, z = (one + 3 for one in high)
    strides = ((high[0] + 3) * y * z, y * z, z, 1)
    key = (coords[:, 0].long() * strides[0]) + _dot(coords[:, 1:] + 1, strides[1:])
    grid = torch.full((batch_size * strides[0],), count, dtype=torch.int32, device=device)
    grid[key] = torch.arange(count, dtype=torch.int32, device=device)
    offsets = _dot(cube_offsets(3, -1, device), strides[1:])
    return grid.index_select(0, (key[:, None] + offsets).flatten()).view(count, 27)


def neighbours_of_children(neighbours: Tensor) -> Tensor:
    """The neighbour table [8 N, 27] of the children of N voxels, from the table [N, 27] of the voxels themselves.

    The neighbour at offset d of the child at parity p (per axis) is the child at parity (p + d) mod 2 of the parent's
    neighbour at floor((p + d) / 2), so nothing has to be searched.
    """
    device = neighbours.device
    target = cube_offsets(2, 0, device)[:, None] + cube_offsets(3, -1, device)  # [8, 27, 3], in -1 .. 2
    parent, child = cube_number(target >> 1, 3, -1), cube_number(target & 1, 2, 0)
    table = neighbours.index_select(1, parent.flatten()) * 8 + child.flatten()
    return table.clamp_(max=8 * len(neighbours)).view(-1, 27)


def neighbours_of_kept(neighbours: Tensor, places: Tensor) -> Tensor:
    """The table [M, 27] of some children of N voxels, from the table [N, 27] of the voxels themselves.

    ``places`` [M] int64 are 8 times the parent's row plus the child's number, x fastest. As for
    ``neighbours_of_children``, the parents' table tells the parent of each neighbour; a map of all children tells
    which of them are there, and in which row.
    """
    device, count = neighbours.device, len(places)
    target = child_offsets(device)[:, None] + cube_offsets(3, -1, device)  # [8, 27, 3], in -1 .. 2
    column, child = cube_number(target >> 1, 3, -1).long(), child_number(target & 1)
    rows = torch.full((8 * (len(neighbours) + 1),), count, dtype=torch.int32, device=device)  # the last 8: no parent
    rows[places] = torch.arange(count, dtype=torch.int32, device=device)
    table = torch.empty(count, 27, dtype=torch.int32, device=device)
    for some, out in zip(places.split(_ROWS), table.split(_ROWS), strict=True):
        parents = neighbours.index_select(0, some >> 3).gather(1, column.index_select(0, some & 7))
        torch.index_select(rows, 0, (parents * 8 + child.index_select(0, some & 7)).flatten(), out=out.view(-1))
    return table
