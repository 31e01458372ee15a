"""Makes a part of an object anew: what a cube or an empty encloses. The rest stays as it is."""

from __future__ import annotations

import bpy
import numpy as np
from mathutils import Vector

from ...backend import protocol
from ..jobs.queue import Job
from ..scene.made import is_made, recall, shown
from ..scene.replace import in_cube
from ..translations import translate
from . import again, placement, properties
from .quality import family_of, title_of

#: Objects that can be boxes: those with extents of their own.
KINDS = ("MESH", "EMPTY")


def pair(context: bpy.types.Context) -> tuple[bpy.types.Object, bpy.types.Object] | None:
    """The selected object and the selected box; None unless these two are selected. The active one is the object."""
    selected = list(context.selected_objects)
    active = context.active_object
    if len(selected) != 2 or any(each.type not in KINDS for each in selected):
        return None
    made = [each for each in selected if is_made(each)]
    target = active if active in made else made[0] if len(made) == 1 else None
    if target is None:
        return None
    return target, next(each for each in selected if each != target)


def obstacle(target: bpy.types.Object) -> str:
    """Why nothing of an object can be made anew inside a box, in the user's language; empty if it can."""
    model = properties.models().get(shown(target, "model"))
    if model is None or model.guides:
        return ""
    words = translate("{name} was made by {model}, which makes nothing anew inside a box")
    return words.format(name=target.name, model=title_of(family_of(model)))


def new_job(context: bpy.types.Context, target: bpy.types.Object, box: bpy.types.Object, seed: int) -> Job:
    """A job that makes what is in the box anew, with a seed of its own, in place of the object. Raises ValueError."""
    if wrong := obstacle(target):
        raise ValueError(wrong)
    settings = recall(target)
    edits = list(settings.get("edits", ()))
    if len(edits) >= protocol.MOST_EDITS:
        words = translate("{name} was made anew in {n} boxes already, and no more can be remembered")
        raise ValueError(words.format(name=target.name, n=len(edits)))
    low, high = box_of(target, box)
    location, size = placement.bounds(target)
    own = settings.get("seed", protocol.default("seed"))
    shaped = settings | {"edits": (*edits, (low, high, seed))}
    job = again.new_job(context, shaped, seed=own, location=location, size=size)
    return again.in_place_of(job, target)


def box_of(target: bpy.types.Object, box: bpy.types.Object) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The lowest and highest corner of a box in the space of an object's mesh as it was made, [-0.5, 0.5]^3.

    A box that is turned against the object counts as its bounds along the object's axes. Raises ValueError if the two
    do not meet, or the object does not know that space.
    """
    if abs(target.matrix_world.determinant()) < 1e-18:
        raise ValueError(translate("{name} has no extent").format(name=target.name))
    corners = [target.matrix_world.inverted() @ box.matrix_world @ corner for corner in _corners(box)]
    points = in_cube(target, np.array(corners, np.float64))
    low, high = points.min(axis=0).clip(-0.5, 0.5), points.max(axis=0).clip(-0.5, 0.5)
    if not (low < high).all():
        raise ValueError(translate("{box} does not enclose any part of {name}").format(box=box.name, name=target.name))
    return tuple(low.tolist()), tuple(high.tolist())


def _corners(box: bpy.types.Object) -> list[Vector]:
    """The corners of an object's bounding box, or of the cube as which an empty is drawn."""
    if box.type == "MESH":
        return [Vector(corner) for corner in box.bound_box]
    size = box.empty_display_size
    return [Vector((x, y, z)) for x in (-size, size) for y in (-size, size) for z in (-size, size)]
