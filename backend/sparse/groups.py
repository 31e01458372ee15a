"""Partitions of voxels into groups that attend among themselves, padded to be handled together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

#: Groups of at most this many voxels are not told apart by their sizes: to pad them costs next to nothing.
SMALL = 16


@dataclass(frozen=True)
class Padded:
    """M groups of voxels, padded to the L voxels of the largest."""

    rows: Tensor  # [M, L] int64: the voxel in each place; if the place is empty, any voxel
    filled: Tensor | None  # [M, L] bool: which places hold a voxel of the group; None if all do
    batch: Tensor  # [M] int64: the batch item of each group

    def pad(self, x: Tensor) -> Tensor:
        """Features [N, ...] as [M, L, ...]. Empty places hold a copy of some row: mask them with ``filled``."""
        return x.index_select(0, self.rows.flatten()).unflatten(0, self.rows.shape)


@dataclass(frozen=True)
class Groups:
    """A partition of N voxels into M groups of at most L, as index tables for padding and back."""

    parts: tuple[Padded, ...]  # every group is in one of them
    places: Tensor  # [N] int64: the place of each voxel in the parts, which are flattened, one after another
    longest: int  # L
    order: Tensor  # [N] int64: the voxels, one group after another
    starts: Tensor  # [M + 1] int32: where each group starts in that order, and where the last one ends

    @property
    def alone(self) -> bool:
        """Whether a single group holds all voxels in the order of the rows, so that padding would change nothing."""
        return len(self.starts) == 2

    def unpad(self, parts: Sequence[Tensor]) -> Tensor:
        """Features [M, L, ...] of the groups of each part back as [N, ...]."""
        flat = [part.flatten(0, 1) for part in parts]
        return (flat[0] if len(flat) == 1 else torch.cat(flat)).index_select(0, self.places)

    @cached_property
    def position(self) -> Tensor:
        """Where each voxel is in ``order``, [N] int64."""
        return inverse(self.order)

    @cached_property
    def group(self) -> Tensor:
        """The group of each voxel, [N] int64."""
        sizes = self.starts.diff()
        return torch.repeat_interleave(sizes, output_size=len(self.order)).index_select(0, self.position)


def inverse(permutation: Tensor) -> Tensor:
    """Where each number is in a permutation [N] int64."""
    numbers = torch.arange(len(permutation), device=permutation.device)
    return torch.empty_like(permutation).index_copy_(0, permutation, numbers)


def partition(group: Tensor, sizes: Tensor, longest: int, batch: Tensor) -> Groups:
    """The groups of N voxels, in the order of their numbers, the voxels of one in that of their rows.

    On a CPU groups of similar sizes are padded together. On a GPU all are: it would have to be waited for.

    Args:
        group: [N] int64: the number of each voxel's group, below M.
        sizes: [M] int64: how many voxels each group has, at least one.
        longest: the largest size, or 0 if there are no voxels.
        batch: [N] int64: the batch item of each voxel.
    """
    order = torch.argsort(group, stable=True)
    ends = torch.nn.functional.pad(sizes.cumsum(0), (1, 0))
    starts = ends[:-1]
    if sizes.device.type == "cpu" and len(sizes) > 1:
        alike = _alike(sizes)
        parts = [_padded(order, starts[mine], sizes[mine], int(sizes[mine].max()), batch) for mine in alike]
        room = torch.cat([part.rows.new_full(part.rows.shape[:1], part.rows.shape[1]) for part in parts])
        first = torch.empty_like(sizes)  # the first of each group's places
        first[torch.cat(alike)] = room.cumsum(0) - room
    else:
        parts = [_padded(order, starts, sizes, longest, batch)]
        first = torch.arange(len(sizes), device=sizes.device) * longest
    places = first[group] + inverse(order) - starts[group]
    return Groups(tuple(parts), places, longest, order, ends.int())


def _padded(order: Tensor, starts: Tensor, sizes: Tensor, longest: int, batch: Tensor) -> Padded:
    """Groups of these sizes [M] that start at these places [M] of ``order`` [N]."""
    place = torch.arange(longest, device=order.device)
    rows = order[(starts[:, None] + place).clamp(max=len(order) - 1)]
    full = bool((sizes == longest).all()) if order.device.type == "cpu" else len(order) == rows.numel()
    return Padded(rows, None if full else place < sizes[:, None], batch[rows[:, :1].flatten()])


def _alike(sizes: Tensor) -> list[Tensor]:
    """Groups of these sizes [M], on a CPU, in lists: where over ``SMALL``, within a factor of the root of two."""
    step = (2 * (sizes.max() / sizes.clamp(min=SMALL)).log2()).floor()
    return [(step == one).nonzero()[:, 0] for one in step.unique()]
