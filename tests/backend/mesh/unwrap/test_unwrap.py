"""UV layouts of meshes of every kind, against plain references: all pairs of faces, all pairs of charts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from backend.mesh import Mesh
from backend.mesh.clean.simplify import simplify
from backend.mesh.extract.flexicubes import extract_mesh
from backend.mesh.finish import clean
from backend.mesh.unwrap.unwrap import GUTTER, Unwrapped, unwrap
from scripts.benchmark.layouts import layout_quality, overlaps
from tests.backend.mesh.test_mesh_properties import soups
from tests.backend.shells import Distance, chair, features_of, sphere

SIZE, RASTER = 512, 1024
ROUNDING = 1e-6  # of the square: what coordinates in float32 may be off
Sheet = tuple[np.ndarray, np.ndarray]  # vertices and faces


def simplified(distance: Distance, faces: int) -> Sheet:
    raw = clean(extract_mesh(*features_of(distance, 32), 32))
    return simplify(raw.vertices, raw.faces, faces)


def sheet(rows: int, columns: int, twisted: bool = False) -> Sheet:
    """A grid of squares, each of two faces: rolled to a cylinder without lids, or twisted half a turn (Möbius)."""
    i, j = np.meshgrid(np.arange(rows + 1), np.arange(columns), indexing="ij")
    turn, across = 2 * np.pi * j / columns, (i / rows - 0.5) * 0.3
    half = turn / 2 if twisted else np.full_like(turn, np.pi / 2)
    radius = 0.3 + across * np.cos(half)
    vertices = np.stack([radius * np.cos(turn), radius * np.sin(turn), across * np.sin(half)], axis=-1).reshape(-1, 3)
    i, j = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
    last = j == columns - 1
    near, far = i * columns + j, (i + 1) * columns + j
    flip = last & twisted  # the last column meets the first one upside down
    to_near = np.where(flip, (rows - i) * columns, i * columns + (j + 1) % columns)
    to_far = np.where(flip, (rows - i - 1) * columns, (i + 1) * columns + (j + 1) % columns)
    quads = np.stack([near, to_near, to_far, far], axis=-1).reshape(-1, 4)
    return vertices.astype(np.float32), np.concatenate([quads[:, :3], quads[:, [0, 2, 3]]])


def box() -> Sheet:
    corners = np.array([(x, y, z) for x in (-0.3, 0.3) for y in (-0.2, 0.2) for z in (-0.1, 0.1)], dtype=np.float32)
    quads = np.array([(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)])
    return corners, np.concatenate([quads[:, :3], quads[:, [0, 2, 3]]])


def two_sided() -> Sheet:
    vertices, faces = sheet(3, 12)
    return vertices, np.concatenate([faces, faces[:, ::-1]])


def flap() -> Sheet:
    """A plate, and on it a long face with its own back: two of its corners inside, the third at the plate's border."""
    rows, columns = 4, 21
    y, x = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
    near = (y * columns + x)[:-1, :-1].ravel()
    quads = np.stack([near, near + 1, near + 1 + columns, near + columns], axis=1)
    back = columns + 2, columns + 18, 10
    vertices = np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], axis=1).astype(np.float32)
    return vertices, np.concatenate([[back, back[::-1]], quads[:, :3], quads[:, [0, 2, 3]]])


def fins() -> Sheet:
    """Five faces around one edge."""
    around = np.arange(5) * 2 * np.pi / 5
    tips = np.stack([np.cos(around), np.sin(around), np.full(5, 0.5)], axis=1)
    vertices = np.concatenate([[[0, 0, 0], [0, 0, 1]], tips]).astype(np.float32)
    return vertices, np.stack([np.zeros(5), np.ones(5), np.arange(2, 7)], axis=1).astype(np.int64)


def cone() -> Sheet:
    """Its tip has a Gaussian curvature of its own: flat only when it is cut open."""
    vertices, faces = sheet(4, 24)
    height = vertices[:, 2:] / 0.3 + 0.5
    vertices = np.concatenate([vertices[:, :2] * (1.0 - height), 2 * height], axis=1).astype(np.float32)
    return vertices, np.minimum(faces, 4 * 24)  # the last ring is one vertex; some faces there have no area


def chips() -> Sheet:
    """A box, and beside it closed bodies so small that each becomes one chart: two faces back to back, tetrahedra."""
    vertices, faces = box()
    pieces, numbers, count = [vertices], [faces], len(vertices)
    corners = np.array([(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)], dtype=np.float32)
    for place, piece in enumerate([[(0, 1, 2), (0, 2, 1)], [(0, 2, 1), (0, 1, 3), (1, 2, 3), (0, 3, 2)]] * 3):
        pieces.append(0.4 + 0.01 * place + 1e-3 * corners)
        numbers.append(np.array(piece) + count)
        count += 4
    return np.concatenate(pieces), np.concatenate(numbers)


def spikes() -> Sheet:
    """A ball whose vertices jump in and out: no part of it is nearly flat."""
    vertices, faces = simplified(sphere, 400)
    scale = np.random.default_rng(0).uniform(0.3, 1.0, (len(vertices), 1))
    return (vertices * scale).astype(np.float32), faces


def soup() -> Sheet:
    rng = np.random.default_rng(3)
    return rng.random((60, 3), dtype=np.float32), rng.integers(60, size=(120, 3))


KINDS = {
    "chair": lambda: simplified(chair, 800),
    "ball": lambda: simplified(sphere, 500),
    "cylinder": lambda: sheet(4, 24),
    "moebius": lambda: sheet(4, 24, twisted=True),
    "box": box,
    "cone": cone,
    "chips": chips,
    "two_sided": two_sided,
    "flap": flap,
    "fins": fins,
    "spikes": spikes,
    "soup": soup,
}


@pytest.fixture(scope="module", params=list(KINDS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def layout(kind: str) -> Unwrapped:
    return unwrap(*KINDS[kind](), SIZE)


def overlapping_pairs(uvs: np.ndarray) -> int:
    """Pairs of the triangles [F, 3, 2] that no side of theirs separates: the plain reference, all against all."""
    first, second = np.triu_indices(len(uvs), k=1)
    uvs = uvs.astype(np.float64)
    apart = np.zeros(len(first), dtype=bool)
    for sides_of in (first, second):
        for corner in range(3):
            side = uvs[sides_of, (corner + 1) % 3] - uvs[sides_of, corner]
            normal = np.stack([-side[:, 1], side[:, 0]], axis=1)
            normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-30)
            one, two = (np.einsum("pkc,pc->pk", uvs[pair], normal) for pair in (first, second))
            depth = np.minimum(one.max(1), two.max(1)) - np.maximum(one.min(1), two.min(1))
            apart |= depth <= 4 * ROUNDING
    return int((~apart).sum())


def chart_distance(mesh: Unwrapped) -> float:
    """The least distance between different charts, in sides of the square: all corners against all sides."""
    start = mesh.uvs.reshape(-1, 2).astype(np.float64)
    along = np.roll(mesh.uvs, -1, axis=1).reshape(-1, 2).astype(np.float64) - start
    chart = np.repeat(mesh.chart, 3)
    start, along, chart = start[chart >= 0], along[chart >= 0], chart[chart >= 0]
    least = np.inf
    for point, number in zip(start, chart, strict=True):
        others = chart != number
        away, side = point - start[others], along[others]
        share = np.clip((away * side).sum(1) / np.maximum((side * side).sum(1), 1e-30), 0, 1)
        least = min(least, np.linalg.norm(away - share[:, None] * side, axis=1).min(initial=np.inf))
    return float(least)


def signed_areas(uvs: np.ndarray) -> np.ndarray:
    one, two = (uvs[:, k].astype(np.float64) - uvs[:, 0] for k in (1, 2))
    return np.asarray((one[:, 0] * two[:, 1] - one[:, 1] * two[:, 0]) / 2)


def areas(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    a, b, c = vertices[faces].astype(np.float64).swapaxes(0, 1)
    return np.asarray(np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2)


def check_layout(mesh: Unwrapped, texture_size: int) -> None:
    """What holds of every layout."""
    assert np.isfinite(mesh.uvs).all()
    assert mesh.uvs.dtype == np.float32
    assert mesh.uvs.min() >= 0
    assert mesh.uvs.max() <= 1
    placed = mesh.chart >= 0
    assert sorted(set(mesh.chart[placed].tolist())) == list(range(mesh.charts))
    assert (mesh.uvs[~placed] == 0).all()
    assert overlapping_pairs(mesh.uvs[placed]) == 0
    assert overlaps(mesh.uvs[placed], RASTER) == 0
    if mesh.charts > 1:
        assert chart_distance(mesh) > 1.5 / texture_size - ROUNDING


def test_nothing_overlaps_and_charts_keep_apart(layout: Unwrapped) -> None:
    check_layout(layout, SIZE)
    assert (layout.chart >= 0).all() or (areas(layout.vertices, layout.faces)[layout.chart < 0] < 1e-6).all()


def test_no_face_is_turned_over(layout: Unwrapped) -> None:
    assert signed_areas(layout.uvs).min() > -(ROUNDING**2)


def test_a_chart_is_one_piece(layout: Unwrapped) -> None:
    """Its faces are joined by sides with the same corners in space and in the layout."""
    keys = np.column_stack([layout.faces.reshape(-1), layout.uvs.reshape(-1, 2).view(np.int32)])
    corner = np.unique(keys, axis=0, return_inverse=True)[1].reshape(-1, 3)
    sides = np.sort(np.stack([corner, np.roll(corner, -1, axis=1)], axis=-1).reshape(-1, 2), axis=1)
    side = np.unique(sides, axis=0, return_inverse=True)[1].reshape(-1)
    face = np.repeat(np.arange(len(corner)), 3)
    links = coo_matrix((np.ones(len(side)), (face, len(corner) + side)), shape=(len(corner) + len(side),) * 2)
    piece = connected_components(links, directed=False)[1][: len(corner)]
    placed = layout.chart >= 0
    pairs = set(zip(piece[placed].tolist(), layout.chart[placed].tolist(), strict=True))
    assert len(pairs) == len({p for p, _ in pairs}) == layout.charts


def test_all_charts_have_the_scale_of_their_surface(layout: Unwrapped) -> None:
    placed = layout.chart >= 0
    flat = np.bincount(layout.chart[placed], signed_areas(layout.uvs)[placed])
    space = np.bincount(layout.chart[placed], areas(layout.vertices, layout.faces)[placed])
    np.testing.assert_allclose(flat / flat.sum(), space / space.sum(), rtol=2e-3, atol=1e-6)


@pytest.mark.parametrize("texture_size", [64, SIZE])
def test_in_quarters_no_chart_crosses_a_middle_line(kind: str, texture_size: int) -> None:
    mesh = unwrap(*KINDS[kind](), texture_size, quarters=True)
    check_layout(mesh, texture_size)
    for holds in (
        test_no_face_is_turned_over,
        test_a_chart_is_one_piece,
        test_all_charts_have_the_scale_of_their_surface,
    ):
        holds(mesh)
    corners = 2 * mesh.uvs[mesh.chart >= 0].astype(float)
    assert (np.floor(corners.min(axis=1)) == np.floor(corners.max(axis=1))).all()
    border = np.abs(corners - np.rint(corners)).min() / 2  # of the tiles
    assert border > 0.75 / texture_size - ROUNDING
    assert mesh.uvs.tobytes() == unwrap(*KINDS[kind](), texture_size, quarters=True).uvs.tobytes()


def test_quarters_are_about_as_full_as_one_square() -> None:
    """Charts that are too long for a quarter are cut, so that one of them does not leave the others empty."""
    for name, least in (("chair", 0.8), ("ball", 0.8), ("spikes", 0.8)):
        whole, quarters = (
            layout_quality(unwrap(*KINDS[name](), SIZE, quarters=each), RASTER)["packing"] for each in (False, True)
        )
        assert quarters > least * whole, name


def heights(layout: Unwrapped) -> tuple[np.ndarray, np.ndarray]:
    """For each chart the direction [C, 2] in which z rises in the layout, of length 1, and the area [C] of its side.

    A line is fitted to the corners; the area counts only as far as the chart is upright.
    """
    directions, sides = np.zeros((layout.charts, 2)), np.zeros(layout.charts)
    for chart in range(layout.charts):
        chosen = layout.chart == chart
        uvs, z = layout.uvs[chosen].reshape(-1, 2).astype(float), layout.vertices[layout.faces[chosen], 2].ravel()
        slope = np.linalg.lstsq(uvs - uvs.mean(axis=0), z - z.mean(), rcond=None)[0]
        a, b, c = layout.vertices[layout.faces[chosen]].astype(float).swapaxes(0, 1)
        normal = np.cross(b - a, c - a).sum(axis=0)
        if np.linalg.norm(normal[:2]) > abs(normal[2]):
            directions[chart], sides[chart] = slope / np.linalg.norm(slope), np.linalg.norm(normal)
    return directions, sides


def test_sides_stand_upright_where_that_wastes_no_room() -> None:
    turned, area = heights(unwrap(*box(), SIZE))
    assert np.abs(turned[area > 0]).max(axis=1) == pytest.approx(np.ones(4), abs=1e-3)  # straight, at least
    upright = whole = 0.0
    for distance, faces in ((chair, 800), (chair, 2000), (sphere, 500), (sphere, 2000)):
        turned, area = heights(unwrap(*simplified(distance, faces), SIZE))
        upright, whole = upright + area[turned[:, 1] > 0.7].sum(), whole + area.sum()
    assert upright > 0.6 * whole  # of four ways to turn them


def test_little_is_stretched(layout: Unwrapped, kind: str) -> None:
    quality = layout_quality(layout, RASTER)
    assert quality["angle"] < 1.05
    assert quality["area"] < 1.15
    if kind in ("cylinder", "box", "cone", "flap", "fins", "two_sided"):  # these can be unrolled
        assert quality["angle"] == pytest.approx(1, abs=1e-3)
        assert quality["area"] == pytest.approx(1, abs=1e-3)


def test_the_same_mesh_gives_the_same_layout(layout: Unwrapped, kind: str) -> None:
    assert unwrap(*KINDS[kind](), SIZE).uvs.tobytes() == layout.uvs.tobytes()


def test_there_are_few_charts_and_the_square_is_full() -> None:
    chart_counts = {"box": 6, "cylinder": 6, "cone": 6, "chair": 24, "ball": 20}
    for name, most in chart_counts.items():
        quality = layout_quality(unwrap(*KINDS[name](), SIZE), RASTER)
        assert quality["charts"] <= most, name
    assert layout_quality(unwrap(*KINDS["chair"](), SIZE), RASTER)["packing"] > 0.5


def test_the_quality_is_what_singular_values_say() -> None:
    """The figures of a layout against numpy's singular values, face by face."""
    vertices, faces = KINDS["spikes"]()
    mesh = unwrap(vertices, faces, SIZE)
    long, short, size = np.zeros((3, len(faces)))
    for index, (points, uvs) in enumerate(zip(vertices[faces].astype(float), mesh.uvs.astype(float), strict=True)):
        plane = np.linalg.svd(points[1:] - points[0], full_matrices=False)[2]  # an orthonormal basis of the face
        local = (points[1:] - points[0]) @ plane.T
        long[index], short[index] = np.linalg.svd(np.linalg.solve(local, uvs[1:] - uvs[0]), compute_uv=False)
        size[index] = abs(np.linalg.det(local)) / 2
    share = size / size.sum()
    ratio = long * short / (long * short * share).sum()
    quality = layout_quality(mesh, RASTER)
    assert quality["angle"] == pytest.approx(((long / short + short / long) / 2 * share).sum(), rel=1e-3)
    assert quality["area"] == pytest.approx((np.maximum(ratio, 1 / ratio) * share).sum(), rel=1e-3)
    assert quality["packing"] == pytest.approx(np.abs(signed_areas(mesh.uvs)).sum(), rel=1e-6)


def test_overlaps_are_found() -> None:
    one = np.array([[[0.1, 0.1], [0.5, 0.1], [0.1, 0.5]]], dtype=np.float32)
    beside = np.array([[[0.5, 0.1], [0.5, 0.5], [0.1, 0.5]]], dtype=np.float32)
    over = one + np.float32(0.05)
    for other, found in ((beside, False), (over, True)):
        both = np.concatenate([one, other])
        assert (overlaps(both, 512) > 0) == found
        assert (overlapping_pairs(both) > 0) == found


@pytest.mark.parametrize("texture_size", [32, 64, 256, 1024, 4096])
def test_charts_are_as_far_apart_as_the_texture_needs(texture_size: int) -> None:
    mesh = unwrap(*KINDS["chair"](), texture_size)
    assert chart_distance(mesh) > max(1.5 / texture_size, 0.75 / GUTTER) - ROUNDING


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_the_size_of_a_mesh_does_not_matter(scale: float) -> None:
    vertices, faces = box()
    small = unwrap((vertices * scale).astype(np.float32), faces, SIZE)
    np.testing.assert_allclose(small.uvs, unwrap(vertices, faces, SIZE).uvs, atol=1e-5)


def test_unused_vertices_do_not_matter() -> None:
    vertices, faces = box()
    more = np.concatenate([vertices, [[9, 9, 9], [np.nan, 0, 0]]]).astype(np.float32)
    assert np.array_equal(unwrap(more, faces, SIZE).uvs, unwrap(vertices, faces, SIZE).uvs)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_faces_that_are_not_finite_get_no_chart(bad: float) -> None:
    vertices, faces = KINDS["cylinder"]()
    vertices = vertices.copy()
    vertices[0, 1] = bad
    mesh = unwrap(vertices, faces, SIZE)
    assert np.array_equal(mesh.chart < 0, (faces == 0).any(axis=1))
    check_layout(mesh, SIZE)


def test_faces_without_area_get_no_chart() -> None:
    vertices, faces = box()
    line = np.array([[0, 0, 1], [2, 2, 2], [0, 3, 3]])
    vertices = np.concatenate([vertices, (vertices[:1] + vertices[1:2]) / 2])
    mesh = unwrap(vertices, np.concatenate([faces, line, [[0, 1, len(vertices) - 1]]]), SIZE)
    assert (mesh.chart[len(faces) :] == -1).all()
    assert (mesh.chart[: len(faces)] >= 0).all()
    check_layout(mesh, SIZE)


@pytest.mark.parametrize("faces", [np.zeros((0, 3), np.int64), np.array([[0, 0, 0]]), np.array([[0, 1, 1]])])
def test_nothing_to_lay_out(faces: np.ndarray) -> None:
    mesh = unwrap(np.eye(3, dtype=np.float32), faces, SIZE)
    assert mesh.charts == 0
    assert mesh.uvs.shape == (len(faces), 3, 2)
    assert not mesh.uvs.any()


def test_one_triangle_keeps_its_shape() -> None:
    vertices = np.array([[0, 0, 0], [3, 0, 0], [0, 4, 0]], dtype=np.float32)
    mesh = unwrap(vertices, np.array([[0, 1, 2]]), SIZE)
    sides = np.linalg.norm(mesh.uvs[0] - np.roll(mesh.uvs[0], -1, axis=0), axis=1)
    np.testing.assert_allclose(sides / sides.max(), [0.6, 1.0, 0.8], atol=1e-5)
    assert mesh.charts == 1


def test_many_pieces_are_laid_out() -> None:
    """More charts than a small texture has room for: they come closer, but not over each other."""
    rng = np.random.default_rng(0)
    vertices, faces = box()
    count = 150
    moved = (vertices + rng.uniform(-9, 9, (count, 1, 3))).reshape(-1, 3).astype(np.float32)
    mesh = unwrap(moved, (faces + np.arange(count)[:, None, None] * len(vertices)).reshape(-1, 3), 64)
    assert mesh.charts >= count
    assert overlapping_pairs(mesh.uvs) == 0
    assert layout_quality(mesh, RASTER)["packing"] > 0.2


@settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(soups(), st.sampled_from([16, 256]))
def test_triangles_of_any_kind(mesh: Mesh, texture_size: int) -> None:
    made = unwrap(mesh.vertices, mesh.faces, texture_size)
    placed = made.chart >= 0
    assert np.isfinite(made.uvs).all()
    assert overlapping_pairs(made.uvs[placed]) == 0
    assert np.array_equal(placed, areas(mesh.vertices, mesh.faces) > 1e-7)
