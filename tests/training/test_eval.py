"""The evaluation of students, on very few samples of the bundled model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from backend.catalog import find_model
from backend.folders import ModelFolder
from scripts import eval as evaluation


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> evaluation.Evaluation:
    """Two objects, two samples of one image."""
    monkeypatch.setattr(evaluation, "IMAGES", 1)
    monkeypatch.setattr(evaluation, "COMPLETIONS", 2)
    monkeypatch.setattr(evaluation, "AXES_FROM", 4)
    return evaluation.Evaluation(tmp_path, ModelFolder.read(find_model("mini")), objects=2, seeds=1)


def test_a_row_is_made_once_and_judged(small: evaluation.Evaluation) -> None:
    row = evaluation.Row("none 1x2", "mini", 1, 0.0)
    small.make([row])
    files = {path: path.stat().st_mtime_ns for path in small.folder.iterdir()}
    assert [path.name for path in sorted(files)] == ["none_1x2_conditional_0.npz", "none_1x2_paired_0.npz"]
    judged = small.judged(row)
    assert {path: path.stat().st_mtime_ns for path in files} == files
    assert all(np.isfinite(values).all() for values in judged.values())
    assert 0 <= judged["F"][0] <= 1
    assert judged["job s"][0] > judged["sampling s"][0] > 0
    lines = evaluation.table({row.name: judged}).splitlines()
    assert len(lines) == 3
    assert lines[2].startswith("| none 1x2 | ")


def test_the_truth_is_like_itself(small: evaluation.Evaluation) -> None:
    truth = evaluation.load(small.truth("held_out"))
    assert truth["shape"].shape == (2, 16**3)
    assert len(truth["render"]) == 2 * 4
    assert not np.array_equal(truth["render"][0], truth["render"][1])
