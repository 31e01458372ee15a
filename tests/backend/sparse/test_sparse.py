"""Sparse tensors and their operations: against dense references and their own gradients."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from backend.sparse import attention, convolution, reference
from backend.sparse.bags import Bags
from backend.sparse.convolution import (
    SparseConv3d,
    by_tap,
    merged_taps,
    subdivided_conv,
    submanifold_conv,
    upsampled_conv,
)
from backend.sparse.normalization import SparseGroupNorm32
from backend.sparse.resample import downsample, subdivide, upsample
from backend.sparse.tensor import SparseTensor, VoxelSet
from tests.backend.golden import assert_close

SIDE = 6


def random_tensor(counts: tuple[int, ...], channels: int, dtype: torch.dtype = torch.float32) -> SparseTensor:
    """Distinct random voxels of a 6^3 grid in random order, ``counts[i]`` of them in batch item i."""
    generator = torch.Generator().manual_seed(len(counts) + channels)
    coords = []
    for item, count in enumerate(counts):
        cells = torch.randperm(SIDE**3, generator=generator)[:count]
        xyz = [cells // SIDE**2, cells // SIDE % SIDE, cells % SIDE]
        coords.append(torch.stack([torch.full_like(cells, item), *xyz], dim=1))
    feats = torch.randn(sum(counts), channels, dtype=dtype, generator=generator)
    return SparseTensor(feats, torch.cat(coords))


@pytest.fixture
def x() -> SparseTensor:
    return random_tensor((60, 40), 8)


# --- tensors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("coords", "message"),
    [
        (torch.zeros(3, 3, dtype=torch.int32), "must be"),
        (torch.zeros(3, 4), "integers"),
        (torch.tensor([[0, 0, -1, 0]]), "negative"),
        (torch.tensor([[1, 0, 0, 0], [0, 0, 0, 0]]), "contiguous"),
        (torch.tensor([[2, 0, 0, 0]]), "batch_size"),
        (torch.tensor([[0, 1, 2, 3], [0, 4, 2, 3], [0, 1, 2, 3]]), "twice"),
    ],
)
def test_malformed_coordinates_are_refused(coords: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VoxelSet(coords, batch_size=2)


def test_features_must_fit_the_voxels(x: SparseTensor) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        x.replace(x.feats[1:])


def test_values_per_batch_item_hold_for_all_voxels_of_the_item(x: SparseTensor) -> None:
    per_item = torch.tensor([[2.0], [3.0]])
    expected = torch.cat([2 * x.feats[:60], 3 * x.feats[60:]])
    assert torch.equal((x * per_item).feats, expected)
    assert torch.equal((x * per_item[:1]).feats, 2 * x.feats)
    with pytest.raises(ValueError, match="batch of 2"):
        _ = x * torch.ones(3, 1)


def test_arithmetic_needs_the_same_voxels(x: SparseTensor) -> None:
    assert torch.equal((2 * x - x / 2 + 1).feats, 1.5 * x.feats + 1)
    with pytest.raises(ValueError, match="different voxels"):
        _ = x + SparseTensor(x.feats, x.coords + torch.tensor([0, 1, 0, 0]))


def test_items_are_sparse_tensors_of_their_own(x: SparseTensor) -> None:
    item = x[-1]
    assert item.batch_size == 1
    assert torch.equal(item.feats, x.feats[60:])
    assert torch.equal(item.coords[:, 1:], x.coords[60:, 1:])


def test_an_item_may_be_empty() -> None:
    x = SparseTensor(torch.ones(2, 3), torch.tensor([[1, 0, 0, 0], [1, 0, 0, 1]]), batch_size=3)
    assert [rows.stop - rows.start for rows in x.layout] == [0, 2, 0]
    tokens = torch.randn(3, 5, 1, 3)
    attended = attention.cross_attention(x.feats[:, None], tokens, tokens, x.voxels)
    assert_close(attended, reference.attend_context(x.feats[:, None], tokens, tokens, x.voxels.batch), 1e-6)


# --- neighbours and convolution --------------------------------------------------------------------------------------


def test_neighbour_table_against_a_search(x: SparseTensor) -> None:
    row_of = {tuple(voxel): row for row, voxel in enumerate(x.coords.tolist())}
    offsets = [(i, j, k) for i in (-1, 0, 1) for j in (-1, 0, 1) for k in (-1, 0, 1)]
    found = [[row_of.get((b, u + i, v + j, w + k), 100) for i, j, k in offsets] for b, u, v, w in x.coords.tolist()]
    assert x.voxels.neighbours.tolist() == found


def test_neighbours_of_children_follow_from_their_parents(x: SparseTensor) -> None:
    children = x.voxels.children()
    assert torch.equal(children.neighbours, VoxelSet(children.coords).neighbours)


def test_convolution_against_a_dense_one(x: SparseTensor) -> None:
    conv = SparseConv3d(8, 5, 3)
    assert_close(conv(x).feats, reference.convolve(x, conv.conv.weight, conv.conv.bias), 1e-6)


def test_convolution_in_slabs_of_any_length(x: SparseTensor, monkeypatch: pytest.MonkeyPatch) -> None:
    conv = SparseConv3d(8, 5, 3)
    parameters = list(conv.parameters())
    whole = conv(x).feats
    gradients = torch.autograd.grad(whole.square().sum(), parameters)
    monkeypatch.setitem(convolution.SLAB_ELEMENTS, "cpu", 7 * 27 * 8)
    slabs = conv(x).feats
    assert_close(slabs, whole, 1e-6)
    for part_wise, at_once in zip(torch.autograd.grad(slabs.square().sum(), parameters), gradients, strict=True):
        assert_close(part_wise, at_once, 1e-5)


def test_convolution_of_subdivided_voxels_merges_taps_exactly(x: SparseTensor) -> None:
    conv = SparseConv3d(8, 5, 3)
    assert_close(conv(x, subdivide=True).feats, conv(subdivide(x)).feats, 2e-6)


def test_convolution_of_upsampled_cells_multiplies_each_once(x: SparseTensor) -> None:
    conv, coarse = SparseConv3d(8, 5, 3), downsample(x, 2)
    assert_close(conv(coarse, upsample=x.voxels).feats, conv(upsample(coarse, x.voxels, 2)).feats, 2e-6)


def test_sums_over_bags_and_over_those_that_share_a_row() -> None:
    x = torch.tensor([[1.0], [2.0], [4.0], [8.0]])
    bags = Bags(torch.tensor([3, 0, 0, 2], dtype=torch.int32), torch.tensor([0, 2, 2, 4], dtype=torch.int32), 4)
    assert bags.sums(x).tolist() == [[9.0], [0.0], [5.0]]
    assert bags.transposed.sums(x[:3]).tolist() == [[5.0], [0.0], [4.0], [1.0]]
    assert bags.transposed.transposed.sums(x).tolist() == bags.sums(x).tolist()


@pytest.mark.parametrize(
    ("convolve", "derived"), [(submanifold_conv, None), (subdivided_conv, merged_taps), (upsampled_conv, by_tap)]
)
def test_gradients_of_the_convolutions(
    convolve: Callable[[Tensor, Tensor, Tensor, VoxelSet], Tensor], derived: Callable[[Tensor], Tensor] | None
) -> None:
    """Backward, forward mode (a flow's derivative in time needs it) and backward of backward."""
    x = random_tensor((5, 4), 2, torch.float64)
    weight = torch.randn(2, 3, 3, 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    feats, bias = downsample(x, 2).feats if convolve is upsampled_conv else x.feats, weight.new_ones(2)
    inputs = [tensor.requires_grad_() for tensor in (feats, weight, bias)]

    def convolved(feats: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return convolve(feats, derived(weight) if derived else weight, bias, x.voxels)

    assert torch.autograd.gradcheck(convolved, inputs, check_forward_ad=True, fast_mode=True)
    assert torch.autograd.gradgradcheck(convolved, inputs, fast_mode=True)


def test_gradients_against_a_dense_convolution(x: SparseTensor) -> None:
    conv = SparseConv3d(8, 5, 3)
    feats = x.feats.clone().requires_grad_()
    inputs = [feats, *conv.parameters()]
    sparse = conv(x.replace(feats)).feats
    dense = reference.convolve(x.replace(feats), conv.conv.weight, conv.conv.bias)
    upstream = torch.randn(sparse.shape, generator=torch.Generator().manual_seed(2))
    for ours, theirs in zip(
        torch.autograd.grad(sparse, inputs, upstream), torch.autograd.grad(dense, inputs, upstream), strict=True
    ):
        assert_close(ours, theirs, 2e-6)


@pytest.mark.parametrize("subdivide", [False, True])
def test_convolution_in_half_precision(x: SparseTensor, subdivide: bool) -> None:
    conv = SparseConv3d(8, 5, 3)
    feats = x.feats.clone().requires_grad_()
    inputs = [feats, *conv.parameters()]
    exact = conv(x.replace(feats), subdivide=subdivide).feats
    with torch.autocast("cpu", torch.bfloat16):
        half = conv(x.replace(feats), subdivide=subdivide).feats
    assert_close(half.float(), exact, 0.02)
    upstream = torch.randn(exact.shape, generator=torch.Generator().manual_seed(3))
    for rough, fine in zip(
        torch.autograd.grad(half, inputs, upstream), torch.autograd.grad(exact, inputs, upstream), strict=True
    ):
        assert rough.dtype == torch.float32
        assert_close(rough, fine, 0.02)


# --- resampling and normalisation ------------------------------------------------------------------------------------


def test_a_coarse_cell_counts_its_zero_initial_value() -> None:
    x = SparseTensor(torch.tensor([[3.0], [5.0], [10.0]]), torch.tensor([[0, 0, 0, 0], [0, 1, 1, 1], [0, 2, 0, 0]]))
    coarse = downsample(x, 2)
    assert_close(coarse.feats, torch.tensor([[8 / 3], [5.0]]), 1e-7)
    assert coarse.coords.tolist() == [[0, 0, 0, 0], [0, 1, 0, 0]]


def test_downsampling_against_a_loop(x: SparseTensor) -> None:
    coarse, cells = downsample(x, 2), reference.downsample(x, 2)
    assert [tuple(cell) for cell in coarse.coords.tolist()] == list(cells)
    assert_close(coarse.feats, torch.stack(list(cells.values())), 1e-6)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_a_cells_sum_has_the_same_bytes_in_any_order_of_its_voxels(device: str) -> None:
    x = random_tensor((200,), 16, torch.float16).to(device)
    shuffled = torch.randperm(200, generator=torch.Generator().manual_seed(0)).to(device)
    other = SparseTensor(x.feats[shuffled], x.coords[shuffled])
    assert torch.equal(downsample(x, 2).feats, downsample(other, 2).feats)


def test_upsampling_needs_the_voxels_that_were_downsampled(x: SparseTensor) -> None:
    with pytest.raises(ValueError, match="coarse cells"):
        upsample(downsample(x, 2), VoxelSet(x.coords), 2)


@pytest.mark.parametrize("counts", [(50,), (30, 1, 20)])
def test_group_norm_and_its_gradients_against_a_dense_one(counts: tuple[int, ...]) -> None:
    x = random_tensor(counts, 8, torch.float32)
    norm = SparseGroupNorm32(4, 8)
    torch.nn.init.normal_(norm.weight)
    inputs = [x.feats.requires_grad_(), *norm.parameters()]
    ours, dense = norm(x).feats, reference.group_norm(x, 4, norm.weight, norm.bias)
    assert_close(ours, dense, 2e-6)
    upstream = torch.randn(ours.shape, generator=torch.Generator().manual_seed(3))
    for mine, theirs in zip(
        torch.autograd.grad(ours, inputs, upstream), torch.autograd.grad(dense, inputs, upstream), strict=True
    ):
        assert_close(mine, theirs, 1e-5)


# --- attention -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "shift"), [(4, 0), (4, 2), (3, 1)])
def test_attention_in_windows_against_a_loop(x: SparseTensor, size: int, shift: int) -> None:
    q, k, v = torch.randn(3, 100, 2, 4, generator=torch.Generator().manual_seed(4)).requires_grad_()
    ours = attention.self_attention(q, k, v, x.voxels.windows(size, shift))
    loop = reference.attend_within(q, k, v, reference.window_of(x.coords, size, shift))
    assert_close(ours, loop, 1e-6)
    for mine, theirs in zip(
        torch.autograd.grad(ours.square().sum(), (q, k, v)),
        torch.autograd.grad(loop.square().sum(), (q, k, v)),
        strict=True,
    ):
        assert_close(mine, theirs, 1e-5)


@pytest.mark.parametrize("counts", [(30,), (20, 20), (30, 1, 9)])
def test_attention_over_items_and_to_a_context_against_loops(counts: tuple[int, ...]) -> None:
    voxels = random_tensor(counts, 1).voxels
    generator = torch.Generator().manual_seed(5)
    q, k, v = torch.randn(3, len(voxels), 2, 4, generator=generator)
    item = [(b,) for b in voxels.batch.tolist()]
    assert_close(attention.self_attention(q, k, v, voxels.items()), reference.attend_within(q, k, v, item), 1e-6)
    keys, values = torch.randn(2, len(counts), 6, 2, 4, generator=generator)
    expected = reference.attend_context(q, keys, values, voxels.batch)
    assert_close(attention.cross_attention(q, keys, values, voxels), expected, 1e-6)


@pytest.mark.parametrize("counts", [(7,), (3, 9, 5)])  # alone, and padded
def test_attention_in_half_precision_learns_as_in_full(counts: tuple[int, ...]) -> None:
    """On a CPU it is taken apart for training, which the outputs and the gradients must not show."""
    voxels = random_tensor(counts, 1).voxels
    torch.manual_seed(0)
    inputs = torch.randn(3, sum(counts), 2, 8)

    def learned(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        x = inputs.to(dtype).requires_grad_(True)
        q, k, v = x
        out = attention.self_attention(q, k, v, voxels.items())
        out.float().square().sum().backward()
        assert x.grad is not None
        return out.detach().float(), x.grad.float()

    for half, full in zip(learned(torch.bfloat16), learned(torch.float32), strict=True):
        assert_close(half, full, 0.02 * full.abs().max().item())


def _one_group_after_another(q: Tensor, k: Tensor, v: Tensor, starts: Tensor, longest: int) -> Tensor:
    """What the GPU's kernel computes."""
    ends = starts.tolist()
    assert max(stop - start for start, stop in pairwise(ends)) == longest
    parts = [slice(start, stop) for start, stop in pairwise(ends)]
    return torch.cat([attention.attend(q[None, p], k[None, p], v[None, p])[0].view_as(q[p]) for p in parts])


@pytest.mark.parametrize(("size", "shift"), [(2, 0), (4, 2)])
def test_groups_in_turn_attend_as_padded_ones(
    x: SparseTensor, size: int, shift: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    q, k, v = torch.randn(3, len(x.feats), 2, 4)
    groups = x.voxels.windows(size, shift)
    monkeypatch.setattr(attention, "_flash", _one_group_after_another)
    assert_close(attention.attend_in_turn(q, k, v, groups), attention.self_attention(q, k, v, groups), 1e-6)


@pytest.mark.gpu
def test_groups_in_turn_on_the_gpu(x: SparseTensor) -> None:
    device = torch.device("cuda")
    q, k, v = torch.randn(3, len(x.feats), 2, 64, device=device).half()
    groups = x.voxels.to(device).windows(4, 2)
    assert attention.takes_lengths(device)
    with torch.no_grad():
        ours = attention.self_attention(q, k, v, groups)
    q, k, v = (a.float().cpu() for a in (q, k, v))
    plain = attention.self_attention(q, k, v, x.voxels.windows(4, 2))
    assert_close(ours.float().cpu(), plain, 2e-3)


def test_padding_and_back_is_the_identity(x: SparseTensor) -> None:
    groups = x.voxels.windows(4, 2)
    assert any(part.filled is not None for part in groups.parts)
    held = [part.rows.numel() if part.filled is None else int(part.filled.sum()) for part in groups.parts]
    assert sum(held) == len(x.feats)
    assert torch.equal(groups.unpad([part.pad(x.feats) for part in groups.parts]), x.feats)


def test_groups_of_similar_sizes_are_padded_together() -> None:
    counts = (5, 40, 300, 45, 0, 290, 120)
    coords = [(i, k % 16, k // 16 % 16, k // 256) for i, count in enumerate(counts) for k in range(count)]
    voxels = VoxelSet(torch.tensor(coords))
    groups = voxels.items()
    assert sorted(part.rows.shape for part in groups.parts) == [(1, 5), (1, 120), (2, 45), (2, 300)]
    for part in groups.parts:
        assert torch.equal(part.pad(voxels.batch)[:, 0], part.batch)
    assert torch.equal(groups.group, torch.repeat_interleave(torch.tensor([5, 40, 300, 45, 290, 120])))
    assert groups.longest == 300
