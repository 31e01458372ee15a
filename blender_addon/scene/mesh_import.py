"""Turns arrays into an object with mesh, UVs, material and packed images. No file importer, no operator.

Blender cannot draw during this, so it must be fast. The attributes ``position`` and ``.corner_vert`` take arrays three
times faster than ``vertices`` and ``loops``. ``image.size`` and ``image.pixels`` would decode the packed PNG, so
nothing here reads them. ``mesh.validate()`` takes 100 ms, so numpy checks the indices instead.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any, NamedTuple

import bpy
import numpy as np
from numpy.typing import NDArray

from ...backend import protocol
from ...backend.asset_facts import standing
from ...backend.formats import hull_name
from .made import BESIDE, HULL, LEVEL, MOST_BESIDE, NOTE, remember, remember_cameras, remember_cube
from .material import UV_MAP, create_images, create_material, read_images
from .seams import mark_seams

#: What the collections of levels of detail and of convex hulls are called.
COLLECTIONS = {LEVEL: "{name} LODs", HULL: "{name} Collision"}


def create_object(
    result: protocol.Result,
    *,
    name: str,
    collection: bpy.types.Collection,
    settings: Mapping[str, Any],
    size: float = 1.0,
) -> bpy.types.Object:
    """Make the object of a result and link it into a collection.

    ``settings`` are kept as custom properties (``result.settings`` holds them with the defaults filled in).
    ``size`` is the length of the object's longest side, in metres. Its origin is the centre of its bottom.
    Raises ValueError, OSError or zipfile.BadZipFile if the result's files are damaged. Then nothing is made.
    """
    with np.load(result.arrays, allow_pickle=False) as arrays:
        vertices, faces, uvs = _level(arrays, "")
        lods = [_level(arrays, prefix) for prefix in _numbered(arrays, "lod")]
        hulls = [_hull(arrays, prefix) for prefix in _numbered(arrays, "hull")]
    polygons = Polygons.of(faces, uvs, result.counts.get("quads", 0))
    contents = read_images(result)
    raw = _raw_arrays(result.raw) if result.raw else None
    factor, shift = stand(vertices, size)
    widths = np.float32(2 if result.tiles else 1)  # of the texture, in the unit of UVs
    mesh = create_mesh(name, vertices * factor + shift, polygons.corners, polygons.starts)
    lay_out(mesh, polygons.uvs * widths)
    mesh.materials.append(create_material(name, create_images(name, contents), result))
    created = bpy.data.objects.new(name, mesh)
    remember(created, settings, size)
    remember_cube(created, vertices)
    remember_cameras(created, result, vertices)
    if result.note:
        created[NOTE] = result.note
    collection.objects.link(created)
    levels = [
        create_lod(f"{name}_LOD{number}", points * factor + shift, corners, corner_uvs * widths, mesh.materials[0])
        for number, (points, corners, corner_uvs) in enumerate(lods, start=1)
    ]
    _put_beside(created, levels, _collection(LEVEL, name, collection, levels), LEVEL)
    shapes = [
        create_hull(hull_name(name, number), points * factor + shift, corners)
        for number, (points, corners) in enumerate(hulls, start=1)
    ]
    _put_beside(created, shapes, _collection(HULL, name, collection, shapes), HULL)
    if raw is not None:
        _put_beside(created, [create_raw(f"{name} raw", raw[0] * factor + shift, *raw[1:])], collection)
    return created


def _collection(
    kind: str, name: str, within: bpy.types.Collection, what: list[bpy.types.Object]
) -> bpy.types.Collection:
    """A new collection for the levels of detail or the convex hulls of an object; ``within`` if there are none."""
    if not what:
        return within
    made = bpy.data.collections.new(COLLECTIONS[kind].format(name=name))
    made[BESIDE] = kind
    within.children.link(made)
    return made


def _put_beside(
    target: bpy.types.Object, besides: list[bpy.types.Object], collection: bpy.types.Collection, kind: str = ""
) -> None:
    """Hide objects beside another one, in a collection. They are its children, so that they move with it."""
    for number, beside in enumerate(besides, start=1):
        beside.hide_viewport = beside.hide_render = True
        beside.parent = target
        beside[BESIDE] = True
        if kind:
            beside[kind] = number
        collection.objects.link(beside)


def stand(vertices: NDArray[np.float32], size: float) -> tuple[np.float32, NDArray[np.float32]]:
    """The factor and the shift [3] that scale vertices [V, 3] and put them on the origin.

    The longest side of their bounding box becomes ``size``, and the centre of its bottom becomes the origin.
    """
    factor, shift = standing(vertices.min(axis=0).tolist(), vertices.max(axis=0).tolist(), size)
    return np.float32(factor), np.array(shift, np.float32)


def create_lod(
    name: str,
    vertices: NDArray[np.float32],
    faces: NDArray[np.int32],
    uvs: NDArray[np.float32],
    material: bpy.types.Material,
) -> bpy.types.Object:
    """A level of detail."""
    mesh = create_mesh(name, vertices, faces)
    lay_out(mesh, uvs.reshape(-1, 2))
    mesh.materials.append(material)
    return bpy.data.objects.new(name, mesh)


def create_hull(name: str, vertices: NDArray[np.float32], faces: NDArray[np.int32]) -> bpy.types.Object:
    """A convex hull, drawn as a wire where it is shown."""
    mesh = create_mesh(name, vertices, faces)
    mesh.polygons.foreach_set("use_smooth", np.zeros(len(faces), bool))
    created = bpy.data.objects.new(name, mesh)
    created.display_type = "WIRE"
    return created


def create_raw(
    name: str, vertices: NDArray[np.float32], faces: NDArray[np.int32], colors: NDArray[np.float32]
) -> bpy.types.Object:
    """The mesh as it was decoded, with ``colors`` [V, 3] sRGB as a color attribute."""
    mesh = create_mesh(name, vertices, faces)
    shades = np.ones((len(vertices), 4), np.float32)
    shades[:, :3] = colors
    attribute = mesh.color_attributes.new("Color", "BYTE_COLOR", "POINT")
    attribute.data.foreach_set("color_srgb", shades.ravel())
    return bpy.data.objects.new(name, mesh)


class Polygons(NamedTuple):
    """Faces as Blender takes them: the quads first."""

    corners: NDArray[np.int32]  # [L] the vertices of one face after the other
    uvs: NDArray[np.float32]  # [L, 2]
    starts: NDArray[np.int32]  # [P] where each face begins

    @classmethod
    def of(cls, faces: NDArray[np.int32], uvs: NDArray[np.float32], quads: int) -> Polygons:
        """From triangles [F, 3] with UVs [F, 3, 2]: of the first ones, up to ``quads`` pairs become quads.

        A pair is (a, b, c) and (a, c, d) with the same UVs on both sides; others stay two triangles.
        """
        end = 2 * min(quads, len(faces) // 2)
        one, other, uv, other_uv = faces[0:end:2], faces[1:end:2], uvs[0:end:2], uvs[1:end:2]
        whole = (one[:, 0] == other[:, 0]) & (one[:, 2] == other[:, 1])
        whole &= (uv[:, 0] == other_uv[:, 0]).all(axis=1) & (uv[:, 2] == other_uv[:, 1]).all(axis=1)
        rest = np.ones(len(faces), bool)
        rest[:end] = ~np.repeat(whole, 2)
        corners = [np.concatenate([one[whole], other[whole, 2:]], axis=1), faces[rest]]
        corner_uvs = [np.concatenate([uv[whole], other_uv[whole, 2:]], axis=1), uvs[rest]]
        sizes = np.repeat(np.array([4, 3], np.int32), [len(part) for part in corners])
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int32)
        return cls(
            np.concatenate([part.ravel() for part in corners]),
            np.concatenate([part.reshape(-1, 2) for part in corner_uvs]),
            starts,
        )


def create_mesh(
    name: str, vertices: NDArray[np.float32], faces: NDArray[np.int32], starts: NDArray[np.int32] | None = None
) -> bpy.types.Mesh:
    """A smooth-shaded mesh from ``vertices`` [V, 3] and ``faces``: triangles [F, 3], or corners [L] of faces that begin
    at ``starts`` [P]."""
    if starts is None:
        starts = np.arange(0, faces.size, 3, dtype=np.int32)
    mesh = bpy.data.meshes.new(name)
    mesh.vertices.add(len(vertices))
    mesh.loops.add(faces.size)
    mesh.polygons.add(len(starts))
    mesh.attributes["position"].data.foreach_set("vector", vertices.ravel())
    mesh.attributes[".corner_vert"].data.foreach_set("value", faces.ravel())
    mesh.polygons.foreach_set("loop_start", starts)
    mesh.update(calc_edges=True)
    return mesh


def lay_out(mesh: bpy.types.Mesh, uvs: NDArray[np.float32]) -> None:
    """Give a mesh that has none a UV map [L, 2], and seams where it is cut."""
    mesh.uv_layers.new(name=UV_MAP, do_init=False).uv.foreach_set("vector", uvs.ravel())
    mark_seams(mesh, uvs)


def _raw_arrays(path: str) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.float32]]:
    """The vertices, faces and colours of the raw mesh. Raises ValueError."""
    with np.load(path, allow_pickle=False) as arrays:
        vertices, faces, colors = (_array(arrays, key) for key in ("vertices", "faces", "colors"))
    vertices, faces, _ = _checked(vertices, faces, np.zeros((len(faces), 3, 2), np.float32))
    if colors.shape != vertices.shape:
        raise ValueError(f"colours {colors.shape} do not match {len(vertices)} vertices")
    return vertices, faces, colors.astype(np.float32)


def _numbered(arrays: Mapping[str, NDArray[Any]], kind: str) -> list[str]:
    """The prefixes of the levels of detail (``lod``) or of the convex hulls (``hull``)."""
    prefixes = [f"{kind}{number}_" for number in range(1, MOST_BESIDE + 1)]
    return list(itertools.takewhile(lambda prefix: prefix + "vertices" in arrays, prefixes))


def _hull(arrays: Mapping[str, NDArray[Any]], prefix: str) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """The vertices and faces of a convex hull. Raises ValueError."""
    vertices, faces = (_array(arrays, prefix + key) for key in ("vertices", "faces"))
    return _checked(vertices, faces, np.zeros((len(faces), 3, 2), np.float32))[:2]


def _level(
    arrays: Mapping[str, NDArray[Any]], prefix: str
) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.float32]]:
    """The vertices, faces and UVs of the mesh or one of its levels of detail. Raises ValueError."""
    vertices, faces, uvs = (_array(arrays, prefix + key) for key in ("vertices", "faces", "uvs"))
    return _checked(vertices, faces, uvs)


def _array(arrays: Mapping[str, NDArray[Any]], key: str) -> NDArray[Any]:
    if key not in arrays:
        raise ValueError(f"the arrays lack {key!r}")
    return arrays[key]


def _checked(
    vertices: NDArray[Any], faces: NDArray[Any], uvs: NDArray[Any]
) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.float32]]:
    """The arrays as Blender needs them, without faces that use a vertex twice. Raises ValueError."""
    if vertices.ndim != 2 or vertices.shape[1] != 3 or faces.ndim != 2 or faces.shape[1] != 3:
        raise ValueError(f"vertices {vertices.shape} and faces {faces.shape} do not make triangles")
    if uvs.shape != (len(faces), 3, 2):
        raise ValueError(f"uvs {uvs.shape} do not match {len(faces)} faces")
    if len(faces) == 0:
        raise ValueError("the mesh has no faces")
    if faces.min() < 0 or faces.max() >= len(vertices):
        raise ValueError("a face refers to a vertex that does not exist")
    if not (np.isfinite(vertices).all() and np.isfinite(uvs).all()):
        raise ValueError("a coordinate is not a number")
    a, b, c = faces.T
    whole = (a != b) & (b != c) & (c != a)
    return (
        np.ascontiguousarray(vertices, np.float32),
        np.ascontiguousarray(faces[whole], np.int32),
        np.ascontiguousarray(uvs[whole], np.float32),
    )
