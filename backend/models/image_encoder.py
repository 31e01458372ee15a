"""Framed images to condition tokens: DINO's vision transformers.

TRELLIS has DINOv2 (Oquab et al. 2023) with registers (Darcet et al. 2023), under the published state-dict keys.
TRELLIS.2 has DINOv3 (Siméoni et al. 2025), under those that its keys would have had in DINOv2's place. It has rotary
positions instead of learned ones.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..sparse.attention import attend
from .layers import MixedPrecisionNetwork
from .rotary import Rotation, patch_rotation

#: Side in pixels of the images the published encoder was trained on: 37 patches of 14.
IMAGE_SIZE = 518


class PatchEmbed(nn.Module):
    """Images [B, 3, H, W] to patch features [B, C, H / patch, W / patch]."""

    def __init__(self, patch_size: int, channels: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, channels, patch_size, stride=patch_size)

    def forward(self, images: Tensor) -> Tensor:
        """[B, 3, H, W] to [B, C, H / patch, W / patch]."""
        return self.proj(images)


class Attention(nn.Module):
    """Multi-head self-attention over tokens [B, L, C]."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """[B, L, C] to [B, L, C]."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).unbind(2)
        return self.proj(attend(q, k, v))


class RotaryAttention(nn.Module):
    """The same with rotary positions of the last tokens, the patches. Queries, keys and values may lack a bias."""

    def __init__(self, channels: int, heads: int, biases: tuple[bool, bool, bool]) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(channels, 3 * channels, bias=False)
        self.q_bias, self.k_bias, self.v_bias = (
            nn.Parameter(torch.zeros(channels)) if there else None for there in biases
        )
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor, rotation: Rotation) -> Tensor:
        """[B, L, C] and the rotation of the last P tokens to [B, L, C]."""
        q, k, v = (
            (part if bias is None else part + bias).unflatten(-1, (self.heads, -1))
            for part, bias in zip(self.qkv(x).chunk(3, dim=-1), (self.q_bias, self.k_bias, self.v_bias), strict=True)
        )
        first = x.shape[1] - len(rotation.cos)
        q, k = (torch.cat([part[:, :first], rotation.of_halves(part[:, first:])], dim=1) for part in (q, k))
        return self.proj(attend(q, k, v))


class Mlp(nn.Module):
    """Two linear layers around an exact GELU."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, hidden)
        self.fc2 = nn.Linear(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        """[..., C] to [..., C]."""
        return self.fc2(F.gelu(self.fc1(x)))


class LayerScale(nn.Module):
    """A learned gain for each channel of a residual branch (Touvron et al. 2021)."""

    def __init__(self, channels: int, init_value: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((channels,), init_value))

    def forward(self, x: Tensor) -> Tensor:
        """[..., C] to [..., C]."""
        return x * self.gamma


class Block(nn.Module):
    """A pre-norm transformer block with layer scale. What follows the tokens goes to the attention."""

    def __init__(self, channels: int, attn: nn.Module, hidden: int, init_value: float, eps: float = 1e-6) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels, eps=eps)
        self.attn = attn
        self.ls1 = LayerScale(channels, init_value)
        self.norm2 = nn.LayerNorm(channels, eps=eps)
        self.mlp = Mlp(channels, hidden)
        self.ls2 = LayerScale(channels, init_value)

    def forward(self, x: Tensor, *positions: Rotation) -> Tensor:
        """[B, L, C] to [B, L, C]."""
        x = x + self.ls1(self.attn(self.norm1(x), *positions))
        return x + self.ls2(self.mlp(self.norm2(x)))


class DinoEncoder(MixedPrecisionNetwork):
    """What both encoders share: the tokens after the last block, normalised, are the condition of the flows."""

    patch_size: int
    patch_embed: PatchEmbed
    register_tokens: nn.Parameter
    side: int  # in pixels, of the images that are encoded for a flow

    def tokens(self, images: Tensor) -> Tensor:
        """All tokens [B, 1 + R + P, C] of images [B, 3, H, W] after the last block, before the final norm.

        DINOv2 calls them "x_prenorm". Raises ValueError if H or W is no multiple of ``patch_size``.
        """
        raise NotImplementedError  # each of the two encoders has its own

    def patches(self, images: Tensor) -> tuple[Tensor, int, int]:
        """Patch features [B, P, C] of images [B, 3, H, W], the number of rows and that of columns. Raises as above."""
        if images.shape[-2] % self.patch_size or images.shape[-1] % self.patch_size:
            raise ValueError(f"image sides {tuple(images.shape[-2:])} are not multiples of {self.patch_size} pixels")
        patches = self.patch_embed(images)
        return patches.flatten(2).transpose(1, 2), patches.shape[-2], patches.shape[-1]

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images [B, 3, H, W] to condition tokens [B, 1 + R + P, C]."""
        return self.condition(self.tokens(images))

    @staticmethod
    def condition(tokens: Tensor) -> Tensor:
        """All tokens [B, L, C], normalised without the learned gains, as the flows take them for their condition."""
        return F.layer_norm(tokens, tokens.shape[-1:])


class ImageEncoder(DinoEncoder):
    """Normalised images [B, 3, H, W] to condition tokens [B, 1 + R + P, embed_dim]: class, registers, patches.

    H and W are multiples of ``patch_size``; if they differ from ``img_size``, the position embeddings are resized.
    The arguments are those of the published configurations (``arch`` only names the widths that follow it), and
    ``use_fp16``, which keeps the blocks in half precision. Values that would need another kind of network raise
    ValueError.
    """

    def __init__(
        self,
        arch: str | None = None,
        img_size: int = IMAGE_SIZE,
        patch_size: int = 14,
        embed_dim: int = 1024,
        depth: int = 24,
        num_heads: int = 16,
        mlp_ratio: float = 4,
        init_values: float = 1.0,
        ffn_layer: str = "mlp",
        block_chunks: int = 0,
        num_register_tokens: int = 4,
        interpolate_antialias: bool = True,
        interpolate_offset: float = 0.0,
        use_fp16: bool = False,
    ) -> None:
        super().__init__()
        for name, value, supported in (
            ("ffn_layer", ffn_layer, "mlp"),
            ("block_chunks", block_chunks, 0),
            ("interpolate_offset", interpolate_offset, 0.0),
        ):
            if value != supported:
                raise ValueError(f"{name} must be {supported!r}, not {value!r}")
        self.patch_size = patch_size
        self.grid = img_size // patch_size
        self.side = self.grid * patch_size
        self.interpolate_antialias = interpolate_antialias

        self.cls_token = nn.Parameter(torch.zeros(1, 1, embed_dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + self.grid**2, embed_dim))
        self.register_tokens = nn.Parameter(torch.zeros(1, num_register_tokens, embed_dim))
        self.patch_embed = PatchEmbed(patch_size, embed_dim)
        self.blocks = nn.ModuleList(
            Block(embed_dim, Attention(embed_dim, num_heads), int(embed_dim * mlp_ratio), init_values)
            for _ in range(depth)
        )
        # Part of every published checkpoint. The tokens that condition the flows, before the final norm, need neither.
        self.mask_token = nn.Parameter(torch.zeros(1, embed_dim))
        self.norm = nn.LayerNorm(embed_dim, eps=1e-6)
        self._initialise()
        if use_fp16:
            self.convert_to_fp16()

    def convert_to_fp16(self) -> None:
        """Keep the blocks in half precision, with their norms and gains: torch's norms compute in fp32 in any case."""
        self.blocks.half()

    def convert_to_fp32(self) -> None:
        """Keep the blocks in single precision."""
        self.blocks.float()

    def _initialise(self) -> None:
        # Cut off at 4 deviations: plain normal_ on the meta device imports torch's compiler, which takes 4 s.
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02, a=-0.08, b=0.08)
                nn.init.zeros_(layer.bias)
        nn.init.trunc_normal_(self.pos_embed, std=0.02, a=-0.08, b=0.08)
        for tokens in (self.cls_token, self.register_tokens):
            nn.init.trunc_normal_(tokens, std=1e-6, a=-4e-6, b=4e-6)

    def position_embedding(self, rows: int, columns: int) -> Tensor:
        """Position embeddings [1, 1 + rows columns, C] of the class token and a patch grid, resized bicubically."""
        if rows == columns == self.grid:
            return self.pos_embed
        grid = self.pos_embed[:, 1:].unflatten(1, (self.grid, self.grid)).permute(0, 3, 1, 2)
        resized = F.interpolate(
            grid.float(), size=(rows, columns), mode="bicubic", antialias=self.interpolate_antialias
        ).to(grid.dtype)
        return torch.cat([self.pos_embed[:, :1], resized.flatten(2).transpose(1, 2)], dim=1)

    def tokens(self, images: Tensor) -> Tensor:
        """As ``DinoEncoder`` says."""
        patches, rows, columns = self.patches(images)
        batch = len(images)
        x = torch.cat([self.cls_token.expand(batch, -1, -1), patches], dim=1)
        x = x + self.position_embedding(rows, columns)
        x = torch.cat([x[:, :1], self.register_tokens.expand(batch, -1, -1), x[:, 1:]], dim=1)
        x = x.to(self.dtype)
        for block in self.blocks:
            x = block(x)
        return x.to(images.dtype)


class RotaryImageEncoder(DinoEncoder):
    """Normalised images [B, 3, H, W] to condition tokens [B, 1 + R + P, hidden_size]: class, registers, patches.

    DINOv3. The arguments are those of its published configuration, under transformers' names; ``image_size``, of
    training, plays no part. Values that would need another kind of network raise ValueError. It computes in fp32: the
    flows were trained on such tokens.
    """

    side = 512  # for shapes at 512^3; the flows of finer ones are given tokens of 1024

    def __init__(
        self,
        hidden_size: int = 1024,
        intermediate_size: int = 4096,
        num_hidden_layers: int = 24,
        num_attention_heads: int = 16,
        num_register_tokens: int = 4,
        patch_size: int = 16,
        image_size: int = 224,
        rope_theta: float = 100.0,
        layer_norm_eps: float = 1e-5,
        query_bias: bool = True,
        key_bias: bool = False,
        value_bias: bool = True,
        hidden_act: str = "gelu",
        layer_scale: bool = True,
    ) -> None:
        super().__init__()
        for name, value, supported in (("hidden_act", hidden_act, "gelu"), ("layer_scale", layer_scale, True)):
            if value != supported:
                raise ValueError(f"{name} must be {supported!r}, not {value!r}")
        self.patch_size = patch_size
        self.head_dim = hidden_size // num_attention_heads
        if self.head_dim % 4:
            raise ValueError(f"a head of {self.head_dim} channels cannot be turned along two axes")
        self.rope_theta = rope_theta
        self.cls_token = nn.Parameter(torch.zeros(1, 1, hidden_size))
        self.register_tokens = nn.Parameter(torch.zeros(1, num_register_tokens, hidden_size))
        self.patch_embed = PatchEmbed(patch_size, hidden_size)
        biases = query_bias, key_bias, value_bias
        self.blocks = nn.ModuleList(
            Block(
                hidden_size,
                RotaryAttention(hidden_size, num_attention_heads, biases),
                intermediate_size,
                init_value=1.0,
                eps=layer_norm_eps,
            )
            for _ in range(num_hidden_layers)
        )
        # Part of published checkpoints, but not of the tokens that condition the flows.
        self.mask_token = nn.Parameter(torch.zeros(1, 1, hidden_size))
        self.norm = nn.LayerNorm(hidden_size, eps=layer_norm_eps)

    def tokens(self, images: Tensor) -> Tensor:
        """As ``DinoEncoder`` says."""
        patches, rows, columns = self.patches(images)
        first = (token.expand(len(images), -1, -1) for token in (self.cls_token, self.register_tokens))
        x = torch.cat([*first, patches], dim=1)
        rotation = patch_rotation(rows, columns, self.head_dim, self.rope_theta, images.device)
        for block in self.blocks:
            x = block(x, rotation)
        return x
