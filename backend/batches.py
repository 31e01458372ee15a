"""What every batch makes of images: which objects they show, which files each object has, and what no model can do.

Batches in Blender and the farm share it. Standard library only: both sides import this module.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePath
from typing import Any, TypeVar

from .command_reports import ModelInfo
from .formats import FORMATS, LEVELS, METALNESS, TARGETS, TEXTURES, TILES, Offer, files_of, in_tiles, parts_of

#: Endings of file names that mark images as views of one object: ``mug_front.png``, ``mug_back.png``.
VIEWS = ("front", "left", "right", "back", "top", "bottom")
VIEW_NAME = re.compile(rf"(?P<object>.+)[_-](?P<view>{'|'.join(VIEWS)})", re.IGNORECASE)

AnyPath = TypeVar("AnyPath", bound=PurePath)


def objects(images: Iterable[AnyPath], views: bool) -> list[tuple[str, list[AnyPath]]]:
    """The names of the objects that images show, and their views, the front first."""
    groups: dict[tuple[AnyPath, str], dict[int, AnyPath]] = {}
    for image in images:
        match = VIEW_NAME.fullmatch(image.stem) if views else None
        view = VIEWS.index(match["view"].lower()) if match else 0
        key = (image.parent, match["object"]) if match else (image, "")
        if view in groups.setdefault(key, {}):  # a second front (mug_front.png, mug_front.jpg) is another object
            key = (image, "")
        groups.setdefault(key, {})[view] = image
    found = []
    for (_, name), by_view in groups.items():
        paths = [by_view[view] for view in sorted(by_view)]
        found.append((name if len(paths) > 1 else paths[0].stem, paths))
    return found


def written_by_blender(name: str) -> bool:
    """Whether a format is written by one of Blender's exporters."""
    return FORMATS[name].by_blender and name != "blend"


def has_tiles(name: str, options: argparse.Namespace) -> bool:
    """Whether the textures of a format are UDIM tiles: the backend writes them whole."""
    return options.udim and written_by_blender(name) and FORMATS[name].tiles


def files_of_formats(
    options: argparse.Namespace, which: Callable[[str], bool] = lambda name: True, *, materials: bool = False
) -> dict[str, str]:
    """The endings of an asset's files, by kind, in those of the chosen formats for which ``which`` holds.

    ``materials``: the model makes them, which no option says.
    """
    packed = options.ambient_occlusion or options.roughness == "estimated" or materials
    has = {"texture": True, "normal_map": options.normal_map, "occlusion": packed}
    images = tuple(kind for kind in TEXTURES if has[kind])
    found: dict[str, str] = {}
    for name in filter(which, options.formats):
        target, levels = TARGETS[options.target], LEVELS if options.lods else ()
        tiles = dict.fromkeys(images, TILES) if has_tiles(name, options) else {}
        found |= in_tiles(files_of(name, images, target), tiles) | parts_of(
            name, Offer.BATCH, levels, options.collision, target
        )
        found |= METALNESS if materials and FORMATS[name].metalness else {}
    return found


def problem_with_model(settings: Mapping[str, Any], model: ModelInfo) -> str:
    """Why no object could be made with these settings and this model, in a sentence; empty if some could."""
    name = settings["model"]
    if settings["texture_source"] == "gaussians" and not model.gaussians:
        return f"--texture-source gaussians: the model {name} has none, so no object could be made."
    if settings["roughness"] == "estimated" and model.materials:
        return f"--roughness estimated: the model {name} makes the roughness itself. Leave it at constant."
    if settings["resolution"] is not None and settings["resolution"] not in model.resolutions:
        those = " or ".join(map(str, model.resolutions))
        has = f"makes shapes at {those} only" if those else "has no choice of resolutions"
        return f"--resolution {settings['resolution']}: the model {name} {has}."
    return ""
