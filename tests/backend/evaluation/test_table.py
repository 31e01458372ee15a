"""The evaluation of students, on very few samples of the bundled model."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from backend.evaluation import table as evaluation
from backend.evaluation.cases import cases
from backend.evaluation.samples import Row, encoder_of
from backend.evaluation.students import rows_of, students_of
from backend.evaluation.table import Evaluation
from backend.store.catalog import find_model
from backend.weights.folders import ModelFolder
from scripts import eval as eval_script

CPU = torch.device("cpu")


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Evaluation:
    """Three objects, two samples of one image."""
    monkeypatch.setattr(evaluation, "IMAGES", 1)
    monkeypatch.setattr(evaluation, "COMPLETIONS", 2)
    monkeypatch.setattr(evaluation, "AXES_FROM", 4)
    encoder, _ = encoder_of(ModelFolder.read(find_model("mini")), CPU)
    return Evaluation(tmp_path, encoder, cases(3), 1, CPU)


def test_a_row_is_made_once_and_judged(small: Evaluation) -> None:
    row = Row("none 1x2", find_model("mini"), 1, 0.0)
    for kind in ("conditional", "paired"):
        small.samples(row, kind, 0)
    files = {path: path.stat().st_mtime_ns for path in small.folder.iterdir()}
    names = [f"none_1x2_conditional_2_0_{row.digest}.npz", f"none_1x2_paired_3_0_{row.digest}.npz"]
    assert [path.name for path in sorted(files)] == names
    judged = small.judged(row)
    assert {path: path.stat().st_mtime_ns for path in files} == files
    assert all(np.isfinite(values).all() for values in judged.values())
    assert 0 <= judged["F worst"][0] <= judged["F"][0] <= 1
    assert judged["raw mesh s"][0] > judged["structure s"][0] > 0
    lines = evaluation.table({row.name: judged}).splitlines()
    assert len(lines) == 3
    assert lines[2].startswith("| none 1x2 | ")


def test_true_answers_are_near_the_truth_and_cost_no_time(small: Evaluation) -> None:
    judged = small.judged(Row("truth"))
    assert judged["F"][0] > 0.8
    assert judged["FD shape"] == [0.0]  # by definition: with one seed it is its own floor
    assert judged["FD render"] == [0.0]
    assert np.isnan(judged["decode s"][0])
    assert "–" in evaluation.table({"truth": judged})


def test_samples_of_other_weights_or_settings_are_others(tmp_path: Path) -> None:
    copy = tmp_path / "model"
    shutil.copytree(find_model("mini"), copy)
    row = Row("a", copy, 2)
    assert row.digest == Row("b", find_model("mini"), 2).digest
    assert len({row.digest, Row("a", copy, 1).digest, Row("a", copy, 2, 0.0).digest}) == 3
    assert row.digest != Row("a", copy, 2, guarded=True).digest
    weights = next(copy.glob("ckpts/slat_flow*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x7f")
    assert Row("a", copy, 2).digest != Row("b", find_model("mini"), 2).digest


def test_every_sample_has_noise_of_its_own(small: Evaluation, monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: list[int] = []

    def generated(row: Row, work: list[tuple[object, int]], device: object) -> list[object]:
        seeds.extend(seed for _, seed in work)
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluation, "generated", generated)
    for kind, seed in (("conditional", 0), ("conditional", 1), ("paired", 2)):
        with pytest.raises(KeyboardInterrupt):
            small.samples(Row("none 1x2", find_model("mini"), 1), kind, seed)
    assert len(seeds) == len(set(seeds)) == 2 + 2 + 3


def test_the_truth_is_like_itself(small: Evaluation) -> None:
    truth = small._held_out()
    assert truth["shape"].shape == (3, 16**3)
    assert len(truth["render"]) == 3 * 4
    assert not np.array_equal(truth["render"][0], truth["render"][1])


def test_students_of_a_teacher_are_found() -> None:
    teacher = ModelFolder.read(find_model("mini"))
    assert dict(students_of(teacher, Path("nowhere"))) == {"mini-mdt": find_model("mini-mdt")}
    names = [row.name for row in rows_of(teacher.path, [("mini-mdt", find_model("mini-mdt"))])]
    assert names[-3:] == ["mini-mdt 1x2", "mini-mdt 2x2", "mini-mdt 2x2, guarded"]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [(["--preset", "nonsense"], 1, "no model named 'nonsense'"), (["--row", "nonsense"], 2, "mini-mdt 2x2")],
)
def test_bad_names_are_answered(
    arguments: list[str], code: int, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["eval.py", "students", *arguments])
    assert eval_script.main() == code
    assert words in capsys.readouterr().err
