"""Shows an image in Blender's image editor: the one that is open, or one in a window of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import bpy

#: Where Blender 4.3 and later keep the brush that changes alpha only.
ERASER = "brushes/essentials_brushes-mesh_texture.blend/Brush/Erase Hard"
#: The brush of the .blend that stands in for it: in earlier versions, and in packages that leave the essentials out.
OWN_ERASER = "Erase Alpha"


#: Seconds after which what has changed is drawn, on a machine that is not busy.
DRAWN = 0.2

#: How often the image is fitted into the editor at most: a window that was not drawn yet forgets it. And the share of
#: the editor that it then fills in width or height.
FITTINGS, FILLED = 10, 0.7


@dataclass(frozen=True)
class Editor:
    """An image editor. ``own``: its window was opened for it."""

    window: bpy.types.Window
    area: bpy.types.Area
    own: bool

    @property
    def region(self) -> bpy.types.Region:
        """The region in which the image is drawn."""
        return next(region for region in self.area.regions if region.type == "WINDOW")

    def override(self) -> dict[str, Any]:
        """The context in which operators work on this editor."""
        return {"window": self.window, "screen": self.window.screen, "area": self.area, "region": self.region}

    def is_open(self) -> bool:
        """Whether its window is still there. Undo keeps windows; loading a file does not always."""
        return self.window in list(bpy.context.window_manager.windows)

    def fits(self) -> bool:
        """Whether its image is all in view, and not small."""
        region = self.region
        left, bottom = region.view2d.view_to_region(0, 0, clip=False)
        right, top = region.view2d.view_to_region(1, 1, clip=False)
        inside = min(left, bottom) >= 0 and right <= region.width and top <= region.height
        return inside and max((right - left) / region.width, (top - bottom) / region.height) >= FILLED

    def close(self) -> None:
        """Close the window, if it was opened for the editor."""
        if self.own and self.is_open():
            with bpy.context.temp_override(window=self.window):
                bpy.ops.wm.window_close()


def show(image: str, mode: str, then: Callable[[Editor], None]) -> None:
    """Show an image of the .blend, by its name, in the mode VIEW or PAINT, and go on with ``then``.

    That happens soon: Blender crashes if a window is opened and used at once, without having been drawn in between.
    """
    steps = _steps(image, mode, then)
    bpy.app.timers.register(lambda: next(steps, None), first_interval=0.0)


def _steps(name: str, mode: str, then: Callable[[Editor], None]) -> Iterator[float]:
    """Yields the seconds until the next step. Meanwhile windows may be closed, and images undone."""
    editor = _find()
    if editor is None:
        window = _new_window()
        yield DRAWN
        if window not in list(bpy.context.window_manager.windows):
            return
        editor = Editor(window, window.screen.areas[0], own=True)
        editor.area.ui_type = "IMAGE_EDITOR"
        yield DRAWN
    image = bpy.data.images.get(name)
    if image is None or not editor.is_open():
        return
    space = editor.area.spaces.active
    space.image = image
    space.ui_mode = mode
    for _ in range(FITTINGS):
        yield DRAWN
        if not editor.is_open():
            return
        if editor.fits():
            break
        with bpy.context.temp_override(**editor.override()):
            bpy.ops.image.view_all(fit_view=True)
    then(editor)


def ready_brush(editor: Editor, add: bool) -> None:
    """Have the brush at hand that takes alpha away, or that adds it again."""
    paint = bpy.context.scene.tool_settings.image_paint
    with bpy.context.temp_override(**editor.override()):
        if bpy.app.version < (4, 3, 0):
            paint.brush = _own_eraser()
        elif not _activate("ESSENTIALS", ERASER):
            _activate("LOCAL", f"Brush/{_own_eraser().name}")
    paint.brush.blend = "ADD_ALPHA" if add else "ERASE_ALPHA"


def _own_eraser() -> bpy.types.Brush:
    """The eraser in the .blend. From 4.3, Blender paints with brushes that are assets only."""
    brush = bpy.data.brushes.get(OWN_ERASER) or bpy.data.brushes.new(OWN_ERASER, mode="TEXTURE_PAINT")
    if bpy.app.version >= (4, 3, 0):
        brush.asset_mark()
    return brush


def _activate(library: str, path: str) -> bool:
    """Take up a brush of an asset library. Whether it is there."""
    try:
        done = bpy.ops.brush.asset_activate(asset_library_type=library, relative_asset_identifier=path)
    except RuntimeError:  # there is no such asset
        return False
    return bool(done == {"FINISHED"})


def _find() -> Editor | None:
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            if area.type == "IMAGE_EDITOR" and area.ui_type == "IMAGE_EDITOR":
                return Editor(window, area, own=False)
    return None


def _viewport(window: bpy.types.Window) -> bpy.types.Area:
    """The largest area, which a new window takes after."""
    return max(window.screen.areas, key=lambda area: area.width * area.height)


def _new_window() -> bpy.types.Window:
    known = list(bpy.context.window_manager.windows)
    with bpy.context.temp_override(window=known[0], area=_viewport(known[0])):
        bpy.ops.wm.window_new()
    return next(window for window in bpy.context.window_manager.windows if window not in known)
