"""The images that an opened .blend lists. The file may be from anybody: they are bounded, and start nothing.

What the user adds is cut out at once. What came with a file waits until the user asks for it: looking at a file shall
neither start a process nor decode pictures that the file names.
"""

from __future__ import annotations

import bpy
from bpy.app.handlers import persistent

from ..scene.made import MOST_IMAGES
from . import images

_waiting: set[str] = set()  # sources


def waits(source: str) -> bool:
    """Whether a source in the list came with the file, and nobody has asked for its cut-out yet."""
    return source in _waiting


def ask() -> None:
    """Nothing waits any more."""
    _waiting.clear()


@persistent
def _loaded(*_: object) -> None:
    _waiting.clear()
    for scene in bpy.data.scenes:
        listed = scene.espalier.images
        if scene.library is None and len(listed) > MOST_IMAGES:
            print(f"{scene.name} lists {len(listed)} images for Espalier: only the first {MOST_IMAGES} are kept")
            while len(listed) > MOST_IMAGES:
                listed.remove(len(listed) - 1)
        _waiting.update(map(images.source, images.listed(scene.espalier)))


def register() -> None:
    """Look at each file that is opened."""
    bpy.app.handlers.load_post.append(_loaded)


def unregister() -> None:
    """Undo ``register``."""
    bpy.app.handlers.load_post.remove(_loaded)
    _waiting.clear()
