"""Judge a small model on objects it has never seen: ``python scripts/eval_mini.py --n 96 --seed 0 --json``.

Every object is rendered from a random view and sent through the pipeline as an image file would be. Reported, in all
and by family: volumetric IoU (64^3, filled from the border), F-score (10,000 points on outer surfaces, threshold 0.05
of the cube), PSNR of the unlit colours from the input's view. F-score with the images shuffled between objects shows
whether the model looks at its image; the frequencies of hidden choices, against the true ones, whether it generates.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import torch  # noqa: E402
from scipy.spatial import cKDTree  # noqa: E402

from backend.errors import BackendError  # noqa: E402
from backend.evaluation import metrics  # noqa: E402
from backend.evaluation.cases import Case, cases  # noqa: E402
from backend.evaluation.choices import Choices  # noqa: E402
from backend.pipeline import Pipeline  # noqa: E402
from backend.protocol import Settings  # noqa: E402
from backend.training.objects.drawing import outer_surface  # noqa: E402
from backend.training.objects.families import FAMILIES  # noqa: E402
from backend.training.objects.shapes import HELD_OUT  # noqa: E402
from backend.weights.folders import ModelFolder  # noqa: E402

POINTS = 10_000
IMAGES_PER_CHOICE = 24


@dataclass(frozen=True)
class Judged:
    """One generated object against the truth; ``made`` and ``true`` are points on the surfaces, for shuffling."""

    family: str
    iou: float
    f_score: float
    psnr: float
    made: cKDTree
    true: cKDTree


def generate(pipeline: Pipeline, case: Case, settings: Settings) -> metrics.Surface | None:
    """The outer surface of what the model makes of the case's image; None where it makes nothing."""
    try:
        return outer_surface(pipeline.reconstruct([case.image()], settings)[0])
    except BackendError as error:
        print(f"{case.family} {case.number}: {error}", file=sys.stderr)
        return None


def judge(case: Case, made: metrics.Surface | None, resolution: int) -> Judged:
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
    columns = {name: [getattr(j, name) for j in judged] for name in ("f_score", "iou", "psnr")}
    return {name: round(float(np.mean(values)), 4) for name, values in columns.items()} | {
        "f_score_median": round(float(np.median(columns["f_score"])), 4),
        "f_score_p5": round(float(np.percentile(columns["f_score"], 5)), 4),
    }


def shuffled(judged: list[Judged], shift: int) -> float:
    """Mean F-score of results against the object ``shift`` places on."""
    others = judged[shift % len(judged) :] + judged[: shift % len(judged)]
    scores = [metrics.Gaps.between(j.made, other.true).f_score() for j, other in zip(judged, others, strict=True)]
    return round(float(np.mean(scores)), 4)


def evaluate(pipeline: Pipeline, count: int, seed: int, steps: int | None, guidance: float | None) -> dict[str, object]:
    families = list(FAMILIES)
    resolution = 4 * pipeline.mesh_decoder.resolution
    choices, judged = Choices(), []
    started = time.monotonic()
    for i, case in enumerate(cases(count, seed)):
        made = generate(pipeline, case, Settings(seed=i, steps=steps, guidance=guidance))
        judged.append(judge(case, made, resolution))
        if made is not None:
            choices.add(case.family, Choices.of(case, metrics.filled(made)))
        j = judged[-1]
        print(
            f"{i + 1}/{count}  {case.family:9} F {j.f_score:.3f}  IoU {j.iou:.3f}  PSNR {j.psnr:.1f}",
            file=sys.stderr,
            flush=True,
        )
    seconds = time.monotonic() - started
    top_up(pipeline, choices, HELD_OUT + 10_000 * seed + 5_000, steps, guidance)
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


def top_up(pipeline: Pipeline, choices: Choices, number: int, steps: int | None, guidance: float | None) -> None:
    """More images of the families whose hidden choices were met too seldom."""
    for family, f in FAMILIES.items():
        for _ in range(4 * IMAGES_PER_CHOICE):
            if all(len(choices.taken[choice]) >= IMAGES_PER_CHOICE for choice in f.modes):
                break
            case = Case.draw(family, number)
            number += 1
            if all(len(choices.taken[choice]) >= IMAGES_PER_CHOICE for choice in case.hidden_choices()):
                continue
            made = generate(pipeline, case, Settings(seed=number, steps=steps, guidance=guidance))
            if made is not None:
                choices.add(case.family, Choices.of(case, metrics.filled(made)))


def table(report: dict[str, object]) -> str:
    rows = {"all": report["all"], **report["families"]}  # type: ignore[dict-item]
    lines = ["            F-score   IoU    PSNR"]
    lines += [f"{name:10}  {r['f_score']:.3f}   {r['iou']:.3f}   {r['psnr']:.1f} dB" for name, r in rows.items()]  # type: ignore[index]
    lines += [
        f"F-score with shuffled images: {report['f_score_shuffled_between_families']} (another family), "
        f"{report['f_score_shuffled_within_families']} (the same family)"
    ]
    lines += [f"hidden {name}: {c}" for name, c in report["hidden_choices"].items()]  # type: ignore[attr-defined]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=96, help="objects (default 96)")
    parser.add_argument("--seed", type=int, default=0, help="which held-out objects")
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--guidance", type=float, help="default: the model's own")
    parser.add_argument("--model", default="mini", help="name or folder of a small model (default: %(default)s)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    arguments = parser.parse_args()
    pipeline = Pipeline.load(ModelFolder.find(arguments.model), torch.device(arguments.device))
    report = evaluate(pipeline, arguments.n, arguments.seed, arguments.steps, arguments.guidance)
    print(json.dumps(report) if arguments.json else table(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
