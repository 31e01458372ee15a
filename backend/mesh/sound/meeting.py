"""Whether two triangles of a mesh meet, apart from what they share.

Coordinates are float32 and computed with in float64, so the signs of determinants are right unless they are smaller
than the rounding error of the largest product in them (``ROUNDING``). Then the points count as lying in one plane or on
one line, and the test goes on with one dimension less. A doubtful case therefore counts as touching, and touching as
meeting.
"""

from __future__ import annotations

import numpy as np

from ..base.compiled import compiled
from ..base.vectors import Vector, cross, dot, minus, vector

ROUNDING = 1e-14  # of the largest product in a determinant
FOLD = 1e-12  # the square of the sine of the angle between faces at an edge below which they are folded onto each other


@compiled
def _largest(a: Vector) -> float:
    return max(abs(a[0]), abs(a[1]), abs(a[2]))


@compiled
def side_of(a: Vector, u: Vector, v: Vector, p: Vector, near: float) -> int:
    """Which side of the plane through ``a`` along ``u`` and ``v`` a point is on: 1, -1, or 0 if it is ``near``."""
    e, normal = minus(p, a), cross(u, v)
    found = dot(normal, e)
    limit = ROUNDING * _largest(u) * _largest(v) * _largest(e)
    if near > 0:
        limit += near * np.sqrt(dot(normal, normal))
    return 1 if found > limit else -1 if found < -limit else 0


@compiled
def _turn(ax: float, ay: float, bx: float, by: float, cx: float, cy: float, near: float) -> int:
    """Which way three points of a plane turn: 1 anticlockwise, -1 clockwise, 0 if c is ``near`` the line a b."""
    ux, uy, vx, vy = bx - ax, by - ay, cx - ax, cy - ay
    found = ux * vy - uy * vx
    limit = ROUNDING * max(abs(ux), abs(uy)) * max(abs(vx), abs(vy)) + near * max(abs(ux), abs(uy))
    return 1 if found > limit else -1 if found < -limit else 0


@compiled
def _segments_meet(
    px: float, py: float, qx: float, qy: float, ax: float, ay: float, bx: float, by: float, near: float
) -> bool:
    """Whether two segments of a plane, p q and a b, have a point in common."""
    one, two = _turn(px, py, qx, qy, ax, ay, near), _turn(px, py, qx, qy, bx, by, near)
    three, four = _turn(ax, ay, bx, by, px, py, near), _turn(ax, ay, bx, by, qx, qy, near)
    if one == 0 and two == 0:  # all on one line
        return (
            max(px, qx) >= min(ax, bx)
            and max(ax, bx) >= min(px, qx)
            and max(py, qy) >= min(ay, by)
            and max(ay, by) >= min(py, qy)
        )
    return one * two <= 0 and three * four <= 0


@compiled
def _flat_meet(p: Vector, q: Vector, a: Vector, b: Vector, c: Vector, normal: Vector, near: float) -> bool:
    """Whether a segment p q meets the triangle a b c in whose plane it lies."""
    drop = 0
    for axis in (1, 2):
        if abs(normal[axis]) > abs(normal[drop]):
            drop = axis
    i, j = (drop + 1) % 3, (drop + 2) % 3
    points = np.empty((5, 2))
    for row, point in enumerate((p, q, a, b, c)):
        points[row, 0], points[row, 1] = point[i], point[j]
    px, py, qx, qy = points[0, 0], points[0, 1], points[1, 0], points[1, 1]
    inside = True
    first = 0
    for k in range(3):
        ax, ay = points[2 + k, 0], points[2 + k, 1]
        bx, by = points[2 + (k + 1) % 3, 0], points[2 + (k + 1) % 3, 1]
        if _segments_meet(px, py, qx, qy, ax, ay, bx, by, near):
            return True
        turn = _turn(ax, ay, bx, by, px, py, near)
        first = turn if k == 0 else first
        inside = inside and turn == first
    return inside


@compiled
def segment_meets(p: Vector, q: Vector, a: Vector, b: Vector, c: Vector, near: float) -> bool:
    """Whether the segment p q and the triangle a b c have a point in common."""
    u, v = minus(b, a), minus(c, a)
    one, two = side_of(a, u, v, p, near), side_of(a, u, v, q, near)
    if one * two > 0:
        return False
    if one == 0 and two == 0:
        return _flat_meet(p, q, a, b, c, cross(u, v), near)
    along = minus(q, p)
    low, high = 0, 0
    for s, t in ((a, b), (b, c), (c, a)):
        side = side_of(p, along, minus(s, p), t, 0.0)
        low, high = min(low, side), max(high, side)
    return low * high == 0


@compiled
def folded(a: Vector, b: Vector, one: Vector, other: Vector) -> bool:
    """Whether the triangles of an edge a b with these third corners lie on each other."""
    along = minus(b, a)
    left, right = cross(along, minus(one, a)), cross(along, minus(other, a))
    between = cross(left, right)
    return dot(left, right) > 0 and dot(between, between) <= FOLD * dot(left, left) * dot(right, right)


@compiled
def faces_meet(vertices: np.ndarray, faces: np.ndarray, one: int, other: int, near: float) -> bool:
    """Whether two of faces [F, 3] meet, apart from the vertices [V, 3] and the edge that they share.

    Faces with the same three vertices meet. near: points so far apart count as touching, too.
    """
    shared, i, j = 0, 0, 0  # the last shared corner of each
    left, right = 3, 3  # the sums of the shared corners, taken from that of all
    for k in range(3):
        for m in range(3):
            if faces[one, k] == faces[other, m]:
                shared, i, j = shared + 1, k, m
                left, right = left - k, right - m
    if shared == 3:
        return True
    if shared == 2:
        a, b = vector(vertices, faces[one, (left + 1) % 3]), vector(vertices, faces[one, (left + 2) % 3])
        return folded(a, b, vector(vertices, faces[one, left]), vector(vertices, faces[other, right]))
    a, b, c = (
        vector(vertices, faces[one, i]),
        vector(vertices, faces[one, (i + 1) % 3]),
        vector(vertices, faces[one, (i + 2) % 3]),
    )
    d, e, f = (
        vector(vertices, faces[other, j]),
        vector(vertices, faces[other, (j + 1) % 3]),
        vector(vertices, faces[other, (j + 2) % 3]),
    )
    u, v = minus(b, a), minus(c, a)
    p, q = side_of(a, u, v, e, near), side_of(a, u, v, f, near)
    if shared == 1:
        if p * q > 0:
            return False
        return segment_meets(e, f, a, b, c, near) or segment_meets(b, c, d, e, f, near)
    if p * q > 0 and p * side_of(a, u, v, d, near) > 0:
        return False
    u, v = minus(e, d), minus(f, d)
    p = side_of(d, u, v, a, near)
    if p != 0 and p * side_of(d, u, v, b, near) > 0 and p * side_of(d, u, v, c, near) > 0:
        return False
    return (
        segment_meets(a, b, d, e, f, near)
        or segment_meets(b, c, d, e, f, near)
        or segment_meets(c, a, d, e, f, near)
        or segment_meets(d, e, a, b, c, near)
        or segment_meets(e, f, a, b, c, near)
        or segment_meets(f, d, a, b, c, near)
    )
