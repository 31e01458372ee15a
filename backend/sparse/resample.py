"""Coarser and finer grids: means over cells and copies back, voxels split into eight and joined again."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .tensor import Kept, SparseTensor, VoxelSet


def downsample(x: SparseTensor, factor: int) -> SparseTensor:
    """Features of the occupied cells of a grid ``factor`` times as coarse, rows sorted by (batch, x, y, z).

    A cell gets the sum of its n voxels divided by n + 1: the published models were trained with a mean that also counts
    its initial value of zero.
    """
    coarse = x.voxels.coarse(factor)
    return SparseTensor(coarse.total(x.feats) / (coarse.counts + 1), coarse.voxels)


def upsample(x: SparseTensor, voxels: VoxelSet, factor: int) -> SparseTensor:
    """Copy the features of coarse cells to the finer ``voxels`` that the cells were made from.

    Raises:
        ValueError: ``x`` is not on the coarse cells of ``voxels``.
    """
    coarse = voxels.coarse(factor)
    if x.voxels is not coarse.voxels:
        raise ValueError("the tensor is not on the coarse cells of these voxels")
    return SparseTensor(x.feats.index_select(0, coarse.parent), voxels)


def subdivide(x: SparseTensor) -> SparseTensor:
    """Split every voxel into 2 x 2 x 2, each with its features: 8 consecutive rows, z fastest, on a finer grid."""
    return SparseTensor(x.feats[:, None].expand(-1, 8, -1).flatten(0, 1), x.voxels.children())


def space_to_channels(x: SparseTensor) -> SparseTensor:
    """Join the voxels of each cell of 2 x 2 x 2: [N, C] to [M, 8 C], rows sorted by (batch, x, y, z).

    Child k, at (k & 1, k >> 1 & 1, k >> 2 & 1) in the cell, gives the k-th C channels, zeros if it is not there.
    """
    cells, channels = x.voxels.coarse(2).voxels, x.feats.shape[1]
    joined = x.feats.new_zeros(8 * len(cells), channels).index_copy(0, x.voxels.places_in_cells, x.feats)
    return SparseTensor(joined.view(len(cells), 8 * channels), cells)


def channels_to_space(feats: Tensor, kept: Kept) -> Tensor:
    """Split the channels of voxels [N, 8 C] among those of their children that are kept, as above: [M, C]."""
    return feats.reshape(8 * len(feats), -1).index_select(0, kept.places)


class Splits(NamedTuple):
    """How cells have to be split, level by level, to get certain voxels."""

    masks: tuple[Tensor, ...]  # bool [N, 8] for each level, the coarsest first, as for ``VoxelSet.kept_children``
    rows: Tensor  # [M] int64: which of the voxels comes in each row then


def splits(voxels: VoxelSet, levels: int) -> Splits:
    """How to get M voxels from the cells of a grid ``2^levels`` times as coarse, sorted by (batch, x, y, z)."""
    grids = [voxels]
    for _ in range(levels):
        grids.append(grids[-1].coarse(2).voxels)
    masks, rows = [], torch.arange(len(grids[-1]), device=voxels.device)
    for cells, finer in zip(grids[:0:-1], grids[-2::-1], strict=True):
        child = rows.new_full((8 * len(cells),), -1)
        child[finer.places_in_cells] = torch.arange(len(finer), device=voxels.device)
        children = child.view(-1, 8)[rows]
        masks.append(children >= 0)
        rows = children[masks[-1]]
    return Splits(tuple(masks), rows)
