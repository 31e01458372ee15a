"""Entries in Blender's own menus, where people look first. The search (F3) finds what is in a menu, and only that."""

from __future__ import annotations

from collections.abc import Callable

import bpy

from .. import installation
from . import editor_operators, export_operators, image_operators, object_operators, operators, sidebar


class VIEW3D_MT_espalier(bpy.types.Menu):
    """What can be done with the selected objects."""

    bl_idname = "VIEW3D_MT_espalier"
    bl_label = "Espalier"

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        draw_new(layout, context)
        layout.separator()
        regenerate = object_operators.EspalierRegenerate.bl_idname
        layout.operator(regenerate, text="Regenerate with New Seed", icon="FILE_REFRESH").how = "SEED"
        layout.operator(regenerate, text="Regenerate with Panel Settings", icon="SETTINGS").how = "PANEL"
        layout.operator(object_operators.EspalierVariants.bl_idname, icon="DUPLICATE")
        layout.operator(object_operators.EspalierRetexture.bl_idname, icon="TEXTURE")
        layout.operator(object_operators.EspalierRestoreSettings.bl_idname, icon="LOOP_BACK")
        layout.separator()
        layout.operator(object_operators.EspalierAddCameras.bl_idname, icon="CAMERA_DATA")
        layout.operator(object_operators.EspalierMarkAsset.bl_idname, icon="ASSET_MANAGER")
        layout.operator(export_operators.EspalierExport.bl_idname, text="Export...", icon="EXPORT")
        layout.operator(export_operators.EspalierSaveTextures.bl_idname, icon="FILE_IMAGE")
        layout.separator()
        layout.operator(sidebar.EspalierShowPanel.bl_idname, icon="MENU_PANEL")


def draw_new(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """Draw Generate 3D, or what must be done before it can be pressed: choose images, install the backend."""
    if not installation.is_installed(context):
        layout.operator(sidebar.EspalierShowPanel.bl_idname, text="Generate 3D (Install First)...", icon="MESH_MONKEY")
    elif context.scene.espalier.images:
        layout.operator(operators.EspalierGenerate.bl_idname, icon="MESH_MONKEY")
    else:
        add = image_operators.EspalierAddImages.bl_idname
        layout.operator(add, text="Generate 3D from Images...", icon="MESH_MONKEY")


def _add_mesh(self: bpy.types.Menu, context: bpy.types.Context) -> None:
    self.layout.separator()
    draw_new(self.layout, context)


def _object(self: bpy.types.Menu, context: bpy.types.Context) -> None:
    if context.mode == "OBJECT":  # this menu is also that of other modes
        self.layout.separator()
        self.layout.menu(VIEW3D_MT_espalier.bl_idname, icon="MESH_MONKEY")


def _image(self: bpy.types.Menu, context: bpy.types.Context) -> None:
    self.layout.separator()
    self.layout.operator(editor_operators.EspalierGenerateFromShown.bl_idname, icon="MESH_MONKEY")
    self.layout.operator(editor_operators.EspalierAddShown.bl_idname, icon="ADD")


#: Blender's menus, and what draws our entries at their end.
_ENTRIES: tuple[tuple[str, Callable[[bpy.types.Menu, bpy.types.Context], None]], ...] = (
    ("VIEW3D_MT_mesh_add", _add_mesh),
    ("VIEW3D_MT_object", _object),
    ("VIEW3D_MT_object_context_menu", _object),
    ("IMAGE_MT_image", _image),
)

_classes = (VIEW3D_MT_espalier,)
_register, _unregister = bpy.utils.register_classes_factory(_classes)


def register() -> None:
    """Register the menu, and append the entries to Blender's."""
    _register()
    for name, draw in _ENTRIES:
        getattr(bpy.types, name).append(draw)


def unregister() -> None:
    """Undo ``register``."""
    for name, draw in _ENTRIES:
        getattr(bpy.types, name).remove(draw)
    _unregister()
