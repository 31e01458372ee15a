"""Which path computes, that both give the same, and that derived weights follow the weights they are made of."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from backend.sparse import dispatch
from backend.sparse.convolution import SparseConv3d, by_tap, merged_taps
from backend.sparse.dispatch import kernels_for, use, works

ROOT = Path(__file__).parents[3]
HAS_TRITON = importlib.util.find_spec("triton") is not None
needs_triton = pytest.mark.skipif(not HAS_TRITON, reason="triton is not installed: see CONTRIBUTING.md, GPU kernels")
#: Half precision rounds the result once, and merged weights before it.
BOUND = {torch.float16: 5e-4, torch.bfloat16: 4e-3}


@pytest.fixture(autouse=True)
def automatic() -> Iterator[None]:
    works.cache_clear()
    yield
    use("auto")
    works.cache_clear()


def check(errors: dict[str, float], dtype: torch.dtype) -> None:
    assert len(errors) > 20
    assert {name: error for name, error in errors.items() if not error < BOUND[dtype]} == {}


# --- the kernels -----------------------------------------------------------------------------------------------------


@needs_triton
def test_interpreted_kernels_against_dense_references() -> None:
    environment = dict(os.environ, TRITON_INTERPRET="1", OMP_NUM_THREADS="1")
    command = [sys.executable, "-m", "tests.backend.sparse.kernel_cases"]
    made = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    check(json.loads(made.stdout), torch.float16)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", BOUND)
def test_compiled_kernels_against_dense_references(dtype: torch.dtype) -> None:
    from tests.backend.sparse import kernel_cases

    assert works(torch.device("cuda", 0))
    check(kernel_cases.errors("cuda", dtype), dtype)
    assert kernel_cases.errors("cuda", dtype) == kernel_cases.errors("cuda", dtype)  # nothing is summed in any order


# --- the choice ------------------------------------------------------------------------------------------------------


def test_derivatives_and_single_precision_are_for_torch() -> None:
    x = torch.zeros(2, 4, dtype=torch.float16)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "backend.sparse.triton_kernels", dispatch)  # any module: only which one is asked
        patch.setattr("backend.sparse.triton_kernels", dispatch, raising=False)
        assert use("triton") == "auto"
        assert kernels_for(x, x) is dispatch
        assert kernels_for(x.float(), x.float()) is None
        assert kernels_for(x, x.float()) is dispatch, "the norms' parameters are in single precision"
        weight = x.clone().requires_grad_()
        assert kernels_for(x, weight) is None
        with torch.no_grad():
            assert kernels_for(x, weight) is dispatch
        with torch.autograd.forward_ad.dual_level(), torch.no_grad():
            assert kernels_for(torch.autograd.forward_ad.make_dual(x, x), x) is None
        assert use("torch") == "triton"
        assert kernels_for(x, x) is None
        assert use("auto") == "torch"
        assert kernels_for(x, x) is None, "on the CPU"


@pytest.mark.parametrize(("capability", "lines"), [((9, 0), 1), ((7, 5), 0)])
def test_a_device_without_working_kernels_is_tried_once_and_said(
    capability: tuple[int, int], lines: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whether Triton is missing, or is there but no CUDA device."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.version, "hip", None)
    device = torch.device("cuda", 99)
    with caplog.at_level(logging.WARNING):
        assert [works(device), works(device)] == [False, False]
    assert len(caplog.records) == lines
    if lines:
        assert "run in plain torch: Triton does not work here" in caplog.text


# --- derived weights -------------------------------------------------------------------------------------------------


def _double_in_place(conv: SparseConv3d) -> None:
    conv.conv.weight.mul_(2)


def _other_memory(conv: SparseConv3d) -> None:
    conv.conv.weight.data = conv.conv.weight.data * 2


def _loaded(conv: SparseConv3d) -> None:
    conv.load_state_dict({name: value * 2 for name, value in conv.state_dict().items()})


def _assigned(conv: SparseConv3d) -> None:
    conv.load_state_dict({name: value * 2 for name, value in conv.state_dict().items()}, assign=True)


def _cast(conv: SparseConv3d) -> None:
    conv.double()


@pytest.mark.parametrize("derive", [merged_taps, by_tap])
@pytest.mark.parametrize("change", [_double_in_place, _other_memory, _loaded, _assigned, _cast])
def test_derived_weights_are_made_once_for_each_weight(
    derive: Callable[[torch.Tensor], torch.Tensor], change: Callable[[SparseConv3d], None]
) -> None:
    conv = SparseConv3d(3, 2, 3)
    with torch.no_grad():
        before = conv.conv.derived(derive)
        assert conv.conv.derived(derive) is before
        change(conv)
        assert torch.equal(conv.conv.derived(derive), derive(conv.conv.weight))
    assert conv.conv.derived(derive).requires_grad, "where gradients are wanted, they reach the weight"


def test_derived_weights_of_inference_serve_without_gradients_too() -> None:
    conv = SparseConv3d(3, 2, 3)
    with torch.inference_mode():
        made = conv.conv.derived(merged_taps)
    with torch.no_grad():
        assert conv.conv.derived(merged_taps) is made
    assert "weight" in dict(conv.conv.named_parameters())
    assert [*conv.state_dict()] == ["conv.weight", "conv.bias"]


def test_weights_that_are_taken_away_leave_nothing_behind() -> None:
    with torch.device("meta"):
        conv = SparseConv3d(4, 4, 3)
    without = conv.state_dict()
    conv.load_state_dict({key: torch.ones(value.shape) for key, value in without.items()}, assign=True)
    with torch.no_grad():
        merged = weakref.ref(conv.conv.derived(merged_taps))
    assert merged() is not None
    conv.load_state_dict(without, assign=True)
    assert merged() is None
