"""What the user chooses; it lies on the scene and is saved with the file."""


# mypy: disable-error-code="valid-type"

from __future__ import annotations

from typing import TypeAlias

import bpy
from bpy.props import (
    BoolProperty,
    CollectionProperty,
    EnumProperty,
    FloatProperty,
    IntProperty,
    PointerProperty,
    StringProperty,
)

from ...backend import protocol
from .. import installation
from ..extension import FOLDER
from ..translations import translate
from .quality import Model, Quality, models_at_hand, qualities, steps_label

MAX_SEED = 2**31 - 1

Items: TypeAlias = list[tuple[str, str, str, int]]

_shown: dict[str, Items] = {}  # Blender keeps no reference to the strings of an enumeration that is made while it runs


class EspalierImage(bpy.types.PropertyGroup):
    """One reference image: a file, or an image of the .blend."""

    path: StringProperty(name="Path", description="The image file", subtype="FILE_PATH")
    image: PointerProperty(
        name="Image", description="An image of this .blend, in place of a file", type=bpy.types.Image
    )


def models() -> dict[str, Model]:
    return models_at_hand(FOLDER, installation.models_folder(bpy.context))


def chosen_model(settings: EspalierSettings) -> Model | None:
    """The model that makes the next object; None if it is not there, or is one that is given by its path."""
    return models().get(settings.model)


def offered(settings: EspalierSettings) -> list[Quality]:
    model = chosen_model(settings)
    return qualities(models(), model.family) if model else []


def _models(self: EspalierSettings, context: bpy.types.Context | None) -> Items:
    families = sorted({model.family for model in models().values()})
    items = [(name, models()[name].title if name in models() else name, "", i) for i, name in enumerate(families)]
    if chosen_model(self) is None:
        items.append((self.model, bpy.path.basename(self.model.rstrip("/\\")), "", len(items)))
    return _keep("models", items)


def _get_model(self: EspalierSettings) -> int:
    model = chosen_model(self)
    name = model.family if model else self.model
    return next(number for identifier, *_, number in _models(self, None) if identifier == name)


def _set_model(self: EspalierSettings, value: int) -> None:
    self.model = _models(self, None)[value][0]
    self.use_steps = False


def quality_items(self: EspalierSettings, context: bpy.types.Context | None = None) -> Items:
    """What the panel offers, in the user's language, and last a choice that is none of these."""
    items = []
    for number, quality in enumerate(offered(self)):
        made_for = "Distilled to few steps: quick" if quality.model.teacher else "All the steps that it was made for"
        items.append((quality.label(), quality.label(translate), made_for, number))
    if _get_quality(self) == len(items):
        label = steps_label(self.steps, self.steps, translate) if self.use_steps else "Its Own"
        items.append(("OWN", label, "The number of steps that is set below Advanced", len(items)))
    return _keep("qualities", items)


def _get_quality(self: EspalierSettings) -> int:
    """The number of the present choice; after the last one if that is another number of steps."""
    model, choices = chosen_model(self), offered(self)
    if model is None:
        return 0
    pair = (self.steps, self.steps) if self.use_steps else model.steps
    chosen = (number for number, quality in enumerate(choices) if (quality.model, quality.pair) == (model, pair))
    return next(chosen, len(choices))


def _set_quality(self: EspalierSettings, value: int) -> None:
    choices = offered(self)
    if value < len(choices):
        quality = choices[value]
        self.model, self.use_steps = quality.model.name, quality.steps is not None
        if quality.steps is not None:
            self.steps = quality.steps


def _keep(name: str, items: Items) -> Items:
    if _shown.get(name) != items:
        _shown[name] = items
    return _shown[name]


class EspalierSettings(bpy.types.PropertyGroup):
    """How the next object is made."""

    images: CollectionProperty(type=EspalierImage)

    # What is saved is the model's name and the steps, for the lists below change with what is installed.
    model: StringProperty(
        name="Model",
        description="The model that makes the object: its name, or the path of its folder",
        default=protocol.DEFAULT_MODEL,
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
    family: EnumProperty(
        name="Model",
        description="The model that makes the object. More can be downloaded in the preferences",
        items=_models,
        get=_get_model,
        set=_set_model,
    )
    quality: EnumProperty(
        name="Quality",
        description="In how many steps the object is made: fewer are quicker, more are better",
        items=quality_items,
        get=_get_quality,
        set=_set_quality,
    )

    seed: IntProperty(
        name="Seed",
        description="Another seed gives another object from the same images; the same seed gives the same one",
        default=0,
        min=0,
        max=MAX_SEED,
    )
    lock_seed: BoolProperty(
        name="Lock Seed",
        description="Keep this seed. Otherwise each press of Generate 3D takes a new one",
    )
    variants: IntProperty(
        name="Variants",
        description="How many objects to make, side by side, each with a seed of its own",
        default=1,
        min=1,
        max=16,
    )

    place: EnumProperty(
        name="Where",
        description="Where the object is put",
        items=[
            ("CURSOR", "3D Cursor", "At the 3D cursor", "PIVOT_CURSOR", 0),
            ("GROUND", "Ground", "On what lies below the 3D cursor, or at height zero", "VIEW_PERSPECTIVE", 1),
            ("ORIGIN", "World Origin", "At the origin of the world", "WORLD", 2),
            ("ACTIVE", "Active Object", "At the place of the active object, and as large", "OBJECT_DATA", 3),
        ],
        default="CURSOR",
    )
    size: FloatProperty(
        name="Size",
        description="Length of the object's longest side",
        default=1.0,
        min=0.001,
        soft_max=100.0,
        subtype="DISTANCE",
        unit="LENGTH",
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
    texture_size: EnumProperty(
        name="Texture",
        description="Width and height of the texture, in pixels",
        items=[(str(n), f"{n} px", f"{n} x {n} pixels", n) for n in (512, 1024, 2048, 4096)],
        default="1024",
    )

    use_guidance: BoolProperty(
        name="Choose Guidance",
        description="Choose how strongly the images guide the object; otherwise the model's own value is taken",
    )
    guidance: FloatProperty(
        name="Guidance",
        description="How strongly the images guide the object",
        default=5.0,
        min=0.0,
        max=100.0,
        soft_max=10.0,
    )
    multi_image: EnumProperty(
        name="Views",
        description="How several images act together",
        items=[
            ("multidiffusion", "All at Once", "All images act in every step: best with few steps"),
            ("stochastic", "In Turns", "Each step looks at one of the images: quicker, for many steps"),
        ],
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
    ambient_occlusion: BoolProperty(
        name="Ambient Occlusion",
        description="Bake how open each place lies, as a map for game engines; it is in exported glTF files",
    )
    keep_raw: BoolProperty(
        name="Keep Raw",
        description="Keep the mesh as it was decoded, with its vertex colours, as a second, hidden object",
    )
    low_memory: BoolProperty(
        name="Low Memory",
        description="Hold each network in memory only while it is used: slower, and the same result",
    )


_classes = (EspalierImage, EspalierSettings)
_register, _unregister = bpy.utils.register_classes_factory(_classes)


def register() -> None:
    _register()
    bpy.types.Scene.espalier = PointerProperty(type=EspalierSettings)


def unregister() -> None:
    del bpy.types.Scene.espalier
    _unregister()
