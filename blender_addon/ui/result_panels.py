"""The subpanels with results: *Selected Object* and *History*. Drawing changes nothing."""

from __future__ import annotations

import bpy

from ..scene import history
from ..translations import translate
from . import export_operators, guide_operators, history_operators, object_operators
from .card import carded
from .panels import SubPanel
from .texts import characters, draw_text, is_narrow

COLUMN = 14  # characters that a column of the history takes at least


class EspalierIteratePanel(SubPanel):
    """The subpanel *Selected Object*: what the card at the top does not have room for, and meshes of one's own."""

    bl_idname = "ESPALIER_PT_iterate"
    bl_label = "Selected Object"
    bl_options = {"DEFAULT_CLOSED"}
    bl_order = 1

    def draw(self, context: bpy.types.Context) -> None:
        column = self.layout.column(align=True)
        if carded(context) is None:
            column.operator(object_operators.EspalierRetexture.bl_idname, icon="TEXTURE")
        column.operator(guide_operators.EspalierAgainInBox.bl_idname, icon="MESH_CUBE")
        column.operator(object_operators.EspalierAddCameras.bl_idname, text="Image Cameras", icon="CAMERA_DATA")
        column.operator(export_operators.EspalierSaveTextures.bl_idname, icon="FILE_IMAGE")


class EspalierHistoryPanel(SubPanel):
    """The subpanel *History*."""

    bl_idname = "ESPALIER_PT_history"
    bl_label = "History"
    bl_options = {"DEFAULT_CLOSED"}
    bl_order = 2

    def draw(self, context: bpy.types.Context) -> None:
        draw_removed(self.layout, context)
        if not history.entries:
            draw_text(self.layout, "Generated objects are listed here", characters(context))
            return
        columns = 1 if is_narrow(context) else max(2, characters(context) // COLUMN)
        grid = self.layout.grid_flow(row_major=True, columns=columns, even_columns=True)
        for entry in history.listed():
            draw_entry(grid.box().column(align=True), entry)


def draw_removed(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """Draw what was removed from the history last, and the button that puts it back."""
    entry = history.removed()
    if entry is None:
        return
    narrow, width = is_narrow(context), characters(context)
    parts = layout.box().column() if narrow else layout.box().row()
    draw_text(parts, translate("Removed {name}").format(name=entry.name), width if narrow else width // 2)
    parts.operator(history_operators.EspalierPutBack.bl_idname, icon="LOOP_BACK")


def draw_entry(cell: bpy.types.UILayout, entry: history.Entry) -> None:
    """Draw an entry: its picture, its name, which a press changes, its seed, and its buttons."""
    cell.template_icon(history.icon(entry), scale=4.0)
    name = cell.row(align=True)
    rename = name.operator(history_operators.EspalierRename.bl_idname, text=entry.name, translate=False, emboss=False)
    rename.entry = entry.id
    seed = cell.row()
    seed.alignment, seed.active, seed.scale_y = "CENTER", False, 0.8
    seed.label(text=str(entry.settings.get("seed", "")), translate=False)
    buttons = cell.row(align=True)
    buttons.alignment = "CENTER"
    for operator, symbol in (
        (history_operators.EspalierInsertAgain, "IMPORT" if entry.result is not None else "FILE_REFRESH"),
        (history_operators.EspalierRestoreEntry, "LOOP_BACK"),
        (history_operators.EspalierFavorite, "SOLO_ON" if entry.favorite else "SOLO_OFF"),
        (history_operators.EspalierForget, "X"),
    ):
        buttons.operator(operator.bl_idname, text="", icon=symbol).entry = entry.id


_classes = (EspalierIteratePanel, EspalierHistoryPanel)
register, unregister = bpy.utils.register_classes_factory(_classes)
