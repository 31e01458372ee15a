"""The place and the size of a new object."""

from __future__ import annotations

from typing import TypeAlias

import bpy
from mathutils import Vector

Location: TypeAlias = tuple[float, float, float]

#: The distance between two variants, in lengths of the longest side. None touches its neighbour.
SPACING = 1.25
COLUMNS = 4  # of candidates
ABOVE = 1e-4  # metres: so that a cursor that was snapped to a surface finds that surface


def find_place(context: bpy.types.Context) -> tuple[Location, float]:
    """What the scene's settings ask for: the centre of the bottom, and the length of the longest side."""
    settings, cursor = context.scene.espalier, context.scene.cursor.location
    match settings.place:
        case "ORIGIN":
            return (0.0, 0.0, 0.0), settings.size
        case "GROUND":
            return ground(context, cursor), settings.size
        case "ACTIVE" if context.active_object is not None:
            location, size = bounds(context.active_object)
            return location, size or settings.size
    return tuple(cursor), settings.size


def beside(location: Location, size: float, number: int) -> Location:
    """The place of a variant: in a row, to the right as seen from the front."""
    x, y, z = location
    return x + number * SPACING * size, y, z


def in_grid(location: Location, size: float, number: int) -> Location:
    """The place of a candidate: in rows of ``COLUMNS``, each behind the one before as seen from the front."""
    x, y, z = beside(location, size, number % COLUMNS)
    return x, y + number // COLUMNS * SPACING * size, z


def ground(context: bpy.types.Context, point: Vector) -> Location:
    """The highest visible surface below a point; height zero if there is none."""
    start = point + Vector((0.0, 0.0, ABOVE))
    hit, location, *_ = context.scene.ray_cast(context.evaluated_depsgraph_get(), start, Vector((0.0, 0.0, -1.0)))
    return tuple(location) if hit else (point.x, point.y, 0.0)


def bounds(target: bpy.types.Object) -> tuple[Location, float]:
    """The centre of the bottom and the longest side of an object's bounding box, in world space. The side may be 0."""
    corners = [target.matrix_world @ Vector(corner) for corner in target.bound_box]
    low, high = (Vector(tuple(pick(axis) for axis in zip(*corners, strict=True))) for pick in (min, max))
    middle = (low + high) / 2
    return (middle.x, middle.y, low.z), max(high - low)
