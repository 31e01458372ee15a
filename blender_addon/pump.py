"""Brings the backend's messages and results into the scene, on Blender's main thread.

``step()`` is a plain function. In a window a timer calls it while there are jobs to wait for. In background mode timers
never fire, so whoever needs the result calls it in a loop.
"""

from __future__ import annotations

import errno
import os
import time
import traceback
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeAlias

import bpy
from bpy.app.handlers import persistent

from ..backend import protocol
from ..backend.disk_errors import explain
from . import choices, installation
from .extension import FOLDER, ROOT, is_checkout
from .jobs.client import Backend
from .jobs.cutouts import CutOut
from .jobs.journal import Journal
from .jobs.queue import Job, JobQueue, State, Target
from .jobs.timings import Timings
from .scene import candidates, history, news, paths, see_through, shading, undo_step, viewport
from .scene.made import ENTRY, NOTE
from .scene.mesh_import import create_object
from .scene.paint import paint
from .scene.replace import put_in_place
from .server import process
from .translations import in_words, translate

INTERVAL = 0.05  # seconds between two steps
QUICK_INTERVAL = 0.02  # the same while somebody waits for candidates, which come several times a second
IDLE_INTERVAL = 1.0  # the same while the backend is idle
#: Seconds that a press of a button waits for its images to be copied: those of a usual size are, and so nothing that is
#: done to them afterwards matters. Half a frame.
READING = 0.008
FOR_THE_TEMPORARY_FOLDER = (
    "Free some space there, or choose another folder: Preferences > File Paths > Temporary Files."
)
FOR_THE_FOLDER_OF_JOBS = "Objects are made in this folder. Free some space there, or make it writable, and try again."

Home: TypeAlias = tuple[bpy.types.Scene, bpy.types.Collection, tuple[float, float, float]]

_document = 0  # counts the files loaded in this session: a job belongs to the file it was started in


def launch(log: Path, *, overlap: bool = False) -> Backend:
    """Start the backend that the preferences select. Returns at once. Raises BackendUnavailable."""
    python = installation.backend_python(bpy.context)
    models, advice = installation.models_folder(bpy.context), FOR_THE_TEMPORARY_FOLDER
    return process.launch(python, FOLDER, log, models_folder=models, advice=advice, overlap=overlap)


def log_path() -> Path:
    """The log of the backend and its libraries."""
    return Path(bpy.app.tempdir) / "backend.log"


def kept_folder() -> Path:
    """The folder of what survives Blender: the user's files of the extension. What a checkout has ends with Blender."""
    if is_checkout():
        return Path(bpy.app.tempdir) / "espalier"
    return Path(bpy.utils.extension_path_user(ROOT, path=""))


jobs = JobQueue(lambda: launch(log_path()))
notices: list[str] = []  # sentences for the artist that no job has, the oldest first


class FolderError(ValueError):
    """The folder of the jobs cannot be written to: the text says so in the user's language, ``found`` in English."""

    def __init__(self, error: OSError, folder: Path) -> None:
        said = OSError(error.errno, error.strerror)  # without the name of this session's folder, which is a number
        super().__init__(in_words(said, folder, FOR_THE_FOLDER_OF_JOBS))
        self.found = explain(said, folder, FOR_THE_FOLDER_OF_JOBS)


def new_folder() -> str:
    """Create the folder of a new job. Raises FolderError if the disk has no room or is read-only."""
    assert jobs.journal is not None
    try:
        return str(jobs.journal.new_folder())
    except OSError as error:
        raise FolderError(error, jobs.journal.root) from error


def target(
    context: bpy.types.Context,
    location: tuple[float, float, float],
    size: float,
    replaces: bpy.types.Object | None = None,
    guide: bpy.types.Object | None = None,
) -> Target:
    """The target of an object that is requested now: in the active collection, or in place of another object."""
    uid, shape = (0 if each is None else each.session_uid for each in (replaces, guide))
    scene, collection, used = context.scene.session_uid, context.collection.session_uid, shading.viewport_of(context)
    return Target(_document, scene, collection, location, size, uid, used, shape)


def submit(*new: Job) -> None:
    """Start the jobs of one press, or queue them behind others. Failed jobs disappear from the list."""
    for old in [old for old in jobs.jobs if old.state is State.FAILED]:
        forget(old)
    _start(new)


def submit_again(again: Mapping[Job, Job]) -> None:
    """Start jobs in place of those that they repeat, whose folders they take over. Other failed jobs stay listed."""
    for old in again:
        jobs.jobs.remove(old)  # not ``forget``
    _start(again.values())


def _start(new: Iterable[Job]) -> None:
    end = time.monotonic() + READING
    for job in new:
        if job.writer is not None:
            job.writer.join(max(0.0, end - time.monotonic()))
        jobs.submit(job)
    step()
    _keep_stepping()


def give_notice(words: str) -> None:
    """Show the artist a sentence, in the panel, until it is dismissed."""
    words = " ".join(words.split())  # the panel wraps it
    print(f"Espalier: {words}")
    if words not in notices:
        notices.append(words)
    redraw("UI")


def _keep_stepping() -> None:
    """Have ``step`` called soon, also if the timer is slow because the backend was idle."""
    if bpy.app.background:
        return
    if bpy.app.timers.is_registered(_tick):
        bpy.app.timers.unregister(_tick)
    bpy.app.timers.register(_tick, first_interval=QUICK_INTERVAL, persistent=True)


def recover() -> None:
    """Offer the jobs that were left behind when Blender was closed during them."""
    jobs.recover()
    redraw("UI")


def unload() -> None:
    """Stop the backend, which must be idle. Nothing else frees all of its memory, including the driver's."""
    jobs.release()
    redraw("UI")


def ask(cutout: CutOut) -> None:
    """Ask the backend for a cut-out."""
    jobs.cutouts.ask(cutout)
    _keep_stepping()


def follow(job: Job) -> None:
    """Start a live job. There must be no other one."""
    jobs.follow(job)
    step()
    _keep_stepping()


def cancel(job: Job) -> None:
    """Cancel a job."""
    jobs.cancel(job)
    step()


def forget(job: Job) -> None:
    """Remove a job that has ended from the list, with its preview and its files."""
    viewport.hide(job.id)
    jobs.forget(job)
    redraw("UI", "WINDOW")
    _tell(job)


def _tell(job: Job) -> None:
    """Tell whoever asked for a job that it has ended. What goes wrong there is theirs: the queue goes on."""
    told, job.on_end = job.on_end, None
    try:
        if told is not None:
            told()
    except Exception:
        traceback.print_exc()


def step() -> None:
    """Handle the backend's messages, and insert the results that can be inserted now."""
    ended = jobs.step()
    changed = bool(ended) | jobs.cutouts.take_news()
    news.failed((job.name, job.error) for job in ended if job.state is State.FAILED and job.error is not None)
    for job in list(jobs.jobs):
        match job.state:
            case State.RUNNING if job.preview is not None and not viewport.shown(job.id):
                _show_preview(job)
            case State.DONE if (place := home(job)) is not None and not blocked_by(job):
                insert(job, *place)
            case State.FAILED:
                viewport.hide(job.id)
                _tell(job)
            case State.CANCELLED | State.EXPLORED:
                forget(job)
            case State.DONE if job in ended and home(job) is None:
                news.offered(job.name)
    if jobs.live is not None and jobs.live.cancelling and not jobs.live.active:
        jobs.forget(jobs.live)
    for candidate in candidates.arrived():
        changed = True
        show_candidate(candidate)
    changed |= candidates.take_news()
    if viewport.arrived():
        redraw("UI", "WINDOW")
    elif changed:
        redraw("UI")


def is_for(target: Target, scene: bpy.types.Scene) -> bool:
    """Whether an object is to stand in this scene of the open file."""
    return target.document == _document and target.scene == scene.session_uid


def home(job: Job) -> Home | None:
    """Where a job's object belongs.

    None if the file, the scene or the object to replace is no longer there. The result is then only offered.
    """
    if job.target is None or job.target.document != _document or (job.target.replaces and replaced(job) is None):
        return None
    scene = next((s for s in bpy.data.scenes if s.session_uid == job.target.scene), None)
    if scene is None:
        return None
    for collection in scene.collection.children_recursive:
        if collection.session_uid == job.target.collection and collection.library is None:
            return scene, collection, job.target.location
    return scene, scene.collection, job.target.location


def is_making(sources: tuple[str, ...]) -> bool:
    """Whether an object of these images waits or is being made."""
    return any(job.active and job.sources == sources for job in jobs.jobs)


def has_lost_its_object(job: Job) -> bool:
    """Whether only the object that a job replaces is gone, not its file or scene."""
    target = job.target
    if target is None or target.document != _document or not target.replaces or replaced(job) is not None:
        return False
    return any(scene.session_uid == target.scene for scene in bpy.data.scenes)


def size_of(job: Job) -> float:
    """The longest side of a job's object, in metres."""
    return job.target.size if job.target else 1.0


def busy_with() -> str:
    """Why the scene cannot be changed now: the name of a modal operator, or *Render*; empty if it can.

    During a modal operator, the undo step would hold a half-done state.
    """
    if bpy.app.is_job_running("RENDER"):
        return "Render"
    modal = (op for window in bpy.context.window_manager.windows for op in window.modal_operators)
    return next((op.name for op in modal if not news.is_telling(op)), "")


def replaced(job: Job) -> bpy.types.Object | None:
    """The object that a job replaces or paints; None if it makes a new object, or if that object is gone."""
    if job.target is not None:
        uid = job.target.replaces
        return next((o for o in bpy.data.objects if o.session_uid == uid), None) if uid else None
    if job.replaces is None or job.replaces.file != bpy.data.filepath:
        return None
    there = bpy.data.objects.get((job.replaces.name, None))  # not an object of a linked file
    return there if there is not None and there.type == "MESH" and there.data.library is None else None


def blocked_by(job: Job) -> str:
    """What holds a finished job back: as ``busy_with``, or *Edit Mode*, which would restore the object's old mesh."""
    there = replaced(job)
    return busy_with() or ("Edit Mode" if there is not None and there.mode != "OBJECT" else "")


def insert(
    job: Job, scene: bpy.types.Scene, collection: bpy.types.Collection, location: tuple[float, float, float]
) -> None:
    """Make or change the object of a finished job, as one undo step. If its result is damaged, only the job fails."""
    assert job.result is not None
    settings = job.result.settings | ({"images": job.sources} if job.sources else {}) | {"points": job.request.points}
    there = replaced(job)
    try:
        if there is None:
            made = create_object(job.result, name=job.name, collection=collection, settings=settings, size=size_of(job))
            made[ENTRY] = job.id
        elif job.request.mesh:
            paint(there, job.result, settings, job.digests)
            there.pop(ENTRY, None)  # its picture shows the old texture
        else:
            put_in_place(there, job.result, settings)
            there[ENTRY] = job.id
    except Exception as error:  # whatever is wrong with one result, the others are inserted
        traceback.print_exc()
        why = explain(error, job.request.out).message if isinstance(error, OSError) else f"{error}."
        job.fail(protocol.Error(job.id, "result_damaged", f"The result cannot be used: {why}", "Try again."))
        news.failed([(job.name, job.error)] if job.error else ())
        viewport.hide(job.id)
        redraw("UI", "WINDOW")
        return
    job.made = (made if there is None else there).session_uid
    wire = ""
    if there is None:
        made.location = location
        select(made, scene)
        wire = see_through.show_as_wire(job.target.guide if job.target else 0, scene, made)
    else:
        made = there
    if job.target is not None and choices.show_colors(bpy.context):
        shading.show(made, job.target.viewport)
    undo_step.push("generated" if there is None else "retextured" if job.request.mesh else "regenerated")
    try:
        history.keep(job, settings)
    except OSError as error:  # the object has been made, and the history has how
        kept = translate("The history has no files of the newest objects. Inserting them again means generating them.")
        give_notice(f"{kept} {in_words(error, hint=FOR_THE_TEMPORARY_FOLDER)}")
    paths.write()
    news.ready(made.name, str(made.get(NOTE, "")), wire)
    forget(job)


def look_inside(target: Target) -> None:
    """Show the guide of what is about to be shown as wire, as one undo step, and say so."""
    scene = next((scene for scene in bpy.data.scenes if is_for(target, scene)), None)
    wire = "" if scene is None or busy_with() else see_through.show_as_wire(target.guide, scene)
    if wire:
        undo_step.push("guide_wired")
        news.wired(wire)


def redraw(*regions: str) -> None:
    """Redraw the regions of these types in all viewports."""
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            if area.type == "VIEW_3D":
                for region in area.regions:
                    if region.type in regions:
                        region.tag_redraw()


def _show_preview(job: Job) -> None:
    if job.preview is not None and job.target is not None and home(job) is not None:
        viewport.show(job.id, job.preview, job.target.scene, job.target.location, job.target.size)


def show_candidate(candidate: candidates.Candidate) -> None:
    """Draw a candidate's mesh in its place, with its number, if it has one and its scene is still open."""
    job, answer = candidate.job, candidate.answer
    if answer is not None and answer.arrays and job.target is not None and home(job) is not None:
        place, path = job.places[candidate.index], Path(answer.arrays)
        viewport.show(candidate.key, path, job.target.scene, place, job.target.size, candidate.label)


def select(made: bpy.types.Object, scene: bpy.types.Scene) -> None:
    """Select an object and make it active in every window that shows the scene, unless another one is being edited."""
    for window in bpy.context.window_manager.windows:
        layer = window.view_layer
        active = layer.objects.active
        if window.scene != scene or made.name not in layer.objects or (active and active.mode != "OBJECT"):
            continue
        for other in list(layer.objects.selected):
            other.select_set(False, view_layer=layer)
        made.select_set(True, view_layer=layer)
        layer.objects.active = made


def _tick() -> float | None:
    try:
        step()
    except Exception:  # Blender would end the timer, and with it the queue
        traceback.print_exc()
    waiting = any(job.state is State.DONE and home(job) is not None for job in jobs.jobs)
    if jobs.live is not None or any(job.active and job.request.seeds for job in jobs.jobs):
        return QUICK_INTERVAL
    if jobs.active or jobs.cutouts.pending or waiting:
        return INTERVAL
    if jobs.backend is None:
        return None
    idle_minutes = choices.idle_minutes(bpy.context)
    if idle_minutes and time.monotonic() > jobs.busy_at + 60 * idle_minutes:
        unload()
        return None
    return IDLE_INTERVAL


@persistent
def _loaded_file(*_: object) -> None:
    global _document
    _document += 1
    viewport.clear()


def register() -> None:
    """Open the journal, and offer the jobs that were left behind."""
    bpy.app.handlers.load_post.append(_loaded_file)
    try:
        folder = kept_folder()
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, "it may not be written to", str(folder))
    except OSError as error:  # a full disk or a home that may not be written: Blender must start all the same
        print(f"Espalier: nothing can be kept for the next session: {error}")
        folder = Path(bpy.app.tempdir) / "espalier"
        folder.mkdir(exist_ok=True)
    jobs.journal = Journal(folder / "jobs")
    jobs.timings = Timings(folder / "timings.json")
    paths.remember_in(folder / "images.json")
    if not bpy.app.background:  # in a batch there is nobody to offer jobs to
        bpy.app.timers.register(recover, first_interval=INTERVAL, persistent=True)


def unregister() -> None:
    """Stop the timers and the backend."""
    bpy.app.handlers.load_post.remove(_loaded_file)
    for timer in (_tick, recover):
        if bpy.app.timers.is_registered(timer):
            bpy.app.timers.unregister(timer)
    viewport.clear()
    notices.clear()
    paths.write()
    jobs.close()
