"""The place and the size of a new object."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import bpy
from mathutils import Vector

from ..scene.made import is_made
from . import free_ground
from .free_ground import GAP, Location

#: The distance between two variants, in lengths of the longest side. None touches its neighbour.
SPACING = 1 + GAP
COLUMNS = 4  # of candidates
ABOVE = 1e-4  # metres: so that a cursor that was snapped to a surface finds that surface
SAME = 1e-3  # of an object's size: two objects that stand closer than this stand in the same place


def find_place(context: bpy.types.Context) -> tuple[Location, float]:
    """What the scene's settings ask for: the centre of the bottom, and the length of the longest side."""
    (location,), size = find_row(context, 1)
    return location, size


def find_row(context: bpy.types.Context, count: int) -> tuple[list[Location], float]:
    """What the scene's settings ask for of ``count`` variants in a row: their places, and their longest side."""
    settings, cursor = context.scene.espalier, context.scene.cursor.location
    location, size = tuple(cursor), settings.size
    match settings.place:
        case "FREE":
            return free_row(context, size, count), size
        case "ORIGIN":
            location = (0.0, 0.0, 0.0)
        case "GROUND":
            location = ground(context, cursor)
        case "ACTIVE" if context.active_object is not None:
            location, side = bounds(context.active_object)
            size = side or size
    return [beside(location, size, number) for number in range(count)], size


def find_grid(context: bpy.types.Context, count: int) -> tuple[Location, float]:
    """Where the first of ``count`` candidates stands, so that there is room for all, and the longest side of each."""
    settings, cursor = context.scene.espalier, context.scene.cursor.location
    if settings.place != "FREE" or cursor.length >= SAME * settings.size:
        return find_place(context)
    return grid_beside(context, (0.0, 0.0, 0.0), settings.size, count), settings.size


def grid_beside(context: bpy.types.Context, location: Location, size: float, count: int) -> Location:
    """Where the first of ``count`` candidates stands, as near to a place as there is room for all."""
    columns, rows = min(count, COLUMNS), -(-count // COLUMNS)
    return free_ground.find(context, Vector(location), size, columns, rows)


def free_row(context: bpy.types.Context, size: float, count: int = 1) -> list[Location]:
    """Places for ``count`` objects beside what is there, or at the 3-D cursor if it was moved off the world's origin.

    At the cursor only places are left out where an object of Espalier's stands already, or is to stand.
    """
    cursor = context.scene.cursor.location
    if cursor.length < SAME * size:
        first = free_ground.find(context, Vector(), size, count)
        return [beside(first, size, number) for number in range(count)]
    taken = [Vector(location) for location, _ in free_ground.expected(context)]
    taken += [each.matrix_world.translation for each in context.scene.objects if is_made(each)]
    row = (Vector(beside(tuple(cursor), size, number)) for number in itertools.count())
    free = (place for place in row if all((place - other).length > SAME * size for other in taken))
    return [tuple(place) for place in itertools.islice(free, count)]


def variants(
    context: bpy.types.Context, target: bpy.types.Object, count: int, planned: Sequence[tuple[Location, float]] = ()
) -> tuple[list[Location], float]:
    """Free places in a row beside an object, and the length of the longest side. ``planned`` as in ``free_ground``."""
    location, side = bounds(target)
    size = side or context.scene.espalier.size
    first = free_ground.find(context, Vector(location), size, count, planned=planned)
    return [beside(first, size, number) for number in range(count)], size


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
