"""How the guard is judged: what fails, how a sign is scored, and that the rows show what they say."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from backend.evaluation import guarded
from backend.evaluation.cases import cases
from backend.evaluation.guarded import Looked, answers_to, area, damaged, rows, signs, solid, summary, usual_rms
from backend.evaluation.metrics import iou
from backend.pipeline import Pipeline
from backend.weights.folders import ModelFolder

GOOD = Looked("", False, False, 0.9, 0.0, 0.0, 1, 0.0, 0.01)
CAUGHT = Looked("came out with dust around it", True, False, 0.6, 0.1, 0.3, 2, 0.2, 0.01)
MISSED = Looked("", True, True, 0.8, 0.0, 0.2, 1, 0.0, 0.01)
ALARM = Looked("does not have the image's outline", False, False, 0.6, 0.0, 0.0, 2, 0.4, 0.01)


@pytest.fixture(scope="module")
def models() -> tuple[Pipeline, Pipeline]:
    teacher, student = (Pipeline.load(ModelFolder.find(name), "cpu") for name in ("mini", "mini-mdt"))
    return teacher, student


def test_a_row_counts_what_is_caught_missed_and_left() -> None:
    found = summary([GOOD, CAUGHT, MISSED, ALARM], known=True)
    counts = {name: found[name] for name in ("problems", "failed", "caught", "missed", "false alarms", "left")}
    assert counts == {"problems": 2, "failed": 2, "caught": 1, "missed": 1, "false alarms": 1, "left": 1}
    assert found["attempts"] == 1.5
    assert found["more time"] == 150.0
    assert found["reasons"] == {"came out with dust around it": 1, "does not have the image's outline": 1}


def test_without_the_truth_a_row_says_only_what_the_guard_found() -> None:
    found = summary([CAUGHT], known=False)
    assert found["failed"] is None
    assert found["problems"] == 1


def test_the_area_is_the_chance_that_a_failure_has_the_larger_sign() -> None:
    sign, failed = np.array([1.0, 2.0, 2.0, 3.0]), np.array([False, True, False, True])
    # Pairs of a failure and another: (2, 1) right, (2, 2) a tie, (3, 1) and (3, 2) right.
    assert area(sign, failed) == pytest.approx(3.5 / 4)
    assert np.isnan(area(sign, np.zeros(4, bool)))


def test_a_sign_is_held_to_its_false_alarms() -> None:
    found = signs([GOOD] * 50 + [CAUGHT, MISSED])
    assert found["agreement"] == {"area": 1.0, "found": 1.0}
    assert found["crumbs"] == {"area": 0.75, "found": 0.5}  # one of the two has none, like all others


def test_true_answers_do_not_fail_and_another_family_does() -> None:
    chair, other = (answers_to(case) for case in cases(2, 7))
    true = [solid(each) for each in chair]
    assert len(true) == guarded.ANSWERS
    assert max(iou(true[0], each) for each in true[1:]) > 0.9
    assert max(iou(solid(other[0]), each) for each in true) < guarded.FAILED


def test_what_is_enclosed_counts() -> None:
    box = np.argwhere(np.ones((6, 6, 6), bool)) + 4
    shell = box[((box == 4) | (box == 9)).any(1)]
    assert solid(shell).sum() == 6**3
    leak = (shell != (4, 6, 6)).any(1)
    assert solid(shell[leak]).sum() >= 6**3 - 1


@pytest.mark.parametrize(("name", "change"), [(name, change) for name, change, _ in guarded.CHANGES])
def test_changed_pictures_show_something_and_differ(name: str, change: object) -> None:
    image = cases(1, 7)[0].image()
    changed = change(image.copy(), 0)  # type: ignore[operator]
    assert changed.mode == "RGBA"
    assert changed.size == image.size
    assert changed.getchannel("A").getbbox() is not None
    assert changed.tobytes() != image.tobytes()


def test_noise_changes_a_copy(models: tuple[Pipeline, Pipeline]) -> None:
    student = models[1]
    before = {name: weight.clone() for name, weight in student.structure_flow.state_dict().items()}
    flow = damaged(student, 0.5).structure_flow
    name = "blocks.0.mlp.mlp.0.weight"
    noise = flow.state_dict()[name] - before[name]
    assert float(noise.std() / before[name].std()) == pytest.approx(0.5, rel=0.02)
    assert all(torch.equal(weight, before[n]) for n, weight in student.structure_flow.state_dict().items())


def test_latents_of_true_objects_have_about_unit_deviation(models: tuple[Pipeline, Pipeline]) -> None:
    assert usual_rms(models[0], [answers_to(case)[0] for case in cases(12, 7)]) == pytest.approx(1.0, abs=0.15)


def test_all_rows_are_judged(models: tuple[Pipeline, Pipeline]) -> None:
    found = guarded.evaluate(*models, 2, 7, lambda words: None)
    assert list(found["rows"]) == [row.name for row in rows(*models)]
    assert found["rows"]["another family"]["failed"] == 2  # nothing that was made of another picture is near
    assert found["rows"]["teacher, 25 steps"]["failed"] == 0
    assert "left" in guarded.table(found)
