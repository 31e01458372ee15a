"""Contracting pairs: the cheapest neighbours are found, and the surface stays manifold, close and sharp."""

from __future__ import annotations

import numpy as np
import pytest

from backend.mesh import Mesh
from backend.mesh.base.projection import Projector
from backend.mesh.clean import pairs
from backend.mesh.clean.cluster import Contraction, clustered
from backend.mesh.clean.pairs import paired
from backend.mesh.clean.simplify import error_of
from backend.mesh.sound.inspect import Edges, inspect
from tests.backend.mesh.sound.bodies import Arrays, ball, joined
from tests.backend.mesh.test_cluster import box, bumpy


@pytest.mark.parametrize("made", [ball(rounds=6), box(), bumpy(), joined(ball(0.4, rounds=5), ball(0.2, rounds=5))])
def test_the_surface_stays_sound_and_close(made: Arrays) -> None:
    vertices, faces = made
    before = inspect(vertices, faces)
    fewer = paired(clustered(vertices, faces, len(faces) // 4), len(faces) // 16)[:2]
    after = inspect(*fewer)
    assert len(fewer[1]) <= 1.03 * (len(faces) // 16)
    assert (after.watertight, after.manifold, after.outward) == (True, True, before.outward)
    assert (after.shells, after.hidden) == (before.shells, before.hidden)
    assert after.vertices - len(fewer[1]) / 2 == before.vertices - len(faces) / 2  # as many tunnels
    assert error_of(vertices, *fewer) < 0.02
    assert after.volume == pytest.approx(before.volume, rel=0.01)


def test_pairs_are_the_neighbours_that_cost_least_to_join() -> None:
    mesh = clustered(*bumpy(5), 5_000)
    costs = plain_costs(mesh)
    expected: set[tuple[int, int]] = set()
    for _ in range(pairs.CHOICES):
        taken = {vertex for pair in expected for vertex in pair}
        free = {
            vertex: {other: cost for other, cost in near.items() if other not in taken}
            for vertex, near in costs.items()
            if vertex not in taken
        }
        best = {vertex: min(near, key=near.__getitem__) for vertex, near in free.items() if near}
        expected |= {(one, other) for one, other in best.items() if one < other and best.get(other) == one}
    of, count = pairs._pairs_of(mesh)
    assert {tuple(np.flatnonzero(of == pair)) for pair in np.flatnonzero(np.bincount(of) == 2)} == expected
    assert count == len(mesh.vertices) - len(expected)


def test_edges_stay_sharp() -> None:
    vertices, faces = box()
    made, fewer = paired(clustered(vertices, faces, len(faces) // 6), len(faces) // 40)[:2]
    assert len(fewer) <= 1.03 * (len(faces) // 40)
    nearest = Projector(Mesh(made, fewer, None)).project(vertices, np.zeros_like(vertices))
    assert np.linalg.norm(nearest.interpolate(fewer, made) - vertices, axis=1).max() < 1e-5


def test_borders_stay_in_place() -> None:
    vertices, faces = bumpy()
    faces = faces[vertices[faces].mean(axis=1)[:, 2] < 0.2]
    made, fewer = paired(clustered(vertices, faces, len(faces) // 4), len(faces) // 10)[:2]
    borders = [
        {tuple(sorted((tuple(p[a]), tuple(p[b])))) for a, b in zip(*Edges(f, len(p)).border, strict=True)}
        for p, f in ((vertices, faces), (made, fewer))
    ]
    assert borders[0] == borders[1]
    assert borders[0]


def test_a_tetrahedron_is_left() -> None:
    made = paired(clustered(*ball(rounds=4), 1_000), 0)
    assert len(made.faces) >= 4
    assert Edges(made.faces, len(made.vertices)).open == 0


def plain_costs(mesh: Contraction) -> dict[int, dict[int, float]]:
    """For each vertex what it costs to join each of its neighbours, by numpy's solver."""
    costs: dict[int, dict[int, float]] = {vertex: {} for vertex in range(len(mesh.vertices))}
    points = mesh.vertices.astype(np.float64)
    sides = np.stack([mesh.faces, np.roll(mesh.faces, -1, axis=1)], axis=2).reshape(-1, 2)
    for one, other in sides[sides[:, 0] < sides[:, 1]].tolist():
        q = mesh.quadrics[one] + mesh.quadrics[other]
        matrix, line = np.array([[q[0], q[1], q[2]], [q[1], q[3], q[4]], [q[2], q[4], q[5]]]), q[6:9]
        middle, along = (points[one] + points[other]) / 2, points[other] - points[one]
        weak = 1e-5 * np.trace(matrix) / 3 * np.eye(3)
        step = -np.linalg.solve(matrix + weak, matrix @ middle + line)
        step *= min(1.0, np.linalg.norm(along) / np.linalg.norm(step))
        place = middle + step
        cost = max(place @ matrix @ place + 2 * line @ place + q[9], 0)
        cost += pairs.SHORT * np.trace(matrix) * along @ along * (1 + pairs._shuffled(one, other))
        costs[one][other] = costs[other][one] = cost
    return costs
