"""The folder of a run: one process at a time, settings that stay, metrics up to the checkpoint, cheap saves."""

from __future__ import annotations

import json
import math
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from backend.errors import BackendError
from backend.training import run_folder
from backend.training.run_folder import RunLog, Saving, alone, claim, clock


def silent(words: str) -> None:
    """Nothing is said."""


def test_one_process_at_a_time(tmp_path: Path) -> None:
    with alone(tmp_path), pytest.raises(BackendError, match="choose another folder with --folder"), alone(tmp_path):
        pass
    with alone(tmp_path):  # free again
        pass


def test_a_claim_is_written_once(tmp_path: Path) -> None:
    config = {"method": "vm", "preset": {"rate": 0.1}}
    claim(tmp_path, config, write=False)
    assert list(tmp_path.iterdir()) == []
    claim(tmp_path, config, write=True)
    written = (tmp_path / "config.json").stat()
    claim(tmp_path, config, write=True)
    assert (tmp_path / "config.json").stat() == written
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_what_differs_is_named(tmp_path: Path) -> None:
    claim(tmp_path, {"method": "vm", "teacher": "abc", "preset": {"rate": 0.1, "batch": 2}}, write=True)
    with pytest.raises(ValueError, match=r"other settings \(rate, teacher: see"):
        claim(tmp_path, {"method": "vm", "teacher": "def", "preset": {"rate": 0.2, "batch": 2}}, write=True)


@pytest.mark.parametrize("text", ["", '{"method": ', "[]", '{"preset": 1}'])
def test_settings_that_cannot_be_read_are_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match=r"config\.json cannot be read"):
        claim(tmp_path, {"method": "vm", "preset": {}}, write=True)
    assert (tmp_path / "config.json").read_text() == text


def updates(folder: Path, first: int, last: int, steps: int = 34) -> list[int]:
    """Make updates ``first`` + 1 to ``last``; after which of them a line was written."""
    log = RunLog(folder, first, steps, 1, silent)
    return [step for step in range(first + 1, last + 1) if log.add(step, {"loss": 1 / step, "odd": math.nan})]


def test_lines_are_the_same_after_a_kill(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
    assert updates(whole, 0, 34) == [10, 20, 30, 34]
    updates(killed, 0, 25)  # saved after 10, killed
    with (killed / "metrics.jsonl").open("a") as file:
        file.write('{"step": 3')  # in mid-write
    updates(killed, 10, 34)
    assert (killed / "metrics.jsonl").read_text() == (whole / "metrics.jsonl").read_text()
    lines = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1] == {"step": 34, "loss": pytest.approx(sum(1 / step for step in range(31, 35)) / 4)}


def test_damaged_metrics_are_named(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n\0\0\0\n')
    with pytest.raises(ValueError, match=r"metrics\.jsonl is damaged"):
        RunLog(tmp_path, 1, 2, 1, silent)


def test_tensorboard_that_is_missing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    said: list[str] = []
    log = RunLog(tmp_path, 0, 20, 1, said.append)
    for step in range(1, 11):
        log.add(step, {"loss": 1.0})
    assert len(said) == 1
    assert "pip install tensorboard" in said[0]


def test_saving_takes_a_small_part_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now, saved = 0.0, []

    def save() -> None:
        nonlocal now
        now += 30
        saved.append(now)

    monkeypatch.setattr(run_folder.time, "monotonic", lambda: now)
    saving = Saving(save, 60.0)
    while now < 3000:
        now += 1
        saving.if_due()
    assert saved[0] == 60 + 30
    assert all(later - earlier >= 600 + 30 for earlier, later in pairwise(saved))
    assert len(saved) == 5


@pytest.mark.parametrize(("seconds", "words"), [(90, "1 min"), (3700, "1:01 h"), (9e6, "104 days")])
def test_clock(seconds: float, words: str) -> None:
    assert clock(seconds) == words
