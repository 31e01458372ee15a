"""Whether a device computes what the networks need."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from backend.errors import SettingsError
from backend.serving import device
from backend.serving.device import OPERATIONS, check_device, choose_device


@pytest.mark.parametrize("name", OPERATIONS)
def test_half_precision_is_within_the_tolerance(name: str) -> None:
    operation, shapes = OPERATIONS[name]
    assert device._difference(name, operation, shapes, torch.device("cpu")) == ""


def test_a_device_that_cannot_compute_is_said_for_each_operation() -> None:
    """The meta device has no values to bring back."""
    found = check_device(torch.device("meta"))
    assert len(found) == 3
    assert all(
        sentence.startswith(f"It cannot compute {name}: ") for sentence, name in zip(found, OPERATIONS, strict=True)
    )


@pytest.mark.parametrize("factor", [1.1, float("nan"), float("inf")])
def test_a_wrong_result_is_said(factor: float) -> None:
    def wrong(x: Any) -> torch.Tensor:
        product = x[0] @ x[1]
        return product * factor if product.dtype == torch.half else product

    shapes = OPERATIONS["a product of matrices"][1]
    assert "is wrong" in device._difference("a product of matrices", wrong, shapes, torch.device("cpu"))


def test_the_processor_is_what_others_are_compared_with() -> None:
    assert check_device(torch.device("cpu")) == ()


@pytest.mark.parametrize("name", ["cuda", "xpu", "mps"])
def test_a_device_that_is_not_there(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "_has", lambda kind: False)
    with pytest.raises(SettingsError, match=f"no {name.upper()} device"):
        choose_device(name)
    assert choose_device().type == "cpu"


def test_which_device_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"xpu", "mps"}
    monkeypatch.setattr(device, "_has", lambda kind: kind in there)
    assert choose_device().type == "xpu"
    there.add("cuda")
    assert choose_device().type == "cuda"
    there -= {"cuda", "xpu"}
    assert choose_device().type == "cpu", "Apple's GPU was never tried"
    assert choose_device("mps").type == "mps"


@pytest.mark.gpu
def test_this_gpu() -> None:
    assert check_device(torch.device("cuda")) == ()
