"""Judge a small model on objects that it has never seen, each rendered from a random view.

The report has, overall and by family: volumetric IoU (64^3 for ``mini``, filled from the border), F-score (10,000
points on outer surfaces, threshold 0.05 of the cube), and PSNR of the unlit colours from the input's view. The F-score
with images shuffled between objects shows whether the model uses its image. The frequencies of hidden choices, compared
with the true ones, show whether it generates.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
from scipy.spatial import cKDTree

from ..errors import BackendError
from ..pipeline import Pipeline
from ..protocol import Settings
from ..training.objects.drawing import outer_surface
from ..training.objects.families import FAMILIES
from ..training.objects.shapes import HELD_OUT
from . import metrics
from .cases import Case, cases
from .choices import Choices
from .subjects import POINTS

IMAGES_PER_CHOICE = 24  # at least as many for each hidden choice, if there are enough


@dataclass(frozen=True)
class Judged:
    """The scores of one generated object. ``made`` and ``true`` are points on the surfaces, for shuffling."""

    family: str
    iou: float
    f_score: float
    psnr: float
    made: cKDTree
    true: cKDTree


class Report(TypedDict):
    """The result of an evaluation. The scores are those of ``summary``."""

    n: int
    seed: int
    steps: int
    all: dict[str, float]
    families: dict[str, dict[str, float]]
    f_score_shuffled_between_families: float
    f_score_shuffled_within_families: float
    hidden_choices: dict[str, dict[str, object]]
    seconds_per_object: float


def evaluate(
    pipeline: Pipeline,
    count: int,
    seed: int,
    steps: int | None,
    guidance: float | None,
    say: Callable[[str], None],
) -> Report:
    """Judge a model on ``count`` held-out objects. Other seeds give other objects. If ``steps`` or ``guidance`` is
    None, the model's own is used."""
    families = list(FAMILIES)
    resolution = 4 * pipeline.latent_flow.resolution
    choices, judged = Choices(), []
    started = time.monotonic()
    for i, case in enumerate(cases(count, seed)):
        made = generate(pipeline, case, Settings(seed=i, steps=steps, guidance=guidance), say)
        j = judge(case, made, resolution)
        judged.append(j)
        if made is not None:
            choices.add(case.family, Choices.of(case, metrics.filled(made)))
        say(f"{i + 1}/{count}  {case.family:9} F {j.f_score:.3f}  IoU {j.iou:.3f}  PSNR {j.psnr:.1f}")
    seconds = time.monotonic() - started
    top_up(pipeline, choices, HELD_OUT + 10_000 * seed + 5_000, steps, guidance, say)
    return {
        "n": count,
        "seed": seed,
        "steps": steps or pipeline.config.structure_sampler.steps,
        "all": summary(judged),
        "families": {name: summary([j for j in judged if j.family == name]) for name in families[:count]},
        "f_score_shuffled_between_families": shuffled(judged, 1),
        "f_score_shuffled_within_families": shuffled(judged, len(families)),
        "hidden_choices": choices.report(),
        "seconds_per_object": round(seconds / count, 2),
    }


def generate(pipeline: Pipeline, case: Case, settings: Settings, say: Callable[[str], None]) -> metrics.Surface | None:
    """The outer surface that the model generates from the case's image; None if it generates nothing."""
    try:
        return outer_surface(pipeline.reconstruct([case.image()], settings).lattice)
    except BackendError as error:
        say(f"{case.family} {case.number}: {error}")
        return None


def judge(case: Case, made: metrics.Surface | None, resolution: int) -> Judged:
    """Compare a result with the true object, on a lattice of ``resolution``. If nothing was made, all scores are 0."""
    truth = metrics.true_surface(case.family, case.params, resolution // 4)
    true_points = cKDTree(metrics.sample_surface(truth, POINTS, seed=1))
    if made is None:
        return Judged(case.family, 0.0, 0.0, 0.0, cKDTree(np.full((1, 3), 9.0)), true_points)
    points = cKDTree(metrics.sample_surface(made, POINTS, seed=2))
    occupancy = metrics.true_occupancy(case.family, case.params, resolution)[0]
    picture = metrics.true_picture(case.family, case.params, case.view, case.window)
    return Judged(
        case.family,
        metrics.iou(metrics.filled(made), occupancy),
        metrics.Gaps.between(points, true_points).f_score(),
        metrics.likeness(made, picture, case.view, case.window).psnr,
        points,
        true_points,
    )


def summary(judged: list[Judged]) -> dict[str, float]:
    """The means of the scores, and the median and 5th percentile of the F-score."""
    columns = {name: [getattr(j, name) for j in judged] for name in ("f_score", "iou", "psnr")}
    return {name: round(float(np.mean(values)), 4) for name, values in columns.items()} | {
        "f_score_median": round(float(np.median(columns["f_score"])), 4),
        "f_score_p5": round(float(np.percentile(columns["f_score"], 5)), 4),
    }


def shuffled(judged: list[Judged], shift: int) -> float:
    """The mean F-score of each result against the object that comes ``shift`` places later."""
    others = judged[shift % len(judged) :] + judged[: shift % len(judged)]
    scores = [metrics.Gaps.between(j.made, other.true).f_score() for j, other in zip(judged, others, strict=True)]
    return round(float(np.mean(scores)), 4)


def top_up(
    pipeline: Pipeline,
    choices: Choices,
    number: int,
    steps: int | None,
    guidance: float | None,
    say: Callable[[str], None],
) -> None:
    """Generate more objects, from this number on, for families whose hidden choices occurred too rarely."""
    for family, f in FAMILIES.items():
        for _ in range(4 * IMAGES_PER_CHOICE):
            if all(len(choices.taken[choice]) >= IMAGES_PER_CHOICE for choice in f.modes):
                break
            case = Case.draw(family, number)
            number += 1
            if all(len(choices.taken[choice]) >= IMAGES_PER_CHOICE for choice in case.hidden_choices()):
                continue
            made = generate(pipeline, case, Settings(seed=number, steps=steps, guidance=guidance), say)
            if made is not None:
                choices.add(case.family, Choices.of(case, metrics.filled(made)))


def table(report: Report) -> str:
    """The report as text."""
    lines = ["            F-score   IoU    PSNR"]
    for name, r in {"all": report["all"], **report["families"]}.items():
        lines.append(f"{name:10}  {r['f_score']:.3f}   {r['iou']:.3f}   {r['psnr']:.1f} dB")
    lines += [
        f"F-score with shuffled images: {report['f_score_shuffled_between_families']} (another family), "
        f"{report['f_score_shuffled_within_families']} (the same family)"
    ]
    lines += [f"hidden {name}: {c}" for name, c in report["hidden_choices"].items()]
    return "\n".join(lines)
