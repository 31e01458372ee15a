"""The full-size networks have the keys, shapes, dtypes and sizes of the published checkpoints."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from backend.config import DESCRIPTIONS
from backend.models.image_encoder import ImageEncoder, RotaryImageEncoder
from backend.models.sparse_unet import SparseUnetEncoder
from backend.weights.checkpoints import NETWORKS, build_network
from backend.weights.dinov2_layout import sources
from tests.backend.golden import ROOT, assert_keys_as_published, keymap

HUGGING_FACE = "hf_dinov2_with_registers_large"
KEYMAPS = sorted(file.stem for file in (ROOT / "keymaps").glob("*.json") if file.stem != HUGGING_FACE)


TRELLIS2 = sorted(file.stem for file in (ROOT / "keymaps" / "trellis2").glob("*_fp16.json"))
TRELLIS2 += sorted(file.stem for file in (ROOT / "keymaps" / "trellis2").glob("*_bf16.json"))


def test_every_network_has_a_keymap() -> None:
    second = {NETWORKS[keymap(f"trellis2/{name}")["model_class"]] for name in TRELLIS2}
    first = {NETWORKS[keymap(name)["model_class"]] for name in KEYMAPS}
    # The first one's are test_dinov3_layout's. Of the other, the texture encoder, none are known: only our pair has it.
    assert first | second | {RotaryImageEncoder, SparseUnetEncoder} == set(NETWORKS.values())
    assert len(TRELLIS2) == 6


@pytest.mark.parametrize("name", TRELLIS2)
def test_full_size_network_of_the_second_family(name: str) -> None:
    """Every tensor of the published file has a place, and nothing else is wanted. The file has them all in one type."""
    published = keymap(f"trellis2/{name}")
    description = DESCRIPTIONS / "trellis2-4b" / "ckpts" / f"{name}.json"
    stated = json.loads(description.read_text())
    assert stated["name"] == published["config_class"]
    assert stated["args"] == published["args"] | ({"dtype": "bfloat16"} if "flow" in name else {})
    network = build_network(description, nn.Module, half=True)
    found = {key: list(tensor.shape) for key, tensor in network.state_dict().items()}
    assert found == {key: shape for key, (shape, _) in published["keys"].items()}
    assert sum(parameter.numel() for parameter in network.parameters()) == published["total_parameter_count"]
    assert list(network.buffers()) == []
    inside = torch.bfloat16 if "flow" in name else torch.float16
    assert {p.dtype for key, p in network.named_parameters() if key.startswith("blocks")} == {inside, torch.float32}
    assert {p.dtype for key, p in network.named_parameters() if not key.startswith("blocks")} == {torch.float32}


@pytest.mark.parametrize("name", KEYMAPS)
def test_full_size_network(name: str) -> None:
    published = keymap(name)
    kind = NETWORKS[published["model_class"]]
    assert NETWORKS[published.get("config_class", published["model_class"])] is kind
    assert_keys_as_published(kind, name)


def test_full_size_image_encoder_from_the_tensors_of_transformers() -> None:
    theirs = keymap(HUGGING_FACE)
    with torch.device("meta"):
        ours = ImageEncoder(**keymap("dinov2_vitl14_reg")["args"]).state_dict()
        stored = {key: torch.empty(shape) for key, (shape, _) in theirs["keys"].items()}
    parts = sources(ours, stored)
    assert sorted(name for names in parts.values() for name in names) == sorted(stored)
    assert len(stored) == theirs["num_keys"]
    assert sum(tensor.numel() for tensor in stored.values()) == theirs["total_parameter_count"]
    for key, tensor in ours.items():
        shapes = [list(stored[name].shape) for name in parts[key]]
        joined = [sum(shape[0] for shape in shapes), *shapes[0][1:]]
        assert all(shape[1:] == joined[1:] for shape in shapes)
        assert joined == list(tensor.shape)
