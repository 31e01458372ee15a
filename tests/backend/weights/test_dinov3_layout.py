"""DINOv3's weights as transformers 4 and 5 and timm store them: they load to the same network."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from backend.config import DESCRIPTIONS
from backend.errors import CheckpointError
from backend.models.image_encoder import RotaryImageEncoder
from backend.weights.checkpoints import build_network, load_network
from backend.weights.dinov3_layout import sources
from backend.weights.random_weights import fill_by_rule
from tests.backend.golden import ROOT

CPU = torch.device("cpu")
SIZES: dict[str, Any] = {
    "hidden_size": 24,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_register_tokens": 3,
}
DESCRIPTION = DESCRIPTIONS / "dinov3-vitl16-pretrain-lvd1689m.json"


def keymap(layout: str) -> dict[str, tuple[list[int], str]]:
    values = json.loads((ROOT / "keymaps" / "trellis2" / f"dinov3_vitl16_{layout}.json").read_text())
    keys: dict[str, tuple[list[int], str]] = values["keys"]
    return keys


@pytest.mark.parametrize("layout", ["transformers", "transformers 5", "timm"])
def test_every_tensor_of_the_published_file_has_a_place(layout: str) -> None:
    published = {key: shape for key, (shape, _) in keymap(layout.split()[0]).items()}
    if layout.endswith("5"):
        published = {f"model.{key}" if key.startswith("layer.") else key: shape for key, shape in published.items()}
    ours = build_network(DESCRIPTION, RotaryImageEncoder, half=True).state_dict()
    parts = sources(ours, published)
    assert sorted(name for names in parts.values() for name in names) == sorted(published)
    for key, names in parts.items():
        shapes = [published[name] for name in names]
        rows = sum(shape[0] for shape in shapes)
        assert not names or [rows, *shapes[0][1:]] == list(ours[key].shape)
        assert sum(map(math.prod, shapes)) in (0, ours[key].numel())
    left_out = {re.sub(r"\d+", "N", key) for key, names in parts.items() if not names}
    biases = {"blocks.N.attn.q_bias", "blocks.N.attn.v_bias", "mask_token"}
    assert left_out == (biases if layout == "timm" else set())
    assert all(tensor.dtype == torch.float32 for tensor in ours.values())


def as_transformers(state: dict[str, Tensor], prefix: str = "") -> dict[str, Tensor]:
    """A state dict under the names of transformers, by hand."""
    outside = {
        "cls_token": "embeddings.cls_token",
        "mask_token": "embeddings.mask_token",
        "register_tokens": "embeddings.register_tokens",
        "patch_embed.proj.weight": "embeddings.patch_embeddings.weight",
        "patch_embed.proj.bias": "embeddings.patch_embeddings.bias",
        "norm.weight": "norm.weight",
        "norm.bias": "norm.bias",
    }
    renamed = {theirs: state[ours] for ours, theirs in outside.items()}
    for index in range(2):
        block, layer = f"blocks.{index}.", f"{prefix}layer.{index}."
        for name, part in zip("qkv", state[block + "attn.qkv.weight"].chunk(3), strict=True):
            renamed[f"{layer}attention.{name}_proj.weight"] = part.contiguous()
        for name in "qv":
            renamed[f"{layer}attention.{name}_proj.bias"] = state[f"{block}attn.{name}_bias"]
        for kind in ("weight", "bias"):
            renamed[f"{layer}attention.o_proj.{kind}"] = state[f"{block}attn.proj.{kind}"]
            for ours, theirs in (("mlp.fc1", "mlp.up_proj"), ("mlp.fc2", "mlp.down_proj")):
                renamed[f"{layer}{theirs}.{kind}"] = state[f"{block}{ours}.{kind}"]
            for norm in ("norm1", "norm2"):
                renamed[f"{layer}{norm}.{kind}"] = state[f"{block}{norm}.{kind}"]
        for number in (1, 2):
            renamed[f"{layer}layer_scale{number}.lambda1"] = state[f"{block}ls{number}.gamma"]
    return renamed


def as_timm(state: dict[str, Tensor]) -> dict[str, Tensor]:
    renamed = {}
    for key, tensor in state.items():
        if not key.endswith(("q_bias", "v_bias", "mask_token")):
            name = key.replace("ls1.gamma", "gamma_1").replace("ls2.gamma", "gamma_2")
            renamed[name.replace("register_tokens", "reg_token")] = tensor
    return renamed


def write(folder: Path, state: dict[str, Tensor]) -> Path:
    (folder / "encoder.json").write_text(json.dumps({"name": "DINOv3ViTModel", "args": SIZES}))
    save_file({key: tensor.contiguous() for key, tensor in state.items()}, folder / "encoder.safetensors")
    return folder / "encoder"


@pytest.fixture
def encoder() -> RotaryImageEncoder:
    encoder = RotaryImageEncoder(**SIZES).requires_grad_(False)
    fill_by_rule(encoder)
    return encoder


@pytest.mark.parametrize("prefix", ["", "model.", None])
def test_both_versions_of_transformers_and_our_own_keys_load_to_the_same_network(
    tmp_path: Path, encoder: RotaryImageEncoder, prefix: str | None
) -> None:
    state = encoder.state_dict()
    stored = state if prefix is None else as_transformers(state, prefix)
    loaded = load_network(write(tmp_path, stored), RotaryImageEncoder, CPU)
    for key, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, state[key]), key
    images = torch.randn(1, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    assert torch.equal(loaded(images), encoder(images))


def test_what_timm_leaves_out_is_zero(tmp_path: Path, encoder: RotaryImageEncoder) -> None:
    state = encoder.state_dict()
    loaded = load_network(write(tmp_path, as_timm(state)), RotaryImageEncoder, CPU).state_dict()
    for key, tensor in loaded.items():
        left_out = key.endswith(("q_bias", "v_bias", "mask_token"))
        assert torch.equal(tensor, torch.zeros_like(tensor) if left_out else state[key]), key


def drop_a_key(state: dict[str, Tensor]) -> None:
    del state["layer.1.attention.k_proj.weight"]


def add_a_bias(state: dict[str, Tensor]) -> None:
    state["layer.1.attention.k_proj.bias"] = torch.zeros(24)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (drop_a_key, "missing: layer.1.attention.k_proj.weight"),
        (add_a_bias, "unexpected: layer.1.attention.k_proj.bias"),
    ],
)
def test_wrong_keys_are_named_as_the_file_names_them(
    tmp_path: Path, encoder: RotaryImageEncoder, change: Callable[[dict[str, Tensor]], None], words: str
) -> None:
    state = as_transformers(encoder.state_dict())
    change(state)
    with pytest.raises(CheckpointError, match=re.escape(words)):
        load_network(write(tmp_path, state), RotaryImageEncoder, CPU)


def test_images_of_any_sides_are_encoded_if_patches_fill_them(encoder: RotaryImageEncoder) -> None:
    assert encoder(torch.zeros(2, 3, 32, 64)).shape == (2, 1 + 3 + 8, 24)
    with pytest.raises(ValueError, match="multiples of 16"):
        encoder(torch.zeros(1, 3, 32, 40))


@pytest.mark.parametrize(
    ("name", "value"), [("hidden_act", "silu"), ("layer_scale", False), ("num_attention_heads", 4)]
)
def test_another_kind_of_network_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=r"hidden_act|layer_scale|a head of 6 channels"):
        RotaryImageEncoder(**SIZES | {name: value})
