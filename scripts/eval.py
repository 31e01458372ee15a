"""Judge few-step students beside their teacher: ``python scripts/eval.py --preset mini --table``.

A row of the table is a model and a number of steps. Two questions are asked of it. *Per image* (the primary columns):
16 samples of one image against 16 true completions of it. *All in all*: one sample an image against the objects
themselves. The row "truth" is what a perfect sampler would get: true completions in place of samples. Its Frechet
distances are subtracted from all others, so that 0 is best.

Samples are made once and kept, one file for each row, seed and question, named by what they were made with, so that the
command can be stopped and run again, and several can run side by side with ``--row``.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import torch  # noqa: E402

from backend.catalog import available_models, find_model  # noqa: E402
from backend.conditioning import ImageEncoder  # noqa: E402
from backend.errors import BackendError  # noqa: E402
from backend.folders import ModelFolder  # noqa: E402
from backend.training import judge  # noqa: E402
from backend.training.cases import VOXELS, Case, cases  # noqa: E402
from backend.training.families import FAMILIES  # noqa: E402
from backend.training.methods import METHODS  # noqa: E402
from backend.training.metrics import true_surface  # noqa: E402
from backend.training.samples import (  # noqa: E402
    SCORES,
    STAGES,
    Features,
    Made,
    Row,
    collect,
    encoder_of,
    generated,
    load,
    model_digest,
    shape_of,
)

CACHE = Path.home() / ".cache" / "espalier"
CPU = torch.device("cpu")
IMAGES, COMPLETIONS = 24, 16  # of the primary columns
AXES_FROM = 384  # training objects that the principal axes are fitted to
MAX_SEEDS = 9


def students_of(teacher: ModelFolder, folder: Path) -> Iterator[tuple[str, Path]]:
    """The installed models that are overlays of the teacher, and what ``scripts/distill.py`` exported to a folder."""
    for name in available_models():
        base = ModelFolder.read(find_model(name)).base
        if base is not None and base.path == teacher.path:
            yield name, find_model(name)
    for path in sorted(folder.glob("*/overlay.json")):
        if path.parent.name.partition("@")[0] in METHODS:
            yield path.parent.name, path.parent


def rows_of(teacher: Path, students: Iterable[tuple[str, Path]]) -> list[Row]:
    """The truth, the teacher, the teacher in few steps with and without its guidance, every student, and what the guard
    makes of the first."""
    found = [Row("truth"), Row("teacher 25x2", teacher, 25)]
    found += [Row(f"none {steps}x2", teacher, steps) for steps in (1, 2)]
    found += [Row(f"none, unguided {steps}x2", teacher, steps, 0.0) for steps in (1, 2)]
    for i, (name, path) in enumerate(students):
        found += [Row(f"{name} {steps}x2", path, steps) for steps in (1, 2)]
        if i == 0:
            found.append(Row(f"{name} 2x2, guarded", path, 2, guarded=True))
    return found


class Evaluation:
    """Where everything lies, and how many objects there are."""

    def __init__(self, folder: Path, encoder: ImageEncoder, objects: int, seeds: int) -> None:
        self.folder, self.encoder, self.objects, self.seeds = folder, encoder, objects, seeds

    def truth(self, name: str) -> Path:
        """Features of true objects: "held_out", "completions" or "training"."""
        count = {"held_out": self.objects, "completions": IMAGES * COMPLETIONS, "training": AXES_FROM}[name]
        path = self.folder / f"true_{name}_{count}.npz"
        if path.exists():
            return path
        features = Features(self.encoder)
        if name == "held_out":
            for case in cases(count):
                features.see(Made(case, case.surface()))
        elif name == "completions":
            for case in cases(IMAGES):
                for params in case.completions(COMPLETIONS):
                    features.see_one_of_many(Made(case, true_surface(case.family, params, VOXELS)))
        else:
            families = list(FAMILIES)
            for i in range(count):
                family = families[i % len(families)]
                case = Case.draw(family, i // len(families))
                features.shape.append(shape_of(case.surface()))
                features.render.append(judge.render_features(case.surface(), self.encoder))
        features.save(path)
        return path

    def samples(self, row: Row, kind: str, seed: int) -> Path:
        """Features of a row's samples: "paired" (one an image) or "conditional" (16 of each of 24 images)."""
        paired = kind == "paired"
        count = self.objects if paired else IMAGES * COMPLETIONS
        name = row.name.replace(", ", "-").replace(" ", "_")
        path = self.folder / f"{name}_{kind}_{count}_{seed}_{row.digest}.npz"
        if path.exists():
            return path
        chosen = cases(self.objects if paired else IMAGES)
        # Every sample has noise of its own: what one noise does to all objects would be taken for the model's doing.
        each = range(1 if paired else COMPLETIONS)
        work = [(case, 1_000_000 * seed + 1000 * place + i) for place, case in enumerate(chosen) for i in each]
        made = self._true_answers(chosen, len(each), seed) if row.model is None else generated(row, work, CPU)
        features = Features(self.encoder)
        see = features.see if paired else features.see_one_of_many
        words = f"{row.name}  {kind} {seed}  "
        collect(made, see, len(work), lambda progress: print(words + progress, file=sys.stderr, flush=True))
        features.save(path)
        return path

    def _true_answers(self, chosen: Sequence[Case], count: int, seed: int) -> Iterator[Made]:
        """Other completions than those that samples are compared with."""
        for case in chosen:
            for params in case.completions(count, first=COMPLETIONS * (1 + seed)):
                yield Made(case, true_surface(case.family, params, VOXELS))

    # --- the table ---------------------------------------------------------------------------------------------------

    def judged(self, row: Row) -> dict[str, list[float]]:
        """The columns of a row, a value for each sampling seed."""
        found = [self._conditional(row, seed) | self._paired(row, seed) for seed in range(self.seeds)]
        return {name: [columns[name] for columns in found] for name in found[0]}

    def _conditional(self, row: Row, seed: int) -> dict[str, float]:
        answers, made = load(self.truth("completions")), load(self.samples(row, "conditional", seed))
        shape = (IMAGES, COMPLETIONS, -1)
        pairs = list(zip(answers["shape"].reshape(shape), made["shape"].reshape(shape), strict=True))
        return {
            "1-NNA": float(np.mean([judge.nearest_neighbour_accuracy(a, b) for a, b in pairs])),
            "energy": float(np.mean([judge.energy_distance(a, b) for a, b in pairs])),
            "choices": choices_in([made]).total_variation(),
        }

    def _paired(self, row: Row, seed: int) -> dict[str, float]:
        made = load(self.samples(row, "paired", seed))
        scores = dict(zip(SCORES, made["scores"].T, strict=True))
        stages = dict(zip(STAGES, made["seconds"].T, strict=True))
        return {
            **{f"FD {name}": self._distance(made, name) - self._floor(name) for name in ("shape", "render")},
            "invalid": float(1 - scores["valid"].mean()),
            **{f"F{what}": how(scores["F"]) for what, how in LOW.items()},
            **{f"Chamfer{what}": how(scores["Chamfer"]) for what, how in HIGH.items()},
            **{name: float(scores[name].mean()) for name in ("PSNR", "silhouette")},
            **{f"{stage} s": float(np.median(seconds)) for stage, seconds in stages.items()},
        }

    def _distance(self, made: dict[str, np.ndarray], name: str) -> float:
        """Frechet distance to the objects that the images are of, in shapes or renders."""
        axes = judge.Axes.fit(load(self.truth("training"))[name])
        return judge.frechet_distance(axes(load(self.truth("held_out"))[name]), axes(made[name]))

    def _floor(self, name: str) -> float:
        """What true answers have, on average over the seeds: real against real."""
        paths = [self.samples(Row("truth"), "paired", seed) for seed in range(self.seeds)]
        return float(np.mean([self._distance(load(path), name) for path in paths]))

    def choices(self, row: Row) -> dict[str, dict[str, object]]:
        """How often each hidden choice took each of its modes, over all seeds, and how often it should."""
        return choices_in([load(self.samples(row, "conditional", seed)) for seed in range(self.seeds)]).report()


def _percentile(q: float) -> Callable[[np.ndarray], float]:
    return lambda values: float(np.percentile(values, q))


def _mean(values: np.ndarray) -> float:
    return float(values.mean())


#: The columns of a score whose tail is at its low or its high end.
LOW = {"": _mean, " median": _percentile(50), " p5": _percentile(5), " worst": _percentile(0)}
HIGH = {"": _mean, " median": _percentile(50), " p95": _percentile(95), " worst": _percentile(100)}


def choices_in(conditional: Sequence[dict[str, np.ndarray]]) -> judge.Choices:
    """The hidden choices that samples took."""
    counted = judge.Choices()
    for features in conditional:
        for family, modes in json.loads(str(features["choices"])):
            counted.add(family, modes)
    return counted


def table(judged: dict[str, dict[str, list[float]]]) -> str:
    """Markdown: mean and, where there are several seeds, half the range between them."""
    names = list(next(iter(judged.values())))
    lines = ["| | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    return "\n".join(
        lines + [f"| {row} | " + " | ".join(map(_cell, columns.values())) + " |" for row, columns in judged.items()]
    )


def _cell(values: list[float]) -> str:
    if np.isnan(values).any():
        return "–"
    return f"{np.mean(values):.3f}" + (f" ± {np.ptp(values) / 2:.3f}" if len(values) > 1 else "")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="mini", help="the teacher: a model's name or folder")
    parser.add_argument("--student", action="append", default=[], metavar="MODEL", help="further students (folders)")
    parser.add_argument("--objects", type=int, default=192, help="held-out objects of the columns all in all")
    parser.add_argument("--seeds", type=int, choices=range(1, MAX_SEEDS + 1), default=3, help="sampling seeds")
    parser.add_argument("--folder", type=Path, help="where samples are kept (default: ~/.cache/espalier/eval/PRESET)")
    parser.add_argument("--row", action="append", help="only rows of this name, such as 'vm-vd 2x2'")
    parser.add_argument("--table", action="store_true", help="print the table (Markdown)")
    parser.add_argument("--json", type=Path, help="write the table's figures here, with the frequencies of choices")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # rows are made side by side by several such commands
    try:
        return evaluate(arguments)
    except BackendError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped: the same command goes on with what it has not made yet.", file=sys.stderr)
        return 130


def evaluate(arguments: argparse.Namespace) -> int:
    """Make what is missing, and print what was asked for."""
    teacher = ModelFolder.read(find_model(arguments.preset))
    name = teacher.path.name
    students = [*students_of(teacher, CACHE / "distill" / name), *((m, find_model(m)) for m in arguments.student)]
    rows = rows_of(teacher.path, students)
    chosen = [row for row in rows if not arguments.row or row.name in arguments.row]
    if not chosen:
        print(f"there is no such row: {', '.join(row.name for row in rows)}", file=sys.stderr)
        return 2
    # Renders are judged by the teacher's encoder: features of another teacher's cannot be compared with them.
    folder = (arguments.folder or CACHE / "eval" / name) / model_digest(teacher)[:12]
    evaluation = Evaluation(folder, encoder_of(teacher, CPU), arguments.objects, arguments.seeds)
    for seed, row in product(range(arguments.seeds), chosen):
        for kind in ("conditional", "paired"):
            evaluation.samples(row, kind, seed)
    if arguments.table or arguments.json:
        report(evaluation, chosen, arguments.json)
    return 0


def report(evaluation: Evaluation, rows: Sequence[Row], path: Path | None) -> None:
    """Print the table, and write its figures to a file."""
    judged = {row.name: evaluation.judged(row) for row in rows}
    print(table(judged))
    if path is not None:
        found: dict[str, Any] = {"objects": evaluation.objects, "seeds": evaluation.seeds, "rows": judged}
        found["choices"] = {row.name: evaluation.choices(row) for row in rows}
        path.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
