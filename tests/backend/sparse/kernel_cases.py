"""How far the Triton kernels are from dense references, by case; run as a program, it prints that as JSON.

Give it ``cuda`` to run them on a GPU, a line for each dtype. On a CPU this needs ``TRITON_INTERPRET=1`` from the start
of the process, which is why the tests start one. Triton's interpreter cannot multiply bf16, so that is only compared on
a GPU.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from backend.sparse import dispatch, reference, triton_kernels
from backend.sparse.convolution import SparseConv3d
from backend.sparse.normalization import SparseGroupNorm32
from backend.sparse.resample import downsample, subdivide, upsample
from backend.sparse.tensor import SparseTensor, VoxelSet
from backend.sparse.triton_kernels import Blocks

SIDE = 6
#: Voxels of each batch item, input and output channels: of several blocks, of less than one, one voxel, none.
SHAPES = [((90, 41), 24, 40), ((7,), 40, 96), ((1,), 16, 48), ((0,), 16, 16)]


def errors(device: str, dtype: torch.dtype) -> dict[str, float]:
    """The relative error of each case, as norms; NaN if an element was not written."""
    torch.manual_seed(0)
    torch.use_deterministic_algorithms(True, warn_only=True)  # so that memory which nobody has written holds NaN
    previous = dispatch.use("triton")
    try:
        with torch.no_grad():
            return dict([*_layers(device, dtype), *_blocks(device, dtype), *_norms(device, dtype)])
    finally:
        dispatch.use(previous)
        torch.use_deterministic_algorithms(False)


def _layers(device: str, dtype: torch.dtype) -> Iterator[tuple[str, float]]:
    """The layer as networks call it, on all kinds of voxels."""
    for counts, in_channels, out_channels in SHAPES:
        conv = SparseConv3d(in_channels, out_channels, 3).to(device, dtype)
        x = _random(counts, in_channels, device, dtype)
        fine, coarse = subdivide(x), downsample(x, 2)
        fine = fine.replace(torch.randn_like(fine.feats))
        name = f"{counts} voxels, {in_channels} to {out_channels}"
        yield f"own table, {name}", _error(conv(x), conv, x)
        yield f"parents' table, {name}", _error(conv(fine), conv, fine)
        yield f"subdivided, {name}", _error(conv(x, subdivide=True), conv, subdivide(x))
        yield f"upsampled, {name}", _error(conv(coarse, upsample=x.voxels), conv, upsample(coarse, x.voxels, 2))


def _blocks(device: str, dtype: torch.dtype) -> Iterator[tuple[str, float]]:
    """Every shape of a program that may be chosen."""
    for in_channels, out_channels in ((32, 96), (16, 192), (16, 128)):
        conv = SparseConv3d(in_channels, out_channels, 3).to(device, dtype)
        x = _random((67,), in_channels, device, dtype)
        for blocks in _distinct(triton_kernels.candidates(in_channels, out_channels, (9, 0)), device):
            made = triton_kernels.submanifold_conv(x.feats, conv.conv.weight, conv.conv.bias, x.voxels, blocks)
            yield f"{blocks}, {in_channels} to {out_channels}", _error(x.replace(made), conv, x)


def _norms(device: str, dtype: torch.dtype) -> Iterator[tuple[str, float]]:
    """Group norms of several chunks and of less than one, with a mean far from zero."""
    for count, channels, groups in ((200, 96, 32), (37, 1500, 12), (1, 8, 2), (0, 8, 2)):
        norm = SparseGroupNorm32(groups, channels).to(device)
        torch.nn.init.normal_(norm.weight)
        torch.nn.init.normal_(norm.bias)
        x = _random((count,), channels, device, dtype)
        x = x.replace(x.feats + 10)
        made, name = norm.silu(x).feats, f"group norm of {count} voxels, {channels} in {groups} groups"
        if not count:
            yield name, 0.0 if made.shape == (0, channels) else float("nan")
            continue
        expected = F.silu(
            reference.group_norm(x.replace(x.feats.double()), groups, norm.weight.double(), norm.bias.double())
        )
        yield name, float((made.double() - expected).norm() / expected.norm())


def _distinct(candidates: Sequence[Blocks], device: str) -> Sequence[Blocks]:
    """All of them; for the interpreter those that differ in more than warps and stages, which mean nothing to it."""
    if device != "cpu":
        return candidates
    return list({(b.rows, b.columns, b.depth, b.split): b for b in candidates}.values())


def _random(counts: tuple[int, ...], channels: int, device: str, dtype: torch.dtype) -> SparseTensor:
    """Distinct random voxels, ``counts[i]`` of them in batch item i, with random features."""
    coords: list[Tensor] = []
    for item, count in enumerate(counts):
        cells = torch.randperm(SIDE**3)[:count]
        coords.append(torch.stack([torch.full_like(cells, item), cells // 36, cells // 6 % 6, cells % 6], dim=1))
    feats = torch.randn(sum(counts), channels, device=device).to(dtype)
    return SparseTensor(feats, VoxelSet(torch.cat(coords).to(device), len(counts)))


def _error(made: SparseTensor, conv: SparseConv3d, x: SparseTensor) -> float:
    """The relative error of what ``conv`` made of ``x``."""
    if not len(x.voxels):
        return 0.0 if made.feats.shape == (0, len(conv.conv.bias)) else float("nan")
    # On the CPU: a GPU's dense convolution may round to TF32, which is coarser than what is measured here.
    weight, bias = conv.conv.weight.cpu().double(), conv.conv.bias.cpu().double()
    expected = reference.convolve(SparseTensor(x.feats.cpu().double(), x.voxels.to("cpu")), weight, bias)
    return float((made.feats.cpu().double() - expected).norm() / expected.norm())


if __name__ == "__main__":
    on = sys.argv[1] if len(sys.argv) > 1 else "cpu"
    for dtype in (torch.float16,) if on == "cpu" else dispatch.HALF:
        print(json.dumps(errors(on, dtype)))
