"""The campaign counts what it should: a run that finds nothing must not look like one that cannot find anything."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

if sys.platform != "linux":
    pytest.skip("the campaign runs on Linux", allow_module_level=True)

from backend.errors import StoreError
from tests.campaign import tally as tallies
from tests.campaign.tally import STRANGE, Tally, mutated, strange

ROOT = Path(__file__).parents[2]


def fail(error: Exception) -> None:
    raise error


def test_each_end_of_a_trial_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tallies, "ENDED", 1)
    tally = Tally("a", 1, 10, 60.0)
    with tally.trial():
        """Fine."""
    with tally.trial():
        fail(StoreError("busy", "Another program is at it."))
    assert (tally.tried, tally.refused, tally.wrong) == (2, 1, [])
    with tally.trial("odd"):
        fail(IndexError("odd"))
    with tally.trial():
        fail(StoreError("internal", "Something went wrong."))
    with tally.trial("endless"):
        time.sleep(30)
    assert (tally.tried, len(tally.wrong)) == (5, 3)
    assert "IndexError: odd" in tally.wrong[0]
    assert "internal" in tally.wrong[1]
    assert "endless: did not end" in tally.wrong[2]
    tally.cost(11.0, 0.0)
    tally.cost(0.0, 1500.0)
    assert len(tally.wrong) == 5
    assert tally.row().startswith("| a | 5 | 2 | 5 | 11.0 s | 1500 MB |")


def test_a_run_ends_after_its_trials_or_its_time() -> None:
    tally = Tally("a", 1, 2, 60.0)
    before = tally.enough
    tally.tried = 2
    assert (before, tally.enough) == (False, True)
    assert Tally("a", 1, 2, -1.0).enough


def test_the_same_seed_draws_the_same_faults() -> None:
    value = {"a": [1, {"b": "c"}], "d": 3.5}

    def drawn(seed: int) -> list[str]:
        chance = Tally("a", seed, 1, 1.0).random
        return [repr(strange(value, chance)) for _ in range(50)] + [repr(mutated(b"x" * 99, chance)) for _ in range(50)]

    assert drawn(3) == drawn(3) != drawn(4)
    assert len(set(drawn(3))) > 60
    assert all(json.dumps(strange(value, random.Random(n))) for n in range(50))
    assert len(STRANGE) > 20


def test_the_command_counts_and_says_its_seed() -> None:
    command = [sys.executable, "-m", "tests.campaign", "disk", "--minutes", "0.02", "--seed", "5"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("seed 5\n| disk |")
    wrong = subprocess.run([*command[:3], "nothing"], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert wrong.returncode == 2
    assert "there is no run nothing" in wrong.stderr
