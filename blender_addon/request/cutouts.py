"""The cut-outs of the panel's images, as the backend makes them: which are known, and asking for those that are not.

A cut-out is known by its image, the point on its object and the setting for backgrounds. Whatever changes one of these
(adding an image, undo, another file, a setting) has the panel drawn again; drawing notices what is missing, and a timer
asks for it. Drawing itself asks for nothing.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import bpy

from ...backend import protocol
from ...backend.disk_errors import explain
from .. import installation, pump
from ..jobs.cutouts import STOPPED, CutOut, State
from ..jobs.inputs import InputWriter
from . import images, opened, thumbnails
from .properties import EspalierImage

#: So many are kept with their files, beside those that are shown.
MOST = 64


@dataclass(frozen=True)
class Wanted:
    """What a cut-out depends on. ``version`` changes when the image does."""

    named: str
    version: tuple[int, ...]
    point: protocol.Point | None
    background: str


_known: dict[Wanted, CutOut] = {}  # the oldest first


def of(item: EspalierImage) -> CutOut | None:
    """The cut-out of an image of the list, at whatever state it is; None if it was not asked for yet."""
    wanted = _wanted(item)
    return _known.get(wanted) if wanted is not None else None


def icon(item: EspalierImage) -> int:
    """The thumbnail of the cut-out, for ``UILayout.template_icon``; 0 while there is none."""
    cutout = of(item)
    return thumbnails.icon(cutout.request.thumbnail) if cutout is not None and cutout.state is State.DONE else 0


def answer(item: EspalierImage) -> protocol.CutoutDone | None:
    """The finished cut-out; None while there is none."""
    cutout = of(item)
    return None if cutout is None else cutout.answer


def prepare(context: bpy.types.Context) -> None:
    """Have what the panel lacks asked for soon. To be called while it is drawn; in background mode nothing is drawn."""
    if bpy.app.background or bpy.app.timers.is_registered(_ask_soon) or not installation.is_installed(context):
        return
    if any(_missing(context.scene)):
        bpy.app.timers.register(_ask_soon, first_interval=0.0)


def ask(scene: bpy.types.Scene) -> None:
    """Ask for the cut-outs of all images in a scene's list that are not known yet."""
    for wanted, item in dict(_missing(scene)).items():
        if wanted in _known:
            _forget(wanted)
        _known[wanted] = _request(item, wanted)
        if _known[wanted].state is not State.FAILED:
            pump.ask(_known[wanted])
    while len(_known) > MOST + len(scene.espalier.images):
        _forget(next(iter(_known)))


def forget(named: str) -> None:
    """Have the cut-outs of an image of the .blend asked for again: its pixels may have changed, which nothing tells."""
    for wanted in [wanted for wanted in _known if wanted.named == named]:
        _forget(wanted)


def forget_failures() -> None:
    """Have those asked for again that failed: there will be another backend."""
    for wanted in [wanted for wanted, cutout in _known.items() if cutout.state is State.FAILED]:
        _forget(wanted)


def errors(scene: bpy.types.Scene) -> list[protocol.Error]:
    """Why cut-outs of a scene's images could not be made."""
    found = (of(item) for item in images.listed(scene.espalier))
    return [cutout.error for cutout in found if cutout is not None and cutout.error is not None]


def _ask_soon() -> None:
    for window in bpy.context.window_manager.windows:
        ask(window.scene)


def _missing(scene: bpy.types.Scene) -> Iterator[tuple[Wanted, EspalierImage]]:
    for item in images.listed(scene.espalier):
        wanted = None if opened.waits(images.source(item)) else _wanted(item)
        if wanted is None:
            continue
        known = _known.get(wanted)
        if known is None or (known.error is not None and known.error.code == STOPPED):
            yield wanted, item


def _wanted(item: EspalierImage) -> Wanted | None:
    """What the cut-out of an image would be; None if it is edited by hand, or if the image cannot be read."""
    if item.cutout:
        return None
    version = _version(item)
    if version is None:
        return None
    return Wanted(images.original(item), version, images.point(item), item.id_data.espalier.background)


def _version(item: EspalierImage) -> tuple[int, ...] | None:
    image = item.image
    if image is not None:
        return None if images.is_missing(item) else (image.session_uid, image.is_dirty)  # its size would decode it
    try:
        found = os.stat(images.original(item))
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def _request(item: EspalierImage, wanted: Wanted) -> CutOut:
    """The request for a cut-out, in a folder of its own. It has failed already if the image has no pixels."""
    name = uuid.uuid4().hex
    folder = Path(bpy.app.tempdir, "espalier-cutouts", name)
    out, thumbnail = str(folder / "cutout.png"), str(folder / "thumbnail.png")

    def cutout(image: str) -> CutOut:
        return CutOut(protocol.Cutout(name, image, out, wanted.background, wanted.point, thumbnail))

    try:
        folder.mkdir(parents=True)
        paths, files = images.as_files([images.picture(wanted.named)], folder)
    except ValueError as error:
        failed = cutout("")
        failed.fail("image_empty", str(error))
        return failed
    except OSError as error:
        found, failed = explain(error, folder, pump.FOR_THE_TEMPORARY_FOLDER), cutout("")
        failed.fail(found.code, found.message, found.hint)
        return failed
    made = cutout(paths[0])
    if files:
        made.writer = InputWriter(files)
        made.writer.start()
    return made


def _forget(wanted: Wanted) -> None:
    cutout = _known.pop(wanted)
    thumbnails.forget(cutout.request.thumbnail)
    shutil.rmtree(Path(cutout.request.out).parent, ignore_errors=True)  # what is still written goes with Blender


def register() -> None:
    """Nothing is known yet."""
    _known.clear()


def unregister() -> None:
    """Forget all cut-outs, with their files."""
    if bpy.app.timers.is_registered(_ask_soon):
        bpy.app.timers.unregister(_ask_soon)
    for wanted in list(_known):
        _forget(wanted)
