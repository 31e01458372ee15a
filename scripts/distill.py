"""Distil a flow to one and two steps: ``python -m scripts.distill vm-vd structure --preset mini``.

A run that was stopped, by Ctrl-C or by force, goes on where it was when the same command is run again. Several devices:
``torchrun --nproc-per-node 8 -m scripts.distill ...``. Checkpoints, metrics (JSON lines, and TensorBoard's files where
it is installed) and pictures of samples stay in a folder outside the repository; ``--export`` adds the student to a
model folder of the form that students are published in. ``--dry-run`` needs neither teacher nor data.
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

from backend.errors import BackendError
from backend.training.distillation.distill import usable_device
from backend.training.distillation.methods import (
    DEFAULT_TEACHERS,
    DISTILL_PRESETS,
    METHODS,
    DistillPreset,
    distill_preset,
)
from backend.training.distillation.object_source import ObjectSource
from backend.training.distillation.task import Task, distil, plan, task_name

CACHE = Path.home() / ".cache" / "espalier"


def count(text: str) -> int:
    """A whole number from 1, for argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def number(text: str) -> float:
    """A number from 0, for argparse."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0")
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
    """An option that changes a field of the preset; ``methods`` are those that it plays a part in."""

    field: str
    kind: Callable[[str], Any] | tuple[str, ...]  # what reads it, or its choices
    words: str
    methods: tuple[str, ...] = tuple(METHODS)


VELOCITY = ("vm", "vd", "vm-vd")
OPTIONS = {
    "--steps": Option("steps", count, "updates"),
    "--batch": Option("batch", count, "samples of an update, on all devices together"),
    "--split": Option("split", count, "accumulation steps that an update is divided into, on each device"),
    "--rate": Option("rate", positive, "learning rate"),
    "--guidance": Option(
        "match_guidance",
        number,
        "the teacher's guidance in Velocity Matching and in the consistency methods",
        tuple(name for name in METHODS if name != "vd"),
    ),
    "--distill-guidance": Option("distill_guidance", number, "in Velocity Distillation", ("vd", "vm-vd")),
    "--distill-from": Option(
        "distill_from",
        share,
        "share of the updates after which Velocity Distillation joins Velocity Matching",
        ("vm-vd",),
    ),
    "--normalization": Option("normalization", ("rms", "l2"), "how the derivative is scaled", VELOCITY),
    "--derivative": Option("derivative", ("discrete", "continuous"), "a small step, or its limit", VELOCITY),
    "--phases": Option("phases", count, "of pcm", ("pcm",)),
    "--precision": Option("precision", ("fp32", "bf16", "fp16"), "of the products on CUDA"),
}


def read_arguments() -> argparse.Namespace:
    """The command line; ends the program with 2 where it makes no sense."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.distill",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("method", choices=tuple(METHODS))
    parser.add_argument("stage", choices=("structure", "latents"))
    parser.add_argument("--preset", choices=tuple(DISTILL_PRESETS), default="mini")
    parser.add_argument("--teacher", help="name or folder of the model to distil (default: by the preset)")
    parser.add_argument(
        "--data",
        type=Path,
        help="a data set in TRELLIS-500K's form (preset paper), else default: what `python -m scripts.train data` made",
    )
    parser.add_argument("--check-data", action="store_true", help="name what is wrong with --data, and stop")
    parser.add_argument("--folder", type=Path, help="default: ~/.cache/espalier/distill/PRESET/METHOD-STAGE-SEED")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=count, help="CPU threads (default: one to a core)")
    parser.add_argument("--dry-run", action="store_true", help="print the plan, memory and time, and stop")
    parser.add_argument("--export", type=Path, metavar="DIR", help="add the finished student to this model folder")
    changes = parser.add_argument_group("instead of what the preset says")
    for name, option in OPTIONS.items():
        choices = isinstance(option.kind, tuple)
        reads: dict[str, Any] = {"choices": option.kind} if choices else {"type": option.kind, "metavar": "X"}
        changes.add_argument(name, dest=option.field, help=option.words, **reads)
    arguments = parser.parse_args()
    for name, option in OPTIONS.items():
        if getattr(arguments, option.field) is not None and arguments.method not in option.methods:
            parser.error(f"{name} plays no part in {arguments.method}")
    if arguments.check_data and arguments.data is None:
        parser.error("--check-data needs --data")
    return arguments


def changed_preset(arguments: argparse.Namespace) -> DistillPreset:
    """The preset with the options instead of what it says. Raises ValueError for what the device cannot do."""
    device = usable_device(arguments.device)
    if arguments.precision in ("bf16", "fp16") and device.type != "cuda":
        raise ValueError(f"--precision {arguments.precision} is for CUDA; on {device.type} products are in fp32")
    given = {option.field: getattr(arguments, option.field) for option in OPTIONS.values()}
    preset = distill_preset(arguments.preset, arguments.stage, arguments.method)
    return replace(preset, **{field: value for field, value in given.items() if value is not None})


def task_of(arguments: argparse.Namespace, objects: ObjectSource) -> Task:
    """What is asked for. Raises ValueError for what the device cannot do."""
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
    )


def say(words: str) -> None:
    """A line with the time of day."""
    print(f"{time.strftime('%H:%M:%S')}  {words}", flush=True)


def check_data(objects: ObjectSource) -> int:
    """Print every problem of a data set; 1 if there is one."""
    found = objects.problems()
    print("\n".join([*found, f"{len(found)} problems" if found else "all is well"]))
    return 1 if found else 0


def main() -> int:
    """Exit code: 0 done, 1 it could not be done, 2 wrong usage, 130 stopped."""
    arguments = read_arguments()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    objects = ObjectSource(arguments.preset, arguments.stage, CACHE, arguments.data)
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
        print("Stopped: the same command goes on from the last checkpoint.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
