"""Find the point of a raw surface that belongs to a point near it: the closest one whose normal agrees."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import Mesh
from .columns import corners_of, cross, dot, unit
from .topology import twins

LEAF = 24  # faces in a leaf of the tree: faster to build and to search here than scipy's 10
SLACK = 0.5  # how much farther than the nearest centroid one may lie: walking makes up for it, and it saves a quarter
CHUNK = 1 << 14  # points at a time: as many as stay in the cache
WALK = 16  # faces that a point may go through
FEW = 256  # one of so many points may be left to a slower way
CANDIDATES = 24  # faces that are tried for a point where the nearest one is turned away


@dataclass(frozen=True)
class Projection:
    """Where P points lie on a mesh: [P] faces and [P, 3] float32 barycentric coordinates in them."""

    face: np.ndarray
    weights: np.ndarray

    def part(self, some: slice) -> Projection:
        """Some of them."""
        return Projection(self.face[some], self.weights[some])

    def interpolate(self, faces: np.ndarray, values: np.ndarray) -> np.ndarray:
        """[V, C] values at the vertices of ``faces`` -> [P, C]."""
        corners = values.take(faces.take(self.face, axis=0), axis=0)  # [P, 3, C]
        return np.asarray(np.einsum("pk,pkc->pc", self.weights, corners))


class Projector:
    """Projects points onto a mesh.

    A kd-tree finds the face with the nearest centroid, and from there a point walks from face to face as long as that
    brings it nearer. Distances to triangles are exact (Eberly 1999, "Distance Between Point and Triangle in 3D": the
    minimum of a quadratic over the domain of the barycentric coordinates). Most points need neither: they begin where a
    point beside them, their leader, has ended, and are soon right above a face.
    """

    def __init__(self, mesh: Mesh) -> None:
        from scipy.spatial import cKDTree

        a, b, c = corners_of(mesh.vertices.astype(np.float32, copy=False), mesh.faces)
        u, v = b - a, c - a
        self._tree = cKDTree(((a + b + c) / 3).T, leafsize=LEAF, balanced_tree=False, compact_nodes=False)
        self._triangles = np.ascontiguousarray(np.concatenate([a, u, v]).T)  # [F, 9]
        self._prisms, self._planes = _prisms(a, u, v)
        self._reach = float(np.sqrt(dot(u, u).mean())) / 2 if len(mesh.faces) else 0.0
        beyond = twins(mesh.faces)
        # Across the edge from corner k to k + 1, one behind the other: [3 F].
        self._neighbours = np.where(beyond < 0, -1, beyond // 3).astype(np.int32)

    def project(self, points: np.ndarray, normals: np.ndarray, leaders: np.ndarray) -> Projection:
        """The closest points of the mesh to ``points`` [P, 3] with normals [P, 3] (of any length).

        A face that is turned away from the point's normal, by more than 90 degrees, is taken only if no other is
        among the ``CANDIDATES`` next ones: both sides of a thin wall find their own.

        Args:
            leaders: [P] for each point the number of one close by, on the same sheet of the surface, or its own. One
                follows the other, in the end, to a point that leads itself.
        """
        points, normals = points.astype(np.float32, copy=False), normals.astype(np.float32, copy=False)
        face = np.zeros(len(points), dtype=np.int32)
        weights = np.empty((len(points), 3), dtype=np.float32)
        done, leads = leaders == np.arange(len(points)), np.zeros(len(points), dtype=bool)
        leads[leaders] = True
        chosen = np.flatnonzero(done)
        face[chosen], weights[chosen] = self._search(points[chosen], normals[chosen])
        while (leads & ~done).any():
            chosen = np.flatnonzero(leads & ~done & done.take(leaders))
            begin = face.take(leaders.take(chosen))
            face[chosen], weights[chosen] = self._beside(points[chosen], normals[chosen], begin)
            done[chosen] = True
        if done.all():
            return Projection(face, weights)
        # All at once, since that is faster than to choose those that are left: they are nearly all.
        kept = np.flatnonzero(done)
        known = face[kept], weights[kept]
        face, weights = self._beside(points, normals, face.take(leaders))
        face[kept], weights[kept] = known
        return Projection(face, weights)

    def _beside(self, points: np.ndarray, normals: np.ndarray, face: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Faces and weights of points [P, 3] that lie not far from these faces.

        Those that are not right above a face, on a ridge or beyond a border, walk on as distances decide. Points whose
        face is turned away then, or farther from them than faces are wide, are searched for.
        """
        weights = np.empty((len(points), 3), dtype=np.float32)
        above = np.empty(len(points), dtype=bool)
        for first in range(0, len(points), CHUNK):
            part = slice(first, first + CHUNK)
            columns = np.ascontiguousarray(points[part].T), np.ascontiguousarray(normals[part].T)
            face[part], weights[part], above[part] = self._follow(*columns, face[part])
        rest = np.flatnonzero(~above)
        face[rest], weights[rest], found = self._walk(points[rest].T, normals[rest].T, face[rest])
        lost = rest[found.away | (found.distance > self._reach**2)]
        face[lost], weights[lost] = self._search(points[lost], normals[lost])
        return face, weights

    def _search(self, points: np.ndarray, normals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Faces and weights of points [P, 3] on their own."""
        if not len(points):
            return np.zeros(0, dtype=np.int64), np.zeros((0, 3), dtype=np.float32)
        _, face = self._tree.query(points, eps=SLACK, workers=-1)
        weights = np.empty((len(points), 3), dtype=np.float32)
        turned = []
        for first in range(0, len(points), CHUNK):
            part = slice(first, first + CHUNK)
            face[part], weights[part], found = self._walk(points[part].T, normals[part].T, face[part])
            turned.append(first + np.flatnonzero(found.away))
        again = np.concatenate(turned)
        for chosen in np.array_split(again, 1 + len(again) * CANDIDATES // CHUNK):
            if len(chosen):
                face[chosen], weights[chosen] = self._among_many(points[chosen].T, normals[chosen].T)
        return face, weights

    def _follow(
        self, points: np.ndarray, normals: np.ndarray, face: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """From these faces to those that the points [3, P] are right above: faces, weights, and whether there is one.

        Faces are crossed over the edge that a point lies beyond the farthest, without a look at distances, until that
        leads back or only a few points are left.
        """
        s, t = np.empty((2, len(face)), dtype=np.float32)
        face, above = face.copy(), np.empty(len(face), dtype=bool)
        before = np.full(len(face), -1, dtype=np.int32)
        active, here, there = np.arange(len(face)), face, points
        for _ in range(WALK):
            second, third = _above(self._prisms.take(here, axis=0), there)
            first = 1 - second - third
            least = np.minimum(first, second)
            inside = np.minimum(least, third) >= 0
            s[active], t[active], above[active] = second, third, inside
            exits = (2 - (first < second).view(np.int8)) * (third >= least)
            following = self._neighbours.take(3 * here + exits)
            on = np.flatnonzero(~inside & (following >= 0) & (following != before))
            if len(on) <= len(face) // FEW:
                break
            active, before, here, there = active.take(on), here.take(on), following.take(on), there.take(on, axis=1)
            face[active] = here
        above &= self._is_near(points, normals, face)
        return face, np.stack([1 - s - t, s, t], axis=1), above

    def _is_near(self, points: np.ndarray, normals: np.ndarray, face: np.ndarray) -> np.ndarray:
        """[P] bool: whether faces are not turned away from the points [3, P], and within reach of them."""
        nx, ny, nz, level = np.ascontiguousarray(self._planes.take(face, axis=0).T)
        facing = nx * normals[0] + ny * normals[1] + nz * normals[2]
        height = nx * points[0] + ny * points[1] + nz * points[2] - level
        return np.asarray((facing >= 0) & (np.abs(height) <= self._reach))

    def _walk(
        self, points: np.ndarray, normals: np.ndarray, face: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, _Measured]:
        """From these faces to the closest ones, as far as each step brings a point nearer: faces, weights, the rest."""
        found = _measure(self._triangles[face].T, points, normals)
        active = np.flatnonzero(found.exits >= 0)
        for _ in range(WALK):
            following = self._neighbours[3 * face[active] + found.exits[active]]
            active, following = active[following >= 0], following[following >= 0]
            if not len(active):
                break
            there = _measure(self._triangles[following].T, points[:, active], normals[:, active])
            nearer = there.distance < found.distance[active]
            active = active[nearer]
            face[active] = following[nearer]
            found.take(active, there, nearer)
            active = active[found.exits[active] >= 0]
        return face, np.stack([1 - found.s - found.t, found.s, found.t], axis=1), found

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


def _prisms(a: np.ndarray, u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of triangles with first corners a and edges u and v, all [3, F], what tells whether points are right above them.

    Returns:
        [F, 9] the first corner a, and the vectors S and T with s = S (p - a) and t = T (p - a), the second and the
        third barycentric coordinate of the point p; and [F, 4] the unit normal n and n a.
    """
    uu, uv, vv = dot(u, u), dot(u, v), dot(v, v)
    scale = 1 / np.maximum(uu * vv - uv * uv, np.float32(1e-30))
    second, third = (vv * u - uv * v) * scale, (uu * v - uv * u) * scale
    n = unit(cross(u, v))
    planes = np.concatenate([n, dot(n, a)[None]])
    return np.ascontiguousarray(np.concatenate([a, second, third]).T), np.ascontiguousarray(planes.T)


def _above(prisms: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The second and the third barycentric coordinate [P] of points [3, P], along the normals of prisms [P, 9]."""
    prisms = np.ascontiguousarray(prisms.T)
    ex, ey, ez = points - prisms[:3]
    return ex * prisms[3] + ey * prisms[4] + ez * prisms[5], ex * prisms[6] + ey * prisms[7] + ez * prisms[8]


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
