"""The subpanels with results: *Selected Object* and *History*. Drawing changes nothing."""

from __future__ import annotations

import bpy

from ..scene import history
from ..scene.made import is_made, shown
from . import export_operators, guide_operators, object_operators
from .panels import SubPanel

COLUMNS = 3


class EspalierIteratePanel(SubPanel):
    """The subpanel *Selected Object*."""

    bl_idname = "ESPALIER_PT_iterate"
    bl_label = "Selected Object"
    bl_options = {"DEFAULT_CLOSED"}
    bl_order = 1

    def draw(self, context: bpy.types.Context) -> None:
        column = self.layout.column(align=True)
        active = context.active_object
        if active is not None and is_made(active):
            row = column.row()
            row.label(text=f"{active.name}  ·  {shown(active, 'seed')}", icon="MESH_MONKEY", translate=False)
            row.operator(object_operators.EspalierRestoreSettings.bl_idname, text="", icon="LOOP_BACK")
        regenerate = object_operators.EspalierRegenerate.bl_idname
        column.operator(regenerate, text="Regenerate with New Seed", icon="FILE_REFRESH").how = "SEED"
        column.operator(regenerate, text="Regenerate with Panel Settings", icon="SETTINGS").how = "PANEL"
        column.operator(object_operators.EspalierVariants.bl_idname, icon="DUPLICATE").count = 3
        column.operator(guide_operators.EspalierAgainInBox.bl_idname, icon="MESH_CUBE")
        column.separator()
        column.operator(object_operators.EspalierRetexture.bl_idname, icon="TEXTURE")
        column.operator(object_operators.EspalierAddCameras.bl_idname, icon="CAMERA_DATA")
        column.operator(object_operators.EspalierMarkAsset.bl_idname, icon="ASSET_MANAGER")
        column.separator()
        column.operator(export_operators.EspalierExport.bl_idname, text="Export...", icon="EXPORT")
        column.operator(export_operators.EspalierSaveTextures.bl_idname, icon="FILE_IMAGE")


class EspalierHistoryPanel(SubPanel):
    """The subpanel *History*."""

    bl_idname = "ESPALIER_PT_history"
    bl_label = "History"
    bl_options = {"DEFAULT_CLOSED"}
    bl_order = 2

    def draw(self, context: bpy.types.Context) -> None:
        if not history.entries:
            self.layout.label(text="Generated objects are listed here")
            return
        grid = self.layout.grid_flow(row_major=True, columns=COLUMNS, even_columns=True)
        for entry in history.entries:
            cell = grid.box().column(align=True)
            cell.template_icon(history.icon(entry), scale=4.0)
            cell.label(text=str(entry.settings.get("seed", "")), translate=False)
            row = cell.row(align=True)
            icon = "IMPORT" if entry.result is not None else "FILE_REFRESH"
            row.operator(object_operators.EspalierInsertAgain.bl_idname, text="", icon=icon).entry = entry.id
            row.operator(object_operators.EspalierForget.bl_idname, text="", icon="X").entry = entry.id


_classes = (EspalierIteratePanel, EspalierHistoryPanel)
register, unregister = bpy.utils.register_classes_factory(_classes)
