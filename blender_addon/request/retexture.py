"""A mesh of the scene goes to the backend and comes back with a texture. Its shape stays."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import bmesh
import bpy
import numpy as np
from mathutils import Matrix
from numpy.typing import NDArray

from ...backend import protocol
from ..jobs.queue import Job
from ..scene.mesh_import import NOTE, PREFIX, create_image, create_material
from ..ui.texts import translate
from . import again, generate, images, placement

#: What a painted object remembers of it, beside how its shape was made.
TEXTURE = PREFIX + "texture"
UV_MAP = "Espalier"


def new_job(context: bpy.types.Context, target: bpy.types.Object) -> Job:
    """A job that paints an object, with the panel's images and settings. Raises ValueError if it has no faces."""
    settings = context.scene.espalier
    location, size = placement.bounds(target)
    job = generate.new_job(
        context,
        images.collect(settings),
        seed=settings.seed,
        location=location,
        size=size or settings.size,
        mesh=read_shape(context, target),
    )
    job.layout = layout_of(target.data)
    return again.in_place_of(job, target)


def layout_of(mesh: bpy.types.Mesh) -> tuple[str, str]:
    """Names what a texture lies on: which vertices the faces have, and the UVs. Where vertices are plays no part."""
    faces, uvs = hashlib.blake2b(digest_size=16), hashlib.blake2b(digest_size=16)
    if len(mesh.loops):
        faces.update(_read(mesh.attributes[".corner_vert"].data, "value", (len(mesh.loops),)).data)
        faces.update(_read(mesh.polygons, "loop_start", (len(mesh.polygons),)).data)
        uvs.update(_uvs(mesh).data)
    return faces.hexdigest(), uvs.hexdigest()


def read_shape(context: bpy.types.Context, target: bpy.types.Object) -> dict[str, NDArray[Any]]:
    """What ``protocol.Generate.mesh`` holds: what is seen, with its UVs, and what a new UV map would be made for.

    Upright and with its front to -Y along the object's own axes if it was made here, along the world's otherwise: what
    was imported often lies on its back in its own.
    """
    evaluated = target.evaluated_get(context.evaluated_depsgraph_get())
    mesh = evaluated.to_mesh()
    try:
        matrix = _axes(target)
        shape = _triangles(mesh, matrix)
        if len(uvs := _uvs(mesh)):
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


def paint(target: bpy.types.Object, result: protocol.Result, settings: dict[str, Any], layout: tuple[str, str]) -> None:
    """Give an object the texture of a result, and new UVs if its own could not be used.

    ``layout``: ``layout_of`` the mesh that was sent. Raises ValueError or OSError if the result's files are damaged or
    the mesh is another one by now; nothing is changed then.
    """
    texture = Path(result.texture).read_bytes()
    if not texture.startswith(b"\x89PNG\r\n"):
        raise ValueError("the texture is not a PNG")
    uvs, charts = None, result.counts.get("charts")
    faces, old_uvs = layout_of(target.data)
    if faces != layout[0] or (not charts and old_uvs != layout[1]):
        raise ValueError(translate("the mesh was changed in the meantime"))
    if charts:
        with np.load(result.arrays, allow_pickle=False) as arrays:
            uvs = arrays["uvs"].astype(np.float32)
        if len(uvs) != len(target.data.loops) - 2 * len(target.data.polygons) or uvs.shape[1:] != (3, 2):
            raise ValueError(f"uvs {uvs.shape} do not match the mesh")
    if target.data.users > 1:  # the others keep their texture
        target.data = target.data.copy()
    cut = 0 if uvs is None else lay_out(target.data, uvs)
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
        target[NOTE] = translate("{n} faces were cut where the seams of the texture run").format(n=cut)


def lay_out(mesh: bpy.types.Mesh, uvs: NDArray[np.float32]) -> int:
    """Make the mesh a UV map of its triangles' UVs [F, 3, 2]. Faces that a seam runs through are cut into triangles.

    Returns how many those were.
    """
    corners, sides = _corners(mesh), _read(mesh.polygons, "loop_total", (len(mesh.polygons),))
    polygon = np.repeat(np.arange(len(sides)), sides - 2)  # a triangle's
    flat = np.zeros((len(mesh.loops), 2), np.float32)
    flat[corners] = uvs
    torn = np.unique(polygon[(np.abs(flat[corners] - uvs) > 1e-6).any(axis=(1, 2))])
    layer = mesh.uv_layers.get(UV_MAP) or mesh.uv_layers.new(name=UV_MAP, do_init=False)
    if layer is None:
        raise ValueError(translate("the mesh has as many UV maps as it can have"))
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
    """Replace the polygons ``torn`` by their triangles, with these UVs."""
    first = _read(mesh.polygons, "loop_start", (len(mesh.polygons),))
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
    """What the attributes hold at a face's corner. (``BMLoop.copy_from`` leaves Python with a loop that is no longer
    valid.)"""
    for uv in layers.uv.values():
        to[uv].uv = corner[uv].uv
    for group in (layers.float, layers.int, layers.float_vector, layers.float_color, layers.color, layers.string):
        for layer in group.values():
            to[layer] = corner[layer]


def _axes(target: bpy.types.Object) -> Matrix:
    matrix = target.matrix_world
    if again.is_made(target):
        return matrix.to_quaternion().to_matrix().inverted() @ matrix.to_3x3()
    return matrix.to_3x3()


def _triangles(mesh: bpy.types.Mesh, matrix: Matrix) -> dict[str, NDArray[Any]]:
    """vertices [V, 3], faces [F, 3] and the loops at their corners [F, 3]."""
    vertices, corners = np.empty((len(mesh.vertices), 3), np.float32), _corners(mesh)
    faces = np.empty_like(corners)
    if len(vertices):
        mesh.attributes["position"].data.foreach_get("vector", vertices.ravel())
    if len(corners):
        faces = _read(mesh.attributes[".corner_vert"].data, "value", (len(mesh.loops),))[corners]
    return {
        "vertices": (vertices @ np.array(matrix, np.float32).T).astype(np.float32),
        "faces": faces,
        "corners": corners,
    }


def _corners(mesh: bpy.types.Mesh) -> NDArray[np.int32]:
    """The loops of ``mesh.loop_triangles`` [F, 3]. Those are slow to read, 40 ms for 200,000, and say nothing new where
    all polygons are triangles."""
    if len(mesh.loops) == 3 * len(mesh.polygons):
        return np.arange(len(mesh.loops), dtype=np.int32).reshape(-1, 3)
    mesh.calc_loop_triangles()
    return _read(mesh.loop_triangles, "loops", (len(mesh.loop_triangles), 3))


def _uvs(mesh: bpy.types.Mesh) -> NDArray[np.float32]:
    """The active UVs at the faces' corners [L, 2]; [0, 2] if there are none."""
    layer = mesh.uv_layers.active
    uvs = np.empty((0 if layer is None else len(layer.uv), 2), np.float32)
    if layer is not None:
        layer.uv.foreach_get("vector", uvs.ravel())
    return uvs


def _read(items: Any, name: str, shape: tuple[int, ...]) -> NDArray[np.int32]:
    values = np.empty(shape, np.int32)
    items.foreach_get(name, values.ravel())
    return values
