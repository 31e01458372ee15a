"""Judge few-step students beside their teacher: ``python scripts/eval.py --preset mini --table``.

A row of the table is a model and a number of steps. Its samples are made once and kept, one file for each row and seed,
so that the command can be stopped and run again; ``--row NAME`` makes one row's, ``--table`` prints all.

Two questions are asked. *Per image* (the primary columns): 16 samples of one image against 16 true completions of it.
*All in all*: one sample an image against the objects themselves.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import product
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import torch  # noqa: E402
from PIL import Image  # noqa: E402
from scipy.spatial import cKDTree  # noqa: E402

from backend.catalog import find_model  # noqa: E402
from backend.conditioning import ImageEncoder  # noqa: E402
from backend.config import GenerateSettings  # noqa: E402
from backend.errors import BackendError  # noqa: E402
from backend.folders import ModelFolder  # noqa: E402
from backend.mesh import Surface  # noqa: E402
from backend.pipeline import Clock, Pipeline  # noqa: E402
from backend.training import judge, metrics  # noqa: E402
from backend.training.cases import Case, cases  # noqa: E402
from backend.training.families import FAMILIES  # noqa: E402
from backend.training.methods import METHODS  # noqa: E402
from backend.training.params import Params  # noqa: E402
from backend.training.procedural import FolderEncoders  # noqa: E402
from backend.training.shapes import draw  # noqa: E402

CACHE = Path.home() / ".cache" / "espalier"
IMAGES, COMPLETIONS = 24, 16  # of the primary columns
POINTS = 10_000
RENDER_SIDE = 112  # pixels, of the renders that an encoder looks at
AXES_FROM = 384  # training objects that the principal axes are fitted to


@dataclass(frozen=True)
class Row:
    """A model sampled in some number of steps; ``guidance`` None is the model's own."""

    name: str
    model: str
    steps: int
    guidance: float | None = None


def rows(preset: str) -> list[Row]:
    """The teacher, the teacher in few steps, and every student that was exported to the distillation's folder."""
    found = [Row("teacher 25x2", "mini", 25)]
    found += [Row(f"none {steps}x2", "mini", steps, 0.0) for steps in (1, 2)]
    for path in sorted((CACHE / "distill" / preset).glob("*/overlay.json")):
        if path.parent.name.partition("@")[0] in METHODS:
            found += [Row(f"{path.parent.name} {steps}x2", str(path.parent), steps) for steps in (1, 2)]
    return found


#: What is kept of each object beside its features; NaN where it was not asked for.
SCORES = ("F", "Chamfer", "PSNR", "silhouette", "valid", "sampling s", "job s")


class Truth(NamedTuple):
    """What a paired sample is compared with."""

    points: cKDTree  # of the surface
    picture: np.ndarray
    parts: int

    @classmethod
    @cache  # for all rows and seeds
    def of(cls, family: str, number: int) -> Truth:
        case = Case.draw(family, number)
        surface = metrics.true_surface(family, case.params, 16)
        parts = judge.structure_of(surface, metrics.filled(surface)).parts
        return cls(cKDTree(metrics.sample_surface(surface, POINTS, seed=1)), case.true_picture(), parts)


@cache
def image_of(family: str, number: int) -> Image.Image:
    """What a model is shown."""
    return Case.draw(family, number).image()


def scores_of(case: Case, made: Surface | None) -> list[float]:
    """The first five of SCORES; valid is what has the parts of a true object, without dust and leaks."""
    if made is None:
        return [0.0, 1.0, 0.0, 0.0, 0.0]
    truth = Truth.of(case.family, case.number)
    gaps = metrics.Gaps.between(cKDTree(metrics.sample_surface(made, POINTS, seed=2)), truth.points)
    valid = judge.structure_of(made, metrics.filled(made)).valid({truth.parts})
    likeness = metrics.likeness(made, truth.picture, case.view, case.window)
    return [gaps.f_score(), gaps.chamfer(), likeness.psnr, likeness.silhouette, float(valid)]


@dataclass
class Features:
    """What is kept of objects, a line each. ``choices``: which modes the hidden choices took."""

    encoder: ImageEncoder
    shape: list[np.ndarray] = field(default_factory=list)
    render: list[np.ndarray] = field(default_factory=list)
    scores: list[list[float]] = field(default_factory=list)
    choices: list[tuple[str, dict[str, int]]] = field(default_factory=list)

    def see(self, surface: Surface | None, scores: list[float] | None = None, rendered: bool = True) -> None:
        """Add an object; None is one that could not be made, which is empty space."""
        empty = np.zeros(judge.POOLED**3, np.float32)
        self.shape.append(empty if surface is None else judge.shape_features(metrics.filled(surface)))
        if rendered:
            self.render.append(judge.render_features(surface, self.encoder, RENDER_SIDE))
        self.scores.append(scores or [np.nan] * len(SCORES))

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part.npz")
        np.savez_compressed(
            part,
            shape=np.stack(self.shape).astype(np.float16),
            render=np.concatenate(self.render) if self.render else np.zeros((0, 1), np.float32),
            scores=np.array(self.scores, np.float64),
            choices=np.array(json.dumps(self.choices)),
        )
        part.replace(path)


def load(path: Path) -> dict[str, np.ndarray]:
    """Features as they were saved, in float32: shapes a line for each object, renders a line for each view."""
    with np.load(path) as file:
        return {name: file[name].astype(np.float32) if name == "shape" else file[name] for name in file.files}


class Evaluation:
    """Where everything lies, and how many objects there are."""

    def __init__(self, folder: Path, teacher: ModelFolder, objects: int, seeds: int) -> None:
        encoders = FolderEncoders(teacher, torch.device("cpu"))
        # Renders are judged by this encoder: features that another one saw cannot be compared with its.
        self.folder = folder / encoders.digest()
        self.encoder, self.objects, self.seeds = encoders.image().eval(), objects, seeds

    # --- the truth ---------------------------------------------------------------------------------------------------

    def truth(self, name: str) -> Path:
        """Features of true objects: "held_out", "completions", "others" (a disjoint set) or "training"."""
        path = self.folder / f"true_{name}.npz"
        if not path.exists():
            features = Features(self.encoder)
            for family, params in self._true_objects(name):
                features.see(metrics.true_surface(family, params, 16), rendered=name != "completions")
            features.save(path)
        return path

    def _true_objects(self, name: str) -> Iterator[tuple[str, Params]]:
        if name == "held_out":
            yield from ((c.family, c.params) for c in cases(self.objects))
        elif name == "others":
            yield from ((c.family, c.params) for c in cases(self.objects, seed=7))
        elif name == "completions":
            yield from ((c.family, p) for c in cases(IMAGES) for p in c.completions(COMPLETIONS))
        else:
            families = list(FAMILIES)
            yield from ((families[i % 12], draw(families[i % 12], [i // 12])) for i in range(AXES_FROM))

    # --- samples -----------------------------------------------------------------------------------------------------

    def samples(self, row: Row, kind: str, seed: int) -> Path:
        """Features of a row's samples: "paired" (one an image) or "conditional" (16 of each of 24 images)."""
        path = self.folder / f"{row.name.replace(' ', '_')}_{kind}_{seed}.npz"
        if path.exists():
            return path
        pipeline = Pipeline.load(find_model(row.model), torch.device("cpu"))
        features, started = Features(self.encoder), time.monotonic()
        paired = kind == "paired"
        chosen = cases(self.objects if paired else IMAGES)
        work = [(case, i) for case in chosen for i in range(1 if paired else COMPLETIONS)]
        for done, (case, i) in enumerate(work, start=1):
            # Without the guard: what is judged is what a flow makes, not what a second attempt does.
            settings = GenerateSettings(seed=1000 * seed + i, steps=row.steps, guidance=row.guidance, retry_seconds=0.0)
            surface, seconds = self.generate(pipeline, case, settings)
            features.see(surface, scores_of(case, surface) + seconds if paired else None, rendered=paired)
            if surface is not None and not paired:
                features.choices.append((case.family, judge.Choices.of(case, metrics.filled(surface))))
            if done % 24 == 0 or done == len(work):
                left = (time.monotonic() - started) / done * (len(work) - done) / 60
                words = f"{row.name}  {kind} {seed}  {done}/{len(work)}  {left:.0f} min left"
                print(words, file=sys.stderr, flush=True)
        features.save(path)
        return path

    def generate(
        self, pipeline: Pipeline, case: Case, settings: GenerateSettings
    ) -> tuple[Surface | None, list[float]]:
        """The outer surface, None if there is none; seconds of sampling and of everything up to the raw mesh."""
        clock = Clock(pipeline.device)
        try:
            image = image_of(case.family, case.number)
            surface = metrics.outer_surface(pipeline.reconstruct([image], settings, clock)[0])
        except BackendError as error:
            surface = None
            print(f"{case.family} {case.number}: {error}", file=sys.stderr)
        seconds = clock.seconds
        return surface, [seconds.get("structure", 0.0) + seconds.get("latents", 0.0), sum(seconds.values())]

    def make(self, rows: Sequence[Row]) -> None:
        """All samples of rows: of all rows those of the first seed, then of the next."""
        for seed, row in product(range(self.seeds), rows):
            self.samples(row, "conditional", seed)
            self.samples(row, "paired", seed)

    # --- the table ---------------------------------------------------------------------------------------------------

    def judged(self, row: Row) -> dict[str, list[float]]:
        """The columns of a row, a value for each sampling seed."""
        truth, other = load(self.truth("held_out")), load(self.truth("others"))
        answers, training = load(self.truth("completions")), load(self.truth("training"))
        axes = {name: judge.Axes.fit(training[name]) for name in ("shape", "render")}
        floor = {n: judge.frechet_distance(axes[n](truth[n]), axes[n](other[n])) for n in axes}
        columns: dict[str, list[float]] = {}
        for seed in range(self.seeds):
            conditional = load(self.samples(row, "conditional", seed))
            made = conditional["shape"].reshape(IMAGES, COMPLETIONS, -1)
            real = answers["shape"].reshape(IMAGES, COMPLETIONS, -1)
            pairs = list(zip(real, made, strict=True))
            choices = judge.Choices()
            for family, modes in json.loads(str(conditional["choices"])):
                choices.add(family, modes)
            paired = load(self.samples(row, "paired", seed))
            scores = dict(zip(SCORES, paired["scores"].T, strict=True))
            values = {
                "1-NNA": np.mean([judge.nearest_neighbour_accuracy(a, b) for a, b in pairs]),
                "energy": np.mean([judge.energy_distance(a, b) for a, b in pairs]),
                "choices": choices.total_variation(),
                **{f"FD {n}": judge.frechet_distance(axes[n](truth[n]), axes[n](paired[n])) - floor[n] for n in axes},
                "invalid": 1 - scores["valid"].mean(),
                "F": scores["F"].mean(),
                "F p5": np.percentile(scores["F"], 5),
                "Chamfer": scores["Chamfer"].mean(),
                "Chamfer p95": np.percentile(scores["Chamfer"], 95),
                "Chamfer worst": scores["Chamfer"].max(),
                "PSNR": scores["PSNR"].mean(),
                "silhouette": scores["silhouette"].mean(),
                "sampling s": np.median(scores["sampling s"]),
                "job s": np.median(scores["job s"]),
            }
            for name, value in values.items():
                columns.setdefault(name, []).append(float(value))
        return columns


def table(judged: dict[str, dict[str, list[float]]]) -> str:
    """Markdown: mean and, where there are several seeds, half the range between them."""
    names = list(next(iter(judged.values())))
    lines = ["| | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for row, columns in judged.items():
        cells = [f"{np.mean(v):.3f}" + (f" ± {np.ptp(v) / 2:.3f}" if len(v) > 1 else "") for v in columns.values()]
        lines.append(f"| {row} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="mini", help="the teacher's name, and the folder of students")
    parser.add_argument("--objects", type=int, default=192, help="held-out objects of the columns all in all")
    parser.add_argument("--seeds", type=int, default=3, help="sampling seeds")
    parser.add_argument("--folder", type=Path, help="default: ~/.cache/espalier/eval/PRESET")
    parser.add_argument("--row", action="append", help="only rows of this name, such as 'vm-vd 2x2'")
    parser.add_argument("--table", action="store_true", help="print the table (Markdown)")
    parser.add_argument("--json", type=Path, help="write the table's figures here")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # rows are made side by side by several such commands
    teacher = ModelFolder.read(find_model(arguments.preset))
    folder = arguments.folder or CACHE / "eval" / arguments.preset
    evaluation = Evaluation(folder, teacher, arguments.objects, arguments.seeds)
    chosen = [row for row in rows(arguments.preset) if not arguments.row or row.name in arguments.row]
    if not chosen:
        print(f"there is no such row: {', '.join(row.name for row in rows(arguments.preset))}", file=sys.stderr)
        return 2
    evaluation.make(chosen)
    if arguments.table or arguments.json:
        judged = {row.name: evaluation.judged(row) for row in chosen}
        print(table(judged))
        if arguments.json:
            arguments.json.write_text(json.dumps({"objects": arguments.objects, "rows": judged}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
