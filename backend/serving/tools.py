"""What the tool server offers: an object from images, a texture for a mesh, the list of models.

A tool's settings and their words are those of ``settings.ABOUT``, so that assistants, people and scripts have the same.
Nothing here imports torch: the server describes its tools before that is there. ``workshop`` carries them out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from .. import protocol
from ..errors import BackendError, SettingsError
from .model_list import list_models

DOOR = protocol.Door.COMMAND
MOST_IMAGES = 64

#: What is not a setting: JSON schemas of the arguments that say what goes in and where it comes out.
_PATH = {"type": "string", "minLength": 1}
_POINT = {"type": ["array", "null"], "items": {"type": "number", "minimum": 0, "maximum": 1}}
ARGUMENTS: dict[str, dict[str, Any]] = {
    "images": {
        "type": "array",
        "items": _PATH,
        "minItems": 1,
        "maxItems": MOST_IMAGES,
        "description": "Paths of images of one object, the front first",
    },
    "out": {**_PATH, "description": "Path of the folder that the asset is written to. It is made if it is missing"},
    "mesh": {
        **_PATH,
        "description": "Path of an .npz with the arrays vertices [V, 3] (z up, front to -Y), faces [F, 3] and, if it "
        "has them, uvs [F, 3, 2]. Each asset has such a file",
    },
    "name": {
        **_PATH,
        "description": "What the asset is called (default: as the first image). An asset of the same images and name "
        "is replaced: to keep several, such as those of different seeds, give each a name",
    },
    "points": {
        "type": "array",
        "items": _POINT,
        "description": "For each image a place on the object that is meant, [x, y] as fractions of width and height "
        "from the top left, or null for the largest object",
    },
}


@dataclass(frozen=True)
class Tool:
    """A tool: what it does, in words, and which arguments besides settings it needs and may have."""

    title: str
    words: str
    needs: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()
    has_settings: bool = True

    @property
    def paints(self) -> bool:
        """Whether it paints a given mesh."""
        return "mesh" in self.needs

    @property
    def settings(self) -> tuple[str, ...]:
        """The names of the settings that it has."""
        return protocol.names(DOOR, for_a_mesh=self.paints) if self.has_settings else ()


_FILES = "It writes a .glb with its textures, and other formats on request, and returns the paths of all files."
TOOLS: dict[str, Tool] = {
    "generate": Tool(
        "Generate",
        f"Make a textured 3-D mesh of the object that one or several images show. {_FILES}",
        ("images", "out"),
        ("name", "points"),
    ),
    "retexture": Tool(
        "Retexture",
        f"Paint a given mesh as images show it. Its shape stays. {_FILES}",
        ("images", "mesh", "out"),
        ("name", "points"),
    ),
    "list_models": Tool(
        "List Models", "List the models that can make objects, and those that can be installed.", has_settings=False
    ),
}


def schema(name: str) -> dict[str, Any]:
    """The JSON schema of a tool's arguments."""
    tool = TOOLS[name]
    properties = {argument: ARGUMENTS[argument] for argument in (*tool.needs, *tool.takes)}
    properties |= {setting: _setting(setting) for setting in tool.settings}
    return {
        "type": "object",
        "properties": properties,
        "required": list(tool.needs),
        "additionalProperties": False,
    }


def _setting(name: str) -> dict[str, Any]:
    about, usual = protocol.ABOUT[name], protocol.default(name)
    kind = {bool: "boolean", int: "integer", float: "number", str: "string", tuple: "array"}[about.kind]
    found: dict[str, Any] = {"type": [kind, "null"] if about.own else kind, "description": _words(about)}
    found["default"] = list(usual) if isinstance(usual, tuple) else usual
    limits = {"minimum": about.low, "maximum": about.high}
    found |= {limit: value for limit, value in limits.items() if value is not None}
    if about.kind is tuple:
        found["items"] = {"enum": list(about.values)}
    elif about.choices:
        found["enum"] = list(about.values)
    elif about.only:
        found["enum"] = [*about.only, None]
    return found


def _words(about: protocol.About) -> str:
    choices = "; ".join(f"{choice.value}: {choice.words}" for choice in about.choices)
    unset = f"null: {about.unset}" if about.own else ""
    return ". ".join(filter(None, [about.words, choices, unset]))


@dataclass(frozen=True)
class Asked:
    """The arguments of a call, checked."""

    images: tuple[str, ...]
    out: str
    mesh: str
    name: str
    points: tuple[protocol.Point | None, ...]
    settings: dict[str, Any]

    @classmethod
    def read(cls, tool: Tool, arguments: Mapping[str, Any]) -> Asked:
        """Read the arguments of a call, which may hold anything. Raises SettingsError and InvalidSetting."""
        known = (*tool.needs, *tool.takes)
        given = {name: arguments[name] for name in known if name in arguments}
        for name in tool.needs:
            if name not in given:
                raise _invalid(f"The argument {name} is missing: {ARGUMENTS[name]['description']}.")
        settings = {name: value for name, value in arguments.items() if name not in known}
        settings = protocol.from_names(settings, DOOR, for_a_mesh=tool.paints)
        images, points = given["images"], given.get("points", [])
        if not isinstance(images, list) or not 0 < len(images) <= MOST_IMAGES:
            raise _invalid(f"The images must be a list of 1 to {MOST_IMAGES} paths, not {images!r}.")
        texts = {name: given[name] for name in ("out", "mesh", "name") if name in given}
        for name, value in [*texts.items(), *(("images", path) for path in images)]:
            if not isinstance(value, str) or not value:
                raise _invalid(f"The argument {name} must be text, not {value!r}.")
        if not isinstance(points, list):
            raise _invalid(f"The points must be a list, not {points!r}.")
        if "model" in settings:
            _require_model(settings["model"])
        pairs = tuple(tuple(point) if isinstance(point, list) else point for point in points)
        mesh, name = texts.get("mesh", ""), texts.get("name", "")
        return cls(tuple(images), texts["out"], mesh, name, pairs, settings)


def _invalid(words: str) -> SettingsError:
    return SettingsError("settings_invalid", words)


def _require_model(name: str) -> None:
    """Refuse what is no name of a model: a model's folder would be read wherever it is. Raises BackendError."""
    there = {model.name: model for model in list_models().models}
    if name not in there:
        usable = ", ".join(sorted(model.name for model in there.values() if model.usable))
        raise BackendError("model_unknown", f"There is no model named {name!r}.", f"Choose one of {usable}.")


def models() -> dict[str, Any]:
    """What ``list_models`` returns: the models, without the folders that they are in."""
    facts = "name", "title", "state", "usable", "steps", "teacher", "gaussians", "materials", "guides", "resolutions"
    kept = (*facts, "own_resolution", "licence", "source", "size", "problem")
    listed = ({name: asdict(model)[name] for name in kept} for model in list_models().models)
    return {"default": protocol.DEFAULT_MODEL, "models": list(listed)}
