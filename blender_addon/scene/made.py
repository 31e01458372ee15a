"""What an object remembers of how it was made, as custom properties."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import bpy

#: Of the names of the custom properties.
PREFIX = "espalier_"
#: What a person should know of how the object came about.
NOTE = PREFIX + "note"
REMEMBERED = (
    "images",
    "model",
    "seed",
    "steps",
    "guidance",
    "texture_size",
    "faces",
    "texture_source",
    "normal_map",
    "ambient_occlusion",
    "size",
)


def remember(target: bpy.types.Object, settings: Mapping[str, Any]) -> None:
    """Write how an object was made to its custom properties."""
    for key in REMEMBERED:
        value = settings.get(key)
        if value is not None:
            target[PREFIX + key] = json.dumps(list(value)) if key == "images" else value


def is_made(target: bpy.types.Object) -> bool:
    """Whether an object remembers how it was made, and can be changed."""
    return target.type == "MESH" and PREFIX + "images" in target and target.library is None


def recall(target: bpy.types.Object) -> dict[str, Any]:
    """The settings that an object was made with; ``images`` are their sources."""
    settings = {name: target[PREFIX + name] for name in REMEMBERED if PREFIX + name in target}
    settings["images"] = tuple(json.loads(settings["images"]))
    return settings
