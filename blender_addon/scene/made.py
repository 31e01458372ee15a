"""What an object remembers of how it was made, as custom properties."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import bpy

from ...backend import protocol

#: Of the names of the custom properties.
PREFIX = "espalier_"
#: What a person should know of how the object came about.
NOTE = PREFIX + "note"
#: A whole number beyond these limits does not fit into a custom property, and is kept as text.
LIMIT = 2**31
#: The raw mesh that is kept beside an object.
RAW = PREFIX + "raw"


def remember(target: bpy.types.Object, settings: Mapping[str, Any], size: float) -> None:
    """Write how an object was made to its custom properties: the settings of the request, the images, the size.

    What was left to the model (None) is not written.
    """
    if "images" in settings:
        target[PREFIX + "images"] = json.dumps(list(settings["images"]))
    target[PREFIX + "size"] = size
    for name in protocol.names(protocol.Door.OBJECT):
        value = settings.get(name)
        if value is not None:
            too_large = protocol.ABOUT[name].kind is int and not -LIMIT <= value < LIMIT
            target[PREFIX + name] = str(value) if too_large else value


def is_made(target: bpy.types.Object) -> bool:
    """Whether an object remembers how it was made, and can be changed."""
    return target.type == "MESH" and PREFIX + "images" in target and target.library is None


def recall(target: bpy.types.Object) -> dict[str, Any]:
    """What ``remember`` wrote; ``images`` are their sources. What is not there was not remembered, or was None."""
    settings: dict[str, Any] = {
        name: protocol.ABOUT[name].kind(target[PREFIX + name])
        for name in protocol.names(protocol.Door.OBJECT)
        if PREFIX + name in target
    }
    settings["images"] = tuple(json.loads(target[PREFIX + "images"]))
    settings["size"] = float(target.get(PREFIX + "size", 1.0))
    return settings
