"""The compiled loops of unwrapping and cleaning, each beside the same in a few plain lines of numpy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import ConvexHull

from backend.mesh import Mesh
from backend.mesh.base.rings import rings_of
from backend.mesh.base.topology import open_edges
from backend.mesh.clean.cleanup import _repeated, face_areas, select_faces
from backend.mesh.unwrap.charts import BENDING, COLUMNS, EULER, _energy, dual_graph
from backend.mesh.unwrap.outlines import TOUCH, Outlines, self_crossings
from backend.mesh.unwrap.pack import COARSE, FINE, STRAIGHT, Masks, _count, _fit, _hull, _straightened, rasterized
from backend.mesh.unwrap.parameterise import _factorise, _laplacian, _more_than_a_turn, _solve, farthest_faces

SEEDS = range(4)


def polygons(seed: int, count: int = 5) -> Outlines:
    """Stars around the origin, their vertices at random distances."""
    rng = np.random.default_rng(seed)
    points, chart = [], []
    for number in range(count):
        sides = int(rng.integers(3, 20))
        points.append(rng.uniform(2, 12, sides) * np.exp(2j * np.pi * np.arange(sides) / sides))
        chart.append(np.full(sides, number))
    ends = np.concatenate([np.roll(p, -1) for p in points])
    numbers = np.arange(len(ends))
    return Outlines(np.concatenate(points), ends, np.stack([numbers, -numbers - 1], 1), numbers, np.concatenate(chart))


@pytest.mark.parametrize("seed", SEEDS)
def test_the_energy_is_that_of_the_normals_variances(seed: int) -> None:
    rng = np.random.default_rng(seed)
    normals, areas = rng.normal(size=(30, 3)) + np.array([0, 0, 2]), rng.random(30)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    products = np.einsum("f,fi,fj->ij", areas, normals, normals)
    sums = np.zeros(COLUMNS)
    sums[:4] = areas.sum(), *(areas @ normals)
    sums[4:10] = products[[0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]]
    around = products - np.outer(sums[1:4], sums[1:4]) / sums[0]
    expected = np.linalg.eigvalsh(around)[0] + BENDING * np.trace(around)
    assert _energy(sums) == pytest.approx(expected, rel=1e-9)
    assert EULER == COLUMNS - 1


def test_the_dual_graph_is_that_of_a_cube() -> None:
    corners = np.array([[i >> 2 & 1, i >> 1 & 1, i & 1] for i in range(8)], dtype=np.float64)
    quads = np.array([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]])
    faces = np.concatenate([quads[:, :3], quads[:, [0, 2, 3]]])
    dual = dual_graph(corners, faces)
    start, end = faces.ravel(), np.roll(faces, -1, axis=1).ravel()
    one, other = dual.edges.T
    assert len(dual.edges) == 18
    assert np.array_equal(start[one], end[other])
    assert np.array_equal(start[other], end[one])
    np.testing.assert_allclose(dual.lengths, np.linalg.norm(corners[start[one]] - corners[end[one]], axis=1))
    np.testing.assert_allclose(dual.defects, np.pi / 2)  # eight right angles are missing, 4 pi in all
    np.testing.assert_allclose(dual.areas, 0.5)
    crosses = np.cross(corners[faces[:, 1]] - corners[faces[:, 0]], corners[faces[:, 2]] - corners[faces[:, 0]])
    np.testing.assert_allclose(dual.normals, crosses, atol=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_systems_are_solved(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = 40
    ring = np.arange(count)
    points = np.concatenate(
        [
            np.stack([ring, (ring + 1) % count, (ring + 3) % count], 1),
            rng.permuted(np.stack([ring, (ring + 5) % count, (ring + 9) % count], 1), axis=1),
        ]
    )
    weights = rng.uniform(0.1, 1, points.shape)
    plain = np.zeros((count, count))
    for row, weight in zip(points, weights, strict=True):
        for k in range(3):
            one, two = row[k], row[(k + 1) % 3]
            plain[[one, two], [one, two]] += weight[k]
            plain[[one, two], [two, one]] -= weight[k]
    plain[0, 0] += 1
    right = rng.normal(size=count) + 1j * rng.normal(size=count)
    begins, matrix = _laplacian(weights, points, np.arange(len(points)), count)
    _factorise(begins, matrix)
    found = right.copy()
    _solve(begins, matrix, found)
    np.testing.assert_allclose(found, np.linalg.solve(plain, right), rtol=1e-9)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_farthest_faces_lie_at_the_ends_of_the_longer_axis(seed: int) -> None:
    rng = np.random.default_rng(seed)
    charts = rng.permutation(np.repeat(np.arange(3), 20))
    corners = (rng.normal(size=(60, 3)) + 0.2j * rng.normal(size=(60, 3))) * np.exp(1j * seed)
    first, last = farthest_faces(corners, charts, 3)
    for chart in range(3):
        faces = np.flatnonzero(charts == chart)
        middle = corners[faces].mean(axis=1)
        plane = np.stack([middle.real, middle.imag], axis=1)
        plane -= plane.mean(axis=0)
        along = plane @ np.linalg.svd(plane)[2][0]
        assert {first[chart], last[chart]} == {faces[along.argmin()], faces[along.argmax()]}


@pytest.mark.parametrize("seed", SEEDS)
def test_points_with_more_than_a_turn_around_them_are_found(seed: int) -> None:
    """Fans of triangles around a point each, open or closed, of up to two turns."""
    rng = np.random.default_rng(seed)
    corners, points, charts, more = [], [], [], set()
    for chart in range(12):
        count = int(rng.integers(3, 9))
        steps = rng.uniform(0.2, 1.5, count)
        if chart % 3 == 0:
            steps *= 2 * np.pi / steps.sum()  # once around: as it should be
        elif steps.sum() > 2 * np.pi:
            more.add(chart)
        rim = rng.uniform(1, 2, count + 1) * np.exp(1j * np.append(0, np.cumsum(steps)))
        first = 100 * chart
        for k in range(count):
            turned = int(rng.integers(3))
            corners.append(np.roll([0, rim[k], rim[k + 1]], turned))
            points.append(np.roll([first, first + 1 + k, first + 2 + k], turned))
            charts.append(chart)
    order = rng.permutation(len(charts))
    which = np.array(charts)[order]
    found = _more_than_a_turn(np.array(corners)[order], np.array(points)[order].ravel(), which, 12)
    assert set(np.flatnonzero(found[:, 0] >= 0)) == more
    for chart in more:
        own = np.flatnonzero(which == chart)
        assert found[chart].tolist() == [own[0], own[-1]]


@pytest.mark.parametrize("seed", SEEDS)
def test_outlines_that_cross_themselves_are_found(seed: int) -> None:
    rng = np.random.default_rng(seed)
    outlines = polygons(seed, 8)
    moved = np.where(rng.random(len(outlines.start)) < 0.05, 15 * rng.normal(size=len(outlines.start)), 0)
    ends = np.empty((len(moved), 2), np.int64)
    start, end = outlines.start + moved, np.empty_like(outlines.end)
    for chart in range(8):
        own = np.flatnonzero(outlines.chart == chart)
        ends[own], end[own] = np.stack([own, np.roll(own, -1)], axis=1), start[np.roll(own, -1)]
    expected = set()
    for one in range(len(start)):
        for two in range(one):
            if outlines.chart[one] == outlines.chart[two] and not set(ends[one]) & set(ends[two]):
                a, b = ((end - start)[[one, two]]).conj()
                sides = [(a * (p - start[one])).imag for p in (start[two], end[two])]
                others = [(b * (p - start[two])).imag for p in (start[one], end[one])]
                if sides[0] * sides[1] < 0 and others[0] * others[1] < 0:
                    expected.add(outlines.chart[one])
    crossing, faces = self_crossings(Outlines(start, end, ends, outlines.face, outlines.chart))
    assert set(crossing.tolist()) == expected
    assert np.array_equal(outlines.chart[faces], np.stack([crossing, crossing], axis=1))
    assert TOUCH < 1e-6


@pytest.mark.parametrize("seed", SEEDS)
def test_hulls_are_those_of_scipy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.arange(4.0)] * 2), axis=-1).reshape(-1, 2)  # with points on straight lines
    for points in (rng.normal(size=(40, 2)), rng.permutation(grid), np.repeat(rng.normal(size=(6, 2)), 3, axis=0)):
        hull = _hull(points[:, 0] + 1j * points[:, 1])
        expected = points[ConvexHull(points).vertices]
        first = np.lexsort((expected[:, 1], expected[:, 0]))[0]  # both are counterclockwise
        expected = np.roll(expected, -first, axis=0)
        np.testing.assert_array_equal(np.stack([hull.real, hull.imag], axis=1), expected)
    line = np.array([0, 1 + 1j, 2 + 2j, 1 + 1j])
    assert set(_hull(line).tolist()) == {0, 2 + 2j}
    assert set(_hull(np.full(3, 1 + 2j)).tolist()) == {1 + 2j}


@pytest.mark.parametrize("seed", SEEDS)
def test_charts_are_straight_and_upright(seed: int) -> None:
    """Their rectangles are the smallest, found by trying all angles, or have a longer side along them."""
    outlines = polygons(seed)
    count = int(outlines.chart.max()) + 1
    up = np.exp(2j * np.pi * np.random.default_rng(seed).random(count))
    turned = _straightened(outlines, up)
    np.testing.assert_allclose(np.abs(turned), 1)
    assert (np.abs(np.angle(turned * up / 1j)) <= np.pi / 4 + 1e-9).all()  # no quarter turn brings it further up
    angles = np.exp(1j * np.linspace(0, np.pi / 2, 2000))
    for chart in range(count):
        points = outlines.start[outlines.chart == chart]

        def area(turn: np.ndarray, points: np.ndarray = points) -> np.ndarray:
            inside = points * turn[:, None]
            return np.asarray(np.ptp(inside.real, axis=1) * np.ptp(inside.imag, axis=1))

        assert area(turned[chart : chart + 1])[0] <= (1 + STRAIGHT) * area(angles).min() * (1 + 1e-3)


def test_a_long_straight_side_is_level_or_upright() -> None:
    """The rectangle along the long side is a little larger than the smallest one, which lies along a short side."""
    shape = np.array([0, 10, 10.02 + 1j, 9 + 2j, 2 + 2.01j, -0.01 + 1j]) * np.exp(0.4j)
    ends, numbers = np.roll(shape, -1), np.arange(len(shape))
    outlines = Outlines(shape, ends, np.stack([numbers, numbers], 1), numbers, np.zeros(len(shape), int))
    (turn,) = _straightened(outlines, np.array([np.exp(2.0j)]))
    along = (ends[0] - shape[0]) * turn
    assert min(abs(along.real), abs(along.imag)) < 1e-9


def winding(point: complex, start: np.ndarray, end: np.ndarray) -> float:
    return float(np.angle((end - point) / (start - point)).sum() / (2 * np.pi))


@pytest.mark.parametrize("seed", SEEDS)
def test_cells_are_those_near_a_chart(seed: int) -> None:
    """Around each cell that the outline runs through, or whose centre it goes round, the next ones belong to it too."""
    outlines = polygons(seed)
    masks: Masks = rasterized(outlines)
    for chart in range(5):
        own = outlines.chart == chart
        start, end = outlines.start[own] + masks.shift[chart], outlines.end[own] + masks.shift[chart]
        mask = masks.mask(chart)
        along = start + (end - start) * np.linspace(0, 1, 2000)[:, None]
        row, column = np.floor(along.imag).astype(int).ravel(), np.floor(along.real).astype(int).ravel()
        expected = np.zeros_like(mask)
        for y in (-1, 0, 1):
            for x in (-1, 0, 1):
                expected[row + y, column + x] = True
        centres = np.arange(mask.shape[1]) + 0.5 + 1j * (np.arange(mask.shape[0])[:, None] + 0.5)
        inside = np.vectorize(lambda point: winding(point, start, end))(centres) > 0.5  # noqa: B023
        wrong = mask != (expected | inside)
        assert not (wrong & ~mask).any()
        assert wrong.sum() <= 2  # samples of a segment may miss a cell at whose corner it passes


@pytest.mark.parametrize("height", [3.0, 3.25, 3.5, 3.999])
def test_exactly_level_sides_are_covered_from_end_to_end(height: float) -> None:
    points = np.array([0, 9, 9 + 1j * height, 1j * height])
    ends, numbers = np.roll(points, -1), np.arange(len(points))
    outlines = Outlines(points, ends, np.stack([numbers, numbers], 1), numbers, np.zeros(len(points), int))
    assert rasterized(outlines).mask(0).all()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("step", [FINE, COARSE])
def test_the_best_place_is_found(seed: int, step: int) -> None:
    rng = np.random.default_rng(seed)
    side, size = 24, 48
    taken = np.zeros((size, size), dtype=bool)
    taken[:side, :side] = rng.random((side, side)) < 0.03
    mask = rng.random((5, 7)) < 0.7
    mask[0, 0] = mask[-1, -1] = True
    runs = np.zeros((size, size), dtype=np.int32)
    _count(taken, runs, 0, size, size)

    def fits(y: int, x: int) -> bool:
        return y >= 0 and x >= 0 and not (taken[y : y + 5, x : x + 7] & mask).any()

    places = [(y, x) for y in range(0, side + step, step) for x in range(0, side + step, step) if fits(y, x)]
    y, x = min(places, key=lambda place: (max(place[0] + 5, place[1] + 7, side), place))
    for down, left in ((1, 0), (0, 1), (1, 0)):
        for _ in range(COARSE):
            if fits(y - down, x - left):
                y, x = y - down, x - left
    assert _fit(runs, side, mask, step) == (max(y + 5, x + 7, side), y + 5, x, y)


@pytest.mark.parametrize("seed", SEEDS)
def test_faces_are_selected_and_their_repetitions_found(seed: int) -> None:
    rng = np.random.default_rng(seed)
    vertices, faces = rng.random((9, 3), dtype=np.float32), rng.integers(7, size=(80, 3))
    faces = faces[[len(set(face)) == 3 for face in faces.tolist()]]
    seen: set[tuple[int, ...]] = set()
    for face, again in zip(faces, _repeated(faces, rings_of(faces, 9)), strict=True):
        turned = min(tuple(np.roll(face, turn).tolist()) for turn in range(3))
        assert again == (turned in seen)
        seen.add(turned)
    a, b, c = vertices[faces].astype(np.float64).swapaxes(0, 1)
    np.testing.assert_allclose(face_areas(vertices, faces), np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2)
    keep = rng.random(len(faces)) < 0.1
    part = select_faces(Mesh(vertices, faces, vertices), keep)
    assert np.array_equal(part.vertices[part.faces], vertices[faces[keep]])
    assert len(part.vertices) == len(np.unique(faces[keep]))
    sides = list(zip(faces.ravel().tolist(), np.roll(faces, -1, axis=1).ravel().tolist(), strict=True))
    alone = sorted((a, b) for a, b in sides if (b, a) not in set(sides))
    assert sorted(zip(*(ends.tolist() for ends in open_edges(faces)), strict=True)) == alone
