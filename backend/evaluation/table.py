"""A table of models judged on a set of objects: samples are made once and stored, and columns computed from them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from ..models.image_encoder import ImageEncoder
from ..training.objects.families import FAMILIES
from . import judge
from .cases import Case, cases
from .choices import Choices
from .samples import SCORES, STAGES, Features, Made, Row, collect, generated, load
from .subjects import Subject

IMAGES, COMPLETIONS = 24, 16  # of the conditional columns
DISTANCES = ("shape", "render")  # the features that Frechet distances compare
FAR = 50  # a turn of true answers that no sampling seed reaches
AXES_FROM = 384  # how many training objects the principal axes are fitted to


def _percentile(q: float) -> Callable[[np.ndarray], float]:
    return lambda values: float(np.percentile(values, q))


def _mean(values: np.ndarray) -> float:
    return float(values.mean())


#: The columns of a score whose bad tail is at its low end, and at its high end.
LOW = {"": _mean, " median": _percentile(50), " p5": _percentile(5), " worst": _percentile(0)}
HIGH = {"": _mean, " median": _percentile(50), " p95": _percentile(95), " worst": _percentile(100)}


class Evaluation:
    """The folder of the samples, the objects, and the number of sampling seeds.

    Procedural objects (``Case``) have true answers to an image. The conditional columns, the row "truth" and the
    Frechet distances' floor need them. A person's own set has none, and its floor is 0.
    """

    def __init__(
        self, folder: Path, encoder: ImageEncoder, subjects: Sequence[Subject], seeds: int, device: torch.device
    ) -> None:
        self.folder, self.encoder, self.subjects, self.seeds = folder, encoder, subjects, seeds
        self.device = device
        self.procedural = all(isinstance(subject, Case) for subject in subjects)
        self.kinds = ("conditional", "paired") if self.procedural else ("paired",)

    # --- what is stored ----------------------------------------------------------------------------------------------

    def samples(self, row: Row, kind: str, seed: int) -> Path:
        """The file of a row's samples, made if missing: "paired" (one per image) or "conditional" (16 for each of 24
        images)."""
        paired = kind == "paired"
        chosen: Sequence[Subject] = self.subjects if paired else cases(IMAGES)
        # Every sample has its own noise: the effect of a shared noise on all objects would be blamed on the model.
        each = range(1 if paired else COMPLETIONS)
        work = [(subject, 1_000_000 * seed + 1000 * number + i) for number, subject in enumerate(chosen) for i in each]
        name = row.name.replace(", ", "-").replace(" ", "_")
        path = self.folder / f"{name}_{kind}_{len(work)}_{seed}_{row.digest}.npz"
        if path.exists():
            return path
        true = row.model is None
        made = _true_answers(chosen, len(each), 1 + seed) if true else generated(row, work, self.device)
        features = Features(self.encoder)
        words = f"{row.name}  {kind} {seed}  "
        collect(
            made,
            features.see if paired else features.see_one_of_many,
            len(work),
            lambda progress: print(words + progress, file=sys.stderr, flush=True),
        )
        features.save(path)
        return path

    def _kept(self, name: str, objects: Callable[[Features], None]) -> dict[str, np.ndarray]:
        """Features of true objects, computed once and stored."""
        path = self.folder / f"{name}.npz"
        if not path.exists():
            features = Features(self.encoder)
            objects(features)
            features.save(path)
        return load(path)

    def _held_out(self) -> dict[str, np.ndarray]:
        def see(features: Features) -> None:
            for subject in self.subjects:
                features.see_unpaired(subject.solid())

        return self._kept(f"true_{len(self.subjects)}", see)

    @cached_property
    def _axes(self) -> dict[str, judge.Axes]:
        """Principal axes of training objects, or of the set itself if it is a person's own."""

        def see(features: Features) -> None:
            families = list(FAMILIES)
            for i in range(AXES_FROM):
                features.see_unpaired(Case.draw(families[i % len(families)], i // len(families)).solid())

        rows = self._kept("training", see) if self.procedural else self._held_out()
        return {name: judge.Axes.fit(rows[name]) for name in DISTANCES}

    def _answers(self, name: str, turn: int) -> np.ndarray:
        """The shapes of true answers, [images, answers, d]."""

        def see(features: Features) -> None:
            for made in _true_answers(cases(IMAGES), COMPLETIONS, turn):
                features.see_one_of_many(made)

        return self._kept(f"{name}_{IMAGES}x{COMPLETIONS}", see)["shape"].reshape(IMAGES, COMPLETIONS, -1)

    @cached_property
    def _hidden(self) -> list[judge.HiddenVariation]:
        """The hidden variation for each image of the conditional columns."""
        return [judge.HiddenVariation.of(answers) for answers in self._answers("variation", FAR)]

    # --- the results -------------------------------------------------------------------------------------------------

    def judged(self, row: Row) -> dict[str, list[float]]:
        """The columns of a row, a value for each sampling seed."""
        how = {"conditional": self._conditional, "paired": self._paired}
        found = [{k: v for kind in self.kinds for k, v in how[kind](row, seed).items()} for seed in range(self.seeds)]
        return {name: [columns[name] for columns in found] for name in found[0]}

    def choices(self, row: Row) -> dict[str, dict[str, object]]:
        """How often each mode of each hidden choice occurred, over all seeds, and how often it should."""
        return _choices([load(self.samples(row, "conditional", seed)) for seed in range(self.seeds)]).report()

    def _conditional(self, row: Row, seed: int) -> dict[str, float]:
        made = load(self.samples(row, "conditional", seed))
        answers, shapes = self._answers("answers", 0), made["shape"].reshape(IMAGES, COMPLETIONS, -1)
        pairs = list(zip(answers, shapes, strict=True))
        hidden = [(along(a), along(b)) for along, (a, b) in zip(self._hidden, pairs, strict=True)]
        columns = {
            f"{which}{name}": float(np.mean([compare(a, b) for a, b in both]))
            for which, both in (("", pairs), ("hidden ", hidden))
            for name, compare in (("1-NNA", judge.nearest_neighbour_accuracy), ("energy", judge.energy_distance))
        }
        spreads = [along.spread(b) for along, b in zip(self._hidden, shapes, strict=True)]
        return {**columns, "hidden spread": float(np.median(spreads)), "choices": _choices([made]).total_variation()}

    def _paired(self, row: Row, seed: int) -> dict[str, float]:
        made = load(self.samples(row, "paired", seed))
        scores = dict(zip(SCORES, made["scores"].T, strict=True))
        stages = dict(zip(STAGES, made["seconds"].T, strict=True))
        return {
            **{f"FD {name}": self._distance(made, name) - self._floor[name] for name in DISTANCES},
            "invalid": float(1 - scores["valid"].mean()),
            **{f"F{what}": how(scores["F"]) for what, how in LOW.items()},
            **{f"Chamfer{what}": how(scores["Chamfer"]) for what, how in HIGH.items()},
            **{name: float(scores[name].mean()) for name in ("PSNR", "silhouette")},
            **{f"{stage} s": float(np.median(seconds)) for stage, seconds in stages.items()},
        }

    def _distance(self, made: dict[str, np.ndarray], name: str) -> float:
        """The Frechet distance to the objects in the images, by shapes or renders."""
        axes = self._axes[name]
        return judge.frechet_distance(axes(self._held_out()[name]), axes(made[name]))

    @cached_property
    def _floor(self) -> dict[str, float]:
        """The Frechet distances of true answers, averaged over the seeds: real against real."""
        if not self.procedural:
            return dict.fromkeys(DISTANCES, 0.0)
        answers = [load(self.samples(Row("truth"), "paired", seed)) for seed in range(self.seeds)]
        return {name: float(np.mean([self._distance(made, name) for made in answers])) for name in DISTANCES}


def table(judged: dict[str, dict[str, list[float]]]) -> str:
    """The table as Markdown: the mean and, with several seeds, half their range."""
    names = list(next(iter(judged.values())))
    lines = ["| | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    return "\n".join(
        lines + [f"| {row} | " + " | ".join(map(_cell, columns.values())) + " |" for row, columns in judged.items()]
    )


def _cell(values: list[float]) -> str:
    if np.isnan(values).any():
        return "–"
    return f"{np.mean(values):.3f}" + (f" ± {np.ptp(values) / 2:.3f}" if len(values) > 1 else "")


def _true_answers(chosen: Sequence[Subject], count: int, turn: int) -> Iterator[Made]:
    """``count`` true answers to each image, different ones in every turn."""
    for case in chosen:
        assert isinstance(case, Case)
        for params in case.completions(count, first=COMPLETIONS * turn):
            yield Made(case, case.completed(params))


def _choices(conditional: Sequence[dict[str, np.ndarray]]) -> Choices:
    """Count the hidden choices of samples."""
    counted = Choices()
    for features in conditional:
        for family, modes in json.loads(str(features["choices"])):
            counted.add(family, modes)
    return counted
