"""Free ground: where an object stands beside what is there, and inside none of it.

What is there are the bounding boxes of what the scene shows, as it is evaluated, and the places of objects that are
being made. All boxes are looked at together, as arrays: a scene of 3,000 objects takes a few milliseconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import bpy
import numpy as np
from mathutils import Matrix, Vector
from numpy.typing import NDArray

from .. import pump
from ..jobs.queue import State
from ..scene import candidates

Location: TypeAlias = tuple[float, float, float]

#: Around a new object, in lengths of its longest side: what stays free to each side of it.
GAP = 0.25
#: The search looks at places this far apart, in the same unit.
STEP = 0.125
#: How far it looks first, and to which distance at most, in the same unit. Farther out there is room for certain.
NEAR, FAR = 8, 128
#: What a step to each side costs. Blender's own view looks at the scene from the front and the right: what is there
#: would hide what stands to the left of it, or behind.
RIGHT, FRONT, LEFT, BACK = 1.0, 2.0, 4.0, 4.0
#: What is lower than this above the ground, in lengths of the longest side, is stood on if there is room on it.
FLAT = 0.25
#: What reaches farther than this around a place, in metres, surrounds it, as a sky or a landscape does: it is no
#: obstacle, for nobody can stand beside it.
AROUND = 20.0
#: Boxes of what is drawn with a body. Lights, cameras, bones and empties have none.
BODIES = {"MESH", "CURVE", "SURFACE", "META", "FONT", "CURVES", "POINTCLOUD", "VOLUME", "GPENCIL", "GREASEPENCIL"}


class Boxes(NamedTuple):
    """Bounding boxes in world space."""

    low: NDArray[np.float64]  # [N, 3]
    high: NDArray[np.float64]  # [N, 3]

    def chosen(self, which: NDArray[np.bool_]) -> Boxes:
        """Those that are marked in [N]."""
        return Boxes(self.low[which], self.high[which])

    def __add__(self, other: tuple[object, ...]) -> Boxes:
        """These and others."""
        assert isinstance(other, Boxes)
        return Boxes(np.concatenate([self.low, other.low]), np.concatenate([self.high, other.high]))


def find(
    context: bpy.types.Context,
    around: Vector,
    size: float,
    count: int = 1,
    rows: int = 1,
    planned: Sequence[tuple[Location, float]] = (),
) -> Location:
    """A free place for ``rows`` of ``count`` objects, with their gaps: the centre of the bottom of the first.

    ``size`` is the longest side of each. Rows are behind each other. The place is near ``around``, and on a floor that
    is just above or below.
    ``planned`` are places and sizes of other objects that are about to be asked for.
    """
    there = visible(context) + _standing([*expected(context), *planned])
    place = _beside(there, around, size, (count, rows))
    floor = _floor(context, place, size)
    if floor < place.z:  # there, what stood below the place may be in the way
        place = _beside(there, Vector((around.x, around.y, floor)), size, (count, rows))
        floor = _floor(context, place, size)
    return place.x, place.y, floor


def _beside(there: Boxes, around: Vector, size: float, counts: tuple[int, int]) -> Vector:
    """A free place at the height of ``around`` for so many objects to the right and to the back."""
    overlapping = (there.high[:, 2] > around.z + 1e-4 * size) & (there.low[:, 2] < around.z + size)
    sides = (there.high - there.low)[:, :2].min(axis=1)
    floor = (there.high[:, 2] <= around.z + FLAT * size) & (sides >= 2 * size)
    middle, distance = np.array((around.x, around.y)), max(20 * size, AROUND)
    surrounding = (there.low[:, :2] <= middle - distance) & (there.high[:, :2] >= middle + distance)
    obstacles = there.chosen(overlapping & ~floor & ~surrounding.all(axis=1))
    width, depth = (size * (1 + (count - 1) * (1 + GAP)) for count in counts)
    x, y = free_place(obstacles, (around.x, around.y), width, depth, size)
    return Vector((x, y, around.z))


def visible(context: bpy.types.Context) -> Boxes:
    """The boxes of what the scene shows. Instances of collections count, those of geometry nodes and particles do not.

    What only says where something is, such as a hidden object beside another one, is not shown and does not count.
    """
    objects = context.evaluated_depsgraph_get().objects
    count = len(objects)
    matrices, corners = np.empty((count, 4, 4), np.float32), np.empty((count, 8, 3), np.float32)
    kinds, instances = np.empty(count, np.int32), np.empty(count, np.int32)
    objects.foreach_get("matrix_world", matrices.ravel())
    objects.foreach_get("bound_box", corners.ravel())
    objects.foreach_get("type", kinds)
    objects.foreach_get("instance_type", instances)
    bodies = {item.value for item in bpy.types.Object.bl_rna.properties["type"].enum_items if item.identifier in BODIES}
    with_body = np.isin(kinds, list(bodies))
    found = _boxes(corners[with_body], matrices[with_body].transpose(0, 2, 1))
    collection = bpy.types.Object.bl_rna.properties["instance_type"].enum_items["COLLECTION"].value
    for number in np.flatnonzero(instances == collection):
        found += _instanced(objects[int(number)])
    return found


def _instanced(empty: bpy.types.Object) -> Boxes:
    """The boxes of an instanced collection."""
    within = empty.instance_collection
    members = [] if within is None else [each for each in within.all_objects if each.type in BODIES]
    placed = empty.matrix_world @ Matrix.Translation(-within.instance_offset) if members else Matrix()
    corners = np.array([each.bound_box for each in members], np.float32).reshape(-1, 8, 3)
    return _boxes(corners, np.array([placed @ each.matrix_world for each in members], np.float32).reshape(-1, 4, 4))


def _boxes(corners: NDArray[np.float32], matrices: NDArray[np.float32]) -> Boxes:
    """The boxes around boxes [N, 8, 3] that were moved by matrices [N, 4, 4]. Those without numbers are left out."""
    low, high = corners.min(axis=1), corners.max(axis=1)
    turn = matrices[:, :3, :3]
    middle = (turn @ ((low + high) / 2)[:, :, None])[:, :, 0] + matrices[:, :3, 3]
    half = (np.abs(turn) @ ((high - low) / 2)[:, :, None])[:, :, 0]
    numbers = np.isfinite(middle + half).all(axis=1)
    middle, half = middle[numbers].astype(np.float64), half[numbers]
    return Boxes(middle - half, middle + half)


def _standing(places: Sequence[tuple[Location, float]]) -> Boxes:
    """The boxes that objects of these sizes may fill at these places."""
    values = np.array([(*location, size) for location, size in places], np.float64).reshape(-1, 4)
    side, bottom = values[:, 3:], values[:, :3]
    return Boxes(bottom - side * (0.5, 0.5, 0), bottom + side * (0.5, 0.5, 1))


def expected(context: bpy.types.Context) -> list[tuple[Location, float]]:
    """The places and sizes of the objects that are being made for this scene, and of the candidates that it shows."""
    waiting = (job.target for job in pump.jobs.jobs if job.active or job.state is State.DONE)
    new = [target for target in waiting if target is not None and not target.replaces]
    found = [(target.location, target.size) for target in new if pump.is_for(target, context.scene)]
    for candidate in candidates.shown():
        target = candidate.job.target
        if not candidate.taken and target is not None and pump.is_for(target, context.scene):
            found.append((candidate.job.places[candidate.index], target.size))
    return found


def free_place(
    boxes: Boxes, around: tuple[float, float], width: float, depth: float, size: float
) -> tuple[float, float]:
    """The cheapest place in no box for what is ``width`` wide and ``depth`` deep: the middle of its first object, which
    has this ``size`` and stands at the left in front."""
    reach = size * (0.5 + GAP)  # from the middle of an object to where something may stand
    low = boxes.low[:, :2] - np.array((width - size + reach, depth - size + reach))
    high = boxes.high[:, :2] + reach
    for distance in (NEAR, FAR):
        steps = round(distance / STEP)
        if distance == FAR:
            steps //= FAR // NEAR  # as many places, farther apart
        step = distance * size / steps
        taken = _taken(low, high, np.array(around), step, steps)
        if not taken.all():
            across = step * np.arange(-steps, steps + 1)
            cost = np.maximum(RIGHT * across, -LEFT * across)[:, None] + np.maximum(BACK * across, -FRONT * across)
            x, y = np.unravel_index(np.where(taken, np.inf, cost).argmin(), cost.shape)
            return around[0] + float(across[x]), around[1] + float(across[y])
    return float(high[:, 0].max()), around[1]


def _taken(
    low: NDArray[np.float64], high: NDArray[np.float64], middle: NDArray[np.float64], step: float, steps: int
) -> NDArray[np.bool_]:
    """Which places of a grid around ``middle`` are inside of rectangles [N, 2]. Their edges are free."""
    side = 2 * steps + 1
    slack = 1e-3  # of a step: single precision puts an edge to either side of a place that lies on it
    first = np.clip(np.floor((low - middle) / step + slack) + 1 + steps, 0, side).astype(np.int64)
    end = np.clip(np.ceil((high - middle) / step - slack) + steps, 0, side).astype(np.int64)
    end = np.maximum(end, first)
    depth = np.zeros((side + 1, side + 1), np.int64)  # how many rectangles begin, less those that end: then their sum
    np.add.at(depth, (first[:, 0], first[:, 1]), 1)
    np.add.at(depth, (end[:, 0], end[:, 1]), 1)
    np.add.at(depth, (first[:, 0], end[:, 1]), -1)
    np.add.at(depth, (end[:, 0], first[:, 1]), -1)
    return np.asarray(depth.cumsum(axis=0).cumsum(axis=1)[:side, :side] > 0)


def _floor(context: bpy.types.Context, place: Vector, size: float) -> float:
    """The height of what an object of this size stands on at a free place: not far above or below it."""
    start, down = place + Vector((0.0, 0.0, size)), Vector((0.0, 0.0, -1.0))
    reach = size + max(size, 1.0) * 1.001  # the default cube often stands on a floor one metre below the origin
    hit, found, *_ = context.scene.ray_cast(context.evaluated_depsgraph_get(), start, down, distance=reach)
    return found.z if hit else place.z
