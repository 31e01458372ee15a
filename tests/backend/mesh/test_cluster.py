"""Clustering: the surface stays manifold and close, sheets do not fuse, edges stay sharp, and borders stay in place."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from backend.mesh import Mesh
from backend.mesh.base import compiled
from backend.mesh.base.projection import Projector
from backend.mesh.base.rings import Rings, rings_of
from backend.mesh.clean import cluster
from backend.mesh.clean import simplify as simplification
from backend.mesh.clean.cluster import clustered
from backend.mesh.clean.pairs import paired
from backend.mesh.clean.simplify import error_of, simplified
from backend.mesh.sound.inspect import Edges, inspect
from tests.backend.mesh.sound.bodies import CUBE, SIDES, Arrays, ball, joined


def box(size: tuple[float, float, float] = (1.0, 1.0, 1.0), rounds: int = 5) -> Arrays:
    """A box around 0 whose 12 faces are divided in four, ``rounds`` times."""
    vertices, faces = CUBE.astype(np.float64), SIDES
    for _ in range(rounds):
        ends = np.sort(np.stack([faces, np.roll(faces, -1, axis=1)], axis=2).reshape(-1, 2), axis=1)
        edges, of = np.unique(ends, axis=0, return_inverse=True)
        p, q, r = (len(vertices) + of.reshape(-1, 3)).T
        a, b, c = faces.T
        vertices = np.concatenate([vertices, vertices[edges].mean(axis=1)])
        faces = np.concatenate([np.stack(corners, 1) for corners in ((a, p, r), (p, b, q), (r, q, c), (p, q, r))])
    return ((vertices - 0.5) * size).astype(np.float32), faces


def bumpy(rounds: int = 6) -> Arrays:
    """A ball with waves all over it."""
    vertices, faces = ball(rounds=rounds)
    return (vertices * (1 + 0.08 * np.sin(20 * vertices).sum(axis=1, keepdims=True))).astype(np.float32), faces


def plain_places(vertices: np.ndarray, faces: np.ndarray, patch: np.ndarray) -> tuple[np.ndarray, float]:
    """Where a patch of vertices is contracted to, and its cost, by numpy's solver."""
    a, b, c = (vertices[faces[:, k]].astype(np.float64) for k in range(3))
    normals = np.cross(b - a, c - a)
    lengths = np.linalg.norm(normals, axis=1)
    normals /= lengths[:, None]
    weights = lengths * np.isin(faces, patch).sum(axis=1)  # once for each vertex of the patch
    middle = vertices[patch].astype(np.float64).mean(axis=0)
    heights = ((middle - a) * normals).sum(axis=1)
    matrix = (weights[:, None, None] * normals[:, :, None] * normals[:, None]).sum(axis=0)
    weak = 1e-3 * np.trace(matrix) / 3
    step = -np.linalg.solve(matrix + weak * np.eye(3), (weights * heights) @ normals)
    reach = np.linalg.norm(vertices[patch] - middle, axis=1).max()
    step *= min(1.0, reach / np.linalg.norm(step))
    return middle + step, float((weights * np.square(heights + normals @ step)).sum())


@pytest.mark.parametrize("made", [ball(rounds=6), box(), bumpy(), joined(ball(0.4, rounds=5), ball(0.2, rounds=5))])
def test_the_surface_stays_sound_and_close(made: Arrays) -> None:
    vertices, faces = made
    before = inspect(vertices, faces)
    fewer = clustered(vertices, faces, len(faces) // 5)[:2]
    after = inspect(*fewer)
    assert len(fewer[1]) < 0.3 * len(faces)
    assert (after.watertight, after.manifold, after.outward, after.crossing) == (True, True, before.outward, 0)
    assert (after.shells, after.hidden) == (before.shells, before.hidden)
    assert after.vertices - len(fewer[1]) / 2 == before.vertices - len(faces) / 2  # as many tunnels
    assert error_of(vertices, *fewer) < 0.01
    assert after.volume == pytest.approx(before.volume, rel=0.01)


def test_a_patch_goes_where_a_plain_solver_puts_it() -> None:
    vertices, faces = bumpy(4)
    rings = rings_of(faces, len(vertices))
    of, count = cluster._patches(rings.begins, rings.nexts, rings.balance)
    begins, members = cluster._members(of, count)
    planes = np.empty((len(faces), 4))
    cluster._planes(vertices, faces, planes, 0, len(faces))
    mesh = cluster.Contraction(vertices, faces, rings, np.empty((0, 10)), planes)
    sums, places, costs = np.empty((count, 10)), np.empty((count, 3), np.float32), np.empty(count)
    cluster._settle(mesh, begins, members, sums, places, costs, 0, count)
    for patch in range(0, count, 7):
        inside = members[begins[patch] : begins[patch + 1]]
        place, cost = plain_places(vertices, faces, inside)
        np.testing.assert_allclose(places[patch], place, atol=1e-5)
        assert costs[patch] * max(len(inside) - 1, 0) == pytest.approx(
            cost if len(inside) > 1 else 0, rel=1e-3, abs=1e-12
        )


def test_the_bytes_do_not_depend_on_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    vertices, faces = bumpy(7)
    results = []
    for threads in (1, 5):
        monkeypatch.setattr(compiled, "THREADS", threads)
        with ThreadPoolExecutor(threads) as pool:
            monkeypatch.setattr(compiled, "_threads", lambda pool=pool: pool)
            results.append([array.tobytes() for array in paired(clustered(vertices, faces, 20_000), 9_000)[:2]])
    assert results[0] == results[1]


@pytest.mark.parametrize("gap", [0.02, 0.002])
def test_thin_sheets_do_not_fuse(gap: float) -> None:
    """The sides of a sheet, or two shells, that are nearer to each other than the vertices are."""
    for made in (box((1, 1, gap)), joined(ball(0.4, rounds=6), ball(0.4 + gap, rounds=6))):
        fewer = paired(clustered(*made, len(made[1]) // 5), len(made[1]) // 20)[:2]
        before, after = inspect(*made), inspect(*fewer)
        assert (after.watertight, after.manifold, after.outward) == (True, True, before.outward)
        assert (after.shells, after.hidden) == (before.shells, before.hidden)
        assert after.volume == pytest.approx(before.volume, rel=0.02)


def test_edges_stay_sharp() -> None:
    vertices, faces = box()
    made, fewer = clustered(vertices, faces, len(faces) // 6)[:2]
    assert len(fewer) < len(faces) / 4
    nearest = Projector(Mesh(made, fewer, None)).project(vertices, np.zeros_like(vertices))
    assert np.linalg.norm(nearest.interpolate(fewer, made) - vertices, axis=1).max() < 1e-5


def test_borders_stay_in_place() -> None:
    vertices, faces = bumpy()
    faces = faces[vertices[faces].mean(axis=1)[:, 2] < 0.2]
    made, fewer = clustered(vertices, faces, len(faces) // 5)[:2]
    borders = [
        {tuple(sorted((tuple(p[a]), tuple(p[b])))) for a, b in zip(*Edges(f, len(p)).border, strict=True)}
        for p, f in ((vertices, faces), (made, fewer))
    ]
    assert borders[0] == borders[1]
    assert borders[0]
    edges = Edges(fewer, len(made))
    assert not edges.crowded
    assert not edges.opposed
    assert len(fewer) < 0.4 * len(faces)


def test_what_is_not_manifold_is_left_alone() -> None:
    """Two boxes that share an edge, a face that is there twice, one turned over, and a vertex that no face uses."""
    vertices, faces = joined(box(rounds=4), box(rounds=4))
    vertices[len(vertices) // 2 :, :2] += 1
    places, number = np.unique(vertices, axis=0, return_inverse=True)
    faces = number.reshape(-1)[faces]
    faces = np.concatenate([faces, faces[:1], faces[1:2, ::-1]])
    places = np.concatenate([places, [[9, 9, 9]]]).astype(np.float32)
    made, fewer = clustered(places, faces, len(faces) // 5)[:2]
    crowded = [Edges(f, len(p)).crowded for p, f in ((places, faces), (made, fewer))]
    assert len(fewer) < 0.5 * len(faces)
    assert crowded[0] == crowded[1] > 0


def test_simplifying_clusters_only_large_meshes(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def counted(vertices: np.ndarray, faces: np.ndarray, room: int, rings: Rings | None) -> cluster.Contraction:
        calls.append(room)
        return clustered(vertices, faces, room, rings)

    monkeypatch.setattr(simplification, "clustered", counted)
    vertices, faces = bumpy(6)
    simplified(vertices, faces, 500)
    assert not calls
    monkeypatch.setattr(simplification, "LARGE", 20_000)
    simplified(vertices, faces, 6_000)
    simplified(vertices, faces, 500, max_error=0.01)
    assert not calls
    made = simplified(vertices, faces, 1_000)
    assert calls == [5_000]
    assert made.sound
    assert 980 <= len(made.faces) <= 1_000
    assert error_of(vertices, made.vertices, made.faces) < 0.02


def test_what_clustering_spoils_is_simplified_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    vertices, faces = bumpy(6)
    without = simplified(vertices, faces, 1_000)
    monkeypatch.setattr(simplification, "LARGE", 20_000)
    monkeypatch.setattr(
        simplification, "clustered", lambda v, f, room, _: clustered(v * np.array([1, 1, 0], np.float32), f, room)
    )
    made = simplified(vertices, faces, 1_000)
    assert made.sound
    assert made.vertices.tobytes() == without.vertices.tobytes()
