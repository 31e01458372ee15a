"""The extension's preferences. ``setup_page`` draws them."""


# mypy: disable-error-code="valid-type"

from __future__ import annotations

import bpy
from bpy.props import BoolProperty, EnumProperty, IntProperty, StringProperty

from ..extension import ROOT
from . import setup_page


class EspalierPreferences(bpy.types.AddonPreferences):
    """What the user sets in the preferences."""

    bl_idname = ROOT  # the extension's package: Blender finds no preferences by the name of a subpackage

    base_python: StringProperty(
        name="Python 3.11",
        description="Python 3.11 to create the backend's environment with. If empty: one is downloaded (30 MB)",
        subtype="FILE_PATH",
    )
    package_index: StringProperty(
        name="Package Index",
        description="Address of the package index for torch, such as a mirror. If empty: https://pypi.org/simple, "
        "and torch's own index for builds that are not there",
    )
    wheels_folder: StringProperty(
        name="Wheels Folder",
        description="Folder with torch's wheels, for an installation without a network. "
        "It must also hold uv's archive of Python 3.11, unless a Python 3.11 is set",
        subtype="DIR_PATH",
    )
    torch_build: EnumProperty(
        name="Torch Build",
        description="Which build of torch is installed. A change takes effect with the next installation or repair",
        items=(
            ("AUTOMATIC", "Automatic", "The best tested build for this computer"),
            ("cu130", "NVIDIA (CUDA 13.0)", "Needs driver 580 and at least a GTX 16 or RTX 20"),
            ("cu126", "NVIDIA (CUDA 12.6)", "Needs driver 525 (Windows: 528), and no RTX 50"),
            ("rocm7.2", "AMD (ROCm 7.2, untested)", "Linux only. It was never tried"),
            ("xpu", "Intel (XPU, untested)", "It was never tried"),
            ("cpu", "Processor", "Works on every computer with Linux or Windows"),
        ),
    )
    backend_python: StringProperty(
        name="Backend Python",
        description="Python 3.11 with torch that runs the backend instead of the installed environment. "
        "If empty: the one in ESPALIER_PYTHON, else the installed environment, else that of the checkout",
        subtype="FILE_PATH",
    )
    models_folder: StringProperty(
        name="Models Folder",
        description="Folder for downloaded models. All versions of Blender share it, and it is kept when the extension "
        "is removed. If empty: a folder in the user's application data",
        subtype="DIR_PATH",
    )

    show_colors: BoolProperty(
        name="Show Colors",
        description="When an object is ready, show textures where its button was pressed, "
        "unless other shading was chosen there",
        default=True,
    )
    idle_minutes: IntProperty(
        name="Free Memory After",
        description="Minutes without a job after which the backend is stopped to free its memory. The next job "
        "starts it again, which takes a few seconds. 0 keeps it running",
        default=15,
        min=0,
        soft_max=120,
    )

    show_demonstration: BoolProperty(
        name="Notice of the Demonstration Model",
        description="Say in the panel that the bundled model is a demonstration, and offer to download TRELLIS",
        default=True,
    )
    show_installer: BoolProperty(
        name="Installer",
        description="Show the settings of the backend's installation, for mirrors, offline machines and other Pythons",
    )
    image_folder: StringProperty(subtype="DIR_PATH", options={"HIDDEN"})  # where images were last added from

    def draw(self, context: bpy.types.Context) -> None:
        setup_page.draw(self.layout, self, context)


_classes = (EspalierPreferences,)
register, unregister = bpy.utils.register_classes_factory(_classes)
