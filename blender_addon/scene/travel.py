"""Paths that travel with a .blend: whatever Espalier keeps in it is as ``paths`` says.

Blender does not know of paths in custom properties and in an add-on's lists. So they are rewritten when the file is
saved: relative to where it is saved, so that a moved project finds its images and a shared file does not tell its
maker's folders.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import bpy
from bpy.app.handlers import persistent

from .made import MOST_IMAGES, MOST_LETTERS, PREFIX, TEXTURE
from .paths import folder_of, relative, write

#: The custom properties that hold paths as JSON: a list of images, and an object that has one.
_LISTS, _OBJECTS = (PREFIX + "images",), (TEXTURE,)
MODEL = PREFIX + "model"

_before: list[Callable[[], None]] = []  # what undoes the rewriting, if the file is not the one that stays open
_saving = ""  # the path of the file that is being saved


def make_relative(folder: str) -> list[Callable[[], None]]:
    """Rewrite all paths in the open .blend, relative to ``folder``. Returns what undoes it."""
    return list(_changes(folder))


def _changes(folder: str) -> Iterator[Callable[[], None]]:
    for scene in bpy.data.scenes:
        panel = getattr(scene, "espalier", None)
        if scene.library is None and panel is not None:
            if panel.model and (new := relative(panel.model, folder)) != panel.model:
                yield _set(panel, "model", new)
            for item in panel.images:
                if item.path and (new := relative(item.path, folder)) != item.path:
                    yield _set(item, "path", new)
    for target in bpy.data.objects:
        if target.library is not None:
            continue
        for name in (*_LISTS, *_OBJECTS, MODEL):
            text = target.get(name)
            if isinstance(text, str) and (new := _rewritten(text, folder, name)) != text:
                yield _set_key(target, name, new)


def _rewritten(text: str, folder: str, name: str) -> str:
    """A custom property with its paths relative to a folder. What cannot be read stays: it may be from anybody."""
    if name == MODEL:  # a model of one's own is the path of its folder
        return relative(text, folder) if len(text) <= MOST_LETTERS else text
    if len(text) > MOST_LETTERS * MOST_IMAGES:
        return text
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return text
    images = values.get("images") if isinstance(values, dict) else values
    if not isinstance(images, list) or not all(isinstance(image, str) for image in images):
        return text
    moved: Any = [relative(image, folder) for image in images]
    if isinstance(values, dict):
        model = values.get("model")
        moved = values | {"images": moved} | ({"model": relative(model, folder)} if isinstance(model, str) else {})
    return text if moved == values else json.dumps(moved)


def _set(item: Any, name: str, value: str) -> Callable[[], None]:
    old = getattr(item, name)
    setattr(item, name, value)
    return lambda: setattr(item, name, old)


def _set_key(item: Any, name: str, value: str) -> Callable[[], None]:
    old = item[name]
    item[name] = value
    return lambda: item.__setitem__(name, old)


@persistent
def _save_pre(path: str = "", *_: object) -> None:
    global _saving
    _saving = path
    _before[:] = make_relative(folder_of(path))


@persistent
def _save_post(*_: object) -> None:
    """A saved copy lies elsewhere than the file that stays open: there, paths are as they were."""
    if folder_of(bpy.data.filepath) != folder_of(_saving):
        _restore()
    _before.clear()
    write()  # once all handlers have named what they keep


@persistent
def _save_failed(*_: object) -> None:
    _restore()


def _restore() -> None:
    for undo in _before:
        undo()
    _before.clear()


def _handlers() -> tuple[tuple[str, Callable[..., None]], ...]:
    return ("save_pre", _save_pre), ("save_post", _save_post), ("save_post_fail", _save_failed)


def register() -> None:
    """Have paths rewritten whenever a file is saved."""
    for name, handler in _handlers():
        getattr(bpy.app.handlers, name).append(handler)


def unregister() -> None:
    """Undo ``register``."""
    for name, handler in _handlers():
        getattr(bpy.app.handlers, name).remove(handler)
    _before.clear()
