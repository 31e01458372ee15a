"""Coarser and finer grids: means over cells and copies back, voxels split into eight and joined again."""

from __future__ import annotations

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
