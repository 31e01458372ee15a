"""The pairs of faces of a mesh that meet elsewhere than in the corners and edges that they share."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..base.compiled import compiled, in_strips
from ..base.projection import DEEP, LEAF, along_curve, boxes_of
from ..base.vectors import corners_of, cross, dot, minus, unit
from .meeting import faces_meet

STRIP = 512  # leaves of the tree between two calls of ``check``
CLEAR = 1e-10  # of the largest coordinate: far above the rounding error of a distance in float64
MOST = 64  # pairs kept for each face of a strip, on average: a heap of crossing faces has no end of them


def crossings(
    vertices: np.ndarray, faces: np.ndarray, check: Callable[[], None] = lambda: None, near: float = 0.0
) -> np.ndarray:
    """The pairs [P, 2] of faces that meet, the lower number first, in ascending order.

    Of a mesh without order, where each face meets more than ``MOST`` others on average, some pairs may be missing; some
    are found wherever there are any.

    Args:
        vertices: [V, 3] finite float32.
        faces: [F, 3] int64, each with three different vertices.
        check: called often; it raises to cancel.
        near: faces no farther apart than about this count as meeting, too.
    """
    if not len(faces):
        return np.empty((0, 2), np.int64)
    vertices, faces = np.ascontiguousarray(vertices, np.float32), np.ascontiguousarray(faces, np.int64)
    order = along_curve(vertices, faces)
    boxes, _ = boxes_of(vertices, faces[order])
    own, planes, leaves = _boxes(vertices, faces, order), _planes(vertices, faces), -(-len(faces) // LEAF)
    found: dict[int, np.ndarray] = {}

    def strip(first: int, last: int) -> None:
        check()
        found[first] = _pairs(vertices, faces, order, own, planes, boxes, first, last, near)

    in_strips(strip, leaves, STRIP)
    pairs = np.concatenate([found[first] for first in sorted(found)])
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]


@compiled
def _pairs(
    vertices: np.ndarray,
    faces: np.ndarray,
    order: np.ndarray,
    own: np.ndarray,
    planes: np.ndarray,
    boxes: np.ndarray,
    first: int,
    last: int,
    near: float,
) -> np.ndarray:
    """The pairs whose first face, in the order of the tree, is in the leaves from ``first`` to before ``last``.

    own: [F, 6] the boxes of the faces, in the order of the tree. planes: [F, 4], see ``_planes``.
    """
    half, most = len(boxes) // 2, MOST * LEAF * (last - first)
    clear = 2 * near
    for side in range(6):
        clear = max(clear, CLEAR * abs(boxes[1, side]))
    pairs, count, room = np.empty((64, 2), np.int64), 0, 64
    nodes, widths = np.empty(DEEP, np.int64), np.empty(DEEP, np.int64)  # a node, and how many leaves are below it
    for leaf in range(first, last):
        box = half + leaf
        nodes[0], widths[0], left = 1, half, 1
        while left:
            left -= 1
            node, width = nodes[left], widths[left]
            if (node + 1) * width - half <= leaf or not _overlap(boxes, box, boxes, node):
                continue  # all its leaves come before this one, or none is near
            if node < half:
                nodes[left], nodes[left + 1] = 2 * node, 2 * node + 1
                widths[left], widths[left + 1] = width // 2, width // 2
                left += 2
                continue
            for rank in range(leaf * LEAF, min((leaf + 1) * LEAF, len(order))):
                if not _overlap(own, rank, boxes, node):
                    continue
                for place in range(max((node - half) * LEAF, rank + 1), min((node - half + 1) * LEAF, len(order))):
                    if not _overlap(own, rank, own, place):
                        continue
                    one, other = order[rank], order[place]
                    if _apart(vertices, faces, planes, one, other, clear) or _apart(
                        vertices, faces, planes, other, one, clear
                    ):
                        continue
                    if count < most and faces_meet(vertices, faces, one, other, near):
                        if count == room:
                            grown = np.empty((2 * room, 2), np.int64)
                            grown[:room] = pairs
                            pairs, room = grown, 2 * room
                        pairs[count, 0], pairs[count, 1] = min(one, other), max(one, other)
                        count += 1
    return pairs[:count].copy()


@compiled
def _overlap(boxes: np.ndarray, one: int, others: np.ndarray, other: int) -> bool:
    """Whether two boxes, rows of arrays [N, 6], have a point in common."""
    return (
        boxes[one, 0] <= others[other, 3]
        and boxes[one, 3] >= others[other, 0]
        and boxes[one, 1] <= others[other, 4]
        and boxes[one, 4] >= others[other, 1]
        and boxes[one, 2] <= others[other, 5]
        and boxes[one, 5] >= others[other, 2]
    )


@compiled
def _boxes(vertices: np.ndarray, faces: np.ndarray, order: np.ndarray) -> np.ndarray:
    """[F, 6] the boxes of faces in this order."""
    boxes = np.empty((len(order), 6), np.float32)
    for rank in range(len(order)):
        for axis in range(3):
            a = vertices[faces[order[rank], 0], axis]
            b = vertices[faces[order[rank], 1], axis]
            c = vertices[faces[order[rank], 2], axis]
            boxes[rank, axis], boxes[rank, 3 + axis] = min(a, b, c), max(a, b, c)
    return boxes


@compiled
def _planes(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """[F, 4] the unit normals of faces, and how far their planes are from the origin."""
    planes = np.empty((len(faces), 4))
    for face in range(len(faces)):
        a, b, c = corners_of(vertices, faces, face)
        normal = unit(cross(minus(b, a), minus(c, a)))
        planes[face, 0], planes[face, 1], planes[face, 2] = normal
        planes[face, 3] = dot(normal, a)
    return planes


@compiled
def _apart(vertices: np.ndarray, faces: np.ndarray, planes: np.ndarray, one: int, other: int, clear: float) -> bool:
    """Whether a face is clearly apart from another but for corners that they share.

    The corners of the other that are not shared are looked at from the plane of the face, and from the planes that
    stand on its edges: they may all be on one side. Clearly: by more than ``clear``.
    """
    a, b, c = faces[one, 0], faces[one, 1], faces[one, 2]
    count = 0
    ps = (faces[other, 0], faces[other, 1], faces[other, 2])
    x, y, z = planes[one, 0], planes[one, 1], planes[one, 2]
    low, high = np.inf, -np.inf
    for p in ps:
        if p != a and p != b and p != c:
            away = x * vertices[p, 0] + y * vertices[p, 1] + z * vertices[p, 2] - planes[one, 3]
            low, high = min(low, away), max(high, away)
            count += 1
    if low > clear or high < -clear:
        return count > 0
    if count == 0:
        return False
    for i, j in ((a, b), (b, c), (c, a)):
        if (i in ps) + (j in ps) < 3 - count:
            continue  # a corner that they share is on the inner side
        # The normal of the plane on this edge, outward, as long as the edge.
        u, v, w = (
            np.float64(vertices[j, 0]) - vertices[i, 0],
            np.float64(vertices[j, 1]) - vertices[i, 1],
            np.float64(vertices[j, 2]) - vertices[i, 2],
        )
        nx, ny, nz = v * z - w * y, w * x - u * z, u * y - v * x
        start = nx * vertices[i, 0] + ny * vertices[i, 1] + nz * vertices[i, 2]
        low = np.inf
        for p in ps:
            if p != a and p != b and p != c:
                low = min(low, nx * vertices[p, 0] + ny * vertices[p, 1] + nz * vertices[p, 2] - start)
        if low > clear:
            return True
    return False
