"""Drop what nobody can see and what is no proper triangle."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import numpy as np

from . import Mesh, MeshError, Surface
from .flood import flood
from .topology import components, open_edges

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
    shape = (resolution + 1,) * 3
    outside = np.ones(shape, dtype=bool)
    if len(inside_corners):
        places = np.unravel_index(inside_corners, shape)
        box = tuple(slice(place.min(), place.max() + 1) for place in places)  # all else is free
        outside[places] = False
        outside[box] = flood(outside[box])
    return outside.reshape(-1)


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
    good = face_areas(mesh.vertices, mesh.faces) > 0
    good[good] = ~_repeated(mesh.faces[good], len(mesh.vertices))
    return mesh if good.all() else select_faces(mesh, good)


def select_faces(mesh: AnyMesh, keep: np.ndarray) -> AnyMesh:
    """The mesh with only the faces where ``keep`` [F] is true, and only the vertices that they use."""
    faces = mesh.faces[keep]
    used = np.zeros(len(mesh.vertices), dtype=bool)
    used[faces] = True
    changes = {
        "vertices": mesh.vertices[used],
        "faces": (np.cumsum(used) - 1)[faces],
        "colors": None if mesh.colors is None else mesh.colors[used],
    }
    if isinstance(mesh, Surface):
        changes["face_corners"] = mesh.face_corners[keep]
    return replace(mesh, **changes)


def face_areas(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """[F] areas of triangles."""
    a, b, c = (vertices[faces[:, corner]] for corner in range(3))
    (ux, uy, uz), (vx, vy, vz) = (b - a).T, (c - a).T
    return np.asarray(0.5 * np.sqrt((uy * vz - uz * vy) ** 2 + (uz * vx - ux * vz) ** 2 + (ux * vy - uy * vx) ** 2))


def _repeated(faces: np.ndarray, vertices: int) -> np.ndarray:
    """[F] bool: whether an earlier face has the same corners in the same cyclic order."""
    first = faces.argmin(axis=1)
    rows = np.arange(len(faces))
    a, b, c = (faces[rows, (first + step) % 3] for step in range(3))
    key = a * vertices + b
    order = np.argsort(key, kind="stable")
    again = np.zeros(len(faces), dtype=bool)
    shared = order[np.isin(key[order], key[order[1:]][np.diff(key[order]) == 0])]  # edges that start several faces
    _, kept = np.unique(np.column_stack([key[shared], c[shared]]), axis=0, return_index=True)
    again[shared] = True
    again[shared[kept]] = False
    return again
