"""Finishing meshes of every kind: it never crashes, never gives NaN, and says clearly what it cannot do."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from backend.mesh import Mesh, MeshError
from backend.mesh.base.projection import Projector
from backend.mesh.base.topology import by_edges, components, connected, open_edges, oriented, renumbered, twins
from backend.mesh.clean.cleanup import drop_bad_faces
from backend.mesh.clean.holes import close_holes
from backend.mesh.clean.simplify import simplify
from backend.mesh.clean.visibility import keep_visible_faces, seen_sides
from backend.mesh.extract.flexicubes import extract_mesh
from backend.mesh.finish import FinishedMesh, clean, finish, note_on_surface
from tests.backend.shells import chair, features_of, sphere

few = settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
coordinate = st.floats(-0.3, 0.3)
size = st.floats(0.05, 0.15)
Distance = Callable[[torch.Tensor], torch.Tensor]


@st.composite
def unions(draw: st.DrawFn) -> Distance:
    """The union of some balls and boxes, thin ones among them; they may lie apart or in each other."""
    balls = draw(st.lists(st.tuples(coordinate, coordinate, coordinate, size), min_size=1, max_size=3))
    boxes = draw(st.lists(st.tuples(coordinate, coordinate, coordinate, size, st.floats(0.01, 0.15)), max_size=3))

    def distance(points: torch.Tensor) -> torch.Tensor:
        parts = [(points - torch.tensor(ball[:3])).norm(dim=-1) - ball[3] for ball in balls]
        for x, y, z, half, thin in boxes:
            q = (points - torch.tensor([x, y, z])).abs() - torch.tensor([half, half, thin])
            parts.append(q.clamp(min=0).norm(dim=-1) + q.amax(-1).clamp(max=0))
        return torch.stack(parts).amin(0)

    return distance


def check_finished(mesh: FinishedMesh, texture_size: int) -> None:
    assert len(mesh.faces)
    assert mesh.faces.min() >= 0
    assert mesh.faces.max() < len(mesh.vertices)
    assert np.isfinite(mesh.vertices).all()
    assert np.isfinite(mesh.uvs).all()
    assert mesh.uvs.min() >= 0
    assert mesh.uvs.max() <= 1
    assert mesh.texture.shape == (texture_size, texture_size, 3)
    assert mesh.normal_map is not None
    assert mesh.normal_map.shape == mesh.texture.shape


@few
@given(unions(), st.integers(50, 2000), st.sampled_from([16, 64]))
def test_random_unions(distance: Distance, faces: int, texture_size: int) -> None:
    raw = extract_mesh(*features_of(distance, 24), 24)
    if len(raw.faces):
        check_finished(finish(raw, faces=faces, texture_size=texture_size), texture_size)


@st.composite
def soups(draw: st.DrawFn) -> Mesh:
    """Triangles between few vertices: degenerate, repeated, crossing, open, with edges of many faces."""
    count = draw(st.integers(3, 12))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    vertices = rng.choice([-0.4, -0.1, 0.0, 0.2, 0.5], size=(count, 3)).astype(np.float32)
    faces = rng.integers(count, size=(draw(st.integers(1, 30)), 3))
    return Mesh(vertices, faces, rng.random((count, 3), dtype=np.float32))


@few
@given(soups(), st.sampled_from([4, 10, 100]))
def test_triangle_soups(mesh: Mesh, faces: int) -> None:
    if len(drop_bad_faces(mesh).faces):
        check_finished(finish(mesh, faces=faces, texture_size=16), 16)
    else:
        with pytest.raises(MeshError, match="area"):
            finish(mesh, faces=faces, texture_size=16)


@pytest.mark.parametrize("count", [1, 10, 1 << 16])
def test_half_edges_are_sorted_by_edges(count: int) -> None:
    faces = np.random.default_rng(count).integers(count, size=(1000, 3))
    order, low, high = by_edges(faces, count)
    ends = np.sort(np.stack([faces, np.roll(faces, -1, axis=1)], axis=-1).reshape(-1, 2), axis=1)
    assert np.array_equal(np.stack([low, high], axis=1), ends)
    assert np.array_equal(order, np.lexsort((ends[:, 1], ends[:, 0])))


@few
@given(soups())
def test_components_and_twins_are_those_of_the_plain_references(mesh: Mesh) -> None:
    links, count = np.concatenate([mesh.faces[:, :2], mesh.faces[:, 1:]]), len(mesh.vertices)
    graph = coo_matrix((np.ones(len(links)), tuple(links.T)), shape=(count, count))
    label = connected_components(graph, directed=False)[1]
    assert np.array_equal(connected(links[:, 0].copy(), links[:, 1].copy(), count), label)
    assert np.array_equal(components(mesh.faces, count), label[mesh.faces[:, 0]])
    waiting: dict[frozenset[int], int] = {}
    expected = np.full(mesh.faces.size, -1)
    for half, (start, end) in enumerate(zip(mesh.faces.ravel(), np.roll(mesh.faces, -1, axis=1).ravel(), strict=True)):
        other = waiting.pop(frozenset((start, end)), None)
        if other is None:
            waiting[frozenset((start, end))] = half
        else:
            expected[half], expected[other] = other, half
    assert np.array_equal(twins(mesh.faces), expected)


def test_numbers_are_those_of_the_sorted_ones() -> None:
    numbers = np.random.default_rng(0).integers(50, size=(20, 3))
    expected, places = np.unique(numbers, return_inverse=True)
    found = renumbered(numbers)
    assert np.array_equal(found[0], expected)
    assert np.array_equal(found[1], places.reshape(numbers.shape))


@few
@given(soups())
def test_neighbours_agree_after_orientation_unless_that_is_impossible(mesh: Mesh) -> None:
    faces, patch = oriented(drop_bad_faces(mesh).faces)
    twin = twins(faces)
    half = np.flatnonzero(twin >= 0)
    start = faces.reshape(-1)
    same_way = start[half] == start[twin[half]]
    again, _ = oriented(faces)
    assert np.array_equal(patch[half // 3], patch[twin[half] // 3])
    if not same_way.any():
        assert np.array_equal(again, faces)


@pytest.mark.parametrize("seed", range(3))
def test_orientation_is_found_again(seed: int) -> None:
    mesh = ball()
    flipped = np.random.default_rng(seed).random(len(mesh.faces)) < 0.5
    faces = np.where(flipped[:, None], mesh.faces[:, ::-1], mesh.faces)
    faces = faces[np.random.default_rng(seed).permutation(len(faces))]
    visible = keep_visible_faces(Mesh(mesh.vertices, faces, None))
    assert signed_volume(visible) == pytest.approx(signed_volume(mesh), rel=1e-5)
    assert len(visible.faces) == len(faces)


def ball(radius: float = 0.35) -> Mesh:
    """A closed sphere of 1520 faces."""
    rings, sides = 20, 40
    a, b = np.meshgrid(np.arange(1, rings) * np.pi / rings, np.arange(sides) * 2 * np.pi / sides, indexing="ij")
    points = np.stack([np.sin(a) * np.cos(b), np.sin(a) * np.sin(b), np.cos(a)], axis=-1).reshape(-1, 3)
    points = np.concatenate([points, [[0, 0, 1], [0, 0, -1]]]) * radius
    faces = []
    for j in range(sides):
        k = (j + 1) % sides
        faces += [(len(points) - 2, j, k), (len(points) - 1, (rings - 2) * sides + k, (rings - 2) * sides + j)]
        for i in range(rings - 2):
            p, q, r, s = i * sides + j, (i + 1) * sides + j, (i + 1) * sides + k, i * sides + k
            faces += [(p, q, r), (p, r, s)]
    return Mesh(points.astype(np.float32), np.array(faces), None)


def joined(*meshes: Mesh) -> Mesh:
    starts = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes[:-1])])
    faces = [mesh.faces + start for mesh, start in zip(meshes, starts, strict=True)]
    return Mesh(np.concatenate([mesh.vertices for mesh in meshes]), np.concatenate(faces), None)


def signed_volume(mesh: Mesh) -> float:
    a, b, c = mesh.vertices[mesh.faces].astype(np.float64).swapaxes(0, 1)
    return float((a * np.cross(b, c)).sum() / 6)


def test_of_nested_shells_only_the_outermost_is_seen() -> None:
    nested = joined(ball(0.45), ball(0.3), ball(0.15))
    kept = keep_visible_faces(nested)
    assert len(kept.faces) == len(ball().faces)
    assert np.linalg.norm(kept.vertices, axis=1).min() > 0.44


def test_a_thin_sheet_is_seen_from_both_sides_and_finished() -> None:
    grid = np.stack(np.meshgrid(np.linspace(-0.4, 0.4, 9), np.linspace(-0.4, 0.4, 9)), axis=-1).reshape(-1, 2)
    quads = np.array(
        [[i * 9 + j, i * 9 + j + 1, (i + 1) * 9 + j + 1, (i + 1) * 9 + j] for i in range(8) for j in range(8)]
    )
    sheet = Mesh(
        np.insert(grid, 2, 0.0, axis=1).astype(np.float32),
        np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]),
        None,
    )
    front, back = seen_sides(sheet.vertices, sheet.faces)
    assert front.all()
    assert back.all()
    finished = finish(sheet, faces=1000, texture_size=32)
    assert np.array_equal(finished.faces, sheet.faces)  # and its border is no hole


def test_many_components_are_kept_and_dust_is_not() -> None:
    rng = np.random.default_rng(0)
    balls = [Mesh(ball(0.03).vertices + place.astype(np.float32), ball().faces, None) for place in lattice(rng)]
    dust = Mesh(ball(1e-4).vertices + np.float32(0.48), ball().faces, None)
    finished = finish(joined(*balls, dust), faces=10**6, texture_size=64)
    assert len(finished.faces) == len(balls) * len(ball().faces)


def lattice(rng: np.random.Generator) -> np.ndarray:
    places = np.stack(np.meshgrid(*[np.linspace(-0.4, 0.4, 3)] * 3), axis=-1).reshape(-1, 3)
    return places + rng.uniform(-0.05, 0.05, places.shape)


def test_small_holes_are_closed_and_large_ones_are_not() -> None:
    whole = ball()
    small = np.ones(len(whole.faces), dtype=bool)
    small[300:304] = False
    closed = close_holes(Mesh(whole.vertices, whole.faces[small], whole.vertices))
    assert not len(open_edges(closed.faces)[0])
    assert signed_volume(closed) == pytest.approx(signed_volume(whole), rel=1e-3)
    assert closed.colors is not None
    np.testing.assert_allclose(closed.colors, closed.vertices, atol=1e-6)
    half = Mesh(whole.vertices, whole.faces[whole.vertices[whole.faces][:, :, 2].mean(axis=1) > 0], None)
    assert close_holes(half).faces is half.faces or len(close_holes(half).faces) == len(half.faces)


def test_repeated_and_flat_faces_are_dropped() -> None:
    mesh = ball()
    doubled = np.concatenate([mesh.faces, mesh.faces[:100, [1, 2, 0]], mesh.faces[:5, [0, 0, 1]]])
    kept = drop_bad_faces(Mesh(mesh.vertices, doubled, None))
    assert np.array_equal(kept.faces, mesh.faces)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_named(bad: float) -> None:
    mesh = ball()
    for name in ("vertices", "colors"):
        values = {"vertices": mesh.vertices.copy(), "colors": np.zeros_like(mesh.vertices)}
        values[name][7, 1] = bad
        with pytest.raises(MeshError, match="not finite") as error:
            finish(Mesh(values["vertices"], mesh.faces, values["colors"]), faces=100, texture_size=16)
        assert error.value.code == "bad_mesh"


def test_faces_of_missing_vertices_are_named() -> None:
    with pytest.raises(MeshError, match="does not exist"):
        clean(Mesh(np.zeros((3, 3), np.float32), np.array([[0, 1, 3]]), None))


def test_nothing_is_named() -> None:
    for faces in (np.zeros((0, 3), np.int64), np.array([[0, 1, 1]])):
        with pytest.raises(MeshError) as error:
            finish(Mesh(np.zeros((3, 3), np.float32), faces, None), faces=100, texture_size=16)
        assert error.value.code == "empty_mesh"


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_the_size_of_a_mesh_changes_nothing(scale: float) -> None:
    mesh = ball()
    vertices, faces = simplify(mesh.vertices * np.float32(scale), mesh.faces, 200)
    assert 100 < len(faces) <= 200
    assert signed_volume(Mesh(vertices, faces, None)) / scale**3 == pytest.approx(signed_volume(mesh), rel=0.1)


@few
@given(st.floats(0.003, 0.02))
def test_simplification_keeps_to_an_error_bound(bound: float) -> None:
    raw = clean(extract_mesh(*features_of(chair, 32), 32))
    vertices, faces = simplify(raw.vertices, raw.faces, 50, max_error=bound)
    place = Projector(Mesh(vertices, faces, None)).project(raw.vertices, np.zeros_like(raw.vertices))
    assert np.linalg.norm(place.interpolate(faces, vertices) - raw.vertices, axis=1).max() <= bound
    assert len(faces) < len(raw.faces)


def test_fewer_faces_than_asked_for_are_told_with_the_reason() -> None:
    raw = extract_mesh(*features_of(chair, 16), 16)
    made = finish(raw, faces=200_000, texture_size=64)
    count = f"{len(made.faces):,}"
    assert "200,000 faces were asked for" in note_on_surface(made, 200_000)
    assert f"the surface that the model made has only {count}" in note_on_surface(made, 200_000)
    assert note_on_surface(made, len(made.faces)) == ""


@pytest.mark.parametrize("quads", [False, True])
def test_an_asset_within_an_error_has_few_faces(quads: bool) -> None:
    raw = extract_mesh(*features_of(chair, 32), 32)
    surface = clean(raw)
    size = float(np.ptp(surface.vertices, axis=0).max())
    counts = []
    for bound in (0.02, 0.05) if quads else (0.005, 0.02):
        made = finish(raw, faces=100_000, texture_size=64, max_error=bound, quads=quads)
        found = Mesh(made.vertices, made.faces, None)
        place = Projector(found).project(surface.vertices, np.zeros_like(surface.vertices))
        moved = place.interpolate(made.faces, made.vertices) - surface.vertices
        assert np.linalg.norm(moved, axis=1).max() <= bound * size
        assert note_on_surface(made, None, quads) == ""
        assert bool(made.counts["quads"]) == quads
        counts.append(len(made.faces))
    assert counts[1] < counts[0] < len(surface.faces)


def test_a_bound_that_nothing_breaks_leaves_the_target() -> None:
    raw = clean(extract_mesh(*features_of(sphere, 32), 32))
    assert len(simplify(raw.vertices, raw.faces, 300, max_error=1.0)[1]) <= 300


@pytest.mark.slow
def test_three_million_faces() -> None:
    import resource

    count = 1225  # a side: 3 M faces
    u, v = np.meshgrid(np.arange(count) * 2 * np.pi / count, np.arange(count) * 2 * np.pi / count, indexing="ij")
    radius = 0.35 + 0.1 * np.cos(v) + 0.005 * np.sin(40 * u)
    points = np.stack([radius * np.cos(u), radius * np.sin(u), 0.1 * np.sin(v)], axis=-1).reshape(-1, 3)
    i, j = np.divmod(np.arange(count * count), count)
    right, up = (i + 1) % count * count + j, i * count + (j + 1) % count
    both = (i + 1) % count * count + (j + 1) % count
    here = i * count + j
    faces = np.concatenate([np.stack([here, right, both], 1), np.stack([here, both, up], 1)])
    mesh = Mesh(points.astype(np.float32), faces, (points + 0.5).astype(np.float32))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    finished = finish(mesh, faces=20_000, texture_size=1024)
    check_finished(finished, 1024)
    assert len(finished.faces) <= 20_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 3_000_000  # KB
