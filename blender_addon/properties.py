"""What the user chooses; it lies on the scene and is saved with the file."""


# mypy: disable-error-code="valid-type"

from __future__ import annotations

import bpy
from bpy.props import BoolProperty, CollectionProperty, EnumProperty, IntProperty, PointerProperty, StringProperty

from . import FOLDER, setup
from .server.resources import find_models

MAX_SEED = 2**31 - 1


def _model_names(self: EspalierSettings, context: bpy.types.Context, edit_text: str) -> list[str]:
    return sorted(find_models(FOLDER, setup.models_folder(context)))


class EspalierImage(bpy.types.PropertyGroup):
    """One reference image."""

    path: StringProperty(name="Path", description="The image file", subtype="FILE_PATH")


class EspalierSettings(bpy.types.PropertyGroup):
    """How the next object is made."""

    images: CollectionProperty(type=EspalierImage)
    model: StringProperty(
        name="Model",
        description="The model that makes the object: a name from the list, or the path of a model's folder",
        default="mini",
        search=_model_names,
        search_options={"SUGGESTION"},
    )
    use_steps: BoolProperty(
        name="Choose Steps",
        description="Choose the number of sampling steps; otherwise there are as many as the model was made for",
    )
    steps: IntProperty(
        name="Steps",
        description="Sampling steps for the shape, and as many for the detail: more take longer",
        default=2,
        min=1,
        max=1000,
        soft_max=50,
    )
    seed: IntProperty(
        name="Seed",
        description="Another seed gives another object from the same images; the same seed gives the same one",
        default=0,
        min=0,
        max=MAX_SEED,
    )
    texture_size: EnumProperty(
        name="Texture",
        description="Width and height of the texture, in pixels",
        items=[(str(n), f"{n} px", f"{n} x {n} pixels", n) for n in (512, 1024, 2048, 4096)],
        default="1024",
    )
    faces: IntProperty(
        name="Faces",
        description="How many triangles the finished mesh may have",
        default=10_000,
        min=100,
        max=1_000_000,
        soft_max=200_000,
        step=100_000,
    )
    texture_source: EnumProperty(
        name="Texture Source",
        description="Where the colours of the texture come from",
        items=[
            ("colors", "Vertex Colors", "The colours of the decoded mesh's vertices: every model has them"),
            ("gaussians", "Gaussians", "The 3-D Gaussians around the surface: sharper, where the model has them"),
        ],
        default="colors",
    )
    normal_map: BoolProperty(
        name="Normal Map",
        description="Bake the detail of the decoded mesh, so that few faces look like many",
        default=True,
    )
    keep_raw: BoolProperty(
        name="Keep Raw",
        description="Keep the mesh as it was decoded, with its vertex colours, as a second, hidden object",
    )


_classes = (EspalierImage, EspalierSettings)


def register() -> None:
    for cls in _classes:
        bpy.utils.register_class(cls)
    bpy.types.Scene.espalier = PointerProperty(type=EspalierSettings)


def unregister() -> None:
    del bpy.types.Scene.espalier
    for cls in reversed(_classes):
        bpy.utils.unregister_class(cls)
