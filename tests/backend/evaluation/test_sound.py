"""Twenty-four finished objects pass our own checks: eight of the bundled student, sixteen that are hard on purpose."""

from __future__ import annotations

import numpy as np
import pytest

from backend.evaluation import sound
from backend.evaluation.cases import Case, cases
from backend.mesh.finish import finish
from backend.mesh.sound.inspect import inspect
from backend.pipeline import Pipeline
from backend.protocol import Settings
from backend.weights.folders import ModelFolder
from tests.backend.mesh.sound.bodies import ball, joined

GRID = 64
HARD = [*sound.HARD, *list(sound.HARD)[:7]]


@pytest.fixture(scope="module")
def student() -> Pipeline:
    return Pipeline.load(ModelFolder.find("mini-mdt"), "cpu")


@pytest.mark.parametrize("case", cases(8, seed=3), ids=lambda case: case.family)
def test_objects_of_the_bundled_student(student: Pipeline, case: Case) -> None:
    raw = student.reconstruct([case.image()], Settings(seed=1)).raw
    faces = sound.FACES[case.number % 2]
    row = sound.judged("generated", case.family, faces, finish(raw, faces=faces, texture_size=64))
    assert row["problems"] == []
    assert 0.98 * min(faces, 10_000) <= row["faces"] <= faces


@pytest.mark.parametrize(("turn", "name"), list(enumerate(HARD)))
def test_objects_that_are_hard(turn: int, name: str) -> None:
    raw = sound.surface_of(sound.HARD[name](np.random.default_rng(turn)), GRID)
    faces = (2_000, 500)[turn % 2]
    row = sound.judged("hard", name, faces, finish(raw, faces=faces, texture_size=64))
    assert row["problems"] == []


def test_what_is_not_sound_is_counted() -> None:
    made = finish(sound.surface_of(sound.HARD["kissing"](np.random.default_rng(0)), 32), faces=500, texture_size=16)
    assert made.certificate.problems() == ()
    crossing = joined(ball(), ball(0.4, (0.3, 0.02, 0.01)))
    assert inspect(*crossing).problems() == ("faces cross",)
    spoilt = [
        {"kind": "a", "asked": 100, "faces": 90, "seconds": 1.0, "problems": ["faces cross"]},
        {"kind": "a", "asked": 100, "faces": 99, "seconds": 3.0, "problems": []},
        {"kind": "b", "asked": 100, "faces": 101, "seconds": 2.0, "problems": []},
    ]
    found = sound.summary(spoilt)
    assert (found["count"], found["sound"], found["problems"]) == (3, 2, {"faces cross": 1})
    assert (found["budget"], found["short"], found["over"]) == (1, 1, 1)
    assert (found["finish_s_median"], found["finish_s_max"]) == (2.0, 3.0)
