"""Carries what the backend says into the scene, on Blender's main thread.

``step()`` is a plain function: in a window a timer calls it while there is something to wait for; without one (timers
never fire in background) whoever needs the result calls it in a loop.
"""

from __future__ import annotations

import time
import traceback
import zipfile
from pathlib import Path
from typing import TypeAlias

import bpy
from bpy.app.handlers import persistent

from ..backend import protocol
from . import choices, installation
from .extension import FOLDER, ROOT, is_checkout
from .jobs.client import Backend
from .jobs.journal import Journal
from .jobs.queue import Job, JobQueue, State, Target
from .scene import history, viewport
from .scene.mesh_import import create_object
from .scene.paint import paint
from .scene.replace import put_in_place
from .server import process

INTERVAL = 0.05  # seconds between two steps
IDLE_INTERVAL = 1.0  # seconds between two looks at a backend that has nothing to do

Home: TypeAlias = tuple[bpy.types.Scene, bpy.types.Collection, tuple[float, float, float]]

_document = 0  # counts the files loaded in this session: a job belongs to the one it was started in


def launch(log: Path) -> Backend:
    """Start the backend that the preferences name. Returns at once. Raises BackendUnavailable."""
    python = installation.backend_python(bpy.context)
    return process.launch(python, FOLDER, log, models_folder=installation.models_folder(bpy.context))


def log_path() -> Path:
    """What the backend, and the libraries in it, have to say."""
    return Path(bpy.app.tempdir) / "backend.log"


def journal_folder() -> Path:
    """Where jobs lie that outlive Blender: among the user's files of the extension. A checkout keeps none."""
    if is_checkout():
        return Path(bpy.app.tempdir) / "espalier-jobs"
    return Path(bpy.utils.extension_path_user(ROOT, path="jobs", create=True))


jobs = JobQueue(lambda: launch(log_path()))


def new_folder() -> str:
    """Make the folder of a new job. Raises OSError."""
    assert jobs.journal is not None
    return str(jobs.journal.new_folder())


def target(
    context: bpy.types.Context,
    location: tuple[float, float, float],
    size: float,
    replaces: bpy.types.Object | None = None,
) -> Target:
    """Where an object that is asked for now shall stand: in the active collection, or in the place of another."""
    uid = 0 if replaces is None else replaces.session_uid
    return Target(_document, context.scene.session_uid, context.collection.session_uid, location, size, uid)


def submit(job: Job) -> None:
    for old in [old for old in jobs.jobs if old.state is State.FAILED]:
        forget(old)
    jobs.submit(job)
    step()
    if not bpy.app.background and not bpy.app.timers.is_registered(_tick):
        bpy.app.timers.register(_tick, first_interval=INTERVAL, persistent=True)


def recover() -> None:
    """Offer what a Blender that was closed in mid-job left behind."""
    jobs.recover()
    redraw("UI")


def unload() -> None:
    """End the backend, which must have nothing to do: nothing else gives all memory back, the driver's included."""
    jobs.release()
    redraw("UI")


def cancel(job: Job) -> None:
    jobs.cancel(job)
    step()


def forget(job: Job) -> None:
    viewport.hide(job.id)
    jobs.forget(job)
    redraw("UI", "WINDOW")


def step() -> None:
    """Take in messages, insert results that may be inserted now."""
    changed = jobs.step()
    for job in list(jobs.jobs):
        match job.state:
            case State.RUNNING if job.preview is not None and not viewport.shown(job.id):
                _show_preview(job)
            case State.DONE if (place := home(job)) is not None and not blocked_by(job):
                insert(job, *place)
            case State.FAILED:
                viewport.hide(job.id)
            case State.CANCELLED:
                forget(job)
    if viewport.arrived():
        redraw("UI", "WINDOW")
    elif changed:
        redraw("UI")


def home(job: Job) -> Home | None:
    """Where a job's object belongs. None if that file or scene, or the object whose place it shall take, is no longer
    there: the result is then only offered."""
    if job.target is None or job.target.document != _document or (job.target.replaces and replaced(job) is None):
        return None
    scene = next((s for s in bpy.data.scenes if s.session_uid == job.target.scene), None)
    if scene is None:
        return None
    for collection in scene.collection.children_recursive:
        if collection.session_uid == job.target.collection and collection.library is None:
            return scene, collection, job.target.location
    return scene, scene.collection, job.target.location


def busy_with() -> str:
    """What forbids to change the scene just now, in words; empty if nothing does.

    In the middle of a modal operator the undo step would be taken of a half-done state.
    """
    if bpy.app.is_job_running("RENDER"):
        return "Render"
    return next((op.name for window in bpy.context.window_manager.windows for op in window.modal_operators), "")


def replaced(job: Job) -> bpy.types.Object | None:
    """The object that a job makes or paints anew; None if it makes a new one, or if that object is gone."""
    if job.target is not None:
        uid = job.target.replaces
        return next((o for o in bpy.data.objects if o.session_uid == uid), None) if uid else None
    if job.replaces is None or job.replaces.file != bpy.data.filepath:
        return None
    there = bpy.data.objects.get((job.replaces.name, None))  # not one of a linked file
    return there if there is not None and there.type == "MESH" and there.data.library is None else None


def blocked_by(job: Job) -> str:
    """As ``busy_with``; and an object that is being edited would get its old mesh back afterwards."""
    there = replaced(job)
    return busy_with() or ("Edit Mode" if there is not None and there.mode != "OBJECT" else "")


def insert(
    job: Job, scene: bpy.types.Scene, collection: bpy.types.Collection, location: tuple[float, float, float]
) -> None:
    """Make or change the object of a finished job, as one undo step. A damaged result changes nothing and fails it."""
    assert job.result is not None
    size = job.target.size if job.target else 1.0
    settings = job.result.settings | ({"images": job.sources} if job.sources else {})
    there = replaced(job)
    try:
        if there is None:
            made = create_object(job.result, name=job.name, collection=collection, settings=settings, size=size)
        elif job.request.mesh:
            paint(there, job.result, settings, job.digests)
        else:
            put_in_place(there, job.result, settings)
    except (OSError, ValueError, RuntimeError, zipfile.BadZipFile) as error:
        traceback.print_exc()
        hint = "Press Generate 3D to make it again."
        job.fail(protocol.Error(job.id, "result_damaged", f"The result cannot be used: {error}.", hint))
        viewport.hide(job.id)
        redraw("UI", "WINDOW")
        return
    if there is None:
        made.location = location
        select(made, scene)
        bpy.ops.ed.undo_push(message=f"Generate {made.name}")
    else:
        bpy.ops.ed.undo_push(message=f"{'Retexture' if job.request.mesh else 'Regenerate'} {there.name}")
    try:
        history.keep(job, settings)
    except OSError:  # the object is there, whatever becomes of the list
        traceback.print_exc()
    forget(job)


def redraw(*regions: str) -> None:
    """Have regions of these types drawn again in all viewports."""
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            if area.type == "VIEW_3D":
                for region in area.regions:
                    if region.type in regions:
                        region.tag_redraw()


def _show_preview(job: Job) -> None:
    if job.preview is not None and job.target is not None and home(job) is not None:
        viewport.show(job.id, job.preview, job.target.scene, job.target.location, job.target.size)


def select(made: bpy.types.Object, scene: bpy.types.Scene) -> None:
    """Make it the selected and active object wherever the scene is open, but not while another one is being edited."""
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
    step()
    waiting = any(job.state is State.DONE and home(job) is not None for job in jobs.jobs)
    if jobs.active or waiting:
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
    bpy.app.handlers.load_post.append(_loaded_file)
    jobs.journal = Journal(journal_folder())
    if not bpy.app.background:  # a batch has nobody to offer anything to
        bpy.app.timers.register(recover, first_interval=INTERVAL, persistent=True)


def unregister() -> None:
    bpy.app.handlers.load_post.remove(_loaded_file)
    for timer in (_tick, recover):
        if bpy.app.timers.is_registered(timer):
            bpy.app.timers.unregister(timer)
    viewport.clear()
    jobs.close()
