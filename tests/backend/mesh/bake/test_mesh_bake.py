"""Textures against what they were painted from: projection, normals as Blender reads them, Gaussians, no bleeding."""

from __future__ import annotations

import bpy
import numpy as np
import pytest
import torch

from backend.mesh import Mesh
from backend.mesh.bake.bake import Source, bake, covered, projected
from backend.mesh.bake.gaussian_color import SH_DC, GaussianColors
from backend.mesh.bake.gutter import Gutter
from backend.mesh.bake.tangents import encode, tangent_space, vertex_normals
from backend.mesh.bake.texels import Cover, rasterize
from backend.mesh.base import compiled
from backend.mesh.base.projection import APART, Projection, Projector, search
from backend.mesh.clean.simplify import simplify
from backend.mesh.extract.flexicubes import extract_mesh
from backend.mesh.finish import clean
from backend.mesh.unwrap.unwrap import Unwrapped, unwrap
from backend.models.gaussians import Gaussians
from tests.backend.mesh.test_mesh_finish import sample
from tests.backend.shells import chair, color_at, features_of, sphere

SIZE = 256


@pytest.fixture(scope="module")
def raw() -> Mesh:
    return clean(extract_mesh(*features_of(chair, 32), 32))


@pytest.fixture(scope="module")
def mesh(raw: Mesh) -> Unwrapped:
    return unwrap(*simplify(raw.vertices, raw.faces, 1500), SIZE)


def on_surface(mesh: Unwrapped | Mesh, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Random faces [count] and barycentric coordinates [count, 3]."""
    rng = np.random.default_rng(0)
    return rng.integers(len(mesh.faces), size=count), rng.dirichlet(np.ones(3), count).astype(np.float32)


def test_points_go_to_the_closest_point_of_the_surface(raw: Mesh) -> None:
    face, weights = on_surface(raw, 300)
    points = np.einsum("pk,pkc->pc", weights, raw.vertices[raw.faces[face]])
    points += np.random.default_rng(1).normal(scale=0.01, size=points.shape).astype(np.float32)
    place = Projector(raw).project(points, np.zeros_like(points))
    found = np.linalg.norm(place.interpolate(raw.faces, raw.vertices) - points, axis=1)
    expected = [distances(point, raw.vertices[raw.faces]).min() for point in points.astype(np.float64)]
    assert np.abs(found - expected).max() < 1e-6


def test_texels_that_begin_beside_each_other_find_the_closest_points_too(raw: Mesh, mesh: Unwrapped) -> None:
    cover, projector = covered(mesh, SIZE), Projector(raw)
    texels = cover.face >= 0
    raw_cover, raw_faces = projected(mesh, cover, projector)
    sorted_raw = Mesh(raw.vertices, raw_faces, None)
    on_mesh, on_raw = (points_of(c, texels, m) for c, m in ((cover, mesh), (raw_cover, sorted_raw)))
    normals = face_normals(mesh)[cover.face[texels]]
    alone = projector.project(on_mesh, normals)
    assert ((face_normals(sorted_raw)[raw_cover.face[texels]] * normals).sum(1) >= 0).mean() > 0.999
    away = [np.linalg.norm(p - on_mesh, axis=1) for p in (alone.interpolate(raw.faces, raw.vertices), on_raw)]
    assert away[1].mean() <= away[0].mean() * 1.02
    assert np.quantile(away[1] - away[0], 0.97) < 1e-6
    assert (away[1] - away[0]).max() < 0.01


def test_a_search_ends_at_the_closest_face_that_is_not_turned_away_wherever_it_begins(raw: Mesh) -> None:
    rng = np.random.default_rng(2)
    face, weights = on_surface(raw, 200)
    points = np.einsum("pk,pkc->pc", weights, raw.vertices[raw.faces[face]])
    points += rng.normal(scale=0.01, size=points.shape).astype(np.float32)
    normals = rng.normal(size=points.shape)
    tree, directions = Projector(raw).tree, face_normals(raw)
    for point, normal in zip(points.astype(np.float64), normals, strict=True):
        away = distances(point, raw.vertices[raw.faces])
        facing = np.where(directions @ normal >= 0, away, np.inf)
        expected = facing if facing.min() <= away.min() + APART * tree.edge else away
        for begin in (-1, int(rng.integers(len(raw.faces)))):
            rank, s, t = search(tree, begin, tuple(point), tuple(normal))
            found = tree.order[rank]
            assert expected[found] <= expected.min() + 1e-6
            place = np.array([1 - s - t, s, t]) @ raw.vertices[raw.faces[found]]
            np.testing.assert_allclose(np.linalg.norm(place - point), expected[found], atol=1e-6)


def test_texels_belong_to_the_faces_that_they_lie_in(mesh: Unwrapped) -> None:
    texels, cover = rasterize(mesh.uvs, SIZE), covered(mesh, SIZE)
    owner = np.full((SIZE, SIZE), -1)
    owner[texels.row, texels.column] = texels.face
    inside = owner >= 0
    assert np.array_equal(cover.face[inside], owner[inside])
    last = texels.face == owner[texels.row, texels.column]
    found = cover.weights[texels.row, texels.column]
    np.testing.assert_allclose(found[last], texels.weights[last, 1:], atol=1e-6)
    border = (cover.face >= 0) & ~inside
    assert border.any()
    s, t = cover.weights[border].T
    assert (np.minimum(np.minimum(s, t), 1 - s - t) > -1e-6).all()
    uv = np.einsum("pk,pkc->pc", np.stack([1 - s - t, s, t], axis=1), mesh.uvs[cover.face[border]])
    row, column = np.nonzero(border)
    away = np.maximum(np.abs(uv[:, 0] * SIZE - 0.5 - column), np.abs((1 - uv[:, 1]) * SIZE - 0.5 - row))
    assert away.max() <= 1 + 1e-4


def points_of(cover: Cover, texels: np.ndarray, mesh: Unwrapped | Mesh) -> np.ndarray:
    """[P, 3]: where texels lie on a mesh."""
    s, t = cover.weights[texels].T
    return Projection(cover.face[texels], np.stack([1 - s - t, s, t], axis=1)).interpolate(mesh.faces, mesh.vertices)


def face_normals(mesh: Unwrapped | Mesh) -> np.ndarray:
    """[F, 3], of any length."""
    a, b, c = mesh.vertices[mesh.faces].swapaxes(0, 1)
    return np.cross(b - a, c - a)


def test_the_same_faces_are_painted_whatever_the_number_of_threads(
    raw: Mesh, mesh: Unwrapped, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, many = bake(mesh, Source(raw), SIZE), None
    for threads in (1, 5):
        monkeypatch.setattr(compiled, "THREADS", threads)
        many, alone = alone, bake(mesh, Source(raw), SIZE)
        assert many.normal is not None
        assert alone.normal is not None
        assert np.array_equal(many.color, alone.color)
        assert np.array_equal(many.normal, alone.normal)


def distances(point: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """From a point to triangles [F, 3, 3]: the least over a fine grid of barycentric coordinates, then refined."""
    a, b, c = triangles.astype(np.float64).swapaxes(0, 1)
    best = np.full(len(a), np.inf)
    for p, q in ((a, b), (b, c), (c, a)):
        along = np.clip(((point - p) * (q - p)).sum(1) / np.maximum(((q - p) ** 2).sum(1), 1e-30), 0, 1)
        best = np.minimum(best, np.linalg.norm(p + along[:, None] * (q - p) - point, axis=1))
    normal = np.cross(b - a, c - a)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-30)
    height = ((point - a) * normal).sum(1)
    foot = point - height[:, None] * normal
    inside = np.all([(np.cross(q - p, foot - p) * normal).sum(1) >= 0 for p, q in ((a, b), (b, c), (c, a))], axis=0)
    return np.where(inside, np.abs(height), best)


def test_each_side_of_a_thin_wall_finds_its_own() -> None:
    """Two sheets, closer to each other than the point is to its own."""
    grid = np.stack(np.meshgrid(np.linspace(0, 1, 9), np.linspace(0, 1, 9), indexing="ij"), axis=-1).reshape(-1, 2)
    quads = np.array(
        [[i * 9 + j, (i + 1) * 9 + j, (i + 1) * 9 + j + 1, i * 9 + j + 1] for i in range(8) for j in range(8)]
    )
    up = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    vertices = np.concatenate([np.insert(grid, 2, z, axis=1) for z in (0.0, -0.01)]).astype(np.float32)
    colors = np.repeat(np.array([[1, 0, 0], [0, 0, 1]], np.float32), len(grid), axis=0)
    wall = Mesh(vertices, np.concatenate([up, up[:, ::-1] + len(grid)]), colors)
    points = np.array([[0.41, 0.52, -0.02], [0.41, 0.52, 0.01]], np.float32)
    normals = np.array([[0, 0, 1], [0, 0, -1]], np.float32)
    place = Projector(wall).project(points, normals)
    np.testing.assert_allclose(place.interpolate(wall.faces, colors), [[1, 0, 0], [0, 0, 1]], atol=1e-6)


def test_the_tangent_space_is_blenders(mesh: Unwrapped) -> None:
    frame = tangent_space(mesh.vertices, mesh.faces, mesh.uvs)
    made = bpy.data.meshes.new("mesh")
    made.from_pydata(mesh.vertices.tolist(), [], mesh.faces.tolist())
    made.uv_layers.new(name="UVMap").uv.foreach_set("vector", mesh.uvs.ravel())
    made.shade_smooth()
    made.calc_tangents(uvmap="UVMap")
    normals, tangents = (np.empty((len(mesh.faces) * 3, 3), np.float32) for _ in range(2))
    signs = np.empty(len(mesh.faces) * 3, np.float32)
    made.loops.foreach_get("normal", normals.ravel())
    made.loops.foreach_get("tangent", tangents.ravel())
    made.loops.foreach_get("bitangent_sign", signs)
    assert (normals * frame.normals.reshape(-1, 3)).sum(1).min() > 0.9999
    cosine = (tangents * frame.tangents.reshape(-1, 3)).sum(1)
    assert np.quantile(cosine, 0.01) > 0.999  # MikkTSpace treats faces without area in its own way
    assert (signs == np.repeat(frame.signs, 3)).mean() > 0.999


def test_the_normal_map_gives_the_raw_surfaces_normals_back() -> None:
    """A sphere of 60 faces looks like one of 5000."""
    raw = clean(extract_mesh(*features_of(sphere, 32), 32))
    mesh = unwrap(*simplify(raw.vertices, raw.faces, 60), SIZE)
    textures = bake(mesh, Source(raw), SIZE)
    assert textures.normal is not None
    frame = tangent_space(mesh.vertices, mesh.faces, mesh.uvs)
    face, weights = on_surface(mesh, 2000)
    uv = np.einsum("pk,pkc->pc", weights, mesh.uvs[face])
    mapped = frame.decode(face, weights, sample(textures.normal, uv) / 127.5 - 1)
    points = np.einsum("pk,pkc->pc", weights, mesh.vertices[mesh.faces[face]])
    truth = points / np.linalg.norm(points, axis=1, keepdims=True)
    error = np.degrees(np.arccos(np.clip((mapped * truth).sum(1), -1, 1)))
    plain = np.einsum("pk,pkc->pc", weights, frame.normals[face])
    plain /= np.linalg.norm(plain, axis=1, keepdims=True)
    without = np.degrees(np.arccos(np.clip((plain * truth).sum(1), -1, 1)))
    assert error.mean() < 0.75
    assert error.mean() < 0.8 * without.mean()


def test_encoded_normals_solve_the_frames_equations(mesh: Unwrapped) -> None:
    """Against a plain solution, point by point: the direction as a sum of tangent, bitangent and normal."""
    frame = tangent_space(mesh.vertices, mesh.faces, mesh.uvs)
    face, weights = on_surface(mesh, 200)
    n, t = (np.einsum("pk,pkc->pc", weights, values[face]).astype(float) for values in (frame.normals, frame.tangents))
    b = np.cross(n, t) * frame.signs[face, None]
    directions = n + np.random.default_rng(1).normal(scale=0.5, size=n.shape)
    expected = np.array(
        [np.linalg.solve(np.column_stack(rows), d) for *rows, d in zip(t, b, n, directions, strict=True)]
    )
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    before = expected[:, 2] > 0.05
    assert before.mean() > 0.9
    given = zip(map(tuple, n), map(tuple, t), frame.signs[face], map(tuple, directions), strict=True)
    found = np.array([encode(*values) for values in given])
    np.testing.assert_allclose(found[before], expected[before], atol=1e-4)
    assert (found[:, 2] >= 0).all()


def test_charts_do_not_bleed_into_each_other(mesh: Unwrapped) -> None:
    """Every chart has a colour of its own; filtering finds it everywhere on the chart, its borders included."""
    chart = mesh.chart
    assert chart.min() >= 0
    palette = np.random.default_rng(0).random((chart.max() + 1, 3)).astype(np.float32)
    flat = Mesh(
        mesh.vertices[mesh.faces].reshape(-1, 3),
        np.arange(3 * len(mesh.faces)).reshape(-1, 3),
        np.repeat(palette[chart], 3, axis=0),
    )
    apart = Unwrapped(flat.vertices, flat.faces, mesh.uvs, mesh.chart, mesh.charts)
    texture = bake(apart, Source(flat), SIZE, normal_map=False).color
    for weights in ((1 / 3, 1 / 3, 1 / 3), (1, 0, 0), (0, 0.5, 0.5), (0.98, 0.01, 0.01)):
        found = sample(texture, np.einsum("k,fkc->fc", weights, mesh.uvs)) / 255
        assert np.abs(found - palette[chart]).max() < 0.01


def test_a_chart_smaller_than_a_texel_has_its_own_colour() -> None:
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 1], [0, 1, 1]], np.float32)
    faces = np.array([[0, 1, 2], [3, 4, 5]])
    tiny = np.array([[0.51, 0.51], [0.512, 0.51], [0.51, 0.512]]) + 0.25
    uvs = np.stack([[[0.1, 0.1], [0.5, 0.1], [0.1, 0.5]], tiny]).astype(np.float32)
    colors = np.repeat(np.array([[1, 0, 0], [0, 1, 0]], np.float32), 3, axis=0)
    assert not len(rasterize(uvs[1:], 32).row)
    texture = bake(Unwrapped(vertices, faces, uvs, np.arange(2), 2), Source(Mesh(vertices, faces, colors)), 32).color
    assert sample(texture, uvs[1].mean(axis=0)[None])[0].tolist() == [0, 255, 0]


@pytest.mark.parametrize("size", [64, 75])
def test_the_gutter_has_the_colours_of_the_nearest_texels(size: int) -> None:
    covered = np.random.default_rng(0).random((size, size)) < 0.003
    row, column = np.divmod(np.arange(size * size).reshape(size, size), size)
    image = np.stack([row, column], axis=-1).astype(np.uint8) * covered[..., None]
    gutter = Gutter(covered).fill(image.copy())
    assert np.array_equal(gutter[covered], image[covered])
    assert np.array_equal(Gutter(np.zeros_like(covered)).fill(image.copy()), image)  # nothing to paint it from
    found = gutter.astype(np.int64)
    assert covered[found[..., 0], found[..., 1]].all()
    away = np.hypot(found[..., 0] - row, found[..., 1] - column)
    rows, columns = np.nonzero(covered)
    nearest = np.hypot(row[..., None] - rows, column[..., None] - columns).min(axis=-1)
    np.testing.assert_allclose(away, nearest)


def test_no_texel_inside_a_chart_is_changed_by_its_surroundings(raw: Mesh, mesh: Unwrapped) -> None:
    texels = rasterize(mesh.uvs, SIZE)
    texture = bake(mesh, Source(raw), SIZE, normal_map=False).color
    error = np.abs(
        texture[texels.row, texels.column] / 255
        - color_at(torch.from_numpy(texels.interpolate(mesh.vertices[mesh.faces]))).numpy()
    )
    assert error.mean() < 0.02


def scatter(raw: Mesh, count: int, depth: float = 0.0) -> Gaussians:
    """Round Gaussians on a surface, or below it, with the pattern's colours."""
    face, weights = on_surface(raw, count)
    points = np.einsum("pk,pkc->pc", weights, raw.vertices[raw.faces[face]])
    normals = np.einsum("pk,pkc->pc", weights, vertex_normals(raw.vertices, raw.faces)[raw.faces[face]])
    color = color_at(torch.from_numpy(points)).float()
    return Gaussians(
        raw_xyz=torch.from_numpy(points - depth * normals).float() + 0.5,
        raw_features_dc=((color - 0.5) / SH_DC)[:, None],
        raw_scaling=torch.full((count, 3), -5.3),
        raw_rotation=torch.zeros(count, 4),
        raw_opacity=torch.full((count, 1), 3.0),
        scaling_bias=1.0,
        opacity_bias=0.5,
        minimum_size=0.0,
        scaling_activation="exp",
    )


def test_gaussians_colour_the_texture(raw: Mesh, mesh: Unwrapped) -> None:
    colors = GaussianColors(scatter(raw, 60_000))
    texture = bake(mesh, Source(raw), SIZE, normal_map=False, gaussians=colors).color
    face, weights = on_surface(mesh, 3000)
    found = sample(texture, np.einsum("pk,pkc->pc", weights, mesh.uvs[face])) / 255
    truth = color_at(torch.from_numpy(np.einsum("pk,pkc->pc", weights, mesh.vertices[mesh.faces[face]]))).numpy()
    assert np.abs(found - truth).mean() < 0.03


def test_what_lies_below_the_surface_is_hidden(raw: Mesh) -> None:
    """Gaussians of another colour under the skin, as nothing keeps a trained model from placing them."""
    skin, flesh = scatter(raw, 60_000), scatter(raw, 60_000, depth=0.008)
    both = Gaussians(
        **{
            name: torch.cat([getattr(skin, name), getattr(flesh, name)])
            for name in ("raw_xyz", "raw_scaling", "raw_rotation", "raw_opacity")
        },
        raw_features_dc=torch.cat([skin.raw_features_dc, torch.full_like(flesh.raw_features_dc, 10.0)]),
        scaling_bias=1.0,
        opacity_bias=0.5,
        minimum_size=0.0,
        scaling_activation="exp",
    )
    face, weights = on_surface(raw, 2000)
    points = np.einsum("pk,pkc->pc", weights, raw.vertices[raw.faces[face]])
    normals = np.einsum("pk,pkc->pc", weights, vertex_normals(raw.vertices, raw.faces)[raw.faces[face]])
    truth = color_at(torch.from_numpy(points)).numpy()
    alone, mixed = (
        np.abs(GaussianColors(g).at(points, normals, np.arange(len(points))) - truth).mean() for g in (skin, both)
    )
    assert alone < 0.02
    assert mixed < 0.08


def test_transparent_gaussians_are_refused(raw: Mesh) -> None:
    clear = scatter(raw, 10)
    clear.raw_opacity.fill_(-20.0)
    with pytest.raises(ValueError, match="transparent"):
        GaussianColors(clear)
