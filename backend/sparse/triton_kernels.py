"""Sparse operations as Triton kernels: inference in half precision on CUDA, sums in fp32, no atomics.

The convolution is an implicit matrix product: a program gathers the neighbours of a block of voxels straight into the
matrix units, where ``convolution`` writes them to memory first (27 times the features) and reads them back. The order
of the sums is fixed, so results do not vary from run to run. Only ``dispatch`` imports this module, since Triton may be
missing.

What Triton compiles is kept in the Python environment that runs it, and removed with it, as what numba compiles is. If
that cannot be written, it goes where Triton itself would put it.

With the environment variable ``TRITON_INTERPRET=1`` the kernels run on a CPU, slowly, for tests.
"""

from __future__ import annotations

import functools
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

from .tensor import VoxelSet

#: Bytes of shared memory that a program may have, by compute capability.
SHARED_MEMORY = {(8, 0): 163 << 10, (8, 7): 163 << 10, (9, 0): 227 << 10, (10, 0): 227 << 10, (10, 3): 227 << 10}
LEAST_SHARED_MEMORY = 99 << 10  # all others
TILE = 1 << 13  # elements that a program of the group norm holds in registers
if "TRITON_CACHE_DIR" not in os.environ and os.access(sys.prefix, os.W_OK):
    os.environ["TRITON_CACHE_DIR"] = str(Path(sys.prefix) / "compiled" / "triton")

#: How a row of the result finds its neighbours: in the table of its own voxels, in that of their parents (the voxels
#: are all children), or as a child that is made of a parent here.
OWN, PARENTS, SUBDIVIDED = tl.constexpr(0), tl.constexpr(1), tl.constexpr(2)


@dataclass(frozen=True)
class Blocks:
    """The shape of a program: voxels, output channels and input channels at a time; warps and pipeline stages.

    With ``split`` it makes half as many output channels more, in a second product of the same gathered features: 192
    and 96 channels are not powers of two, but 128 + 64 and 64 + 32.
    """

    rows: int
    columns: int
    depth: int
    warps: int
    stages: int
    split: bool = False

    @property
    def width(self) -> int:
        """The output channels of a program."""
        return self.columns * 3 // 2 if self.split else self.columns

    def shared(self, capability: tuple[int, int]) -> int:
        """Bytes of shared memory. A stage in two has operands; the others read the table. Hopper holds one set more."""
        buffers = (self.stages + 1) // 2 if (9, 0) <= capability < (12, 0) else (self.stages - 1) // 2
        return buffers * ((self.rows + self.width) * self.depth * 2 + self.rows * 4)


@functools.cache
def candidates(in_channels: int, out_channels: int, capability: tuple[int, int]) -> tuple[Blocks, ...]:
    """Shapes that may suit a convolution and fit the device's shared memory, the one in use first."""
    depth = next((d for d in (64, 32, 16) if in_channels % d == 0), 16 if in_channels < 16 else 32)
    columns = min(max(1 << (out_channels - 1).bit_length(), 16), 128)
    shapes = [(128, columns, 8, 5, False), (128, columns, 8, 3, False)]
    if out_channels % 96 == 0 and out_channels % 128:
        wide = 128 if out_channels % 192 == 0 else 64
        split = [(128, wide, 8, 5), (128, wide, 8, 3), (64, wide, 4, 5), (64, wide, 4, 3), (128, wide // 2, 4, 5)]
        shapes = [(*shape, True) for shape in split] + shapes
    else:
        shapes += [(64, columns, 4, 5, False), (64, columns, 4, 3, False)]
        shapes += [(128, 64, 4, 5, False), (64, 64, 4, 5, False)] if columns > 64 else []
    found = [Blocks(rows, columns, depth, warps, stages, split) for rows, columns, warps, stages, split in shapes]
    most = SHARED_MEMORY.get(capability, LEAST_SHARED_MEMORY)
    return tuple(blocks for blocks in found if blocks.shared(capability) <= most)


def submanifold_conv(x: Tensor, weight: Tensor, bias: Tensor, voxels: VoxelSet, blocks: Blocks | None = None) -> Tensor:
    """As ``convolution.submanifold_conv``: [N, I] with ``weight`` [O, 3, 3, 3, I] and ``bias`` [O] to [N, O]."""
    table, of_parents = voxels.table_by_offset()
    return _convolve(x, weight, bias, table, (PARENTS if of_parents else OWN).value, blocks)


def subdivided_conv(x: Tensor, merged: Tensor, bias: Tensor, voxels: VoxelSet, blocks: Blocks | None = None) -> Tensor:
    """As ``convolution.subdivided_conv``: [N, I] with ``merged`` weights [O, 8, 8, I] and ``bias`` [O] to [8 N, O]."""
    return _convolve(x, merged, bias, voxels.own_table_by_offset(), SUBDIVIDED.value, blocks)


def upsampled_conv(x: Tensor, by_tap: Tensor, bias: Tensor, voxels: VoxelSet) -> Tensor:
    """As ``convolution.upsampled_conv``: [M, I] with weights ``by_tap`` [27 O, I] and ``bias`` [O] to [N, O].

    The products of the cells come from the library of matrix products. Only their sums are a kernel: gathered by torch,
    they are written and read once more, 27 for each voxel.
    """
    count, channels = len(voxels), len(bias)
    out = x.new_empty(count, channels)
    if count == 0:
        return out
    products, table = F.linear(x, by_tap), voxels.own_table_by_offset()
    rows, columns = 32, min(triton.next_power_of_2(channels), 128)
    programs = (triton.cdiv(count, rows), triton.cdiv(channels, columns))
    with torch.cuda.device_of(x):
        _sum_of_neighbours[programs](
            products, voxels.coarse(2).parent, table, bias, out, count, OUT=channels, ROWS=rows, COLUMNS=columns
        )
    return out


def group_norm_silu(x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float) -> Tensor:
    """SiLU of a group norm of one item's features [N, C], with ``weight`` and ``bias`` [C]: [N, C].

    The features are read twice and written once. Mean and squared deviations of each chunk of rows come first, and are
    combined as Chan, Golub and LeVeque (1979) do, so a large mean costs no digits.
    """
    (count, channels), out = x.shape, torch.empty_like(x)
    if count == 0:
        return out
    x, width = x.contiguous(), triton.next_power_of_2(channels)
    rows = max(1, TILE // width)
    chunks = triton.cdiv(count, rows)
    partial = x.new_empty(2, chunks, channels, dtype=torch.float32)
    found = x.new_empty(2, channels, dtype=torch.float32)
    shape = {"CHANNELS": channels, "ROWS": rows, "WIDTH": width, "num_warps": 8}
    with torch.cuda.device_of(x):
        _chunk_statistics[(chunks,)](x, partial, count, chunks, **shape)
        _group_statistics[(groups,)](
            partial,
            weight,
            found,
            count,
            chunks,
            eps,
            CHANNELS=channels,
            MEMBERS=channels // groups,
            CHUNK_ROWS=rows,
            CHUNKS=256,
            WIDTH=triton.next_power_of_2(channels // groups),
        )
        _normalise_silu[(chunks,)](x, found, bias, out, count, **shape)
    return out


def trial(device: torch.device) -> None:
    """Run one kernel and compare. Raises whatever goes wrong."""
    voxels = VoxelSet(torch.tensor([[0, 1, 1, z] for z in range(20)], device=device))
    x = torch.eye(20, 16, dtype=torch.float16, device=device)
    weight = x.new_ones(16, 3, 3, 3, 16)
    found, table = submanifold_conv(x, weight, x.new_zeros(16), voxels), voxels.neighbours.tolist()
    expected = [sum(row < 16 for row in rows) for rows in table]
    if found[:, 0].tolist() != expected:
        raise ArithmeticError(f"a convolution gave {found[:, 0].tolist()} instead of {expected}")


def capability_of(device: torch.device) -> tuple[int, int]:
    """The compute capability, that of no device for the interpreter."""
    return torch.cuda.get_device_capability(device) if device.type == "cuda" else (0, 0)


def _convolve(x: Tensor, weight: Tensor, bias: Tensor, table: Tensor, mode: int, blocks: Blocks | None) -> Tensor:
    (count, in_channels), out_channels = x.shape, len(weight)
    children = 8 if mode == SUBDIVIDED.value else 1
    out = x.new_empty(children * count, out_channels)
    blocks = blocks or candidates(in_channels, out_channels, capability_of(x.device))[0]
    programs = triton.cdiv(count, blocks.rows) * triton.cdiv(out_channels, blocks.width) * children
    if programs == 0:
        return out
    with torch.cuda.device_of(x):
        _convolution[(programs,)](
            x.contiguous(),
            weight.contiguous(),
            table,
            bias,
            out,
            count,
            MODE=mode,
            IN=in_channels,
            OUT=out_channels,
            ROWS=blocks.rows,
            COLUMNS=blocks.columns,
            DEPTH=blocks.depth,
            SPLIT=blocks.split,
            num_warps=blocks.warps,
            num_stages=blocks.stages,
        )
    return out


@triton.jit
def _neighbour(
    table: tl.tensor, count: tl.tensor, i: tl.tensor, tap: tl.tensor, child: tl.tensor, MODE: tl.constexpr
) -> tl.tensor:
    """The rows that a tap of the voxels ``i`` reads; those from ``count`` on mean that there is no voxel."""
    if MODE == SUBDIVIDED:  # ``tap`` counts the 2 x 2 x 2 parents within the child's reach
        x, y, z = (child >> 2) + (tap >> 2), (child >> 1 & 1) + (tap >> 1 & 1), (child & 1) + (tap & 1)
        return tl.load(table + (x * 9 + y * 3 + z) * count + i, mask=i < count, other=count)
    if MODE == PARENTS:  # see ``tensor.neighbours_of_children``; 1 is added for the division
        x, y, z = (i >> 2 & 1) + tap // 9 + 1, (i >> 1 & 1) + tap // 3 % 3 + 1, (i & 1) + tap % 3 + 1
        parent, parents = (x >> 1) * 9 + (y >> 1) * 3 + (z >> 1), count // 8
        row = tl.load(table + parent * parents + (i >> 3), mask=i < count, other=parents)
        return row * 8 + (x & 1) * 4 + (y & 1) * 2 + (z & 1)
    return tl.load(table + tap * count + i, mask=i < count, other=count)


@triton.jit
def _weights(
    weight: tl.tensor,
    o: tl.tensor,
    step: tl.tensor,
    channel: tl.tensor,
    IN: tl.constexpr,
    OUT: tl.constexpr,
    STRIDE: tl.constexpr,
) -> tl.tensor:
    """A block [channels, outputs] of the weights."""
    where = weight + (o * STRIDE + step)[None, :] + channel[:, None]
    return tl.load(where, mask=(channel < IN)[:, None] & (o < OUT)[None, :], other=0.0)


@triton.jit
def _finish(
    acc: tl.tensor, bias: tl.tensor, out: tl.tensor, row: tl.tensor, there: tl.tensor, o: tl.tensor, OUT: tl.constexpr
) -> None:
    """Add the bias and write a block of the result."""
    acc += tl.load(bias + o, mask=o < OUT, other=0.0).to(tl.float32)[None, :]
    where = out + row.to(tl.int64)[:, None] * OUT + o[None, :]
    tl.store(where, acc.to(out.dtype.element_ty), mask=there[:, None] & (o < OUT)[None, :])


@triton.jit(do_not_specialize=["count"])  # else 1 and every multiple of 16 would be compiled anew
def _convolution(
    x: tl.tensor,
    weight: tl.tensor,
    table: tl.tensor,
    bias: tl.tensor,
    out: tl.tensor,
    count: tl.tensor,
    MODE: tl.constexpr,
    IN: tl.constexpr,
    OUT: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    DEPTH: tl.constexpr,
    SPLIT: tl.constexpr,
) -> None:
    """``out[i] = bias + sum_k weight[:, k] x[neighbour k of i]``; one program makes [ROWS, COLUMNS] of it.

    ``x`` [count, IN], ``table`` [27, voxels of the mode], ``weight`` [OUT, 27, IN], or of a subdivision
    [OUT, 8 children, 8 parents, IN]. Programs that share features are neighbours, so that they find them in the cache.
    """
    TAPS: tl.constexpr = 8 if MODE == SUBDIVIDED else 27
    CHILDREN: tl.constexpr = 8 if MODE == SUBDIVIDED else 1
    WIDTH: tl.constexpr = COLUMNS + COLUMNS // 2 if SPLIT else COLUMNS
    ACROSS: tl.constexpr = (OUT + WIDTH - 1) // WIDTH
    CHUNKS: tl.constexpr = (IN + DEPTH - 1) // DEPTH
    STRIDE: tl.constexpr = CHILDREN * TAPS * IN

    program = tl.program_id(0)
    child = program % CHILDREN
    first = program // CHILDREN % ACROSS * WIDTH
    i = program // (CHILDREN * ACROSS) * ROWS + tl.arange(0, ROWS)
    o = first + tl.arange(0, COLUMNS)
    acc = tl.zeros((ROWS, COLUMNS), dtype=tl.float32)
    if SPLIT:
        o_more = first + COLUMNS + tl.arange(0, COLUMNS // 2)
        more = tl.zeros((ROWS, COLUMNS // 2), dtype=tl.float32)
    for step in range(TAPS * CHUNKS):  # a single loop, so that loads run ahead across taps
        tap, channel = step // CHUNKS, step % CHUNKS * DEPTH + tl.arange(0, DEPTH)
        row = _neighbour(table, count, i, tap, child, MODE)
        where = x + row.to(tl.int64)[:, None] * IN + channel[None, :]
        a = tl.load(where, mask=(row < count)[:, None] & (channel < IN)[None, :], other=0.0)
        at = (child * TAPS + tap) * IN
        acc = tl.dot(a, _weights(weight, o, at, channel, IN, OUT, STRIDE), acc)
        if SPLIT:
            more = tl.dot(a, _weights(weight, o_more, at, channel, IN, OUT, STRIDE), more)
    row = i * CHILDREN + child
    _finish(acc, bias, out, row, i < count, o, OUT)
    if SPLIT:
        _finish(more, bias, out, row, i < count, o_more, OUT)


@triton.jit(do_not_specialize=["count"])
def _sum_of_neighbours(
    products: tl.tensor,
    parent: tl.tensor,
    table: tl.tensor,
    bias: tl.tensor,
    out: tl.tensor,
    count: tl.tensor,
    OUT: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
) -> None:
    """``out[i] = bias + sum_k products[parent[neighbour k of i], k]``, with ``products`` [cells, 27, OUT]."""
    i = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    o = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    acc = tl.zeros((ROWS, COLUMNS), dtype=tl.float32)
    for tap in range(27):
        row = _neighbour(table, count, i, tap, 0, OWN)
        cell = tl.load(parent + row, mask=row < count, other=0)
        where = products + (cell * 27 + tap)[:, None] * OUT + o[None, :]
        acc += tl.load(where, mask=(row < count)[:, None] & (o < OUT)[None, :], other=0.0).to(tl.float32)
    _finish(acc, bias, out, i, i < count, o, OUT)


@triton.jit(do_not_specialize=["count", "chunks"])
def _chunk_statistics(
    x: tl.tensor,
    partial: tl.tensor,
    count: tl.tensor,
    chunks: tl.tensor,
    CHANNELS: tl.constexpr,
    ROWS: tl.constexpr,
    WIDTH: tl.constexpr,
) -> None:
    """Of each chunk of rows and each channel the mean and the sum of squared deviations: ``partial`` [2, chunks, C]."""
    chunk, c = tl.program_id(0), tl.arange(0, WIDTH)
    row = chunk * ROWS + tl.arange(0, ROWS)
    there = (row < count)[:, None] & (c < CHANNELS)[None, :]
    value = tl.load(x + row.to(tl.int64)[:, None] * CHANNELS + c[None, :], mask=there, other=0.0).to(tl.float32)
    mean = tl.sum(value, 0) / tl.minimum(count - chunk * ROWS, ROWS)
    deviation = tl.where(there, value - mean[None, :], 0.0)
    where = partial + chunk * CHANNELS + c
    tl.store(where, mean, mask=c < CHANNELS)
    tl.store(where + chunks * CHANNELS, tl.sum(deviation * deviation, 0), mask=c < CHANNELS)


@triton.jit(do_not_specialize=["count", "chunks"])
def _group_statistics(
    partial: tl.tensor,
    weight: tl.tensor,
    found: tl.tensor,
    count: tl.tensor,
    chunks: tl.tensor,
    eps: tl.tensor,
    CHANNELS: tl.constexpr,
    MEMBERS: tl.constexpr,
    CHUNK_ROWS: tl.constexpr,
    CHUNKS: tl.constexpr,
    WIDTH: tl.constexpr,
) -> None:
    """Of each channel the mean of its group, and the weight over the group's standard deviation: ``found`` [2, C]."""
    m = tl.arange(0, WIDTH)
    c = tl.program_id(0) * MEMBERS + m
    values = count.to(tl.float32) * MEMBERS
    sums = tl.zeros((CHUNKS, WIDTH), dtype=tl.float32)
    for first in range(0, chunks, CHUNKS):
        chunk = first + tl.arange(0, CHUNKS)
        there = (chunk < chunks)[:, None] & (m < MEMBERS)[None, :]
        rows = tl.minimum(count - chunk * CHUNK_ROWS, CHUNK_ROWS).to(tl.float32)
        sums += tl.load(partial + chunk[:, None] * CHANNELS + c[None, :], mask=there, other=0.0) * rows[:, None]
    mean = tl.sum(tl.sum(sums, 0), 0) / values
    squares = tl.zeros((CHUNKS, WIDTH), dtype=tl.float32)
    for first in range(0, chunks, CHUNKS):
        chunk = first + tl.arange(0, CHUNKS)
        there = (chunk < chunks)[:, None] & (m < MEMBERS)[None, :]
        rows = tl.minimum(count - chunk * CHUNK_ROWS, CHUNK_ROWS).to(tl.float32)
        where = partial + chunk[:, None] * CHANNELS + c[None, :]
        apart = tl.where(there, tl.load(where, mask=there, other=0.0) - mean, 0.0)
        within = tl.load(where + chunks * CHANNELS, mask=there, other=0.0)
        squares += within + apart * apart * rows[:, None]
    variance = tl.sum(tl.sum(squares, 0), 0) / values
    gain = tl.load(weight + c, mask=m < MEMBERS, other=0.0).to(tl.float32) / tl.sqrt(variance + eps)
    tl.store(found + c, mean + tl.zeros_like(gain), mask=m < MEMBERS)
    tl.store(found + CHANNELS + c, gain, mask=m < MEMBERS)


@triton.jit(do_not_specialize=["count"])
def _normalise_silu(
    x: tl.tensor,
    found: tl.tensor,
    bias: tl.tensor,
    out: tl.tensor,
    count: tl.tensor,
    CHANNELS: tl.constexpr,
    ROWS: tl.constexpr,
    WIDTH: tl.constexpr,
) -> None:
    """``silu((x - mean) gain + bias)`` for a chunk of rows."""
    c = tl.arange(0, WIDTH)
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    there = (row < count)[:, None] & (c < CHANNELS)[None, :]
    where = row.to(tl.int64)[:, None] * CHANNELS + c[None, :]
    mean = tl.load(found + c, mask=c < CHANNELS, other=0.0)[None, :]
    gain = tl.load(found + CHANNELS + c, mask=c < CHANNELS, other=0.0)[None, :]
    shift = tl.load(bias + c, mask=c < CHANNELS, other=0.0).to(tl.float32)[None, :]
    value = (tl.load(x + where, mask=there, other=0.0).to(tl.float32) - mean) * gain + shift
    tl.store(out + where, (value / (1 + tl.exp(-value))).to(out.dtype.element_ty), mask=there)
