"""Opens the sidebar with Espalier's tab: when it is asked for, and once after the extension was installed."""

from __future__ import annotations

from pathlib import Path

import bpy

from .. import pump
from ..scene import news
from ..translations import translate

TAB = "Espalier"
INTERVAL = 0.1  # seconds between two looks whether Blender has drawn the sidebar: before that it has no tabs
MOST_LOOKS = 50
FIRST = 1.0  # seconds after Blender's start
MARKER = "panel shown"  # a file: the tab was opened after the installation

_wanted = 0  # the area in which the tab is to be chosen; it is only compared
_looks = 0


def show(area: bpy.types.Area | None) -> bool:
    """Open the sidebar of a 3-D viewport with Espalier's tab. False if this is none. Returns before it is drawn."""
    global _wanted, _looks
    if area is None or area.type != "VIEW_3D" or bpy.app.background:
        return False
    area.spaces.active.show_region_ui = True
    _wanted, _looks = area.as_pointer(), 0
    if not bpy.app.timers.is_registered(_choose_tab):
        bpy.app.timers.register(_choose_tab, first_interval=0.0)
    return True


def _choose_tab() -> float | None:
    global _looks
    _looks += 1
    area = next((area for area in _areas() if area.as_pointer() == _wanted), None)
    region = next((region for region in area.regions if region.type == "UI"), None) if area is not None else None
    if area is None or region is None or _looks > MOST_LOOKS:
        return None
    if region.is_property_readonly("active_panel_category"):
        return INTERVAL
    try:
        region.active_panel_category = TAB
    except TypeError:  # there are tabs, but ours was not drawn yet
        return INTERVAL
    area.tag_redraw()
    return None


def _areas() -> list[bpy.types.Area]:
    """The 3-D viewports of all windows, the largest first."""
    found = [area for window in bpy.context.window_manager.windows for area in window.screen.areas]
    return sorted((a for a in found if a.type == "VIEW_3D"), key=lambda a: a.width * a.height, reverse=True)


class EspalierShowPanel(bpy.types.Operator):
    """Open the sidebar with Espalier's tab"""

    bl_idname = "espalier.show_panel"
    bl_label = "Show Espalier"

    def execute(self, context: bpy.types.Context) -> set[str]:
        here = context.area if context.area is not None and context.area.type == "VIEW_3D" else None
        return {"FINISHED"} if show(here or next(iter(_areas()), None)) else {"CANCELLED"}


def _first_time() -> None:
    """After the installation: open the tab if a 3-D viewport can be seen, and say where it is."""
    marker = _marker()
    try:
        marker.touch()
    except OSError as error:  # nothing can be kept here, so it happens again at the next start
        print(f"Espalier: {marker} cannot be written: {error}")
    if show(next(iter(_areas()), None)):
        words = translate("Espalier is installed: its tab is open in the sidebar of the 3D viewport (N)")
    else:
        words = translate("Espalier is installed: press N in a 3D viewport and choose the tab Espalier")
    news.tell(words)


def _marker() -> Path:
    return pump.kept_folder() / MARKER


_classes = (EspalierShowPanel,)
_register, _unregister = bpy.utils.register_classes_factory(_classes)


def register() -> None:
    """Register the operator. After an installation, have the tab opened as soon as there is a window."""
    _register()
    if not bpy.app.background and not _marker().exists():
        bpy.app.timers.register(_first_time, first_interval=FIRST, persistent=True)


def unregister() -> None:
    """Undo ``register``."""
    for timer in (_choose_tab, _first_time):
        if bpy.app.timers.is_registered(timer):
            bpy.app.timers.unregister(timer)
    _unregister()
