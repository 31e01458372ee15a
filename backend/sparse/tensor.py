"""Sparse voxel tensors: features [N, C] on a set of voxels that belong to the items of a batch.

``VoxelSet`` holds the positions of the voxels and everything derived from them (neighbour tables, windows, children,
coarse cells), each computed once. ``SparseTensor`` holds features on such a set; tensors on the same voxels share it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, TypeAlias, TypeVar

import torch
from torch import Tensor
from torch.nn.functional import pad

from .bags import Bags
from .groups import Groups, partition
from .neighbours import (
    LARGEST_GRID,
    child_number,
    child_offsets,
    cube_number,
    cube_offsets,
    neighbours_in_grid,
    neighbours_of_children,
    neighbours_of_kept,
)

#: Above this many cells, those that hold voxels are sorted instead of marked in a grid: one of 128^3 takes 19 MB.
MOST_CELLS = 1 << 21

T = TypeVar("T")
Number: TypeAlias = float
Operand: TypeAlias = "SparseTensor | Tensor | Number"


@dataclass(frozen=True)
class Kept:
    """Those of the children of N voxels that are kept, rows in the order of their parents, those of one by k.

    Child k lies at (k & 1, k >> 1 & 1, k >> 2 & 1) in its parent: x is fastest, unlike in ``VoxelSet.children``.
    """

    voxels: VoxelSet  # M children, on a grid twice as fine
    places: Tensor  # [M] int64: 8 times the parent, plus k


@dataclass(frozen=True)
class Coarse:
    """The cells of a coarser grid that hold voxels of a finer one."""

    voxels: VoxelSet  # M cells, sorted by (batch, x, y, z)
    parent: Tensor  # [N] int64: the cell of each fine voxel
    counts: Tensor  # [M, 1] int64: the number of fine voxels in each cell
    places: Tensor  # [N] int64: the place of each fine voxel among ``slots * M``, the first places of all cells first
    slots: int  # the number of fine voxels that a cell has room for

    def total(self, x: Tensor) -> Tensor:
        """Sums [M, ...] of the features [N, ...] of the voxels in each cell, added in the order of their places.

        Adding them wherever they come up, as ``index_add`` does on a GPU, would give other bytes every time.
        """
        cells, shape = len(self.voxels), x.shape[1:]
        spread = x.new_zeros(self.slots * cells, *shape).index_copy(0, self.places, x)
        return spread.view(self.slots, cells, *shape).sum(0)


class VoxelSet:
    """An immutable set of N distinct voxels.

    Args:
        coords: [N, 4] integers (batch, x, y, z), none negative, sorted by batch item, in any order within an item.
        batch_size: the number of items, of which the last ones may be empty; by default up to the last occupied one.

    Raises:
        ValueError: ``coords`` has the wrong shape or dtype, is not sorted, lies outside the batch or the grid, or
            names a voxel twice.
    """

    def __init__(self, coords: Tensor, batch_size: int | None = None) -> None:
        if coords.ndim != 2 or coords.shape[1] != 4:
            raise ValueError(f"coords must be [N, 4] (batch, x, y, z), not {list(coords.shape)}")
        if coords.is_floating_point() or coords.dtype == torch.bool:
            raise ValueError(f"coords must be integers, not {coords.dtype}")
        self.coords = coords.to(torch.int32)
        low, sorted_, distinct, last, *high = self._facts()
        if low < 0:
            raise ValueError("coords must not be negative")
        if not sorted_:
            raise ValueError("the voxels of a batch item must be contiguous, items ascending")
        if not distinct:
            raise ValueError("a voxel occurs twice")
        self.batch_size = last + 1 if batch_size is None else batch_size
        if self.batch_size < last + 1:
            raise ValueError(f"coords name batch item {last}, but batch_size is {batch_size}")
        self._high = high
        self._parent_neighbours: Tensor | None = None  # of parents all of whose children these are
        self._kept_of: tuple[Tensor, Tensor] | None = None  # those of parents who kept these, and their places
        self._derived: dict[Hashable, Any] = {}

    def _facts(self) -> list[int]:
        """The lowest number, whether items ascend, whether voxels differ, the highest item, x, y and z.

        The device is waited for once, and never again for any of these.
        """
        if not len(self):
            return [0, 1, 1, -1, 0, 0, 0]
        coords = self.coords.long()
        batch, high = coords[:, 0], coords.amax(0)
        key = batch
        for axis in (1, 2, 3):
            key = key * (high[axis] + 1) + coords[:, axis]
        key = key.sort().values
        ordered, distinct = (batch[1:] >= batch[:-1]).all(), (key[1:] != key[:-1]).all()
        return torch.cat([torch.stack([coords.amin(), ordered.long(), distinct.long()]), high]).tolist()

    @classmethod
    def _trusted(cls, coords: Tensor, batch_size: int, high: list[int]) -> VoxelSet:
        """A set whose coordinates are valid by construction, none above ``high``: without checks, which would wait."""
        voxels = cls.__new__(cls)
        voxels.coords, voxels.batch_size, voxels._high = coords, batch_size, high
        voxels._parent_neighbours, voxels._kept_of, voxels._derived = None, None, {}
        return voxels

    def __len__(self) -> int:
        return len(self.coords)

    @property
    def device(self) -> torch.device:
        """Where the coordinates are."""
        return self.coords.device

    def to(self, device: torch.device | str) -> VoxelSet:
        """The same voxels on ``device``; the set itself if it is there already."""
        moved = self.coords.to(device)
        return self if moved is self.coords else VoxelSet._trusted(moved, self.batch_size, self._high)

    def _once(self, key: Hashable, make: Callable[[], T]) -> T:
        if key not in self._derived:
            self._derived[key] = make()
        return self._derived[key]

    # --- batch items ---------------------------------------------------------------------------------------------

    @cached_property
    def batch(self) -> Tensor:
        """The batch item of each voxel, [N] int64."""
        return self.coords[:, 0].long()

    @cached_property
    def counts(self) -> Tensor:
        """The number of voxels of each item, [B] int64."""
        if self.batch_size == 1:
            return torch.full((1,), len(self), device=self.device)
        return _count(self.batch, self.batch_size)

    @cached_property
    def layout(self) -> list[slice]:
        """The rows of each batch item."""
        ends = [len(self)] if self.batch_size == 1 else self.counts.cumsum(0).tolist()
        return [slice(start, end) for start, end in pairwise([0, *ends])]

    def item(self, index: int) -> VoxelSet:
        """The voxels of one item, as a set of batch size 1."""

        def make() -> VoxelSet:
            if self.batch_size == 1:
                return self
            coords = self.coords[self.layout[index]].clone()
            coords[:, 0] = 0
            return VoxelSet._trusted(coords, 1, self._high)

        return self._once(("item", index), make)

    def spread(self, per_item: Tensor) -> Tensor:
        """Values [B, ...] of the items, repeated for their voxels: [N, ...]. A single row is returned as it is."""
        if len(per_item) == 1:
            return per_item
        if len(per_item) != self.batch_size:
            raise ValueError(f"{len(per_item)} rows for a batch of {self.batch_size}")
        return per_item.index_select(0, self.batch)

    def total(self, per_voxel: Tensor) -> Tensor:
        """Sums [B, C] of values [N, C] over the voxels of each item, in an order that does not change."""
        if self.batch_size == 1:
            return per_voxel.sum(0, keepdim=True)
        sums = [per_voxel[rows].sum(0) for rows in self.layout]
        return torch.stack(sums) if sums else per_voxel.new_zeros(0, per_voxel.shape[1])

    # --- groups --------------------------------------------------------------------------------------------------

    def items(self) -> Groups:
        """The voxels grouped by batch item."""
        return self._once("items", lambda: self._group(self.batch, self.batch_size))

    def windows(self, size: int, shift: int) -> Groups:
        """The voxels grouped by cubic window, by item and ``(coordinate + shift) // size``. Nothing wraps around."""
        return self._once(("windows", size, shift), lambda: self._group(*self._cells(size, shift)[1:]))

    def _cells(self, size: int, shift: int = 0) -> tuple[Tensor, Tensor, int]:
        """The cell of each voxel in a grid of cubes: [N, 4], its number [N] int64, and how many cells there are.

        Cells are numbered in (batch, x, y, z) order, empty ones as well.
        """
        cells = self.coords.clone()
        cells[:, 1:] = (cells[:, 1:] + shift) // size
        key, count = cells[:, 0].long(), self.batch_size
        for axis, high in enumerate(self._high, start=1):
            side = (high + shift) // size + 1
            key, count = key * side + cells[:, axis], count * side
        return cells, key, count

    def _group(self, key: Tensor, count: int) -> Groups:
        """The voxels grouped by ``key`` [N] below ``count``: groups in the order of keys, voxels in that of rows."""
        in_cell = _count(key, count)
        groups, longest = self._sizes(in_cell)
        group = ((in_cell > 0).cumsum(0) - 1)[key]
        return partition(group, _count(group, groups), longest, self.batch)

    def _sizes(self, in_cell: Tensor) -> tuple[int, int]:
        """How many cells have voxels, and how many voxels the fullest one has, from their numbers [K]."""
        if not len(self):
            return 0, 0
        if len(in_cell) == 1:
            return 1, len(self)
        groups, longest = torch.stack([(in_cell > 0).sum(), in_cell.max()]).tolist()
        return groups, longest

    # --- neighbours and other resolutions ------------------------------------------------------------------------

    @property
    def neighbours(self) -> Tensor:
        """The row of the neighbour at each offset of {-1, 0, 1}^3 (z fastest): [N, 27] int32, N if there is none.

        The table is its own transpose with the offsets reversed: ``t[i, k] == j`` if and only if ``t[j, 26 - k] == i``.
        """
        return self._once("neighbours", self._find_neighbours)

    def own_table_by_offset(self) -> Tensor:
        """``neighbours`` by offset, [27, N]: what is read together for consecutive voxels is together in memory."""
        return self._once("neighbours by offset", lambda: self.neighbours.t().contiguous())

    def table_by_offset(self) -> tuple[Tensor, bool]:
        """The smallest table that tells the neighbours, by offset, and whether it is that of the parents, [27, N / 8].

        ``neighbours_of_children`` says how the parents' table tells those of children.
        """
        above = self._parent_neighbours
        if above is None:
            return self.own_table_by_offset(), False
        return self._once("parents' neighbours by offset", lambda: above.t().contiguous()), True

    def _find_neighbours(self) -> Tensor:
        """Derive the table from that of the parents, if there are any; else look up in a dense grid.

        A set on a grid finer than that has cells twice as coarse for parents, and so on down to a grid that is small.
        """
        if self._parent_neighbours is not None:
            return neighbours_of_children(self._parent_neighbours)
        if self._kept_of is not None:
            above, self._kept_of = self._kept_of, None  # asked for once: the parents' table may go
            return neighbours_of_kept(*above)
        if max(self._high) >= LARGEST_GRID:
            return neighbours_of_kept(self.coarse(2).voxels.neighbours, self.places_in_cells)
        return neighbours_in_grid(self.coords, self.batch_size, self._high)

    def products_of_cells(self) -> Bags:
        """For each voxel, its neighbours' cells, each times the tap between: row 27 j + k is cell j times tap k."""

        def make() -> Bags:
            table, parent = self.neighbours, self.coarse(2).parent.int()
            there = table < len(self)
            cell = parent.index_select(0, table[there])
            offset = torch.arange(27, dtype=torch.int32, device=self.device).expand_as(table)[there]
            ends = there.sum(1).cumsum(0)
            return Bags(cell * 27 + offset, pad(ends, (1, 0)).int(), 27 * len(self.coarse(2).voxels))

        return self._once("products of cells", make)

    def kept_children(self, mask: Tensor) -> Kept:
        """The children that ``mask`` [N, 8] bool keeps; column k is the child at (k & 1, k >> 1 & 1, k >> 2 & 1).

        Raises ValueError for a mask of another shape or dtype.
        """
        if mask.shape != (len(self), 8) or mask.dtype != torch.bool:
            raise ValueError(f"a mask of the children is bool [{len(self)}, 8], not {mask.dtype} {list(mask.shape)}")
        places = torch.nonzero(mask.flatten())[:, 0]
        coords = self.coords.index_select(0, places >> 3)
        coords[:, 1:] = coords[:, 1:] * 2 + child_offsets(self.device).index_select(0, places & 7)
        children = VoxelSet._trusted(coords, self.batch_size, [2 * one + 1 for one in self._high])
        children._kept_of = self.neighbours, places
        return Kept(children, places)

    def children(self) -> VoxelSet:
        """Each voxel split into 2 x 2 x 2, in 8 consecutive rows (z fastest), on a grid twice as fine."""
        return self._once("children", self._subdivide)

    def _subdivide(self) -> VoxelSet:
        coords = self.coords[:, None].repeat(1, 8, 1)
        coords[..., 1:] = coords[..., 1:] * 2 + cube_offsets(2, 0, self.device)
        high = [2 * one + 1 for one in self._high]
        children = VoxelSet._trusted(coords.flatten(0, 1), self.batch_size, high)
        children._parent_neighbours = self.neighbours
        return children

    def coarse(self, factor: int) -> Coarse:
        """The cells of a grid ``factor`` times as coarse that hold voxels."""
        return self._once(("coarse", factor), lambda: self._coarsen(factor))

    @cached_property
    def places_in_cells(self) -> Tensor:
        """Where each voxel is among the children of the cells of ``coarse(2)``, as in ``Kept.places``: [N] int64."""
        return self.coarse(2).parent * 8 + child_number(self.coords[:, 1:] & 1)

    def _coarsen(self, factor: int) -> Coarse:
        cells, key, count = self._cells(factor)
        if count > MOST_CELLS:
            occupied, parent = torch.unique(key, return_inverse=True)
            filled_cells = len(occupied)
        else:
            filled = torch.zeros(count, dtype=torch.bool, device=self.device).index_fill_(0, key, True)
            index = filled.cumsum(0)
            parent = (index - 1)[key]
            filled_cells = int(index[-1]) if len(self) else 0
        coords = self.coords.new_empty(filled_cells, 4)
        coords[parent] = cells  # all voxels of a cell write the same row
        slot = cube_number(self.coords[:, 1:] % factor, factor, 0).long()
        high = [one // factor for one in self._high]
        return Coarse(
            VoxelSet._trusted(coords, self.batch_size, high),
            parent,
            counts=_count(parent, len(coords))[:, None],
            places=slot * len(coords) + parent,
            slots=factor**3,
        )


def _count(numbers: Tensor, count: int) -> Tensor:
    """How often each of the numbers below ``count`` occurs: [N] to [count] int64. (``bincount`` waits for a GPU.)"""
    return numbers.new_zeros(count).index_add_(0, numbers, torch.ones_like(numbers))


class SparseTensor:
    """Features [N, C, ...] on the voxels of a batch. Immutable; operations return new tensors on the same voxels.

    Arithmetic takes a number, a 0-d tensor, a ``SparseTensor`` on the same voxels, or a value for each batch item
    ([B, C], [B, 1], [1, C]), which applies to all of the item's voxels.

    Raises:
        ValueError: the rows of ``feats`` do not match the voxels, or the two are on different devices.
    """

    __slots__ = ("feats", "voxels")

    def __init__(self, feats: Tensor, coords: Tensor | VoxelSet, batch_size: int | None = None) -> None:
        self.voxels = coords if isinstance(coords, VoxelSet) else VoxelSet(coords, batch_size)
        self.feats = feats
        if feats.ndim < 2 or len(feats) != len(self.voxels):
            raise ValueError(f"feats {list(feats.shape)} do not fit {len(self.voxels)} voxels")
        if feats.device != self.voxels.device:
            raise ValueError(f"feats are on {feats.device}, coords on {self.voxels.device}")

    @property
    def coords(self) -> Tensor:
        """[N, 4] int32 (batch, x, y, z)."""
        return self.voxels.coords

    @property
    def batch_size(self) -> int:
        """The number of items, of which the last ones may be empty."""
        return self.voxels.batch_size

    @property
    def layout(self) -> list[slice]:
        """The rows of each batch item."""
        return self.voxels.layout

    @property
    def device(self) -> torch.device:
        """Where features and coordinates are."""
        return self.feats.device

    @property
    def dtype(self) -> torch.dtype:
        """That of the features."""
        return self.feats.dtype

    @property
    def shape(self) -> torch.Size:
        """[B, C, ...]: the batch size and the shape of one voxel's features."""
        return torch.Size([self.batch_size, *self.feats.shape[1:]])

    def __repr__(self) -> str:
        return f"SparseTensor({len(self.voxels)} voxels, shape={list(self.shape)}, {self.dtype}, {self.device})"

    def replace(self, feats: Tensor) -> SparseTensor:
        """Other features [N, ...] on the same voxels."""
        return SparseTensor(feats, self.voxels)

    def to(self, target: torch.dtype | torch.device | str) -> SparseTensor:
        """The same tensor in another dtype or on another device."""
        if isinstance(target, torch.dtype):
            return self.replace(self.feats.to(target))
        return SparseTensor(self.feats.to(target), self.voxels.to(target))

    def float(self) -> SparseTensor:
        """The same tensor in single precision."""
        return self.to(torch.float32)

    def detach(self) -> SparseTensor:
        """The same tensor without its gradient's history."""
        return self.replace(self.feats.detach())

    def __getitem__(self, index: int) -> SparseTensor:
        """One batch item, as a tensor of batch size 1."""
        return SparseTensor(self.feats[self.layout[index]], self.voxels.item(range(self.batch_size)[index]))

    def _operand(self, other: Operand) -> Tensor | Number:
        """What ``other`` contributes to each voxel: a number or a tensor that broadcasts against ``feats``."""
        if isinstance(other, SparseTensor):
            if other.voxels is not self.voxels and not torch.equal(other.coords, self.coords):
                raise ValueError("the tensors have different voxels")
            return other.feats
        if isinstance(other, Tensor) and other.ndim > 0:
            if other.ndim != self.feats.ndim:
                raise ValueError(f"a value for each batch item has {self.feats.ndim} axes, not {list(other.shape)}")
            return self.voxels.spread(other)
        return other

    def __add__(self, other: Operand) -> SparseTensor:
        return self.replace(self.feats + self._operand(other))

    def __sub__(self, other: Operand) -> SparseTensor:
        return self.replace(self.feats - self._operand(other))

    def __rsub__(self, other: Operand) -> SparseTensor:
        return self.replace(self._operand(other) - self.feats)

    def __mul__(self, other: Operand) -> SparseTensor:
        return self.replace(self.feats * self._operand(other))

    def __truediv__(self, other: Operand) -> SparseTensor:
        return self.replace(self.feats / self._operand(other))

    def __neg__(self) -> SparseTensor:
        return self.replace(-self.feats)

    __radd__ = __add__
    __rmul__ = __mul__
