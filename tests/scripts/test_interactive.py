"""The benchmark of candidates and live previews, with the fake backend."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from scripts.benchmark import interactive
from scripts.benchmark.results import table

FAKE_BACKEND = Path(__file__).parents[1] / "fakes" / "fake_backend.py"


@pytest.fixture
def mode(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    command = [sys.executable, str(FAKE_BACKEND), "ok"]
    monkeypatch.setattr(interactive, "COMMAND", command)
    monkeypatch.setattr(interactive, "EXPLORES", 2)
    monkeypatch.setattr(interactive, "CHANGES", 3)
    return command


def test_candidates_are_measured(mode: list[str]) -> None:
    mode[2:] = ["slow", "0.4"]
    first, last = interactive.measure_explore()
    assert (first["stage"], last["stage"]) == ("first candidate", "8 candidates")
    assert first["runs"] == last["runs"] == 3
    assert 0.05 < first["warm_s"] < last["warm_s"] <= last["p95_s"]
    assert last["warm_s"] > 0.4
    assert "95 %" in table([first, last])


def test_changes_are_measured(mode: list[str]) -> None:
    mode[2:] = ["slow", "0.4"]
    seed, image, cancel = interactive.measure_live()
    assert min(seed["warm_s"], image["warm_s"]) > 0.4
    left = seed["warm_s"] - interactive.BEFORE_CANCEL
    assert cancel["warm_s"] < left - 0.05, "a cancelled update does not go on to its end"
    assert cancel["runs"] == 4


def test_a_backend_that_fails_is_no_figure(mode: list[str]) -> None:
    mode[2:] = ["error"]
    with pytest.raises(RuntimeError, match="not an image"):
        interactive.measure_explore()
