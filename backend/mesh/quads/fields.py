"""Lay a lattice onto a surface: directions that are the same after a quarter turn, and positions along them.

Both are smoothed point by point, from the coarsest level to the finest. A point takes of each neighbour the one of its
four directions, or of its lattice points, that is nearest to its own (Jakob et al. 2015, sections 3 and 4). Normals are
that of the points, and differences are taken in space, so that directions follow curvature by themselves.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ..base.compiled import compiled, inlined
from ..base.vectors import Vector, cross, dot, minus, plus, unit, vector
from .graph import Level

ROUNDS = 6  # over all points of a level
CHUNK = 8_000  # points between two calls of ``check``
SEED = 1  # of the directions that smoothing begins with


class Lattice:
    """Directions and positions at the points of the finest level."""

    def __init__(
        self, levels: list[Level], side: float, along: np.ndarray, check: Callable[[], None] = lambda: None
    ) -> None:
        """Lay a lattice with squares of ``side``.

        Args:
            levels: of the surface.
            side: in the unit of its points.
            along: [V, 3] unit directions of the sharp edges that points are on, zero for all others. There the lattice
                has a line.
            check: called often; it raises to cancel.
        """
        self.level, self.side = levels[0], side
        held = [along]
        for level in levels[:-1]:
            held.append(_above(held[-1], level, len(levels[len(held)].points)))
        rng = np.random.default_rng(SEED)
        directions = rng.normal(size=levels[-1].points.shape)
        found: list[np.ndarray] = []
        for level, lines in zip(reversed(levels), reversed(held), strict=True):
            if found:
                directions = found[-1][level.parents]
            directions = np.where(lines.any(axis=1, keepdims=True), lines, directions)
            directions = _in_plane(directions, level.normals)
            for first in _parts(len(level.points)):
                check()
                _smooth_directions(level, directions, lines, first, first + CHUNK)
            found.append(directions)
        positions = levels[-1].points
        for level, lines, directions in zip(reversed(levels), reversed(held), found, strict=True):
            if len(positions) != len(level.points):
                positions = positions[level.parents]
            positions = positions - ((positions - level.points) * level.normals).sum(1, keepdims=True) * level.normals
            for first in _parts(len(level.points)):
                check()
                _smooth_positions(level, directions, positions, lines, side, first, first + CHUNK)
        self.directions, self.positions = directions, positions

    def steps(self) -> tuple[np.ndarray, np.ndarray]:
        """How many squares there are between neighbours: along both directions [E, 2], and how far that misses [E]."""
        return _steps(self.level, self.directions, self.positions, self.side)


def _parts(count: int) -> list[int]:
    """Where each part of the points begins, for all rounds one after the other."""
    return list(range(0, count, CHUNK)) * ROUNDS


def _above(lines: np.ndarray, level: Level, count: int) -> np.ndarray:
    """The sharp edges of the next level: a point keeps the line of one that it stands for."""
    above = np.zeros((count, 3))
    on_line = lines.any(axis=1)
    above[level.parents[on_line]] = lines[on_line]
    return above


def _in_plane(directions: np.ndarray, normals: np.ndarray) -> np.ndarray:
    flat = directions - (directions * normals).sum(axis=1, keepdims=True) * normals
    return np.asarray(flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-30))


@inlined
def _alike(q: Vector, n: Vector, r: Vector, m: Vector) -> tuple[Vector, Vector]:
    """Of the quarter turns of q about n, and of r about m, the two that are nearest; q may turn once, r also back."""
    t, u = cross(n, q), cross(m, r)
    best, own, other = dot(q, r), q, r
    for a, b in ((q, u), (t, r), (t, u)):
        alike = dot(a, b)
        if abs(alike) > abs(best):
            best, own, other = alike, a, b
    sign = 1.0 if best >= 0 else -1.0
    return own, (sign * other[0], sign * other[1], sign * other[2])


@compiled
def _smooth_directions(level: Level, directions: np.ndarray, lines: np.ndarray, first: int, last: int) -> None:
    for i in range(first, min(last, len(level.points))):
        if lines[i, 0] != 0 or lines[i, 1] != 0 or lines[i, 2] != 0:
            continue
        n, q, total = vector(level.normals, i), vector(directions, i), 0.0
        for e in range(level.begins[i], level.begins[i + 1]):
            j, weight = level.neighbours[e], level.weights[e]
            own, other = _alike(q, n, vector(directions, j), vector(level.normals, j))
            mean = (
                own[0] * total + other[0] * weight,
                own[1] * total + other[1] * weight,
                own[2] * total + other[2] * weight,
            )
            mean = plus(mean, -dot(mean, n), n)
            if dot(mean, mean) > 1e-24:
                q = unit(mean)
            total += weight
        directions[i, 0], directions[i, 1], directions[i, 2] = q


@inlined
def _between(v: Vector, n: Vector, w: Vector, m: Vector) -> Vector:
    """The point of the planes of v and w, with normals n and m, that is nearest to both."""
    across = dot(n, m)
    scale = 1.0 / (1.0 - across * across + 1e-4)
    edge = minus(w, v)
    rise, fall = dot(n, edge), -dot(m, edge)
    a, b = 0.5 * scale * (rise - across * fall), 0.5 * scale * (fall - across * rise)
    middle = (0.5 * (v[0] + w[0]), 0.5 * (v[1] + w[1]), 0.5 * (v[2] + w[2]))
    return plus(plus(middle, -a, n), -b, m)


@inlined
def _point(p: Vector, q: Vector, t: Vector, i: float, j: float, side: float) -> Vector:
    """The lattice point i steps along q and j along t from p."""
    return plus(plus(p, i * side, q), j * side, t)


@compiled
def _nearest(
    p: Vector, n: Vector, q: Vector, v: Vector, r: Vector, m: Vector, s: Vector, w: Vector, side: float
) -> tuple[float, float, float, float]:
    """Steps from p along q and n x q, and from r along s and m x s, to the two lattice points that are nearest to each
    other, of those around the middle of v and w."""
    t, u = cross(n, q), cross(m, s)
    middle = _between(v, n, w, m)
    to_p, to_r = minus(middle, p), minus(middle, r)
    i, j = math.floor(dot(q, to_p) / side), math.floor(dot(t, to_p) / side)
    k, l = math.floor(dot(s, to_r) / side), math.floor(dot(u, to_r) / side)  # noqa: E741
    best, found = math.inf, (0.0, 0.0, 0.0, 0.0)
    for a in range(4):
        own = _point(p, q, t, i + (a & 1), j + (a >> 1), side)
        for b in range(4):
            apart = minus(_point(r, s, u, k + (b & 1), l + (b >> 1), side), own)
            if dot(apart, apart) < best - 1e-12:
                best, found = dot(apart, apart), (i + (a & 1), j + (a >> 1), k + (b & 1), l + (b >> 1))
    return found


@compiled
def _smooth_positions(
    level: Level,
    directions: np.ndarray,
    positions: np.ndarray,
    lines: np.ndarray,
    side: float,
    first: int,
    last: int,
) -> None:
    for i in range(first, min(last, len(level.points))):
        n, q, v, line = vector(level.normals, i), vector(directions, i), vector(level.points, i), vector(lines, i)
        t, p, total = cross(n, q), vector(positions, i), 0.0
        for e in range(level.begins[i], level.begins[i + 1]):
            j, weight = level.neighbours[e], level.weights[e]
            m, s, r = vector(level.normals, j), vector(directions, j), vector(positions, j)
            a, b, c, d = _nearest(p, n, q, v, r, m, s, vector(level.points, j), side)
            own, other = _point(p, q, t, a, b, side), _point(r, s, cross(m, s), c, d, side)
            p = plus(own, weight / (total + weight), minus(other, own))
            if dot(line, line) > 0:
                p = plus(v, dot(minus(p, v), line), line)
            else:
                p = plus(p, -dot(minus(p, v), n), n)
            total += weight
        to_v = minus(v, p)
        p = _point(p, q, t, math.floor(dot(q, to_v) / side + 0.5), math.floor(dot(t, to_v) / side + 0.5), side)
        positions[i, 0], positions[i, 1], positions[i, 2] = p


@compiled
def _steps(level: Level, directions: np.ndarray, positions: np.ndarray, side: float) -> tuple[np.ndarray, np.ndarray]:
    steps, misses = np.empty((len(level.neighbours), 2), np.int64), np.empty(len(level.neighbours))
    for i in range(len(level.points)):
        n, v, p = vector(level.normals, i), vector(level.points, i), vector(positions, i)
        for e in range(level.begins[i], level.begins[i + 1]):
            j = level.neighbours[e]
            m, w, r = vector(level.normals, j), vector(level.points, j), vector(positions, j)
            q, s = _alike(vector(directions, i), n, vector(directions, j), m)
            a, b, c, d = _nearest(p, n, q, v, r, m, s, w, side)
            steps[e, 0], steps[e, 1] = int(abs(a - c)), int(abs(b - d))
            apart = minus(_point(p, q, cross(n, q), a, b, side), _point(r, s, cross(m, s), c, d, side))
            misses[e] = math.sqrt(dot(apart, apart)) / side
    return steps, misses
