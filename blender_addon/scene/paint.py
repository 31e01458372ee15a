"""Gives a mesh the texture of a result, and new UVs if its own could not be used. Its shape does not change."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import bmesh
import bpy
import numpy as np
from numpy.typing import NDArray

from ...backend import protocol
from ..translations import translate
from .carry_over import own_slots, put_on
from .made import LEVEL, NOTE, besides, remember_texture
from .material import create_images, create_material, read_images
from .mesh_arrays import active_uvs, read_integers, triangle_loops
from .seams import has_seams, mark_seams

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
    contents = read_images(result)
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
    notes = [result.note]
    if uvs is not None:
        notes += _lay_out_anew(target.data, uvs)
    elif (own := target.data.uv_layers.active) is not None:
        own.active_render = True  # the texture is for the map that was chosen, not for another one that was rendered
    name = f"{target.name} texture"
    own = {target.material_slots[number].material for number in own_slots(target)}
    material = create_material(name, create_images(name, contents), result)
    notes.append(put_on(target, material, own))
    for level in besides(target, LEVEL).values():
        if _has_the_uvs_of(level.data, target.data):
            if level.data.users > 1:
                level.data = level.data.copy()
            put_on(level, material, own)
    remember_texture(target, settings)
    if note := " ".join(filter(None, notes)):
        target[NOTE] = note
    elif NOTE in target:
        del target[NOTE]  # it was about another texture


def _lay_out_anew(mesh: bpy.types.Mesh, uvs: NDArray[np.float32]) -> list[str]:
    """Give the mesh a UV map as ``add_uv_map`` does, and say what else that changes."""
    marked = has_seams(mesh)
    split = add_uv_map(mesh, uvs)
    notes = []
    if split:
        notes.append(translate("{n} faces were split along the seams of the texture.").format(n=split))
    if marked:
        notes.append(translate("The marked seams are now those of the new UVs; Undo brings yours back."))
    return notes


def _has_the_uvs_of(level: bpy.types.Mesh, mesh: bpy.types.Mesh) -> bool:
    """Whether a level of detail has no other UVs than the mesh, so that the same texture fits it."""
    mine, all_uvs = (np.ascontiguousarray(active_uvs(each), np.float32).view(np.int64) for each in (level, mesh))
    return bool(len(mine)) and bool(np.isin(mine, all_uvs).all())


def add_uv_map(mesh: bpy.types.Mesh, uvs: NDArray[np.float32]) -> int:
    """Give the mesh a UV map from the UVs of its triangles [F, 3, 2], and seams where it is cut.

    Faces that a seam runs through are split into triangles. Returns their number. Sharp edges, normals and other UV
    maps stay as they are.
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
    # Not by ``layer.uv``: that writes into the arrays that a duplicate of this mesh shares with it.
    mesh.attributes[layer.name].data.foreach_set("vector", flat.ravel())
    if len(torn):
        inside = np.isin(polygon, torn)
        with _kept_normals(mesh):
            _cut(mesh, polygon[inside], corners[inside], uvs[inside])
    mark_seams(mesh, active_uvs(mesh))
    return len(torn)


@contextmanager
def _kept_normals(mesh: bpy.types.Mesh) -> Iterator[None]:
    """Keep the custom normals of a mesh while its faces are split.

    Blender stores them relative to the faces around a vertex, so they would turn with these. From 5.0 on they may also
    be plain vectors, which stay by themselves.
    """
    stored = mesh.attributes.get("custom_normal")
    if not mesh.has_custom_normals or (stored is not None and stored.data_type == "FLOAT_VECTOR"):
        yield
        return
    normals = np.empty((len(mesh.loops), 3), np.float32)
    mesh.corner_normals.foreach_get("vector", normals.ravel())
    kept = mesh.attributes.new("kept normals", "FLOAT_VECTOR", "CORNER")
    kept.data.foreach_set("vector", normals.ravel())
    name = kept.name
    try:
        yield
    finally:
        kept = mesh.attributes[name]
        normals = np.empty((len(mesh.loops), 3), np.float32)
        kept.data.foreach_get("vector", normals.ravel())
        mesh.attributes.remove(kept)
        mesh.normals_split_custom_set(normals)


def _cut(mesh: bpy.types.Mesh, polygon: NDArray[np.intp], corners: NDArray[np.int32], uvs: NDArray[np.float32]) -> None:
    """Split polygons into triangles, which get these UVs.

    Args:
        mesh: whose polygons are split.
        polygon: [T] the polygon of each triangle, ascending.
        corners: [T, 3] the loops at its corners.
        uvs: [T, 3, 2].
    """
    first = read_integers(mesh.polygons, "loop_start", (len(mesh.polygons),))
    begins = np.flatnonzero(np.diff(polygon, prepend=-1))
    work = bmesh.new()
    try:
        work.from_mesh(mesh)
        work.faces.ensure_lookup_table()
        layer = work.loops.layers.uv[UV_MAP]
        faces = [work.faces[index] for index in polygon[begins]]
        local = corners - first[polygon][:, None]
        for face, own, places in zip(faces, np.split(local, begins[1:]), np.split(uvs, begins[1:]), strict=True):
            _split(face, own.tolist(), places.tolist(), layer)
        work.to_mesh(mesh)
    finally:
        work.free()


def _split(face: bmesh.types.BMFace, triangles: list[list[int]], uvs: list[list[list[float]]], layer: Any) -> None:
    """Split a face into triangles, given by the numbers of its corners.

    Blender's own splitting copies all that the face and its corners have.
    """
    vertices = [loop.vert for loop in face.loops]
    number = {vertex: corner for corner, vertex in enumerate(vertices)}
    pieces, count = [face], len(vertices)
    sides = {(min(a, b), max(a, b)) for a, b, c in triangles for a, b in ((a, b), (b, c), (c, a))}
    for one, other in sorted(sides):
        if other - one in (1, count - 1):
            continue  # a side of the face itself
        ends = {vertices[one], vertices[other]}
        piece = next(piece for piece in pieces if ends <= set(piece.verts))
        pieces.append(bmesh.utils.face_split(piece, vertices[one], vertices[other])[0])
    places = {frozenset(own): dict(zip(own, uv, strict=True)) for own, uv in zip(triangles, uvs, strict=True)}
    for piece in pieces:
        own = places[frozenset(number[vertex] for vertex in piece.verts)]
        for loop in piece.loops:
            loop[layer].uv = own[number[loop.vert]]
