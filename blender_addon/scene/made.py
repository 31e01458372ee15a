"""Keeps how an object was made in its custom properties."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any

import bpy
import numpy as np
from numpy.typing import NDArray

from ...backend import protocol
from ..translations import translate
from .paths import kept

#: The prefix of the names of the custom properties.
PREFIX = "espalier_"
#: What the user should know about how the object was made.
NOTE = PREFIX + "note"
#: How an object was painted. How its shape was made is kept too.
TEXTURE = PREFIX + "texture"
#: Marks a material as one that came with a texture.
OWN = PREFIX + "material"
#: Where its images were taken from, see ``cameras``.
CAMERAS = PREFIX + "cameras"
#: Where its mesh was in the cube that the networks work in, as JSON: the centre of its bottom, and its longest side.
CUBE = PREFIX + "cube"
#: What a request says of the shape besides images and settings: a guide's voxels, and boxes made anew as JSON.
VOXELS, EDITS = PREFIX + "voxels", PREFIX + "edits"
#: The id of its entry in the history, which has its picture.
ENTRY = PREFIX + "entry"
#: Integers beyond this limit do not fit into a custom property, and are kept as text.
LIMIT = 2**31
#: Bounds for what a .blend can make the add-on read: images, letters of a path, metres, letters shown and of an error.
MOST_IMAGES, MOST_LETTERS, MOST_METRES, MOST_SHOWN, MOST_WORDS = 64, 4096, 1e6, 24, 200
MOST_BESIDE = 64  # levels of detail, and convex hulls
#: Marks what is kept beside an object and goes with it: the raw mesh, levels of detail, convex hulls, and the
#: collections that these are in. Levels and hulls are numbered from 1.
BESIDE, LEVEL, HULL = PREFIX + "raw", PREFIX + "level", PREFIX + "hull"


class Unreadable(ValueError):
    """An object does not remember how it was made, but holds something else in its place."""


def remember(target: bpy.types.Object, settings: Mapping[str, Any], size: float) -> None:
    """Write how an object was made to its custom properties: the settings of the request, the images, the size.

    Settings that were left to the model (None) are not written.
    """
    if "images" in settings:
        target[PREFIX + "images"] = json.dumps([kept(image) for image in settings["images"]])
        target.pop(PREFIX + "points", None)
        if any(settings.get("points", ())):
            target[PREFIX + "points"] = json.dumps(list(settings["points"]))
    for name, value in ((VOXELS, settings.get("voxels")), (EDITS, json.dumps(list(settings.get("edits", ()))))):
        target.pop(name, None)
        if value and value != "[]":
            target[name] = value
    target[PREFIX + "size"] = size
    for name in protocol.names(protocol.Door.OBJECT):
        value = settings.get(name)
        if value is not None:
            too_large = protocol.ABOUT[name].kind is int and not -LIMIT <= value < LIMIT
            target[PREFIX + name] = str(value) if too_large else value
    if settings.get("model"):
        target[PREFIX + "model"] = kept(settings["model"])  # perhaps the path of a folder


def remember_texture(target: bpy.types.Object, settings: Mapping[str, Any]) -> None:
    """Write how an object was painted."""
    told = {key: settings[key] for key in ("images", "model", "seed", "steps") if key in settings}
    if "images" in told:
        told["images"] = [kept(image) for image in told["images"]]
    if told.get("model"):
        told["model"] = kept(told["model"])
    target[TEXTURE] = json.dumps(told)


def remember_cube(target: bpy.types.Object, vertices: NDArray[np.float32]) -> None:
    """Write where an object's vertices [V, 3] were in the networks' space."""
    target[CUBE] = json.dumps(cube_of(vertices))


def cube_of(vertices: NDArray[Any]) -> dict[str, Any]:
    """The centre of the bottom of vertices [V, 3], and their longest side."""
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    return {"bottom": [*((low + high)[:2] / 2).tolist(), float(low[2])], "side": float((high - low).max())}


def cube(target: bpy.types.Object) -> tuple[NDArray[np.float64], float] | None:
    """What ``remember_cube`` wrote: the centre of the bottom [3], and the longest side; None if there is none."""
    stored = read_json(target.get(CUBE))
    if not isinstance(stored, dict):
        return None
    match stored.get("bottom"), stored.get("side"):
        case [int() | float() as x, int() | float() as y, int() | float() as z], int() | float() as side:
            if all(math.isfinite(value) and abs(value) <= 1 for value in (x, y, z)) and 0 < side <= 2:
                return np.array((x, y, z), np.float64), float(side)
    return None


def remember_cameras(target: bpy.types.Object, result: protocol.Result, vertices: NDArray[np.float32]) -> None:
    """Write where a result's images were taken from, and where the object is in their space: its vertices [V, 3]."""
    if not any(result.cameras):
        return
    cameras = [each and dataclasses.asdict(each) for each in result.cameras]
    target[CAMERAS] = json.dumps({"cube": cube_of(vertices), "cameras": cameras})


def is_made(target: bpy.types.Object) -> bool:
    """Whether an object remembers how it was made and can be changed."""
    return target.type == "MESH" and PREFIX + "images" in target and target.library is None


def recall(target: bpy.types.Object) -> dict[str, Any]:
    """What ``remember`` wrote. Settings that are missing were None or not remembered.

    ``images`` are their sources. ``points`` says where the object is in each of them, if any was picked. Raises
    Unreadable, in words, if the object holds something else: the file may be from anybody.
    """
    stored = {name: target[PREFIX + name] for name in protocol.names(protocol.Door.OBJECT) if PREFIX + name in target}
    for name, value in stored.items():
        if isinstance(value, str) and protocol.ABOUT[name].kind is int:
            stored[name] = _integer(value)
    named = ("images", "points", "edits")
    lists = {name: read_json(target[PREFIX + name]) for name in named if PREFIX + name in target}
    if VOXELS in target:
        lists["voxels"] = target[VOXELS]
    try:
        return checked({**stored, **lists, "size": target.get(PREFIX + "size", 1.0)})
    except ValueError as error:
        raise Unreadable(f"{target.name}: {error}") from error


def checked(values: Mapping[str, Any]) -> dict[str, Any]:
    """How something was made, as a .blend states it: the settings that an object remembers, images, points, size.

    Unknown names are dropped. Raises ValueError, in words, if a value is none that ``remember`` could have written.
    """
    found: dict[str, Any] = {}
    for name in protocol.names(protocol.Door.OBJECT):
        value = values.get(name)
        if value is None:
            continue
        kind = protocol.ABOUT[name].kind
        if kind is bool and value in (0, 1) and isinstance(value, int):
            value = bool(value)  # as Blender keeps it
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if wrong := protocol.problem(name, value):
            raise ValueError(wrong[:MOST_WORDS])
        found[name] = value
    images = values.get("images")
    if not isinstance(images, list | tuple) or not 0 < len(images) <= MOST_IMAGES:
        raise ValueError(translate("it does not say what images it was made from"))
    if not all(isinstance(image, str) and 0 < len(image) <= MOST_LETTERS for image in images):
        raise ValueError(translate("what it says of its images are no paths"))
    found["images"] = tuple(images)
    points = values.get("points")
    if isinstance(points, list | tuple) and len(points) == len(images):
        found["points"] = tuple(points)
    found |= _checked_shape(values)
    size = values.get("size", 1.0)
    if not isinstance(size, int | float) or not math.isfinite(size) or not 0 < size <= MOST_METRES:
        raise ValueError(translate("its size is not a length"))
    found["size"] = float(size)
    return found


def _checked_shape(values: Mapping[str, Any]) -> dict[str, Any]:
    """The voxels of a guide and the boxes, if there are any. Raises ValueError if these are none.

    What the voxels are is seen by the backend, which reads no more of them than a guide can have.
    """
    found: dict[str, Any] = {}
    voxels, edits = values.get("voxels"), values.get("edits")
    if voxels:
        if not isinstance(voxels, str) or len(voxels) > protocol.MOST_VOXELS_TEXT:
            raise ValueError(translate("what it says of its guide is no guide"))
        found["voxels"] = voxels
    if edits:
        read = protocol.edits(edits)
        if read is None:
            raise ValueError(translate("what it says of its boxes is no list of boxes"))
        found["edits"] = read
    return found


def besides(target: bpy.types.Object, kind: str) -> dict[int, bpy.types.Object]:
    """The levels of detail (``LEVEL``) or convex hulls (``HULL``) of an object that still exist, by their numbers."""
    found: dict[int, bpy.types.Object] = {}
    for child in target.children:
        number = child.get(kind)
        if child.type == "MESH" and isinstance(number, int) and 0 < number <= MOST_BESIDE:
            found.setdefault(number, child)
    return dict(sorted(found.items()))


def has_raw(target: bpy.types.Object) -> bool:
    """Whether the mesh as it was decoded is kept beside an object."""
    return any(BESIDE in child and LEVEL not in child and HULL not in child for child in target.children)


def shown(target: bpy.types.Object, name: str) -> str:
    """A setting that an object remembers as the panel shows it, whatever the file holds; empty if there is none."""
    value = target.get(PREFIX + name, "")
    return str(value)[:MOST_SHOWN] if isinstance(value, str | int | float) else ""


def read_json(text: object) -> object:
    """What a custom property holds as JSON; None if it holds none."""
    if not isinstance(text, str) or len(text) > MOST_LETTERS * MOST_IMAGES:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _integer(text: str) -> object:
    """A whole number that was kept as text; the text if it is none."""
    digits = text.removeprefix("-")
    return int(text) if digits.isascii() and digits.isdigit() and len(digits) < MOST_SHOWN else text
