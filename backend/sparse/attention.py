"""Attention: of tokens, among the voxels of a batch item or a window, and from voxels to a dense context.

Groups of voxels (items or windows) attend together. Where torch has a kernel for groups of any length, on a GPU in half
precision, they stand one after another, in a single call. Elsewhere those of similar sizes are padded to the same
length. A single group that holds every voxel needs neither.
"""

from __future__ import annotations

import functools
import logging

import torch
import torch.nn.functional as F
from torch import Tensor

from .dispatch import inference
from .groups import Groups, Padded
from .tensor import VoxelSet

log = logging.getLogger(__name__)


def self_attention(q: Tensor, k: Tensor, v: Tensor, groups: Groups) -> Tensor:
    """Softmax attention among the voxels of each group: q, k and v [N, heads, dim] to [N, heads * dim]."""
    if groups.alone:
        return attend(q[None], k[None], v[None])[0]
    if q.device.type == "cuda" and inference(q, k, v) and takes_lengths(q.device):
        return attend_in_turn(q, k, v, groups)
    return groups.unpad([_attend_padded(q, k, v, part) for part in groups.parts])


def _attend_padded(q: Tensor, k: Tensor, v: Tensor, part: Padded) -> Tensor:
    mask = None if part.filled is None else part.filled[:, None, None]
    return attend(part.pad(q), part.pad(k), part.pad(v), mask)


def cross_attention(q: Tensor, k: Tensor, v: Tensor, voxels: VoxelSet) -> Tensor:
    """Softmax attention of voxels [N, heads, dim] to their item's tokens [B, L, heads, dim]: [N, heads * dim]."""
    if voxels.batch_size == 1:
        return attend(q[None], k, v)[0]
    groups = voxels.items()
    return groups.unpad(
        [attend(p.pad(q), k.index_select(0, p.batch), v.index_select(0, p.batch)) for p in groups.parts]
    )


def attend_in_turn(q: Tensor, k: Tensor, v: Tensor, groups: Groups) -> Tensor:
    """``self_attention`` of groups that stand one after another, without padding. Half precision, no derivatives."""
    q, k, v = (x.index_select(0, groups.order) for x in (q, k, v))
    return _flash(q, k, v, groups.starts, groups.longest).flatten(1).index_select(0, groups.position)


def _flash(q: Tensor, k: Tensor, v: Tensor, starts: Tensor, longest: int) -> Tensor:
    """Flash attention (Dao 2023) within the groups that begin at ``starts`` [M + 1] int32: [N, heads, dim] each.

    torch's public name for it, ``torch.nn.attention.varlen``, takes 3 s to import.
    """
    forward = torch.ops.aten._flash_attention_forward
    out: Tensor = forward(q, k, v, starts, starts, longest, longest, 0.0, False, False)[0]
    return out


@functools.lru_cache
def takes_lengths(device: torch.device) -> bool:
    """Whether a CUDA device has the kernel for groups of any length, found out once. If not, the log says why."""
    x = torch.zeros(2, 1, 64, dtype=torch.float16, device=device)
    try:
        _flash(x, x, x, torch.arange(3, dtype=torch.int32, device=device), 1)
    except (RuntimeError, NotImplementedError, AttributeError) as error:  # an old card, or a torch built without it
        reason = " ".join(str(error).split())[:200]
        log.warning("windows of voxels are padded: flash attention does not work here: %s", reason)
        return False
    return True


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Softmax attention of queries [M, L, heads, dim] to keys and values [M, K, heads, dim], as [M, L, heads * dim].

    ``mask``, which broadcasts against [M, heads, L, K], is True for the keys that count.
    """
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    if q.device.type == "cpu" and q.dtype == torch.bfloat16 and not inference(q, k, v):
        return _attend_in_products(q, k, v, mask).transpose(1, 2).flatten(2)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)


def _attend_in_products(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """The same as two products with a softmax between them, in half precision. On a CPU its derivative takes less than
    half the time of torch's own, fused or not."""
    weights = (q * q.shape[-1] ** -0.5) @ k.mT
    if mask is not None:
        weights = weights.masked_fill(~mask, torch.finfo(weights.dtype).min)
    return weights.softmax(-1) @ v
