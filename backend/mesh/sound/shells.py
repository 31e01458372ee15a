"""The shells of a mesh, the pieces of its surface that are not connected: their sizes, and which are superfluous."""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np

from ..base.compiled import compiled
from ..base.topology import connected, renumbered
from ..base.vectors import corners_of, cross, dot, minus
from ..clean.cleanup import DUST, GAP, SCRAP

SLACK = 0.5  # a shell is a crumb below this share of the size below which cleaning drops it: simplifying changes areas


class Shells:
    """The S shells of a mesh: vertices [V, 3] float32, faces [F, 3] int64. Faces that share a vertex are connected."""

    def __init__(self, vertices: np.ndarray, faces: np.ndarray) -> None:
        ends = np.ascontiguousarray(faces[:, :2]).reshape(-1), np.ascontiguousarray(faces[:, 1:]).reshape(-1)
        #: [F] the number of each face's shell.
        self.of_face = renumbered(np.asarray(connected(*ends, len(vertices)))[faces[:, 0]])[1]
        self.count = int(self.of_face.max(initial=-1)) + 1
        middle = vertices.mean(axis=0, dtype=np.float64) if len(vertices) else np.zeros(3)
        measures = _areas_and_volumes(vertices, faces, middle)
        #: [S] their areas and, if they are closed, their volumes, negative if the front is inside.
        self.areas, self.volumes = (np.bincount(self.of_face, each, self.count) for each in measures)
        self._vertices, self._faces = vertices, faces

    @cached_property
    def depths(self) -> np.ndarray:
        """[S] in how many other shells each one lies, if they are closed and do not cross."""
        if self.count < 2:
            return np.zeros(self.count, np.int64)
        return _depths(self._vertices, self._faces, self.of_face, self.count)

    @cached_property
    def crumbs(self) -> np.ndarray:
        """[S] bool: shells with next to nothing of the area, and small ones that are far from all larger ones."""
        return _crumbs(self._vertices, self._faces, self.of_face, self.areas)

    @property
    def turned(self) -> np.ndarray:
        """[S] bool: closed shells with their front on the wrong side: inside, or for a cavity outside."""
        return np.asarray((self.volumes > 0) != (self.depths % 2 == 0))


@compiled
def _areas_and_volumes(vertices: np.ndarray, faces: np.ndarray, middle: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    areas, volumes = np.empty(len(faces)), np.empty(len(faces))
    centre = (middle[0], middle[1], middle[2])
    for face in range(len(faces)):
        a, b, c = corners_of(vertices, faces, face)
        normal = cross(minus(b, a), minus(c, a))
        areas[face] = math.sqrt(dot(normal, normal)) / 2
        volumes[face] = dot(normal, minus(a, centre)) / 6
    return areas, volumes


def _depths(vertices: np.ndarray, faces: np.ndarray, shell: np.ndarray, shells: int) -> np.ndarray:
    """[S] in how many other shells each shell of a closed mesh lies."""
    corner = vertices[faces].astype(np.float64)
    low, high = np.full((shells, 3), np.inf), np.full((shells, 3), -np.inf)
    for k in range(3):
        np.minimum.at(low, shell, corner[:, k])
        np.maximum.at(high, shell, corner[:, k])
    first = np.full(shells, -1)
    first[shell[::-1]] = np.arange(len(faces))[::-1]
    depth = np.zeros(shells, np.int64)
    for one in range(shells):
        point = corner[first[one]].mean(axis=0)
        around = (low < low[one]).all(axis=1) & (high > high[one]).all(axis=1)
        for other in np.flatnonzero(around):
            depth[one] += _is_inside(vertices, faces, shell, other, point)
    return depth


@compiled
def _is_inside(vertices: np.ndarray, faces: np.ndarray, shell: np.ndarray, number: int, point: np.ndarray) -> bool:
    """Whether a point is inside one closed shell: its winding number, from the solid angles of its faces.

    Van Oosterom and Strackee 1983, "The Solid Angle of a Plane Triangle".
    """
    here, total = (point[0], point[1], point[2]), 0.0
    for face in range(len(faces)):
        if shell[face] == number:
            p, q, r = corners_of(vertices, faces, face)
            a, b, c = minus(p, here), minus(q, here), minus(r, here)
            x, y, z = math.sqrt(dot(a, a)), math.sqrt(dot(b, b)), math.sqrt(dot(c, c))
            below = x * y * z + dot(a, b) * z + dot(b, c) * x + dot(c, a) * y
            total += 2 * math.atan2(dot(a, cross(b, c)), below)
    return abs(total) > 2 * math.pi


def _crumbs(vertices: np.ndarray, faces: np.ndarray, shell: np.ndarray, areas: np.ndarray) -> np.ndarray:
    from scipy.spatial import cKDTree

    if len(areas) < 2:
        return np.zeros(len(areas), bool)
    dust = areas < SLACK * DUST * areas.sum()
    small = areas < SLACK * SCRAP * areas.max()
    of_vertex = np.empty(len(vertices), np.int64)
    of_vertex[faces] = shell[:, None]
    far = small.copy()
    vertex = np.flatnonzero(small[of_vertex])
    if len(vertex) and not small.all():
        reach = GAP * float(np.ptp(vertices, axis=0).max()) / SLACK
        distance, _ = cKDTree(vertices[~small[of_vertex]]).query(vertices[vertex], distance_upper_bound=reach)
        far[of_vertex[vertex[np.isfinite(distance)]]] = False
    return np.asarray(dust | far)
