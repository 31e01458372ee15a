"""Gives a mesh the texture of a result, and new UVs if its own could not be used. Its shape does not change."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import bmesh
import bpy
import numpy as np
from numpy.typing import NDArray

from ...backend import protocol
from ..translations import translate
from .made import NOTE, PREFIX
from .mesh_arrays import active_uvs, read_integers, triangle_loops
from .mesh_import import create_image, create_material

#: The custom property that keeps how an object was painted. How its shape was made is kept too.
TEXTURE = PREFIX + "texture"
UV_MAP = "Espalier"


def mesh_digests(mesh: bpy.types.Mesh) -> tuple[str, str]:
    """Digests of the faces and of the UVs of a mesh: what a texture depends on. Vertices may be moved."""
    faces, uvs = hashlib.blake2b(digest_size=16), hashlib.blake2b(digest_size=16)
    if len(mesh.loops):
        faces.update(read_integers(mesh.attributes[".corner_vert"].data, "value", (len(mesh.loops),)).data)
        faces.update(read_integers(mesh.polygons, "loop_start", (len(mesh.polygons),)).data)
        uvs.update(active_uvs(mesh).data)
    return faces.hexdigest(), uvs.hexdigest()


def paint(
    target: bpy.types.Object, result: protocol.Result, settings: dict[str, Any], digests: tuple[str, str]
) -> None:
    """Give an object the texture of a result, and new UVs if its own could not be used.

    ``digests`` are the ``mesh_digests`` of the mesh that was sent. Raises ValueError or OSError if the result's files
    are damaged or the mesh has changed since. Then nothing is changed.
    """
    texture = Path(result.texture).read_bytes()
    if not texture.startswith(b"\x89PNG\r\n"):
        raise ValueError("the texture is not a PNG")
    uvs, charts = None, result.counts.get("charts")
    faces, old_uvs = mesh_digests(target.data)
    if faces != digests[0] or (not charts and old_uvs != digests[1]):
        raise ValueError(translate("the mesh has changed since the job was started"))
    if charts:
        with np.load(result.arrays, allow_pickle=False) as arrays:
            uvs = arrays["uvs"].astype(np.float32)
        if len(uvs) != len(target.data.loops) - 2 * len(target.data.polygons) or uvs.shape[1:] != (3, 2):
            raise ValueError(f"uvs {uvs.shape} do not match the mesh")
    if target.data.users > 1:  # other objects keep their texture
        target.data = target.data.copy()
    cut = 0 if uvs is None else add_uv_map(target.data, uvs)
    name = f"{target.name} texture"
    for slot in target.material_slots:
        slot.link = "DATA"
    target.data.materials.clear()
    target.data.materials.append(create_material(name, create_image(name, texture)))
    target.data.polygons.foreach_set("material_index", np.zeros(len(target.data.polygons), np.int32))
    target.data.update()
    target[TEXTURE] = json.dumps(
        {key: settings[key] for key in ("images", "model", "seed", "steps") if key in settings}
    )
    if cut:
        target[NOTE] = translate("{n} faces were split along the seams of the texture").format(n=cut)


def add_uv_map(mesh: bpy.types.Mesh, uvs: NDArray[np.float32]) -> int:
    """Give the mesh a UV map from the UVs of its triangles [F, 3, 2].

    Faces that a seam runs through are split into triangles. Returns their number.
    """
    corners, sides = triangle_loops(mesh), read_integers(mesh.polygons, "loop_total", (len(mesh.polygons),))
    polygon = np.repeat(np.arange(len(sides)), sides - 2)  # of each triangle
    flat = np.zeros((len(mesh.loops), 2), np.float32)
    flat[corners] = uvs
    torn = np.unique(polygon[(np.abs(flat[corners] - uvs) > 1e-6).any(axis=(1, 2))])
    layer = mesh.uv_layers.get(UV_MAP) or mesh.uv_layers.new(name=UV_MAP, do_init=False)
    if layer is None:
        raise ValueError(translate("the mesh already has the maximum number of UV maps"))
    layer.active = layer.active_render = True
    layer.uv.foreach_set("vector", flat.ravel())
    if len(torn):
        inside = np.isin(polygon, torn)
        _cut(mesh, torn, polygon[inside], corners[inside], uvs[inside])
    return len(torn)


def _cut(
    mesh: bpy.types.Mesh,
    torn: NDArray[np.intp],
    polygon: NDArray[np.intp],
    corners: NDArray[np.int32],
    uvs: NDArray[np.float32],
) -> None:
    """Replace the polygons ``torn`` with their triangles, which get these UVs."""
    first = read_integers(mesh.polygons, "loop_start", (len(mesh.polygons),))
    work = bmesh.new()
    try:
        work.from_mesh(mesh)
        work.faces.ensure_lookup_table()
        layer = work.loops.layers.uv[UV_MAP]
        old = {int(index): work.faces[index] for index in torn}
        for index, triangle, places in zip(polygon, corners - first[polygon][:, None], uvs, strict=True):
            loops = [old[int(index)].loops[corner] for corner in triangle]
            face = work.faces.new([loop.vert for loop in loops], old[int(index)])
            for loop, before, place in zip(face.loops, loops, places, strict=True):
                _copy(work.loops.layers, before, loop)
                loop[layer].uv = place
        bmesh.ops.delete(work, geom=list(old.values()), context="FACES_ONLY")
        work.to_mesh(mesh)
    finally:
        work.free()


def _copy(layers: Any, corner: Any, to: Any) -> None:
    """Copy all attributes from one corner of a face to another.

    ``BMLoop.copy_from`` would leave Python with an invalid loop.
    """
    for uv in layers.uv.values():
        to[uv].uv = corner[uv].uv
    for group in (layers.float, layers.int, layers.float_vector, layers.float_color, layers.color, layers.string):
        for layer in group.values():
            to[layer] = corner[layer]
