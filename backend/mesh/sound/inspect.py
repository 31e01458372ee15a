"""Check a mesh for everything that printers, engines and other programs refuse, and write its certificate."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ...certificate import Certificate
from ..base.compiled import compiled
from ..base.topology import by_edges, connected, join, repeated
from .crossings import crossings
from .shape import needles
from .shells import Shells


def inspect(
    vertices: np.ndarray,
    faces: np.ndarray,
    uvs: np.ndarray | None = None,
    check: Callable[[], None] = lambda: None,
    *,
    crossing: int | None = None,
) -> Certificate:
    """Inspect a mesh.

    Args:
        vertices: [V, 3] float32.
        faces: [F, 3].
        uvs: [F, 3, 2] at the corners of the faces, if it has any.
        check: called often; it raises to cancel.
        crossing: how many faces meet others, if ``crossings`` was asked about this very mesh.
    """
    vertices, faces = welded(vertices, faces)
    count, slim = len(vertices), needles(vertices, faces)
    edges, shells = Edges(faces, count), Shells(vertices, faces)
    if crossing is None:
        crossing = len(np.unique(crossings(vertices, faces[~slim], check)))
    watertight = len(faces) > 0 and not (edges.open or edges.crowded or edges.opposed)
    return Certificate(
        faces=len(faces),
        vertices=count,
        shells=shells.count,
        watertight=watertight,
        manifold=not edges.crowded and edges.fans == count,
        outward=not edges.opposed and not (watertight and shells.turned.any()),
        volume=float(shells.volumes.sum()) if watertight else 0.0,
        area=float(shells.areas.sum()),
        largest_hole=_longest_border(vertices, *edges.border),
        duplicates=int(_same(faces, count).sum()),
        degenerate=int(slim.sum()),
        crossing=crossing,
        hidden=int((shells.depths > 0).sum()) if watertight else 0,
        crumbs=int(shells.crumbs.sum()),
        uvs_inside=uvs is None or bool(np.isfinite(uvs).all() and (uvs >= 0).all() and (uvs <= 1).all()),
    )


def welded(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mesh with one vertex at each place, and only those that faces use."""
    faces = np.ascontiguousarray(faces, np.int64)
    points = np.ascontiguousarray(vertices, np.float32) + np.float32(0)  # no negative zeros
    order = np.lexsort(points.T)
    first = np.ones(len(points), bool)
    first[1:] = (points[order[1:]] != points[order[:-1]]).any(axis=1)
    place = np.empty(len(points), np.int64)
    place[order] = order[np.maximum.accumulate(np.where(first, np.arange(len(points)), 0))]
    faces = place[faces]
    used = np.zeros(len(points), bool)
    used[faces] = True
    return points[used], (np.cumsum(used) - 1)[faces]


class Edges:
    """How the faces [F, 3] of a mesh are joined. ``count``: how many vertices there are."""

    def __init__(self, faces: np.ndarray, count: int) -> None:
        order, low, high = by_edges(faces, count)
        self.open, self.crowded, self.opposed, twin = _joined(faces, order, low, high)
        alone = np.flatnonzero(twin < 0)
        start = faces.reshape(-1)
        #: Start and end vertex of the half-edges without a twin.
        self.border = start[alone], start[alone - alone % 3 + (alone + 1) % 3]
        #: How many fans of faces there are around vertices.
        self.fans = _count_fans(faces, twin, count)


@compiled
def _joined(
    faces: np.ndarray, order: np.ndarray, low: np.ndarray, high: np.ndarray
) -> tuple[int, int, int, np.ndarray]:
    """The numbers of open edges, of those with more than two faces, and of those whose two faces disagree; and twins.

    A twin [3 F] is the other half-edge of an edge with two faces; else -1.
    """
    twin = np.full(len(order), -1)
    opened, crowded, opposed = 0, 0, 0
    at = 0
    while at < len(order):
        end = at + 1
        while end < len(order) and low[order[end]] == low[order[at]] and high[order[end]] == high[order[at]]:
            end += 1
        if end - at == 1:
            opened += 1
        elif end - at > 2:
            crowded += 1
        else:
            one, other = order[at], order[at + 1]
            twin[one], twin[other] = other, one
            opposed += faces[one // 3, one % 3] == faces[other // 3, other % 3]
        at = end
    return opened, crowded, opposed, twin


@compiled
def _count_fans(faces: np.ndarray, twin: np.ndarray, count: int) -> int:
    """How many fans there are: corners of faces that edges join around a vertex."""
    root = np.arange(len(twin))
    for half in range(len(twin)):
        other = twin[half]
        if other < half:
            continue
        after, beyond = half - half % 3 + (half + 1) % 3, other - other % 3 + (other + 1) % 3
        along = faces[half // 3, half % 3] == faces[other // 3, other % 3]
        for a, b in ((half, other if along else beyond), (after, beyond if along else other)):
            join(root, a, b)
    fans = 0
    for corner in range(len(twin)):
        fans += root[corner] == corner
    return fans


@compiled
def _same(faces: np.ndarray, count: int) -> np.ndarray:
    """[F] bool: whether another face with the same vertices comes before, in the order of these."""
    ends = np.empty((3, len(faces)), np.int64)
    for face in range(len(faces)):
        a, b, c = faces[face, 0], faces[face, 1], faces[face, 2]
        ends[0, face], ends[2, face] = min(a, b, c), max(a, b, c)
        ends[1, face] = a + b + c - ends[0, face] - ends[2, face]
    return repeated(ends, count)


def _longest_border(vertices: np.ndarray, start: np.ndarray, end: np.ndarray) -> float:
    """The length of the longest loop of open edges, which touching loops make together."""
    if not len(start):
        return 0.0
    loop = np.asarray(connected(start, end, len(vertices)))[start]
    lengths = np.linalg.norm((vertices[end] - vertices[start]).astype(np.float64), axis=1)
    return float(np.bincount(loop, lengths).max())
