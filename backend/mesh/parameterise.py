"""Flatten charts: as rigid as possible, all charts in one sparse system.

Points of the plane are complex numbers here. Liu, Zhang, Xu, Gotsman and Gortler, "A Local/Global Approach to Mesh
Parameterization" (2008); instead of starting from another flattening, faces are first unrolled one over the other.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_matrix, csc_matrix, csr_matrix
from scipy.sparse.csgraph import breadth_first_order, connected_components
from scipy.sparse.linalg import splu

from .charts import MAX_COST, Dual, bisect, grow, smooth
from .outlines import outlines_of, self_crossings
from .topology import renumbered

ITERATIONS = 5  # rotations, then positions
SMALLEST, LARGEST = 0.02, 20.0  # cotangents: what is outside is clamped, so that slivers turn nothing over
TURNS = 12  # how often charts that turn out badly are divided
STRICTER = 0.5  # the limit of growth next time
FEW = 8  # faces of charts that are not grown again
STRETCH = 0.1  # how much a chart may be stretched on average: see ``stretch``
OVER = 1e-7  # faces that are turned over do not matter if they are less than this share of the area
UNTANGLING = 10  # attempts to turn back faces that are turned over


def flat_charts(vertices: np.ndarray, dual: Dual) -> tuple[np.ndarray, np.ndarray]:
    """Charts [F] and their corners [F, 3] in the plane. Those that turn out badly are divided, again and again."""
    limit = MAX_COST * np.sqrt(dual.areas.sum())
    charts = renumbered(smooth(dual, grow(dual, limit)))[1]
    corners = flatten(vertices, dual, charts)
    again = _divided(vertices, dual, charts, corners, STRICTER * limit)
    for turn in range(1, TURNS + 1):
        some = np.flatnonzero(again >= 0)
        if not len(some):
            break
        part = dual.part(some)
        new = again[some] if turn < TURNS else np.arange(len(some))  # a single face always turns out well
        charts[some], corners[some] = charts.max() + 1 + new, flatten(vertices, part, new)
        again[some] = _divided(vertices, part, new, corners[some], STRICTER ** (turn + 1) * limit)
    return renumbered(charts)[1], corners


def _divided(vertices: np.ndarray, dual: Dual, charts: np.ndarray, corners: np.ndarray, limit: float) -> np.ndarray:
    """Divide charts that are stretched too much by growing them again, up to a stricter limit.

    Those that cross themselves, and those of few faces, are cut in two.

    Returns:
        int64 [F]: the numbers of the new charts, from 0; -1 for faces whose chart is good.
    """
    outlines = outlines_of(corners, dual.faces, charts, dual.edges[dual.within(charts)])
    areas = np.bincount(charts, dual.areas)
    stretched = np.bincount(charts, dual.areas * stretch(vertices, dual, corners)) > STRETCH * areas
    stretched |= np.bincount(charts, signed_areas(corners) < -OVER * areas.sum()) > 0
    count = np.bincount(charts)
    grown = stretched & (count > FEW)
    ends = farthest_faces(corners, charts)
    chart, crossing = self_crossings(outlines)
    halved = stretched & (count > 1)
    ends[chart], halved[chart] = crossing, True
    found = bisect(dual, charts, ends, halved & ~grown)
    faces = np.flatnonzero(grown[charts])
    if len(faces):
        found[faces] = found.max() + 1 + grow(dual.part(faces), limit)
    return found


def flatten(vertices: np.ndarray, dual: Dual, charts: np.ndarray) -> np.ndarray:
    """Lay charts out in the plane with little stretch, each with the area that it has in space, one over the other.

    Args:
        vertices: [V, 3].
        dual: of the faces.
        charts: [F] int64, each a set of faces that the dual's edges join; every number from 0 to the highest is used.

    Returns:
        complex128 [F, 3]: where each face has its corners.
    """
    shapes = _in_plane(vertices, dual)
    edges = dual.edges[dual.within(charts)]
    points = _points(len(charts), edges)
    seeds = _seeds(dual.areas, charts)
    sides = np.roll(shapes, -1, axis=1) - shapes  # half-edges
    weights = _cotangents(sides, dual.areas)
    rotations = _unrolled(sides, edges, seeds)

    count = int(points.max(initial=-1)) + 1
    laplacian = _laplacian(points, weights, points[seeds, 0], count)
    solver = splu(laplacian, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
    weighted = weights * sides
    for _ in range(ITERATIONS + 1):
        pull = weighted * rotations[:, None]
        right = _scattered(points.ravel(), (np.roll(pull, 1, axis=1) - pull).ravel(), count)
        position = solver.solve(right.view(np.float64).reshape(-1, 2)).ravel().view(np.complex128)
        placed = position.take(points)
        turned = np.einsum("fk,fk->f", np.roll(placed, -1, axis=1) - placed, weighted.conj())
        rotations = turned / np.maximum(np.abs(turned), 1e-300)
    position = _untangled(position, points, laplacian)
    return _rescaled(position[points], dual.areas, charts)


def signed_areas(corners: np.ndarray) -> np.ndarray:
    """[F] areas of triangles in the plane, [F, 3] complex; negative if they are turned over."""
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    return np.asarray((first.conj() * second).imag / 2)


def stretch(vertices: np.ndarray, dual: Dual, corners: np.ndarray) -> np.ndarray:
    """[F] how far each face is from its shape in space: 0 if it is the same, more if it is longer or shorter anywhere.

    It is half the symmetric Dirichlet energy, less its least value (Smith and Schaefer, "Bijective Parameterization
    with Free Boundaries", 2015).
    """
    shapes = _in_plane(vertices, dual)
    one, two = shapes[:, 1], shapes[:, 2]
    to_one, to_two = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    # The affine map z -> a z + b conj(z) stretches by |a| + |b| and |a| - |b|.
    determinant = one * two.conj() - two * one.conj()
    a = np.square(np.abs((to_one * two.conj() - to_two * one.conj()) / determinant))
    b = np.square(np.abs((one * to_two - two * to_one) / determinant))
    return np.asarray((a + b) * (1.0 + 1.0 / np.square(np.maximum(np.abs(a - b), SMALLEST))) / 2 - 1.0)


def farthest_faces(corners: np.ndarray, charts: np.ndarray) -> np.ndarray:
    """[C, 2]: the first and the last face of each chart along its longer axis."""
    middle = corners.mean(axis=1)
    count = np.bincount(charts)
    middle -= (_scattered(charts, middle, len(count)) / count)[charts]
    along = (middle * np.exp(-0.5j * np.angle(_scattered(charts, middle * middle, len(count))))[charts]).real
    order = np.lexsort((along, charts))
    ends = np.cumsum(count)
    return np.stack([order[ends - count], order[ends - 1]], axis=1)


def _in_plane(vertices: np.ndarray, dual: Dual) -> np.ndarray:
    """[F, 3] complex: each face in a plane of its own, its first corner at 0 and its first side on the real axis."""
    corners = vertices[dual.faces].astype(np.float64)
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    length = np.linalg.norm(first, axis=1)
    shapes = np.zeros((len(corners), 3), dtype=np.complex128)
    shapes[:, 1] = length
    shapes[:, 2] = ((first * second).sum(axis=1) + 2j * dual.areas) / length
    return shapes


def _points(face_count: int, edges: np.ndarray) -> np.ndarray:
    """[F, 3]: numbers of the points that corners are, the same on both sides of an edge within a chart.

    A chart that touches itself in a single vertex has two points there.
    """
    following = edges - edges % 3 + (edges + 1) % 3
    links = np.concatenate([edges[:, 0], following[:, 0]]), np.concatenate([following[:, 1], edges[:, 1]])
    graph = coo_matrix((np.ones(len(links[0]), dtype=bool), links), shape=(3 * face_count,) * 2)
    return np.asarray(connected_components(graph, directed=False)[1]).astype(np.int64).reshape(-1, 3)


def _seeds(areas: np.ndarray, charts: np.ndarray) -> np.ndarray:
    """The largest face of each chart."""
    order = np.lexsort((-areas, charts))
    return order[np.flatnonzero(np.diff(charts[order], prepend=-1))]


def _cotangents(sides: np.ndarray, areas: np.ndarray) -> np.ndarray:
    """[F, 3] half the cotangent of the angle opposite each side."""
    after, before = np.roll(sides, -1, axis=1), np.roll(sides, -2, axis=1)
    return np.asarray(np.clip(-(after.conj() * before).real / (2 * areas[:, None]), SMALLEST, LARGEST) / 2)


def _unrolled(sides: np.ndarray, edges: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """[F] complex of length 1: turns each face so that it continues its neighbour, from the seeds outwards."""
    root = len(sides)
    first, second = edges.T // 3
    beside = np.full(3 * root, -1, dtype=np.int64)  # the face beyond each half-edge
    beside[edges[:, 0]], beside[edges[:, 1]] = second, first
    turn = np.ones(3 * root, dtype=np.complex128)  # from the face's plane to that of the one beyond
    turn[edges[:, 1]] = -sides.ravel()[edges[:, 0]] / sides.ravel()[edges[:, 1]]
    turn[edges[:, 1]] /= np.abs(turn[edges[:, 1]])
    turn[edges[:, 0]] = turn[edges[:, 1]].conj()

    links = np.concatenate([first, second, np.full(len(seeds), root)]), np.concatenate([second, first, seeds])
    graph = csr_matrix((np.ones(len(links[0]), dtype=bool), links), shape=(root + 1,) * 2)
    parent = breadth_first_order(graph, root)[1].astype(np.int64)
    side = (beside.reshape(-1, 3) == parent[:root, None]).argmax(axis=1)
    rotation = np.append(np.where(parent[:root] == root, 1.0, turn[3 * np.arange(root) + side]), 1.0)
    parent[root] = root
    while (parent != root).any():  # from its parent's plane to that of its grandparent, and so on
        rotation, parent = rotation * rotation[parent], parent[parent]
    return rotation[:root]


def _laplacian(points: np.ndarray, weights: np.ndarray, pinned: np.ndarray, count: int) -> csc_matrix:
    """The symmetric matrix of the weighted sides [F, 3], with one point of each chart held in its place."""
    start, end, weight = points.ravel(), np.roll(points, -1, axis=1).ravel(), weights.ravel()
    diagonal = np.bincount(points.ravel(), (weights + np.roll(weights, 1, axis=1)).ravel(), count)
    diagonal[pinned] += 1
    own = np.arange(count)
    rows, columns = np.concatenate([start, end, own]), np.concatenate([end, start, own])
    return coo_matrix((np.concatenate([-weight, -weight, diagonal]), (rows, columns)), shape=(count, count)).tocsc()


def _scattered(index: np.ndarray, values: np.ndarray, count: int) -> np.ndarray:
    """Sums of complex values by index."""
    return np.bincount(index, values.real, count) + 1j * np.bincount(index, values.imag, count)


def _untangled(position: np.ndarray, points: np.ndarray, laplacian: csc_matrix) -> np.ndarray:
    """Move the points of faces that are turned over to the middle of their neighbours, where that helps."""
    for _ in range(UNTANGLING):
        over = signed_areas(position[points]) <= 0
        if not over.any():
            break
        moved = np.unique(points[over])
        neighbours = laplacian[:, moved].astype(bool).astype(np.float64)
        others = np.asarray(neighbours.sum(axis=0)).ravel() - 1
        position = position.copy()
        position[moved] = (neighbours.T @ position - position[moved]) / others
    return position


def _rescaled(corners: np.ndarray, areas: np.ndarray, charts: np.ndarray) -> np.ndarray:
    """Give each chart the area that it has in space."""
    flat = np.bincount(charts, np.abs(signed_areas(corners)))
    scale = np.sqrt(np.bincount(charts, areas) / np.maximum(flat, 1e-300))
    return np.asarray(corners * scale[charts, None])
