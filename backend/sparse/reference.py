"""Slow, simple versions of the sparse operations, with dense volumes and loops. Tests compare with them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .tensor import SparseTensor


def to_dense(x: SparseTensor, side: int) -> Tensor:
    """Features [N, C] in a volume [B, C, side, side, side], zero where there is no voxel."""
    batch, i, j, k = x.coords.long().unbind(1)
    volume = x.feats.new_zeros(x.batch_size, side, side, side, x.feats.shape[1])
    return volume.index_put((batch, i, j, k), x.feats).movedim(-1, 1)


def from_dense(volume: Tensor, x: SparseTensor) -> Tensor:
    """The features [N, C] of a volume [B, C, X, Y, Z] at the voxels of ``x``."""
    batch, i, j, k = x.coords.long().unbind(1)
    return volume.movedim(1, -1)[batch, i, j, k]


def convolve(x: SparseTensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A dense convolution with ``weight`` [O, 3, 3, 3, I] and ``bias`` [O], sampled at the voxels: [N, O]."""
    volume = to_dense(x, int(x.coords[:, 1:].max()) + 1)
    return from_dense(F.conv3d(volume, weight.movedim(-1, 1), bias, padding=1), x)


def window_of(coords: Tensor, size: int, shift: int) -> list[tuple[int, ...]]:
    """The window of each voxel of ``coords`` [N, 4], as its batch item and its position in the grid of windows."""
    return [(b, (x + shift) // size, (y + shift) // size, (z + shift) // size) for b, x, y, z in coords.tolist()]


def attend_within(q: Tensor, k: Tensor, v: Tensor, group: Sequence[tuple[int, ...]]) -> Tensor:
    """Attention of each voxel [N, heads, dim] to the voxels of its group, one voxel at a time: [N, heads * dim]."""
    rows = []
    for i, name in enumerate(group):
        members = [j for j, other in enumerate(group) if other == name]
        rows.append(_attend(q[i], k[members], v[members]))
    return torch.stack(rows)


def attend_context(q: Tensor, k: Tensor, v: Tensor, batch: Tensor) -> Tensor:
    """Attention of each voxel [N, heads, dim] to the tokens [B, L, heads, dim] of its item, one voxel at a time."""
    return torch.stack([_attend(q[i], k[item], v[item]) for i, item in enumerate(batch.tolist())])


def _attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """One query [heads, dim] to keys and values [L, heads, dim]: [heads * dim]."""
    weights = torch.softmax((k * q).sum(-1) / q.shape[-1] ** 0.5, dim=0)
    return (weights[..., None] * v).sum(0).flatten()


def group_norm(x: SparseTensor, groups: int, weight: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
    """A dense group norm of each batch item on its own: [N, C]."""
    items = [x.feats[rows].t()[None] for rows in x.layout]
    return torch.cat([F.group_norm(item, groups, weight, bias, eps)[0].t() for item in items])


def downsample(x: SparseTensor, factor: int) -> dict[tuple[int, ...], Tensor]:
    """The sum of the n voxels in each occupied cell (batch, x, y, z), divided by n + 1; cells in ascending order."""
    members: dict[tuple[int, ...], list[Tensor]] = {}
    for cell, feats in zip(window_of(x.coords, factor, 0), x.feats, strict=True):
        members.setdefault(cell, []).append(feats)
    return {cell: torch.stack(feats).sum(0) / (len(feats) + 1) for cell, feats in sorted(members.items())}
