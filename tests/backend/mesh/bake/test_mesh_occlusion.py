"""Ambient occlusion against formulas, and against rays that are tried with every triangle."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from backend.mesh import Mesh
from backend.mesh.bake.bake import Source, bake
from backend.mesh.bake.occlusion import vertex_occlusion
from backend.mesh.bake.tangents import vertex_normals
from backend.mesh.extract.flexicubes import extract_mesh
from backend.mesh.finish import clean
from backend.mesh.unwrap.unwrap import unwrap
from tests.backend.mesh.test_mesh_finish import sample
from tests.backend.shells import chair, features_of

RAYS = 128


def reference(mesh: Mesh, chosen: np.ndarray) -> np.ndarray:
    """The share of cosine-weighted rays from these vertices that meet no triangle (Moeller & Trumbore 1997)."""
    corners = mesh.vertices[mesh.faces].astype(np.float64)
    first, u, v = corners[:, 0], corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    share, angle = (np.arange(RAYS) + 0.5) / RAYS, np.arange(RAYS) * np.pi * (3 - np.sqrt(5))
    local = np.stack([np.sqrt(share) * np.cos(angle), np.sqrt(share) * np.sin(angle), np.sqrt(1 - share)], axis=1)
    normals = vertex_normals(mesh.vertices, mesh.faces)
    found = []
    for vertex in chosen:
        normal = normals[vertex].astype(np.float64)
        side = np.cross(normal, np.eye(3)[np.abs(normal).argmin()])
        side /= np.linalg.norm(side)
        rays = local @ np.stack([side, np.cross(normal, side), normal])  # [R, 3]
        start = mesh.vertices[vertex] + 2e-3 * normal - first  # [F, 3]
        across = np.cross(start, u)
        determinant = rays @ np.cross(v, u).T * -1
        scale = 1 / np.where(determinant == 0, np.inf, determinant)
        s = rays @ np.cross(v, start).T * scale
        t = -rays @ across.T * scale
        distance = -(v * across).sum(axis=1) * scale
        hit = (s >= 0) & (t >= 0) & (s + t <= 1) & (distance > 0)
        found.append(1 - hit.any(axis=1).mean())
    return np.array(found)


def occlusion(mesh: Mesh) -> np.ndarray:
    return vertex_occlusion(mesh, vertex_normals(mesh.vertices, mesh.faces))


def sheet(u: np.ndarray, v: np.ndarray, steps: tuple[int, int]) -> trimesh.Trimesh:
    """A parallelogram at the origin in squares; its front is where u x v points."""
    rows, columns = steps
    i, j = np.divmod(np.arange((rows + 1) * (columns + 1)), columns + 1)
    corner = (np.arange(rows)[:, None] * (columns + 1) + np.arange(columns)).reshape(-1)
    quads = np.stack([corner, corner + columns + 1, corner + columns + 2, corner + 1], axis=1)
    faces = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    return trimesh.Trimesh(i[:, None] / rows * u + j[:, None] / columns * v, faces, process=False)


def mesh_of(shape: trimesh.Trimesh) -> Mesh:
    return Mesh(shape.vertices.astype(np.float32), shape.faces.astype(np.int64), None)


def turned(shape: trimesh.Trimesh, seed: int) -> Mesh:
    return mesh_of(
        shape.apply_transform(
            trimesh.transformations.random_rotation_matrix(rand=np.random.default_rng(seed).random(3))
        )
    )


def joined(*parts: trimesh.Trimesh) -> trimesh.Trimesh:
    whole = trimesh.util.concatenate(parts)
    assert isinstance(whole, trimesh.Trimesh)
    return whole


def room(seed: int | None = None) -> tuple[Mesh, int]:
    """A floor, 0.5 deep and 1.6 wide, and a wall of the same size along its longer side; and the floor's vertices."""
    x, y, z = np.eye(3)
    floor, wall = sheet(1.6 * x, 0.5 * y, (80, 25)), sheet(0.5 * z, 1.6 * x, (25, 80))
    whole = joined(floor, wall)
    return (mesh_of(whole) if seed is None else turned(whole, seed)), len(floor.vertices)


def test_nothing_shades_a_convex_object() -> None:
    box = trimesh.creation.box((0.9, 0.5, 0.3))
    for seed, shape in enumerate((trimesh.creation.icosphere(4, 0.4), box, box.subdivide_to_size(0.03))):
        assert occlusion(turned(shape, seed)).min() > 0.999


def test_beside_a_wall() -> None:
    """On a floor x away from an endless wall h high, 1 / 2 (1 + x / sqrt(x^2 + h^2)) of the light arrives."""
    mesh, floor = room(seed=1)
    found = occlusion(mesh)[:floor].reshape(81, 26)[30:51]  # the middle of the wall; columns go away from it
    away = np.arange(26) / 25 * 0.5
    expected = (1 + away / np.hypot(away, 0.5)) / 2
    assert found[:, 0].mean() == pytest.approx(0.5, abs=0.04)
    np.testing.assert_allclose(found.mean(axis=0), expected, atol=0.04)  # the wall has ends
    assert (np.diff(found.mean(axis=0)) > 0).all()
    assert 255 * found.std(axis=0).mean() < 3  # it is the same all along the wall: no bands, no noise


def test_at_the_bottom_of_a_shaft() -> None:
    """What arrives through a square opening, seen from the middle of the bottom (the view factor of a rectangle)."""
    x, y, z = 0.2 * np.eye(3)
    walls = [sheet(3 * z, x, (30, 10)), sheet(y, 3 * z, (10, 30))]
    walls += [sheet(x, 3 * z, (10, 30)).apply_translation(y), sheet(3 * z, y, (30, 10)).apply_translation(x)]
    bottom = sheet(x, y, (10, 10))
    whole = joined(bottom, *walls)
    whole.merge_vertices()  # those of the bottom stay the first
    found = occlusion(mesh_of(whole))
    ratio = 0.1 / 0.6
    slant = ratio / np.sqrt(1 + ratio**2)
    assert found[60] == pytest.approx(4 / np.pi * slant * np.arctan(slant), abs=0.03)
    np.testing.assert_allclose(whole.vertices[:121], bottom.vertices, atol=1e-6)
    assert found[:121].max() < 0.12


def test_rays_find_the_same() -> None:
    """Where the surface is even: the rays of vertices on an edge meet the vertices' own faces."""
    mesh = clean(extract_mesh(*features_of(chair, 32), 32))
    a, b, c = mesh.vertices[mesh.faces].swapaxes(0, 1)
    across = np.cross(b - a, c - a)
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    agreement = np.einsum("fc,fkc->fk", across, vertex_normals(mesh.vertices, mesh.faces)[mesh.faces])
    worst = np.ones(len(mesh.vertices))
    np.minimum.at(worst, mesh.faces, agreement)
    chosen = np.random.default_rng(0).choice(np.flatnonzero(worst > 0.95), 40, replace=False)
    error = occlusion(mesh)[chosen] - reference(mesh, chosen)
    assert np.abs(error).mean() < 0.04
    assert abs(error.mean()) < 0.02
    assert np.abs(error).max() < 0.25


def test_the_texture_has_what_the_vertices_have() -> None:
    """At the borders of charts too: none of another chart's values, and no seams."""
    raw = clean(extract_mesh(*features_of(chair, 32), 32))
    mesh = unwrap(raw.vertices, raw.faces, 256)
    textures = bake(mesh, Source(Mesh(mesh.vertices, mesh.faces, None)), 256, normal_map=False, ambient_occlusion=True)
    assert textures.normal is None
    assert textures.occlusion is not None
    expected = occlusion(Mesh(mesh.vertices, mesh.faces, None))[mesh.faces]
    for weights in ((1 / 3, 1 / 3, 1 / 3), (1, 0, 0), (0, 0.5, 0.5)):
        found = sample(textures.occlusion[..., None], np.einsum("k,fkc->fc", weights, mesh.uvs))[:, 0] / 255
        error = np.abs(found - expected @ weights)
        assert error.mean() < 0.01
        assert np.quantile(error, 0.99) < 0.05
    assert expected.min() < 0.6  # there was something to get wrong


def test_little_meshes() -> None:
    one = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], np.float32)
    for vertices, faces in ((one, [[0, 1, 2]]), (one * 1e-20, [[0, 1, 2]]), (one * 0, [[0, 1, 2]])):
        assert (occlusion(Mesh(vertices, np.array(faces), None)) == 1).all()
    assert len(occlusion(Mesh(one[:0], np.zeros((0, 3), np.int64), None))) == 0
