"""Distil a flow to one and two steps: ``python -m scripts.distill vm-vd structure --preset mini``.

If a run was stopped, by Ctrl-C or by force, run the same command again to resume it. For several devices, use
``torchrun --nproc-per-node 8 -m scripts.distill ...``. Checkpoints, metrics (JSON lines, and TensorBoard's files if it
is installed) and pictures of samples go to a folder outside the repository. ``--export`` adds the student to a model
folder in the layout of published students. ``--dry-run`` needs no teacher and no data.

    vm, vd, vm-vd     Velocity Matching, Velocity Distillation, both (MDT-dist)
    cm, pcm, scm      consistency distillation: discrete, phased, continuous
    flow-map          MeanFlow: the student sees two times, and guidance is an input
    lagrangian        the same student, distilled along its own path
    data-free         the same student, from pictures alone: --data-free IMAGES

A model of TRELLIS.2 has three flows: structure, latents (of the shape) and textures. Any other has the first two.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from backend.config import read_json
from backend.errors import BackendError
from backend.training.distillation.distill import usable_device
from backend.training.distillation.methods import (
    DATA_FREE,
    DEFAULT_TEACHERS,
    DISTILL_PRESETS,
    FLOW_MAPS,
    METHODS,
    STAGES,
    DistillPreset,
    distill_preset,
)
from backend.training.distillation.object_source import ObjectSource
from backend.training.distillation.task import Task, distil, plan, task_name

CACHE = Path.home() / ".cache" / "espalier"


def count(text: str) -> int:
    """A whole number of at least 1, for argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def number(text: str) -> float:
    """A number of at least 0, for argparse."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of at least 0")
    return value


def positive(text: str) -> float:
    """A number above 0, for argparse."""
    value = number(text)
    if value == 0:
        raise argparse.ArgumentTypeError("it must be above 0")
    return value


def share(text: str) -> float:
    """A number from 0 to 1, for argparse."""
    value = number(text)
    if value > 1:
        raise argparse.ArgumentTypeError("it must not be above 1")
    return value


class Option(NamedTuple):
    """An option that changes a field of the preset. ``methods`` are the methods that use it."""

    field: str
    kind: Callable[[str], Any] | tuple[str, ...]  # the function that reads it, or its choices
    words: str
    methods: tuple[str, ...] = tuple(METHODS)


VELOCITY = ("vm", "vd", "vm-vd")
OPTIONS = {
    "--steps": Option("steps", count, "number of updates"),
    "--batch": Option("batch", count, "samples in an update, over all devices"),
    "--split": Option("split", count, "number of accumulation steps in an update, on each device"),
    "--rate": Option("rate", positive, "learning rate"),
    "--guidance": Option(
        "match_guidance",
        number,
        "the teacher's guidance in Velocity Matching and in the consistency methods; the strongest of a flow map",
        tuple(name for name in METHODS if name != "vd"),
    ),
    "--distill-guidance": Option(
        "distill_guidance",
        number,
        "the teacher's guidance in Velocity Distillation and in a correction, of a flow map at most; 0: none",
    ),
    "--distill-from": Option(
        "distill_from",
        share,
        "share of the updates after which Velocity Distillation joins Velocity Matching",
        ("vm-vd", "data-free"),
    ),
    "--correction": Option(
        "correction",
        number,
        "weight of the correction of the noising velocity: rCM's long-skip regularizer (0.01), or a part of data-free",
    ),
    "--normalization": Option("normalization", ("rms", "l2"), "how the derivative is scaled", (*VELOCITY, "data-free")),
    "--derivative": Option(
        "derivative", ("discrete", "continuous"), "a small step, or its limit", (*VELOCITY, *FLOW_MAPS)
    ),
    "--phases": Option("phases", count, "number of phases of pcm", ("pcm",)),
    "--precision": Option("precision", ("fp32", "bf16", "fp16"), "precision of the products on CUDA"),
}
#: Options that are switched on, with the preset's field.
SWITCHES = {
    "--offload": ("offload", "keep the optimizer's moments and the average in the host's memory"),
    "--recompute": ("checkpoint_blocks", "keep fewer activations, and compute them again in the backward pass"),
}


def read_arguments() -> argparse.Namespace:
    """The command line. Ends the program with 2 if it is invalid."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.distill",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("method", choices=tuple(METHODS))
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--preset", choices=tuple(DISTILL_PRESETS), default="mini")
    parser.add_argument("--teacher", help="name or folder of the model to distil (default: the preset's)")
    parser.add_argument(
        "--data",
        type=Path,
        help="data set in TRELLIS-500K's or TRELLIS.2's layout; default for mini: what scripts.train data made",
    )
    parser.add_argument(
        "--data-free",
        type=Path,
        metavar="IMAGES",
        help="learn from the pictures in this folder, objects on transparency, and from no other data",
    )
    parser.add_argument(
        "--structure",
        metavar="MODEL",
        help="with --data-free, the model that makes the voxels for latents, and the shapes for textures (default: the "
        "one in --export)",
    )
    parser.add_argument(
        "--check-data", action="store_true", help="print what is wrong with --data or --data-free, and stop"
    )
    parser.add_argument("--folder", type=Path, help="default: ~/.cache/espalier/distill/PRESET/METHOD-STAGE-SEED")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=count, help="CPU threads (default: one per core)")
    parser.add_argument("--dry-run", action="store_true", help="print the plan, memory and time, and stop")
    parser.add_argument("--export", type=Path, metavar="DIR", help="add the finished student to this model folder")
    parser.add_argument(
        "--export-only", action="store_true", help="export the student of the last checkpoint as it is, and stop"
    )
    changes = parser.add_argument_group("instead of the preset's settings")
    for name, option in OPTIONS.items():
        choices = isinstance(option.kind, tuple)
        reads: dict[str, Any] = {"choices": option.kind} if choices else {"type": option.kind, "metavar": "X"}
        changes.add_argument(name, dest=option.field, help=option.words, **reads)
    for name, (field, words) in SWITCHES.items():
        changes.add_argument(name, dest=field, action="store_true", default=None, help=words)
    arguments = parser.parse_args()
    for name, option in OPTIONS.items():
        if getattr(arguments, option.field) is not None and arguments.method not in option.methods:
            parser.error(f"{name} has no effect on the method {arguments.method}")
    judges = METHODS[arguments.method].distill_weight or arguments.correction
    if arguments.distill_guidance is not None and not judges:
        parser.error(f"--distill-guidance has no effect on the method {arguments.method} without --correction")
    problem = contradiction(arguments)
    if problem:
        parser.error(problem)
    return arguments


def contradiction(arguments: argparse.Namespace) -> str:
    """What makes no sense about where data come from and where the student goes; empty if nothing."""
    pictures = arguments.data_free is not None
    if arguments.stage not in DISTILL_PRESETS[arguments.preset]:
        return f"preset {arguments.preset} has no {arguments.stage}: its models have no such flow"
    if pictures and arguments.method not in DATA_FREE:
        return f"--data-free has no effect on the method {arguments.method}: choose one of {', '.join(DATA_FREE)}"
    if pictures and arguments.data is not None:
        return "--data-free takes the place of --data"
    if arguments.structure is not None and not (pictures and arguments.stage != "structure"):
        return "--structure is for latents and textures with --data-free"
    if arguments.export_only and arguments.export is None:
        return "--export-only needs --export"
    if arguments.check_data and arguments.data is None and not pictures:
        return "--check-data needs --data or --data-free"
    return ""


def source_of(arguments: argparse.Namespace) -> ObjectSource:
    """Where the objects or pictures of a run come from."""
    structure = arguments.structure
    if arguments.data_free and arguments.stage != "structure" and structure is None:
        structure = exported_students(arguments.export, arguments.stage)
    return ObjectSource(arguments.preset, arguments.stage, CACHE, arguments.data, arguments.data_free, structure)


def exported_students(folder: Path | None, stage: str) -> str | None:
    """The folder that the students before a stage were exported to; None if one of them was not."""
    file = folder / "pipeline.json" if folder else None
    if file is None or not file.exists():
        return None
    needed = {"sparse_structure_flow_model", *(["shape_slat_flow_model_512"] if stage == "textures" else [])}
    return str(folder) if needed <= set(read_json(file)["args"]["models"]) else None


def changed_preset(arguments: argparse.Namespace) -> DistillPreset:
    """The preset, changed by the options. Raises ValueError for what the device cannot do."""
    device = usable_device(arguments.device)
    if arguments.precision in ("bf16", "fp16") and device.type != "cuda":
        raise ValueError(f"--precision {arguments.precision} needs CUDA; on {device.type} products are in fp32")
    fields = [*(option.field for option in OPTIONS.values()), *(field for field, _ in SWITCHES.values())]
    given = {field: getattr(arguments, field) for field in fields}
    preset = distill_preset(arguments.preset, arguments.stage, arguments.method)
    return replace(preset, **{field: value for field, value in given.items() if value is not None})


def task_of(arguments: argparse.Namespace, objects: ObjectSource) -> Task:
    """The task that the command line describes. Raises ValueError for what the device cannot do."""
    name = task_name(arguments.method, arguments.stage, arguments.seed)
    return Task(
        method=arguments.method,
        stage=arguments.stage,
        preset=changed_preset(arguments),
        teacher=arguments.teacher or DEFAULT_TEACHERS[arguments.preset],
        objects=objects,
        folder=arguments.folder or CACHE / "distill" / arguments.preset / name,
        device=arguments.device,
        seed=arguments.seed,
        export=arguments.export,
        export_only=arguments.export_only,
    )


def say(words: str) -> None:
    """Print a line with the time of day."""
    print(f"{time.strftime('%H:%M:%S')}  {words}", flush=True)


def check_data(objects: ObjectSource) -> int:
    """Print every problem of a data set. Returns the exit code: 1 if there is a problem."""
    found = objects.problems()
    print("\n".join([*found, f"{len(found)} problems" if found else "no problems"]))
    return 1 if found else 0


def main() -> int:
    """Run the command. Exit code: 0 done, 1 failed, 2 wrong usage, 130 stopped."""
    arguments = read_arguments()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    objects = source_of(arguments)
    if arguments.check_data:
        return check_data(objects)
    try:
        task = task_of(arguments, objects)
        if arguments.dry_run:
            for words in plan(task):
                print(words)
        else:
            distil(task, say)
    except BackendError as error:
        print(f"{error} {error.hint}".strip(), file=sys.stderr)
        return 1
    except (OSError, ValueError, FloatingPointError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped. Run the same command again to resume from the last checkpoint.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
