"""The settings of one object. Each is declared once, here, with everything that its doors need to know about it.

A *door* is a way to set a setting: the command line, batch, the panel, a preset, or what an object remembers. All doors
are derived from this table. A new setting needs a field here, the code that uses it, and its translation
(CONTRIBUTING.md lists what else). This module uses the standard library only; ``protocol`` exports it.
"""

from __future__ import annotations

import argparse
import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from . import print_facts
from .formats import FORMATS, Offer, offered

#: The model that is used when none is named: the bundled student with two steps.
DEFAULT_MODEL = "mini-mdt"


class InvalidSetting(ValueError):
    """A setting has an invalid value. The text says which values are valid."""


class Door(enum.Flag):
    """Ways to set a setting."""

    COMMAND = enum.auto()  # ``python -m backend generate``
    BATCH = enum.auto()  # ``scripts/batch.py`` and ``blender --command espalier``
    PANEL = enum.auto()
    PRESET = enum.auto()  # saved with a preset
    OBJECT = enum.auto()  # remembered by an object, to make it again
    ALL = COMMAND | BATCH | PANEL | PRESET | OBJECT


@dataclass(frozen=True)
class Choice:
    """One of the values that a setting can have, with the title and the explanation that the panel shows."""

    value: str
    title: str
    words: str
    number: int | None = None  # what a .blend keeps of it; None: its place among the choices


@dataclass(frozen=True)
class Shown:
    """How the panel shows a number. None means the same as in the setting itself."""

    low: int | float | None = None
    high: int | float | None = None
    soft_high: int | float | None = None  # where its slider ends
    step: int | None = None
    default: int | float | None = None  # for a setting that may be None
    values: tuple[int, ...] = ()  # only these can be chosen


@dataclass(frozen=True)
class About:
    """Everything there is to know about a setting. People read ``title`` and ``words`` in the panel and in --help."""

    kind: type
    title: str
    words: str
    doors: Door = Door.ALL
    low: int | float | None = None
    high: int | float | None = None
    choices: tuple[Choice, ...] = ()
    only: tuple[int, ...] = ()  # the only numbers that are valid
    own: str = ""  # for a setting that may be None: the tooltip of the checkbox that sets it
    unset: str = "the model's"  # what holds if it is None, for --help
    shown: Shown = Shown()

    @property
    def values(self) -> tuple[str, ...]:
        """The values that can be chosen; empty if there are no choices."""
        return tuple(choice.value for choice in self.choices)


def _setting(default: Any, kind: type, title: str, words: str, **more: Any) -> Any:
    return field(default=default, metadata={"about": About(kind, title, words, **more)})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of one object. Raises InvalidSetting.

    ``steps``, ``guidance`` and ``resolution`` are left to the model's pipeline.json by None, and ``faces`` counts
    unless ``max_error`` is set.
    """

    model: str = _setting(
        DEFAULT_MODEL, str, "Model", "Model that generates the object: its name or the path of its folder"
    )
    steps: int | None = _setting(
        None,
        int,
        "Steps",
        "Number of sampling steps, for the shape and again for the detail. More steps take longer",
        low=1,
        high=1000,
        own="Set the number of sampling steps. Otherwise the model's default is used",
        shown=Shown(soft_high=50, default=2),
    )
    guidance: float | None = _setting(
        None,
        float,
        "Guidance",
        "How strongly the images guide the object",
        low=0.0,
        high=100.0,
        own="Set how strongly the images guide the object. Otherwise the model's default is used",
        shown=Shown(soft_high=10.0, default=5.0),
    )
    resolution: int | None = _setting(
        None,
        int,
        "Resolution",
        "How fine the shape is: cells along each side of the grid that it is made on. Only models of TRELLIS.2 have a "
        "choice",
        low=512,
        high=1536,
        only=(512, 1024, 1536),
        own="Set how fine the shape is. Otherwise the model's default is used",
        shown=Shown(default=1024),
    )
    seed: int = _setting(
        0,
        int,
        "Seed",
        "Random seed. The same seed gives the same object, a different seed gives a different one",
        doors=Door.ALL & ~Door.PRESET,
        low=0,
        high=2**63 - 1,
        shown=Shown(high=2**31 - 1),
    )
    shape_strength: float = _setting(
        0.6,
        float,
        "Shape Strength",
        "How closely the object follows the guide, if there is one. 1 takes its voxels as they are, 0 ignores it",
        doors=Door.ALL & ~Door.BATCH,
        low=0.0,
        high=1.0,
    )
    faces: int = _setting(
        10_000,
        int,
        "Faces",
        "Maximum number of triangles in the finished mesh",
        low=4,
        high=10_000_000,
        shown=Shown(low=100, high=1_000_000, soft_high=200_000, step=100_000),
    )
    max_error: float | None = _setting(
        None,
        float,
        "Maximum Error",
        "Largest distance of the finished mesh from the decoded one, in percent of its longest side",
        low=0.001,
        high=100.0,
        own="Use as few triangles as keep the mesh this close to the decoded one, however many that are",
        unset="none: the number of faces counts",
        shown=Shown(low=0.01, high=10.0, soft_high=2.0, default=0.5),
    )
    quads: bool = _setting(
        False,
        bool,
        "Quads",
        "Cover the surface with quads along its curvature instead of triangles. A quad counts as two triangles",
    )
    lods: bool = _setting(
        False,
        bool,
        "Levels of Detail",
        "Also make the mesh with 50, 25 and 12 percent of its faces, for the same texture, as hidden objects",
    )
    collision: bool = _setting(
        False,
        bool,
        "Collision Hulls",
        "Also make convex hulls for the collisions of game engines, as hidden objects",
    )
    texture_size: int = _setting(
        1024,
        int,
        "Texture",
        "Width and height of the texture in pixels",
        low=16,
        high=8192,
        shown=Shown(values=(512, 1024, 2048, 4096, 8192)),
    )
    udim: bool = _setting(
        False,
        bool,
        "UDIM Tiles",
        "Lay the texture out in four UDIM tiles, each half as wide. glTF, which has no tiles, gets it whole",
    )
    background: str = _setting(
        "automatic",
        str,
        "Background",
        "Whether the background of the images is removed",
        choices=(
            Choice("automatic", "Automatic", "An image's own transparency is used. Other backgrounds are removed"),
            Choice("always", "Always", "Backgrounds are removed, also from images with transparency"),
            Choice("never", "Never", "Images are used whole, for objects that already stand alone on black"),
        ),
    )
    # All at once by default: a distilled flow takes one or two steps, so at most two images would get a turn.
    multi_image: str = _setting(
        "multidiffusion",
        str,
        "Views",
        "How several images are combined",
        choices=(
            Choice("multidiffusion", "All at Once", "Every step uses all images. Best with few steps"),
            Choice("stochastic", "In Turn", "Each step uses one of the images in turn. Faster, but needs many steps"),
        ),
    )
    # The numbers are older than the first choice: files have been saved with them.
    texture_source: str = _setting(
        "automatic",
        str,
        "Texture Source",
        "Where the colors of the texture come from",
        choices=(
            Choice(
                "automatic",
                "Automatic",
                "The picture for a model that makes colors alone, whose colors are coarse. The model's own colors for "
                "one that makes materials, whose colors are free of light",
                3,
            ),
            Choice(
                "picture",
                "Picture",
                "The images themselves, where they show the object, and its vertex colors elsewhere",
                0,
            ),
            Choice("colors", "Vertex Colors", "The vertex colors of the decoded mesh. Every model has them", 1),
            Choice(
                "gaussians",
                "Gaussians",
                "The 3D Gaussians around the surface. Sharper, but not every model has them",
                2,
            ),
        ),
    )
    picture_strength: float = _setting(
        1.0,
        float,
        "Picture Strength",
        "How much of the images is painted onto the texture, if its source is the picture",
        low=0.0,
        high=1.0,
    )
    keep_shading: bool = _setting(
        False,
        bool,
        "Keep Shading",
        "Leave the light and the shadows of the images in the texture, if its source is the picture",
    )
    roughness: str = _setting(
        "constant",
        str,
        "Roughness",
        "How rough the surface is. It is never metal: an image does not tell",
        choices=(
            Choice("constant", "Constant", "The same roughness everywhere"),
            Choice(
                "estimated",
                "Estimated",
                "By the highlights in the images, if the texture is painted from them. Where they show none, it is the "
                "constant",
            ),
        ),
    )
    normal_map: bool = _setting(
        True,
        bool,
        "Normal Map",
        "Bake the detail of the decoded mesh into a normal map, so that few faces look like many. Green is up, as in "
        "OpenGL",
    )
    ambient_occlusion: bool = _setting(
        False,
        bool,
        "Ambient Occlusion",
        "Bake an ambient occlusion map for game engines. It is part of exported glTF files and does not change renders",
    )
    keep_raw: bool = _setting(
        False,
        bool,
        "Keep Raw",
        "Keep the mesh as it was decoded, with its vertex colors, as a second, hidden object",
    )
    low_memory: bool = _setting(
        False,
        bool,
        "Low Memory",
        "Keep each network in memory only while it is in use. Slower, with the same result",
    )
    retry_seconds: float = _setting(
        10.0,
        float,
        "Retry Time",
        "How many seconds to keep retrying when a shape does not match the image. 0 turns retries off",
        low=0.0,
        high=3600.0,
        shown=Shown(soft_high=60.0),
    )
    formats: tuple[str, ...] = _setting(
        (),
        tuple,
        "Formats",
        "Other files to write besides the .glb",
        doors=Door.COMMAND,
        choices=tuple(
            Choice(name, FORMATS[name].title, FORMATS[name].words) for name in offered(Offer.COMMAND) if name != "glb"
        ),
    )
    draco: bool = _setting(
        False,
        bool,
        "Draco",
        "Compress the mesh in the .glb with Draco. Not every program can read it",
        doors=Door.COMMAND | Door.BATCH,
    )
    collision_nodes: bool = _setting(
        False,
        bool,
        "Collision Nodes",
        "Put the convex hulls into the .glb, named for Godot. Other programs show them",
        doors=Door.COMMAND | Door.BATCH,
    )
    print_size: float = _setting(
        print_facts.SIZE,
        float,
        "Print Size",
        "Length of the longest side in files for 3D printing, in millimeters",
        doors=Door.COMMAND | Door.BATCH,
        low=1.0,
        high=10_000.0,
    )

    def __post_init__(self) -> None:
        for name in ABOUT:
            wrong = problem(name, getattr(self, name))
            if wrong:
                raise InvalidSetting(wrong)
        if self.udim and self.texture_size % 2:
            raise InvalidSetting(f"Texture size must be even for UDIM tiles, not {self.texture_size}.")

    def settled(self, *, materials: bool) -> Settings:
        """The same with the texture source that *Automatic* means; ``materials``: the model makes them."""
        return replace(self, texture_source=texture_source(self.texture_source, materials=materials))

    @property
    def is_printed(self) -> bool:
        """Whether a format for 3-D printing was asked for."""
        return any(FORMATS[name].print_size for name in self.formats)

    @property
    def gaussians(self) -> bool:
        """Whether the model's 3-D Gaussians are needed."""
        return self.texture_source == "gaussians" or "gaussians" in self.formats


#: What has no effect when a given mesh is painted, with the value that says so.
FOR_A_GIVEN_MESH: Mapping[str, Any] = {
    "shape_strength": 0.0,
    "max_error": None,
    "quads": False,
    "lods": False,
    "collision": False,
    "roughness": "constant",
    "udim": False,
    "normal_map": False,
    "ambient_occlusion": False,
    "keep_raw": False,
}

#: Every setting by its name, in the order in which people see them.
ABOUT: dict[str, About] = {each.name: each.metadata["about"] for each in fields(Settings)}


def names(door: Door, *, for_a_mesh: bool = False) -> tuple[str, ...]:
    """The settings that a door offers; ``for_a_mesh`` only those that have an effect on a given mesh."""
    without = {*FOR_A_GIVEN_MESH, "faces"} if for_a_mesh else set()
    return tuple(name for name, about in ABOUT.items() if door in about.doors and name not in without)


def from_names(given: Mapping[str, Any], door: Door, *, for_a_mesh: bool = False) -> dict[str, Any]:
    """The settings that a program gives by their names, checked: of those that ``names`` has. A list may stand for
    a tuple. Raises InvalidSetting.
    """
    offered_here = names(door, for_a_mesh=for_a_mesh)
    for name in given:
        if name not in offered_here:
            why = "has no effect on a given mesh" if name in names(door) else "is not known"
            raise InvalidSetting(f"The setting {name} {why}. Choose from {', '.join(offered_here)}.")
    settings: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in given.items()
    }
    Settings(**settings)
    return settings


def texture_source(chosen: str, *, materials: bool) -> str:
    """Where the texture comes from, of what was chosen; ``materials``: the model makes them.

    Their base color is without light. A picture has its light in it, and painted over would show it twice.
    """
    return ("colors" if materials else "picture") if chosen == "automatic" else chosen


def default(name: str) -> Any:
    """The value of a setting that nobody has set."""
    return getattr(Settings, name)


def problem(name: str, value: object) -> str:
    """Why a value is invalid for a setting, in one sentence; empty if it is valid."""
    about, what = ABOUT[name], name.replace("_", " ").capitalize()
    if value is None and about.own:
        return ""
    if about.kind is tuple:
        known = isinstance(value, tuple) and all(isinstance(one, str) and one in about.values for one in value)
        return "" if known else f"{what} must be among {', '.join(about.values)}, not {value!r}."
    if about.choices:
        known = isinstance(value, str) and value in about.values
        return "" if known else f"{what} must be {' or '.join(about.values)}, not {value!r}."
    if about.kind is bool:
        return "" if isinstance(value, bool) else f"{what} must be on or off, not {value!r}."
    if about.kind is str:
        return "" if isinstance(value, str) and value else f"{what} must be text, not {value!r}."
    if about.only:
        known = isinstance(value, int) and not isinstance(value, bool) and value in about.only
        return "" if known else f"{what} must be {' or '.join(map(str, about.only))}, not {value!r}."
    numbers = (int,) if about.kind is int else (int, float)
    if isinstance(value, numbers) and not isinstance(value, bool) and math.isfinite(value):
        assert about.low is not None
        assert about.high is not None
        if about.low <= value <= about.high:
            return ""
    kind = "whole number" if about.kind is int else "number"
    return f"{what} must be a {kind} from {about.low} to {about.high}, not {value!r}."


# --- command lines ---------------------------------------------------------------------------------------------------


def add_options(parser: argparse.ArgumentParser, door: Door, only: tuple[str, ...] = ()) -> None:
    """Add an option for each setting that a door offers, or ``only`` for some: ``texture_size`` is --texture-size."""
    for name in only or names(door):
        about, flag = ABOUT[name], "--" + name.replace("_", "-")
        words = about.words.replace("%", "%%")
        if about.kind is bool:
            words = f"{words} (default: {'yes' if default(name) else 'no'})"
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, default=default(name), help=words)
        elif about.kind is tuple:
            known = ", ".join(about.values)
            more: dict[str, Any] = {"dest": name, "type": _listed, "metavar": "A,B", "default": default(name)}
            parser.add_argument("--format", help=f"{words}: {known}", **more)
            # Its former name, which takes them separated by spaces.
            more |= {"nargs": "+", "action": _Joined, "help": argparse.SUPPRESS}
            parser.add_argument("--formats", **more)
        elif about.choices:
            parser.add_argument(
                flag, choices=about.values, default=default(name), help=f"{words} (default: %(default)s)"
            )
        else:
            usual = about.unset if about.own else "%(default)s"
            metavar = {int: "N", float: "X", str: "NAME"}[about.kind]
            shown: dict[str, Any] = {"choices": about.only} if about.only else {"metavar": metavar}
            parser.add_argument(
                flag, type=about.kind, default=default(name), help=f"{words} (default: {usual})", **shown
            )


def from_options(options: argparse.Namespace, door: Door) -> dict[str, Any]:
    """The settings that were given on a command line. Raises InvalidSetting."""
    chosen = {name: getattr(options, name) for name in names(door)}
    Settings(**chosen)
    return chosen


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


class _Joined(argparse.Action):
    """Joins several lists into one."""

    def __call__(self, parser: object, namespace: argparse.Namespace, values: Any, option: str | None = None) -> None:
        setattr(namespace, self.dest, tuple(name for part in values for name in part))
