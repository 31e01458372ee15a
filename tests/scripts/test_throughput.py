"""The benchmark of objects a minute, with the fake backend, which overlaps nothing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from scripts.benchmark import interactive, throughput
from scripts.benchmark.results import table

FAKE_BACKEND = Path(__file__).parents[1] / "fakes" / "fake_backend.py"


@pytest.fixture
def mode(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    command = [sys.executable, str(FAKE_BACKEND), "slow", "0.1"]
    monkeypatch.setattr(interactive, "COMMAND", command)
    monkeypatch.setattr(throughput, "PAIRS", 2)
    monkeypatch.setattr(throughput, "OBJECTS", 3)
    return command


def test_both_ways_are_measured(mode: list[str]) -> None:
    alone, over = throughput.measure_queue()
    assert (alone["stage"], over["stage"]) == ("one by one", "overlapped")
    assert alone["runs"] == over["runs"] == 6
    assert alone["per_minute"] == pytest.approx(60 / alone["warm_s"])
    assert min(alone["made_s"], alone["finished_s"]) > 0
    assert over["ratio_least"] <= over["ratio"] <= over["ratio_most"]
    assert 1 < over["ratio_at_best"] < 2
    assert "a minute" in table([alone, over])


def test_other_bytes_are_no_figure(mode: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = iter(range(100))
    monkeypatch.setattr(throughput, "digest", lambda path: str(next(numbers)))
    with pytest.raises(RuntimeError, match="other bytes"):
        throughput.measure_queue()


def test_a_backend_that_fails_is_no_figure(mode: list[str]) -> None:
    mode[2:] = ["error"]
    with pytest.raises(RuntimeError, match="not an image"):
        throughput.measure_queue()
