"""Divide a mesh into charts that can be flattened with little stretch.

Faces are merged into regions, regions into larger ones, cheapest merge first, as in the full lambda-schedule of image
segmentation (Koepfler, Lopez and Morel, "A multiscale algorithm for image segmentation by variational method", 1994):
a merge costs the energy it adds, per length of border that it removes. The energy says how far a region is from one
that can be unrolled without stretch: there, normals lie on a circle (Julius, Kraevoy and Sheffer, "D-Charts", 2005).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components, dijkstra

from .columns import corners_of, cross, dot
from .topology import sorting

# What a chart may be. None depends on the size of the mesh.
MAX_COST = 0.03  # of the last merge: energy per length of border, in square roots of the mesh's area
MAX_CURVATURE = 0.6  # total Gaussian curvature inside, radians: a sphere has 4 pi, a cylinder none
MAX_BEND = 0.05  # 1 - |mean normal|^2 up to which there may be holes
BENDING = 0.2  # weight of the normals' variance beside their distance from a circle: no more bends than needed

SAME = 1e-3  # costs below this share of the last merge's are all the same
PATCH = 0.02  # share of that cost up to which single faces join more than one other at once
ROUNDS = 12  # of ``smooth``
CREASE = 10.0  # how much longer a step over a right angle is when a chart is cut in two


@dataclass(frozen=True)
class Dual:
    """The dual graph of a mesh: faces, and the edges over which a chart may go on from one face to the next.

    A half-edge 3 f + k goes from corner k of face f to the next one.
    """

    faces: np.ndarray  # [F, 3] int64
    normals: np.ndarray  # [F, 3] float64, of length 1
    areas: np.ndarray  # [F] float64
    edges: np.ndarray  # [E, 2] int64: the half-edges on both sides, which run in opposite directions
    lengths: np.ndarray  # [E] float64
    defects: np.ndarray  # [V] float64: 2 pi less the angles around a vertex, its Gaussian curvature if it is inside

    def within(self, charts: np.ndarray) -> np.ndarray:
        """bool [E]: the edges with the same chart [F] on both sides."""
        first, second = charts[self.edges // 3].T
        return np.asarray(first == second)

    def part(self, faces: np.ndarray) -> Dual:
        """The same of some faces [G], by their numbers in ascending order."""
        number = np.full(len(self.faces), -1, dtype=np.int64)
        number[faces] = np.arange(len(faces))
        within = (number[self.edges // 3] >= 0).all(axis=1)
        edges = self.edges[within]
        edges = 3 * number[edges // 3] + edges % 3
        return Dual(
            self.faces[faces], self.normals[faces], self.areas[faces], edges, self.lengths[within], self.defects
        )


def dual_graph(vertices: np.ndarray, faces: np.ndarray) -> Dual:
    """Join faces over the edges that exactly two of them share, in opposite directions. All faces must have area.

    Where three or more faces meet, or two that face different ways, or a face and its own back, no chart goes on.
    """
    a, b, c = corners_of(vertices.astype(np.float64), faces)
    ab, bc, ca = b - a, c - b, a - c
    crosses = cross(ab, bc)
    doubled = np.sqrt(dot(crosses, crosses))
    angles = np.stack([np.arctan2(doubled, -dot(ab, ca)), np.arctan2(doubled, -dot(bc, ab)), np.empty_like(doubled)])
    angles[2] = np.pi - angles[0] - angles[1]
    edges = _paired(faces, len(vertices))
    lengths = np.sqrt(np.stack([dot(side, side) for side in (ab, bc, ca)], axis=1))
    return Dual(
        faces=faces,
        normals=np.ascontiguousarray((crosses / doubled).T),
        areas=doubled / 2,
        edges=edges,
        lengths=lengths.reshape(-1).take(edges[:, 0]),
        defects=2 * np.pi - np.bincount(faces.ravel(), angles.T.ravel(), len(vertices)),
    )


def _paired(faces: np.ndarray, vertex_count: int) -> np.ndarray:
    """[E, 2] half-edges that are alone with their opposite on an edge, of faces with different third corners.

    A face and its back, which simplifying may leave, would make a chart without a border.
    """
    source, target = faces.ravel(), np.roll(faces, -1, axis=1).ravel()
    low, high = np.minimum(source, target), np.maximum(source, target)
    half = sorting(low, high)
    starts = np.flatnonzero(np.diff((low * vertex_count + high).take(half), prepend=-1))
    two = starts[np.diff(starts, append=len(half)) == 2]
    pairs = np.stack([half[two], half[two + 1]], axis=1)
    third = np.roll(faces, -2, axis=1).ravel()  # behind each half-edge
    one, other = pairs.T
    return np.asarray(pairs[(source[one] == target[other]) & (third[one] != third[other])])


# A region's sums, one column each: area, normal times area, products of the normal's components times area (xx, yy,
# zz, xy, xz, yz), curvature at the vertices inside, and Euler characteristic.
AREA, NORMAL, PRODUCTS, CURVATURE, EULER = 0, slice(1, 4), slice(4, 10), 10, 11


def grow(dual: Dual, limit: float) -> np.ndarray:
    """Merge faces into charts.

    Every round merges all pairs of regions that are each other's cheapest neighbours. Costs are compared by their
    power of two, and equal ones in an order that is scattered but fixed, so that flat parts do not grow face by face.

    Args:
        dual: of the faces.
        limit: cost of the last merge, energy per length of border.

    Returns:
        int64 [F]: the number of each face's chart, from 0.
    """
    sides, lengths = dual.edges // 3, dual.lengths
    ends = dual.faces.ravel()[dual.edges]
    uses = np.bincount(dual.faces.ravel(), minlength=len(dual.defects))
    enclosed = uses == np.bincount(ends.ravel(), minlength=len(uses))  # as many edges as faces around the vertex

    patch = _patches(dual, sides, lengths, limit)
    sides = patch[sides]
    sums = _sums(dual, patch, sides, ends, enclosed)
    energy = _energy(sums)
    label = np.arange(len(sums))  # [patches]
    while True:
        regions = label[sides]
        border = np.flatnonzero(regions[:, 0] != regions[:, 1])
        sides, ends, lengths = sides.take(border, axis=0), ends.take(border, axis=0), lengths.take(border)
        first, second, pair = _distinct(*regions.take(border, axis=0).T)
        union = sums[first] + sums[second]
        # A vertex with two border edges lies within the border of one pair: their union encloses it.
        degree = np.bincount(ends.ravel(), minlength=len(enclosed))
        pair_sum = np.bincount(ends.ravel(), np.repeat(pair, 2), len(enclosed))
        vertex = np.flatnonzero((degree == 2) & enclosed)
        around = (pair_sum[vertex] / 2).astype(np.int64)
        union[:, CURVATURE] += np.bincount(around, dual.defects[vertex], len(first))
        union[:, EULER] += np.bincount(around, minlength=len(first)) - np.bincount(pair, minlength=len(first))

        merged = _energy(union)
        cost = (merged - energy[first] - energy[second]) / (np.bincount(pair, lengths, len(first)) * limit)
        bent = 1.0 - np.square(union[:, NORMAL]).sum(axis=1) / np.square(union[:, AREA])
        fit = (cost <= 1.0) & (np.abs(union[:, CURVATURE]) <= MAX_CURVATURE)
        fit &= (union[:, EULER] == 1) | (bent <= MAX_BEND)
        chosen = _mutual(first, second, cost, np.flatnonzero(fit), len(sums))
        if not len(chosen):
            return label[patch]
        kept, dropped = first[chosen], second[chosen]
        sums[kept], energy[kept] = union[chosen], merged[chosen]
        target = np.arange(len(sums))
        target[dropped] = kept
        alive = target == np.arange(len(sums))
        sums, energy = sums[alive], energy[alive]
        label = (np.cumsum(alive) - 1)[target[label]]


def _distinct(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of pairs [E] of numbers in either order: the lower and the higher of each kind [K], sorted, and the kinds [E]."""
    low, high = np.minimum(one, other), np.maximum(one, other)
    order = sorting(low, high)
    low, high = low.take(order), high.take(order)
    begins = np.ones(len(order), dtype=bool)
    begins[1:] = (low[1:] != low[:-1]) | (high[1:] != high[:-1])
    kind = np.empty(len(order), dtype=np.int64)
    kind[order] = np.cumsum(begins) - 1
    first = np.flatnonzero(begins)
    return low.take(first), high.take(first), kind


def smooth(dual: Dual, charts: np.ndarray) -> np.ndarray:
    """Straighten the borders of charts: a face with two sides in another chart joins it, unless a crease is between.

    Such a face is a leaf of its chart, so charts stay in one piece; and each round, half of them only give and half
    only take, so that no face joins another that leaves.

    charts: [F] int64. Returns the same, changed; numbers may fall out of use.
    """
    count = len(charts)
    first, second = dual.edges.T // 3
    face, beside = np.concatenate([first, second]), np.concatenate([second, first])
    turned = (dual.normals[first] * dual.normals[second]).sum(axis=1)
    hold = np.tile(dual.lengths * np.exp(-CREASE * (1.0 - turned)), 2)
    for turn in range(ROUNDS):
        gives = np.arange(charts.max() + 1) * 2654435761 >> turn // 2 & 1 == turn % 2  # [C], half of them at random
        near = charts[face] != charts[beside]
        there, here = face[near], face[~near]
        other = charts[beside[near]].astype(np.float64)
        borders, total = np.bincount(there, minlength=count), np.bincount(there, other, count)
        alike = 2 * np.bincount(there, other * other, count) == total * total  # of two numbers
        target = (total / 2).astype(np.int64)
        leaf = (borders == 2) & alike & (np.bincount(here, minlength=count) == 1) & gives[charts]
        leaf &= np.bincount(there, hold[near], count) > np.bincount(here, hold[~near], count)
        leaf[leaf] = ~gives[target[leaf]]
        charts = np.where(leaf, target, charts)
    return charts


def bisect(dual: Dual, charts: np.ndarray, ends: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Cut charts in two, where it is as far to one face as to another, rather along creases than across.

    Args:
        dual: of the faces.
        charts: [F] int64.
        ends: [C, 2] int64, two different faces of each chart.
        chosen: [C] bool, which charts to cut.

    Returns:
        int64 [F]: the numbers of the new charts, from 0; -1 for faces of the other charts.
    """
    count = len(charts)
    if not chosen.any():
        return np.full(count, -1, dtype=np.int64)
    within = dual.within(charts) & chosen[charts[dual.edges[:, 0] // 3]]
    first, second = dual.edges[within].T // 3
    steps = np.sqrt(dual.areas[first] + dual.areas[second])
    steps *= 1.0 + CREASE * (1.0 - (dual.normals[first] * dual.normals[second]).sum(axis=1))
    graph = coo_matrix((steps, (first, second)), shape=(count, count)).tocsr()
    seeds = ends[chosen].ravel()
    _, _, nearest = dijkstra(graph, directed=False, indices=seeds, min_only=True, return_predecessors=True)
    number = np.full(count + 1, -1, dtype=np.int64)
    number[seeds] = np.arange(len(seeds))
    return np.asarray(number[np.where(chosen[charts], nearest, count)])


def _patches(dual: Dual, sides: np.ndarray, lengths: np.ndarray, limit: float) -> np.ndarray:
    """A first round for single faces: each joins the neighbour that is cheapest to it if the cost is small. [F]."""
    first, second = sides.T
    areas = dual.areas[sides]
    turn = np.square(dual.normals[first] - dual.normals[second]).sum(axis=1)
    cost = BENDING * turn * areas.prod(axis=1) / (areas.sum(axis=1) * lengths * limit)
    count = len(dual.faces)
    chosen = _cheapest(first, second, cost, np.flatnonzero(cost <= PATCH), count)
    links = coo_matrix((np.ones(len(chosen), dtype=bool), (first[chosen], second[chosen])), shape=(count, count))
    return np.asarray(connected_components(links, directed=False)[1]).astype(np.int64)


def _sums(dual: Dual, patch: np.ndarray, sides: np.ndarray, ends: np.ndarray, enclosed: np.ndarray) -> np.ndarray:
    """[R, 12]: the sums of each patch [F] of faces."""
    x, y, z = dual.normals.T
    sums = np.empty((patch.max() + 1, 12))
    for column, value in enumerate((np.ones_like(x), x, y, z, x * x, y * y, z * z, x * y, x * z, y * z)):
        sums[:, column] = np.bincount(patch, value * dual.areas, len(sums))
    within = sides[:, 0] == sides[:, 1]
    on_border = np.bincount(ends[~within].ravel(), minlength=len(enclosed)) > 0
    vertex = np.flatnonzero(enclosed & ~on_border)
    around = np.zeros(len(enclosed), dtype=np.int64)
    around[ends] = sides[:, :1]
    sums[:, CURVATURE] = np.bincount(around[vertex], dual.defects[vertex], len(sums))
    sums[:, EULER] = np.bincount(patch) - np.bincount(sides[within, 0], minlength=len(sums))
    sums[:, EULER] += np.bincount(around[vertex], minlength=len(sums))
    return sums


def _energy(sums: np.ndarray) -> np.ndarray:
    """Area times the variance of the normals: the least over all directions, plus ``BENDING`` times that over all."""
    area, x, y, z, xx, yy, zz, xy, xz, yz = np.ascontiguousarray(sums[:, :CURVATURE].T)
    xx, yy, zz = xx - x * x / area, yy - y * y / area, zz - z * z / area
    xy, xz, yz = xy - x * y / area, xz - x * z / area, yz - y * z / area
    # The smallest eigenvalue of a symmetric 3 x 3 matrix in closed form (Smith 1961).
    mean = (xx + yy + zz) / 3
    xx, yy, zz = xx - mean, yy - mean, zz - mean
    spread = np.sqrt(np.maximum((xx * xx + yy * yy + zz * zz + 2 * (xy * xy + xz * xz + yz * yz)) / 6, 1e-60))
    determinant = xx * (yy * zz - yz * yz) - xy * (xy * zz - yz * xz) + xz * (xy * yz - yy * xz)
    angle = np.arccos(np.clip(determinant / (2 * spread * spread * spread), -1.0, 1.0)) / 3
    least = mean + 2 * spread * np.cos(angle + 2 * np.pi / 3)
    return np.asarray(np.maximum(least, 0.0) + BENDING * 3 * mean)


def _mutual(first: np.ndarray, second: np.ndarray, cost: np.ndarray, fit: np.ndarray, count: int) -> np.ndarray:
    """The pairs among ``fit`` that are the cheapest to both regions."""
    rank, best = _ranked(first, second, cost, fit, count)
    return np.asarray(fit[(best[first[fit]] == rank) & (best[second[fit]] == rank)])


def _cheapest(first: np.ndarray, second: np.ndarray, cost: np.ndarray, fit: np.ndarray, count: int) -> np.ndarray:
    """The pairs among ``fit`` that are the cheapest to either region."""
    rank, best = _ranked(first, second, cost, fit, count)
    return np.asarray(fit[(best[first[fit]] == rank) | (best[second[fit]] == rank)])


def _ranked(
    first: np.ndarray, second: np.ndarray, cost: np.ndarray, fit: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """The rank of each pair in ``fit``, no two the same, and of each region's cheapest one."""
    power = np.frexp(np.maximum(cost[fit], SAME))[1].astype(np.int64)
    scattered = fit * 2654435761 % (1 << 32)  # an odd factor: no two of 2^32 pairs get the same number
    rank = power * (1 << 32) + scattered
    best = np.full(count, np.iinfo(np.int64).max)
    np.minimum.at(best, first[fit], rank)
    np.minimum.at(best, second[fit], rank)
    return rank, best
