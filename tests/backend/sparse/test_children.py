"""Voxels some of whose children are kept, and voxels on grids too fine to look anything up in: beside plain loops."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from backend.sparse import convolution, tensor
from backend.sparse.convolution import SubmanifoldConv3d, conv_to_children, submanifold_conv
from backend.sparse.neighbours import LARGEST_GRID
from backend.sparse.resample import channels_to_space, space_to_channels, splits
from backend.sparse.tensor import SparseTensor, VoxelSet
from tests.backend.golden import assert_close
from tests.backend.sparse.test_sparse import random_tensor


@pytest.fixture
def x() -> SparseTensor:
    return random_tensor((60, 40), 8)


def random_mask(count: int, seed: int = 0) -> Tensor:
    return torch.rand(count, 8, generator=torch.Generator().manual_seed(seed)) < 0.4


def table_by_search(coords: Tensor) -> list[list[int]]:
    """The neighbours of voxels [N, 4], each looked up in a dictionary."""
    row_of = {tuple(voxel): row for row, voxel in enumerate(coords.tolist())}
    offsets = [(i, j, k) for i in (-1, 0, 1) for j in (-1, 0, 1) for k in (-1, 0, 1)]
    return [
        [row_of.get((b, x + i, y + j, z + k), len(coords)) for i, j, k in offsets] for b, x, y, z in coords.tolist()
    ]


def children_by_search(coords: Tensor, mask: Tensor) -> list[list[int]]:
    return [
        [b, 2 * x + (k & 1), 2 * y + (k >> 1 & 1), 2 * z + (k >> 2 & 1)]
        for (b, x, y, z), kept in zip(coords.tolist(), mask.tolist(), strict=True)
        for k in range(8)
        if kept[k]
    ]


def test_kept_children_and_their_neighbours_over_several_levels(x: SparseTensor) -> None:
    voxels, coords = x.voxels, x.coords
    for level in range(3):
        mask = random_mask(len(voxels), level)
        voxels = voxels.kept_children(mask).voxels
        assert voxels.coords.tolist() == children_by_search(coords, mask)
        coords = voxels.coords
        if level != 1:  # once the table follows from parents whose own was not asked for before
            assert voxels.neighbours.tolist() == table_by_search(coords)
        assert voxels.batch_size == 2


def test_a_voxel_may_keep_no_child_and_so_may_all(x: SparseTensor) -> None:
    none = x.voxels.kept_children(torch.zeros(100, 8, dtype=torch.bool))
    assert none.voxels.coords.shape == (0, 4)
    assert none.voxels.neighbours.shape == (0, 27)
    conv = SubmanifoldConv3d(8, 16).requires_grad_(False)
    with torch.no_grad():
        assert conv.to_children(x, none).feats.shape == (0, 2)


@pytest.mark.parametrize("mask", [torch.ones(99, 8, dtype=torch.bool), torch.ones(100, 8), torch.ones(100, 7).bool()])
def test_masks_that_do_not_fit_are_refused(x: SparseTensor, mask: Tensor) -> None:
    with pytest.raises(ValueError, match=r"bool \[100, 8\]"):
        x.voxels.kept_children(mask)


def on_a_fine_grid(side: int) -> VoxelSet:
    """Some voxels near one another at the end of a grid, in two items."""
    coords = random_tensor((60, 40), 8).coords.clone()
    coords[:, 1:] += side - 7
    coords[0, 1:] = 0
    return VoxelSet(coords)


@pytest.mark.parametrize("side", [LARGEST_GRID + 1, 1536])
def test_neighbours_on_a_fine_grid_need_no_dense_one(side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up = []

    def in_grid(coords: Tensor, batch_size: int, high: list[int]) -> Tensor:
        looked_up.append(max(high))
        return neighbours_in_grid(coords, batch_size, high)

    neighbours_in_grid = tensor.neighbours_in_grid
    monkeypatch.setattr(tensor, "neighbours_in_grid", in_grid)
    voxels = on_a_fine_grid(side)
    assert voxels.neighbours.tolist() == table_by_search(voxels.coords)
    assert looked_up
    assert max(looked_up) < LARGEST_GRID


def test_cells_are_the_same_whether_sorted_or_marked(x: SparseTensor, monkeypatch: pytest.MonkeyPatch) -> None:
    marked = x.voxels.coarse(2)
    monkeypatch.setattr(tensor, "MOST_CELLS", 1)
    cells = VoxelSet(x.coords).coarse(2)
    assert torch.equal(cells.voxels.coords, marked.voxels.coords)
    assert torch.equal(cells.parent, marked.parent)
    assert torch.equal(cells.total(x.feats), marked.total(x.feats))


# --- operations ------------------------------------------------------------------------------------------------------


def test_convolution_to_children_is_a_part_of_that_to_all_eight(
    x: SparseTensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In slabs without a gradient, at once with one."""
    conv, kept = SubmanifoldConv3d(8, 24), x.voxels.kept_children(random_mask(100))
    whole = conv(x).feats.unflatten(1, (8, 3))
    expected = torch.stack([whole[place >> 3, place & 7] for place in kept.places.tolist()])
    assert torch.equal(conv.to_children(x, kept).feats, expected)
    monkeypatch.setitem(convolution.SLAB_ELEMENTS, "cpu", 7 * 27 * 8)
    with torch.no_grad():
        assert_close(conv.to_children(x, kept).feats, expected, 1e-6)
        found = conv_to_children(x.feats, conv.weight, conv.bias, x.voxels, kept)
        assert found.shape == (len(kept.places), 3)
    gradient = torch.autograd.grad(conv.to_children(x, kept).feats.square().sum(), conv.weight)[0]
    assert_close(gradient, torch.autograd.grad(expected.square().sum(), conv.weight)[0], 1e-5)


def test_a_convolution_without_a_wrapper_is_the_same(x: SparseTensor) -> None:
    conv = SubmanifoldConv3d(8, 5)
    assert list(conv.state_dict()) == ["weight", "bias"]
    assert torch.equal(conv(x).feats, submanifold_conv(x.feats, conv.weight, conv.bias, x.voxels))


def test_channels_of_children_and_back(x: SparseTensor) -> None:
    joined = space_to_channels(x)
    expected = torch.zeros(len(joined.coords), 8, 8)
    row_of = {tuple(cell): row for row, cell in enumerate(joined.coords.tolist())}
    for feats, (b, i, j, k) in zip(x.feats, x.coords.tolist(), strict=True):
        expected[row_of[b, i // 2, j // 2, k // 2], i % 2 + 2 * (j % 2) + 4 * (k % 2)] = feats
    assert torch.equal(joined.feats, expected.flatten(1))
    assert joined.coords.tolist() == [list(cell) for cell in sorted(row_of)]

    kept = joined.voxels.kept_children(expected.any(-1))
    back = channels_to_space(joined.feats, kept)
    found = {tuple(voxel): row.tolist() for voxel, row in zip(kept.voxels.coords.tolist(), back, strict=True)}
    assert found == {tuple(voxel): row.tolist() for voxel, row in zip(x.coords.tolist(), x.feats, strict=True)}


@pytest.mark.parametrize("levels", [1, 3])
def test_splitting_cells_as_their_voxels_ask_gives_these_voxels(levels: int) -> None:
    voxels = random_tensor((60, 40), 8).voxels
    masks, rows = splits(voxels, levels)
    made = voxels
    for _ in range(levels):
        made = made.coarse(2).voxels
    for mask in masks:
        made = made.kept_children(mask).voxels
    assert torch.equal(made.coords, voxels.coords[rows])
    assert sorted(rows.tolist()) == list(range(len(voxels)))
    assert all(mask.any(1).all() for mask in masks)  # no cell without a voxel
