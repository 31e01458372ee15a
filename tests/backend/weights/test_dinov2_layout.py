"""Both published layouts of DINOv2 are the same network."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from backend.config import DESCRIPTIONS
from backend.errors import CheckpointError
from backend.models.image_encoder import ImageEncoder
from backend.weights.checkpoints import load_network
from backend.weights.dinov2_layout import sources
from backend.weights.random_weights import fill_by_rule
from tests.backend.golden import ROOT, assert_keys_as_published

CPU = torch.device("cpu")
SIZES: dict[str, Any] = {"img_size": 28, "embed_dim": 24, "depth": 2, "num_heads": 2, "num_register_tokens": 4}

#: transformers' names of the attention's layers in version 5 -> in version 4.
VERSION_4 = {
    "attention.q_proj": "attention.attention.query",
    "attention.k_proj": "attention.attention.key",
    "attention.v_proj": "attention.attention.value",
    "attention.o_proj": "attention.output.dense",
}


def keymap() -> dict[str, Any]:
    values: dict[str, Any] = json.loads((ROOT / "keymaps" / "hf_dinov2_with_registers_large.json").read_text())
    return values


def as_version_4(key: str) -> str:
    return next((key.replace(new, old) for new, old in VERSION_4.items() if new in key), key)


@pytest.mark.parametrize("version", [4, 5])
def test_every_key_is_translated_as_the_keymap_says(version: int) -> None:
    rename = as_version_4 if version == 4 else str
    published = json.loads((ROOT / "keymaps" / "dinov2_vitl14_reg.json").read_text())["keys"]
    rows: dict[str, list[tuple[int, str]]] = {}
    for key, (target, part) in keymap()["to_dinov2_key"].items():
        rows.setdefault(target, []).append((part[0] if part else 0, rename(key)))
    expected = {target: tuple(key for _, key in sorted(parts)) for target, parts in rows.items()}
    stored = [rename(key) for key in keymap()["keys"]]
    assert len(stored) == 440
    assert sources(published, stored) == expected
    assert sorted(key for keys in expected.values() for key in keys) == sorted(stored)


def test_the_hubs_keys_are_the_networks_own() -> None:
    keys = json.loads((ROOT / "keymaps" / "dinov2_vitl14_reg.json").read_text())["keys"]
    assert sources(keys, keys) == {key: (key,) for key in keys}


def test_the_bundled_description_is_the_published_network() -> None:
    description = json.loads((DESCRIPTIONS / "dinov2_vitl14_reg.json").read_text())
    published = json.loads((ROOT / "keymaps" / "dinov2_vitl14_reg.json").read_text())
    assert description["args"] == published["args"]
    assert_keys_as_published(ImageEncoder, "dinov2_vitl14_reg")


def as_huggingface(state: dict[str, Tensor], version: int) -> dict[str, Tensor]:
    """A state dict under transformers' names, by the keymap's rules for the first two blocks."""
    renamed = {}
    for key, (target, part) in keymap()["to_dinov2_key"].items():
        if target in state:
            tensor = state[target]
            if part:
                tensor = tensor.chunk(3)[part[0] // 1024]
            renamed[as_version_4(key) if version == 4 else key] = tensor.contiguous()
    return renamed


def write(folder: Path, state: dict[str, Tensor], form: str = ".safetensors") -> Path:
    (folder / "encoder.json").write_text(json.dumps({"name": "DinoVisionTransformer", "args": SIZES}))
    if form == ".safetensors":
        save_file(state, folder / "encoder.safetensors")
    else:
        torch.save(state, folder / f"encoder{form}")
    return folder / "encoder"


@pytest.fixture
def encoder() -> ImageEncoder:
    encoder = ImageEncoder(**SIZES).requires_grad_(False)
    fill_by_rule(encoder)
    return encoder


@pytest.mark.parametrize("layout", ["hub", "version 4", "version 5"])
def test_all_layouts_load_to_the_same_network(tmp_path: Path, encoder: ImageEncoder, layout: str) -> None:
    state = encoder.state_dict()
    if layout == "hub":
        path = write(tmp_path, state, ".pth")
    else:
        path = write(tmp_path, as_huggingface(state, int(layout[-1])))
    loaded = load_network(path, ImageEncoder, CPU)
    for key, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, state[key]), key
    images = torch.randn(1, 3, 28, 28, generator=torch.Generator().manual_seed(0))
    assert torch.equal(loaded(images), encoder(images))


def drop_a_key(state: dict[str, Tensor]) -> None:
    del state["encoder.layer.1.attention.k_proj.weight"]


def add_a_key(state: dict[str, Tensor]) -> None:
    state["classifier.weight"] = torch.zeros(3)


def move_a_row(state: dict[str, Tensor]) -> None:
    """Query, key and value still add up to the rows of qkv, but not each to a third."""
    name = "encoder.layer.0.attention.{}_proj.bias"
    state[name.format("q")], state[name.format("k")] = torch.zeros(25), torch.zeros(23)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (drop_a_key, "missing: encoder.layer.1.attention.k_proj.weight"),
        (add_a_key, "unexpected: classifier.weight"),
        (move_a_row, "encoder.layer.0.attention.q_proj.bias [25] instead of [24]"),
    ],
)
def test_wrong_keys_are_named_as_the_file_names_them(
    tmp_path: Path, encoder: ImageEncoder, change: Any, words: str
) -> None:
    state = as_huggingface(encoder.state_dict(), 5)
    change(state)
    with pytest.raises(CheckpointError, match=re.escape(words)):
        load_network(write(tmp_path, state), ImageEncoder, CPU)
