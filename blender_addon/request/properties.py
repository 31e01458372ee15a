"""The properties that the panel shows. They belong to the scene and are saved with the file."""


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
    FloatVectorProperty,
    IntProperty,
    PointerProperty,
    StringProperty,
)

from ...backend import protocol
from .. import installation
from ..scene import paths
from ..translations import OURS, translate
from . import families
from .guide import can_guide
from .quality import Quality, family_of, qualities, steps_label, title_of

Items: TypeAlias = list[tuple[str, str, str, int]]

#: The quality of a number of steps of one's own.
CUSTOM = "Custom"

#: Decimal digits that 32 bits hold.
DIGITS = 6

_shown: dict[str, Items] = {}  # Blender keeps no reference to the strings of a dynamic enumeration


#: Paths may begin with "//". Blender 4.5 wants to be told; earlier ones do not know the option.
RELATIVE_PATHS = {"ANIMATABLE", "PATH_SUPPORTS_BLEND_RELATIVE"} if bpy.app.version >= (4, 5, 0) else {"ANIMATABLE"}


class EspalierImage(bpy.types.PropertyGroup):
    """One reference image: a file, or an image of the .blend. Its object may be picked, its cut-out edited by hand."""

    path: StringProperty(
        name="Path",
        description="Path of the image file",
        subtype="FILE_PATH",
        options=RELATIVE_PATHS,
        translation_context=OURS,
    )
    image: PointerProperty(
        name="Image", description="An image of this blend-file, used instead of a file on disk", type=bpy.types.Image
    )
    cutout: PointerProperty(
        name="Cut-Out",
        description="The object cut out of the image, edited by hand. It is used instead of the image",
        type=bpy.types.Image,
    )
    use_point: BoolProperty(
        name="Pick Object", description="Use the object at a point of the image. Otherwise the largest one is used"
    )
    point: FloatVectorProperty(
        name="Point",
        description="Point on the object, as fractions of the image's width and height from the top left",
        size=2,
        min=0.0,
        max=1.0,
    )


def models() -> dict[str, protocol.ModelInfo]:
    """The models that can be used now, by name, as the backend lists them."""
    return installation.usable_models(bpy.context)


def chosen_model(settings: EspalierSettings) -> protocol.ModelInfo | None:
    """The model that makes the next object; None if it is missing, or is given by its path."""
    return models().get(settings.model)


def offered(settings: EspalierSettings) -> list[Quality]:
    """The qualities of the chosen model's family; none if the model is missing, or is given by its path."""
    return _offered(settings, models())


def _offered(settings: EspalierSettings, known: dict[str, protocol.ModelInfo]) -> list[Quality]:
    model = known.get(settings.model)
    return qualities(known, family_of(model)) if model else []


def _models(self: EspalierSettings, context: bpy.types.Context | None) -> Items:
    known = models()
    there = sorted({family_of(model) for model in known.values()})
    items = [(name, title_of(name), families.about(installation.models.known, name), i) for i, name in enumerate(there)]
    if self.model not in known:
        items.append((self.model, bpy.path.basename(self.model.rstrip("/\\")), "", len(items)))
    return _keep("models", items)


def _get_model(self: EspalierSettings) -> int:
    model = chosen_model(self)
    name = family_of(model) if model else self.model
    return next(number for identifier, *_, number in _models(self, None) if identifier == name)


def _set_model(self: EspalierSettings, value: int) -> None:
    self.model = _models(self, None)[value][0]
    self.use_steps = self.own_steps = False


def quality_items(self: EspalierSettings, context: bpy.types.Context | None = None) -> Items:
    """The qualities that the panel offers, in the user's language, and *Custom* for a number of steps of one's own."""
    items = [
        (quality.label(), quality.label(translate), _quality_words(quality, resolution(self)), number)
        for number, quality in enumerate(offered(self))
    ]
    words = translate("Set the number of steps yourself, for the model that is not distilled if it is installed")
    items.append((CUSTOM, translate("Custom"), words, len(items)))
    return _keep("qualities", items)


def _quality_words(quality: Quality, resolution: int | None) -> str:
    """The tooltip of a quality: its number of steps, what the model was made for, and how long an object takes here."""
    made_for = "Distilled to a few steps: fast" if quality.model.teacher else "The model's full number of steps"
    time = families.time_of(quality.model.name, quality.requested, resolution)
    return f"{steps_label(*quality.pair, translate)}. {translate(made_for)}. {time}"


def resolutions(settings: EspalierSettings) -> tuple[int, ...]:
    """The resolutions that the chosen model has a choice of; none for most models.

    Of a model that is given by its path nothing is known: it has all, if one was set.
    """
    model = chosen_model(settings)
    if model is not None:
        return model.resolutions
    return protocol.ABOUT["resolution"].only if settings.use_resolution else ()


def resolution(settings: EspalierSettings) -> int | None:
    """The resolution that the panel shows: the chosen one if the model has it, else the model's own."""
    model, offered_here = chosen_model(settings), resolutions(settings)
    wanted = int(settings.resolution) if settings.use_resolution else None
    if model is None or wanted in offered_here:
        return wanted if model is None or wanted is not None else model.own_resolution
    return model.own_resolution or None


def resolution_items(self: EspalierSettings, context: bpy.types.Context | None = None) -> Items:
    """The resolutions as the panel offers them. The tooltips say what each takes here."""
    model = chosen_model(self)
    items = [
        (str(each), str(each), _resolution_words(self, model, each), number)
        for number, each in enumerate(resolutions(self))
    ]
    return _keep("resolutions", items or [("NONE", "", "", 0)])


def _resolution_words(self: EspalierSettings, model: protocol.ModelInfo | None, resolution: int) -> str:
    """The tooltip of a resolution: what it takes of a GPU's memory, and how long an object takes here."""
    if model is None:
        return ""
    steps = self.steps if self.use_steps else None
    return " ".join(
        filter(None, [families.needs(model, resolution), families.time_of(model.name, (steps,), resolution)])
    )


def _get_resolution(self: EspalierSettings) -> int:
    shown = resolution(self)
    return next((number for number, each in enumerate(resolutions(self)) if each == shown), 0)


def _set_resolution(self: EspalierSettings, value: int) -> None:
    model, offered_here = chosen_model(self), resolutions(self)
    if value < len(offered_here):
        chosen = offered_here[value]
        self.resolution = str(chosen)
        self.use_resolution = model is None or chosen != model.own_resolution


def texture_source(settings: EspalierSettings) -> str:
    """Where the texture comes from, also if that is left to the model: *automatic* if it is given by its path."""
    model = chosen_model(settings)
    if model is None:
        return str(settings.texture_source)
    return protocol.texture_source(settings.texture_source, materials=model.materials)


def is_custom(settings: EspalierSettings) -> bool:
    """Whether the number of steps is the user's own, and is shown as such."""
    return bool(settings.quality == CUSTOM)


def _get_quality(self: EspalierSettings) -> int:
    """The index of the present choice. It is the number of offered qualities for *Custom*, and for none of them."""
    known = models()  # once: this is asked for many times in a draw
    model, choices = known.get(self.model), _offered(self, known)
    if model is None or (self.use_steps and self.own_steps):
        return len(choices)
    pair = (self.steps, self.steps) if self.use_steps else model.steps
    chosen = (number for number, quality in enumerate(choices) if (quality.model, quality.pair) == (model, pair))
    return next(chosen, len(choices))


def _set_quality(self: EspalierSettings, value: int) -> None:
    choices = offered(self)
    self.own_steps = value >= len(choices)
    if value < len(choices):
        quality = choices[value]
        self.model, self.use_steps = quality.model.name, quality.steps is not None
        if quality.steps is not None:
            self.steps = quality.steps
        return
    if choices:  # a student is made for its own steps alone
        self.model = choices[-1].model.name
    model = chosen_model(self)
    self.use_steps = True
    if model is not None:
        self.steps = max(model.steps)


def _keep(name: str, items: Items) -> Items:
    if _shown.get(name) != items:
        _shown[name] = items
    return _shown[name]


class EspalierSettings(bpy.types.PropertyGroup):
    """How the next object is made, and where it is placed. ``panel_properties`` adds the settings of a request.

    The model is saved as its name, its steps and its resolution, because the items of ``family``, ``quality`` and
    ``fineness`` depend on which models are downloaded.
    """

    images: CollectionProperty(name="Images", description="The reference images of the object", type=EspalierImage)

    family: EnumProperty(
        name="Model",
        description="Model that generates the object. More models can be downloaded in the preferences",
        items=_models,
        get=_get_model,
        set=_set_model,
    )
    quality: EnumProperty(
        name="Quality",
        description="Number of sampling steps. Fewer steps are faster, more steps give better results",
        items=quality_items,
        get=_get_quality,
        set=_set_quality,
        translation_context=OURS,
    )
    fineness: EnumProperty(
        name="Resolution",
        description="How fine the shape is. Finer shapes take more memory and time",
        items=resolution_items,
        get=_get_resolution,
        set=_set_resolution,
        translation_context=OURS,
    )
    own_steps: BoolProperty(options={"HIDDEN"})  # Custom was chosen, even if a quality has as many steps
    lock_seed: BoolProperty(
        name="Lock Seed",
        description="Keep this seed. Otherwise Generate 3D picks a new one each time",
    )
    variants: IntProperty(
        name="Variants",
        description="Number of objects to generate side by side, each with its own seed",
        default=1,
        min=1,
        max=16,
    )

    candidates: IntProperty(
        name="Candidates",
        description="Number of candidates that Explore makes, each with its own seed",
        default=8,
        min=4,
        max=12,
    )
    candidate_views: EnumProperty(
        name="Candidate Views",
        description="Which images each candidate is made from",
        items=[
            ("ALL", "All Images", "Each candidate is made from all images"),
            ("TURNS", "One Each", "Each candidate is made from one image, in turn"),
        ],
    )
    guide: PointerProperty(
        name="Guide",
        description="Mesh whose shape the object follows and whose place it takes, such as a blockout. Its children "
        "belong to it",
        type=bpy.types.Object,
        poll=lambda self, target: can_guide(target),
        translation_context=OURS,
    )
    guide_voxels: StringProperty(options={"HIDDEN"})  # of an object whose settings were restored, whatever its mesh

    place: EnumProperty(
        name="Placement",
        description="Where to place the object",
        items=[
            (
                "FREE",
                "Free Ground",
                "Beside what is there, where nothing is in the way, or at the 3D cursor if you have moved it",
                "SNAP_FACE",
                4,
            ),
            ("CURSOR", "3D Cursor", "At the 3D cursor", "PIVOT_CURSOR", 0),
            (
                "GROUND",
                "Ground",
                "On the surface below the 3D cursor, or at height zero if there is none",
                "VIEW_PERSPECTIVE",
                1,
            ),
            ("ORIGIN", "World Origin", "At the origin of the world", "WORLD", 2),
            ("ACTIVE", "Active Object", "At the location of the active object, with the same size", "OBJECT_DATA", 3),
        ],
        default="FREE",
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
    """A property for each setting of the panel. A setting that may be None also gets ``use_NAME``."""
    found: dict[str, Any] = {}
    for name in protocol.names(protocol.Door.PANEL):
        about = protocol.ABOUT[name]
        found[name] = _property(name, about)
        if about.own:
            found[f"use_{name}"] = BoolProperty(name=f"Custom {about.title}", description=about.own)
    return found


def _property(name: str, about: protocol.About) -> Any:
    words = {"name": about.title, "description": about.words, "translation_context": OURS}
    shown, usual = about.shown, protocol.default(name)
    if shown.values:
        sizes = [(str(n), f"{n} px", f"{n} x {n} pixels", n) for n in shown.values]
        return EnumProperty(items=sizes, default=str(usual), **words)
    if about.only:
        numbers = [(str(n), str(n), "", n) for n in about.only]
        return EnumProperty(items=numbers, default=str(shown.default), **words)
    if about.choices:
        items = [
            (choice.value, choice.title, choice.words, place if choice.number is None else choice.number)
            for place, choice in enumerate(about.choices)
        ]
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


def shown_settings(settings: EspalierSettings) -> dict[str, Any]:
    """The settings of a request as the panel shows them. The model is named as a request names it."""
    chosen: dict[str, Any] = {}
    for name in protocol.names(protocol.Door.PANEL):
        about = protocol.ABOUT[name]
        left = about.own and not getattr(settings, f"use_{name}")
        chosen[name] = None if left else _value(settings, name)
    if _own_folder(settings.model):
        chosen["model"] = paths.absolute(settings.model)
    return chosen


def chosen_settings(settings: EspalierSettings) -> dict[str, Any]:
    """The settings of a request: those that are shown, but what the chosen model cannot do, which is drawn inactive.

    So a preset, or what was set for another model, never ends in a refusal.
    """
    chosen, model = shown_settings(settings), chosen_model(settings)
    if model is None:
        return chosen
    chosen["resolution"] = resolution(settings)
    chosen["texture_source"] = texture_source(settings)
    if model.materials:
        chosen["roughness"] = protocol.default("roughness")
    if not model.guides and chosen["shape_strength"] > 0:
        chosen["shape_strength"] = 1.0
    return chosen


def _value(settings: EspalierSettings, name: str) -> Any:
    """A setting as the panel shows it, of its own kind. Blender keeps 0.6 in 32 bits: as 0.60000002."""
    kind, value = protocol.ABOUT[name].kind, getattr(settings, name)
    return float(f"{value:.{DIGITS}g}") if kind is float else kind(value)


def show_setting(settings: EspalierSettings, name: str, value: Any) -> bool:
    """Show a value of a setting in the panel (or None). False if the panel cannot show it."""
    about = protocol.ABOUT[name]
    if name == "steps":
        settings.own_steps = False  # those of a quality are shown as that quality
    if about.own:
        setattr(settings, f"use_{name}", value is not None)
        if value is None:
            return True
    try:
        setattr(settings, name, str(value) if about.shown.values or about.only else value)
    except (TypeError, OverflowError):  # the object was made by batch, with a value that the panel does not offer
        return False
    return bool(_value(settings, name) == value)


def _own_folder(model: str) -> bool:
    """Whether the model is the path of a folder that holds one."""
    return Path(paths.absolute(model), "pipeline.json").is_file()


def lacks_model(settings: EspalierSettings) -> bool:
    """Whether the chosen model is missing. While the list of models is still unknown, it is not."""
    return bool(models()) and chosen_model(settings) is None and not _own_folder(settings.model)


EspalierSettings.__annotations__.update(panel_properties())

_classes = (EspalierImage, EspalierSettings)
_register, _unregister = bpy.utils.register_classes_factory(_classes)


def register() -> None:
    """Register the properties, and give every scene ``espalier``."""
    _register()
    bpy.types.Scene.espalier = PointerProperty(type=EspalierSettings)


def unregister() -> None:
    """Undo ``register``."""
    del bpy.types.Scene.espalier
    _unregister()
