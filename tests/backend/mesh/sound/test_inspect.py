"""The certificate of meshes with one fault each."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace

import numpy as np
import pytest

from backend.certificate import Certificate
from backend.mesh.sound.inspect import Edges, inspect, welded

from .bodies import CUBE, SIDES, ball, joined


def wrong(found: Certificate) -> tuple[str, ...]:
    return found.problems()


def test_a_cube_is_sound() -> None:
    found = inspect(CUBE, SIDES, np.full((12, 3, 2), 0.5, np.float32))
    assert replace(found, volume=round(found.volume, 6), area=round(found.area, 6)) == Certificate(
        faces=12,
        vertices=8,
        shells=1,
        watertight=True,
        manifold=True,
        outward=True,
        volume=1.0,
        area=6.0,
        largest_hole=0.0,
        duplicates=0,
        degenerate=0,
        crossing=0,
        hidden=0,
        crumbs=0,
        uvs_inside=True,
    )
    assert found.sound
    assert wrong(found) == ()


def test_lengths_are_scaled() -> None:
    found = inspect(CUBE, SIDES[1:]).scaled(2)
    assert found.area == pytest.approx(22)
    assert found.largest_hole == pytest.approx(2 * (2 + 2**0.5))
    assert inspect(CUBE, SIDES).scaled(2).volume == pytest.approx(8)


def test_a_hole_is_measured() -> None:
    vertices, faces = ball()
    ring = np.flatnonzero((faces == 0).any(axis=1))
    found = inspect(vertices, np.delete(faces, [*ring, 300], axis=0))
    border = [set(face) - {0} for face in faces[ring].tolist()]
    length = sum(float(np.linalg.norm(vertices[a] - vertices[b])) for a, b in map(sorted, border))
    assert wrong(found) == ("the surface is open",)
    assert found.clean
    assert found.largest_hole == pytest.approx(length, rel=1e-6)
    assert found.volume == 0


def test_vertices_at_one_place_are_one() -> None:
    vertices, faces = ball()
    apart = vertices[faces].reshape(-1, 3)
    found = inspect(apart, np.arange(len(apart)).reshape(-1, 3))
    assert found.sound
    assert found.vertices == len(vertices)


def test_a_ball_inside_out_is_named() -> None:
    vertices, faces = ball()
    assert wrong(inspect(vertices, faces[:, ::-1])) == ("faces are turned inward",)


def test_one_face_inside_out_opens_nothing_but_is_named() -> None:
    vertices, faces = ball()
    faces[7] = faces[7, ::-1]
    found = inspect(vertices, faces)
    assert not found.outward
    assert not found.watertight
    assert found.largest_hole == 0


def test_shells_in_each_other() -> None:
    outer, inner, core = ball(0.4), ball(0.3), ball(0.2)
    beside = ball(0.05, (0.45, 0.45, 0.45), 1)
    solid = inspect(*joined(outer, inner, core, beside))
    assert (solid.shells, solid.hidden) == (4, 2)
    assert not solid.outward  # the wall of a cavity looks into it
    cavity = inspect(*joined(outer, (inner[0], inner[1][:, ::-1]), core, beside))
    assert cavity.outward
    assert wrong(cavity) == ("there are walls inside",)


def test_faces_that_are_there_twice() -> None:
    vertices, faces = ball()
    for again in (faces[3, [1, 2, 0]], faces[3, ::-1]):
        found = inspect(vertices, np.concatenate([faces, again[None]]))
        assert found.duplicates == 1
        assert not found.manifold


def test_needles() -> None:
    vertices, faces = ball()
    a, b, c = faces[5]
    vertices[c] = vertices[a] * np.float32(0.5) + vertices[b] * np.float32(0.5) + np.array([0, 0, 1e-7], np.float32)
    found = inspect(vertices, faces)
    assert found.degenerate >= 1
    assert "faces have no area" in wrong(found)
    assert inspect(vertices, np.concatenate([faces, [[1, 1, 2]]])).degenerate >= 2


def test_bodies_that_share_an_edge_or_a_vertex() -> None:
    for shift in ((1, 1, 0), (1, 1, 1)):
        found = inspect(*joined((CUBE, SIDES), (CUBE + np.array(shift, np.float32), SIDES)))
        assert not found.manifold
        assert found.watertight == (shift == (1, 1, 1))


def test_bodies_that_cross() -> None:
    found = inspect(*joined(ball(), ball(0.4, (0.3, 0.02, 0.01))))
    assert wrong(found) == ("faces cross",)
    assert found.crossing > 20


def test_crumbs() -> None:
    far, near = ball(0.01, (0.48, 0.48, 0.48), 0), ball(0.02, (0.43, 0, 0), 1)
    assert wrong(inspect(*joined(ball(), far))) == ("crumbs float around it",)
    assert inspect(*joined(ball(), near)).sound


def test_uvs() -> None:
    uvs = np.full((12, 3, 2), 0.5, np.float32)
    for bad in (-0.01, 1.01, np.nan):
        uvs[3, 1, 0] = bad
        assert wrong(inspect(CUBE, SIDES, uvs)) == ("UVs are outside",)


def test_nothing_is_not_sound() -> None:
    assert not inspect(np.empty((0, 3), np.float32), np.empty((0, 3), np.int64)).sound


@pytest.mark.parametrize("seed", range(20))
def test_edges_are_those_of_the_plain_reference(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(4, 12))
    faces = np.array([rng.choice(count, 3, replace=False) for _ in range(int(rng.integers(1, 25)))])
    edges = Edges(faces, count)
    uses: dict[frozenset[int], list[tuple[int, int]]] = defaultdict(list)
    for number, face in enumerate(faces.tolist()):
        for k in range(3):
            uses[frozenset((face[k], face[(k + 1) % 3]))].append((number, face[k]))
    assert edges.open == sum(len(found) == 1 for found in uses.values())
    assert edges.crowded == sum(len(found) > 2 for found in uses.values())
    assert edges.opposed == sum(len(found) == 2 and found[0][1] == found[1][1] for found in uses.values())
    # Fans: the faces of a vertex, joined across its edges with two faces.
    fans = 0
    for vertex in np.unique(faces).tolist():
        left = {number for number, face in enumerate(faces.tolist()) if vertex in face}
        while left:
            fans, ready = fans + 1, [left.pop()]
            while ready:
                face = ready.pop()
                for edge, found in uses.items():
                    around = {number for number, _ in found}
                    if vertex in edge and len(found) == 2 and face in around and around & left:
                        ready += around & left
                        left -= around
    assert edges.fans == fans


def test_welding_joins_only_the_same_places() -> None:
    rng = np.random.default_rng(0)
    vertices = rng.integers(0, 3, (60, 3)).astype(np.float32) * np.array([1, -1, 1], np.float32)
    faces = rng.integers(0, 60, (30, 3))
    points, found = welded(vertices, faces)
    assert np.array_equal(points[found], vertices[faces])
    assert max(Counter(map(tuple, points.tolist())).values()) == 1
    assert len(np.unique(found)) == len(points)
