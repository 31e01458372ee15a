"""Find the point of a raw surface that belongs to a point near it: the closest one whose normal agrees."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import Mesh
from .topology import twins

LEAF = 24  # faces in a leaf of the tree: faster to build and to search here than scipy's 10
SLACK = 0.5  # how much farther than the nearest centroid one may lie: walking makes up for it, and it saves a quarter
CHUNK = 1 << 14  # points at a time: as many as stay in the cache
WALK = 16  # faces that a point may go through
CANDIDATES = 24  # faces that are tried for a point where the nearest one is turned away


@dataclass(frozen=True)
class Projection:
    """Where P points lie on a mesh: [P] faces and [P, 3] float32 barycentric coordinates in them."""

    face: np.ndarray
    weights: np.ndarray

    def interpolate(self, faces: np.ndarray, values: np.ndarray) -> np.ndarray:
        """[V, C] values at the vertices of ``faces`` -> [P, C]."""
        corners = values.take(faces.take(self.face, axis=0), axis=0)  # [P, 3, C]
        return np.asarray(np.einsum("pk,pkc->pc", self.weights, corners))


class Projector:
    """Projects points onto a mesh.

    A kd-tree finds the face with the nearest centroid, and from there a point walks from face to face as long as that
    brings it nearer; points that lie side by side share a query, since walking makes up for it. Distances to triangles
    are exact (Eberly 1999, "Distance Between Point and Triangle in 3D": the minimum of a quadratic over the domain of
    the barycentric coordinates).
    """

    def __init__(self, mesh: Mesh) -> None:
        from scipy.spatial import cKDTree

        a, b, c = (mesh.vertices[mesh.faces[:, corner]] for corner in range(3))
        self._tree = cKDTree((a + b + c) / 3, leafsize=LEAF, balanced_tree=False, compact_nodes=False)
        self._triangles = np.concatenate([a, b - a, c - a], axis=1)  # [F, 9]
        beyond = twins(mesh.faces)
        self._neighbours = np.where(beyond < 0, -1, beyond // 3).reshape(
            -1, 3
        )  # across the edge from corner k to k + 1

    def project(self, points: np.ndarray, normals: np.ndarray, groups: np.ndarray) -> Projection:
        """The closest points of the mesh to ``points`` [P, 3] with normals [P, 3] (of any length).

        A face that is turned away from the point's normal, by more than 90 degrees, is taken only if no other is
        among the ``CANDIDATES`` next ones: both sides of a thin wall find their own.

        Args:
            groups: [P] ascending numbers, from 0 without gaps: points of the same number lie side by side.
        """
        face = np.zeros(len(points), dtype=np.int64)
        weights = np.zeros((len(points), 3), dtype=np.float32)
        if not len(points):
            return Projection(face, weights)
        points, normals = points.astype(np.float32, copy=False), normals.astype(np.float32, copy=False)
        sizes = np.bincount(groups)
        _, nearest = self._tree.query(points[np.cumsum(sizes) - (sizes + 1) // 2], eps=SLACK, workers=-1)
        nearest = nearest[groups]
        turned = []
        for first in range(0, len(points), CHUNK):
            part = slice(first, first + CHUNK)
            face[part], weights[part], away = self._walk(points[part].T, normals[part].T, nearest[part])
            turned.append(first + np.flatnonzero(away))
        again = np.concatenate(turned)
        for chosen in np.array_split(again, 1 + len(again) * CANDIDATES // CHUNK):
            if len(chosen):
                face[chosen], weights[chosen] = self._among_many(points[chosen].T, normals[chosen].T)
        return Projection(face, weights)

    def _walk(
        self, points: np.ndarray, normals: np.ndarray, face: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """From these faces to the closest ones: faces, weights, and whether they are turned away from the normals."""
        found = _measure(self._triangles[face].T, points, normals)
        active = np.flatnonzero(found.exits >= 0)
        for _ in range(WALK):
            following = self._neighbours[face[active], found.exits[active]]
            active, following = active[following >= 0], following[following >= 0]
            if not len(active):
                break
            there = _measure(self._triangles[following].T, points[:, active], normals[:, active])
            nearer = there.distance < found.distance[active]
            active = active[nearer]
            face[active] = following[nearer]
            found.take(active, there, nearer)
            active = active[found.exits[active] >= 0]
        return face, np.stack([1 - found.s - found.t, found.s, found.t], axis=1), found.away

    def _among_many(self, points: np.ndarray, normals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The closest of the faces that are not turned away, if there are any: faces and weights."""
        count = min(CANDIDATES, len(self._triangles))
        _, near = self._tree.query(points.T, k=range(1, count + 1), workers=-1)
        flat = near.reshape(-1)
        tried = _measure(self._triangles[flat].T, np.repeat(points, count, 1), np.repeat(normals, count, 1))
        cost = (tried.distance + np.where(tried.away, np.float32(1e6), 0)).reshape(near.shape)
        best = cost.argmin(axis=1) + np.arange(len(near)) * count
        s, t = tried.s[best], tried.t[best]
        return flat[best], np.stack([1 - s - t, s, t], axis=1)


@dataclass(frozen=True)
class _Measured:
    """P points and a triangle each: where in the triangle the closest point lies, and where one would walk on."""

    distance: np.ndarray  # [P], squared
    s: np.ndarray  # [P]: the second and the third barycentric coordinate of the closest point
    t: np.ndarray
    exits: np.ndarray  # [P]: the edge, from corner k to k + 1, that a point lies beyond the farthest; -1 for none
    away: np.ndarray  # [P] bool: the triangle is turned away from the point's normal

    def take(self, places: np.ndarray, other: _Measured, chosen: np.ndarray) -> None:
        """Put the chosen of another's entries into these places."""
        for mine, theirs in zip(vars(self).values(), vars(other).values(), strict=True):
            mine[places] = theirs[chosen]


def _measure(triangles: np.ndarray, points: np.ndarray, normals: np.ndarray) -> _Measured:
    """triangles: [9, P], first corners and the edges from them; points, normals: [3, P]."""
    triangles = np.ascontiguousarray(triangles)
    ex, ey, ez = points - triangles[:3]
    ux, uy, uz, vx, vy, vz = triangles[3:]
    uu, uv, vv = ux * ux + uy * uy + uz * uz, ux * vx + uy * vy + uz * vz, vx * vx + vy * vy + vz * vz
    du, dv = ux * ex + uy * ey + uz * ez, vx * ex + vy * ey + vz * ez
    scale = 1 / np.maximum(uu * vv - uv * uv, np.float32(1e-30))
    s, t = (vv * du - uv * dv) * scale, (uu * dv - uv * du) * scale
    r = 1 - s - t
    exits = np.where(t < np.minimum(r, s), 0, np.where(r < s, 1, 2))
    exits[np.minimum(np.minimum(r, s), t) >= 0] = -1
    outside = np.flatnonzero(exits >= 0)
    s[outside], t[outside] = _on_border(*(a[outside] for a in (uu, uv, vv, du, dv)))
    ox, oy, oz = ex - s * ux - t * vx, ey - s * uy - t * vy, ez - s * uz - t * vz
    nx, ny, nz = normals
    facing = nx * (uy * vz - uz * vy) + ny * (uz * vx - ux * vz) + nz * (ux * vy - uy * vx)
    return _Measured(ox * ox + oy * oy + oz * oz, s, t, exits, facing < 0)


def _on_border(
    uu: np.ndarray, uv: np.ndarray, vv: np.ndarray, du: np.ndarray, dv: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Barycentric coordinates s, t of the closest points on the borders of triangles with edges u and v."""
    tiny = np.float32(1e-30)
    on_u = np.clip(du / np.maximum(uu, tiny), 0, 1)
    on_v = np.clip(dv / np.maximum(vv, tiny), 0, 1)
    across = np.clip((uu - uv + dv - du) / np.maximum(uu - 2 * uv + vv, tiny), 0, 1)
    rest = 1 - across
    cost_u, cost_v = on_u * (uu * on_u - 2 * du), on_v * (vv * on_v - 2 * dv)
    cost_across = rest * (uu * rest + 2 * uv * across - 2 * du) + across * (vv * across - 2 * dv)
    along_v = (cost_v < cost_u) & (cost_v <= cost_across)
    along_u = ~along_v & (cost_u <= cost_across)
    s = np.where(along_u, on_u, np.where(along_v, 0, rest))
    t = np.where(along_v, on_v, np.where(along_u, 0, across))
    return s, t
