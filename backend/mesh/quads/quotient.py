"""Make one vertex of all points that have the same lattice point, edge by edge, so that the surface stays one."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ..base.compiled import compiled
from ..sound.links import MOST, Links, linked, merge
from .fields import Lattice

HEAVY = 1e6  # how much a point on a sharp edge counts where points are joined
CHUNK = 20_000  # edges that are tried between two calls of ``check``


class Quotient(NamedTuple):
    """A coarse triangle mesh: the squares of a lattice, most of them with one of their diagonals."""

    points: np.ndarray  # [V, 3] float64
    faces: np.ndarray  # [F, 3] int64
    diagonal: np.ndarray  # [F, 3] bool: whether the edge from each corner to the next is the diagonal of a square
    sharp: np.ndarray  # [V] bool: whether a point is on a sharp edge


def quotient(
    vertices: np.ndarray,
    faces: np.ndarray,
    lattice: Lattice,
    lines: np.ndarray,
    sharp: np.ndarray,
    check: Callable[[], None],
) -> Quotient:
    """Collapse the edges of a mesh [V, 3], [F, 3] between points with the same lattice point.

    An edge is left if the surface would touch itself without it; so closed surfaces stay closed, of the same genus.
    ``lines`` and ``sharp``: see ``sharp_edges``. Points on sharp edges have the say where others join them, and those
    where such edges bend or meet stay where they are.
    """
    steps, misses = lattice.steps()
    level, count = lattice.level, len(vertices)
    keys = np.repeat(np.arange(count), np.diff(level.begins)) * count + level.neighbours
    edge = np.searchsorted(keys, (faces * count + faces[:, [1, 2, 0]]).reshape(-1))
    steps, misses = steps[edge], misses[edge]
    links = linked(vertices, faces)
    bends = sharp & ~lines.any(axis=1)
    places = np.where(bends[:, None], vertices, lattice.positions)
    masses = np.where(bends, HEAVY**2, np.where(sharp, HEAVY, 1.0))
    same = np.flatnonzero((steps == 0).all(axis=1))
    order, before = same[np.argsort(misses[same], kind="stable")], -1
    while before != links.alive.sum():
        before = links.alive.sum()
        for first in range(0, len(order), CHUNK):
            check()
            _join(links, order[first : first + CHUNK], places, masses)
    used = np.zeros(count, bool)
    used[links.faces[links.alive]] = True
    diagonal = (steps == 1).all(axis=1).reshape(-1, 3)[links.alive]
    coarse = (np.cumsum(used) - 1)[links.faces[links.alive]]
    return Quotient(places[used], coarse, diagonal, masses[used] >= HEAVY)


@compiled
def _join(links: Links, halves: np.ndarray, places: np.ndarray, masses: np.ndarray) -> None:
    """Join the ends of half-edges in place, at the mean of their places."""
    one, other = np.empty(MOST, np.int64), np.empty(MOST, np.int64)
    for half in halves:
        if not links.alive[half // 3]:
            continue
        start, end = links.faces[half // 3, half % 3], links.faces[half // 3, (half + 1) % 3]
        if not merge(links, half, one, other):
            continue
        total = masses[start] + masses[end]
        for k in range(3):
            places[end, k] = (masses[start] * places[start, k] + masses[end] * places[end, k]) / total
        masses[end] = total
