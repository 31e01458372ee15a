"""The guide of new objects: a mesh of the scene, a blockout for instance, whose shape they follow and whose place they
take."""

from __future__ import annotations

from typing import Any

import bpy
import numpy as np
from mathutils import Matrix, Vector
from numpy.typing import NDArray

from ..scene.mesh_arrays import triangles
from ..scene.see_through import meshes_of
from ..translations import translate
from . import placement
from .placement import Location


def can_guide(target: bpy.types.Object) -> bool:
    """Whether an object can be a guide: a mesh, or anything that has meshes as its children."""
    return any(True for _ in meshes_of(target))


def place(context: bpy.types.Context) -> tuple[Location, float] | None:
    """Where the chosen guide stands: the centre of its bottom, and its longest side; None if there is no guide."""
    guide = chosen(context)
    if guide is None:
        return None
    points = [
        each.matrix_world @ Vector(corner)
        for each in meshes_of(guide)
        for corner in each.bound_box
        if each.data.vertices
    ]
    if not points:
        return None
    low, high = np.min(points, axis=0), np.max(points, axis=0)
    middle = ((low + high) / 2).tolist()
    size = float((high - low).max())
    return ((middle[0], middle[1], float(low[2])), size) if size > 0 else None


def find_place(context: bpy.types.Context) -> tuple[Location, float]:
    """Where a new object goes, and its longest side: the guide's place if there is one, else what the settings say."""
    (location,), size = find_row(context, 1)
    return location, size


def find_row(context: bpy.types.Context, count: int) -> tuple[list[Location], float]:
    """The same for ``count`` variants in a row."""
    there = place(context)
    if there is None:
        return placement.find_row(context, count)
    location, size = there
    return [placement.beside(location, size, number) for number in range(count)], size


def find_grid(context: bpy.types.Context, count: int) -> tuple[Location, float]:
    """Where the first of ``count`` candidates stands, and the longest side of each."""
    return place(context) or placement.find_grid(context, count)


def state(context: bpy.types.Context) -> tuple[object, ...]:
    """What changes when the guide that the panel shows does, and costs little to look at."""
    guide = chosen(context)
    if guide is None:
        return tuple(fields(context).items())
    return tuple(
        (
            each.session_uid,
            *(tuple(row) for row in each.matrix_world),
            *(tuple(corner) for corner in each.bound_box),
            len(each.data.vertices),
            len(each.data.polygons),
        )
        for each in meshes_of(guide)
    )


def chosen(context: bpy.types.Context) -> bpy.types.Object | None:
    """The guide that the panel shows, unless it is to have no effect, or is no longer in the scene."""
    settings = context.scene.espalier
    guide = settings.guide
    has_effect = settings.shape_strength > 0 and guide is not None and guide.name in context.scene.objects
    return guide if has_effect else None


def fields(context: bpy.types.Context) -> dict[str, Any]:
    """What a job needs for the guide that the panel shows: the mesh as ``guide``, or its remembered ``voxels``.

    Empty if there is none. Raises ValueError if the guide has no faces.
    """
    settings = context.scene.espalier
    guide = chosen(context)
    if guide is not None:
        return {"guide": read(context, guide)}
    has_voxels = settings.guide is None and settings.guide_voxels and settings.shape_strength > 0
    return {"voxels": settings.guide_voxels} if has_voxels else {}


def read(context: bpy.types.Context, guide: bpy.types.Object) -> dict[str, NDArray[Any]]:
    """The arrays of ``protocol.Generate.guide``: the visible meshes of an object and of its children, along the world's
    axes. So the new object stands as the guide does. Raises ValueError if there is no face."""
    depsgraph = context.evaluated_depsgraph_get()
    vertices, faces, count = [], [], 0
    for each in meshes_of(guide):
        evaluated = each.evaluated_get(depsgraph)
        mesh = evaluated.to_mesh()
        try:
            points, corners = triangles(mesh)
        finally:
            evaluated.to_mesh_clear()
        matrix: Matrix = each.matrix_world
        moved = points.astype(np.float64) @ np.array(matrix.to_3x3()).T + np.array(matrix.translation)
        vertices.append(moved)
        faces.append(corners + count)
        count += len(points)
    if not any(len(each) for each in faces):
        raise ValueError(translate("{name} has no faces").format(name=guide.name))
    joined = np.concatenate(vertices)
    joined -= joined.mean(axis=0)  # far from the origin float32 is too coarse
    return {"vertices": joined.astype(np.float32), "faces": np.concatenate(faces).astype(np.int32)}
