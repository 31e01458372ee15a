"""The cameras that the reference images were taken with, as far as the backend found them."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import bpy
from mathutils import Euler, Matrix, Vector

from ...backend import protocol
from ..translations import translate
from .made import CAMERAS, MOST_IMAGES, MOST_LETTERS, MOST_METRES, Unreadable
from .paths import absolute
from .replace import extent

#: The numbers that are known of a camera.
NUMBERS = tuple(each.name for each in dataclasses.fields(protocol.ImageCamera) if each.name != "painted")


def has_cameras(target: bpy.types.Object) -> bool:
    """Whether an object knows where one of its images was taken from."""
    return CAMERAS in target


def add(target: bpy.types.Object, collection: bpy.types.Collection, sources: list[str]) -> list[bpy.types.Object]:
    """Add a camera for each image of an object whose camera is known, with the image as its background.

    The cameras are children of the object and keep its size. ``sources`` are its images: paths, or images of the .blend
    as ``image:NAME``. A camera whose image is gone has no background. Raises Unreadable if the object holds something
    else than ``remember_cameras`` wrote.
    """
    middle, length, places = _recall(target)
    bottom, side = extent(target.data)
    factor = side / length
    made = []
    for number, found in enumerate(places):
        if not found:
            continue
        data = bpy.data.cameras.new(f"{target.name} image {number + 1}")
        data.angle = math.radians(found["angle"])
        data.shift_x, data.shift_y = found["shift_x"], found["shift_y"]
        picture = _image(sources[number]) if number < len(sources) else None
        if picture is not None:
            background = data.background_images.new()
            background.image = picture
            data.show_background_images = True
        camera = bpy.data.objects.new(data.name, data)
        camera.parent = target
        turn = Euler((math.radians(90 - found["elevation"]), 0, math.radians(found["azimuth"]))).to_matrix()
        at = turn @ Vector((0, 0, found["distance"])) - Vector(middle)
        place = Vector(bottom.tolist()) + factor * at
        camera.matrix_local = Matrix.Translation(place) @ turn.to_4x4()
        data.clip_end = max(data.clip_end, 4 * factor * found["distance"])
        collection.objects.link(camera)
        made.append(camera)
    return made


def _recall(target: bpy.types.Object) -> tuple[list[float], float, list[dict[str, float]]]:
    """What ``remember_cameras`` wrote: the middle of the object's bottom, its longest side, each image's camera.

    Raises Unreadable: the file may be from anybody.
    """
    text = target[CAMERAS]
    try:
        if not isinstance(text, str) or len(text) > MOST_IMAGES * MOST_LETTERS:
            raise ValueError(text)
        about = json.loads(text)
        middle = [_length(about["cube"]["bottom"][axis]) for axis in range(3)]
        side = _length(about["cube"]["side"])
        places = [{name: _length(found[name]) for name in NUMBERS} if found else {} for found in about["cameras"]]
        if side <= 0 or len(places) > MOST_IMAGES:
            raise ValueError(side)
    except (ValueError, TypeError, KeyError, IndexError, RecursionError) as error:
        raise Unreadable(translate("What the object says of its cameras cannot be read")) from error
    return middle, side, places


def _length(value: object) -> float:
    """A number that can be a place in a scene. Raises ValueError."""
    if not isinstance(value, int | float) or not abs(value) <= MOST_METRES:
        raise ValueError(value)
    return float(value)


def _image(source: str) -> Any:
    """The image of a source; None if it is gone."""
    source = absolute(source)
    kind, _, name = source.partition(":")
    if kind in ("image", "cutout") and name in bpy.data.images:
        return bpy.data.images[name]
    if not Path(source).is_file():
        return None
    try:
        return bpy.data.images.load(source, check_existing=True)
    except RuntimeError:  # Blender cannot read this kind of image; the camera is right without it
        return None
