"""Finished surfaces are closed: two faces at each edge, whatever collapsing edges has left."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.mesh.clean.manifold import _drawn_in, manifold
from backend.mesh.clean.simplify import simplify
from backend.mesh.extract.flexicubes import extract_mesh
from tests.backend.shells import chair, features_of, raw_of, sphere

CUBE = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], np.float32)
SQUARES = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
SIDES = np.array([t for a, b, c, d in SQUARES for t in ((a, b, c), (a, c, d))])


def faces_at_edges(faces: np.ndarray) -> dict[tuple[int, int], list[int]]:
    """For each edge the ways that its faces run along it, one by one."""
    found: dict[tuple[int, int], list[int]] = {}
    for face in faces.tolist():
        for start, end in zip(face, face[1:] + face[:1], strict=True):
            found.setdefault((min(start, end), max(start, end)), []).append(1 if start < end else -1)
    return found


def is_closed(faces: np.ndarray) -> bool:
    return all(sorted(ways) == [-1, 1] for ways in faces_at_edges(faces).values())


def volume(vertices: np.ndarray, faces: np.ndarray) -> float:
    a, b, c = vertices[faces].astype(np.float64).transpose(1, 0, 2)
    return float((np.cross(a, b) * c).sum() / 6)


def welded(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vertices at one place made one."""
    places, vertex = np.unique(vertices, axis=0, return_inverse=True)
    return places, vertex.reshape(-1)[faces]


def test_the_sides_of_a_cube_are_seen_from_outside() -> None:
    assert is_closed(SIDES)
    assert volume(CUBE, SIDES) == pytest.approx(1)


@pytest.mark.parametrize("count", [2, 3])
def test_bodies_that_touch_in_an_edge_are_parted(count: int) -> None:
    """Cubes around one edge, in every second quarter or third of a turn: none of them is joined to another."""
    turn = np.arange(count) * 2 * np.pi / count
    turned = [
        CUBE @ np.array([[np.cos(a), np.sin(a), 0], [-np.sin(a), np.cos(a), 0], [0, 0, 1]]).round(6) for a in turn
    ]
    vertices, faces = welded(
        np.concatenate(turned).astype(np.float32), np.concatenate([SIDES + 8 * n for n in range(count)])
    )
    assert not is_closed(faces)
    parted, made = manifold(vertices, faces)
    assert is_closed(made)
    assert len(parted) == 8 * count
    assert volume(parted, made) == pytest.approx(count, abs=1e-5)
    assert np.allclose(parted[made], vertices[faces])


def test_faces_back_to_back_go() -> None:
    flap = np.array([[0, 1, 8], [1, 0, 8]])
    vertices = np.concatenate([CUBE, [[0.5, 0.5, 3]]]).astype(np.float32)
    kept, made = manifold(vertices, np.concatenate([SIDES, flap]))
    assert len(made) == len(SIDES)
    assert len(kept) == 8, "and the vertex that only they had"
    assert is_closed(made)


def test_of_equal_faces_one_stays() -> None:
    _, made = manifold(CUBE, np.concatenate([SIDES, SIDES[3:4]]))
    assert len(made) == len(SIDES)
    assert is_closed(made)


def test_two_faces_are_nothing() -> None:
    vertices, faces = manifold(CUBE, np.array([[0, 1, 2], [2, 1, 0]]))
    assert vertices.shape == (0, 3)
    assert faces.shape == (0, 3)


def test_three_faces_at_an_edge_stay_together() -> None:
    faces = np.array([[0, 1, 2], [0, 1, 4], [0, 1, 7]])
    vertices, made = manifold(CUBE, faces)
    assert len(vertices) == 5
    assert np.allclose(vertices[made], CUBE[faces])


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 400))
def test_whatever_is_collapsed_stays_closed_and_something_is_left(seed: int, target: int) -> None:
    inside = np.random.default_rng(seed).random((7, 7, 7)) < 0.35
    inside[[0, -1]] = inside[:, [0, -1]] = inside[:, :, [0, -1]] = False
    raw = raw_of(torch.from_numpy(inside)).numpy()
    if not len(raw.faces):
        return
    vertices, faces = simplify(raw.vertices, raw.faces.astype(np.int64), target)
    assert len(faces) >= 4
    ways = faces_at_edges(faces).values()
    assert all(len(one) == 2 for one in ways)
    assert len(np.unique(faces)) == len(vertices)


@pytest.mark.parametrize("target", [1, 4, 10, 60])
@pytest.mark.parametrize("distance", [sphere, chair])
def test_few_faces_are_still_a_closed_object(distance: object, target: int) -> None:
    raw = extract_mesh(*features_of(distance, 32), 32).numpy()  # type: ignore[arg-type]
    vertices, faces = simplify(raw.vertices, raw.faces.astype(np.int64), target)
    assert is_closed(faces)
    assert volume(vertices, faces) > 0


@pytest.mark.parametrize("width", [20, 90, 170, 190, 270, 340])
def test_a_vertex_on_an_edge_is_drawn_into_its_body(width: float) -> None:
    """Rounded in another place and size, it would else lie in the other body at that edge."""
    for first in range(0, 360, 40):
        ways = np.radians([first, first - width])
        c, d = np.stack([np.cos(ways), np.sin(ways), [0.3, 0.6]], axis=1)
        x, y, z = _drawn_in(np.array([(0, 0, 0), (0, 0, 1), c, d]))
        behind = (first - np.degrees(np.arctan2(y, x))) % 360
        assert 0 < behind < width
        assert 0.001 < np.hypot(x, y) < 0.05
        assert z == pytest.approx(0.5, abs=0.05)
