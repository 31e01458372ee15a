"""Drop what nobody can see, and bring the rest to the number of faces that was asked for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from . import MeshError, Surface

DUST = 1e-3  # a component with less than this share of the whole area is dropped


def reachable_corners(inside_corners: np.ndarray, resolution: int) -> np.ndarray:
    """Flood the lattice from beyond its border, along edges, through corners that are not inside.

    Args:
        inside_corners: [K] numbers of the corners with negative distance (see ``RawMesh``).
        resolution: cubes along a side.

    Returns:
        bool [(resolution + 1)^3]: what is outside of the object. Its complement is the object, cavities filled.
    """
    from scipy import ndimage

    side = resolution + 1
    free = np.ones((side + 2,) * 3, dtype=bool)
    x, y, z = np.unravel_index(inside_corners, (side,) * 3)
    free[x + 1, y + 1, z + 1] = False
    regions, _ = ndimage.label(free)
    outside = regions[1:-1, 1:-1, 1:-1] == regions[0, 0, 0]
    return np.ascontiguousarray(outside).reshape(-1)


def keep_outer_faces(surface: Surface) -> Surface:
    """Drop the faces that cannot be reached from outside, then components that are mere dust.

    Corners that no voxel covers count as outside, so a decoder's shell of voxels has a second wall on its inner side,
    and walls of cavities besides. Every face looks at one corner of the lattice; it stays if the flood reaches that
    corner. Where outer and inner wall touch this cuts them apart, which a test of whole components cannot do. It works
    the same for surfaces that are open at the border of the grid.

    Raises:
        MeshError: ``empty_mesh`` if nothing is left.
    """
    outside = reachable_corners(surface.inside_corners, surface.resolution)
    return drop_dust(select_faces(surface, outside[surface.face_corners]))


def drop_dust(surface: Surface) -> Surface:
    """Drop components (joined by vertices) with less than ``DUST`` of the area. Raises MeshError: ``empty_mesh``."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    faces = surface.faces
    links = coo_matrix(
        (np.ones(2 * len(faces), dtype=bool), (faces[:, [0, 1]].ravel(), faces[:, [1, 2]].ravel())),
        shape=(len(surface.vertices),) * 2,
    )
    component = connected_components(links, directed=False)[1][faces[:, 0]]
    areas = np.bincount(component, weights=face_areas(surface.vertices, faces))
    total = areas.sum()
    if not total > 0:
        raise MeshError("empty_mesh", "the model made no surface that can be seen from outside")
    return select_faces(surface, (areas >= DUST * total)[component])


def select_faces(surface: Surface, keep: np.ndarray) -> Surface:
    """The surface with only the faces where ``keep`` [F] is true, and only the vertices that they use."""
    faces = surface.faces[keep]
    used = np.zeros(len(surface.vertices), dtype=bool)
    used[faces] = True
    return replace(
        surface,
        vertices=surface.vertices[used],
        faces=(np.cumsum(used) - 1)[faces],
        colors=None if surface.colors is None else surface.colors[used],
        face_corners=surface.face_corners[keep],
    )


def face_areas(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """[F] areas of triangles."""
    a, b, c = vertices[faces].swapaxes(0, 1)
    return 0.5 * np.linalg.norm(np.cross(b - a, c - a), axis=1)


def simplify(vertices: np.ndarray, faces: np.ndarray, target: int) -> tuple[np.ndarray, np.ndarray]:
    """Collapse edges by quadric error (Garland and Heckbert 1997) until about ``target`` faces are left.

    Returns the mesh as it is if it has no more faces than that.
    """
    import fast_simplification

    if len(faces) <= target:
        return vertices, faces
    points, triangles = fast_simplification.simplify(vertices, faces.astype(np.int32), target_count=target)
    return points.astype(np.float32), triangles.astype(np.int64)
