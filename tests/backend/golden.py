"""The golden cases under ``tests/golden``, for tests that want their inputs and weights.

That the networks agree with them is tested in one place for all, by the check behind
``python -m backend check-goldens``.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from backend.goldens import case as cases
from backend.goldens.case import GoldenCase
from backend.goldens.compare import FP32, compare

ROOT = Path(__file__).parents[1] / "golden"


def load_case(family: str, case: str) -> GoldenCase:
    return cases.load_case(ROOT / family / case)


def assert_close(actual: Tensor, expected: Tensor, tolerance: float = FP32) -> None:
    """Require equal shapes and differences of at most ``tolerance`` times the largest expected value."""
    comparison = compare("this", actual, expected, tolerance)
    assert comparison.passed, comparison


def keymap(name: str) -> dict[str, Any]:
    """The published state dict of a full-size network: keys with shapes and dtypes, and the constructor's ``args``."""
    values: dict[str, Any] = json.loads((ROOT / "keymaps" / f"{name}.json").read_text("utf-8"))
    return values


def assert_keys_as_published(network: type[nn.Module], name: str) -> None:
    """Require the state dict of the full-size network to have the published keys, shapes, dtypes and sizes."""
    published = keymap(name)
    with torch.device("meta"):
        built = network(**published["args"])
    state = built.state_dict()
    found = {key: [list(value.shape), str(value.dtype).removeprefix("torch.")] for key, value in state.items()}
    assert found == published["keys"]
    assert len(found) == published["num_keys"]
    assert [key for key, _ in built.named_buffers()] == published["buffers"]
    assert sum(parameter.numel() for parameter in built.parameters()) == published["total_parameter_count"]
    assert sum(math.prod(shape) for shape, _ in published["keys"].values()) == published["total_state_dict_elements"]
