"""The steps of remeshing, each beside a plain reference."""

from __future__ import annotations

import math

import numpy as np
import pytest
import trimesh

from backend.mesh.quads.divide import divided
from backend.mesh.quads.fields import Lattice
from backend.mesh.quads.graph import COARSEST, levels
from backend.mesh.quads.polygons import Polygons
from backend.mesh.quads.quads import sharp_edges
from backend.mesh.quads.quotient import quotient
from backend.mesh.quads.regular import improve
from tests.backend.mesh.quads.quad_cases import area, ball, box, square, torus


@pytest.mark.parametrize("shape", [ball(), box((0.9, 0.5, 0.3)), square(3)])
def test_dividing_keeps_the_surface(shape: tuple[np.ndarray, np.ndarray]) -> None:
    vertices, faces = divided(*shape, 0.05)
    ends = vertices[faces]
    assert np.linalg.norm(ends - np.roll(ends, -1, axis=1), axis=2).max() <= 0.05
    assert np.array_equal(vertices[: len(shape[0])], shape[0])
    assert area(vertices, faces) == pytest.approx(area(*shape), rel=1e-6)
    made, given = (trimesh.Trimesh(*mesh, process=False) for mesh in ((vertices, faces), shape))
    assert made.euler_number == given.euler_number
    assert made.is_winding_consistent == given.is_winding_consistent


def test_levels_stand_for_the_whole_surface() -> None:
    vertices, faces = ball()
    found = levels(vertices.astype(np.float64), faces)
    assert len(found[-1].points) <= max(COARSEST, 10)
    for level in found:
        assert level.areas.sum() == pytest.approx(found[0].areas.sum())
        assert np.allclose(np.linalg.norm(level.normals, axis=1), 1)
    # Of the finest: the normals of a ball, and each edge both ways.
    outward = vertices / np.linalg.norm(vertices, axis=1, keepdims=True)
    assert (found[0].normals * outward).sum(axis=1).min() > 0.999
    starts = np.repeat(np.arange(len(vertices)), np.diff(found[0].begins))
    pairs = set(zip(starts.tolist(), found[0].neighbours.tolist(), strict=True))
    plain = {(a, b) for face in faces.tolist() for a, b in zip(face, face[1:] + face[:1], strict=True)}
    assert pairs == plain | {(b, a) for a, b in plain}
    # A coarser one: neighbours are those whose points were, with as many edges between them.
    first, second = found[0], found[1]
    ends = first.parents[starts], first.parents[first.neighbours]
    expected: dict[tuple[int, int], float] = {}
    for a, b in zip(ends[0].tolist(), ends[1].tolist(), strict=True):
        if a != b:
            expected[a, b] = expected.get((a, b), 0.0) + 1
    above = np.repeat(np.arange(len(second.points)), np.diff(second.begins))
    assert (
        dict(zip(zip(above.tolist(), second.neighbours.tolist(), strict=True), second.weights.tolist(), strict=True))
        == expected
    )


def lattice_on(shape: tuple[np.ndarray, np.ndarray], side: float) -> tuple[Lattice, np.ndarray, np.ndarray]:
    vertices, faces = divided(*shape, side / 2)
    return Lattice(levels(vertices, faces), side, np.zeros_like(vertices)), vertices, faces


def test_a_lattice_on_a_plane_is_one_lattice() -> None:
    """All directions are quarter turns of one, and all positions are whole steps apart."""
    lattice, _, _ = lattice_on(square(2), 0.1)
    angles = np.arctan2(lattice.directions[:, 1], lattice.directions[:, 0]) % (math.pi / 2)
    turns = np.exp(4j * angles)
    assert np.abs(turns - turns.mean()).max() < 0.05
    off = (lattice.positions - lattice.positions[0]) @ np.stack([lattice.directions[0], [0, 0, 1] @ np.eye(3)], axis=1)
    steps = off[:, 0] / 0.1
    assert np.abs(steps - np.round(steps)).max() < 0.15


def test_steps_between_neighbours_are_small_and_the_same_both_ways() -> None:
    lattice, vertices, _ = lattice_on(torus(), 0.04)
    steps, misses = lattice.steps()
    assert steps.max() <= 1
    starts = np.repeat(np.arange(len(vertices)), np.diff(lattice.level.begins))
    keys, back = starts * len(vertices) + lattice.level.neighbours, lattice.level.neighbours * len(vertices) + starts
    other = np.searchsorted(keys, back)
    assert np.mean(np.sort(steps, axis=1) == np.sort(steps[other], axis=1)) > 0.995
    assert np.median(misses) < 0.1


def test_a_quotient_is_a_surface_of_the_same_genus() -> None:
    for shape, euler in ((ball(), 2), (torus(), 0)):
        lattice, vertices, faces = lattice_on(shape, 0.05)
        lines, sharp = np.zeros_like(vertices), np.zeros(len(vertices), bool)
        coarse = quotient(vertices, faces, lattice, lines, sharp, lambda: None)
        made = trimesh.Trimesh(coarse.points, coarse.faces, process=False)
        assert made.is_watertight
        assert made.euler_number == euler
        assert len(coarse.faces) < 0.2 * len(faces)


def test_sharp_edges_of_a_box_are_its_edges() -> None:
    vertices, faces = divided(*box((0.9, 0.5, 0.3)), 0.05)
    lines, sharp = sharp_edges(vertices, faces, 0.5)
    on_edge = (np.isclose(np.abs(vertices), [0.45, 0.25, 0.15]).sum(axis=1)) >= 2
    assert np.array_equal(sharp, on_edge)
    corners = np.isclose(np.abs(vertices), [0.45, 0.25, 0.15]).all(axis=1)
    assert np.array_equal(lines.any(axis=1), on_edge & ~corners)
    assert np.allclose(np.abs(lines).max(axis=1)[on_edge & ~corners], 1)
    assert not sharp_edges(*divided(*ball(), 0.05), 0.5)[1].any()
    assert not sharp_edges(vertices, faces, 100.0)[1].any()  # shorter than what counts


def test_diagonals_go_and_a_vertex_between_two_quads_too() -> None:
    """Four squares in triangles; in one of them is a vertex that only two of its corners lead to without diagonals."""
    vertices, faces = square(2)
    vertices = np.concatenate([vertices, [[0.13, 0.13, 0]]]).astype(np.float64)
    middle, others = len(vertices) - 1, [face for face in faces.tolist() if set(face) - {0, 1, 3, 4}]
    made = np.array([[0, 1, middle], [1, 4, middle], [4, 3, middle], [3, 0, middle], *others])
    ends = np.stack([made, np.roll(made, -1, axis=1)], axis=2)
    is_diagonal = (np.abs(np.diff(vertices[ends], axis=2)[..., 0, :2]) > 0.4).all(axis=2)
    is_diagonal |= (np.sort(ends, axis=2) == [0, middle]).all(axis=2) | (np.sort(ends, axis=2) == [4, middle]).all(
        axis=2
    )
    mesh = Polygons.of(vertices, made, is_diagonal, np.zeros(len(vertices), bool))
    assert [len(faces) for faces in mesh.faces()] == [5, 0]
    improve(mesh, lambda: None)
    quads, triangles = mesh.faces()
    assert [len(quads), len(triangles)] == [4, 0]
    assert middle not in quads
    assert area(vertices, np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])) == pytest.approx(1)


def test_edges_between_sharp_points_stay() -> None:
    vertices, faces = square(4)
    sharp = np.ones(len(vertices), bool)
    mesh = Polygons.of(vertices.astype(np.float64), faces, np.zeros(faces.shape, bool), sharp)
    improve(mesh, lambda: None)
    assert len(mesh.faces()[0]) == 0
    assert len(mesh.faces()[1]) == len(faces)


def ring_of_quads(long: int = 24, round_: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """A torus of squares, four at each vertex: points [V, 3] and quads [Q, 4]."""
    i, j = np.meshgrid(np.arange(long), np.arange(round_), indexing="ij")
    u, v = 2 * np.pi * i / long, 2 * np.pi * j / round_
    out = 2 + 0.9 * np.cos(v)
    points = np.stack([out * np.cos(u), out * np.sin(u), 0.9 * np.sin(v)], axis=-1).reshape(-1, 3)
    across, up = (i + 1) % long * round_, (j + 1) % round_
    quads = np.stack([i * round_ + j, across + j, across + up, i * round_ + up], axis=-1)
    return points, quads.reshape(-1, 4)


def polygons(points: np.ndarray, quads: np.ndarray) -> Polygons:
    faces = quads[:, [[0, 1, 2], [0, 2, 3]]].reshape(-1, 3)
    diagonal = np.tile([[False, False, True], [True, False, False]], (len(quads), 1))
    return Polygons.of(points, faces, diagonal, np.zeros(len(points), bool))


def valences(mesh: Polygons) -> np.ndarray:
    """The number of edges at each vertex that is used, counted anew; each edge has to be there in both directions."""
    sides = {
        (int(face[k]), int(face[(k + 1) % size]))
        for face, size in zip(mesh.corners, mesh.sizes, strict=True)
        for k in range(size)
    }
    assert len(sides) == mesh.sizes.sum()
    assert {(b, a) for a, b in sides} == sides
    counts = np.bincount([a for a, _ in sides], minlength=len(mesh.points))
    np.testing.assert_array_equal(counts, mesh.valence)
    return np.asarray(counts[counts > 0])


def test_a_quad_between_two_halves_of_a_vertex_goes() -> None:
    points, quads = ring_of_quads()
    middle, below, above = 5 * 12 + 5, 5 * 12 + 4, 5 * 12 + 6
    step = (points[middle + 12] - points[middle - 12]) * 0.2
    quads[(quads == middle).any(axis=1) & (quads == middle + 12).any(axis=1)] = [
        np.where(quad == middle, len(points), quad) for quad in quads if middle in quad and middle + 12 in quad
    ]
    points = np.concatenate([points, points[middle : middle + 1] + step])
    points[middle] -= step
    mesh = polygons(points, np.concatenate([quads, [[middle, below, len(points) - 1, above]]]))
    assert sorted(valences(mesh))[-2:] == [5, 5]
    improve(mesh, lambda: None)
    assert {*valences(mesh).tolist()} == {4}
    assert [len(faces) for faces in mesh.faces()] == [24 * 12, 0]


def test_an_edge_turns_to_where_it_was() -> None:
    points, quads = ring_of_quads()
    a, b = quads[40], quads[41]  # b lies above a: they share the edge from a[3] to a[2]
    assert (a[3], a[2]) == (b[0], b[1])
    quads[40], quads[41] = [a[0], a[1], a[2], b[2]], [a[0], b[2], b[3], a[3]]
    mesh = polygons(points, quads)
    assert sorted(valences(mesh))[-2:] == [5, 5]
    improve(mesh, lambda: None)
    assert {*valences(mesh).tolist()} == {4}


@pytest.mark.parametrize("seed", range(3))
def test_whatever_is_improved_stays_a_closed_surface(seed: int) -> None:
    points, quads = ring_of_quads()
    rng = np.random.default_rng(seed)
    faces = np.where(
        rng.random(len(quads))[:, None, None] < 0.5, quads[:, [[0, 1, 2], [0, 2, 3]]], quads[:, [[0, 1, 3], [1, 2, 3]]]
    )
    marked = rng.random((2 * len(quads), 3)) < 0.3
    sharp = rng.random(len(points)) < 0.1
    mesh = Polygons.of(points + rng.normal(0, 0.12, points.shape), faces.reshape(-1, 3), marked, sharp)
    before = np.abs(valences(mesh) - 4).sum()
    improve(mesh, lambda: None)
    after = valences(mesh)
    assert np.abs(after - 4).sum() < before
    assert len(after) - mesh.sizes.sum() // 2 + (mesh.sizes > 0).sum() == 0  # of a torus
    used = np.unique(mesh.corners[mesh.sizes > 0])
    assert {*np.flatnonzero(sharp)} <= {*used.tolist()}
