"""Thumbnails of image files for the panel: previews, not datablocks. Blender reads a file when it first draws it."""

from __future__ import annotations

import bpy
import bpy.utils.previews

_previews: bpy.utils.previews.ImagePreviewCollection | None = None


def icon(path: str) -> int:
    """The icon of an image file, for ``UILayout.template_icon``."""
    assert _previews is not None
    if path not in _previews:
        _previews.load(path, path, "IMAGE")
    return _previews[path].icon_id


def forget(path: str) -> None:
    """Drop the thumbnail, so that the file is read again when it is next shown."""
    assert _previews is not None
    if path in _previews:
        del _previews[path]


def register() -> None:
    """Make room for thumbnails."""
    global _previews
    _previews = bpy.utils.previews.new()


def unregister() -> None:
    """Drop all thumbnails."""
    global _previews
    bpy.utils.previews.remove(_previews)
    _previews = None
