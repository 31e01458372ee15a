"""Sends a mesh of the scene to the backend, which makes a texture for it. ``scene.paint`` then applies the texture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import bpy
import numpy as np
from mathutils import Matrix
from numpy.typing import NDArray

from .. import pump
from ..jobs.queue import Job
from ..scene.made import is_made
from ..scene.mesh_arrays import active_uvs, triangle_loops, triangles
from ..scene.paint import mesh_digests
from ..translations import translate
from . import again, generate, images, placement, properties


def new_job(context: bpy.types.Context, target: bpy.types.Object) -> Job:
    """A job that paints an object, with the panel's images and settings. Raises ValueError if it has no faces."""
    panel = context.scene.espalier
    sources = tuple(images.source(item) for item in panel.images)
    return job_with(context, target, properties.chosen_settings(panel), images.collect(panel), sources=sources)


def job_with(
    context: bpy.types.Context,
    target: bpy.types.Object,
    settings: Mapping[str, Any],
    pictures: list[images.Picture],
    *,
    sources: tuple[str, ...],
) -> Job:
    """A job that paints an object with these settings. Raises ValueError if it has no faces."""
    location, size = placement.bounds(target)
    place = pump.target(context, location, size or context.scene.espalier.size)
    job = generate.job_with(settings, pictures, sources=sources, target=place, mesh=read_shape(context, target))
    job.digests = mesh_digests(target.data)
    return again.in_place_of(job, target)


def can_be_painted(target: bpy.types.Object) -> bool:
    """Whether an object is a mesh of this .blend with faces."""
    is_here = target.type == "MESH" and target.library is None and target.data.library is None
    return is_here and bool(target.data.polygons)


def read_shape(context: bpy.types.Context, target: bpy.types.Object) -> dict[str, NDArray[Any]]:
    """The arrays of ``protocol.Generate.mesh``: the visible mesh with its UVs, and the mesh that a new UV map is for.

    The mesh must stand upright with its front to -Y. The object's own axes tell this if Espalier made the object;
    otherwise the world's axes do, because imported objects often lie on their back along their own.
    """
    evaluated = target.evaluated_get(context.evaluated_depsgraph_get())
    mesh = evaluated.to_mesh()
    try:
        matrix = _axes(target)
        shape = _triangles(mesh, matrix)
        if len(uvs := active_uvs(mesh)):
            shape["uvs"] = uvs[shape.pop("corners")]
        same = [len(mesh.polygons), len(mesh.loops)] == [len(target.data.polygons), len(target.data.loops)]
    finally:
        evaluated.to_mesh_clear()
    if not len(shape["faces"]):
        raise ValueError(translate("{name} has no faces").format(name=target.name))
    shape.pop("corners", None)
    if not same:
        cage = _triangles(target.data, matrix)
        shape |= {"cage_vertices": cage["vertices"], "cage_faces": cage["faces"]}
    return shape


def _axes(target: bpy.types.Object) -> Matrix:
    matrix = target.matrix_world
    if is_made(target):
        return matrix.to_quaternion().to_matrix().inverted() @ matrix.to_3x3()
    return matrix.to_3x3()


def _triangles(mesh: bpy.types.Mesh, matrix: Matrix) -> dict[str, NDArray[Any]]:
    """``vertices`` [V, 3], ``faces`` [F, 3] and ``corners`` [F, 3], the loops at the corners of the faces."""
    vertices, faces = triangles(mesh)
    return {
        "vertices": (vertices @ np.array(matrix, np.float32).T).astype(np.float32),
        "faces": faces,
        "corners": triangle_loops(mesh),
    }
