"""Reads Blender's meshes as arrays, the fast way."""

from __future__ import annotations

from typing import Any

import bpy
import numpy as np
from numpy.typing import NDArray


def triangle_loops(mesh: bpy.types.Mesh) -> NDArray[np.int32]:
    """The loops of ``mesh.loop_triangles`` [F, 3].

    ``loop_triangles`` is slow to read (40 ms for 200,000 triangles), so it is not read if all polygons are triangles.
    """
    if len(mesh.loops) == 3 * len(mesh.polygons):
        return np.arange(len(mesh.loops), dtype=np.int32).reshape(-1, 3)
    mesh.calc_loop_triangles()
    return read_integers(mesh.loop_triangles, "loops", (len(mesh.loop_triangles), 3))


def triangles(mesh: bpy.types.Mesh) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """The vertices [V, 3] and the triangles [F, 3] of a mesh."""
    vertices, corners = np.empty((len(mesh.vertices), 3), np.float32), triangle_loops(mesh)
    if len(vertices):
        mesh.attributes["position"].data.foreach_get("vector", vertices.ravel())
    if not len(corners):
        return vertices, np.empty((0, 3), np.int32)
    return vertices, read_integers(mesh.attributes[".corner_vert"].data, "value", (len(mesh.loops),))[corners]


def active_uvs(mesh: bpy.types.Mesh) -> NDArray[np.float32]:
    """The UVs of the active UV map at the faces' corners [L, 2]; [0, 2] if there is none."""
    layer = mesh.uv_layers.active
    uvs = np.empty((0 if layer is None else len(layer.uv), 2), np.float32)
    if layer is not None:
        layer.uv.foreach_get("vector", uvs.ravel())
    return uvs


def read_integers(items: Any, name: str, shape: tuple[int, ...]) -> NDArray[np.int32]:
    """Read an integer attribute of all items into an array of this shape."""
    values = np.empty(shape, np.int32)
    items.foreach_get(name, values.ravel())
    return values
