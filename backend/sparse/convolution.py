"""Submanifold convolution: 3 x 3 x 3 over the occupied voxels only (Graham and van der Maaten 2017).

A convolution gathers the neighbours of a slab of voxels into a buffer that fits the cache and multiplies it by the
weights. Its transpose is also a convolution, since the neighbour table is symmetric, so neither direction scatters.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .dispatch import kernels_for
from .neighbours import cube_number, cube_offsets
from .tensor import Kept, SparseTensor, VoxelSet

#: Elements of the gather buffer. On a CPU it should fit the last-level cache; a GPU works best with few, large slabs.
SLAB_ELEMENTS = {"cpu": 1 << 20, "cuda": 1 << 27}


def _slabs(rows: Tensor, x: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Slices of N voxels with their gathered neighbours [n, K * C], from ``rows`` [N, K] and features ``x`` [M, C].

    The index M means no voxel and gathers zeros. Each slab overwrites the one before.
    """
    (count, taps), channels = rows.shape, x.shape[1]
    length = _slab_length(rows, x)
    padded = F.pad(x, (0, 0, 0, 1))
    buffer = x.new_empty(min(length, count) * taps, channels)
    for start in range(0, count, length):
        index = rows[start : start + length]
        gathered = buffer[: index.numel()]
        torch.index_select(padded, 0, index.flatten(), out=gathered)
        yield slice(start, start + len(index)), gathered.view(len(index), taps * channels)


def _slab_length(rows: Tensor, x: Tensor) -> int:
    """How many voxels the slabs of ``_slabs`` have; the last one may have fewer."""
    return max(1, SLAB_ELEMENTS.get(x.device.type, 1 << 20) // (rows.shape[1] * x.shape[1]))


class _GatherMatmul(torch.autograd.Function):
    """``y[i] = sum_k weight[:, k] x[rows[i, k]]``: ``x`` [M, I], ``weight`` [O, K, I], ``rows`` [N, K] to [N, O].

    ``rows_t`` [M, K] is the transposed table with its taps in reverse order: ``rows_t[j, K - 1 - k] == i`` if and only
    if ``rows[i, k] == j``. So the gradient for ``x`` is again a gather, with the taps of the weights reversed.
    """

    @staticmethod
    def forward(x: Tensor, weight: Tensor, rows: Tensor, rows_t: Tensor) -> Tensor:
        out = x.new_empty(len(rows), len(weight))
        matrix = weight.flatten(1).t()
        for slab, gathered in _slabs(rows, x):
            torch.mm(gathered, matrix, out=out[slab])
        return out

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        _save_inputs(ctx, inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, rows, rows_t = ctx.saved_tensors
        needs_x, needs_weight, _, _ = ctx.needs_input_grad
        grad_x = _GatherMatmul.apply(grad, _transpose(weight), rows_t, rows) if needs_x else None
        grad_weight = _GatherOuter.apply(grad, x, rows, rows_t) if needs_weight else None
        return grad_x, grad_weight, None, None

    @staticmethod
    def jvp(ctx: Any, x_t: Tensor | None, weight_t: Tensor | None, *_: None) -> Tensor | None:
        x, weight, rows, rows_t = ctx.saved_tensors
        along_x = None if x_t is None else _GatherMatmul.apply(x_t, weight, rows, rows_t)
        along_weight = None if weight_t is None else _GatherMatmul.apply(x, weight_t, rows, rows_t)
        return _sum(along_x, along_weight)


class _GatherOuter(torch.autograd.Function):
    """``d[:, k] = sum_i g[i] x[rows[i, k]]^T``: ``g`` [N, O] and ``x`` [M, I] to the weights' gradient [O, K, I]."""

    @staticmethod
    def forward(g: Tensor, x: Tensor, rows: Tensor, rows_t: Tensor) -> Tensor:
        taps = rows.shape[1]
        # Slabs are summed in fp32: in half precision a large sum would swallow the small terms added to it.
        out = x.new_zeros(g.shape[1], taps * x.shape[1], dtype=torch.promote_types(x.dtype, torch.float32))
        for slab, gathered in _slabs(rows, x):
            if out.dtype == x.dtype:
                out.addmm_(g[slab].t(), gathered)
            else:
                out += g[slab].t() @ gathered
        return out.to(x.dtype).unflatten(1, (taps, -1))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        _save_inputs(ctx, inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        g, x, rows, rows_t = ctx.saved_tensors
        needs_g, needs_x, _, _ = ctx.needs_input_grad
        grad_g = _GatherMatmul.apply(x, grad, rows, rows_t) if needs_g else None
        grad_x = _GatherMatmul.apply(g, _transpose(grad), rows_t, rows) if needs_x else None
        return grad_g, grad_x, None, None

    @staticmethod
    def jvp(ctx: Any, g_t: Tensor | None, x_t: Tensor | None, *_: None) -> Tensor | None:
        g, x, rows, rows_t = ctx.saved_tensors
        along_g = None if g_t is None else _GatherOuter.apply(g_t, x, rows, rows_t)
        along_x = None if x_t is None else _GatherOuter.apply(g, x_t, rows, rows_t)
        return _sum(along_g, along_x)


def _save_inputs(ctx: Any, inputs: tuple[Tensor, ...]) -> None:
    """Keep the inputs for backward and forward-mode derivatives."""
    ctx.save_for_backward(*inputs)
    ctx.save_for_forward(*inputs)


def _transpose(weight: Tensor) -> Tensor:
    """The weights [O, K, I] of the transposed convolution, [I, K, O]."""
    return weight.flip(1).transpose(0, 2)


def _sum(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    if a is None or b is None:
        return b if a is None else a
    return a + b


def _operands(x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Both tensors in autocast's precision, if it is enabled: it does not reach into custom autograd functions."""
    device = x.device.type
    if not torch.is_autocast_enabled(device):
        return x, weight
    dtype = torch.get_autocast_dtype(device)
    return x.to(dtype), weight.to(dtype)


def submanifold_conv(x: Tensor, weight: Tensor, bias: Tensor, voxels: VoxelSet) -> Tensor:
    """Cross-correlation of features [N, I] with ``weight`` [O, 3, 3, 3, I] at the occupied voxels: [N, O]."""
    table = voxels.neighbours
    x, weight = _operands(x, weight)
    return _GatherMatmul.apply(x, weight.flatten(1, 3), table, table) + bias


def conv_to_children(x: Tensor, weight: Tensor, bias: Tensor, voxels: VoxelSet, kept: Kept) -> Tensor:
    """A ``submanifold_conv`` to the channels of eight children, of which some are kept: [N, I] to [M, O].

    ``weight`` is [8 O, 3, 3, 3, I]; child k takes the k-th O channels. Where no gradient is wanted, those of all eight
    are in memory only for a slab of voxels.
    """
    if torch.is_grad_enabled():
        return submanifold_conv(x, weight, bias, voxels).view(8 * len(x), -1).index_select(0, kept.places)
    x, weight = _operands(x, weight)
    matrix, bias = weight.flatten(1).t(), bias.to(x.dtype)
    out = x.new_empty(len(kept.places), len(bias) // 8)
    length = _slab_length(voxels.neighbours, x)
    starts = 8 * torch.arange(0, len(x) + length, length, device=x.device)
    places = torch.searchsorted(kept.places, starts).tolist()  # of all slabs: a GPU is waited for once
    for (slab, gathered), (first, last) in zip(_slabs(voxels.neighbours, x), pairwise(places), strict=True):
        children = torch.addmm(bias, gathered, matrix).view(8 * len(gathered), -1)
        torch.index_select(children, 0, kept.places[first:last] - 8 * slab.start, out=out[first:last])
    return out


def _reach(device: torch.device) -> Tensor:
    """The offsets [8 children, 8, 3] of the parents that the taps of each child reach, -1 to 1."""
    return cube_offsets(2, 0, device)[:, None] + cube_offsets(2, -1, device)


def merged_taps(weight: Tensor) -> Tensor:
    """The weights [O, 8, 8, I] of each child and each parent within its reach, from ``weight`` [O, 3, 3, 3, I].

    The 27 taps of a child reach only 2 x 2 x 2 parents, so the weights of all taps that reach the same parent are
    added: 8 products per child instead of 27.
    """
    reach = _reach(weight.device)
    met = (cube_offsets(2, 0, weight.device)[:, None] + cube_offsets(3, -1, weight.device)) >> 1  # [8, 27, 3]
    meets = (reach[:, :, None] == met[:, None]).all(-1).to(weight.dtype)  # [8, 8, 27]
    return (meets.flatten(0, 1) @ weight.flatten(1, 3)).unflatten(1, (8, 8))


def subdivided_conv(x: Tensor, merged: Tensor, bias: Tensor, voxels: VoxelSet) -> Tensor:
    """``submanifold_conv`` on the children of ``voxels``, each with the features of its parent: [N, I] to [8 N, O].

    ``merged`` are the ``merged_taps`` of the weights.
    """
    table = voxels.neighbours
    rows = [table.index_select(1, parents) for parents in cube_number(_reach(table.device), 3, -1)]
    x, merged = _operands(x, merged)
    children = [_GatherMatmul.apply(x, w, rows[p], rows[7 - p]) for p, w in enumerate(merged.unbind(1))]
    return torch.stack(children, dim=1).flatten(0, 1) + bias


def by_tap(weight: Tensor) -> Tensor:
    """The weights [27 O, I] of all products of a voxel, one tap after another, from ``weight`` [O, 3, 3, 3, I]."""
    return weight.flatten(1, 3).transpose(0, 1).flatten(0, 1)


def upsampled_conv(x: Tensor, weights: Tensor, bias: Tensor, voxels: VoxelSet) -> Tensor:
    """``submanifold_conv`` of the features of coarse cells [M, I], copied to the N finer ``voxels``: [N, O].

    All voxels of a cell share its features, so each cell is multiplied by every tap once, and each voxel sums the
    products of its neighbours' cells: a quarter of the products if a cell holds four voxels. ``weights``: ``by_tap``.
    """
    products = F.linear(x, weights).view(27 * len(x), -1)
    return voxels.products_of_cells().sums(products) + bias


class _Kernel(nn.Module):
    """Weight [O, k, k, k, I] and bias of a convolution, in the layout of the published state dicts."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_channels, *[kernel_size] * 3, in_channels))
        self.bias = nn.Parameter(torch.empty(out_channels))
        bound = 1 / math.sqrt(in_channels * kernel_size**3)  # as nn.Conv3d
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)
        self._derived: dict[Callable[[Tensor], Tensor], tuple[Tensor, int, Tensor]] = {}

    def derived(self, make: Callable[[Tensor], Tensor]) -> Tensor:
        """``make(weight)``. Without gradients it is made once, and again if the weight has been written or moved."""
        if torch.is_grad_enabled():
            return make(self.weight)
        weight = self.weight.detach()  # shares the memory, so that no other weight can take its address
        version = 0 if weight.is_inference() else weight._version
        source, made_of, made = self._derived.get(make, (None, 0, weight))
        if source is None or (source.data_ptr(), source.dtype, made_of) != (weight.data_ptr(), weight.dtype, version):
            made = make(weight)
            self._derived[make] = weight, version, made
        return made

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> _Kernel:
        """As the base class: called to cast or move. What was derived does not stay behind in memory."""
        self._derived.clear()
        return super()._apply(fn, recurse)

    def _load_from_state_dict(self, *arguments: Any) -> None:
        """As the base class: called for new weights, or none. Their memory is freed, so nothing may keep it."""
        self._derived.clear()
        super()._load_from_state_dict(*arguments)


class SparseConv3d(nn.Module):
    """Convolution of a ``SparseTensor`` with a kernel of 3 or 1 voxels per side; the voxels stay the same.

    A 1 x 1 x 1 weight is stored as [O, 1, 1, 1, I], but its memory is read as [I, O], as in the library that the
    published weights were trained with (spconv issue 450). That is not the transpose.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int) -> None:
        super().__init__()
        if kernel_size not in (1, 3):
            raise ValueError(f"kernel_size must be 1 or 3, not {kernel_size}")
        self.conv = _Kernel(in_channels, out_channels, kernel_size)

    def forward(self, x: SparseTensor, *, subdivide: bool = False, upsample: VoxelSet | None = None) -> SparseTensor:
        """Features [N, in] to [N, out].

        With ``subdivide`` the result is [8 N, out] on the voxels' children; with ``upsample`` it is on the given finer
        voxels, whose coarse cells are those of ``x``. These two (kernel size 3 only) are the convolutions of
        ``resample.subdivide(x)`` and ``resample.upsample(x)``, with less than a third of the products.
        """
        kernel, feats = self.conv, x.feats
        weight, bias = kernel.weight, kernel.bias
        if weight.shape[1] == 1:
            out_channels, in_channels = weight.shape[0], weight.shape[-1]
            return x.replace(torch.addmm(bias, feats, weight.reshape(in_channels, out_channels)))
        kernels = kernels_for(feats, weight, bias) if feats.dtype == weight.dtype else None
        if upsample is not None:
            convolve = kernels.upsampled_conv if kernels else upsampled_conv
            return SparseTensor(convolve(feats, kernel.derived(by_tap), bias, upsample), upsample)
        if subdivide:
            convolve = kernels.subdivided_conv if kernels else subdivided_conv
            return SparseTensor(convolve(feats, kernel.derived(merged_taps), bias, x.voxels), x.voxels.children())
        convolve = kernels.submanifold_conv if kernels else submanifold_conv
        return x.replace(convolve(feats, weight, bias, x.voxels))


class SubmanifoldConv3d(_Kernel):
    """A convolution of a ``SparseTensor`` with a kernel of 3 voxels per side; the voxels stay the same.

    TRELLIS.2 stores its weight and bias without the ``conv.`` that TRELLIS has before them.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 3)

    def forward(self, x: SparseTensor) -> SparseTensor:
        """Features [N, in] to [N, out]."""
        kernels = self._kernels(x)
        convolve = kernels.submanifold_conv if kernels else submanifold_conv
        return x.replace(convolve(x.feats, self.weight, self.bias, x.voxels))

    def to_children(self, x: SparseTensor, kept: Kept) -> SparseTensor:
        """Features [N, in] to [M, out / 8] on those of the children that are kept: see ``conv_to_children``."""
        kernels = self._kernels(x)
        if kernels is None:
            return SparseTensor(conv_to_children(x.feats, self.weight, self.bias, x.voxels, kept), kept.voxels)
        children = kernels.submanifold_conv(x.feats, self.weight, self.bias, x.voxels).view(8 * len(x.feats), -1)
        return SparseTensor(children.index_select(0, kept.places), kept.voxels)

    def _kernels(self, x: SparseTensor) -> ModuleType | None:
        return kernels_for(x.feats, self.weight, self.bias) if x.dtype == self.weight.dtype else None
