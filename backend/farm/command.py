"""The command ``python -m backend farm``: what is missing of a source is made on a cluster.

Exit codes: 0 everything is there, 1 something failed (the report says what), 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .. import protocol
from ..batches import problem_with_model
from ..errors import SettingsError, describe
from ..protocol import MODELS_VARIABLE, InvalidSetting
from ..serving.model_list import model_info
from ..signals import end_as_interrupted
from . import blender, rows
from .cluster import connected, require_ray, say
from .pace import Pace
from .report import JSON, Line, Report
from .rows import Row
from .stages import endings_of
from .stores import Target, is_local, joined, shown
from .weights import identity, require

GO_ON = "Run the same command again to go on."


def run(options: argparse.Namespace) -> int:
    """Run the command, say in words what went wrong, and return the exit code."""
    try:
        require_ray()
        return farm(options)
    except Exception as error:  # the command ends here, and says in words what went wrong
        if options.traceback:
            raise
        _, message, hint = describe(_cause(error), shown(options.out))
        print(f"{message} {hint}".strip(), file=sys.stderr)
        return 2 if isinstance(error, InvalidSetting) else 1


def _cause(error: BaseException) -> BaseException:
    """What a worker raised, of the error that Ray made of it."""
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, BaseException) else error


def farm(options: argparse.Namespace) -> int:
    """Make what is missing. Returns the exit code. Raises BackendError, InvalidSetting, OSError and Ray's errors."""
    settings = protocol.from_options(options, protocol.Door.BATCH)
    writes = blender.command(options.formats, options.blender)
    source, out = _place(options.source), _place(options.out)
    if os.path.isdir(settings["model"]):
        settings["model"] = str(Path(settings["model"]).resolve())
    require(settings["model"], "", fetch=options.fetch)
    about = model_info(settings["model"])
    if about.usable and (words := problem_with_model(settings, about)):
        raise InvalidSetting(words)  # once, not for each row
    model = identity(settings["model"])
    found, entries = rows.find(source, options.views)
    if not found:
        raise SettingsError("images_missing", f"There are no images in {shown(source)}.", "Check the source.")
    target = Target(out)
    with target.alone():
        report, there = Report(target, settings), target.sizes()
        report.load()
        known = rows.Known(
            settings, model, tuple(endings_of(settings, options.formats).values()), report.lines, there, out
        )
        wanted = rows.prepare(found, entries, known)
        missing = _missing(wanted, report, there)
        work: dict[str, Any] = {
            "settings": settings,
            "formats": options.formats,
            "target": out,
            "model": model,
            "models_folder": os.environ.get(MODELS_VARIABLE, ""),
            "fetch": options.fetch,
            "blender": writes,
        }
        if missing:
            report.write()  # now: what is interrupted has its name
            _make(missing, work, report, options)
        report.write(last=True)
        return _tell(wanted, missing, report, out)


def _place(address: str) -> str:
    return str(Path(address).absolute()) if is_local(address) else address


def _missing(wanted: Iterable[Row], report: Report, there: dict[str, int]) -> list[Row]:
    """The rows that must be made. Their lines in the report are replaced by pending ones, the others' are skipped."""
    missing = []
    for row in wanted:
        line = report.lines.get(row.name)
        same = line is not None and line.fingerprint == row.fingerprint and line.status in ("done", "skipped")
        if line is not None and same and line.is_whole(there):
            line.status = "skipped"
        else:
            report.lines[row.name] = row.line()
            missing.append(row)
    return missing


def _make(missing: list[Row], work: dict[str, Any], report: Report, options: argparse.Namespace) -> None:
    """Make the rows, and take their lines into the report. Whatever ends this, the report is written.

    Raises KeyboardInterrupt, BackendError, OSError and Ray's errors.
    """
    from . import pipeline
    from .stages import Work

    store = options.object_store << 20 if options.object_store else None
    try:
        with connected(options.address, cpus=options.cpus, store_bytes=store) as size:
            end_as_interrupted()  # Ray has set other handlers
            plan = pipeline.Plan.of(size, device=options.device, share=options.gpu_share, actors=options.actors)
            ready = Work(**work, attempts=pipeline.attempts())
            pipeline.require_model(ready, plan)
            pace = Pace(len(missing), time.monotonic)
            for line in pipeline.lines(missing, ready, plan):
                report.take(line)
                pace.take(line)
    except KeyboardInterrupt:
        report.write()
        say(f"Stopped. What is done stays in {shown(options.out)}. {GO_ON}")
        raise


def _tell(wanted: list[Row], missing: list[Row], report: Report, out: str) -> int:
    """Say what came of it, and return the exit code."""
    made = {row.name for row in missing}
    found: list[Line] = [report.lines[row.name] for row in wanted]
    done = sum(line.status == "done" for line in found if line.name in made)
    failed = [line for line in found if line.status not in ("done", "skipped")]
    for line in failed[:20]:
        error = line.error or {"message": "It was not made.", "hint": GO_ON}
        say(f"{line.name}: failed: {error['message']} {error['hint']}".rstrip())
    if len(failed) > 20:
        say(f"and {len(failed) - 20} more")
    skipped = len(wanted) - len(missing)
    say(f"{done} done, {skipped} skipped, {len(failed)} failed: {shown(joined(out, JSON))}")
    return 1 if failed else 0
