"""Golden cases: figures of the reference implementations, stored under `tests/golden`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

ROOT = Path(__file__).parents[1] / "golden"

#: Largest difference allowed between two fp32 computations, relative to the largest reference value.
FP32 = 2e-5

#: The same where half-precision kernels are involved.
FP16 = 5e-3


@dataclass(frozen=True)
class GoldenCase:
    """One stored run. A file that the case does not have reads as an empty dictionary."""

    folder: Path
    config: dict[str, Any]
    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]
    weights: dict[str, Tensor]


def load_case(family: str, case: str) -> GoldenCase:
    folder = ROOT / family / case
    tensors = {}
    for name in ("inputs", "outputs", "weights"):
        path = folder / f"{name}.safetensors"
        tensors[name] = load_file(path) if path.exists() else {}
    return GoldenCase(folder, json.loads((folder / "config.json").read_text()), **tensors)


def assert_close(actual: Tensor, expected: Tensor, tolerance: float = FP32) -> None:
    """Require equal shapes and differences of at most `tolerance` times the largest expected value."""
    assert actual.shape == expected.shape
    error = (actual.double() - expected.double()).abs().max() / expected.abs().max()
    assert error <= tolerance, f"relative error {error:.2e} exceeds {tolerance:.0e}"


def assert_keys_as_published(network: type[nn.Module], keymap: str) -> None:
    """Require the state dict of the full-size network to have the published keys, shapes and dtypes."""
    published = json.loads((ROOT / "keymaps" / f"{keymap}.json").read_text())
    with torch.device("meta"):
        state = network(**published["args"]).state_dict()
    found = {key: [list(value.shape), str(value.dtype).removeprefix("torch.")] for key, value in state.items()}
    assert found == published["keys"]
