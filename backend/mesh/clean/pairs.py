"""The last part of simplifying a large mesh: contract pairs of neighbours, many at a time.

It is the collapse of edges by quadric error (Garland and Heckbert 1997) in rounds. Two neighbours are a pair if neither
has another neighbour whose joining costs less, so that the pairs of a round share no vertex, and threads can look for
them. Those that are in no pair then choose once more among themselves. Of all pairs the cheapest are contracted, like
the patches of ``cluster``, and what costs more waits for later rounds, when there may be something better.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from ..base.compiled import compiled, in_strips, inlined
from ..base.rings import FEW, Rings, mixed
from ..base.vectors import dot, minus, vector
from .cluster import WEAKER, Contraction, contraction_of, lowest

ROUND = 0.7  # a round leaves at least this share of the faces
PROGRESS = 0.2  # no other round is worth its time if less than this share of what should go has gone
SHORT = 1e-7  # how much the length of an edge counts, beside the distance from the planes of the faces
CHOICES = 2  # so many times those that are in no pair yet choose among themselves
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
    costs, best, mate = np.full(len(rings.nexts), np.inf), np.empty(count, np.int32), np.full(count, -1, np.int32)
    in_strips(partial(_fill_costs, mesh.vertices, mesh.quadrics, rings, costs), count, STRIP)
    for _ in range(CHOICES):
        in_strips(partial(_choose, rings, costs, mate, best), count, STRIP)
        _join(best, mate)
    of, pairs = _numbered_pairs(mate)
    return of, pairs


@inlined
def _shuffled(one: int, other: int) -> float:
    """A number in 0..1 that is as good as random, for an edge: among equal ones it says which comes first."""
    return ((mixed(one) ^ mixed(other)) >> 20 & 0xFFFF) / 65536.0


@compiled
def _fill_costs(
    vertices: np.ndarray, quadrics: np.ndarray, rings: Rings, costs: np.ndarray, first: int, last: int
) -> None:
    """Fill in what contracting edges costs, on both ends: for some vertices, the edges that are theirs.

    That is of the two ends the one with the lower number, unless the other has very many faces.
    """
    q, begins = np.empty(10), rings.begins
    for vertex in range(first, last):
        here, own = vector(vertices, vertex), begins[vertex + 1] - begins[vertex]
        for i in range(begins[vertex], begins[vertex + 1]):
            other = rings.nexts[i]
            others = begins[other + 1] - begins[other]
            theirs = others > max(FEW, own) if vertex < other else own <= max(FEW, others)
            if theirs or rings.balance[vertex] != 0 or rings.balance[other] != 0:
                continue
            for k in range(10):
                q[k] = quadrics[vertex, k] + quadrics[other, k]
            there = vector(vertices, other)
            along = minus(there, here)
            square = dot(along, along)
            middle = ((here[0] + there[0]) / 2, (here[1] + there[1]) / 2, (here[2] + there[2]) / 2)
            cost, _ = lowest(q, middle, square, WEAKER)
            cost += SHORT * (q[0] + q[3] + q[5]) * square * (1.0 + _shuffled(vertex, other))
            for j in range(begins[other], begins[other + 1]):
                if rings.nexts[j] == vertex:
                    costs[i] = costs[j] = cost
                    break


@compiled
def _choose(rings: Rings, costs: np.ndarray, mate: np.ndarray, best: np.ndarray, first: int, last: int) -> None:
    """For some vertices the neighbour without a mate that it costs least to join; -1 if there is none."""
    begins, nexts = rings.begins, rings.nexts
    for vertex in range(first, last):
        found, least = -1, np.inf
        for i in range(begins[vertex], begins[vertex + 1] if mate[vertex] < 0 else 0):
            if costs[i] < least and mate[nexts[i]] < 0:
                found, least = nexts[i], costs[i]
        best[vertex] = found


@compiled
def _join(best: np.ndarray, mate: np.ndarray) -> None:
    """Make mates of the vertices that have chosen each other."""
    for vertex in range(len(best)):
        if best[vertex] >= 0 and best[best[vertex]] == vertex:
            mate[vertex] = best[vertex]


@compiled
def _numbered_pairs(mate: np.ndarray) -> tuple[np.ndarray, int]:
    of, count = np.empty(len(mate), np.int32), 0
    for vertex in range(len(mate)):
        if 0 <= mate[vertex] < vertex:
            of[vertex] = of[mate[vertex]]
        else:
            of[vertex] = count
            count += 1
    return of, count
