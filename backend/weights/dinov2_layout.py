"""DINOv2's weights under Hugging Face's key names, translated to torch hub's, which ``ImageEncoder`` uses.

transformers stores query, key and value as three matrices, torch hub's file as one. transformers also renamed the
attention's layers between its versions 4 and 5. The tensors themselves are the same.
"""

from __future__ import annotations

import re
from collections.abc import Collection

_OUTSIDE_BLOCKS = {
    "cls_token": "embeddings.cls_token",
    "mask_token": "embeddings.mask_token",
    "register_tokens": "embeddings.register_tokens",
    "pos_embed": "embeddings.position_embeddings",
    "patch_embed.proj": "embeddings.patch_embeddings.projection",
    "norm": "layernorm",
}

#: Layers of a block that torch hub names differently, and versions 4 and 5 alike.
_IN_BLOCK = {"ls1.gamma": "layer_scale1.lambda1", "ls2.gamma": "layer_scale2.lambda1"}

#: Query, key, value and output of the attention.
_ATTENTION_4 = ("attention.query", "attention.key", "attention.value", "output.dense")
_ATTENTION_5 = ("q_proj", "k_proj", "v_proj", "o_proj")


def sources(keys: Collection[str], stored: Collection[str]) -> dict[str, tuple[str, ...]]:
    """For each key of an ``ImageEncoder``, the keys in a file whose tensors make it, concatenated along axis 0.

    The keys ``stored`` in the file tell which layout it has.
    """
    if "embeddings.cls_token" not in stored:
        return {key: (key,) for key in keys}
    version_4 = any(".attention.attention." in key for key in stored)
    return {key: _huggingface(key, _ATTENTION_4 if version_4 else _ATTENTION_5) for key in keys}


def _huggingface(key: str, attention: tuple[str, ...]) -> tuple[str, ...]:
    """Hugging Face's names for what torch hub's ``key`` holds."""
    block = re.fullmatch(r"blocks\.(\d+)\.(.+)", key)
    if block is None:
        layer, _, kind = key.rpartition(".") if key.endswith((".weight", ".bias")) else (key, "", "")
        return (_joined(_OUTSIDE_BLOCKS.get(layer, layer), kind),)
    number, rest = block.groups()
    layer, _, kind = rest.rpartition(".")
    if layer == "attn.qkv":
        names = tuple(f"attention.{name}.{kind}" for name in attention[:3])
    elif layer == "attn.proj":
        names = (f"attention.{attention[3]}.{kind}",)
    else:
        names = (_IN_BLOCK.get(rest, rest),)
    return tuple(f"encoder.layer.{number}.{name}" for name in names)


def _joined(*parts: str) -> str:
    return ".".join(part for part in parts if part)
