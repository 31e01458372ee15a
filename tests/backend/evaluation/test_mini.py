"""The evaluation of a small model, on two objects."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from backend.evaluation import mini
from scripts import eval as eval_script


def test_its_figures_are_the_last_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(mini, "IMAGES_PER_CHOICE", 0)
    file = tmp_path / "mini.json"
    options = ["--n", "2", "--steps", "2", "--device", "cpu", "--out", str(file)]
    monkeypatch.setattr("sys.argv", ["eval.py", "mini", *options, "--json"])
    assert eval_script.main() == 0
    printed = capsys.readouterr()
    found = json.loads(printed.out.splitlines()[-1])
    assert found == json.loads(file.read_text())
    assert 0.8 < found["all"]["f_score"] <= 1
    assert 0.2 < found["all"]["iou"] <= 1
    assert found["all"]["psnr"] > 10
    assert found["f_score_shuffled_between_families"] < found["all"]["f_score"]
    assert "2/2  stool" in printed.err
    lines = mini.table(found).splitlines()
    assert lines[1].startswith("all ")
    assert lines[3].startswith("stool ")
