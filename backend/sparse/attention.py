"""Attention: of tokens, among the voxels of a batch item or a window, and from voxels to a dense context.

Groups of voxels (items or windows) are padded to the same length and attend in a single call. A single group that holds
every voxel needs no padding.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from .tensor import Groups, VoxelSet


def self_attention(q: Tensor, k: Tensor, v: Tensor, groups: Groups) -> Tensor:
    """Softmax attention among the voxels of each group: q, k and v [N, heads, dim] to [N, heads * dim]."""
    if groups.alone:
        return attend(q[None], k[None], v[None])[0]
    mask = None if groups.filled is None else groups.filled[:, None, None]
    return groups.unpad(attend(groups.pad(q), groups.pad(k), groups.pad(v), mask))


def cross_attention(q: Tensor, k: Tensor, v: Tensor, voxels: VoxelSet) -> Tensor:
    """Softmax attention of voxels [N, heads, dim] to their item's tokens [B, L, heads, dim]: [N, heads * dim]."""
    if voxels.batch_size == 1:
        return attend(q[None], k, v)[0]
    groups = voxels.items()
    return groups.unpad(attend(groups.pad(q), k.index_select(0, groups.batch), v.index_select(0, groups.batch)))


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Softmax attention of queries [M, L, heads, dim] to keys and values [M, K, heads, dim], as [M, L, heads * dim].

    ``mask``, which broadcasts against [M, heads, L, K], is True for the keys that count.
    """
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)
