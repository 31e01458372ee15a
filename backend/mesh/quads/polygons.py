"""Faces with three or four corners, made of triangles by taking out diagonals."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ..base.compiled import compiled
from ..base.topology import twins
from ..base.vectors import dot, minus, unit, vector

#: The most that a corner of a quad may differ from a right angle, where an edge between triangles is taken out.
TURNED = math.radians(75)
LIKELY = 0.3  # how much better a diagonal is than another edge, in radians


class Polygons(NamedTuple):
    """Faces and their neighbours. Half-edge 4 f + k runs from corner k of face f to its next corner."""

    points: np.ndarray  # [V, 3] float64
    corners: np.ndarray  # [P, 4] int64; the fourth of a triangle is -1
    sizes: np.ndarray  # [P] int64: 3 or 4; 0 for a face that is gone
    twin: np.ndarray  # [4 P] int64: the other half-edge of an edge; -1 if there is none
    valence: np.ndarray  # [V] int64: edges at each point, one more at a border than faces
    sharp: np.ndarray  # [V] bool: points on sharp edges; an edge between two of them stays

    @classmethod
    def of(cls, points: np.ndarray, faces: np.ndarray, diagonal: np.ndarray, sharp: np.ndarray) -> Polygons:
        """From triangles [F, 3]: the best pairs become quads.

        diagonal: [F, 3] bool, the edges that are rather taken out than others.
        """
        twin = twins(faces)
        costs = _costs(points, faces, twin, diagonal.reshape(-1), sharp)
        halves = np.flatnonzero(np.isfinite(costs) & (np.arange(len(twin)) < twin))
        across = _pairs(halves[np.argsort(costs[halves], kind="stable")], twin)
        corners, sizes, place = _joined(faces, twin, across)
        halves = np.flatnonzero(twin >= 0)
        links = np.full(4 * len(corners), -1)
        whole = place[halves] >= 0
        links[place[halves[whole]]] = place[twin[halves[whole]]]
        valence = np.bincount(corners[corners >= 0], minlength=len(points))
        at, k = np.nonzero((np.arange(4) < sizes[:, None]) & (links.reshape(-1, 4) < 0))
        valence += np.bincount(corners[at, (k + 1) % sizes[at]], minlength=len(points))
        return cls(points, corners, sizes, links, valence, sharp)

    def faces(self) -> tuple[np.ndarray, np.ndarray]:
        """The quads [Q, 4] and the triangles [T, 3]."""
        return self.corners[self.sizes == 4], self.corners[self.sizes == 3][:, :3]


@compiled
def _costs(
    points: np.ndarray, faces: np.ndarray, twin: np.ndarray, diagonal: np.ndarray, sharp: np.ndarray
) -> np.ndarray:
    """[3 F] how bad a quad is that two triangles make: the most that a corner differs from a right angle, in radians.

    Infinite where they must not make one.
    """
    costs = np.full(len(twin), np.inf)
    for half in range(len(twin)):
        back = twin[half]
        start, end = faces[half // 3, half % 3], faces[half // 3, (half + 1) % 3]
        if back < 0 or (sharp[start] and sharp[end] and not diagonal[half]):
            continue
        apex, other = faces[half // 3, (half + 2) % 3], faces[back // 3, (back + 2) % 3]
        ring = (start, other, end, apex)
        worst = 0.0
        for k in range(4):
            a, b, c = vector(points, ring[k - 1]), vector(points, ring[k]), vector(points, ring[(k + 1) % 4])
            cosine = dot(unit(minus(a, b)), unit(minus(c, b)))
            worst = max(worst, abs(math.acos(min(max(cosine, -1.0), 1.0)) - math.pi / 2))
        if worst < TURNED:
            costs[half] = worst - (LIKELY if diagonal[half] else 0.0)
    return costs


@compiled
def _pairs(halves: np.ndarray, twin: np.ndarray) -> np.ndarray:
    """[F] the half-edge across which each triangle is joined, the first of ``halves`` first; -1 for none."""
    across = np.full(len(twin) // 3, -1)
    for half in halves:
        face, other = half // 3, twin[half] // 3
        if across[face] < 0 and across[other] < 0 and face != other:
            across[face], across[other] = half, twin[half]
    return across


@compiled
def _joined(faces: np.ndarray, twin: np.ndarray, across: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Corners [P, 4] and sizes [P] of the polygons, and the half-edge of them that each one of the triangles became."""
    corners, sizes = np.full((len(faces), 4), -1), np.zeros(len(faces), np.int64)
    place, count = np.full(len(twin), -1), 0
    for face in range(len(faces)):
        half = across[face]
        if half < 0:
            for k in range(3):
                corners[count, k], place[3 * face + k] = faces[face, k], 4 * count + k
            sizes[count] = 3
            count += 1
        elif half < twin[half]:
            for side in range(2):
                h = half if side == 0 else twin[half]
                for k in range(1, 3):
                    own = h - h % 3 + (h + k) % 3
                    at = 2 * side + k - 1
                    corners[count, at], place[own] = faces[own // 3, own % 3], 4 * count + at
            sizes[count] = 4
            count += 1
    return corners[:count], sizes[:count], place
