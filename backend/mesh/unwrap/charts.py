"""Divide a mesh into charts that can be flattened with little stretch.

Faces are merged into regions and regions into larger ones, cheapest merge first, as in the full lambda-schedule of
image segmentation (Koepfler, Lopez and Morel, "A multiscale algorithm for image segmentation by variational method",
1994): the cost of a merge is the energy it adds, per length of border that it removes. The energy says how far a region
is from one that can be unrolled without stretch, whose normals are on a circle (Julius, Kraevoy and Sheffer,
"D-Charts", 2005).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import dijkstra

from ..base.compiled import compiled
from ..base.topology import by_edges, connected, sorted_by
from ..base.vectors import corners_of, cross, dot, minus, vector

# Limits for charts. None depends on the size of the mesh.
MAX_COST = 0.03  # of the last merge: energy per length of border, in square roots of the mesh's area
MAX_CURVATURE = 0.6  # total Gaussian curvature inside, in radians: 4 pi for a sphere, 0 for a cylinder
MAX_BEND = 0.05  # largest 1 - |mean normal|^2 of charts that may have holes
BENDING = 0.2  # weight of the normals' variance beside their distance from a circle, to avoid needless bends

SAME = 1e-3  # costs below this share of the last merge's cost count as equal
PATCH = 0.02  # share of that cost up to which single faces join several others at once
ROUNDS = 12  # rounds of ``smooth``
TOGETHER = 1e-6  # how much of a step one between the halves of a quad is
CREASE = 10.0  # how much longer a step over a right angle is when a chart is cut in two

NONE = np.iinfo(np.int64).max  # a rank after all others
ON_BORDER = -2


@dataclass(frozen=True)
class Dual:
    """The dual graph of a mesh: faces, and the edges across which a chart may continue from one face to the next.

    Half-edge 3 f + k runs from corner k of face f to its next corner.
    """

    faces: np.ndarray  # [F, 3] int64
    normals: np.ndarray  # [F, 3] float64, of length 1
    areas: np.ndarray  # [F] float64
    edges: np.ndarray  # [E, 2] int64: the half-edges on both sides, in opposite directions
    lengths: np.ndarray  # [E] float64
    defects: np.ndarray  # [V] float64: 2 pi minus the angles around a vertex: its Gaussian curvature if it is inside
    inner: np.ndarray  # [E] bool: the diagonal of a quad, which no chart ends at

    def twins(self, charts: np.ndarray) -> np.ndarray:
        """[3 F] int64: for each half-edge the one on the other side; -1 at the border of its chart. charts: [F]."""
        return np.asarray(_twins(self.edges, charts))

    def part(self, faces: np.ndarray) -> Dual:
        """The dual graph of some faces [G], given by their numbers in ascending order."""
        number = np.full(len(self.faces), -1, dtype=np.int64)
        number[faces] = np.arange(len(faces))
        within = (number[self.edges // 3] >= 0).all(axis=1)
        edges = self.edges[within]
        edges = 3 * number[edges // 3] + edges % 3
        return Dual(
            self.faces[faces],
            self.normals[faces],
            self.areas[faces],
            edges,
            self.lengths[within],
            self.defects,
            self.inner[within],
        )


@compiled
def _twins(edges: np.ndarray, charts: np.ndarray) -> np.ndarray:
    twins = np.full(3 * len(charts), -1)
    for edge in range(len(edges)):
        one, other = edges[edge, 0], edges[edge, 1]
        if charts[one // 3] == charts[other // 3]:
            twins[one], twins[other] = other, one
    return twins


def dual_graph(vertices: np.ndarray, faces: np.ndarray, quads: np.ndarray | None = None) -> Dual:
    """Connect faces across the edges that exactly two of them share, in opposite directions. All must have area.

    No chart continues where three or more faces meet, or two with opposite orientations, or a face and its own back.
    ``quads``: [F] the number of the quad that each face is half of; -1 for none. None if there are none at all.
    """
    vertices = np.ascontiguousarray(vertices, dtype=np.float64)
    faces = np.ascontiguousarray(faces, dtype=np.int64)
    edges = _paired(faces, len(vertices))
    normals, areas, lengths, defects = _measured(vertices, faces)
    inner = np.zeros(len(edges), bool)
    if quads is not None:
        inner = (quads[edges[:, 0] // 3] == quads[edges[:, 1] // 3]) & (quads[edges[:, 0] // 3] >= 0)
    return Dual(faces, normals, areas, edges, lengths.reshape(-1)[edges[:, 0]], defects, inner)


@compiled
def _paired(faces: np.ndarray, count: int) -> np.ndarray:
    """[E, 2] half-edges that share an edge with their opposite only, of faces with different third corners.

    A face and its back, which simplification may leave, would make a chart without a border.
    """
    order, low, high = by_edges(faces, count)
    edges = np.empty((len(order) // 2, 2), np.int64)
    found = begin = 0
    while begin < len(order):
        one, end = order[begin], begin + 1
        while end < len(order) and low[order[end]] == low[one] and high[order[end]] == high[one]:
            end += 1
        if end == begin + 2:
            other = order[begin + 1]
            opposite = faces[one // 3, one % 3] != faces[other // 3, other % 3]
            if opposite and faces[one // 3, (one + 2) % 3] != faces[other // 3, (other + 2) % 3]:
                edges[found, 0], edges[found, 1] = one, other
                found += 1
        begin = end
    return edges[:found]


@compiled
def _measured(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, ...]:
    """Normals, areas, lengths [F, 3] of all half-edges, and defects, see ``Dual``."""
    normals, areas, lengths = np.empty((len(faces), 3)), np.empty(len(faces)), np.empty((len(faces), 3))
    defects = np.full(len(vertices), 2 * math.pi)
    for face in range(len(faces)):
        a, b, c = corners_of(vertices, faces, face)
        ab, bc, ca = minus(b, a), minus(c, b), minus(a, c)
        normal = cross(ab, bc)
        doubled = math.sqrt(dot(normal, normal))
        areas[face] = doubled / 2
        for k in range(3):
            normals[face, k] = normal[k] / doubled
        lengths[face, 0], lengths[face, 1] = math.sqrt(dot(ab, ab)), math.sqrt(dot(bc, bc))
        lengths[face, 2] = math.sqrt(dot(ca, ca))
        at_a, at_b = math.atan2(doubled, -dot(ab, ca)), math.atan2(doubled, -dot(bc, ab))
        defects[faces[face, 0]] -= at_a
        defects[faces[face, 1]] -= at_b
        defects[faces[face, 2]] -= math.pi - at_a - at_b
    return normals, areas, lengths, defects


# The sums kept for a region, by column: area, normal times area, products of the normal's components times area (xx,
# yy, zz, xy, xz, yz), curvature at the vertices inside, and Euler characteristic.
AREA, NORMAL, PRODUCTS, CURVATURE, EULER, COLUMNS = 0, 1, 4, 10, 11, 12


def grow(dual: Dual, limit: float) -> np.ndarray:
    """Merge faces into charts.

    Each round merges all pairs of regions that are each other's cheapest neighbours. Costs are compared by their power
    of two, and equal ones in a fixed pseudo-random order, so that flat parts do not grow face by face.

    Args:
        dual: the dual graph of the faces.
        limit: the cost of the last merge, energy per length of border.

    Returns:
        [F] int64: the number of each face's chart, from 0.
    """
    ends = dual.faces.ravel()[dual.edges]
    uses = np.bincount(dual.faces.ravel(), minlength=len(dual.defects))
    enclosed = uses == np.bincount(ends.ravel(), minlength=len(uses))  # as many edges as faces around the vertex
    sides = dual.edges // 3
    chosen = _cheap(sides, dual.lengths, dual.normals, dual.areas, limit) | dual.inner
    patch = connected(sides[chosen, 0], sides[chosen, 1], len(dual.faces))
    sides = patch[sides]
    sums = _sums(patch, dual.normals, dual.areas, sides, ends, enclosed, dual.defects, int(patch.max()) + 1)
    border = sides[:, 0] != sides[:, 1]
    low, high = sides[border].min(axis=1), sides[border].max(axis=1)
    borders = _Borders(low, high, ends[border], dual.lengths[border], enclosed, dual.defects)
    return np.asarray(_merged(borders, sums, limit)[patch])


@compiled
def _rank(pair: int, cost: float) -> int:
    """The key that pairs are compared by, different for each pair."""
    power = math.frexp(max(cost, SAME))[1]
    return power * (1 << 32) + pair * 2654435761 % (1 << 32)  # an odd factor: 2^32 pairs get different numbers


@compiled
def _cheap(sides: np.ndarray, lengths: np.ndarray, normals: np.ndarray, areas: np.ndarray, limit: float) -> np.ndarray:
    """A first round for single faces: [E] bool, the edges that are the cheapest of either side and cheap enough."""
    rank, best = np.empty(len(sides), np.int64), np.full(len(areas), NONE)
    for edge in range(len(sides)):
        one, other = sides[edge, 0], sides[edge, 1]
        turn = minus(vector(normals, one), vector(normals, other))
        total = areas[one] + areas[other]
        cost = BENDING * dot(turn, turn) * (areas[one] * areas[other]) / (total * lengths[edge] * limit)
        rank[edge] = NONE - 1
        if cost <= PATCH:
            rank[edge] = _rank(edge, cost)
            best[one], best[other] = min(best[one], rank[edge]), min(best[other], rank[edge])
    chosen = np.empty(len(sides), np.bool_)
    for edge in range(len(sides)):
        chosen[edge] = best[sides[edge, 0]] == rank[edge] or best[sides[edge, 1]] == rank[edge]
    return chosen


@compiled
def _sums(
    patch: np.ndarray,
    normals: np.ndarray,
    areas: np.ndarray,
    sides: np.ndarray,
    ends: np.ndarray,
    enclosed: np.ndarray,
    defects: np.ndarray,
    count: int,
) -> np.ndarray:
    """[count, COLUMNS] the sums of each patch. patch: [F] the patch of each face."""
    sums = np.zeros((count, COLUMNS))
    for face in range(len(patch)):
        area, (x, y, z) = areas[face], vector(normals, face)
        total = sums[patch[face]]
        for column, value in enumerate((1.0, x, y, z, x * x, y * y, z * z, x * y, x * z, y * z)):
            total[column] += value * area
        total[EULER] += 1
    around = np.full(len(enclosed), -1)  # the patch that a vertex is inside of
    for edge in range(len(sides)):
        one, other = sides[edge, 0], sides[edge, 1]
        if one == other:
            sums[one, EULER] -= 1
        for k in range(2):
            end = ends[edge, k]
            around[end] = one if one == other and around[end] != ON_BORDER else ON_BORDER
    for vertex in range(len(enclosed)):
        if enclosed[vertex] and around[vertex] >= 0:
            sums[around[vertex], CURVATURE] += defects[vertex]
            sums[around[vertex], EULER] += 1
    return sums


@compiled
def _energy(sums: np.ndarray) -> float:
    """Area times variance of the normals: the smallest of any direction, plus ``BENDING`` times that of all three."""
    area, (x, y, z) = sums[AREA], (sums[NORMAL], sums[NORMAL + 1], sums[NORMAL + 2])
    xx, yy, zz, xy, xz, yz = sums[4], sums[5], sums[6], sums[7], sums[8], sums[9]
    xx, yy, zz = xx - x * x / area, yy - y * y / area, zz - z * z / area
    xy, xz, yz = xy - x * y / area, xz - x * z / area, yz - y * z / area
    # The smallest eigenvalue of a symmetric 3 x 3 matrix in closed form (Smith 1961).
    mean = (xx + yy + zz) / 3
    xx, yy, zz = xx - mean, yy - mean, zz - mean
    spread = math.sqrt(max((xx * xx + yy * yy + zz * zz + 2 * (xy * xy + xz * xz + yz * yz)) / 6, 1e-60))
    determinant = xx * (yy * zz - yz * yz) - xy * (xy * zz - yz * xz) + xz * (xy * yz - yy * xz)
    angle = math.acos(min(max(determinant / (2 * spread * spread * spread), -1.0), 1.0)) / 3
    least = mean + 2 * spread * math.cos(angle + 2 * math.pi / 3)
    return max(least, 0.0) + BENDING * 3 * mean


class _Borders(NamedTuple):
    """E edges between regions, and the V vertices of the mesh."""

    low: np.ndarray  # [E] int64: of the regions on both sides the one with the lower number
    high: np.ndarray  # [E] int64: the other one
    ends: np.ndarray  # [E, 2] int64: vertices
    lengths: np.ndarray  # [E] float64
    enclosed: np.ndarray  # [V] bool: whether faces surround the vertex
    defects: np.ndarray  # [V] float64: see ``Dual``


@compiled
def _merged(borders: _Borders, sums: np.ndarray, limit: float) -> np.ndarray:
    """[R] the chart that each region ends up in, see ``grow``.

    Args:
        borders: the edges between the regions. ``low`` and ``high`` are overwritten.
        sums: [R, COLUMNS], overwritten.
        limit: see ``grow``.
    """
    low, high = borders.low, borders.high
    count = len(sums)
    chart, number = np.arange(count), np.arange(count)
    energy, union = np.empty(count), np.empty(COLUMNS)
    for region in range(count):
        energy[region] = _energy(sums[region])
    border = np.arange(len(low))
    while True:
        pairs, border_length, added = _beside(borders, border, count)
        merged, rank, best = np.empty(len(pairs)), np.empty(len(pairs), np.int64), np.full(count, NONE)
        for pair in range(len(pairs)):
            one, other = pairs[pair, 0], pairs[pair, 1]
            for column in range(COLUMNS):
                union[column] = sums[one, column] + sums[other, column]
            union[CURVATURE], union[EULER] = union[CURVATURE] + added[pair, 0], union[EULER] + added[pair, 1]
            merged[pair] = _energy(union)
            cost = (merged[pair] - energy[one] - energy[other]) / (border_length[pair] * limit)
            bent = 1.0 - (union[1] * union[1] + union[2] * union[2] + union[3] * union[3]) / (union[AREA] * union[AREA])
            simple = union[EULER] == 1 or bent <= MAX_BEND
            rank[pair] = NONE
            if cost <= 1.0 and abs(union[CURVATURE]) <= MAX_CURVATURE and simple:
                rank[pair] = _rank(pair, cost)
                best[one], best[other] = min(best[one], rank[pair]), min(best[other], rank[pair])
        target = np.arange(count)
        for pair in range(len(pairs)):
            one, other = pairs[pair, 0], pairs[pair, 1]
            if rank[pair] < NONE and best[one] == rank[pair] and best[other] == rank[pair]:
                for column in range(COLUMNS):
                    sums[one, column] += sums[other, column]
                sums[one, CURVATURE] += added[pair, 0]
                sums[one, EULER] += added[pair, 1]
                energy[one] = merged[pair]
                target[other] = one
        alive = _compacted(target, number, energy, sums)
        if alive == count:
            return chart
        count = alive
        for region in range(len(chart)):
            chart[region] = number[chart[region]]
        kept = 0
        for edge in border:
            one, other = number[low[edge]], number[high[edge]]
            low[edge], high[edge] = min(one, other), max(one, other)
            border[kept] = edge
            kept += one != other
        border = border[:kept]


@compiled
def _compacted(target: np.ndarray, number: np.ndarray, energy: np.ndarray, sums: np.ndarray) -> int:
    """Close the gaps of regions that joined another one, their ``target`` [K]; returns how many regions are left.

    New numbers are written to ``number``; energies and sums are moved in place.
    """
    alive = 0
    for region in range(len(target)):
        number[region] = alive
        if target[region] < region:
            number[region] = number[target[region]]
            continue
        energy[alive] = energy[region]
        for column in range(COLUMNS):
            sums[alive, column] = sums[region, column]
        alive += 1
    return alive


@compiled
def _beside(borders: _Borders, border: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The pairs [K, 2] of regions on both sides of the edges of a ``border`` [B], sorted.

    Also the total lengths [K] of these edges, and [K, 2] how much curvature and Euler characteristic of a union exceed
    the sums of the two regions. count: the number of regions.
    """
    low, high, ends, enclosed = borders.low, borders.high, borders.ends, borders.enclosed
    pairs, added = np.empty((len(border), 2), np.int64), np.zeros((len(border), 2))
    border_length = np.zeros(len(border))
    degree, around = np.zeros(len(enclosed), np.int64), np.empty(len(enclosed), np.int64)
    pair = -1
    for edge in sorted_by(sorted_by(border, high, count), low, count):
        if pair < 0 or pairs[pair, 0] != low[edge] or pairs[pair, 1] != high[edge]:
            pair += 1
            pairs[pair, 0], pairs[pair, 1] = low[edge], high[edge]
        border_length[pair] += borders.lengths[edge]
        added[pair, 1] -= 1
        for k in range(2):
            degree[ends[edge, k]] += 1
            around[ends[edge, k]] = pair
    for vertex in range(len(enclosed)):
        if degree[vertex] == 2 and enclosed[vertex]:  # in the middle of one pair's border: their union encloses it
            added[around[vertex], 0] += borders.defects[vertex]
            added[around[vertex], 1] += 1
    return pairs[: pair + 1], border_length, added


def smooth(dual: Dual, charts: np.ndarray) -> np.ndarray:
    """Straighten the borders of charts: a face with two sides in another chart joins it, unless a crease lies between.

    Such a face is a leaf of its chart, so charts stay in one piece. In each round half of the charts only give and the
    other half only take, so that no face joins another one that leaves.

    charts: [F] int64. Returns the new charts [F]; some numbers may not be used any more.
    """
    return np.asarray(
        _smooth(dual.twins(np.zeros_like(charts)), dual.normals, dual.edges, dual.lengths, dual.inner, charts)
    )


@compiled
def _smooth(
    twins: np.ndarray,
    normals: np.ndarray,
    edges: np.ndarray,
    lengths: np.ndarray,
    inner: np.ndarray,
    charts: np.ndarray,
) -> np.ndarray:
    hold = np.empty(len(twins))
    for edge in range(len(edges)):
        one, other = edges[edge, 0], edges[edge, 1]
        turned = dot(vector(normals, one // 3), vector(normals, other // 3))
        hold[one] = hold[other] = math.inf if inner[edge] else lengths[edge] * math.exp(-CREASE * (1.0 - turned))
    for turn in range(ROUNDS):
        before = charts
        charts = before.copy()
        for face in range(len(charts)):
            target, held, pulled, within, outer = before[face], 0.0, 0.0, 0, 0
            for half in range(3 * face, 3 * face + 3):
                if twins[half] < 0:
                    continue
                chart = before[twins[half] // 3]
                if chart == before[face]:
                    within, held = within + 1, held + hold[half]
                elif target in (before[face], chart):
                    outer, pulled, target = outer + 1, pulled + hold[half], chart
            leaf = within == 1 and outer == 2 and pulled > held
            if leaf and _gives(before[face], turn) and not _gives(target, turn):
                charts[face] = target
    return charts


@compiled
def _gives(chart: int, turn: int) -> bool:
    """Whether a chart gives faces in this round: a pseudo-random half of the charts does."""
    return (chart * 2654435761 >> turn // 2) & 1 == turn % 2


def bisect(dual: Dual, charts: np.ndarray, ends: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Cut charts in two, halfway between two of their faces, and rather along creases than across them.

    Args:
        dual: the dual graph of the faces.
        charts: [F] int64.
        ends: [C, 2] int64, two different faces of each chart.
        chosen: [C] bool, which charts to cut.

    Returns:
        [F] int64: the numbers of the new charts, from 0; -1 for faces of the other charts.
    """
    count = len(charts)
    if not chosen.any():
        return np.full(count, -1, dtype=np.int64)
    first, second = dual.edges.T // 3
    within = (charts[first] == charts[second]) & chosen[charts[first]]
    first, second = first[within], second[within]
    steps = np.sqrt(dual.areas[first] + dual.areas[second])
    steps *= 1.0 + CREASE * (1.0 - (dual.normals[first] * dual.normals[second]).sum(axis=1))
    steps[dual.inner[within]] *= TOGETHER
    graph = coo_matrix((steps, (first, second)), shape=(count, count)).tocsr()
    seeds = ends[chosen].ravel()
    _, _, nearest = dijkstra(graph, directed=False, indices=seeds, min_only=True, return_predecessors=True)
    number = np.full(count + 1, -1, dtype=np.int64)
    number[seeds] = np.arange(len(seeds))
    return np.asarray(number[np.where(chosen[charts], nearest, count)])
