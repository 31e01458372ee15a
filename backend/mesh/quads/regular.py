"""Make polygons more regular: more quads, and more vertices with four edges.

Four moves, over and over: the diagonal between two triangles is taken out; a vertex with two edges is, with both;
an edge is turned to other corners of its two faces; two opposite corners of a quad become one, and the quad is gone.
The last two are made only where they bring numbers of edges nearer to four (local operations on quads as in Tarini
et al. 2010, "Practical quad mesh simplification").
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..base.compiled import compiled, inlined
from ..base.vectors import Vector, cross, dot, minus, unit, vector
from .polygons import Polygons

ROUNDS = 20
SLIM = 0.5  # the least sine of a corner of a face that is made
BENT = 0.3  # and of one that is only pulled
MOST = 24  # edges at a vertex that is looked at


def improve(mesh: Polygons, check: Callable[[], None]) -> None:
    """Make polygons more regular, in place."""
    for _ in range(ROUNDS):
        check()
        if not _round(mesh):
            return


@compiled
def _round(mesh: Polygons) -> int:
    """One round over all faces. Returns the number of changes."""
    changes = 0
    for half in range(len(mesh.twin)):
        face, back = half // 4, mesh.twin[half]
        if half % 4 == 0 and mesh.sizes[face] == 4:
            changes += _shut(mesh, face)
        if half % 4 >= mesh.sizes[face] or back < half or back // 4 == face:
            continue
        if _is_doublet(mesh, half):
            changes += _dissolve(mesh, half)
            continue
        start, end = mesh.corners[face, half % 4], mesh.corners[back // 4, back % 4]
        if (mesh.sharp[start] and mesh.sharp[end]) or min(mesh.valence[start], mesh.valence[end]) < 4:
            continue
        opened = mesh.sizes[face] + mesh.sizes[back // 4] == 6 and _open(mesh, half)
        changes += 1 if opened else _turn(mesh, half)
    return changes


# --- vertices with two edges -----------------------------------------------------------------------------------------


@compiled
def _is_doublet(mesh: Polygons, half: int) -> bool:
    """Whether the start of a half-edge is only in this face and its neighbour, and can go."""
    face, k, back = half // 4, half % 4, mesh.twin[half]
    size, other = mesh.sizes[face], mesh.sizes[back // 4]
    start = mesh.corners[face, k]
    return (
        mesh.valence[start] == 2
        and not mesh.sharp[start]
        and size + other > 6
        and mesh.twin[4 * face + (k + size - 1) % size] == back - back % 4 + (back % 4 + 1) % other
    )


@compiled
def _dissolve(mesh: Polygons, half: int) -> int:
    """Take out the start of a half-edge, which two faces share: they become one."""
    face, k, back = half // 4, half % 4, mesh.twin[half]
    size, gone = mesh.sizes[face], back // 4
    others = mesh.sizes[gone]
    start = mesh.corners[face, k]
    ring, outer, total = np.empty(4, np.int64), np.empty(4, np.int64), 0
    for i in range(1, size - 1):
        ring[total], outer[total] = mesh.corners[face, (k + i) % size], mesh.twin[4 * face + (k + i) % size]
        total += 1
    at = back % 4 + 2  # the face beyond goes on from the last corner of this one
    for i in range(others - 2):
        ring[total], outer[total] = mesh.corners[gone, (at + i) % others], mesh.twin[4 * gone + (at + i) % others]
        total += 1
    for i in range(total):
        if outer[i] >= 0 and (outer[i] // 4 == face or outer[i] // 4 == gone):
            return 0
    if min(mesh.valence[ring[0]], mesh.valence[ring[size - 2]]) < 4:
        return 0
    mesh.valence[start] = 0
    mesh.valence[ring[0]] -= 1
    mesh.valence[ring[size - 2]] -= 1
    mesh.sizes[gone] = 0
    _write(mesh, face, ring, outer, total)
    return 1


# --- edges -----------------------------------------------------------------------------------------------------------


@compiled
def _open(mesh: Polygons, half: int) -> bool:
    """Make a quad of two triangles, if it is a good one."""
    ring, outer = np.empty(6, np.int64), np.empty(6, np.int64)
    _union(mesh, half, ring, outer)
    if ring[1] == ring[3] or _slimmest(mesh.points, ring, 4, _normal(mesh.points, ring, 4)) < SLIM:
        return False
    mesh.sizes[mesh.twin[half] // 4] = 0
    _write(mesh, half // 4, ring, outer, 4)
    mesh.valence[ring[0]] -= 1
    mesh.valence[ring[2]] -= 1
    return True


@compiled
def _turn(mesh: Polygons, half: int) -> int:
    """Turn an edge within its two faces, if that makes their corners more regular. Returns 1 if so."""
    face, other = half // 4, mesh.twin[half] // 4
    size, at = mesh.sizes[face] + mesh.sizes[other] - 2, mesh.sizes[face] - 1
    ring, outer = np.empty(6, np.int64), np.empty(6, np.int64)
    _union(mesh, half, ring, outer)  # the edge is between the corners ``at`` and 0
    if len(np.unique(ring[:size])) < size:
        return 0
    step = 2 if size < 6 else 3  # corners along one of the two new faces
    best, first = 0, 0
    for i in range(size):
        j = (i + step) % size
        if (i == 0 and j == at) or (i == at and j == 0):
            continue
        gain = 0
        for k in range(size):
            change = int(k in (i, j)) - int(k in (0, at))
            gain += _off(mesh.valence[ring[k]]) - _off(mesh.valence[ring[k]] + change)
        if gain > best and _part_well(mesh.points, ring, size, i, step) and not _is_linked(mesh, outer[i], ring[j]):
            best, first = gain, i
    if best == 0:
        return 0
    last = (first + step) % size
    mesh.valence[ring[0]] -= 1
    mesh.valence[ring[at]] -= 1
    mesh.valence[ring[first]] += 1
    mesh.valence[ring[last]] += 1
    _write(mesh, face, np.roll(ring[:size], -first), np.roll(outer[:size], -first), step + 1)
    _write(mesh, other, np.roll(ring[:size], -last), np.roll(outer[:size], -last), size - step + 1)
    one, two = 4 * face + step, 4 * other + size - step
    mesh.twin[one], mesh.twin[two] = two, one
    return 1


@inlined
def _off(valence: int) -> int:
    """How irregular a vertex is."""
    return abs(valence - 4)


@compiled
def _union(mesh: Polygons, half: int, ring: np.ndarray, outer: np.ndarray) -> None:
    """Write the corners around two faces that share an edge, and the half-edges across from the sides there.

    The first is the end of the half-edge.
    """
    total = 0
    for side in range(2):
        h = half if side == 0 else mesh.twin[half]
        face, size = h // 4, mesh.sizes[h // 4]
        for i in range(1, size):
            at = (h % 4 + i) % size
            ring[total], outer[total] = mesh.corners[face, at], mesh.twin[4 * face + at]
            total += 1


@compiled
def _write(mesh: Polygons, face: int, ring: np.ndarray, outer: np.ndarray, size: int) -> None:
    """Give a face the first corners of a ring, and the neighbours there."""
    mesh.sizes[face], mesh.corners[face, 3] = size, -1
    for i in range(size):
        mesh.corners[face, i], mesh.twin[4 * face + i] = ring[i], outer[i]
        if outer[i] >= 0:
            mesh.twin[outer[i]] = 4 * face + i


@compiled
def _part_well(points: np.ndarray, ring: np.ndarray, size: int, first: int, step: int) -> bool:
    """Whether an edge from a corner of a ring to the one ``step`` later parts it into two faces that are no slivers."""
    normal = _normal(points, ring, size)
    one, other = np.roll(ring[:size], -first), np.roll(ring[:size], -first - step)
    return (
        _slimmest(points, one, step + 1, normal) >= SLIM and _slimmest(points, other, size - step + 1, normal) >= SLIM
    )


@compiled
def _is_linked(mesh: Polygons, across: int, end: int) -> bool:
    """Whether the point where the half-edge ``across`` ends has an edge to ``end``, or may have: at a border."""
    if across < 0:
        return True
    around = np.empty(MOST, np.int64)
    count = _star(mesh, across - across % 4 + (across % 4 + 1) % mesh.sizes[across // 4], around)
    for i in range(count):
        h = around[i]
        if mesh.corners[h // 4, (h % 4 + 1) % mesh.sizes[h // 4]] == end:
            return True
    return count == 0


@compiled
def _star(mesh: Polygons, half: int, found: np.ndarray) -> int:
    """Write the half-edges that leave the start of one, all around. Returns their number; 0 at a border."""
    count, h = 0, half
    while count < MOST:
        found[count] = h
        count += 1
        size = mesh.sizes[h // 4]
        h = mesh.twin[h - h % 4 + (h % 4 + size - 1) % size]
        if h < 0:
            return 0
        if h == half:
            return count
    return 0


# --- quads that go ---------------------------------------------------------------------------------------------------


@compiled
def _shut(mesh: Polygons, face: int) -> int:
    """Make one of two opposite corners of a quad, if that makes vertices more regular. Returns 1 if so."""
    valence = mesh.valence
    for k in range(4):
        gone, kept = mesh.corners[face, k], mesh.corners[face, (k + 2) % 4]
        left, right = mesh.corners[face, (k + 1) % 4], mesh.corners[face, (k + 3) % 4]
        if mesh.sharp[gone] or (k > 1 and not mesh.sharp[kept]) or min(valence[left], valence[right]) < 4:
            continue
        before = _off(valence[gone]) + _off(valence[kept]) + _off(valence[left]) + _off(valence[right])
        after = _off(valence[gone] + valence[kept] - 2) + _off(valence[left] - 1) + _off(valence[right] - 1)
        if after < before and _merge(mesh, face, k):
            return 1
    return 0


@compiled
def _merge(mesh: Polygons, face: int, k: int) -> bool:
    """Move a corner of a quad onto the opposite one, unless faces would turn over or meet."""
    gone, kept = mesh.corners[face, k], mesh.corners[face, (k + 2) % 4]
    left, right = mesh.corners[face, (k + 1) % 4], mesh.corners[face, (k + 3) % 4]
    one, other, sides = np.empty(MOST, np.int64), np.empty(MOST, np.int64), np.empty(4, np.int64)
    ones, others = _star(mesh, 4 * face + k, one), _star(mesh, 4 * face + (k + 2) % 4, other)
    if ones == 0 or others == 0 or _share(mesh, one[:ones], other[:others], face, left, right):
        return False
    for i in range(4):
        sides[i] = mesh.twin[4 * face + (k + i) % 4]
        if sides[i] // 4 == face:
            return False
    old = mesh.points[gone].copy(), mesh.points[kept].copy()
    place = old[1] if mesh.sharp[kept] else (old[0] + old[1]) / 2
    mesh.points[gone], mesh.points[kept] = place, place
    if not (_are_well(mesh, one[:ones], face) and _are_well(mesh, other[:others], face)):
        mesh.points[gone], mesh.points[kept] = old
        return False
    for i in range(ones):
        mesh.corners[one[i] // 4, one[i] % 4] = kept
    for i in range(0, 4, 2):
        mesh.twin[sides[i]], mesh.twin[sides[i + 1]] = sides[i + 1], sides[i]
    mesh.valence[kept] += mesh.valence[gone] - 2
    mesh.valence[gone] = 0
    mesh.valence[left] -= 1
    mesh.valence[right] -= 1
    mesh.sizes[face] = 0
    return True


@compiled
def _share(mesh: Polygons, one: np.ndarray, other: np.ndarray, face: int, left: int, right: int) -> bool:
    """Whether two opposite corners of a face, with half-edges around them, share more than its other corners."""
    for i in range(len(one)):
        at = one[i] // 4
        for m in range(1, mesh.sizes[at]):
            point = mesh.corners[at, (one[i] % 4 + m) % mesh.sizes[at]]
            if at == face or point in (left, right):
                continue
            for j in range(len(other)):
                beside = other[j] // 4
                if beside == face:
                    continue
                for n in range(mesh.sizes[beside]):
                    if mesh.corners[beside, n] == point:
                        return True
    return False


@compiled
def _are_well(mesh: Polygons, halves: np.ndarray, but: int) -> bool:
    """Whether the faces of half-edges, all but one, are no slivers and not turned over."""
    for half in halves:
        face = half // 4
        ring, size = mesh.corners[face], mesh.sizes[face]
        if face != but and _slimmest(mesh.points, ring, size, _normal(mesh.points, ring, size)) < BENT:
            return False
    return True


# --- shapes ----------------------------------------------------------------------------------------------------------


@compiled
def _normal(points: np.ndarray, ring: np.ndarray, size: int) -> Vector:
    """The unit normal of a polygon."""
    x, y, z = 0.0, 0.0, 0.0
    start = vector(points, ring[0])
    for k in range(1, size - 1):
        part = cross(minus(vector(points, ring[k]), start), minus(vector(points, ring[k + 1]), start))
        x, y, z = x + part[0], y + part[1], z + part[2]
    return unit((x, y, z))


@compiled
def _slimmest(points: np.ndarray, ring: np.ndarray, size: int, normal: Vector) -> float:
    """The least sine of a corner of a polygon, seen along a normal; negative where it is turned over."""
    least = 1.0
    for i in range(size):
        here = vector(points, ring[i])
        before, after = vector(points, ring[(i + size - 1) % size]), vector(points, ring[(i + 1) % size])
        least = min(least, dot(cross(unit(minus(after, here)), unit(minus(before, here))), normal))
    return least
