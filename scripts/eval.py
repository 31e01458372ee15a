"""Judge few-step students beside their teacher: ``python scripts/eval.py --preset mini --table``.

A row of the table is a model and a number of steps. Two questions are asked of it. *Per image* (the primary columns):
16 samples of one image against 16 true completions of it. *All in all*: one sample an image against the objects
themselves. The row "truth" is what a perfect sampler would get: true completions in place of samples. Its Frechet
distances are subtracted from all others, so that 0 is best.

``--set FOLDER`` judges on objects of your own instead, pictures NAME.png beside NAME.glb; there only the second
question can be asked. Samples are made once and kept, one file for each row, seed and question, named by what they were
made with, so that the command can be stopped and run again, and several can run side by side with ``--row``.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

from backend.errors import BackendError  # noqa: E402
from backend.evaluation.cases import cases  # noqa: E402
from backend.evaluation.given_set import GivenSetError, given_set, set_digest  # noqa: E402
from backend.evaluation.samples import Row, encoder_of  # noqa: E402
from backend.evaluation.table import Evaluation, table  # noqa: E402
from backend.serving.model_list import usable_models  # noqa: E402
from backend.store.catalog import find_model  # noqa: E402
from backend.training.distillation.methods import METHODS  # noqa: E402
from backend.weights.folders import ModelFolder  # noqa: E402

CACHE = Path.home() / ".cache" / "espalier"
MAX_SEEDS = 9


def students_of(teacher: ModelFolder, folder: Path) -> Iterator[tuple[str, Path]]:
    """The installed models that are overlays of the teacher, and what ``scripts/distill.py`` exported to a folder."""
    for name in usable_models():
        model = ModelFolder.find(name)
        if model.base is not None and model.base.path == teacher.path:
            yield name, model.path
    for path in sorted(folder.glob("*/overlay.json")):
        if path.parent.name.partition("@")[0] in METHODS:
            yield path.parent.name, path.parent


def rows_of(teacher: Path, students: Iterable[tuple[str, Path]]) -> list[Row]:
    """The teacher, the teacher in few steps with and without its guidance, every student, and what the guard makes of
    the first."""
    found = [Row("teacher 25x2", teacher, 25)]
    found += [Row(f"none {steps}x2", teacher, steps) for steps in (1, 2)]
    found += [Row(f"none, unguided {steps}x2", teacher, steps, 0.0) for steps in (1, 2)]
    for i, (name, path) in enumerate(students):
        found += [Row(f"{name} {steps}x2", path, steps) for steps in (1, 2)]
        if i == 0:
            found.append(Row(f"{name} 2x2, guarded", path, 2, guarded=True))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="mini", help="the teacher: a model's name or folder")
    parser.add_argument("--set", type=Path, metavar="FOLDER", help="pictures NAME.png beside the objects NAME.glb")
    parser.add_argument("--student", action="append", default=[], metavar="MODEL", help="further students (folders)")
    parser.add_argument(
        "--encoder", metavar="MODEL", help="whose image encoder judges renders (default: the teacher's)"
    )
    parser.add_argument("--objects", type=int, default=192, help="held-out objects of the columns all in all")
    parser.add_argument("--seeds", type=int, choices=range(1, MAX_SEEDS + 1), default=3, help="sampling seeds")
    parser.add_argument("--folder", type=Path, help="where samples are kept (default: ~/.cache/espalier/eval/PRESET)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--row", action="append", help="only rows of this name, such as 'vm-vd 2x2'")
    parser.add_argument("--table", action="store_true", help="print the table (Markdown)")
    parser.add_argument("--json", type=Path, help="write the table's figures here, with the frequencies of choices")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # rows are made side by side by several such commands
    try:
        return evaluate(arguments)
    except (BackendError, GivenSetError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped: the same command goes on with what it has not made yet.", file=sys.stderr)
        return 130


def evaluate(arguments: argparse.Namespace) -> int:
    """Make what is missing, and print what was asked for."""
    teacher = ModelFolder.find(arguments.preset)
    name = teacher.path.name
    students = [*students_of(teacher, CACHE / "distill" / name), *((m, find_model(m)) for m in arguments.student)]
    rows = [*([] if arguments.set else [Row("truth")]), *rows_of(teacher.path, students)]
    chosen = [row for row in rows if not arguments.row or row.name in arguments.row]
    if not chosen:
        print(f"there is no such row: {', '.join(row.name for row in rows)}", file=sys.stderr)
        return 2
    evaluation = open_evaluation(arguments, teacher)
    for seed, row in product(range(arguments.seeds), chosen):
        for kind in evaluation.kinds:
            evaluation.samples(row, kind, seed)
    if arguments.table or arguments.json:
        report(evaluation, chosen, arguments.json)
    return 0


def open_evaluation(arguments: argparse.Namespace, teacher: ModelFolder) -> Evaluation:
    """The set, and where its samples are kept: what one image encoder saw cannot be compared with another's."""
    device = torch.device(arguments.device)
    judge = ModelFolder.find(arguments.encoder) if arguments.encoder else teacher
    encoder, digest = encoder_of(judge, device)
    folder = (arguments.folder or CACHE / "eval" / teacher.path.name) / digest
    if arguments.set is None:
        return Evaluation(folder, encoder, cases(arguments.objects), arguments.seeds, device)
    subjects = given_set(arguments.set)[: arguments.objects]
    return Evaluation(folder / set_digest(subjects), encoder, subjects, arguments.seeds, device)


def report(evaluation: Evaluation, rows: Sequence[Row], path: Path | None) -> None:
    """Print the table, and write its figures to a file."""
    judged = {row.name: evaluation.judged(row) for row in rows}
    print(table(judged))
    if path is not None:
        found: dict[str, Any] = {"objects": len(evaluation.subjects), "seeds": evaluation.seeds, "rows": judged}
        if evaluation.procedural:
            found["choices"] = {row.name: evaluation.choices(row) for row in rows}
        path.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
