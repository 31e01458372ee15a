"""Shows an image in Blender's image editor: the one that is open, or one in a window of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import bpy

#: Where Blender 4.3 and later keep the brush that changes alpha only.
ERASER = "brushes/essentials_brushes-mesh_texture.blend/Brush/Erase Hard"
#: Its name in earlier versions, which keep brushes in the .blend.
OLD_ERASER = "Erase Alpha"


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

    def close(self) -> None:
        """Close the window, if it was opened for the editor."""
        if self.own and self.window in list(bpy.context.window_manager.windows):
            with bpy.context.temp_override(window=self.window):
                bpy.ops.wm.window_close()


def show(image: bpy.types.Image, mode: str) -> Editor:
    """Show an image in an image editor, in the mode VIEW or PAINT. Raises RuntimeError if no window can be opened."""
    editor = _find() or _open()
    space = editor.area.spaces.active
    space.image = image
    space.ui_mode = mode
    with bpy.context.temp_override(**editor.override()):
        bpy.ops.image.view_all(fit_view=True)
    return editor


def ready_brush(editor: Editor, add: bool) -> None:
    """Have the brush at hand that takes alpha away, or that adds it again."""
    paint = bpy.context.scene.tool_settings.image_paint
    with bpy.context.temp_override(**editor.override()):
        if bpy.app.version >= (4, 3, 0):
            bpy.ops.brush.asset_activate(asset_library_type="ESSENTIALS", relative_asset_identifier=ERASER)
        else:
            paint.brush = bpy.data.brushes.get(OLD_ERASER) or bpy.data.brushes.new(OLD_ERASER, mode="TEXTURE_PAINT")
    paint.brush.blend = "ADD_ALPHA" if add else "ERASE_ALPHA"


def _find() -> Editor | None:
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            if area.type == "IMAGE_EDITOR" and area.ui_type == "IMAGE_EDITOR":
                return Editor(window, area, own=False)
    return None


def _open() -> Editor:
    known = list(bpy.context.window_manager.windows)
    bpy.ops.wm.window_new()
    window = next(window for window in bpy.context.window_manager.windows if window not in known)
    area = window.screen.areas[0]
    area.ui_type = "IMAGE_EDITOR"
    return Editor(window, area, own=True)
