"""Drop what nobody can see and what is no proper triangle."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TypeVar

import numpy as np

from .. import Mesh, MeshError, Surface
from ..base.compiled import compiled
from ..base.flood import flood
from ..base.topology import components, open_edges, sorted_by
from ..base.vectors import corners_of, cross, dot, minus

DUST = 1e-3  # a component with less than this share of the whole area is dropped

SCRAP = 1e-2  # one with less than this share of the largest one's area must be closed and near a larger one to stay
GAP = 0.05  # how near, in longest sides of the whole

AnyMesh = TypeVar("AnyMesh", bound=Mesh)


def reachable_corners(inside_corners: np.ndarray, resolution: int) -> np.ndarray:
    """What ``flood`` finds outside of the object in the lattice, edges leading from corner to corner.

    Args:
        inside_corners: [K] numbers of the corners with negative distance (see ``RawMesh``).
        resolution: cubes along a side.

    Returns:
        bool [(resolution + 1)^3]. Its complement is the object, cavities filled.
    """
    side = resolution + 1
    outside = np.ones((side, side, side), dtype=bool)
    if len(inside_corners):
        outside.reshape(-1)[inside_corners] = False
        box = tuple(map(slice, *_box(inside_corners, side)))  # all else is free
        outside[box] = flood(outside[box])
    return outside.reshape(-1)


@compiled
def _box(corners: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Where the box of some corners of a lattice begins and ends, along each axis."""
    low, high = np.full(3, side), np.zeros(3, np.int64)
    for corner in corners:
        for axis, place in enumerate((corner // side // side, corner // side % side, corner % side)):
            low[axis], high[axis] = min(low[axis], place), max(high[axis], place + 1)
    return low, high


def keep_outer_faces(surface: Surface) -> Surface:
    """Drop the faces that cannot be reached from outside, then components that are mere dust.

    Corners that no voxel covers count as outside, so a decoder's shell of voxels has a second wall on its inner side,
    and walls of cavities besides. Every face looks at one corner of the lattice; it stays if the flood reaches that
    corner. Where outer and inner wall touch this cuts them apart, which a test of whole components cannot do. It works
    the same for surfaces that are open at the border of the grid. ``visibility`` does it for meshes without a lattice.

    Raises:
        MeshError: ``empty_mesh`` if nothing is left.
    """
    outside = reachable_corners(surface.inside_corners, surface.resolution)
    return drop_dust(select_faces(surface, outside[surface.face_corners]))


def drop_dust(mesh: AnyMesh) -> AnyMesh:
    """Drop components (joined by vertices) with less than ``DUST`` of the area. Raises MeshError: ``empty_mesh``."""
    component = components(mesh.faces, len(mesh.vertices))
    areas = np.bincount(component, weights=face_areas(mesh.vertices, mesh.faces))
    total = areas.sum()
    if not total > 0:
        raise MeshError("empty_mesh", "the model made no surface that can be seen from outside")
    return select_faces(mesh, (areas >= DUST * total)[component])


def drop_scraps(mesh: Mesh) -> Mesh:
    """Drop the scraps and floaters of a decoded surface: small components that are open or far from all large ones.

    Small parts that an object really has, as eyes and buttons, are closed, and they touch it or nearly do.
    """
    from scipy.spatial import cKDTree

    component = components(mesh.faces, len(mesh.vertices))
    areas = np.bincount(component, weights=face_areas(mesh.vertices, mesh.faces))
    small = (areas < SCRAP * areas.max(initial=0)) & (areas > 0)
    if not small.any():
        return mesh
    of_vertex = np.zeros(len(mesh.vertices), dtype=np.int64)
    of_vertex[mesh.faces] = component[:, None]
    keep = ~small
    place = np.flatnonzero(small[of_vertex])
    distance, _ = cKDTree(mesh.vertices[keep[of_vertex]]).query(
        mesh.vertices[place], distance_upper_bound=GAP * float(np.ptp(mesh.vertices, axis=0).max())
    )
    keep[of_vertex[place[np.isfinite(distance)]]] = True
    opened = of_vertex[open_edges(mesh.faces)[0]]
    keep[opened] &= ~small[opened]
    return select_faces(mesh, keep[component])


def check_mesh(mesh: Mesh) -> None:
    """Raises MeshError: ``bad_mesh`` for arrays that are no triangles in space, or not finite."""
    vertices, faces, colors = mesh.vertices, mesh.faces, mesh.colors
    problem = ""
    if vertices.ndim != 2 or vertices.shape[1] != 3 or faces.ndim != 2 or faces.shape[1] != 3:
        problem = f"vertices {vertices.shape} and faces {faces.shape} are not triangles in space"
    elif faces.size and (faces.min() < 0 or faces.max() >= len(vertices)):
        problem = "a face names a vertex that does not exist"
    elif not np.isfinite(vertices).all():
        problem = "a vertex is not finite (NaN or infinity)"
    elif colors is not None and colors.shape != vertices.shape:
        problem = f"colours {colors.shape} do not match {len(vertices)} vertices"
    elif colors is not None and not np.isfinite(colors).all():
        problem = "a colour is not finite (NaN or infinity)"
    if problem:
        raise MeshError("bad_mesh", problem)


def drop_bad_faces(mesh: Mesh) -> Mesh:
    """Drop faces without area and all but one of those that have the same corners in the same order."""
    again = _repeated(np.ascontiguousarray(mesh.faces, dtype=np.int64), len(mesh.vertices))
    good = (face_areas(mesh.vertices, mesh.faces) > 0) & ~again
    return mesh if good.all() else select_faces(mesh, good)


def select_faces(mesh: AnyMesh, keep: np.ndarray) -> AnyMesh:
    """The mesh with only the faces where ``keep`` [F] is true, and only the vertices that they use."""
    faces, used = _selected(np.ascontiguousarray(mesh.faces, dtype=np.int64), keep, len(mesh.vertices))
    changes = {
        "vertices": mesh.vertices.take(used, axis=0),
        "faces": faces,
        "colors": None if mesh.colors is None else mesh.colors.take(used, axis=0),
    }
    if isinstance(mesh, Surface):
        changes["face_corners"] = mesh.face_corners[keep]
    return replace(mesh, **changes)


@compiled
def _selected(faces: np.ndarray, keep: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The faces to keep, with new numbers for their vertices, and the old numbers of these. count: of all vertices."""
    number, used = np.full(count, -1), np.empty(count, np.int64)
    selected, kept = np.empty(faces.shape, np.int64), 0
    for face in range(len(faces)):
        if keep[face]:
            for k in range(3):
                selected[kept, k] = faces[face, k]
                number[faces[face, k]] = 0
            kept += 1
    found = 0
    for vertex in range(count):
        if number[vertex] == 0:
            used[found], number[vertex] = vertex, found
            found += 1
    for face in range(kept):
        for k in range(3):
            selected[face, k] = number[selected[face, k]]
    return selected[:kept], used[:found]


def face_areas(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """[F] float64, the areas of triangles."""
    return np.asarray(
        _areas(np.ascontiguousarray(vertices, dtype=np.float32), np.ascontiguousarray(faces, dtype=np.int64))
    )


@compiled
def _areas(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    areas = np.empty(len(faces))
    for face in range(len(faces)):
        a, b, c = corners_of(vertices, faces, face)
        normal = cross(minus(b, a), minus(c, a))
        areas[face] = math.sqrt(dot(normal, normal)) / 2
    return areas


@compiled
def _repeated(faces: np.ndarray, count: int) -> np.ndarray:
    """[F] bool: whether an earlier face has the same corners, all different, in the same cyclic order.

    count: of vertices.
    """
    turned = np.empty((3, len(faces)), np.int64)  # the lowest corner first
    for face in range(len(faces)):
        a, b, c = faces[face, 0], faces[face, 1], faces[face, 2]
        first = 0 if a <= b and a <= c else 1 if b <= c else 2
        for k in range(3):
            turned[k, face] = faces[face, (first + k) % 3]
    order = np.arange(len(faces))
    for k in (2, 1, 0):
        order = sorted_by(order, turned[k], count)
    again = np.zeros(len(faces), np.bool_)
    for place in range(1, len(order)):
        face, before = order[place], order[place - 1]
        again[face] = True
        for k in range(3):
            again[face] &= turned[k, face] == turned[k, before]
    return again
