"""Remeshing with quads: how many, how regular, how near to the surface, and that they are one sound surface."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from backend.mesh import Mesh
from backend.mesh.base.projection import Projector
from backend.mesh.quads import quads as module
from backend.mesh.quads.quads import QuadMesh, remeshed
from backend.mesh.sound.inspect import inspect
from tests.backend.mesh.quads.quad_cases import ball, box, corner_angles, quads_of, square, torus

SHAPES = {"box": box((0.9, 0.5, 0.3)), "ball": ball(), "torus": torus()}


def distances(one: trimesh.Trimesh, other: trimesh.Trimesh) -> np.ndarray:
    """The largest distance of 4,000 points on one surface from the other, and that of all but a hundredth."""
    points, face = trimesh.sample.sample_surface(one, 4000, seed=1)
    surface = Mesh(np.asarray(other.vertices, np.float32), np.asarray(other.faces), None)
    nearest = Projector(surface).project(points, one.face_normals[face]).interpolate(surface.faces, surface.vertices)
    return np.quantile(np.linalg.norm(nearest - points, axis=1), [1.0, 0.99])


@pytest.mark.parametrize("name", SHAPES)
def test_quads_are_a_sound_surface_near_the_given_one(name: str) -> None:
    vertices, faces = SHAPES[name]
    made = remeshed(vertices, faces, 3000)
    assert made.sound
    assert inspect(made.vertices, made.faces).problems() == ()
    assert 0.9 * 3000 <= len(made.faces) <= 3000
    given, new = (trimesh.Trimesh(*mesh, process=False) for mesh in ((vertices, faces), (made.vertices, made.faces)))
    assert new.euler_number == given.euler_number
    side = np.sqrt(given.area / 1500)
    largest, most = np.maximum(distances(new, given), distances(given, new))
    assert largest < 0.4 * side
    assert most < 0.15 * side


@pytest.mark.parametrize(
    ("name", "share", "bend", "irregular"), [("box", 0.97, 3, 0.04), ("ball", 0.93, 4, 0.07), ("torus", 0.93, 5, 0.08)]
)
def test_most_faces_are_regular_quads(name: str, share: float, bend: float, irregular: float) -> None:
    made = remeshed(*SHAPES[name], 3000)
    others = len(made.faces) - 2 * made.quads
    assert made.quads / (made.quads + others) >= share
    quads = quads_of(made.faces, made.quads)
    assert np.abs(corner_angles(made.vertices, quads) - 90).mean() < bend
    assert irregularity(made) < irregular


def irregularity(made: QuadMesh) -> float:
    """The share of vertices that have not four edges."""
    quads, triangles = quads_of(made.faces, made.quads), made.faces[2 * made.quads :]
    edges = np.concatenate(
        [faces[:, [k, (k + 1) % faces.shape[1]]] for faces in (quads, triangles) for k in range(faces.shape[1])]
    )
    valence = np.bincount(np.unique(np.sort(edges, axis=1), axis=0).reshape(-1))
    return float((valence[valence > 0] != 4).mean())


def test_sharp_edges_stay_sharp() -> None:
    """Along each edge of a box there are vertices, a side of a quad apart, and its corners are there."""
    extents = np.array([0.9, 0.5, 0.3])
    made = remeshed(*box((0.9, 0.5, 0.3)), 3000)
    off = np.abs(np.abs(made.vertices) - extents / 2)
    on_edge = (np.sort(off, axis=1)[:, :2] < 1e-4).all(axis=1)
    side = np.sqrt(2 * (0.9 * 0.5 + 0.9 * 0.3 + 0.5 * 0.3) / 1500)
    assert on_edge.sum() > 0.85 * 4 * extents.sum() / side
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * extents / 2
    nearest = np.linalg.norm(corners[:, None] - made.vertices, axis=2).min(axis=1)
    assert nearest.max() < 1e-6


def test_a_flat_square_gets_a_grid() -> None:
    made = remeshed(*square(8), 200)
    assert made.sound
    assert np.abs(made.vertices[:, 2]).max() < 1e-6
    quads = quads_of(made.faces, made.quads)
    assert made.quads >= 80
    assert np.median(np.abs(corner_angles(made.vertices, quads) - 90)) < 1


def test_the_same_surface_gives_the_same_bytes() -> None:
    one, other = (remeshed(*SHAPES["torus"], 1000) for _ in range(2))
    assert one.vertices.tobytes() == other.vertices.tobytes()
    assert one.faces.tobytes() == other.faces.tobytes()


@pytest.mark.parametrize("target", [4, 60, 20_000])
def test_any_number_of_faces_can_be_asked_for(target: int) -> None:
    made = remeshed(*SHAPES["ball"], target)
    assert len(made.faces) <= max(target, 60)
    assert len(made.faces) > 0


def test_it_can_be_cancelled_while_it_works() -> None:
    class Cancelled(Exception):
        pass

    calls = 0

    def check() -> None:
        nonlocal calls
        calls += 1
        if calls == 20:
            raise Cancelled

    with pytest.raises(Cancelled):
        remeshed(*SHAPES["ball"], 3000, check)


def folded_pair() -> tuple[np.ndarray, np.ndarray]:
    """Two quads that share two edges, in one plane and its back, as their vertices."""
    points = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0.4, 0.4, 0.3]], np.float32)
    return points, np.array([[0, 1, 2, 4], [0, 4, 2, 3]])


def test_no_two_quads_are_halved_along_the_same_line() -> None:
    points, quads = folded_pair()
    halves = module._halved(points, quads, np.empty((0, 3), np.int64))
    lines = [tuple(sorted(half[0, [0, 2]].tolist())) for half in halves]
    assert len(set(lines)) == 2
    for quad, (one, other) in zip(quads, halves, strict=True):
        assert set(one) | set(other) == set(quad)
