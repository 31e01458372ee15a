"""Presets of the settings, as Blender keeps them: small files in the user's presets folder."""

from __future__ import annotations

import bpy
from bl_operators.presets import AddPresetBase
from bl_ui.utils import PresetPanel

from ...backend import protocol

FOLDER = "espalier"


def saved() -> list[str]:
    """The properties that a preset holds: how objects are made and how large. Not the images, the place or the seed."""
    found = []
    for name in protocol.names(protocol.Door.PRESET):
        found += [f"use_{name}", name] if protocol.ABOUT[name].own else [name]
    return [*found, "size"]


class ESPALIER_PT_presets(PresetPanel, bpy.types.Panel):
    """The list of presets that opens from the header of the main panel."""

    bl_label = "Presets"
    preset_subdir = FOLDER
    preset_operator = "script.execute_preset"
    preset_add_operator = "espalier.preset_add"


class EspalierAddPreset(AddPresetBase, bpy.types.Operator):
    """Add or remove an Espalier preset"""

    bl_idname = "espalier.preset_add"
    bl_label = "Add Espalier Preset"
    preset_menu = "ESPALIER_PT_presets"
    preset_subdir = FOLDER
    preset_defines = ["settings = bpy.context.scene.espalier"]
    preset_values = [f"settings.{name}" for name in saved()]


_classes = (ESPALIER_PT_presets, EspalierAddPreset)
register, unregister = bpy.utils.register_classes_factory(_classes)
