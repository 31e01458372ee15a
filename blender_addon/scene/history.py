"""What was made in this .blend, newest first: with a picture, to be put into the scene again.

An entry is how a result was made and a small picture: that is saved with the file. The result's own files stay in this
session's temporary folder, as many as ``MAX_BYTES`` allow; an entry without them can be made again, for the same
settings give the same object. Undo does not touch the list.
"""

from __future__ import annotations

import base64
import binascii
import json
import shutil
import threading
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import bpy
import bpy.utils.previews
import numpy as np
from bpy.app.handlers import persistent
from numpy.typing import NDArray

from ...backend import protocol
from ..jobs.queue import Job
from .portrait import SIZE, draw_portrait

MAX_ENTRIES = 60
MAX_BYTES = 512 << 20  # of the results' files


@dataclass(eq=False)
class Entry:
    """A result of the past. ``picture`` [SIZE, SIZE, 4] uint8, the top row first; None until a thread has drawn it."""

    id: str
    name: str
    settings: dict[str, Any]
    size: float = 1.0
    result: protocol.Result | None = None  # while its files are there
    folder: Path | None = None  # of those files; never what a .blend says
    picture: NDArray[np.uint8] | None = None
    bytes: int = field(default=0)


entries: list[Entry] = []  # the newest first
_read = False  # whether the open file's list was read: what was not may not be written over
_icons: bpy.utils.previews.ImagePreviewCollection | None = None


def keep(job: Job, settings: dict[str, Any]) -> None:
    """Take a job's result over, with its files; a texture for a mesh of one's own is none. Returns at once."""
    if job.request.mesh or job.result is None or any(entry.id == job.id for entry in entries):
        return
    size = job.target.size if job.target else 1.0
    entry = Entry(job.id, job.name, dict(settings), size)
    folder = entry.folder = _folder() / job.id
    folder.mkdir(parents=True)
    entry.result = replace(
        job.result,
        arrays=_move(job.result.arrays, folder),
        texture=_move(job.result.texture, folder),
        normal_map=_move(job.result.normal_map, folder),
        occlusion=_move(job.result.occlusion, folder),
        glb="",
        raw="",
        files={},
    )
    entry.bytes = sum(file.stat().st_size for file in folder.iterdir())
    entries.insert(0, entry)
    surface = None
    if job.preview is not None and job.preview.exists():
        surface = folder / "preview.npz"
        shutil.move(job.preview, surface)
    _shrink()
    if surface is not None:
        threading.Thread(target=_draw, args=(entry, surface), name="espalier picture", daemon=True).start()


def remove(entry: Entry) -> None:
    """Take an entry off the list, and delete its files."""
    entries.remove(entry)
    _forget_files(entry)
    if _icons is not None and entry.id in _icons:
        del _icons[entry.id]


def find(identifier: str) -> Entry | None:
    return next((entry for entry in entries if entry.id == identifier), None)


def icon(entry: Entry) -> int:
    """The picture's icon, for ``UILayout.template_icon``; 0 as long as there is none."""
    if entry.picture is None or _icons is None:
        return 0
    if entry.id not in _icons:
        preview = _icons.new(entry.id)
        preview.image_size = (SIZE, SIZE)
        preview.image_pixels_float.foreach_set((entry.picture[::-1].astype(np.float32) / 255).ravel())
    return int(_icons[entry.id].icon_id)


def dump() -> str:
    """The list as it is saved with the file."""
    return json.dumps([_as_json(entry) for entry in entries])


def load(text: str) -> None:
    """Replace the list by a saved one. What cannot be read of it is left out: it may come from a later version."""
    clear()
    try:
        saved = json.loads(text or "[]")
    except ValueError as error:
        print(f"The history of this file cannot be read: {error}")
        return
    entries.extend(_from_json(saved))


def clear() -> None:
    for entry in list(entries):
        remove(entry)


def _folder() -> Path:
    return Path(bpy.app.tempdir, "espalier-history")


def _move(path: str, folder: Path) -> str:
    return str(shutil.move(path, folder)) if path else ""  # perhaps to another disk


def _shrink() -> None:
    """Drop the oldest entries, and the files of older ones, until the limits hold."""
    for entry in entries[MAX_ENTRIES:]:
        remove(entry)
    total = 0
    for number, entry in enumerate(entries):
        total += entry.bytes
        if number and total > MAX_BYTES:
            total -= entry.bytes
            _forget_files(entry)


def _forget_files(entry: Entry) -> None:
    if entry.folder is not None:
        shutil.rmtree(entry.folder, ignore_errors=True)  # Blender clears its temporary folder when it closes
    entry.result, entry.folder, entry.bytes = None, None, 0


def _draw(entry: Entry, surface: Path) -> None:
    try:
        with np.load(surface, allow_pickle=False) as arrays:
            vertices, faces, colors = arrays["vertices"], arrays["faces"], arrays["colors"]
        surface.unlink()
    except FileNotFoundError:
        return  # the entry was removed in the meantime
    entry.picture = draw_portrait(vertices, faces, colors)


def _as_json(entry: Entry) -> dict[str, Any]:
    picture = "" if entry.picture is None else base64.b64encode(zlib.compress(entry.picture.tobytes(), 9)).decode()
    return {
        "id": entry.id,
        "name": entry.name,
        "settings": entry.settings,
        "size": entry.size,
        "picture": picture,
    }


def _from_json(saved: Any) -> Iterator[Entry]:
    for values in saved if isinstance(saved, list) else []:
        try:
            entry = Entry(str(values["id"]), str(values["name"]), dict(values["settings"]), float(values["size"]))
            entry.settings["images"] = tuple(entry.settings["images"])
            if values["picture"]:
                pixels = zlib.decompress(base64.b64decode(values["picture"]))
                entry.picture = np.frombuffer(pixels, np.uint8).reshape(SIZE, SIZE, 4)
        except (KeyError, TypeError, ValueError, zlib.error, binascii.Error) as error:
            print(f"An entry of this file's history cannot be read: {error!r}")
            continue
        yield entry


@persistent
def _save(*_: object) -> None:
    if not _read:
        _load()
    for number, scene in enumerate(scene for scene in bpy.data.scenes if scene.library is None):
        scene.espalier_history = dump() if number == 0 else ""


@persistent
def _load(*_: object) -> None:
    global _read
    _read = True
    load(next((scene.espalier_history for scene in bpy.data.scenes if scene.espalier_history), ""))


def _load_open_file() -> None:
    """Read the list of the file that was open before the extension was: a timer, for ``register`` may not."""
    if not _read:
        _load()


def _may_read() -> bool:
    """Whether Blender lets the file be read now; it does not while it enables an add-on."""
    return hasattr(bpy.data, "scenes")


def register() -> None:
    global _icons
    _icons = bpy.utils.previews.new()
    bpy.types.Scene.espalier_history = bpy.props.StringProperty(options={"HIDDEN"})  # filled when the file is saved
    bpy.app.handlers.save_pre.append(_save)
    bpy.app.handlers.load_post.append(_load)
    if _may_read():
        _load()
    elif not bpy.app.background:  # where no timer fires; there the list is read before it is saved
        bpy.app.timers.register(_load_open_file, first_interval=0.0, persistent=True)


def unregister() -> None:
    global _icons, _read
    bpy.app.handlers.load_post.remove(_load)
    bpy.app.handlers.save_pre.remove(_save)
    if bpy.app.timers.is_registered(_load_open_file):
        bpy.app.timers.unregister(_load_open_file)
    if _read and _may_read():
        _save()  # into the scene: the extension may be enabled again before the file is saved
    _read = False
    clear()
    del bpy.types.Scene.espalier_history
    bpy.utils.previews.remove(_icons)
    _icons = None
