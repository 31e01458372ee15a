"""The rows of a table of students: their teacher, the teacher in few steps, and each student."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NotRequired, TypedDict

from ..serving.model_list import usable_models
from ..training.distillation.methods import METHODS
from ..weights.folders import ModelFolder
from .samples import Row
from .table import Evaluation


class Report(TypedDict):
    """The figures of a table, a value for each sampling seed. For procedural objects, also the frequencies of hidden
    choices."""

    objects: int
    seeds: int
    rows: dict[str, dict[str, list[float]]]
    choices: NotRequired[dict[str, dict[str, dict[str, object]]]]


def students_of(teacher: ModelFolder, folder: Path) -> Iterator[tuple[str, Path]]:
    """The installed models that are overlays of the teacher, and those that ``scripts.distill`` exported."""
    for name in usable_models():
        model = ModelFolder.find(name)
        if model.base is not None and model.base.path == teacher.path:
            yield name, model.path
    for path in sorted(folder.glob("*/overlay.json")):
        if path.parent.name.partition("@")[0] in METHODS:
            yield path.parent.name, path.parent


def rows_of(teacher: Path, students: Iterable[tuple[str, Path]]) -> list[Row]:
    """The teacher, the teacher in few steps with and without guidance, every student, and the first one guarded."""
    found = [Row("teacher 25x2", teacher, 25)]
    found += [Row(f"none {steps}x2", teacher, steps) for steps in (1, 2)]
    found += [Row(f"none, unguided {steps}x2", teacher, steps, 0.0) for steps in (1, 2)]
    for i, (name, path) in enumerate(students):
        found += [Row(f"{name} {steps}x2", path, steps) for steps in (1, 2)]
        if i == 0:
            found.append(Row(f"{name} 2x2, guarded", path, 2, guarded=True))
    return found


def report(evaluation: Evaluation, rows: Sequence[Row]) -> Report:
    """Judge rows. Missing samples are generated first."""
    judged = {row.name: evaluation.judged(row) for row in rows}
    found: Report = {"objects": len(evaluation.subjects), "seeds": evaluation.seeds, "rows": judged}
    if evaluation.procedural:
        found["choices"] = {row.name: evaluation.choices(row) for row in rows}
    return found
