"""The history: the results that were made in this .blend, newest first, with pictures. They can be inserted again.

An entry holds how a result was made and a small picture; both are saved with the file. The files of the result stay in
this session's temporary folder, up to ``MAX_BYTES``. An entry without files can be made again, because the same
settings give the same object. Undo does not affect the list, but what is removed from it can be put back: it is kept
with its files, up to the same ``MAX_BYTES``, until another file is opened. Favorites are never dropped from the list,
and their files are the last to go.
"""

from __future__ import annotations

import base64
import json
import re
import shutil
import threading
import zipfile
import zlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import bpy
import bpy.utils.previews
import numpy as np
from bpy.app.handlers import persistent
from numpy.typing import NDArray

from ...backend import protocol
from ...backend.formats import TILES, UDIM
from ...backend.portrait_facts import PORTRAIT, SIZE
from ..jobs.queue import Job
from . import made, paths
from .portrait import as_icon, draw_portrait

MAX_ENTRIES = 60
MAX_BYTES = 512 << 20  # of all the results' files
MAX_TEXT = 4 << 20  # letters of a saved list: MAX_ENTRIES of the least compressible pictures need 3 << 20
MAX_FAVORITES = 40  # so that there is room for what is made
MAX_REMOVED = 20
MAX_NAME = 1000  # letters
_END, _BETWEEN = re.compile(r"\s*\]"), re.compile(r"[\s,]*")  # of a list in JSON


@dataclass(eq=False)
class Entry:
    """One result. ``picture`` is [SIZE, SIZE, 4] uint8, the top row first; None until there is one."""

    id: str
    name: str
    settings: dict[str, Any]
    size: float = 1.0
    result: protocol.Result | None = None  # as long as its files exist
    folder: Path | None = None  # of those files; never read from a .blend
    picture: NDArray[np.uint8] | None = None
    bytes: int = field(default=0)
    favorite: bool = False


entries: list[Entry] = []  # newest first
_removed: list[tuple[Entry, Entry | None]] = []  # the last one last, each with the entry that came after it
_read = False  # whether the open file's list was read: an unread list must not be overwritten
_icons: bpy.utils.previews.ImagePreviewCollection | None = None


def keep(job: Job, settings: dict[str, Any]) -> None:
    """Add a job's result with its files. Textures for the user's own meshes are not kept. Returns at once.

    Raises OSError if the files cannot be kept. The entry is then there without them, and can be made again.
    """
    if job.request.mesh or job.result is None or any(entry.id == job.id for entry in entries):
        return
    entry = Entry(job.id, job.name, dict(settings), job.target.size if job.target else 1.0)
    entries.insert(0, entry)
    entry.picture = _drawn_with(job.result)
    surface: Path | IO[bytes] | None = None  # to be drawn
    if entry.picture is None and job.preview is not None and job.preview.exists():
        surface = job.preview
    try:
        _keep_files(entry, job.result)
        if isinstance(surface, Path):
            surface = Path(_move(str(surface), folder() / entry.id))
    except OSError as error:
        forget_files(entry)
        if isinstance(surface, Path):
            surface = surface.open("rb")  # the job's folder is deleted before the thread has read it
        raise OSError(error.errno, error.strerror, str(folder())) from error  # not the entry's own, which is no name
    finally:
        _shrink()
        if surface is not None:
            threading.Thread(target=_draw, args=(entry, surface), name="espalier picture", daemon=True).start()


def _keep_files(entry: Entry, result: protocol.Result) -> None:
    """Move a result's files into the entry's own folder. Raises OSError."""
    place = entry.folder = folder() / entry.id
    place.mkdir(parents=True)
    entry.result = replace(
        result,
        arrays=_move(result.arrays, place),
        texture=_move(result.texture, place),
        normal_map=_move(result.normal_map, place),
        occlusion=_move(result.occlusion, place),
        tiles={kind: _move_tiles(path, place) for kind, path in result.tiles.items()},
        glb="",
        raw="",
        files={},
    )
    entry.bytes = sum(file.stat().st_size for file in place.iterdir())


def remove(entry: Entry) -> None:
    """Take an entry off the list. ``put_back`` undoes that."""
    after = entries.index(entry) + 1
    _removed.append((entry, entries[after] if after < len(entries) else None))
    entries.remove(entry)
    for old, _ in _removed[:-MAX_REMOVED]:
        _drop(old)
    del _removed[:-MAX_REMOVED]


def removed() -> Entry | None:
    """The entry that was removed last and can be put back; None if there is none."""
    return _removed[-1][0] if _removed else None


def put_back() -> Entry | None:
    """Put the entry that was removed last back into its place, and return it."""
    if not _removed:
        return None
    entry, after = _removed.pop()
    entries.insert(entries.index(after) if after in entries else len(entries), entry)
    _shrink()
    return entry


def listed() -> list[Entry]:
    """The entries as they are shown: favorites first, then the newest first."""
    return sorted(entries, key=lambda entry: not entry.favorite)


def set_favorite(entry: Entry, favorite: bool) -> bool:
    """Make an entry a favorite, or no longer one. False if there are ``MAX_FAVORITES`` already."""
    if favorite and sum(each.favorite for each in entries) >= MAX_FAVORITES:
        return False
    entry.favorite = favorite
    return True


def rename(entry: Entry, name: str) -> None:
    """Give an entry a name, which objects that are inserted from it get. Raises ValueError if it is empty."""
    name = " ".join(name.split())[:MAX_NAME]
    if not name:
        raise ValueError("An entry of the history needs a name.")
    entry.name = name


def _drop(entry: Entry) -> None:
    """Forget an entry that is no longer on the list, and delete its files."""
    forget_files(entry)
    if _icons is not None and entry.id in _icons:
        del _icons[entry.id]


def find(identifier: str) -> Entry | None:
    """The entry with this id, or None."""
    return next((entry for entry in entries if entry.id == identifier), None)


def has_made(images: tuple[str, ...]) -> bool:
    """Whether an object was made from these sources, in this order."""
    return any(tuple(entry.settings.get("images", ())) == images for entry in entries)


def icon(entry: Entry) -> int:
    """The picture as an icon for ``UILayout.template_icon``; 0 while there is none."""
    if entry.picture is None or _icons is None:
        return 0
    return as_icon(_icons, entry.id, entry.picture)


def dump(path: str = "") -> str:
    """The list as text, as it is saved with a file at ``path``."""
    beside = paths.folder_of(path)
    return json.dumps([_as_json(entry, beside) for entry in entries])


def load(text: str) -> None:
    """Replace the list by a saved one. Entries that cannot be read are left out: they may be from a later version.

    The file may be from anybody. So nothing is unpacked beyond the size that it can have, and no more than
    ``MAX_ENTRIES`` entries are taken.
    """
    clear()
    try:
        saved = _first(text[:MAX_TEXT] or "[]", is_whole=len(text) <= MAX_TEXT)
    except (ValueError, RecursionError) as error:
        print(f"The history of this file cannot be read: {error}")
        return
    unread: list[str] = []
    for values in saved:
        try:
            entry = _from_json(values)
            if find(entry.id) is None:
                entry.favorite &= sum(each.favorite for each in entries) < MAX_FAVORITES
                entries.append(entry)
        except (ValueError, zlib.error) as error:
            unread.append(str(error))
    if unread:
        print(f"{len(unread)} entries of this file's history cannot be read: {unread[0]:.200}")


def _first(text: str, is_whole: bool) -> list[Any]:
    """The first ``MAX_ENTRIES`` values of a list in JSON: what comes after them is not even read.

    If the text was cut off, those before its end. Raises ValueError.
    """
    if text[:1] != "[":
        raise ValueError("it is no list")
    found: list[Any] = []
    place, decoder = 1, json.JSONDecoder()
    while len(found) < MAX_ENTRIES and not _END.match(text, place):
        try:
            value, place = decoder.raw_decode(text, _BETWEEN.match(text, place).end())  # type: ignore[union-attr]
        except ValueError:
            if found and not is_whole:
                break
            raise
        found.append(value)
    return found


def clear() -> None:
    """Remove all entries for good."""
    for entry in (*entries, *(entry for entry, _ in _removed)):
        _drop(entry)
    entries.clear()
    _removed.clear()


def folder() -> Path:
    """Where the files of results are kept for this session."""
    return Path(bpy.app.tempdir, "espalier-history")


def _move(path: str, folder: Path) -> str:
    return str(shutil.move(path, folder)) if path else ""  # perhaps to another disk


def _move_tiles(path: str, folder: Path) -> str:
    """Move the UDIM tiles of an image; ``path`` has ``UDIM`` for their numbers."""
    for tile in TILES:
        _move(path.replace(UDIM, str(tile)), folder)
    return str(folder / Path(path).name)


def _shrink() -> None:
    """Drop the oldest entries, and the files of old ones, until the limits are kept. Favorites stay on the list."""
    for entry in [entry for entry in reversed(entries) if not entry.favorite][: max(len(entries) - MAX_ENTRIES, 0)]:
        entries.remove(entry)
        _drop(entry)
    total = 0
    kept_first = sorted(entries, key=lambda entry: (entry is not entries[0], not entry.favorite))
    for number, entry in enumerate((*kept_first, *(entry for entry, _ in reversed(_removed)))):
        total += entry.bytes
        if number and total > MAX_BYTES:
            total -= entry.bytes
            forget_files(entry)


def forget_files(entry: Entry) -> None:
    """Delete an entry's files. It can still be made again."""
    if entry.folder is not None:
        shutil.rmtree(entry.folder, ignore_errors=True)  # Blender clears its temporary folder when it closes
    entry.result, entry.folder, entry.bytes = None, None, 0


def _drawn_with(result: protocol.Result) -> NDArray[np.uint8] | None:
    """The picture that a result came with; None if it has none, as those of older backends."""
    try:
        with np.load(result.arrays, allow_pickle=False) as arrays:
            picture = arrays.get(PORTRAIT)
    except (OSError, ValueError, zipfile.BadZipFile):
        return None
    is_one = picture is not None and picture.shape == (SIZE, SIZE, 4) and picture.dtype == np.uint8
    return picture if is_one else None


def _draw(entry: Entry, surface: Path | IO[bytes]) -> None:
    """Draw the picture of a raw mesh, in a file of the entry's own or in an opened one."""
    try:
        with np.load(surface, allow_pickle=False) as arrays:
            vertices, faces, colors = arrays["vertices"], arrays["faces"], arrays["colors"]
        if isinstance(surface, Path):
            surface.unlink()
        else:
            surface.close()
    except FileNotFoundError:
        return  # the entry was removed in the meantime
    entry.picture = draw_portrait(vertices, faces, colors)


def _as_json(entry: Entry, folder: str) -> dict[str, Any]:
    picture = "" if entry.picture is None else base64.b64encode(zlib.compress(entry.picture.tobytes(), 9)).decode()
    images = [paths.relative(image, folder) for image in entry.settings.get("images", ())]
    model = paths.relative(entry.settings.get("model", ""), folder)
    return {
        "id": entry.id,
        "name": entry.name,
        "settings": entry.settings | {"images": images} | ({"model": model} if model else {}),
        "size": entry.size,
        "picture": picture,
        "favorite": entry.favorite,
    }


def _from_json(values: Any) -> Entry:
    """An entry of a saved list. Raises ValueError or zlib.error if it is none."""
    if not isinstance(values, dict) or not isinstance(values.get("settings"), dict):
        raise ValueError("an entry without settings")
    identifier, name, picture = values.get("id"), values.get("name"), values.get("picture")
    if not isinstance(identifier, str) or not isinstance(name, str) or max(len(identifier), len(name)) > MAX_NAME:
        raise ValueError("an entry without id or name")
    settings = made.checked({**values["settings"], "size": values.get("size")})
    settings["images"] = tuple(map(paths.absolute, settings["images"]))
    pixels = _pixels(picture) if picture else None
    return Entry(
        identifier, name, settings, settings.pop("size"), picture=pixels, favorite=values.get("favorite") is True
    )


def _pixels(packed: object) -> NDArray[np.uint8]:
    """A saved picture, unpacked to the size that it must have and no further. Raises ValueError or zlib.error."""
    if not isinstance(packed, str):
        raise ValueError("a picture that is no text")
    size = SIZE * SIZE * 4
    pixels = zlib.decompressobj().decompress(base64.b64decode(packed), size + 1)
    if len(pixels) != size:
        raise ValueError("a picture of another size")
    return np.frombuffer(pixels, np.uint8).reshape(SIZE, SIZE, 4)


@persistent
def _save(path: str = "", *_: object) -> None:
    if not _read:
        _load()
    for number, scene in enumerate(scene for scene in bpy.data.scenes if scene.library is None):
        scene.espalier_history = dump(path) if number == 0 else ""


@persistent
def _load(*_: object) -> None:
    global _read
    _read = True
    load(next((scene.espalier_history for scene in bpy.data.scenes if scene.espalier_history), ""))


def _load_open_file() -> None:
    """Read the list of the file that is open when the extension is enabled. A timer: ``register`` must not read it."""
    if not _read:
        _load()


def _may_read() -> bool:
    """Whether the file may be read now. Blender forbids it while it enables an add-on."""
    return hasattr(bpy.data, "scenes")


def register() -> None:
    """Have the list read and saved with each file."""
    global _icons
    _icons = bpy.utils.previews.new()
    bpy.types.Scene.espalier_history = bpy.props.StringProperty(options={"HIDDEN"})  # filled when the file is saved
    bpy.app.handlers.save_pre.append(_save)
    bpy.app.handlers.load_post.append(_load)
    if _may_read():
        _load()
    elif not bpy.app.background:  # there no timer fires; the list is then read before it is saved
        bpy.app.timers.register(_load_open_file, first_interval=0.0, persistent=True)


def unregister() -> None:
    """Save the list into the scene, and undo ``register``."""
    global _icons, _read
    bpy.app.handlers.load_post.remove(_load)
    bpy.app.handlers.save_pre.remove(_save)
    if bpy.app.timers.is_registered(_load_open_file):
        bpy.app.timers.unregister(_load_open_file)
    if _read and _may_read():
        _save(bpy.data.filepath)  # into the scene: the extension may be enabled again before the file is saved
    _read = False
    clear()
    del bpy.types.Scene.espalier_history
    bpy.utils.previews.remove(_icons)
    _icons = None
