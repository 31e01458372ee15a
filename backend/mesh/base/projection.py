"""Project points onto a surface near them: to the closest point whose normal agrees."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from .. import Mesh
from .compiled import compiled, inlined, together
from .rings import FEW, Rings, rings_around
from .triangle import TINY, closest
from .vectors import Vector, corners_of, cross, dot, minus, plus, unit, vector

LEAF = 4  # faces in a leaf of the tree
MAX_BITS = 7  # bits of each coordinate of the cells that faces are sorted by
WALK = 16  # faces that a walk may visit
APART = 1.5  # in mean edges: how much farther a face may be that is taken instead of one turned away
NEAR = 0.5  # in mean edges: the largest distance of a point from a face found by a walk, without a search
DEEP = 64  # nodes waiting in a search: more than there can be


@dataclass(frozen=True)
class Projection:
    """P points on a mesh: faces [P] and barycentric coordinates [P, 3] float32 in them."""

    face: np.ndarray
    weights: np.ndarray

    def interpolate(self, faces: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Values [V, C] at the vertices of ``faces`` [F, 3] to values [P, C] at the points."""
        corners = values.take(faces.take(self.face, axis=0), axis=0)  # [P, 3, C]
        return np.asarray(np.einsum("pk,pkc->pc", self.weights, corners))


class Tree(NamedTuple):
    """A mesh of F faces with the tables to find its closest points.

    The faces are sorted along a space-filling curve (Morton 1966), so that those that are near each other are near in
    memory, and cut into leaves of ``LEAF``. The L leaves, a power of two, are the last rows of a binary tree of
    bounding boxes, in which node i has the children 2 i and 2 i + 1.
    """

    vertices: np.ndarray  # [V, 3] float32
    faces: np.ndarray  # [F, 3] int64, sorted; so are the fields below, and the faces that are found
    across: np.ndarray  # [F, 3] int32: the face across the edge from corner k to the next; -1 if there is none
    prisms: np.ndarray  # [4 F, 3] float32: for each face its first corner, two vectors whose products with e are
    # s and t, see ``triangle``, and its unit normal
    order: np.ndarray  # [F] int32: the number of each face in the mesh
    boxes: np.ndarray  # [2 L, 6] float32: low and high corners; node 1 is the root
    edge: float  # mean length of the edges


class Projector:
    """Projects points onto a mesh."""

    def __init__(self, mesh: Mesh) -> None:
        vertices = np.ascontiguousarray(mesh.vertices, dtype=np.float32)
        faces = np.ascontiguousarray(mesh.faces, dtype=np.int64)
        order = along_curve(vertices, faces)
        ordered = faces.take(order, axis=0)
        across, prisms, boxes = together(
            partial(_across, faces, order, rings_around(mesh)),
            partial(_prisms, vertices, ordered),
            partial(boxes_of, vertices, ordered),
        )
        self.tree = Tree(vertices, ordered, across, prisms, order, *boxes)

    def project(self, points: np.ndarray, normals: np.ndarray) -> Projection:
        """The closest points of the mesh to ``points`` [P, 3] with normals [P, 3] (of any length).

        A face turned away from the point's normal by more than 90 degrees is taken only if no other face is about as
        near, so that points on both sides of a thin wall find their own side.
        """
        points, normals = (np.ascontiguousarray(given, dtype=np.float32) for given in (points, normals))
        found, weights = _search_all(self.tree, points, normals)
        return Projection(self.tree.order.take(found), weights)


@inlined
def walk(
    prisms: np.ndarray, across: np.ndarray, reach: float, begin: int, point: Vector, normal: Vector
) -> tuple[bool, int, float, float]:
    """Walk from face to face to the one below a point: whether it was found, the face, and s, t in it (``triangle``).

    The walk starts at the face found for a neighbouring point. It crosses the edge that the point is farthest beyond,
    until the point is right above a face; mostly this takes at most one step. If that face is too far or turned away,
    or if the walk ends at a ridge or a border, nothing is found: the point needs a search, starting at the last face.

    Args:
        prisms, across: fields of a ``Tree``.
        reach: the largest distance of the point from its face.
        begin: the face to start at.
        point: the point to project.
        normal: its normal, of any length.
    """
    before, face = -1, begin
    found, s, t = False, 0.0, 0.0
    for _ in range(WALK):
        e = minus(point, vector(prisms, 4 * face))
        s, t = dot(vector(prisms, 4 * face + 1), e), dot(vector(prisms, 4 * face + 2), e)
        r = 1.0 - s - t
        if min(r, s, t) >= 0:
            upward = vector(prisms, 4 * face + 3)
            found = abs(dot(upward, e)) <= reach and dot(upward, normal) >= 0
            break
        following = across[face, 0 if t < min(r, s) else 1 if r < s else 2]
        if following < 0 or following == before:  # at a border, or back across a ridge
            break
        before, face = face, following
    return found, face, s, t


@compiled
def search(tree: Tree, begin: int, point: Vector, normal: Vector) -> tuple[int, float, float]:
    """The face that a point with a normal is projected to, and coordinates s, t in it, see ``triangle``.

    The search begins with the leaf of the face ``begin``, if it is not -1; if that is near, most of the tree is
    skipped.
    """
    vertices, faces, boxes = tree.vertices, tree.faces, tree.boxes
    best, nearest, limit = (0, 1.0, 0.0), np.inf, np.inf  # among the faces that are not turned away
    other, least = best, np.inf  # among all
    half = len(boxes) // 2
    nodes, away = np.empty(DEEP, dtype=np.int64), np.empty(DEEP)  # the nodes left to visit, and their distances
    nodes[0], away[0] = 1, 0.0
    nodes[1], away[1] = half + begin // LEAF, 0.0
    left = 1 if begin < 0 else 2
    while left:
        left -= 1
        node = nodes[left]
        if away[left] >= limit:
            continue
        if node < half:
            node *= 2
            one, two = _away(boxes, node, point), _away(boxes, node + 1, point)
            nearer = 0 if one < two else 1
            nodes[left], away[left] = node + 1 - nearer, max(one, two)
            nodes[left + 1], away[left + 1] = node + nearer, min(one, two)
            left += 2
            continue
        first = (node - half) * LEAF
        for face in range(first, min(first + LEAF, len(faces))):
            a, b, c = corners_of(vertices, faces, face)
            e, u, v = minus(point, a), minus(b, a), minus(c, a)
            s, t = closest(dot(u, u), dot(u, v), dot(v, v), dot(u, e), dot(v, e))
            beyond = plus(plus(e, -s, u), -t, v)
            distance = dot(beyond, beyond)
            if distance < least:
                other, least = (face, s, t), distance
            if distance < nearest and dot(cross(u, v), normal) >= 0:
                best, nearest = (face, s, t), distance
        limit = min(nearest, (np.sqrt(least) + APART * tree.edge) ** 2)
    return best if nearest <= limit else other


@inlined
def _away(boxes: np.ndarray, node: int, point: Vector) -> float:
    """The squared distance of a point from a box."""
    x, y, z = point
    dx = max(boxes[node, 0] - x, 0.0, x - boxes[node, 3])
    dy = max(boxes[node, 1] - y, 0.0, y - boxes[node, 4])
    dz = max(boxes[node, 2] - z, 0.0, z - boxes[node, 5])
    return dx * dx + dy * dy + dz * dz


@compiled
def _search_all(tree: Tree, points: np.ndarray, normals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Faces [P] and weights [P, 3] of points [P, 3] with normals [P, 3]."""
    found = np.zeros(len(points), dtype=np.int64)
    weights = np.zeros((len(points), 3), dtype=np.float32)
    for i in range(len(points)):
        found[i], s, t = search(tree, -1, vector(points, i), vector(normals, i))
        weights[i, 0], weights[i, 1], weights[i, 2] = 1.0 - s - t, s, t
    return found, weights


@compiled
def _prisms(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """The field of that name of a ``Tree``."""
    prisms = np.empty((4 * len(faces), 3), dtype=np.float32)
    for face in range(len(faces)):
        a, b, c = corners_of(vertices, faces, face)
        u, v = minus(b, a), minus(c, a)
        uu, uv, vv = dot(u, u), dot(u, v), dot(v, v)
        scale = 1.0 / max(uu * vv - uv * uv, TINY)
        upward = unit(cross(u, v))
        for axis in range(3):
            prisms[4 * face, axis] = a[axis]
            prisms[4 * face + 1, axis] = (vv * u[axis] - uv * v[axis]) * scale
            prisms[4 * face + 2, axis] = (uu * v[axis] - uv * u[axis]) * scale
            prisms[4 * face + 3, axis] = upward[axis]
    return prisms


@compiled
def _across(faces: np.ndarray, order: np.ndarray, rings: Rings) -> np.ndarray:
    """The field of that name of a ``Tree`` of a mesh's faces [F, 3], which are sorted by ``order`` [F].

    An edge's opposite is looked for around its end, unless there are very many faces.
    """
    begins, nexts, around = rings.begins, rings.nexts, rings.around
    ranks, across = np.empty(len(order), dtype=np.int32), np.full(faces.shape, -1, dtype=np.int32)
    for rank in range(len(order)):
        ranks[order[rank]] = rank
    for face in range(len(faces)):
        own = across[ranks[face]]
        for corner in range(3):
            start, end = faces[face, corner], faces[face, (corner + 1) % 3]
            others = begins[end + 1] - begins[end]
            if others <= FEW or others <= begins[start + 1] - begins[start]:
                for i in range(begins[end], begins[end + 1]):
                    if nexts[i] == start:
                        own[corner] = ranks[around[i]]
                        break
            else:
                for i in range(begins[start], begins[start + 1]):
                    other = around[i]
                    if faces[other, 0] + faces[other, 1] + faces[other, 2] - start - nexts[i] == end:
                        own[corner] = ranks[other]
                        break
    return across


@compiled
def boxes_of(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, float]:
    """The last two fields of a ``Tree`` of vertices [V, 3] float32 and sorted faces [F, 3] int64."""
    half = 1
    while half * LEAF < len(faces):
        half *= 2
    boxes = np.empty((2 * half, 6), dtype=np.float32)
    for node in range(2 * half):
        for axis in range(3):
            boxes[node, axis], boxes[node, 3 + axis] = np.inf, -np.inf
    squares = 0.0
    for face in range(len(faces)):
        node = half + face // LEAF
        for axis in range(3):
            a, b, c = vertices[faces[face, 0], axis], vertices[faces[face, 1], axis], vertices[faces[face, 2], axis]
            boxes[node, axis] = min(boxes[node, axis], a, b, c)
            boxes[node, 3 + axis] = max(boxes[node, 3 + axis], a, b, c)
            squares += (b - a) ** 2
    for node in range(half - 1, 0, -1):
        for axis in range(3):
            boxes[node, axis] = min(boxes[2 * node, axis], boxes[2 * node + 1, axis])
            boxes[node, 3 + axis] = max(boxes[2 * node, 3 + axis], boxes[2 * node + 1, 3 + axis])
    return boxes, np.sqrt(squares / max(len(faces), 1))


@compiled
def along_curve(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """[F] int32: the faces sorted along the curve, by the cells of their centroids.

    The cells are about as fine as the faces of a surface.
    """
    low, high = np.full(3, np.inf), np.full(3, -np.inf)
    for vertex in range(len(vertices)):
        for axis in range(3):
            low[axis] = min(low[axis], vertices[vertex, axis])
            high[axis] = max(high[axis], vertices[vertex, axis])
    bits = 1
    while bits < MAX_BITS and 4**bits < len(faces):
        bits += 1
    scale = (2**bits - 0.01) / max(high[0] - low[0], high[1] - low[1], high[2] - low[2], TINY)
    cell = np.empty(len(faces), dtype=np.int32)
    begins = np.zeros(8**bits + 1, dtype=np.int32)
    for face in range(len(faces)):
        a, b, c = faces[face, 0], faces[face, 1], faces[face, 2]
        code = 0
        for axis in range(3):
            middle = (vertices[a, axis] + vertices[b, axis] + vertices[c, axis]) / 3.0
            index = int((middle - low[axis]) * scale)
            for bit in range(bits):
                code |= (index >> bit & 1) << (3 * bit + axis)
        cell[face] = code
        begins[code + 1] += 1
    for code in range(8**bits):
        begins[code + 1] += begins[code]
    order = np.empty(len(faces), dtype=np.int32)
    for face in range(len(faces)):
        order[begins[cell[face]]] = face
        begins[cell[face]] += 1
    return order
