"""Espalier for scripts: the same jobs, queue and objects as the panel's, in a window and without one.

``docs/automation.md`` has examples, and says how a script finds this module.

Without a window (``blender -b``) ``generate`` and ``retexture`` wait, and return the object. In a window they return a
``Making`` at once, and the object comes later, as after a press of the panel's button: Blender never waits.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

import bpy

from ..backend import protocol
from . import installation, pump
from .jobs.client import BackendUnavailable
from .jobs.queue import Job, State
from .request import generate as requests
from .request import images as pictures
from .request import placement
from .request import retexture as painting
from .scene.made import MOST_IMAGES

__all__ = ["EspalierError", "Making", "generate", "models", "retexture", "wait"]

POLL = 0.02  # seconds between two looks at the backend's messages, without a window

#: A file, or an image of the .blend.
Image: TypeAlias = "str | os.PathLike[str] | bpy.types.Image"
Images: TypeAlias = "Image | Sequence[Image]"
WhenDone: TypeAlias = "Callable[[Making], object]"


class EspalierError(Exception):
    """What was asked for cannot be had. ``str(error)`` is a sentence, ``hint`` says what to do about it.

    ``code`` is short and stable: that of ``protocol.Error`` if the backend refuses, else ``settings_invalid``,
    ``images_unusable``, ``object_unusable``, ``disk_full``, ``folder_read_only``, ``folder_forbidden``,
    ``not_inserted``, ``unfinished``, ``cancelled`` or ``in_a_window``.
    """

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(f"{message} {hint}".strip())
        self.code = code
        self.message = message
        self.hint = hint


class Making:
    """An object that is being made while Blender goes on."""

    def __init__(self, job: Job) -> None:
        self._job = job

    @property
    def done(self) -> bool:
        """Whether it has ended, well or not."""
        return self._job.state is State.FAILED or self._job not in pump.jobs.jobs

    @property
    def stage(self) -> str:
        """What is being done, as ``protocol.STAGES`` names it; empty while it waits."""
        return self._job.stage

    @property
    def fraction(self) -> float:
        """How much of it is done, from 0 to 1."""
        return self._job.fraction

    @property
    def error(self) -> EspalierError | None:
        """Why there is no object; None while it is being made, and if there is one."""
        return _error_of(self._job) if self.done else None

    @property
    def object(self) -> bpy.types.Object | None:
        """The object; None if there is none yet, or if it has been deleted since."""
        return _made_by(self._job)

    def result(self) -> bpy.types.Object:
        """The object. Raises EspalierError: ``unfinished`` if it is still being made. This does not wait."""
        if not self.done:
            raise EspalierError("unfinished", f"{self._job.name} is still being made.", "Ask again when it is done.")
        return _result_of(self._job)

    def cancel(self) -> None:
        """Stop making it. Nothing happens if it has ended."""
        pump.cancel(self._job)


def generate(
    images: Images,
    *,
    points: Sequence[protocol.Point | None] = (),
    location: Sequence[float] | None = None,
    size: float = 1.0,
    when_done: WhenDone | None = None,
    **settings: Any,
) -> bpy.types.Object | Making:
    """Make one object from one image of it, or from several.

    ``points`` has a point for each image, as fractions of width and height from the top left: the object there is
    meant. ``location`` is where the centre of its bottom comes to be, in metres; without it, where the panel would put
    it. ``size`` is the length of its longest side, in metres. ``settings`` are those of the panel by their names, such
    as ``seed=3`` and ``model="mini"``. What is left out has its default, whatever the panel shows.

    Returns the object, and in a window a ``Making`` at once. ``when_done`` is called with it when it has ended.
    Raises EspalierError.
    """
    chosen = _checked(settings)
    sources = _sources(images, points)
    where, _ = placement.find_place(bpy.context) if location is None else (_location(location), size)
    target = pump.target(bpy.context, where, _size(size))
    collected = _pictures(sources, points)
    return _start(lambda: requests.job_with(chosen, collected, sources=sources, target=target), when_done)


def retexture(
    target: bpy.types.Object,
    images: Images,
    *,
    points: Sequence[protocol.Point | None] = (),
    when_done: WhenDone | None = None,
    **settings: Any,
) -> bpy.types.Object | Making:
    """Paint a mesh of the scene from images. Its shape stays.

    The arguments, the result and the errors are those of ``generate``. Settings that only concern new shapes are
    refused.
    """
    chosen = _checked(settings, for_a_mesh=True)
    if not painting.can_be_painted(target):
        raise EspalierError("object_unusable", f"{target.name} is no mesh of this file with faces.", "Choose another.")
    if target.mode != "OBJECT":
        raise EspalierError("object_unusable", f"{target.name} is being edited.", "Switch to Object Mode first.")
    sources = _sources(images, points)
    collected = _pictures(sources, points)
    return _start(lambda: painting.job_with(bpy.context, target, chosen, collected, sources=sources), when_done)


def models() -> dict[str, protocol.ModelInfo]:
    """The models that can be used, by name.

    In a window this does not wait: until the backend has answered for the first time, there are none. Raises
    EspalierError if there is no backend.
    """
    try:
        installation.backend_python(bpy.context)
    except BackendUnavailable as error:
        raise EspalierError("backend_unavailable", str(error), error.hint) from error
    found = installation.usable_models(bpy.context)
    if not found and installation.models.problem:
        raise EspalierError("backend_unavailable", *installation.models.problem)
    return found


def wait() -> list[bpy.types.Object]:
    """Wait for all jobs that were started, such as by ``bpy.ops.espalier.generate()``. Only without a window.

    Returns their objects, in the order of the jobs. Raises EspalierError, if one failed after the others are done.
    """
    if not _without_window():
        _refuse_to_wait()
    jobs = [job for job in pump.jobs.jobs if job.active or job.state is State.DONE]
    for job in jobs:
        _run(job)
    return [_result_of(job) for job in jobs]


def _start(new_job: Callable[[], Job], when_done: WhenDone | None) -> bpy.types.Object | Making:
    try:
        job = new_job()
    except pump.FolderError as error:
        raise EspalierError(error.found.code, error.found.message, error.found.hint) from error
    except ValueError as error:  # a mesh without faces
        raise EspalierError("object_unusable", f"{error}.") from error
    making = Making(job)
    if when_done is not None:
        job.on_end = lambda: when_done(making)
    pump.submit(job)
    if not _without_window():
        return making
    _run(job)
    return _result_of(job)


def _run(job: Job) -> None:
    """Wait until a job is over. Whatever interrupts that ends the job."""
    try:
        while job in pump.jobs.jobs and job.state is not State.FAILED:
            pump.step()
            if job.state is State.DONE and job in pump.jobs.jobs:
                why = pump.blocked_by(job) or "it is gone"
                words = f"{job.name} could not be put into the scene: {why}."
                raise EspalierError("not_inserted", words, "Leave the scene's objects alone meanwhile.")
            time.sleep(POLL)
    except BaseException:
        if job in pump.jobs.jobs:
            pump.jobs.give_up(job)
        raise


def _result_of(job: Job) -> bpy.types.Object:
    error, made = _error_of(job), _made_by(job)
    if error is not None:
        if job in pump.jobs.jobs and _without_window():  # in a window the panel shows it, with what can be done
            pump.forget(job)
        raise error
    if made is None:
        raise EspalierError("not_inserted", f"The object of {job.name} has been deleted.")
    return made


def _error_of(job: Job) -> EspalierError | None:
    """Why a job that is over has made nothing; None if it has."""
    if job.error is not None:
        return EspalierError(job.error.code, job.error.message, job.error.hint)
    if job.state is State.CANCELLED:
        return EspalierError("cancelled", f"{job.name} was cancelled.")
    return None if job.made else EspalierError("not_inserted", f"{job.name} was dismissed.")


def _made_by(job: Job) -> bpy.types.Object | None:
    there = (each for each in bpy.data.objects if each.session_uid == job.made)
    return next(there, None) if job.made else None


def _without_window() -> bool:
    return bool(bpy.app.background)


def _refuse_to_wait() -> NoReturn:
    raise EspalierError("in_a_window", "In a window, Blender must not wait.", "Pass when_done to generate instead.")


def _checked(given: dict[str, Any], *, for_a_mesh: bool = False) -> dict[str, Any]:
    try:
        chosen = protocol.from_names(given, protocol.Door.OBJECT, for_a_mesh=for_a_mesh)
    except protocol.InvalidSetting as error:
        raise EspalierError("settings_invalid", str(error)) from error
    if Path(bpy.path.abspath(chosen.get("model", "")), "pipeline.json").is_file():
        chosen["model"] = bpy.path.abspath(chosen["model"])
    return chosen


def _sources(images: Images, points: Sequence[protocol.Point | None]) -> tuple[str, ...]:
    """The images as objects remember them: absolute paths, and images of the .blend by name."""
    several = [images] if isinstance(images, str | os.PathLike | bpy.types.Image) else images
    found: list[str] = []
    for image in several:
        if isinstance(image, bpy.types.Image):
            found.append(pictures.DATABLOCK + image.name)
        elif isinstance(image, str | os.PathLike) and os.fspath(image):
            found.append(os.path.abspath(bpy.path.abspath(os.fspath(image))))
        else:
            raise EspalierError("images_unusable", f"{image!r} is neither a path nor an image.")
    if not 0 < len(found) <= MOST_IMAGES:
        words = f"An object is made from 1 to {MOST_IMAGES} images, not from {len(found)}."
        raise EspalierError("images_unusable", words)
    if points and len(points) != len(found):
        raise EspalierError("images_unusable", f"There are {len(points)} points for {len(found)} images.")
    return tuple(found)


def _pictures(sources: tuple[str, ...], points: Sequence[protocol.Point | None]) -> list[pictures.Picture]:
    try:
        pairs = zip(sources, points or (None,) * len(sources), strict=True)
        return [pictures.picture(source, point) for source, point in pairs]
    except ValueError as error:
        raise EspalierError("images_unusable", f"{error}.") from error


def _location(given: Sequence[float]) -> placement.Location:
    try:
        x, y, z = (float(value) for value in given)
    except (TypeError, ValueError) as error:
        raise EspalierError("settings_invalid", f"Location must be three numbers, not {given!r}.") from error
    return x, y, z


def _size(given: float) -> float:
    if not 0 < given < float("inf"):
        raise EspalierError("settings_invalid", f"Size must be a length in meters above 0, not {given!r}.")
    return float(given)
