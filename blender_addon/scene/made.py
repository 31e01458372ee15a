"""Keeps how an object was made in its custom properties."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import bpy
import numpy as np
from numpy.typing import NDArray

from ...backend import protocol

#: The prefix of the names of the custom properties.
PREFIX = "espalier_"
#: What the user should know about how the object was made.
NOTE = PREFIX + "note"
#: Where its images were taken from, see ``cameras``.
CAMERAS = PREFIX + "cameras"
#: Integers beyond this limit do not fit into a custom property, and are kept as text.
LIMIT = 2**31
#: Marks the raw mesh that is kept beside an object.
RAW = PREFIX + "raw"


def remember(target: bpy.types.Object, settings: Mapping[str, Any], size: float) -> None:
    """Write how an object was made to its custom properties: the settings of the request, the images, the size.

    Settings that were left to the model (None) are not written.
    """
    if "images" in settings:
        target[PREFIX + "images"] = json.dumps(list(settings["images"]))
        target.pop(PREFIX + "points", None)
        if any(settings.get("points", ())):
            target[PREFIX + "points"] = json.dumps(list(settings["points"]))
    target[PREFIX + "size"] = size
    for name in protocol.names(protocol.Door.OBJECT):
        value = settings.get(name)
        if value is not None:
            too_large = protocol.ABOUT[name].kind is int and not -LIMIT <= value < LIMIT
            target[PREFIX + name] = str(value) if too_large else value


def remember_cameras(target: bpy.types.Object, result: protocol.Result, vertices: NDArray[np.float32]) -> None:
    """Write where a result's images were taken from, and where the object is in their space: its vertices [V, 3]."""
    if not any(result.cameras):
        return
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    bottom = [*((low + high)[:2] / 2).tolist(), float(low[2])]
    cube = {"bottom": bottom, "side": float((high - low).max())}
    target[CAMERAS] = json.dumps({"cube": cube, "cameras": list(result.cameras)})


def is_made(target: bpy.types.Object) -> bool:
    """Whether an object remembers how it was made and can be changed."""
    return target.type == "MESH" and PREFIX + "images" in target and target.library is None


def recall(target: bpy.types.Object) -> dict[str, Any]:
    """What ``remember`` wrote. Settings that are missing were None or not remembered.

    ``images`` are their sources. ``points`` says where the object is in each of them, if any was picked.
    """
    settings: dict[str, Any] = {
        name: protocol.ABOUT[name].kind(target[PREFIX + name])
        for name in protocol.names(protocol.Door.OBJECT)
        if PREFIX + name in target
    }
    settings["images"] = tuple(json.loads(target[PREFIX + "images"]))
    if PREFIX + "points" in target:
        settings["points"] = tuple(json.loads(target[PREFIX + "points"]))
    settings["size"] = float(target.get(PREFIX + "size", 1.0))
    return settings
