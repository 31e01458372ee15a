"""Coarser and finer grids: means over cells, copies back to the voxels, and voxels split into eight."""

from __future__ import annotations

from .tensor import SparseTensor, VoxelSet


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
