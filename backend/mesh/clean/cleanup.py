"""Drop faces that cannot be seen and those that are no proper triangles."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import NamedTuple, TypeVar

import numpy as np

from .. import Mesh, MeshError, Surface
from ..base.bits import ALL, NONE, ONE, WORD
from ..base.compiled import compiled, in_strips, together
from ..base.flood import flooded, margin_of
from ..base.rings import FEW, Rings, once, rings_around
from ..base.topology import components, open_edges
from ..base.vectors import corners_of, cross, dot, minus

DUST = 1e-3  # components with less than this share of the total area are dropped

SCRAP = 2e-2  # those below this share of the largest one's area stay only if they are closed and near a larger one
GAP = 0.05  # how near, relative to the longest side of the mesh's bounding box
STRIP = 65_536  # faces that one thread looks at in a row

AnyMesh = TypeVar("AnyMesh", bound=Mesh)


class Outside(NamedTuple):
    """The lattice corners outside of an object, as bits with a margin (see ``flood``). Those beyond are outside too."""

    bits: np.ndarray  # [X, Y, W] uint64
    low: tuple[int, int]  # the x and y of the corner after the margin
    side: int  # corners of the lattice along each axis
    margin: int

    def at(self, corners: np.ndarray) -> np.ndarray:
        """[N] bool: which corners [N], by their numbers (see ``RawMesh``), are outside."""
        found = np.empty(len(corners), np.bool_)
        in_strips(partial(_look_up, corners, *self, found), len(corners), STRIP)
        return found


def reachable_corners(inside_corners: np.ndarray, resolution: int) -> Outside:
    """The lattice corners that ``flood`` finds outside of the object, moving along lattice edges.

    Args:
        inside_corners: [K] numbers of the corners with negative distance (see ``RawMesh``).
        resolution: cubes along each side.

    Returns:
        The outside. The other corners are the object, with cavities filled.
    """
    side, margin = resolution + 1, margin_of()
    low, high = _box(inside_corners, side)
    return Outside(flooded(_around(inside_corners, side, *low, *high, margin)), low, side, margin)


@compiled
def _box(corners: np.ndarray, side: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """The first x and y of lattice corners, and those after the last. Divides only where a row of the lattice ends."""
    left, front, right, back, first = side, side, 0, 0, -side
    for corner in corners:
        if corner < first or corner >= first + side:
            row = corner // side
            first = row * side
            x, y = row // side, row % side
            left, front, right, back = min(left, x), min(front, y), max(right, x + 1), max(back, y + 1)
    return (left, front), (max(left, right), max(front, back))


@compiled
def _around(corners: np.ndarray, side: int, left: int, front: int, right: int, back: int, margin: int) -> np.ndarray:
    """The bits of an ``Outside`` before the flood: all but the given corners. Divides as ``_box`` does."""
    words = (side + 2 * margin + WORD - 1) // WORD
    bits = np.full((right - left + 2 * margin, back - front + 2 * margin, words), ALL)
    first, x, y = -side, 0, 0
    for corner in corners:
        if corner < first or corner >= first + side:
            row = corner // side
            first = row * side
            x, y = row // side - left + margin, row % side - front + margin
        z = corner - first + margin
        bits[x, y, z >> 6] &= ~(ONE << np.uint64(z & 63))
    return bits


@compiled
def _look_up(
    corners: np.ndarray,
    bits: np.ndarray,
    low: tuple[int, int],
    side: int,
    margin: int,
    found: np.ndarray,
    begin: int,
    end: int,
) -> None:
    """Fill in which of some corners are outside. Divides as ``_box`` does."""
    first, x, y = -side, 0, 0
    for i in range(begin, end):
        corner = corners[i]
        if corner < first or corner >= first + side:
            row = corner // side
            first = row * side
            x, y = row // side - low[0] + margin, row % side - low[1] + margin
        z = corner - first + margin
        inside = 0 <= x < bits.shape[0] and 0 <= y < bits.shape[1]
        found[i] = not inside or bits[x, y, z >> 6] >> np.uint64(z & 63) & ONE != NONE


def keep_outer_faces(surface: Surface) -> Surface:
    """Check a decoded surface, and drop the faces that cannot be reached from outside, then components that are dust.

    Corners not covered by any voxel count as outside, so a decoder's shell of voxels has a second wall on its inner
    side, and there may be walls of cavities. Each face looks at one corner of the lattice and stays if the flood
    reaches that corner. This cuts outer and inner walls apart where they touch, which a test of whole components cannot
    do, and also works for surfaces that are open at the border of the grid. ``visibility`` does it for meshes without a
    lattice.

    Raises:
        MeshError: ``empty_mesh`` if nothing is left, or as ``check_mesh`` does.
    """
    outside, _ = together(
        partial(reachable_corners, surface.inside_corners, surface.resolution), partial(check_mesh, surface)
    )
    outer = select_faces(surface, outside.at(surface.face_corners))
    look_at(outer)
    return drop_dust(outer)


class Pieces(NamedTuple):
    """The components of a mesh, which shared vertices connect."""

    of: np.ndarray  # [F] int64: the piece of each face
    areas: np.ndarray  # [P] float64; 0 for a vertex of no face


@once
def areas_of(mesh: Mesh) -> np.ndarray:
    """[F] float64: the areas of a mesh's faces."""
    return face_areas(mesh.vertices, mesh.faces)


@once
def pieces_of(mesh: Mesh) -> Pieces:
    """The pieces of a mesh."""
    of = components(mesh.faces, len(mesh.vertices))
    return Pieces(of, np.bincount(of, weights=areas_of(mesh)))


@once
def border_of(mesh: Mesh) -> tuple[np.ndarray, np.ndarray]:
    """The ``open_edges`` of a mesh."""
    return open_edges(mesh.faces if rings_around(mesh).balance.any() else mesh.faces[:0])


@once
def good_faces(mesh: Mesh) -> np.ndarray:
    """[F] bool: which faces have an area and are the first with their corners in their cyclic order."""
    again = _repeated(np.ascontiguousarray(mesh.faces, dtype=np.int64), rings_around(mesh))
    return np.asarray((areas_of(mesh) > 0) & ~again)


def look_at(mesh: Mesh) -> None:
    """Find out, side by side, what the steps of cleaning want to know of a mesh."""
    together(partial(rings_around, mesh), partial(pieces_of, mesh))
    together(partial(good_faces, mesh), partial(border_of, mesh))


def drop_dust(mesh: AnyMesh) -> AnyMesh:
    """Drop components (connected by vertices) with less than ``DUST`` of the area.

    Raises:
        MeshError: ``empty_mesh`` if the mesh has no area.
    """
    of, areas = pieces_of(mesh)
    total = areas.sum()
    if not total > 0:
        raise MeshError("empty_mesh", "the model made no surface that can be seen from outside")
    large = areas >= DUST * total
    return mesh if large.all() else select_faces(mesh, large[of])


def drop_scraps(mesh: Mesh) -> Mesh:
    """Drop scraps and floaters of a decoded surface: small components that are open or far from all large ones.

    Real small parts of an object, such as eyes and buttons, are closed and touch it or nearly do.
    """
    from scipy.spatial import cKDTree

    component, areas = pieces_of(mesh)
    small = (areas < SCRAP * areas.max(initial=0)) & (areas > 0)
    if not small.any():
        return mesh
    of_vertex = np.zeros(len(mesh.vertices), dtype=np.int64)
    of_vertex[mesh.faces] = component[:, None]
    keep = ~small
    vertex = np.flatnonzero(small[of_vertex])
    distance, _ = cKDTree(mesh.vertices[keep[of_vertex]]).query(
        mesh.vertices[vertex], distance_upper_bound=GAP * float(np.ptp(mesh.vertices, axis=0).max())
    )
    keep[of_vertex[vertex[np.isfinite(distance)]]] = True
    opened = of_vertex[border_of(mesh)[0]]
    keep[opened] &= ~small[opened]
    return select_faces(mesh, keep[component])


def check_mesh(mesh: Mesh) -> None:
    """Raise MeshError (``bad_mesh``) if the arrays are not triangles in space or not finite."""
    vertices, faces, colors, materials = mesh.vertices, mesh.faces, mesh.colors, mesh.materials
    problem = ""
    if vertices.ndim != 2 or vertices.shape[1] != 3 or faces.ndim != 2 or faces.shape[1] != 3:
        problem = f"vertices {vertices.shape} and faces {faces.shape} are not triangles in space"
    elif faces.size and (faces.min() < 0 or faces.max() >= len(vertices)):
        problem = "a face names a vertex that does not exist"
    elif not np.isfinite(vertices).all():
        problem = "a vertex is not finite (NaN or infinity)"
    elif colors is not None and colors.shape != vertices.shape:
        problem = f"colours {colors.shape} do not match {len(vertices)} vertices"
    elif materials is not None and (materials.shape != vertices.shape or not np.isfinite(materials).all()):
        problem = f"materials {materials.shape} do not match {len(vertices)} vertices, or are not finite"
    elif colors is not None and not np.isfinite(colors).all():
        problem = "a colour is not finite (NaN or infinity)"
    if problem:
        raise MeshError("bad_mesh", problem)


def drop_bad_faces(mesh: Mesh) -> Mesh:
    """Drop faces without area, and all but one of those with the same corners in the same cyclic order."""
    good = good_faces(mesh)
    return mesh if good.all() else select_faces(mesh, good)


def select_faces(mesh: AnyMesh, keep: np.ndarray) -> AnyMesh:
    """The mesh with only the faces where ``keep`` [F] is true, and only the vertices that they use."""
    faces, used = _selected(np.ascontiguousarray(mesh.faces, dtype=np.int64), keep, len(mesh.vertices))
    changes = {
        "vertices": mesh.vertices.take(used, axis=0),
        "faces": faces,
        "colors": None if mesh.colors is None else mesh.colors.take(used, axis=0),
        "materials": None if mesh.materials is None else mesh.materials.take(used, axis=0),
    }
    if isinstance(mesh, Surface):
        changes["face_corners"] = mesh.face_corners[keep]
    return replace(mesh, **changes)


@compiled
def _selected(faces: np.ndarray, keep: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The faces to keep, with their vertices renumbered, and the old numbers of these vertices.

    count: the number of all vertices.
    """
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
    """[F] float64: the areas of triangles."""
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
def _repeated(faces: np.ndarray, rings: Rings) -> np.ndarray:
    """[F] bool: whether an earlier face has the same corners, all different, in the same cyclic order.

    Each face looks around its corner with the lowest number, unless very many faces share that.
    """
    again, begins = np.zeros(len(faces), np.bool_), rings.begins
    for face in range(len(faces)):
        corner, fewest = 0, len(rings.nexts)
        for k in range(3):
            shared = max(begins[faces[face, k] + 1] - begins[faces[face, k]], FEW)
            if shared < fewest or (shared == fewest and faces[face, k] < faces[face, corner]):
                corner, fewest = k, shared
        vertex, second, third = faces[face, corner], faces[face, (corner + 1) % 3], faces[face, (corner + 2) % 3]
        for i in range(begins[vertex], begins[vertex + 1]):
            other = rings.around[i]
            if other == face:
                break
            last = faces[other, 0] + faces[other, 1] + faces[other, 2] - vertex - second
            if rings.nexts[i] == second and last == third:
                again[face] = True
                break
    return again
