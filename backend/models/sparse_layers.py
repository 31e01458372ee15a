"""Transformer layers over sparse tensors: the attention modules and blocks that the latent networks share.

Parameters have the names of the published state dicts (``attn.to_qkv``, ``mlp.mlp.0``, ``adaLN_modulation.1``, ...).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..sparse.attention import cross_attention, self_attention
from ..sparse.tensor import SparseTensor
from .layers import FeedForwardNet, LayerNorm32, ModulatedCrossBlock, MultiHeadRMSNorm
from .rotary import Rotation


class SparseSelfAttention(nn.Module):
    """Multi-head attention among the voxels of a batch item, or of a window if ``window_size`` is given.

    A window holds the voxels of an item with the same ``(coordinate + shift) // window_size`` (Liu et al. 2021, without
    their wrap-around and position bias).
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        *,
        window_size: int | None = None,
        shift: int = 0,
        qk_rms_norm: bool = False,
        qkv_bias: bool = True,
    ) -> None:
        super().__init__()
        self.heads = heads
        self.window_size = window_size
        self.shift = shift
        self.to_qkv = nn.Linear(channels, 3 * channels, bias=qkv_bias)
        self.q_rms_norm = MultiHeadRMSNorm(channels // heads, heads) if qk_rms_norm else nn.Identity()
        self.k_rms_norm = MultiHeadRMSNorm(channels // heads, heads) if qk_rms_norm else nn.Identity()
        self.to_out = nn.Linear(channels, channels)

    def forward(self, x: SparseTensor, rotation: Rotation | None = None) -> SparseTensor:
        """Features [N, C] to [N, C]. A ``rotation`` of the N voxels turns queries and keys, after their norm."""
        q, k, v = self.to_qkv(x.feats).unflatten(-1, (3, self.heads, -1)).unbind(1)
        q, k = self.q_rms_norm(q), self.k_rms_norm(k)
        if rotation is not None:
            q, k = rotation.of_neighbours(q), rotation.of_neighbours(k)
        groups = x.voxels.items() if self.window_size is None else x.voxels.windows(self.window_size, self.shift)
        return x.replace(self.to_out(self_attention(q, k, v, groups)))


class SparseCrossAttention(nn.Module):
    """Multi-head attention of every voxel to the context [B, L, context_channels] of its batch item."""

    def __init__(self, channels: int, context_channels: int, heads: int, *, qk_rms_norm: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(channels, channels)
        self.to_kv = nn.Linear(context_channels, 2 * channels)
        self.q_rms_norm = MultiHeadRMSNorm(channels // heads, heads) if qk_rms_norm else nn.Identity()
        self.k_rms_norm = MultiHeadRMSNorm(channels // heads, heads) if qk_rms_norm else nn.Identity()
        self.to_out = nn.Linear(channels, channels)

    def forward(self, x: SparseTensor, context: Tensor) -> SparseTensor:
        """Features [N, C] and context [B, L, context_channels] to [N, C]."""
        q = self.to_q(x.feats).unflatten(-1, (self.heads, -1))
        k, v = self.to_kv(context).unflatten(-1, (2, self.heads, -1)).unbind(2)
        return x.replace(self.to_out(cross_attention(self.q_rms_norm(q), self.k_rms_norm(k), v, x.voxels)))


class SparseTransformerBlock(nn.Module):
    """Self-attention and MLP, each after a layer norm and added to the input."""

    def __init__(
        self,
        channels: int,
        heads: int,
        *,
        mlp_ratio: float = 4.0,
        window_size: int | None = None,
        shift: int = 0,
        qk_rms_norm: bool = False,
    ) -> None:
        super().__init__()
        self.norm1 = LayerNorm32(channels, elementwise_affine=False, eps=1e-6)
        self.norm2 = LayerNorm32(channels, elementwise_affine=False, eps=1e-6)
        self.attn = SparseSelfAttention(channels, heads, window_size=window_size, shift=shift, qk_rms_norm=qk_rms_norm)
        self.mlp = FeedForwardNet(channels, mlp_ratio)

    def forward(self, x: SparseTensor) -> SparseTensor:
        """Features [N, C] to [N, C]."""
        x = x + self.attn(x.replace(self.norm1(x.feats)))
        return x.replace(x.feats + self.mlp(self.norm2(x.feats)))


class ModulatedSparseTransformerCrossBlock(ModulatedCrossBlock):
    """Self-attention, cross-attention to the condition, and MLP; the time modulates the first and the last.

    With ``share_mod`` the caller passes the six modulation vectors [B, 6 C] instead of the embedding [B, C].
    """

    def __init__(
        self,
        channels: int,
        context_channels: int,
        heads: int,
        *,
        mlp_ratio: float = 4.0,
        qk_rms_norm: bool = False,
        qk_rms_norm_cross: bool = False,
        share_mod: bool = False,
        own_mod: bool = False,
    ) -> None:
        self_attn = SparseSelfAttention(channels, heads, qk_rms_norm=qk_rms_norm)
        cross_attn = SparseCrossAttention(channels, context_channels, heads, qk_rms_norm=qk_rms_norm_cross)
        super().__init__(channels, self_attn, cross_attn, mlp_ratio=mlp_ratio, share_mod=share_mod, own_mod=own_mod)

    def forward(
        self, x: SparseTensor, embedding: Tensor, context: Tensor, rotation: Rotation | None = None
    ) -> SparseTensor:
        """[N, C], embedding [B, C] (or modulation [B, 6 C]) and context [B, L, context_channels] to [N, C].

        A ``rotation`` of the N voxels is applied in the self-attention alone.
        """
        modulation = (x.voxels.spread(part) for part in self.modulations(embedding))
        shift_attn, scale_attn, gate_attn, shift_mlp, scale_mlp, gate_mlp = modulation
        h = x.feats
        modulated = x.replace(self.norm1.modulated(h, scale_attn, shift_attn))
        h = torch.addcmul(h, gate_attn, self.self_attn(modulated, rotation).feats)
        h = h + self.cross_attn(x.replace(self.norm2(h)), context).feats
        return x.replace(torch.addcmul(h, gate_mlp, self.mlp(self.norm3.modulated(h, scale_mlp, shift_mlp))))
