"""The full-size networks have the keys, shapes, dtypes and sizes of the published checkpoints."""

from __future__ import annotations

import pytest
import torch

from backend.models.image_encoder import ImageEncoder
from backend.weights.checkpoints import NETWORKS
from backend.weights.dinov2_layout import sources
from tests.backend.golden import ROOT, assert_keys_as_published, keymap

HUGGING_FACE = "hf_dinov2_with_registers_large"
KEYMAPS = sorted(file.stem for file in (ROOT / "keymaps").glob("*.json") if file.stem != HUGGING_FACE)


def test_every_network_has_a_keymap() -> None:
    assert {NETWORKS[keymap(name)["model_class"]] for name in KEYMAPS} == set(NETWORKS.values())


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
