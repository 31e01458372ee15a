"""Presets of the settings: those that ship, and the user's own, which Blender keeps as files in the presets folder."""


# mypy: disable-error-code="valid-type"

from __future__ import annotations

import bpy
from bl_operators.presets import AddPresetBase
from bl_ui.utils import PresetPanel
from bpy.props import StringProperty

from ...backend import protocol
from .. import pump
from ..request import shipped_presets
from ..request.shipped_presets import SHIPPED
from ..translations import translate

FOLDER = "espalier"


def saved() -> list[str]:
    """The properties that a preset holds: how objects are made and how large. Not the images, the place or the seed."""
    found = []
    for name in protocol.names(protocol.Door.PRESET):
        found += [f"use_{name}", name] if protocol.ABOUT[name].own else [name]
    return [*found, "size"]


class ESPALIER_PT_presets(PresetPanel, bpy.types.Panel):
    """The list of presets that opens from the header of the main panel: those that ship first, then the user's own."""

    bl_label = "Presets"
    preset_subdir = FOLDER
    preset_operator = "script.execute_preset"
    preset_add_operator = "espalier.preset_add"

    def draw(self, context: bpy.types.Context) -> None:
        self.layout.emboss = "PULLDOWN_MENU"
        draw_shipped(self.layout, context)
        if bpy.utils.preset_paths(FOLDER):
            super().draw(context)
            return
        row = self.layout.row()  # without a folder Blender would say that paths are missing
        name = row.row()
        name.emboss = "NORMAL"
        name.prop(context.window_manager, "preset_name", text="")
        row.operator(self.preset_add_operator, text="", icon="ADD").name = context.window_manager.preset_name


def draw_shipped(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """Draw the presets that ship; the one whose values the panel shows is marked."""
    column = layout.column(align=True)
    chosen = shipped_presets.chosen(context.scene.espalier)
    for name, preset in SHIPPED.items():
        symbol = "RADIOBUT_ON" if name == chosen else "RADIOBUT_OFF"
        column.operator(EspalierApplyPreset.bl_idname, text=preset.title, icon=symbol).name = name
    layout.separator()


class EspalierApplyPreset(bpy.types.Operator):
    """Use the settings of this preset"""

    bl_idname = "espalier.preset_apply"
    bl_label = "Apply Preset"
    bl_options = {"REGISTER", "UNDO"}

    name: StringProperty(options={"HIDDEN", "SKIP_SAVE"})

    @classmethod
    def description(cls, context: bpy.types.Context, properties: bpy.types.OperatorProperties) -> str:
        preset = SHIPPED.get(properties.name)
        return translate(str(cls.__doc__) if preset is None else preset.words)

    def execute(self, context: bpy.types.Context) -> set[str]:
        if self.name not in SHIPPED:
            return {"CANCELLED"}
        shipped_presets.apply(context.scene.espalier, self.name)
        pump.redraw("UI")
        return {"FINISHED"}


class EspalierAddPreset(AddPresetBase, bpy.types.Operator):
    """Add or remove an Espalier preset"""

    bl_idname = "espalier.preset_add"
    bl_label = "Add Espalier Preset"
    preset_menu = "ESPALIER_PT_presets"
    preset_subdir = FOLDER
    preset_defines = ["settings = bpy.context.scene.espalier"]
    preset_values = [f"settings.{name}" for name in saved()]


_classes = (ESPALIER_PT_presets, EspalierApplyPreset, EspalierAddPreset)
register, unregister = bpy.utils.register_classes_factory(_classes)
