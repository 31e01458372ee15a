"""Structures that cannot be what the images show: found, tried again, and told."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from backend import attempts as attempts_module
from backend import networks as networks_module
from backend.config import SamplerSettings
from backend.guard import OUTLINE_SIDE, StructureReport, inspect, note_on, outline
from backend.models.structure_flow import StructureFlow
from backend.pipeline import Pipeline, Reconstruction
from backend.protocol import Settings
from backend.weights.folders import ModelFolder
from tests.backend.images.test_images import disc
from tests.fakes.tiny_model import write_tiny_model

GRID = 16
GOOD = StructureReport(0.1, 1.0, 0.0, 0.9)
DUST = StructureReport(0.1, 0.2, 0.4, 0.9)
OTHER = StructureReport(0.1, 1.0, 0.0, 0.4)


def shell(radius: float, stretch: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> np.ndarray:
    """Voxels [N, 3] on the surface of an ellipsoid in the middle of the grid."""
    axis = np.arange(GRID) + 0.5 - GRID / 2
    distance = np.sqrt(
        sum((v / s) ** 2 for v, s in zip(np.meshgrid(axis, axis, axis, indexing="ij"), stretch, strict=True))
    )
    return np.argwhere(abs(distance - radius) < 0.8)


def drawn(mask: np.ndarray) -> Image.Image:
    return Image.fromarray(np.dstack([mask * 200] * 3 + [mask * 255]).astype(np.uint8))


def bar(width: int, height: int) -> Image.Image:
    mask = np.zeros((64, 64), dtype=bool)
    mask[32 - height // 2 : 32 + height // 2, 32 - width // 2 : 32 + width // 2] = True
    return drawn(mask)


def test_an_outline_touches_the_border_wherever_the_object_is() -> None:
    far = np.zeros((90, 120), dtype=bool)
    far[70:80, 5:25] = True
    mask = outline(drawn(far))
    assert mask.shape == (OUTLINE_SIDE, OUTLINE_SIDE)
    rows, columns = np.nonzero(mask.any(1))[0], np.nonzero(mask.any(0))[0]
    assert (columns[0], columns[-1]) == (0, OUTLINE_SIDE - 1)
    assert len(rows) == OUTLINE_SIDE // 2


def test_a_ball_agrees_with_a_disc_and_not_with_a_bar() -> None:
    ball = shell(6)
    good, bad = inspect(ball, GRID, [outline(disc())]), inspect(ball, GRID, [outline(bar(8, 60))])
    assert not good.problem
    assert good.agreement > 0.85
    assert "outline" in bad.problem
    # All images must agree, not one of them.
    assert inspect(ball, GRID, [outline(disc()), outline(bar(8, 60))]) == bad


def test_an_outline_may_be_seen_from_any_side() -> None:
    """A plank seen from its end, its broad side or halfway round is a plank each time."""
    plank = shell(1, (7, 2, 5))
    for width, height in ((54, 40), (20, 40), (44, 40)):
        assert not inspect(plank, GRID, [outline(bar(width, height))]).problem, (width, height)


@pytest.mark.parametrize(
    ("coords", "words"),
    [
        (np.zeros((0, 3), dtype=int), "empty"),
        (np.argwhere(np.random.default_rng(0).random((GRID,) * 3) < 0.03), "pieces"),
        (np.argwhere(np.ones((GRID,) * 3, dtype=bool)), "solid block"),
    ],
)
def test_nothing_dust_and_a_block_are_told_apart(coords: np.ndarray, words: str) -> None:
    assert words in inspect(coords, GRID, [outline(disc())]).problem


def test_dust_around_a_good_object_is_seen() -> None:
    ball, rng = shell(6), np.random.default_rng(0)
    free = np.argwhere(np.ones((GRID,) * 3, dtype=bool))
    free = free[~(free[:, None] == ball).all(-1).any(1)]
    dusty = np.concatenate([ball, free[rng.choice(len(free), len(ball) // 20, replace=False)]])
    assert "dust" in inspect(dusty, GRID, [outline(disc())]).problem
    assert inspect(ball, GRID, [outline(disc())]).crumbs == 0


def test_notes_say_what_was_done() -> None:
    assert note_on([GOOD], 0) == ""
    assert "attempt 2" in note_on([DUST, GOOD], 1)
    assert "best of 2 attempts" in note_on([DUST, OTHER], 1)
    assert "as it is" in note_on([OTHER], 0)


def attempts(
    model: Pipeline, monkeypatch: pytest.MonkeyPatch, reports: list[StructureReport], seconds: float = 3600.0
) -> tuple[list[np.ndarray], Reconstruction]:
    """Generate with these judgements, one for each attempt, and return how many were asked for, and the result."""
    asked: list[np.ndarray] = []

    def judged(coords: np.ndarray, resolution: int, outlines: object) -> StructureReport:
        asked.append(coords)
        return reports[len(asked) - 1]

    monkeypatch.setattr(attempts_module, "inspect", judged)
    settings = Settings(seed=3, steps=2, texture_size=64, faces=300, retry_seconds=seconds)
    return asked, model.reconstruct([disc()], settings)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("guard") / "tiny")


@pytest.fixture(scope="module")
def model(tiny: Path) -> Pipeline:
    return Pipeline.load(ModelFolder.read(tiny), torch.device("cpu"))


def test_a_good_structure_is_not_tried_again(model: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, made = attempts(model, monkeypatch, [GOOD])
    assert len(asked) == 1
    assert made.note == ""


def test_other_noise_is_tried_and_the_best_attempt_used(model: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, made = attempts(model, monkeypatch, [DUST, OTHER, replace(OTHER, agreement=0.6), DUST])
    assert len({coords.tobytes() for coords in asked}) == 4
    assert made.voxels == len(asked[2])
    assert "best of 4" in made.note


def test_the_first_attempt_in_order_ends_the_search(model: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, made = attempts(model, monkeypatch, [DUST, GOOD])
    assert len(asked) == 2
    assert made.voxels == len(asked[1])


def test_no_time_means_no_second_attempt(model: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, made = attempts(model, monkeypatch, [DUST], seconds=0)
    assert len(asked) == 1
    assert "as it is" in made.note


def test_no_attempt_is_begun_that_would_take_longer_than_there_is_time(
    model: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = count()  # every look at the clock is a second later than the one before: an attempt takes a second
    monkeypatch.setattr(attempts_module, "time", SimpleNamespace(perf_counter=lambda: float(next(now))))
    asked, made = attempts(model, monkeypatch, [DUST] * 4, seconds=2.5)
    assert len(asked) == 3
    assert "best of 3" in made.note


def test_the_last_attempt_is_the_teachers(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    student = tmp_path / "student"
    (student / "ckpts").mkdir(parents=True)
    other = write_tiny_model(tmp_path / "other", seed=1)
    for suffix in (".json", ".safetensors"):
        (student / f"ckpts/structure_flow{suffix}").write_bytes((other / f"ckpts/structure_flow{suffix}").read_bytes())
    (student / "overlay.json").write_text(json.dumps({"base": str(tiny)}))
    (student / "pipeline.json").write_text(json.dumps({"args": {}}))
    distilled = Pipeline.load(ModelFolder.read(student), torch.device("cpu"))
    assert distilled.teacher is not None
    sampled: list[tuple[torch.nn.Module, int]] = []
    real = networks_module.sample_structure

    def watched(
        flow: StructureFlow, noise: Tensor, cond: Tensor, sampler: SamplerSettings, *rest: Any, **more: Any
    ) -> Tensor:
        assert not flow.out_layer.weight.is_meta
        sampled.append((flow, sampler.steps))
        return real(flow, noise, cond, sampler, *rest, **more)

    for module in (attempts_module, networks_module):
        monkeypatch.setattr(module, "sample_structure", watched)
    attempts(distilled, monkeypatch, [DUST, DUST, DUST, GOOD])
    own, teacher = distilled.structure_flow, distilled.teacher.flow.network
    assert sampled == [(own, 2), (own, 2), (own, 2), (teacher, 3)]  # the teacher's own number of steps
    assert next(teacher.parameters()).is_meta  # its memory is given back
