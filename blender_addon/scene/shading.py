"""Lets a viewport show the colours of an object that has just been made, and shows grey again if that is undone.

Blender's Solid shading is grey unless it is set to textures. Undo does not concern viewports, so what was changed here
is remembered beside Blender's own undo steps, by the material that came with the object.
"""

from __future__ import annotations

from dataclasses import dataclass

import bpy
from bpy.app.handlers import persistent

from .made import OWN

PLAIN, COLORED = "MATERIAL", "TEXTURE"


@dataclass
class _Shown:
    """A viewport that was made to show textures."""

    viewport: int
    material: int  # session_uid
    done: bool = True  # whether it is so now: not after undo


_shown: list[_Shown] = []


def viewport_of(context: bpy.types.Context) -> int:
    """The viewport that is being used: the one under the mouse, else the largest of the window; 0 if there is none.

    It is only ever compared: a viewport may be gone when its number is looked for.
    """
    if context.area is not None and context.area.type == "VIEW_3D":
        return int(context.area.as_pointer())
    if context.window is None:
        return 0
    views = [area for area in context.window.screen.areas if area.type == "VIEW_3D"]
    return int(max(views, key=lambda area: area.width * area.height).as_pointer()) if views else 0


def show(made: bpy.types.Object, viewport: int) -> None:
    """Let a viewport show an object with its colours, also if it shows only some objects (*Local View*).

    A viewport in Solid shading with material colours, as Blender comes, is set to textures. Other shadings were chosen,
    and stay.
    """
    space = _space(viewport)
    if space is None:
        return
    if space.local_view is not None and made.name in bpy.context.view_layer.objects:
        made.local_view_set(space, True)
    material = next((each for each in made.data.materials if each is not None and OWN in each), None)
    if material is not None and _switch(space, PLAIN, COLORED):
        _shown.append(_Shown(viewport, material.session_uid))


def _switch(space: bpy.types.SpaceView3D, old: str, new: str) -> bool:
    """Change the colours of Solid shading if they are the old ones. Returns whether they were."""
    if space.shading.type != "SOLID" or space.shading.color_type != old:
        return False
    space.shading.color_type = new
    return True


def _space(viewport: int) -> bpy.types.SpaceView3D | None:
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            if area.as_pointer() == viewport and area.type == "VIEW_3D":
                return area.spaces.active
    return None


@persistent
def _after_undo(*_: object) -> None:
    _follow()


@persistent
def _after_redo(*_: object) -> None:
    _follow()


def _follow() -> None:
    if not _shown:
        return
    there = {material.session_uid for material in bpy.data.materials}
    for each in _shown:
        done = each.material in there
        space = _space(each.viewport) if done != each.done else None
        if space is not None:
            _switch(space, *((PLAIN, COLORED) if done else (COLORED, PLAIN)))
        each.done = done


@persistent
def _forget_viewports(*_: object) -> None:
    _shown.clear()


def register() -> None:
    """Have viewports follow undo."""
    bpy.app.handlers.undo_post.append(_after_undo)
    bpy.app.handlers.redo_post.append(_after_redo)
    bpy.app.handlers.load_post.append(_forget_viewports)


def unregister() -> None:
    """Undo ``register``."""
    bpy.app.handlers.undo_post.remove(_after_undo)
    bpy.app.handlers.redo_post.remove(_after_redo)
    bpy.app.handlers.load_post.remove(_forget_viewports)
    _shown.clear()
