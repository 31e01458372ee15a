"""What the user chooses; it lies on the scene and is saved with the file."""


# mypy: disable-error-code="valid-type"

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeAlias

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
from ..translations import translate
from .quality import Quality, family_of, qualities, steps_label, title_of

Items: TypeAlias = list[tuple[str, str, str, int]]

_shown: dict[str, Items] = {}  # Blender keeps no reference to the strings of an enumeration that is made while it runs


class EspalierImage(bpy.types.PropertyGroup):
    """One reference image: a file, or an image of the .blend."""

    path: StringProperty(name="Path", description="The image file", subtype="FILE_PATH")
    image: PointerProperty(
        name="Image", description="An image of this .blend, in place of a file", type=bpy.types.Image
    )


def models() -> dict[str, protocol.ModelInfo]:
    """The models that can be used now, by name, as the backend lists them."""
    return installation.usable_models(bpy.context)


def chosen_model(settings: EspalierSettings) -> protocol.ModelInfo | None:
    """The model that makes the next object; None if it is not there, or is one that is given by its path."""
    return models().get(settings.model)


def offered(settings: EspalierSettings) -> list[Quality]:
    model = chosen_model(settings)
    return qualities(models(), family_of(model)) if model else []


def _models(self: EspalierSettings, context: bpy.types.Context | None) -> Items:
    families = sorted({family_of(model) for model in models().values()})
    items = [(name, title_of(name), "", i) for i, name in enumerate(families)]
    if chosen_model(self) is None:
        items.append((self.model, bpy.path.basename(self.model.rstrip("/\\")), "", len(items)))
    return _keep("models", items)


def _get_model(self: EspalierSettings) -> int:
    model = chosen_model(self)
    name = family_of(model) if model else self.model
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
    """How the next object is made, and where it is put. ``panel_properties`` adds the settings of a request.

    What is saved of the model is its name and the steps, for the lists ``family`` and ``quality`` change with what is
    installed.
    """

    images: CollectionProperty(type=EspalierImage)

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


# --- the settings of a request --------------------------------------------------------------------------------------


def panel_properties() -> dict[str, Any]:
    """A property for each setting that the panel offers, and for what may be left to the model a tick, ``use_NAME``."""
    found: dict[str, Any] = {}
    for name in protocol.names(protocol.Door.PANEL):
        about = protocol.ABOUT[name]
        found[name] = _property(name, about)
        if about.own:
            found[f"use_{name}"] = BoolProperty(name=f"Choose {about.title}", description=about.own)
    return found


def _property(name: str, about: protocol.About) -> Any:
    words = {"name": about.title, "description": about.words}
    shown, usual = about.shown, protocol.default(name)
    if shown.values:
        sizes = [(str(n), f"{n} px", f"{n} x {n} pixels", n) for n in shown.values]
        return EnumProperty(items=sizes, default=str(usual), **words)
    if about.choices:
        items = [(choice.value, choice.title, choice.words) for choice in about.choices]
        return EnumProperty(items=items, default=usual, **words)
    if about.kind is str:
        return StringProperty(default=usual, **words)
    if about.kind is bool:
        return BoolProperty(default=usual, **words)
    limits = {
        "min": about.low if shown.low is None else shown.low,
        "max": about.high if shown.high is None else shown.high,
        "soft_max": shown.soft_high,
        "step": shown.step,
        "default": usual if shown.default is None else shown.default,
    }
    limits = {limit: value for limit, value in limits.items() if value is not None}
    return (IntProperty if about.kind is int else FloatProperty)(**words, **limits)


def chosen_settings(settings: EspalierSettings) -> dict[str, Any]:
    """The settings of a request as the panel shows them. The model is what a request calls it."""
    chosen: dict[str, Any] = {}
    for name in protocol.names(protocol.Door.PANEL):
        about = protocol.ABOUT[name]
        left = about.own and not getattr(settings, f"use_{name}")
        chosen[name] = None if left else about.kind(getattr(settings, name))
    if _own_folder(settings.model):
        chosen["model"] = bpy.path.abspath(settings.model)
    return chosen


def show_setting(settings: EspalierSettings, name: str, value: Any) -> bool:
    """Have the panel show a setting's value (None: the choice is left to the model). False if it cannot."""
    about = protocol.ABOUT[name]
    if about.own:
        setattr(settings, f"use_{name}", value is not None)
        if value is None:
            return True
    try:
        setattr(settings, name, str(value) if about.shown.values else value)
    except (TypeError, OverflowError):  # it was made by batch, with what the panel does not offer
        return False
    return bool(about.kind(getattr(settings, name)) == value)


def _own_folder(model: str) -> bool:
    """Whether a model is given by the path of its folder."""
    return Path(bpy.path.abspath(model), "pipeline.json").is_file()


def lacks_model(settings: EspalierSettings) -> bool:
    """Whether the model that was chosen is not there (any more). As long as nobody knows, it is not missing."""
    return bool(models()) and chosen_model(settings) is None and not _own_folder(settings.model)


EspalierSettings.__annotations__.update(panel_properties())

_classes = (EspalierImage, EspalierSettings)
_register, _unregister = bpy.utils.register_classes_factory(_classes)


def register() -> None:
    _register()
    bpy.types.Scene.espalier = PointerProperty(type=EspalierSettings)


def unregister() -> None:
    del bpy.types.Scene.espalier
    _unregister()
