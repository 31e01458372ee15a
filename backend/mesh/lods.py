"""Levels of detail: coarser and coarser versions of a finished mesh that share its texture.

Vertices are taken out one by one, by moving one onto a neighbour (a half-edge collapse), cheapest first by quadric
error (Garland and Heckbert 1997). Each vertex that is left keeps its place and its UVs, so that one layout and one
texture do for all levels: inside a chart a vertex goes to any neighbour, on a seam only along it, and where seams meet
it stays.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from .base.compiled import compiled, inlined
from .base.vectors import Vector, dot, minus, vector
from .sound.careful import quadrics_of
from .sound.links import MOST, Links, collapse, following, linked, preceding, star

SHARES = (0.5, 0.25, 0.12)  # of the faces
TURN, SLIM = 0.2, 1e-3  # see ``links.allowed``
#: How far the outline of a chart may move on the texture, in its sides: for half of the faces, half of the gap between
#: charts. Coarser levels are seen from farther away, with larger pixels: there it is more by the same factor.
OFF = 0.5 / 256
ROUND = 0.8  # a round of collapses ends at this share of the faces, so that the cheapest come first
LONG = 1e-6  # how much the length of an edge counts, beside planes: where all is flat


class Lod(NamedTuple):
    """One level."""

    vertices: np.ndarray  # [V, 3] float32
    faces: np.ndarray  # [F, 3] int64
    uvs: np.ndarray  # [F, 3, 2] float32


def levels_of_detail(
    vertices: np.ndarray, faces: np.ndarray, uvs: np.ndarray, check: Callable[[], None] = lambda: None
) -> list[Lod]:
    """The levels after the first, one for each of ``SHARES``.

    Args:
        vertices: [V, 3] float32.
        faces: [F, 3] int64, at most two at each edge, which agree, and one fan at each vertex.
        uvs: [F, 3, 2] float32.
        check: called often; it raises to cancel.

    Returns:
        The levels; each has as many faces as its share says, or as few as can be had without harm. Faces that met none
        do not meet any.
    """
    found: list[Lod] = []
    for share in SHARES:
        before = found[-1] if found else Lod(vertices, faces, uvs)
        found.append(_coarser(before, max(int(share * len(faces)), 4), OFF * SHARES[0] / share, check))
    return found


def _coarser(mesh: Lod, target: int, off: float, check: Callable[[], None]) -> Lod:
    links, uvs = linked(mesh.vertices, mesh.faces), np.array(mesh.uvs, np.float32, order="C")
    quadrics = quadrics_of(links)
    count = len(mesh.faces)
    while count > target:
        check()
        costs, halves = _costs(links, uvs, quadrics)
        order = np.argsort(costs, kind="stable")[: np.isfinite(costs).sum()]
        stop = max(target, int(ROUND * count))
        left = count
        touched = np.zeros(len(links.points), bool)
        for first in range(0, len(order), 256):
            check()
            left = _collapse_some(links, uvs, quadrics, halves[order[first : first + 256]], touched, left, stop, off)
            if left <= stop:
                break
        if left == count:
            break
        count = left
    alive = links.alive
    used = np.zeros(len(links.points), bool)
    used[links.faces[alive]] = True
    return Lod(links.points[used], (np.cumsum(used) - 1)[links.faces[alive]], uvs[alive])


@compiled
def _is_seam(links: Links, uvs: np.ndarray, half: int) -> bool:
    """Whether the texture is cut along a half-edge, or nothing is on its other side."""
    back = links.twin[half]
    if back < 0:
        return True
    nexts, after = following(half), following(back)
    for k in range(2):
        if uvs[half // 3, half % 3, k] != uvs[after // 3, after % 3, k]:
            return True
        if uvs[nexts // 3, nexts % 3, k] != uvs[back // 3, back % 3, k]:
            return True
    return False


@compiled
def _costs(links: Links, uvs: np.ndarray, quadrics: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each vertex the cost of its cheapest collapse, and the half-edge along which it is; infinite if none."""
    costs, halves = np.full(len(links.points), np.inf), np.full(len(links.points), -1)
    around = np.empty(MOST, np.int64)
    for vertex in range(len(links.points)):
        count, on_border = star(links, vertex, around)
        if count < 1 or on_border:
            continue
        seams = 0
        for i in range(count):
            seams += _is_seam(links, uvs, around[i])
        if seams not in (0, 2):
            continue
        for i in range(count):
            half = around[i]
            if seams == 2 and not _is_seam(links, uvs, half):
                continue
            end = vector(links.points, links.faces[half // 3, (half + 1) % 3])
            edge = minus(end, vector(links.points, vertex))
            cost = _error(quadrics, vertex, end) + LONG * dot(edge, edge) * quadrics[vertex, 0:6:3].sum()
            if cost < costs[vertex]:
                costs[vertex], halves[vertex] = cost, half
    return costs, halves


@compiled
def _error(quadrics: np.ndarray, vertex: int, place: Vector) -> float:
    q, (x, y, z) = quadrics[vertex], place
    return (
        x * (q[0] * x + 2 * (q[1] * y + q[2] * z + q[6]))
        + y * (q[3] * y + 2 * (q[4] * z + q[7]))
        + z * (q[5] * z + 2 * q[8])
        + q[9]
    )


@compiled
def _collapse_some(
    links: Links,
    uvs: np.ndarray,
    quadrics: np.ndarray,
    halves: np.ndarray,
    touched: np.ndarray,
    count: int,
    stop: int,
    off: float,
) -> int:
    """Collapse half-edges whose surroundings have not changed in this round. Returns the number of faces left."""
    one, other = np.empty(MOST, np.int64), np.empty(MOST, np.int64)
    for half in halves:
        if count <= stop:
            break
        if not links.alive[half // 3]:
            continue
        start, end = links.faces[half // 3, half % 3], links.faces[half // 3, (half + 1) % 3]
        if touched[start] or touched[end]:
            continue
        around, _ = star(links, start, one)
        if around < 1:
            continue
        halves_around = one[:around].copy()
        new = np.empty((around, 2), np.float32)
        if not _uvs_at_end(links, uvs, half, halves_around, new, off):
            continue
        both = 1 if links.twin[half] < 0 else 2
        if collapse(links, half, vector(links.points, end), one, other, TURN, SLIM, 0) < 0:
            continue
        for i in range(around):
            h = halves_around[i]
            uvs[h // 3, h % 3, 0], uvs[h // 3, h % 3, 1] = new[i, 0], new[i, 1]
            touched[links.faces[h // 3, (h + 1) % 3]] = touched[links.faces[h // 3, (h + 2) % 3]] = True
        touched[end] = True
        for i in range(10):
            quadrics[end, i] += quadrics[start, i]
        count -= both
    return count


@compiled
def _uvs_at_end(links: Links, uvs: np.ndarray, half: int, around: np.ndarray, new: np.ndarray, off: float) -> bool:
    """Write the UVs that the corners at a vertex get if it goes along a half-edge, and say if no face turns over on the
    texture. ``around``: the half-edges that leave the vertex, one after the other as ``star`` has them."""
    count, at = len(around), 0
    while around[at] != half:
        at += 1
    # From the half-edge on, corners get the UVs of its end on this side, and behind a seam those on the other.
    ahead = following(half)
    behind = links.twin[half]
    other_side = False
    for i in range(count):
        h = around[(at + i) % count]
        if i > 0 and _is_seam(links, uvs, h):
            other_side = True
        source = behind if other_side else ahead
        for k in range(2):
            new[(at + i) % count, k] = uvs[source // 3, source % 3, k]
    if _is_seam(links, uvs, half) and not _stays(links, uvs, half, around, at, off):
        return False
    for i in range(count):
        h = around[i]
        if h // 3 == half // 3 or h // 3 == behind // 3:
            continue
        old, side = _uv_step(uvs, h, following(h)), _uv_step(uvs, h, preceding(h))
        x, y = new[i, 0] - uvs[h // 3, h % 3, 0], new[i, 1] - uvs[h // 3, h % 3, 1]
        before = old[0] * side[1] - old[1] * side[0]
        after = (old[0] - x) * (side[1] - y) - (old[1] - y) * (side[0] - x)
        if after <= 0.02 * abs(before):
            return False
    return True


@compiled
def _stays(links: Links, uvs: np.ndarray, half: int, around: np.ndarray, at: int, off: float) -> bool:
    """Whether both charts keep their outline, all but a little, if a vertex of a seam goes along it."""
    count, back = len(around), -1
    for i in range(1, count):
        if _is_seam(links, uvs, around[(at + i) % count]):
            back = around[(at + i) % count]
    if back < 0:
        return False
    # On both sides: the vertex, where it goes, and the seam's vertex before it.
    sides = (
        (half, following(half), links.twin[back]),
        (following(links.twin[half]), links.twin[half], following(back)),
    )
    for here, there, before in sides:
        line = _uv_step(uvs, before, there)
        to_here = _uv_step(uvs, before, here)
        length = np.sqrt(line[0] * line[0] + line[1] * line[1])
        if length == 0 or abs(to_here[0] * line[1] - to_here[1] * line[0]) / length > off:
            return False
    return True


@inlined
def _uv_step(uvs: np.ndarray, one: int, other: int) -> tuple[float, float]:
    """From the start of one half-edge to that of another on the texture."""
    return (
        uvs[other // 3, other % 3, 0] - uvs[one // 3, one % 3, 0],
        uvs[other // 3, other % 3, 1] - uvs[one // 3, one % 3, 1],
    )
