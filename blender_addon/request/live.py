"""Live: a preview in the viewport that follows the seed, the images and all other settings as they change.

A timer compares what is wanted with what was asked for. There is one job at a time, beside the queue: it is made while
no other job waits, and gives way to those that are submitted. When it has ended, the newest is asked for; what lay
between is never made. A job for something older is cancelled, unless it is about to end: otherwise nothing would be
seen while a slider is dragged.

A setting that only finishing needs is asked for like any other: the backend has kept what it made and answers at once.
"""

from __future__ import annotations

import itertools
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import bpy
from bpy.app.handlers import persistent

from ...backend import protocol
from ...backend.disk_errors import explain
from .. import pump
from ..jobs.inputs import Content
from ..jobs.queue import Job, State, Target
from ..scene import viewport
from . import explore, generate, guide, images, placement, properties
from .brush_watch import BrushWatch
from .file_watch import FileWatch

INTERVAL = 0.02  # seconds between two looks at the settings
PATIENCE = 0.5  # seconds that an update of something older may still take
#: Seconds after which a problem is shown: a file may have been read while another program was writing it.
LASTING = 1.0
PREVIEW = "live"  # the name of the preview in ``viewport``


@dataclass(frozen=True)
class Version:
    """An image of the list as it is at a moment."""

    named: str  # its source
    state: tuple[object, ...]


@dataclass(frozen=True)
class Wanted:
    """All that a preview depends on."""

    settings: tuple[tuple[str, Any], ...]
    images: tuple[Version, ...]
    points: tuple[protocol.Point | None, ...]
    guide: tuple[object, ...] = ()


@dataclass
class _Live:
    scene: int  # session_uid
    target: Target
    placed: tuple[object, ...]  # what the target was found by
    folder: Path  # of all files
    files: FileWatch = field(default_factory=FileWatch)
    brush: BrushWatch = field(default_factory=BrushWatch)
    kept: int = 0  # how many previews were kept in this place
    job: Job | None = None
    asked: Wanted | None = None  # of the job, or of the last one
    answered: Wanted | None = None  # of the last job that was not cancelled
    shown: Job | None = None  # the one that made the preview
    seconds: float | None = None  # that the last update took
    problem: protocol.Error | None = None
    problem_since: float = 0.0
    is_told: bool = False  # whether the panel was drawn with the problem
    copies: dict[Version, str] = field(default_factory=dict)  # paths of images that were copied
    numbers: Iterator[int] = field(default_factory=itertools.count)  # of the copies' folders


_live: _Live | None = None
_left: list[Path] = []  # folders to delete: the backend may still have been writing


def is_on() -> bool:
    """Whether a preview follows the settings."""
    return _live is not None


def can_keep() -> bool:
    """Whether there is a preview to keep."""
    return _live is not None and _live.shown is not None


def is_waiting() -> bool:
    """Whether the preview waits for the queue."""
    return _live is not None and any(job.active for job in pump.jobs.jobs)


def is_working() -> bool:
    """Whether something newer than the preview is being made."""
    return _live is not None and _live.job is not None


def problem() -> protocol.Error | None:
    """Why what is wanted cannot be shown; None if it can, or if that is known only for a moment."""
    if _live is None or _live.problem is None or time.monotonic() - _live.problem_since < LASTING:
        return None
    return _live.problem


def start(context: bpy.types.Context) -> None:
    """Have a preview follow the settings of this scene. Raises OSError."""
    global _live
    stop()
    target = pump.target(context, *guide.find_place(context))
    _live = _Live(context.scene.session_uid, target, (*_placed_by(context.scene), 0), explore.new_folder())
    _live.brush.start()
    step()
    if not bpy.app.background:
        bpy.app.timers.register(_tick, first_interval=INTERVAL, persistent=True)
    pump.redraw("UI")


def stop() -> None:
    """Have no preview any more."""
    global _live
    _left[:] = [folder for folder in _left if not _delete(folder)]
    if _live is None:
        return
    live, _live = _live, None
    live.files.close()
    live.brush.stop()
    if bpy.app.timers.is_registered(_tick):
        bpy.app.timers.unregister(_tick)
    if live.job is not None and live.job.active:
        pump.cancel(live.job)
    if live.job is not None and not live.job.active and pump.jobs.live is live.job:
        pump.jobs.forget(live.job)
    _left.append(live.folder)
    viewport.hide(PREVIEW)
    pump.redraw("UI", "WINDOW")


def keep(context: bpy.types.Context) -> None:
    """Have the object of the preview finished, in its place. The next preview stands beside it. Raises OSError."""
    assert _live is not None
    assert _live.shown is not None
    views = tuple(range(len(_live.shown.request.images)))
    explore.finish(context, _live.shown, 0, views, PREVIEW)
    _live.shown = None
    _live.kept += 1


def step() -> None:
    """Take in what has arrived, and ask for what is wanted now. It never waits."""
    live = _live
    if live is None:
        return
    scene = next((scene for scene in bpy.data.scenes if scene.session_uid == live.scene), None)
    if scene is None or not pump.is_for(live.target, scene):
        stop()
        return
    _take_in(live)
    _place(live, scene)
    _look_inside(live, scene)
    wanted = _wanted(live, scene)
    if live.job is not None and wanted != live.asked and not _may_end(live.job, live.seconds):
        pump.cancel(live.job)
    elif live.job is None and wanted is None and live.shown is not None:
        viewport.hide(PREVIEW)
        live.shown = live.answered = None
        pump.redraw("UI", "WINDOW")
    elif wanted is not None and wanted != live.answered and pump.jobs.live is None and not is_waiting():
        _ask(live, wanted)


def _take_in(live: _Live) -> None:
    """Show what the job has made, and take note of how it ended."""
    job = live.job
    if job is None:
        return
    for answer in job.candidates:
        if answer.arrays and live.shown is not job:
            _leave(live, job)
            _show(live)
            live.problem = None
        elif answer.problem:
            _fail(live, protocol.Error(job.id, "no_object", answer.problem, answer.hint))
    if job.active:
        return
    if job.state is State.EXPLORED:
        live.answered, live.seconds = live.asked, job.seconds
    elif job.error is not None:
        live.answered = live.asked
        _fail(live, job.error)
    live.job = None
    if pump.jobs.live is job:
        pump.jobs.forget(job)
    if live.shown is not job:
        _delete(Path(job.request.out))
    pump.redraw("UI")


def _leave(live: _Live, new: Job) -> None:
    """Have another job's preview shown from now on. The files of the one before are needed no longer."""
    if live.shown is not None:
        _delete(Path(live.shown.request.out))
    live.shown = new


def _show(live: _Live) -> None:
    assert live.shown is not None
    path, target = Path(live.shown.candidates[0].arrays), live.target
    viewport.show(PREVIEW, path, target.scene, target.location, target.size)


def _fail(live: _Live, error: protocol.Error) -> None:
    if live.problem != error:
        live.problem, live.problem_since, live.is_told = error, time.monotonic(), False


def _may_end(job: Job, seconds: float | None) -> bool:
    """Whether a job for something older may go on. ``seconds`` is what such a job takes; None if nobody knows."""
    if job.cancelling or job.state is not State.RUNNING or job.started is None:
        return True  # it is not sent yet; when it is, this is asked again
    spent = time.monotonic() - job.started
    return spent < PATIENCE if seconds is None else abs(seconds - spent) < PATIENCE


def _placed_by(scene: bpy.types.Scene) -> tuple[object, ...]:
    panel = scene.espalier
    guided = guide.state(bpy.context) if bpy.context.scene == scene and panel.guide is not None else ()
    taken = len(scene.objects), tuple(job.id for job in pump.jobs.jobs if job.active)  # or will be
    return panel.place, panel.size, tuple(scene.cursor.location), guided, taken


def _place(live: _Live, scene: bpy.types.Scene) -> None:
    """Move the preview if new objects go elsewhere now: one was kept where it stood, or another takes its ground."""
    wanted = (*_placed_by(scene), live.kept)
    if wanted == live.placed or bpy.context.scene != scene:
        return
    live.placed = wanted
    location, size = guide.find_place(bpy.context)
    is_free = scene.espalier.place == "FREE" and guide.chosen(bpy.context) is None
    if not is_free:  # on free ground, what was kept takes its room already
        location = placement.beside(location, size, live.kept)
    live.target = replace(live.target, location=location, size=size)
    if live.shown is not None:
        live.shown.target, live.shown.places = live.target, (live.target.location,)
        _show(live)


def _look_inside(live: _Live, scene: bpy.types.Scene) -> None:
    """Show a guide that has been chosen as wire, once: the preview stands in it."""
    if bpy.context.scene != scene:
        return
    shape = guide.chosen(bpy.context)
    uid = 0 if shape is None else shape.session_uid
    if uid != live.target.guide and not pump.busy_with():
        live.target = replace(live.target, guide=uid)
        pump.look_inside(live.target)


def _wanted(live: _Live, scene: bpy.types.Scene) -> Wanted | None:
    """What the preview should be made from; None if there is no image. While a file is still unknown, as before."""
    panel = scene.espalier
    sources = [images.source(item) for item in panel.images]
    paths = {named: path for named in sources if (path := images.file_read(named)) is not None}
    blocks = {
        named: image for named in sources if named not in paths and (image := images.datablock(named)) is not None
    }
    live.files.watch(tuple(paths.values()))
    live.brush.look(tuple(blocks.values()))
    states: dict[str, tuple[object, ...] | None] = {named: live.files.stamp(path) for named, path in paths.items()}
    states |= {named: live.brush.state(image) for named, image in blocks.items()}
    versions = [Version(named, state) for named in sources if (state := states.get(named)) is not None]
    if not sources:
        return None
    if len(versions) < len(sources):
        return live.asked
    settings = properties.chosen_settings(panel)
    guided = guide.state(bpy.context) if bpy.context.scene == scene else live.asked.guide if live.asked else ()
    return Wanted(tuple(settings.items()), tuple(versions), tuple(map(images.point, panel.images)), guided)


def _ask(live: _Live, wanted: Wanted) -> None:
    """Start a job for what is wanted. What cannot be read is a problem until something changes."""
    live.asked = wanted
    try:
        job = _new_job(live, wanted)
    except ValueError as error:
        live.answered = wanted
        _fail(live, protocol.Error(None, "image_empty", str(error)))
        return
    except OSError as error:
        live.answered, found = wanted, explain(error, bpy.app.tempdir, pump.FOR_THE_TEMPORARY_FOLDER)
        _fail(live, protocol.Error(None, found.code, found.message, found.hint))
        return
    live.job = job
    pump.follow(job)


def _new_job(live: _Live, wanted: Wanted) -> Job:
    """The job, with copies of images that have changed. Raises ValueError if one has no pixels, and OSError."""
    # A copy that is not there is still being written, or could not be, for a job that was cancelled since.
    kept = {version: path for version, path in live.copies.items() if version in wanted.images}
    live.copies = {version: path for version, path in kept.items() if os.path.isfile(path)}
    files: dict[Path, Content] = {}
    painted = []
    for version in wanted.images:
        painted.append(version.named.startswith(images.CUTOUT))
        if version in live.copies:
            continue
        folder = live.folder / f"images {next(live.numbers)}"
        folder.mkdir()
        picture = live.brush.picture(version.named, version.state) or images.picture(version.named)
        (live.copies[version],), copied = images.as_files([picture], folder)
        files |= copied
    out = live.folder / uuid.uuid4().hex
    out.mkdir()
    settings = dict(wanted.settings)
    shape = generate.written_shape(guide.fields(bpy.context) if wanted.guide else {}, out, files)
    request = protocol.Generate(
        out.name,
        tuple(live.copies[version] for version in wanted.images),
        str(out),
        points=wanted.points if any(wanted.points) else (),
        painted=tuple(painted) if any(painted) else (),
        seeds=(settings["seed"],),
        **settings,
        **shape,
    )
    job = Job(request, live.target, sources=tuple(version.named for version in wanted.images))
    job.places = (live.target.location,)
    return generate.start_writing(job, files)


def _delete(folder: Path) -> bool:
    """Delete a folder. Whether it is gone: a file may still be read or written."""
    shutil.rmtree(folder, ignore_errors=True)
    return not folder.exists()


def _tick() -> float:
    pump.step()
    step()
    if _live is not None and not _live.is_told and problem() is not None:
        _live.is_told = True
        pump.redraw("UI")
    return INTERVAL


@persistent
def _loaded_file(*_: object) -> None:
    stop()


def register() -> None:
    """Turn it off when another file is opened: what came with a file starts nothing."""
    bpy.app.handlers.load_pre.append(_loaded_file)


def unregister() -> None:
    """Undo ``register``."""
    stop()
    bpy.app.handlers.load_pre.remove(_loaded_file)
