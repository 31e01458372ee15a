"""A mesh that changes by collapsing edges and moving vertices, with all that is needed to look before each change.

Faces are joined by half-edges (``topology``). A tree of boxes finds the faces near a face. The boxes of faces that have
changed grow, so the tree stays right, but is worth making anew when most faces are gone.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..base.compiled import compiled
from ..base.projection import DEEP, LEAF, along_curve, boxes_of
from ..base.vectors import corners_of, cross, dot, minus
from .meeting import faces_meet
from .shape import slimness

NEAR = 2.5e-7  # of a mesh's longest side: four times the distance between float32 numbers just below 1
MOST = 96  # faces at a vertex: one with more is left as it is


class Links(NamedTuple):
    """A mesh with at most two faces at each edge, which agree, and one fan of faces at each vertex."""

    points: np.ndarray  # [V, 3] float32
    faces: np.ndarray  # [F, 3] int64; those that are gone stay, with ``alive`` false
    alive: np.ndarray  # [F] bool
    twin: np.ndarray  # [3 F] int64: the other half-edge of the edge; -1 if there is none
    leaving: np.ndarray  # [V] int64: a half-edge that begins at the vertex; -1 if none does
    order: np.ndarray  # [F] int32: the faces along a curve, see ``projection.Tree``
    ranks: np.ndarray  # [F] int32: the place of each face among them
    boxes: np.ndarray  # of the sorted faces, as in ``projection.Tree``
    near: float  # faces no farther apart than this count as meeting


def linked(points: np.ndarray, faces: np.ndarray) -> Links:
    """The structure of a mesh: points [V, 3] and faces [F, 3], which are copied."""
    points, faces = np.array(points, np.float32, order="C"), np.array(faces, np.int64, order="C")
    order = along_curve(points, faces)
    ranks = np.empty_like(order)
    ranks[order] = np.arange(len(order), dtype=order.dtype)
    boxes, _ = boxes_of(points, faces[order])
    twin, leaving = _halves(faces, len(points))
    return Links(points, faces, np.ones(len(faces), bool), twin, leaving, order, ranks, boxes, nearness(points))


def nearness(points: np.ndarray) -> float:
    """How far apart faces must be: more than points [V, 3] move when they are rounded in another place and size."""
    return NEAR * float(np.ptp(points, axis=0).max()) if len(points) else 0.0


def compact(links: Links) -> tuple[np.ndarray, np.ndarray]:
    """The mesh: vertices [V', 3] and faces [F', 3] that are still there."""
    faces = links.faces[links.alive]
    used = np.zeros(len(links.points), bool)
    used[faces] = True
    return links.points[used], (np.cumsum(used) - 1)[faces]


def _halves(faces: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    from ..base.topology import by_edges

    return _joined(faces, *by_edges(faces, count), count)


@compiled
def _joined(
    faces: np.ndarray, order: np.ndarray, low: np.ndarray, high: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    twin, leaving = np.full(len(order), -1), np.full(count, -1)
    for i in range(1, len(order)):
        half, before = order[i], order[i - 1]
        if low[half] == low[before] and high[half] == high[before]:
            twin[half], twin[before] = before, half
    for half in range(len(order)):
        leaving[faces[half // 3, half % 3]] = half
    return twin, leaving


@compiled
def following(half: int) -> int:
    """The next half-edge of the face."""
    return half - half % 3 + (half + 1) % 3


@compiled
def preceding(half: int) -> int:
    """The half-edge of the face before this one."""
    return half - half % 3 + (half + 2) % 3


@compiled
def star(links: Links, vertex: int, found: np.ndarray) -> tuple[int, bool]:
    """Write the half-edges that leave a vertex into ``found`` [MOST]: how many, and whether it is on a border.

    -1 if there are too many.
    """
    first = links.leaving[vertex]
    if first < 0:
        return 0, False
    count, half = 0, first
    while True:
        if count == MOST:
            return -1, False
        found[count] = half
        count += 1
        half = links.twin[preceding(half)]
        if half == first:
            return count, False
        if half < 0:
            break
    half = links.twin[first]
    while half >= 0:
        if count == MOST:
            return -1, False
        found[count] = following(half)
        count += 1
        half = links.twin[following(half)]
    return count, True


@compiled
def meetings(links: Links, face: int, enough: int) -> int:
    """How many other faces a face meets; counting ends at ``enough``."""
    points, faces, boxes = links.points, links.faces, links.boxes
    a, b, c = corners_of(points, faces, face)
    half, count = len(boxes) // 2, 0
    nodes, left = np.empty(DEEP, np.int64), 1
    nodes[0] = 1
    low = (min(a[0], b[0], c[0]), min(a[1], b[1], c[1]), min(a[2], b[2], c[2]))
    high = (max(a[0], b[0], c[0]), max(a[1], b[1], c[1]), max(a[2], b[2], c[2]))
    while left:
        left -= 1
        node = nodes[left]
        if (
            boxes[node, 0] > high[0]
            or boxes[node, 1] > high[1]
            or boxes[node, 2] > high[2]
            or boxes[node, 3] < low[0]
            or boxes[node, 4] < low[1]
            or boxes[node, 5] < low[2]
        ):
            continue
        if node < half:
            nodes[left], nodes[left + 1] = 2 * node, 2 * node + 1
            left += 2
            continue
        for place in range((node - half) * LEAF, min((node - half + 1) * LEAF, len(links.order))):
            other = links.order[place]
            if other != face and links.alive[other] and _near(points, faces, other, low, high):
                count += faces_meet(points, faces, face, other, links.near)
                if count >= enough:
                    return count
    return count


@compiled
def _near(points: np.ndarray, faces: np.ndarray, face: int, low: tuple, high: tuple) -> bool:
    a, b, c = faces[face, 0], faces[face, 1], faces[face, 2]
    for axis in range(3):
        x, y, z = points[a, axis], points[b, axis], points[c, axis]
        if min(x, y, z) > high[axis] or max(x, y, z) < low[axis]:
            return False
    return True


@compiled
def grow(links: Links, face: int) -> None:
    """Let the boxes of the tree hold a face that has changed."""
    node = len(links.boxes) // 2 + links.ranks[face] // LEAF
    while node:
        fits = True
        for k in range(3):
            for axis in range(3):
                x = links.points[links.faces[face, k], axis]
                if x < links.boxes[node, axis]:
                    links.boxes[node, axis], fits = x, False
                if x > links.boxes[node, 3 + axis]:
                    links.boxes[node, 3 + axis], fits = x, False
        if fits:
            return
        node //= 2


@compiled
def may_join(links: Links, half: int, one: np.ndarray, other: np.ndarray) -> tuple[int, int]:
    """Whether the surface stays one where the ends of an edge become one vertex (the link condition).

    Writes the stars of both ends into ``one`` and ``other`` [MOST], and returns their sizes; 0, 0 if it does not.
    """
    faces, twin = links.faces, links.twin
    start, end = faces[half // 3, half % 3], faces[half // 3, (half + 1) % 3]
    count, on_border = star(links, start, one)
    others, also = star(links, end, other)
    back = twin[half]
    if count < 0 or others < 0 or (on_border and also and back >= 0) or (count == 3 and others == 3 and back >= 0):
        return 0, 0
    common = 0
    for i in range(2 * count):  # the ring of ``start``, each vertex as the first that it is of a face
        h = one[i % count]
        if i >= count and twin[preceding(h)] >= 0:
            continue
        a = faces[h // 3, (h + 1) % 3] if i < count else faces[h // 3, (h + 2) % 3]
        for j in range(2 * others):
            g = other[j % others]
            if j >= others and twin[preceding(g)] >= 0:
                continue
            b = faces[g // 3, (g + 1) % 3] if j < others else faces[g // 3, (g + 2) % 3]
            common += a == b
    if common != (2 if back >= 0 else 1):
        return 0, 0
    if back < 0 and count + others <= 2:  # the last face of an open piece
        return 0, 0
    return count, others


@compiled
def allowed(links: Links, stars: np.ndarray, gone: int, also_gone: int, place: tuple, turn: float, slim: float) -> bool:
    """Whether the faces of the half-edges ``stars`` [N] keep their shape if those corners move to a place.

    Args:
        links: the mesh.
        stars: half-edges that leave the corners that move.
        gone, also_gone: faces that will not be there any more; -1 for none.
        place: where the corners move.
        turn: the least cosine between a face's normal before and after; faces that are needles may turn as they like.
        slim: the least slimness of a face that has been slimmer before.
    """
    for i in range(len(stars)):
        face, k = stars[i] // 3, stars[i] % 3
        if face in (gone, also_gone):
            continue
        a, b, c = corners_of(links.points, links.faces, face)
        before, old = slimness(a, b, c), cross(minus(b, a), minus(c, a))
        if k == 0:
            a = place
        elif k == 1:
            b = place
        else:
            c = place
        after, new = slimness(a, b, c), cross(minus(b, a), minus(c, a))
        if after < slim and after <= before:
            return False
        if before >= slim and dot(old, new) < turn * np.sqrt(dot(old, old) * dot(new, new)):
            return False
    return True


@compiled
def collapse(
    links: Links, half: int, place: tuple, one: np.ndarray, other: np.ndarray, turn: float, slim: float, most: int
) -> int:
    """Make the ends of an edge one vertex, unless that makes something unsound.

    Args:
        links: the mesh.
        half: a half-edge; its end stays, its start goes.
        place: where the vertex is then. Rounded to float32.
        one, other: [MOST] int64 to work in.
        turn, slim: see ``allowed``.
        most: how many meetings the changed faces may have, all in all.

    Returns:
        The vertex that stays; -1 if nothing was changed.
    """
    points, faces, twin = links.points, links.faces, links.twin
    count, others = may_join(links, half, one, other)
    if count == 0:
        return -1
    start, end, back = faces[half // 3, half % 3], faces[half // 3, (half + 1) % 3], twin[half]
    gone, also_gone = half // 3, back // 3 if back >= 0 else -1
    place = (np.float64(np.float32(place[0])), np.float64(np.float32(place[1])), np.float64(np.float32(place[2])))
    if not allowed(links, one[:count], gone, also_gone, place, turn, slim):
        return -1
    if not allowed(links, other[:others], gone, also_gone, place, turn, slim):
        return -1
    x, y, z = points[end, 0], points[end, 1], points[end, 2]
    points[end, 0], points[end, 1], points[end, 2] = place
    for i in range(count):
        faces[one[i] // 3, one[i] % 3] = end
    links.alive[gone] = False
    if also_gone >= 0:
        links.alive[also_gone] = False
    found = 0
    for i in range(count + others):
        face = one[i] // 3 if i < count else other[i - count] // 3
        if links.alive[face]:
            found += meetings(links, face, most + 1 - found)
        if found > most:
            points[end, 0], points[end, 1], points[end, 2] = x, y, z
            for j in range(count):
                faces[one[j] // 3, one[j] % 3] = start
            links.alive[gone] = True
            if also_gone >= 0:
                links.alive[also_gone] = True
            return -1
    _close(links, half, start, one[:count], other[:others])
    for i in range(count + others):
        face = one[i] // 3 if i < count else other[i - count] // 3
        if links.alive[face]:
            grow(links, face)
    return end


@compiled
def merge(links: Links, half: int, one: np.ndarray, other: np.ndarray) -> bool:
    """Make the ends of an edge one vertex where the surface stays one, whatever becomes of the shapes of faces.

    The start of the half-edge goes, and its end stays, where it was. The tree of boxes is not kept up to date. Returns
    whether it was done; ``one`` and ``other`` [MOST] are to work in.
    """
    count, others = may_join(links, half, one, other)
    if count == 0:
        return False
    start, end = links.faces[half // 3, half % 3], links.faces[half // 3, (half + 1) % 3]
    back = links.twin[half]
    for i in range(count):
        links.faces[one[i] // 3, one[i] % 3] = end
    links.alive[half // 3] = False
    if back >= 0:
        links.alive[back // 3] = False
    _close(links, half, start, one[:count], other[:others])
    return True


@compiled
def _close(links: Links, half: int, start: int, one: np.ndarray, other: np.ndarray) -> None:
    """Close the gap that a collapsed half-edge leaves; ``one`` and ``other`` are the stars of its ends."""
    end, back = links.faces[half // 3, (half + 1) % 3], links.twin[half]
    _sew(links, half)
    if back >= 0:
        _sew(links, back)
    links.leaving[start] = -1
    for stars in (one, other):
        for h in stars:
            if links.alive[h // 3]:
                links.leaving[end] = h


@compiled
def _sew(links: Links, half: int) -> None:
    """Join what was on both sides of a face that is gone, along its edges other than ``half``."""
    twin = links.twin
    left, right = twin[following(half)], twin[preceding(half)]
    apex = links.faces[half // 3, (half + 2) % 3]
    if left >= 0:
        twin[left] = right
    if right >= 0:
        twin[right] = left
    # ``left`` runs from the apex to the vertex that stays, ``right`` from that to the apex.
    links.leaving[apex] = left if left >= 0 else following(right) if right >= 0 else -1


@compiled
def move(links: Links, vertex: int, place: tuple, one: np.ndarray, turn: float, slim: float, most: int) -> bool:
    """Move a vertex, unless that makes something unsound: see ``collapse``."""
    points = links.points
    count, _ = star(links, vertex, one)
    if count <= 0:
        return False
    place = (np.float64(np.float32(place[0])), np.float64(np.float32(place[1])), np.float64(np.float32(place[2])))
    if not allowed(links, one[:count], -1, -1, place, turn, slim):
        return False
    x, y, z = points[vertex, 0], points[vertex, 1], points[vertex, 2]
    points[vertex, 0], points[vertex, 1], points[vertex, 2] = place
    found = 0
    for i in range(count):
        found += meetings(links, one[i] // 3, most + 1 - found)
        if found > most:
            points[vertex, 0], points[vertex, 1], points[vertex, 2] = x, y, z
            return False
    for i in range(count):
        grow(links, one[i] // 3)
    return True
