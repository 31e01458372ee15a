"""Layers shared by the networks: embeddings, norms that compute in fp32, attention and the modulated transformer block.

Attribute names are those of the published state dicts (``to_qkv``, ``q_rms_norm``, ``adaLN_modulation``,
``mlp.mlp.0``, ...).
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..sparse.attention import attend
from ..sparse.convolution import SparseConv3d, SubmanifoldConv3d
from .rotary import Rotation


def convert_matmuls(modules: Iterable[nn.Module], dtype: torch.dtype) -> None:
    """Cast the weights of linear layers and convolutions, dense or sparse, under ``modules``; norms and gammas stay."""
    for module in modules:
        for layer in module.modules():
            if isinstance(layer, (nn.Linear, nn.Conv3d, SparseConv3d, SubmanifoldConv3d)):
                layer.to(dtype)


def matmul_dtype(module: nn.Module) -> torch.dtype:
    """The dtype of the first matrix with a ``weight`` under ``module``: what ``convert_matmuls`` last set."""
    kinds = (nn.Linear, nn.Conv3d, SubmanifoldConv3d)
    return next(layer.weight.dtype for layer in module.modules() if isinstance(layer, kinds))


#: The dtypes that a description's ``dtype`` may name.
DTYPES = {
    "float32": torch.float32,
    "float16": torch.float16,
    "fp16": torch.float16,
    "bfloat16": torch.bfloat16,
    "bf16": torch.bfloat16,
}


class MixedPrecisionNetwork(nn.Module):
    """A network whose torso (``half_modules``) may compute in half precision; all other layers stay fp32."""

    blocks: nn.ModuleList

    def half_modules(self) -> list[nn.Module]:
        """The modules whose matrices may be kept in half precision."""
        return [self.blocks]

    @property
    def dtype(self) -> torch.dtype:
        """The dtype that the torso computes in."""
        return matmul_dtype(self.blocks)

    def convert_to_fp16(self) -> None:
        """Keep the torso's matrices in half precision."""
        convert_matmuls(self.half_modules(), torch.float16)

    def convert_to_fp32(self) -> None:
        """Keep the torso's matrices in single precision."""
        convert_matmuls(self.half_modules(), torch.float32)

    def convert_to(self, dtype: str) -> None:
        """Keep the torso's matrices in the dtype of this name. Raises ValueError for a name not in ``DTYPES``."""
        if dtype not in DTYPES:
            raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, not {dtype!r}")
        convert_matmuls(self.half_modules(), DTYPES[dtype])


def require_absolute_positions(pe_mode: str) -> None:
    """Raise ValueError unless ``pe_mode`` is "ape", the only position embedding of the published VAEs."""
    if pe_mode != "ape":
        raise ValueError(f"pe_mode must be 'ape' (absolute position embedding), not {pe_mode!r}")


def is_second_family(pe_mode: str, initialization: str | None) -> bool:
    """Whether a flow's arguments are those of TRELLIS.2, whose class names are TRELLIS's but whose blocks differ.

    Both have ``share_mod``: in TRELLIS.2 every block adds a vector of its own to the shared modulation. Only its
    descriptions say ``initialization``, and only its flows have rotary positions. Raises ValueError for another
    ``pe_mode``.
    """
    if pe_mode not in ("ape", "rope"):
        raise ValueError(f"pe_mode must be 'ape' or 'rope', not {pe_mode!r}")
    return pe_mode == "rope" or initialization is not None


def zero_parameters(module: nn.Module) -> None:
    """Set every parameter of ``module`` to zero, so that a residual branch starts as the identity."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)


def initialise_linears(module: nn.Module) -> None:
    """Glorot-uniform weights and zero biases for every linear layer under ``module``."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def posterior_sample(mean: Tensor, logvar: Tensor, noise: Tensor) -> Tensor:
    """A sample of N(mean, exp(logvar)), made from standard normal noise (Kingma and Welling 2014, section 2.4).

    All three have the same shape.
    """
    return mean + torch.exp(0.5 * logvar) * noise


# --- norms -----------------------------------------------------------------------------------------------------------


# torch's kernels for norms read and write the input's dtype and compute in fp32: casts would only move bytes.


def _as(x: Tensor, parameter: Tensor | None) -> Tensor | None:
    """A norm's gain or bias in the dtype of its input. On CUDA, torch's kernels want them equal."""
    return None if parameter is None else parameter.to(x.dtype)


class LayerNorm32(nn.LayerNorm):
    """Layer norm over the last axis: computed in fp32, in the input's dtype."""

    def forward(self, x: Tensor) -> Tensor:
        """[..., C] to the same shape and dtype."""
        return F.layer_norm(x, self.normalized_shape, _as(x, self.weight), _as(x, self.bias), self.eps).to(x.dtype)

    def modulated(self, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        """``norm(x) (1 + scale) + shift`` of [..., C], for a norm without gains of its own (Peebles and Xie 2023).

        Both broadcast against ``x``. A single row of them, as for one object, serves as the norm's gain and bias.
        """
        if scale.numel() == x.shape[-1]:
            gain, bias = ((1 + scale).flatten().to(x.dtype), shift.flatten().to(x.dtype))  # training mixes dtypes
            return F.layer_norm(x, x.shape[-1:], gain, bias, self.eps).to(x.dtype)
        return self(x) * (1 + scale) + shift


class GroupNorm32(nn.GroupNorm):
    """Group norm over [B, C, ...]: computed in fp32, in the input's dtype."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, ...] to the same shape and dtype."""
        return F.group_norm(x, self.num_groups, _as(x, self.weight), _as(x, self.bias), self.eps).to(x.dtype)


class ChannelLayerNorm32(LayerNorm32):
    """Layer norm over the channel axis of [B, C, ...]."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, ...] to the same shape and dtype."""
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)  # channels-last in memory, which convolutions like


#: Keeps a head of zeros at zero. As the square of the reference's 1e-12, it changes nothing else in fp32.
_RMS_EPS = 1e-24


class MultiHeadRMSNorm(nn.Module):
    """RMS norm of every head of [..., heads, head_dim], with a gain for each head and channel.

    Zhang and Sennrich 2019; as query-key norm in Dehghani et al. 2023 (ViT-22B).
    """

    def __init__(self, head_dim: int, heads: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(heads, head_dim))

    def forward(self, x: Tensor) -> Tensor:
        """[..., heads, head_dim] to the same shape and dtype."""
        return F.rms_norm(x, x.shape[-1:], None, _RMS_EPS).mul_(self.gamma)  # in place: in the input's dtype


# --- embeddings ------------------------------------------------------------------------------------------------------


# Both embeddings use the frequencies 10000^(-i / n), i < n, of Vaswani et al. 2017 (section 3.5). Each is written the
# way its published networks were trained with: at angles near 1000 the last bit of a frequency matters.


def timestep_embedding(t: Tensor, dim: int) -> Tensor:
    """Embed times [B] (already scaled by 1000) as [B, dim]: cosines, then sines, then a zero if ``dim`` is odd."""
    count = dim // 2
    exponents = torch.arange(count, dtype=torch.float32, device=t.device)
    angles = t[:, None].float() * torch.exp(-math.log(10000) * exponents / count)
    embedding = torch.cat([angles.cos(), angles.sin()], dim=-1)
    return F.pad(embedding, (0, dim % 2))


class TimestepEmbedder(nn.Module):
    """Times [B] (already scaled by 1000) to vectors [B, channels]."""

    def __init__(self, channels: int, frequency_channels: int = 256) -> None:
        super().__init__()
        self.channels, self.frequency_channels = channels, frequency_channels
        self.mlp = nn.Sequential(
            nn.Linear(frequency_channels, channels),
            nn.SiLU(),
            nn.Linear(channels, channels),
        )
        for layer in self.mlp:
            if isinstance(layer, nn.Linear):
                # Cut off at 4 deviations: plain normal_ on the meta device imports torch's compiler, which takes 4 s.
                nn.init.trunc_normal_(layer.weight, std=0.02, a=-0.08, b=0.08)
                nn.init.zeros_(layer.bias)

    def forward(self, t: Tensor) -> Tensor:
        """[B] to [B, channels]."""
        return self.mlp(timestep_embedding(t, self.frequency_channels).to(matmul_dtype(self.mlp)))


class FlowMapEmbedder(nn.Module):
    """What a flow map is told besides the time: the interval down to its second time, and guidance, as [B, channels].

    The interval is embedded rather than the second time (Geng et al. 2025, "MeanFlow", arXiv 2505.13447, table 1).
    Guidance w is an input (Geng et al. 2025, "Improved MeanFlow", arXiv 2512.02012), as its share w / (1 + w), which
    stays below 1 however strong it is. The last layer starts as zero: then a map is the flow that it was made from.
    """

    #: Both inputs, 0 to 1, are embedded as times of 0 to this. A training differentiates a map with respect to the
    #: second time, and at 1000, the scale of the first one, the highest frequency would dominate the derivative (Lu and
    #: Song 2025, section 4.1). So few frequencies are enough.
    scale = 32.0

    def __init__(self, channels: int, frequency_channels: int = 32) -> None:
        super().__init__()
        self.frequency_channels = frequency_channels
        self.mlp = nn.Sequential(nn.Linear(2 * frequency_channels, channels), nn.SiLU(), nn.Linear(channels, channels))
        initialise_linears(self.mlp[0])
        zero_parameters(self.mlp[-1])

    def forward(self, interval: Tensor, guidance: Tensor) -> Tensor:
        """Intervals [B] (of times scaled by 1000) and guidance strengths [B] to [B, channels]."""
        inputs = interval / 1000, guidance / (1 + guidance)
        embedded = [timestep_embedding(self.scale * each, self.frequency_channels) for each in inputs]
        return self.mlp(torch.cat(embedded, -1).to(matmul_dtype(self.mlp)))


class FlowNetwork(MixedPrecisionNetwork):
    """What both flows share: they see one time, or as a flow map two times and the guidance.

    A flow predicts the velocity at a time t. A flow map predicts the mean velocity from t down to a second time, so
    that one step leads there. Its embedder is part of a network, and of its state dict, only if the description has
    ``flow_map``: published checkpoints have the keys that they always had.
    """

    t_embedder: TimestepEmbedder
    map_embedder: FlowMapEmbedder | None

    @property
    def flow_map(self) -> bool:
        """Whether the network is a flow map."""
        return self.map_embedder is not None

    def become_flow_map(self) -> None:
        """Make a flow a flow map that predicts what the flow does, whatever its second time and guidance.

        What it starts to learn from is the same whenever this is done.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.map_embedder = FlowMapEmbedder(self.t_embedder.channels)

    def embedded_times(self, t: Tensor, to: Tensor | None, guidance: Tensor | None) -> Tensor:
        """The embedding [B, channels] of times [B], and for a flow map of second times [B] and guidance strengths [B].

        Times are scaled by 1000. Raises ValueError if a flow map is not given all of them, or a flow more than one.
        """
        if self.map_embedder is None:
            if to is not None or guidance is not None:
                raise ValueError("a flow has one time, and no guidance as an input: it is not a flow map")
            return self.t_embedder(t)
        if to is None or guidance is None:
            raise ValueError("a flow map needs a second time and the guidance")
        return self.t_embedder(t) + self.map_embedder(t - to, guidance)


class AbsolutePositionEmbedder(nn.Module):
    """Voxel indices [N, axes] to sinusoidal embeddings [N, channels] in fp32.

    Each axis gets ``channels // (2 axes)`` sines followed by as many cosines; the remaining channels are zero.
    """

    def __init__(self, channels: int, axes: int = 3) -> None:
        super().__init__()
        self.channels = channels
        self.frequency_channels = channels // (2 * axes)

    def forward(self, coords: Tensor) -> Tensor:
        """[N, axes] integers to [N, channels] float32."""
        exponents = torch.arange(self.frequency_channels, dtype=torch.float32, device=coords.device)
        angles = coords[..., None].float() * (1 / 10000 ** (exponents / self.frequency_channels))
        embedding = torch.cat([angles.sin(), angles.cos()], dim=-1).flatten(1)
        return F.pad(embedding, (0, self.channels - embedding.shape[1]))


# --- volumes ---------------------------------------------------------------------------------------------------------


def pixel_shuffle_3d(x: Tensor, factor: int) -> Tensor:
    """[B, C f^3, X, Y, Z] to [B, C, X f, Y f, Z f]: channels become space (Shi et al. 2016, in 3-D)."""
    x = x.unflatten(1, (-1, factor, factor, factor))  # [B, C, fx, fy, fz, X, Y, Z]
    return x.permute(0, 1, 5, 2, 6, 3, 7, 4).flatten(6, 7).flatten(4, 5).flatten(2, 3)


def pixel_unshuffle_3d(x: Tensor, factor: int) -> Tensor:
    """[B, C, X f, Y f, Z f] to [B, C f^3, X, Y, Z]: the inverse of ``pixel_shuffle_3d``."""
    for axis in (4, 3, 2):
        x = x.unflatten(axis, (-1, factor))  # ends as [B, C, X, fx, Y, fy, Z, fz]
    return x.permute(0, 1, 3, 5, 7, 2, 4, 6).flatten(1, 4)


# --- transformer -----------------------------------------------------------------------------------------------------


class SelfAttention(nn.Module):
    """Multi-head attention of tokens [B, L, C] to one another, with an optional RMS norm of queries and keys."""

    def __init__(self, channels: int, heads: int, *, qk_rms_norm: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.to_qkv = nn.Linear(channels, 3 * channels)
        self.q_rms_norm = MultiHeadRMSNorm(channels // heads, heads) if qk_rms_norm else nn.Identity()
        self.k_rms_norm = MultiHeadRMSNorm(channels // heads, heads) if qk_rms_norm else nn.Identity()
        self.to_out = nn.Linear(channels, channels)

    def forward(self, x: Tensor, rotation: Rotation | None = None) -> Tensor:
        """[B, L, C] to [B, L, C]. A ``rotation`` of the L tokens turns queries and keys, after their norm."""
        q, k, v = self.to_qkv(x).unflatten(-1, (3, self.heads, -1)).unbind(2)
        q, k = self.q_rms_norm(q), self.k_rms_norm(k)
        if rotation is not None:
            q, k = rotation.of_neighbours(q), rotation.of_neighbours(k)
        return self.to_out(attend(q, k, v))


class CrossAttention(nn.Module):
    """Multi-head attention of tokens [B, L, C] to a context [B, Lc, context_channels]."""

    def __init__(self, channels: int, context_channels: int, heads: int, *, qk_rms_norm: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(channels, channels)
        self.to_kv = nn.Linear(context_channels, 2 * channels)
        self.q_rms_norm = MultiHeadRMSNorm(channels // heads, heads) if qk_rms_norm else nn.Identity()
        self.k_rms_norm = MultiHeadRMSNorm(channels // heads, heads) if qk_rms_norm else nn.Identity()
        self.to_out = nn.Linear(channels, channels)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """[B, L, C] and [B, Lc, context_channels] to [B, L, C]."""
        q = self.to_q(x).unflatten(-1, (self.heads, -1))
        k, v = self.to_kv(context).unflatten(-1, (2, self.heads, -1)).unbind(2)
        return self.to_out(attend(self.q_rms_norm(q), self.k_rms_norm(k), v))


class FeedForwardNet(nn.Module):
    """Two linear layers around a GELU (tanh approximation), ``mlp_ratio`` times as wide in the middle."""

    def __init__(self, channels: int, mlp_ratio: float = 4.0) -> None:
        super().__init__()
        hidden = int(channels * mlp_ratio)
        self.mlp = nn.Sequential(
            nn.Linear(channels, hidden),
            nn.GELU(approximate="tanh"),
            nn.Linear(hidden, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """[..., C] to [..., C]."""
        return self.mlp(x)


def modulation_layer(channels: int) -> nn.Sequential:
    """Embedding [B, C] to shift, scale and gate of the attention, then of the MLP: [B, 6 C] (Peebles and Xie 2023)."""
    layer = nn.Linear(channels, 6 * channels)
    zero_parameters(layer)  # all gates start closed: except for its cross-attention, a block starts as the identity
    return nn.Sequential(nn.SiLU(), layer)


class ModulatedCrossBlock(nn.Module):
    """What the dense and the sparse modulated block have in common: their parts, under the published names.

    With ``share_mod`` the block has no modulation layer: the caller computes it once for all blocks. With ``own_mod``
    besides, the block has a vector ``modulation`` [6 C] that is added to it.
    """

    def __init__(
        self,
        channels: int,
        self_attn: nn.Module,
        cross_attn: nn.Module,
        *,
        mlp_ratio: float,
        share_mod: bool,
        own_mod: bool = False,
    ) -> None:
        super().__init__()
        self.norm1 = LayerNorm32(channels, elementwise_affine=False, eps=1e-6)
        self.norm2 = LayerNorm32(channels, elementwise_affine=True, eps=1e-6)
        self.norm3 = LayerNorm32(channels, elementwise_affine=False, eps=1e-6)
        self.self_attn = self_attn
        self.cross_attn = cross_attn
        self.mlp = FeedForwardNet(channels, mlp_ratio)
        self.adaLN_modulation = nn.Identity() if share_mod else modulation_layer(channels)
        self.modulation = nn.Parameter(torch.zeros(6 * channels)) if share_mod and own_mod else None
        for part in (self.self_attn, self.cross_attn, self.mlp):
            initialise_linears(part)

    def modulations(self, embedding: Tensor) -> tuple[Tensor, ...]:
        """Shift, scale and gate of the attention, then of the MLP, [B, C] each.

        The embedding is [B, C], or the shared modulation [B, 6 C]; to that, the block's own is added in fp32.
        """
        modulation = self.adaLN_modulation(embedding)
        if self.modulation is not None:
            modulation = (modulation + self.modulation).to(embedding.dtype)
        return modulation.chunk(6, dim=-1)


class ModulatedTransformerCrossBlock(ModulatedCrossBlock):
    """Self-attention, cross-attention and MLP over tokens [B, L, C]; the time modulates the first and the last.

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
        self_attn = SelfAttention(channels, heads, qk_rms_norm=qk_rms_norm)
        cross_attn = CrossAttention(channels, context_channels, heads, qk_rms_norm=qk_rms_norm_cross)
        super().__init__(channels, self_attn, cross_attn, mlp_ratio=mlp_ratio, share_mod=share_mod, own_mod=own_mod)

    def forward(self, x: Tensor, embedding: Tensor, context: Tensor, rotation: Rotation | None = None) -> Tensor:
        """[B, L, C], embedding [B, C] (or modulation [B, 6 C]) and context [B, Lc, context_channels] to [B, L, C].

        A ``rotation`` of the L tokens is applied in the self-attention alone.
        """
        modulation = (part[:, None] for part in self.modulations(embedding))
        shift_attn, scale_attn, gate_attn, shift_mlp, scale_mlp, gate_mlp = modulation
        attended = self.self_attn(self.norm1.modulated(x, scale_attn, shift_attn), rotation)
        x = torch.addcmul(x, gate_attn, attended)
        x = x + self.cross_attn(self.norm2(x), context)
        return torch.addcmul(x, gate_mlp, self.mlp(self.norm3.modulated(x, scale_mlp, shift_mlp)))
