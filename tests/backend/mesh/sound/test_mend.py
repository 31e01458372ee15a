"""Mending, and collapses that are looked at before: the surface stays one, and sound."""

from __future__ import annotations

import numpy as np
import pytest

from backend.mesh.clean.simplify import ENOUGH, Simplified, simplified
from backend.mesh.sound.careful import collapsed
from backend.mesh.sound.inspect import Edges, inspect
from backend.mesh.sound.links import compact, linked
from backend.mesh.sound.links import meetings as meetings_of
from backend.mesh.sound.mend import faults, mended, parted
from backend.mesh.sound.patch import patched

from .bodies import Arrays, ball, joined


def euler(vertices: np.ndarray, faces: np.ndarray) -> int:
    edges = np.unique(np.sort(faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1), axis=0)
    return len(vertices) - len(edges) + len(faces)


def torus(thin: float = 0.08, around: int = 60, across: int = 20) -> Arrays:
    a, b = np.meshgrid(np.arange(around), np.arange(across), indexing="ij")
    u, v = a * 2 * np.pi / around, b * 2 * np.pi / across
    radius = 0.3 + thin * np.cos(v)
    points = np.stack([radius * np.cos(u), radius * np.sin(u), thin * np.sin(v)], axis=-1).reshape(-1, 3)
    here, right = a * across + b, (a + 1) % around * across + b
    up, both = a * across + (b + 1) % across, (a + 1) % around * across + (b + 1) % across
    faces = np.concatenate([np.stack([here, right, both], -1), np.stack([here, both, up], -1)]).reshape(-1, 3)
    return points.astype(np.float32), faces


def plate(thin: float, side: int = 25) -> Arrays:
    """Two wavy sheets close to each other, with a rim: a closed body that simplifying likes to fold."""
    x, y = np.meshgrid(*[np.linspace(-0.4, 0.4, side)] * 2, indexing="ij")
    z = 0.05 * np.sin(12 * x) * np.cos(9 * y)
    top = np.stack([x, y, z + thin / 2], axis=-1).reshape(-1, 3)
    i, j = (part.reshape(-1) for part in np.meshgrid(*[np.arange(side - 1)] * 2, indexing="ij"))
    here = i * side + j
    quads = np.stack([here, here + side, here + side + 1, here + 1], axis=1)
    faces = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    rim = [*range(0, side * side - side, side), *range(side * side - side, side * side - 1)]
    rim += [*range(side * side - 1, side - 1, -side), *range(side - 1, 0, -1)]
    one, two = np.array(rim), np.roll(rim, -1)
    wall = np.concatenate([np.stack([one, one + side**2, two], 1), np.stack([two, one + side**2, two + side**2], 1)])
    below = faces[:, ::-1] + side**2
    return np.concatenate([top, top - [0, 0, thin]]).astype(np.float32), np.concatenate([faces, below, wall])


BODIES = {
    "ball": ball(rounds=4),
    "torus": torus(),
    "plate": plate(0.01),
    "foil": plate(0.002),
    "two": joined(ball(), ball(0.2, (0.62, 0, 0))),
}


@pytest.mark.parametrize("target", [600, 100, 30])
@pytest.mark.parametrize("name", BODIES)
def test_careful_collapses_keep_a_body_sound(name: str, target: int) -> None:
    vertices, faces = BODIES[name]
    before = inspect(vertices, faces)
    assert before.sound
    made = collapsed(vertices, faces, target)
    found = inspect(*made)
    assert found.sound
    assert euler(*made) == euler(vertices, faces)
    if name in ("ball", "torus") and target >= 100:
        assert found.volume == pytest.approx(before.volume, rel=0.1)
    if target >= 100:
        assert ENOUGH * target <= len(made[1]) <= target


@pytest.mark.parametrize("target", [600, 100, 30])
@pytest.mark.parametrize("name", BODIES)
def test_what_is_simplified_is_sound_and_has_as_many_faces_as_asked_for(name: str, target: int) -> None:
    made = simplified(*BODIES[name], target)
    assert made.sound
    assert inspect(made.vertices, made.faces).sound
    assert len(made.faces) <= target or name in ("foil", "two")
    assert len(made.faces) >= ENOUGH * target


def test_an_open_sheet_stays_open_and_keeps_its_border() -> None:
    vertices, faces = plate(0.01)
    flat = vertices[:625] * np.array([1, 1, 0], np.float32)
    sheet = faces[(faces < 625).all(axis=1)]
    made = collapsed(flat, sheet, 50)
    found = inspect(*made)
    assert wrong_but_open(found.problems())
    assert found.largest_hole == pytest.approx(3.2, rel=1e-3)
    assert found.area == pytest.approx(0.64, rel=1e-3)
    assert len(made[1]) <= 50


def wrong_but_open(problems: tuple[str, ...]) -> bool:
    return problems == ("the surface is open",)


def test_the_same_mesh_gives_the_same_bytes() -> None:
    one, other = (collapsed(*BODIES["torus"], 100) for _ in range(2))
    assert one[0].tobytes() == other[0].tobytes()
    assert one[1].tobytes() == other[1].tobytes()


def test_collapses_are_cancelled() -> None:
    calls: list[None] = []

    def check() -> None:
        calls.append(None)
        if len(calls) == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        collapsed(*BODIES["ball"], 100, check)


def test_a_sound_mesh_is_left_alone() -> None:
    vertices, faces = BODIES["torus"]
    made = mended(vertices, faces)
    assert made.sound
    assert made.vertices is vertices
    assert parted(vertices, faces)[1] is faces


@pytest.mark.parametrize("seed", range(5))
def test_vertices_at_one_place_and_needles_are_mended(seed: int) -> None:
    rng = np.random.default_rng(seed)
    vertices, faces = ball(rounds=4)
    vertices = vertices.copy()
    for face in rng.choice(len(faces), 6, replace=False):
        a, b, c = faces[face]
        if rng.random() < 0.5:
            vertices[a] = vertices[b]
        else:
            vertices[c] = (vertices[a] + vertices[b]) / 2
    assert not inspect(vertices, faces).sound
    made = mended(vertices, faces)
    made = made if made.sound else patched(made.vertices, made.faces)
    assert made.sound
    assert inspect(made.vertices, made.faces).sound
    assert len(made.faces) >= len(faces) - 60


def test_bodies_that_touch_in_a_vertex_are_drawn_apart() -> None:
    one, other = ball(), ball(0.4, (0.8, 0.0, 0.0))
    vertices, faces = joined(one, other)
    faces[faces == len(one[0]) + 1] = 0  # the first one's rightmost vertex is the other's leftmost
    assert not inspect(vertices, faces).manifold
    vertices, faces = parted(vertices, faces)
    assert Edges(faces, len(vertices)).fans == len(vertices) == 2 * len(one[0])
    made = mended(vertices, faces)
    assert made.sound
    found = inspect(made.vertices, made.faces)
    assert found.sound
    assert found.shells == 2
    assert found.volume == pytest.approx(2 * inspect(*one).volume, rel=0.01)


def test_a_shell_that_nobody_sees_goes_however_large_it_is() -> None:
    whole = Simplified(*joined(ball(0.4), ball(0.38, (0.0, 0.0, 0.0), 2)), sound=True)
    assert "there are walls inside" in inspect(whole.vertices, whole.faces).problems()
    left = whole.without_scraps()
    assert len(left.faces) == len(ball(0.4)[1])
    assert inspect(left.vertices, left.faces).sound


def test_what_is_beyond_mending_is_said() -> None:
    vertices, faces = joined(ball(), ball(0.4, (0.3, 0.02, 0.01)))
    made = mended(vertices, faces)
    assert not made.sound
    assert len(faults(made.vertices, made.faces))


def test_meetings_are_those_of_the_search_for_pairs() -> None:
    vertices, faces = joined(ball(), ball(0.4, (0.3, 0.02, 0.01)))
    links = linked(vertices, faces)
    found = [face for face in range(len(faces)) if meetings_of(links, face, 1)]
    assert found == faults(vertices, faces).tolist()
    assert np.array_equal(compact(links)[1], faces)
