"""The extension's preferences."""


# mypy: disable-error-code="valid-type"

from __future__ import annotations

import bpy
from bpy.props import StringProperty

from . import ROOT


class EspalierPreferences(bpy.types.AddonPreferences):
    bl_idname = ROOT  # the extension's package: with a sub-package's name Blender would find no preferences

    backend_python: StringProperty(
        name="Backend Python",
        description="Python 3.11 with torch that runs the backend. Empty: the one in ESPALIER_PYTHON, "
        "or that of the checkout",
        subtype="FILE_PATH",
    )
    models_folder: StringProperty(
        name="Models Folder",
        description="Folder that holds models, one folder each, beside the bundled ones",
        subtype="DIR_PATH",
    )

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        layout.use_property_split = True
        layout.prop(self, "backend_python")
        layout.prop(self, "models_folder")


def folders(context: bpy.types.Context) -> tuple[str, str]:
    """The backend's Python and the models folder, absolute, or empty where none was chosen."""
    addon = context.preferences.addons.get(ROOT)
    if addon is None:  # run from a checkout: registered, but not installed as an extension
        return "", ""
    chosen = addon.preferences
    return bpy.path.abspath(chosen.backend_python), bpy.path.abspath(chosen.models_folder)


def register() -> None:
    bpy.utils.register_class(EspalierPreferences)


def unregister() -> None:
    bpy.utils.unregister_class(EspalierPreferences)
