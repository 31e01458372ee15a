"""DINOv3's weights as transformers and timm store them, translated to the keys of ``RotaryImageEncoder``.

Those are DINOv2's keys as far as both have the same layers. transformers stores query, key and value as three matrices
and puts ``model.`` before the layers from version 5 on. timm leaves out what is zero, the biases of queries and values,
and the token for masked patches, which nothing needs here.
"""

from __future__ import annotations

import re
from collections.abc import Collection

_TRANSFORMERS = {
    "cls_token": "embeddings.cls_token",
    "mask_token": "embeddings.mask_token",
    "register_tokens": "embeddings.register_tokens",
    "patch_embed.proj.weight": "embeddings.patch_embeddings.weight",
    "patch_embed.proj.bias": "embeddings.patch_embeddings.bias",
}

#: Layers of a block. Query, key and value have their own rule.
_IN_BLOCK = {
    "attn.proj": "attention.o_proj",
    "attn.q_bias": "attention.q_proj.bias",
    "attn.k_bias": "attention.k_proj.bias",
    "attn.v_bias": "attention.v_proj.bias",
    "ls1.gamma": "layer_scale1.lambda1",
    "ls2.gamma": "layer_scale2.lambda1",
    "mlp.fc1": "mlp.up_proj",
    "mlp.fc2": "mlp.down_proj",
}

_TIMM = {"register_tokens": "reg_token", "mask_token": None}
_TIMM_IN_BLOCK = {
    "attn.q_bias": None,
    "attn.k_bias": None,
    "attn.v_bias": None,
    "ls1.gamma": "gamma_1",
    "ls2.gamma": "gamma_2",
}


def sources(keys: Collection[str], stored: Collection[str]) -> dict[str, tuple[str, ...]]:
    """For each key of a ``RotaryImageEncoder``, the keys in a file whose tensors make it, concatenated along axis 0.

    The keys ``stored`` in the file tell which layout it has, which may also be the encoder's own. What a file leaves
    out because it is zero has no keys.
    """
    if "register_tokens" in stored:
        return {key: (key,) for key in keys}
    if "embeddings.cls_token" not in stored:
        return {key: _timm(key) for key in keys}
    prefix = "model." if any(key.startswith("model.layer.") for key in stored) else ""
    return {key: _transformers(key, prefix) for key in keys}


def _transformers(key: str, prefix: str) -> tuple[str, ...]:
    block = re.fullmatch(r"blocks\.(\d+)\.(.+)", key)
    if block is None:
        return (_TRANSFORMERS.get(key, key),)
    number, rest = block.groups()
    layer, _, kind = rest.rpartition(".")
    if layer == "attn.qkv":
        names = tuple(f"attention.{name}_proj.{kind}" for name in "qkv")
    else:
        names = (_IN_BLOCK.get(rest) or f"{_IN_BLOCK.get(layer, layer)}.{kind}",)
    return tuple(f"{prefix}layer.{number}.{name}" for name in names)


def _timm(key: str) -> tuple[str, ...]:
    block = re.fullmatch(r"(blocks\.\d+\.)(.+)", key)
    before, rest = block.groups() if block else ("", key)
    name = (_TIMM_IN_BLOCK if block else _TIMM).get(rest, rest)
    return () if name is None else (before + name,)
