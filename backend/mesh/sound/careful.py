"""Collapse edges by quadric error (Garland and Heckbert 1997), each only if the surface stays sound.

Slower than a library by far, and so only for what the library leaves to do. A collapse is refused if it joins what is
apart, turns a face over, makes a needle, or makes faces meet.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..base.compiled import compiled
from ..base.quadrics import value_at, way_to_least, weakness
from ..base.vectors import corners_of, cross, dot, minus, vector
from .links import MOST, Links, collapse, compact, linked, star

TURN = 0.2  # the least cosine between a face's normal before and after a collapse
SLIM = 2e-3  # the least slimness of a new face
WEAK = 1e-6  # how much staying in the middle of an edge counts, beside staying in the planes of the faces
BORDER = 10.0  # how much staying on a border counts
CHUNK = 256  # collapses between two calls of ``check``
AGAIN = 0.5  # the tree of boxes is made anew when the number of faces has fallen by this factor


def collapsed(
    vertices: np.ndarray, faces: np.ndarray, target: int, check: Callable[[], None] = lambda: None
) -> tuple[np.ndarray, np.ndarray]:
    """Collapse edges until there are at most ``target`` faces, or no collapse is allowed.

    Args:
        vertices: [V, 3] float32.
        faces: [F, 3] int64, at most two at each edge, which agree, and one fan at each vertex.
        target: the number of faces.
        check: called often; it raises to cancel.

    Returns:
        Vertices [V', 3] and faces [F', 3]. Faces that met none before do not meet any now.
    """
    vertices, faces = np.asarray(vertices, np.float32), np.asarray(faces, np.int64)
    quadrics = None
    while len(faces) > target:
        links = linked(vertices, faces)
        quadrics = quadrics_of(links) if quadrics is None else quadrics
        stop = max(target, int(AGAIN * len(faces)))
        left = _run(links, quadrics, stop, check)
        used = np.zeros(len(vertices), bool)
        used[links.faces[links.alive]] = True
        quadrics = quadrics[used]
        vertices, faces = compact(links)
        if left > stop:
            break
    return vertices, faces


def _run(links: Links, quadrics: np.ndarray, target: int, check: Callable[[], None]) -> int:
    """Collapse edges of a mesh in place. Returns how many faces are left."""
    count, stamps = len(links.faces), np.zeros(len(links.points), np.int64)
    while True:
        before = count
        keys, entries, size = _all_edges(links, quadrics, stamps)
        while size and count > target:
            check()
            room = size + 2 * MOST * CHUNK
            if len(keys) < room:
                keys, entries = np.resize(keys, 2 * room), np.resize(entries, (2 * room, 3))
            size, count = _collapse_some(links, quadrics, stamps, keys, entries, size, count, target)
        if count <= target or count == before:
            return count


@compiled
def quadrics_of(links: Links) -> np.ndarray:
    """[V, 10] the quadric of each vertex: the upper triangle of A [3, 3], b [3] and c of p A p + 2 b p + c.

    It is the sum over its faces of their area times the squared distance from their plane; a border counts as the edge
    of a plane that stands on the face.
    """
    quadrics = np.zeros((len(links.points), 10))
    for face in range(len(links.faces)):
        a, b, c = corners_of(links.points, links.faces, face)
        normal = cross(minus(b, a), minus(c, a))
        length = np.sqrt(dot(normal, normal))
        if length == 0:
            continue
        unit = (normal[0] / length, normal[1] / length, normal[2] / length)
        for k in range(3):
            _add(quadrics, links.faces[face, k], unit, -dot(unit, a), length / 2)
            if links.twin[3 * face + k] < 0:
                p, q = (a, b) if k == 0 else (b, c) if k == 1 else (c, a)
                along = minus(q, p)
                across = cross(unit, along)
                size = np.sqrt(dot(across, across))
                if size > 0:
                    wall = (across[0] / size, across[1] / size, across[2] / size)
                    for end in (k, (k + 1) % 3):
                        _add(quadrics, links.faces[face, end], wall, -dot(wall, p), BORDER * size * size)
    return quadrics


@compiled
def _add(quadrics: np.ndarray, vertex: int, unit: tuple, offset: float, weight: float) -> None:
    x, y, z = unit
    for i, value in enumerate((x * x, x * y, x * z, y * y, y * z, z * z)):
        quadrics[vertex, i] += weight * value
    for i in range(3):
        quadrics[vertex, 6 + i] += weight * unit[i] * offset
    quadrics[vertex, 9] += weight * offset * offset


@compiled
def _best(links: Links, quadrics: np.ndarray, start: int, end: int) -> tuple[float, float, float, float]:
    """The place where the ends of an edge are joined at least cost, and the cost.

    ``WEAK`` draws it to the middle of the edge, which decides where the surface is flat.
    """
    q = quadrics[start] + quadrics[end]
    mx = 0.5 * (np.float64(links.points[start, 0]) + np.float64(links.points[end, 0]))
    my = 0.5 * (np.float64(links.points[start, 1]) + np.float64(links.points[end, 1]))
    mz = 0.5 * (np.float64(links.points[start, 2]) + np.float64(links.points[end, 2]))
    weak = weakness(q, WEAK)
    x, y, z = way_to_least(q, (mx, my, mz), weak)
    edge = minus(vector(links.points, start), vector(links.points, end))
    along = dot(edge, edge)
    if x * x + y * y + z * z > along:  # far off: faces nearly in one plane, or at a line
        x = y = z = np.float64(0.0)
    x, y, z = mx + x, my + y, mz + z
    return value_at(q, (x, y, z)) + weak * along, x, y, z


@compiled
def _push(keys: np.ndarray, entries: np.ndarray, size: int, key: float, half: int, one: int, other: int) -> int:
    at = size
    while at and keys[(at - 1) // 2] > key:
        above = (at - 1) // 2
        keys[at] = keys[above]
        for i in range(3):
            entries[at, i] = entries[above, i]
        at = above
    keys[at], entries[at, 0], entries[at, 1], entries[at, 2] = key, half, one, other
    return size + 1


@compiled
def _pop(keys: np.ndarray, entries: np.ndarray, size: int) -> int:
    """Take the first entry out of the heap; returns the new size."""
    size -= 1
    key, half, one, other = keys[size], entries[size, 0], entries[size, 1], entries[size, 2]
    at = 0
    while 2 * at + 1 < size:
        below = 2 * at + 1
        if below + 1 < size and keys[below + 1] < keys[below]:
            below += 1
        if keys[below] >= key:
            break
        keys[at] = keys[below]
        for i in range(3):
            entries[at, i] = entries[below, i]
        at = below
    keys[at], entries[at, 0], entries[at, 1], entries[at, 2] = key, half, one, other
    return size


@compiled
def _all_edges(links: Links, quadrics: np.ndarray, stamps: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """A heap of all edges by cost: keys, entries (half-edge, and the stamps of its ends), and its size."""
    keys, entries, size = np.empty(len(links.twin)), np.empty((len(links.twin), 3), np.int64), 0
    for half in range(len(links.twin)):
        if links.alive[half // 3] and links.twin[half] < half:
            start, end = links.faces[half // 3, half % 3], links.faces[half // 3, (half + 1) % 3]
            cost = _best(links, quadrics, start, end)[0]
            size = _push(keys, entries, size, cost, half, stamps[start], stamps[end])
    return keys, entries, size


@compiled
def _collapse_some(
    links: Links,
    quadrics: np.ndarray,
    stamps: np.ndarray,
    keys: np.ndarray,
    entries: np.ndarray,
    size: int,
    count: int,
    target: int,
) -> tuple[int, int]:
    """Collapse up to ``CHUNK`` edges, or look at sixteen times as many. Returns the heap's size and the faces left."""
    one, other, done, tried = np.empty(MOST, np.int64), np.empty(MOST, np.int64), 0, 0
    while size and done < CHUNK and tried < 16 * CHUNK and count > target:
        tried += 1
        half, begun, ended = entries[0, 0], entries[0, 1], entries[0, 2]
        size = _pop(keys, entries, size)
        if not links.alive[half // 3]:
            continue
        start, end = links.faces[half // 3, half % 3], links.faces[half // 3, (half + 1) % 3]
        if stamps[start] != begun or stamps[end] != ended:
            continue
        _, x, y, z = _best(links, quadrics, start, end)
        both = 1 if links.twin[half] < 0 else 2
        kept = collapse(links, half, (x, y, z), one, other, TURN, SLIM, 0)
        if kept < 0:
            continue
        done, count = done + 1, count - both
        for i in range(10):
            quadrics[end, i] += quadrics[start, i]
        stamps[end] += 1
        stamps[start] += 1
        around, _ = star(links, end, one)
        for i in range(around):
            for h in (one[i], one[i] - one[i] % 3 + (one[i] + 2) % 3):  # those that leave and those that arrive
                if h == one[i] or links.twin[h] < 0:
                    p, q = links.faces[h // 3, h % 3], links.faces[h // 3, (h + 1) % 3]
                    size = _push(keys, entries, size, _best(links, quadrics, p, q)[0], h, stamps[p], stamps[q])
    return size, count
