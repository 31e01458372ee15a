"""The yardstick of painting: what it says of true colours, of wrong ones, and of the bundled model on two objects."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from backend.errors import GenerationError
from backend.evaluation import retextured
from backend.evaluation.cases import cases
from backend.evaluation.viewing import look
from backend.pipeline import Pipeline
from backend.weights.folders import ModelFolder
from scripts import eval as eval_script


def test_true_colors_are_nearer_than_any_other() -> None:
    for case in cases(2):
        shape = retextured.surface_of(case)
        assert len(shape.given.faces) <= retextured.FACES < len(shape.true.faces)
        made = retextured.bounds(case, shape)
        own, flat = (retextured.score(case, made[way]) for way in ("true_colors", "one_color"))
        upside_down = retextured.score(case, made["true_colors"]._replace(texture=made["true_colors"].texture[::-1]))
        assert min(own.psnr, own.psnr_other_views) > 25
        assert own.psnr > flat.psnr + 5
        assert own.psnr_other_views > flat.psnr_other_views + 5
        assert own.psnr > upside_down.psnr + 5


def test_other_views_go_around_the_object() -> None:
    case = cases(1)[0]
    views = list(retextured.other_views(case))
    assert [view.azimuth - case.view.azimuth for view, _ in views] == [90, 180, 270]
    shape = retextured.surface_of(case).given
    for view, window in [(case.view, case.window), *views]:
        seen = look(shape.vertices, shape.faces, view, 64, window)
        rows, columns = seen.pixel // 64, seen.pixel % 64
        assert 0 < min(rows.min(), columns.min()) <= max(rows.max(), columns.max()) < 63  # whole, in the window


def test_it_is_one_object_on_the_last_line_and_in_a_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "retextured.json"
    options = ["--n", "2", "--steps", "1", "--device", "cpu", "--json", "--out", str(file)]
    monkeypatch.setattr("sys.argv", ["eval.py", "retextured", *options])
    assert eval_script.main() == 0
    printed = capsys.readouterr()
    found = json.loads(printed.out.splitlines()[-1])
    assert found == json.loads(file.read_text())
    assert (found["n"], found["steps"], found["failed"]) == (2, 1, 0)
    assert list(found["families"]) == ["chair", "stool"]
    assert 8 < found["all"]["psnr"] < found["true_colors"]["psnr"]
    assert found["all"]["psnr"] == pytest.approx(sum(f["psnr"] for f in found["families"].values()) / 2, abs=1e-3)
    assert "2/2  stool" in printed.err


def test_what_cannot_be_painted_counts_as_grey(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(*arguments: object, **options: object) -> None:
        raise GenerationError("empty", "nothing was made")

    monkeypatch.setattr(retextured, "retexture", nothing)
    pipeline = Pipeline.load(ModelFolder.find("mini"), torch.device("cpu"))
    said: list[str] = []
    found = retextured.evaluate(pipeline, 1, 0, 1, None, said.append)
    assert found["failed"] == 1
    assert found["all"]["psnr"] < found["one_color"]["psnr"]
    assert any("nothing was made" in words for words in said)
    assert "not painted: 1" in retextured.table(found)
