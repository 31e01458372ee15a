"""The cameras that the reference images were taken with, as far as the backend found them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import bpy
from mathutils import Euler, Matrix, Vector

from .made import CAMERAS
from .replace import extent


def has_cameras(target: bpy.types.Object) -> bool:
    """Whether an object knows where one of its images was taken from."""
    return CAMERAS in target


def add(target: bpy.types.Object, collection: bpy.types.Collection, sources: list[str]) -> list[bpy.types.Object]:
    """Add a camera for each image of an object whose camera is known, with the image as its background.

    The cameras are children of the object and keep its size. ``sources`` are its images: paths, or images of the .blend
    as ``image:NAME``. A camera whose image is gone has no background.
    """
    about = json.loads(target[CAMERAS])
    bottom, side = extent(target.data)
    factor = side / about["cube"]["side"]
    made = []
    for number, found in enumerate(about["cameras"]):
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
        at = turn @ Vector((0, 0, found["distance"])) - Vector(about["cube"]["bottom"])
        place = Vector(bottom.tolist()) + factor * at
        camera.matrix_local = Matrix.Translation(place) @ turn.to_4x4()
        data.clip_end = max(data.clip_end, 4 * factor * found["distance"])
        collection.objects.link(camera)
        made.append(camera)
    return made


def _image(source: str) -> Any:
    """The image of a source; None if it is gone."""
    kind, _, name = source.partition(":")
    if kind in ("image", "cutout") and name in bpy.data.images:
        return bpy.data.images[name]
    if not Path(source).is_file():
        return None
    try:
        return bpy.data.images.load(source, check_existing=True)
    except RuntimeError:  # Blender cannot read this kind of image; the camera is right without it
        return None
