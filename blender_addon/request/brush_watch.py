"""Notices when images of the .blend are painted.

Blender tells of a stroke when it has ended, and of undo: that some image has changed, not which one
(``depsgraph_update_post``, without names). During a stroke it tells nothing, though the pixels change, so they are read
again and again. What another add-on writes into pixels is noticed with the next stroke.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import bpy

from . import images
from .images import Picture

INTERVAL = 0.15  # seconds between two looks during a stroke
#: Pixels of an image that is read during a stroke, which takes 7 ms. A larger one is read when the stroke has ended.
MOST_PIXELS = 1536 * 1536
SAMPLE = 97  # of so many values one is compared
PAINTING = "PAINT_OT_"  # how the names of the operators begin that are running during a stroke


@dataclass
class _Look:
    """What was read of an image during a stroke."""

    number: int = 0  # of the looks that found something new
    sample: bytes = b""
    picture: Picture | None = None


class BrushWatch:
    """Looks at some images, from ``start`` until ``stop``."""

    def __init__(self) -> None:
        self._changes = 0  # how often Blender has said that some image has changed
        self._next = 0.0  # when to look again
        self._looks: dict[int, _Look] = {}  # by session_uid
        self._handler = self._changed  # one object: each look at a method makes another

    def start(self) -> None:
        """Listen to Blender."""
        bpy.app.handlers.depsgraph_update_post.append(self._handler)

    def stop(self) -> None:
        """Listen no more."""
        bpy.app.handlers.depsgraph_update_post.remove(self._handler)

    def look(self, listed: tuple[bpy.types.Image, ...]) -> None:
        """Look at the pixels of these images if a brush is painting now."""
        if not listed or not _is_painting() or time.monotonic() < self._next:
            return
        for image in listed:
            if image.is_dirty and image.size[0] * image.size[1] <= MOST_PIXELS:
                self._look_at(image)
        self._next = time.monotonic() + INTERVAL

    def state(self, image: bpy.types.Image) -> tuple[object, ...]:
        """Differs from the one before whenever the image may have changed."""
        uid, look = image.session_uid, self._looks.get(image.session_uid)
        if not image.is_dirty:
            return uid, False
        return uid, True, self._changes, look.number if look else 0

    def picture(self, named: str, state: tuple[object, ...]) -> Picture | None:
        """A source as it was read in this state during a stroke; None if it was not read then."""
        image = images.datablock(named)
        look = self._looks.get(image.session_uid) if image is not None else None
        return look.picture if image is not None and look is not None and self.state(image) == state else None

    def _look_at(self, image: bpy.types.Image) -> None:
        look = self._looks.setdefault(image.session_uid, _Look())
        pixels = images.read_pixels(image)
        sample = pixels.values.ravel()[::SAMPLE].tobytes()
        if sample != look.sample:
            look.number, look.sample, look.picture = look.number + 1, sample, Picture(images.name_of(image), pixels)

    def _changed(self, scene: Any, depsgraph: bpy.types.Depsgraph) -> None:
        if depsgraph.id_type_updated("IMAGE"):
            self._changes += 1
            for look in self._looks.values():
                look.picture = None


def _is_painting() -> bool:
    windows = bpy.context.window_manager.windows
    return any(op.bl_idname.startswith(PAINTING) for window in windows for op in window.modal_operators)
