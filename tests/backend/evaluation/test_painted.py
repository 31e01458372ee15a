"""The yardstick of painting: its measures, its exhaustive search, and the command on one object."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from backend.evaluation import painted
from backend.mesh.paint.camera import Camera
from scripts import eval as eval_script
from tests.backend.mesh.paint.paint_cases import known


def drawn() -> painted.Drawn:
    case = known("chair")
    return painted.Drawn(case.shape, case.true)


def test_the_exhaustive_search_finds_where_a_picture_was_taken() -> None:
    true = Camera(205.0, 22.0, 33.0, 0.03, -0.02, 0.9)
    truth = drawn().picture(true)
    found = painted.best_view(drawn(), truth)
    assert painted.angle(found, true) < 4
    assert painted.psnr(drawn().picture(found), truth) > 22


def test_the_same_picture_is_perfect_and_others_are_worse() -> None:
    camera = Camera(30.0, 20.0, 36.0)
    truth = drawn().picture(camera)
    assert painted.psnr(truth, truth) == pytest.approx(90)
    assert painted.gradients(truth, truth) == pytest.approx(1)
    other = truth.copy()
    other[..., :3] = other[..., :3].mean(axis=(0, 1))
    assert painted.psnr(other, truth) < 30
    assert painted.gradients(other, truth) == 0  # no gradients at all
    assert abs(painted.gradients(truth[::-1], truth)) < 0.5
    shifted = np.roll(truth, 8, axis=1)
    assert painted.psnr(shifted, truth) < painted.psnr(np.roll(truth, 2, axis=1), truth)


def test_the_command_compares_painted_with_unpainted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(painted, "AZIMUTHS", range(0, 360, 60))
    monkeypatch.setattr(painted, "ELEVATIONS", (20.0,))
    monkeypatch.setattr(painted, "STARTS", 1)
    file = tmp_path / "painted.json"
    options = ["--n", "1", "--device", "cpu", "--json", "--out", str(file)]
    monkeypatch.setattr("sys.argv", ["eval.py", "painted", *options])
    assert eval_script.main() == 0
    printed = capsys.readouterr()
    found = json.loads(printed.out.splitlines()[-1])
    assert found == json.loads(file.read_text())
    assert (found["n"], found["steps"], found["failed"]) == (1, 2, 0)
    assert found["unpainted"] == found["families"]["chair"]["unpainted"]
    assert 8 < found["unpainted"]["psnr"] < 40
    assert (found["painted"] != found["unpainted"]) == (found["trusted"] == 1)
    assert "1/1  chair" in printed.err
    assert "trusted" in painted.table(found)
