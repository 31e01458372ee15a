"""The last part of simplifying a large mesh: contract pairs of neighbours, many at a time.

It is the collapse of edges by quadric error (Garland and Heckbert 1997) in rounds. Two neighbours are a pair if neither
has another neighbour whose joining costs less, so the pairs of a round do not touch the same vertex, and threads can
look for them. Of these the cheapest are contracted, like the patches of ``cluster``, and what costs more waits for
later rounds, when there may be something better.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from ..base.compiled import compiled, in_strips, inlined
from ..base.vectors import dot, minus, vector
from .cluster import WEAKER, Contraction, Rings, contraction_of, lowest, mixed

ROUND = 0.78  # a round leaves at least this share of the faces
PROGRESS = 0.2  # no other round is worth its time if less than this share of what should go has gone
SHORT = 1e-7  # how much the length of an edge counts, beside the distance from the planes of the faces
STRIP = 4_096  # vertices that one thread looks at in a row


def paired(mesh: Contraction, target: int) -> Contraction:
    """Contract pairs until there are at most ``target`` faces, or no more pairs can be contracted."""
    while len(mesh.faces) > target:
        count = len(mesh.faces)
        room = max(target, int(ROUND * count))
        of, pairs = _pairs_of(mesh)
        mesh = contraction_of(mesh, of, pairs, room)
        if count - len(mesh.faces) < PROGRESS * (count - room):
            break
    return mesh


def _pairs_of(mesh: Contraction) -> tuple[np.ndarray, int]:
    """[V] int32: the pair that each vertex is in, or a number of its own; and how many numbers there are."""
    rings, count = mesh.rings, len(mesh.vertices)
    costs, best = np.empty(len(rings.nexts)), np.empty(count, np.int32)
    in_strips(partial(_fill_costs, mesh.vertices, mesh.quadrics, rings, costs), count, STRIP)
    in_strips(partial(_choose, rings, costs, best), count, STRIP)
    of, pairs = _numbered_pairs(best)
    return of, pairs


@inlined
def _shuffled(one: int, other: int) -> float:
    """A number in 0..1 that is as good as random, for an edge: among equal ones it says which comes first."""
    return ((mixed(one) ^ mixed(other)) >> 20 & 0xFFFF) / 65536.0


@compiled
def _fill_costs(
    vertices: np.ndarray, quadrics: np.ndarray, rings: Rings, costs: np.ndarray, first: int, last: int
) -> None:
    """For some vertices, what contracting the edges to vertices with higher numbers costs; infinite for the others."""
    q = np.empty(10)
    for vertex in range(first, last):
        here = vector(vertices, vertex)
        for i in range(rings.begins[vertex], rings.begins[vertex + 1]):
            other = rings.nexts[i]
            costs[i] = np.inf
            if other < vertex or rings.balance[vertex] != 0 or rings.balance[other] != 0:
                continue
            for k in range(10):
                q[k] = quadrics[vertex, k] + quadrics[other, k]
            there = vector(vertices, other)
            along = minus(there, here)
            square = dot(along, along)
            middle = ((here[0] + there[0]) / 2, (here[1] + there[1]) / 2, (here[2] + there[2]) / 2)
            cost, _ = lowest(q, middle, square, WEAKER)
            costs[i] = cost + SHORT * (q[0] + q[3] + q[5]) * square * (1.0 + _shuffled(vertex, other))


@compiled
def _choose(rings: Rings, costs: np.ndarray, best: np.ndarray, first: int, last: int) -> None:
    """For some vertices the neighbour that it costs least to join; -1 if there is none."""
    begins, nexts = rings.begins, rings.nexts
    for vertex in range(first, last):
        found, least = -1, np.inf
        for i in range(begins[vertex], begins[vertex + 1]):
            other, cost = nexts[i], costs[i]
            if other < vertex:  # the costs are there
                for j in range(begins[other], begins[other + 1]):
                    if nexts[j] == vertex:
                        cost = costs[j]
                        break
            if cost < least:
                found, least = other, cost
        best[vertex] = found


@compiled
def _numbered_pairs(best: np.ndarray) -> tuple[np.ndarray, int]:
    of, count = np.empty(len(best), np.int32), 0
    for vertex in range(len(best)):
        other = best[vertex]
        if 0 <= other < vertex and best[other] == vertex:
            of[vertex] = of[other]
        else:
            of[vertex] = count
            count += 1
    return of, count
