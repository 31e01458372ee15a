"""The extension's preferences: what is chosen there. ``setup_page`` draws the page."""


# mypy: disable-error-code="valid-type"

from __future__ import annotations

import bpy
from bpy.props import IntProperty, StringProperty

from ..extension import ROOT
from . import setup_page


class EspalierPreferences(bpy.types.AddonPreferences):
    bl_idname = ROOT  # the extension's package: with a sub-package's name Blender would find no preferences

    base_python: StringProperty(
        name="Python 3.11",
        description="The Python 3.11 that the backend's environment is made from. Empty: one is downloaded (30 MB)",
        subtype="FILE_PATH",
    )
    package_index: StringProperty(
        name="Package Index",
        description="Address of the package index that torch comes from, for mirrors. Empty: https://pypi.org/simple, "
        "and for builds that are not there torch's own",
    )
    wheels_folder: StringProperty(
        name="Folder of Wheels",
        description="A folder with torch's wheels, and uv's archive of Python 3.11 unless one is given, "
        "to install without a network",
        subtype="DIR_PATH",
    )
    backend_python: StringProperty(
        name="Backend Python",
        description="A Python 3.11 with torch that runs the backend in place of the installed environment. "
        "Empty: the one in ESPALIER_PYTHON, else the installed one, else that of the checkout",
        subtype="FILE_PATH",
    )
    models_folder: StringProperty(
        name="Models Folder",
        description="Where models are downloaded to. All versions of Blender share it, and it stays when the extension "
        "is removed. Empty: a folder among the user's application data",
        subtype="DIR_PATH",
    )

    idle_minutes: IntProperty(
        name="Free Memory After",
        description="Minutes without a job after which the backend ends, which gives its memory back. The next job "
        "starts it again, which takes some seconds. 0: never",
        default=15,
        min=0,
        soft_max=120,
    )

    def draw(self, context: bpy.types.Context) -> None:
        setup_page.draw(self.layout, self, context)


_classes = (EspalierPreferences,)
register, unregister = bpy.utils.register_classes_factory(_classes)
