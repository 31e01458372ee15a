"""Thumbnails for the panel: previews, not datablocks. Blender reads a file when it first draws it.

Blender shows a photograph as the camera stored it. If its Exif data says that it is to be turned, the thumbnail is
turned here. That takes Blender's reading the file at once: 80 ms for 12 megapixels, the first time it is drawn.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import bpy
import bpy.utils.previews
import numpy as np

from .orientation import orientation, upright

_previews: bpy.utils.previews.ImagePreviewCollection | None = None
_turns: dict[str, int] = {}  # the orientations of images of the .blend


def icon(path: str) -> int:
    """The icon of an image file, for ``UILayout.template_icon``; 0 if there is no such file."""
    assert _previews is not None
    if path not in _previews:
        if not os.path.isfile(path):  # a pipe, which a .blend may name, would have Blender wait for it
            return 0
        preview = _previews.load(path, path, "IMAGE")
        if (turn := turn_of(path)) != 1:
            _copy_turned(preview, preview, turn)
    return _previews[path].icon_id


def image_icon(key: str, preview: bpy.types.ImagePreview, turn: Callable[[], int]) -> int:
    """The icon of an image of the .blend: its own ``preview``, or a turned copy. ``turn`` finds the orientation."""
    assert _previews is not None
    if key not in _turns:
        _turns[key] = turn()
    if _turns[key] == 1 or not preview.image_size[0]:  # Blender has not drawn it yet
        return preview.icon_id
    if key not in _previews:
        _copy_turned(preview, _previews.new(key), _turns[key])
    return _previews[key].icon_id


def turn_of(path: str) -> int:
    """The orientation of an image file; 1 if it cannot be read, or is none: a pipe would be waited for."""
    try:
        if not os.path.isfile(path):
            return 1
        with open(path, "rb") as stream:
            return orientation(stream)
    except OSError:  # the panel says that the file is missing
        return 1


def forget(key: str) -> None:
    """Drop the thumbnail, so that it is made again when it is next shown."""
    assert _previews is not None
    _turns.pop(key, None)
    if key in _previews:
        del _previews[key]


def register() -> None:
    """Make room for thumbnails."""
    global _previews
    _previews = bpy.utils.previews.new()


def unregister() -> None:
    """Drop all thumbnails."""
    global _previews
    bpy.utils.previews.remove(_previews)
    _turns.clear()
    _previews = None


def _copy_turned(source: bpy.types.ImagePreview, target: bpy.types.ImagePreview, turn: int) -> None:
    """Turn the pixels of ``source``, in both sizes, and put them into ``target``."""
    for size in ("image", "icon"):
        width, height = getattr(source, f"{size}_size")
        if not width * height:
            continue
        pixels = np.empty(width * height, np.int32)
        getattr(source, f"{size}_pixels").foreach_get(pixels)
        turned = upright(pixels.reshape(height, width), turn)
        setattr(target, f"{size}_size", turned.shape[::-1])
        getattr(target, f"{size}_pixels").foreach_set(turned.ravel())
