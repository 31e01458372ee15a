"""What is looked for around vertices is found, however many faces they have, and soon."""

from __future__ import annotations

import numpy as np
import pytest

from backend.mesh import Mesh
from backend.mesh.base.projection import Projector
from backend.mesh.base.rings import FEW, rings_around, rings_of
from backend.mesh.base.topology import twins
from backend.mesh.clean import pairs
from backend.mesh.clean.cleanup import _repeated
from backend.mesh.clean.cluster import Contraction
from tests.backend.mesh.sound.bodies import Arrays, ball
from tests.backend.mesh.test_pairs import plain_costs


def spindle(sides: int) -> Arrays:
    """A closed double cone, whose tips, the first and the last vertex, are corners of so many faces each."""
    turn = 2 * np.pi * np.arange(sides) / sides
    rim = np.stack([np.cos(turn), np.sin(turn), np.zeros(sides)], axis=1)
    here = 1 + np.arange(sides)
    beside = 1 + (np.arange(sides) + 1) % sides
    lower = np.stack([np.zeros(sides, np.int64), beside, here], axis=1)
    upper = np.stack([here, beside, np.full(sides, sides + 1)], axis=1)
    return np.concatenate([[[0, 0, -1]], rim, [[0, 0, 1]]]).astype(np.float32), np.concatenate([lower, upper])


MESHES = [ball(rounds=3), spindle(5), spindle(4 * FEW), spindle(60_000)]


@pytest.mark.parametrize("made", MESHES, ids=["ball", "few", "many", "very many"])
def test_the_face_across_an_edge_is_found_around_any_vertex(made: Arrays) -> None:
    vertices, faces = made
    tree = Projector(Mesh(vertices, faces, None)).tree
    expected = twins(tree.faces).reshape(-1, 3) // 3
    assert np.array_equal(tree.across, expected)
    assert np.array_equal(tree.faces, faces[tree.order])


@pytest.mark.parametrize("made", MESHES, ids=["ball", "few", "many", "very many"])
def test_repetitions_are_found_around_any_vertex(made: Arrays) -> None:
    vertices, faces = made
    rng = np.random.default_rng(0)
    again = rng.choice(len(faces), 9, replace=False)
    turned = np.roll(faces[again], 1, axis=1)
    flipped = faces[rng.choice(len(faces), 9)][:, ::-1]  # the backs of faces are other faces
    more = np.concatenate([faces, turned, flipped, np.repeat(faces[:1], 20_000, axis=0)])
    found = _repeated(np.ascontiguousarray(more), rings_of(np.ascontiguousarray(more), len(vertices)))
    expected = np.zeros(len(more), bool)
    expected[len(faces) : len(faces) + 9] = True
    expected[len(faces) + 18 :] = True
    expected[len(faces) + 9 : len(faces) + 18] = [
        any((flipped[k] == row).all() for row in flipped[:k]) for k in range(9)
    ]
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("made", MESHES, ids=["ball", "few", "many", "very many"])
def test_both_ends_of_an_edge_know_what_its_contraction_costs(made: Arrays) -> None:
    vertices, faces = made
    rings = rings_around(Mesh(vertices, faces, None))
    planes = np.random.default_rng(0).normal(size=(len(vertices), 5, 4))
    products = np.einsum("vpi,vpj->vij", planes, planes)
    quadrics = products[:, [0, 0, 0, 1, 1, 2, 0, 1, 2, 3], [0, 1, 2, 1, 2, 2, 3, 3, 3, 3]]
    costs = np.full(len(rings.nexts), np.inf)
    pairs._fill_costs(vertices, quadrics, rings, costs, 0, len(vertices))
    assert np.isfinite(costs).all()
    owner = np.repeat(np.arange(len(vertices)), np.diff(rings.begins))
    low, high = np.minimum(owner, rings.nexts), np.maximum(owner, rings.nexts)
    order = np.lexsort((high, low))
    one, other = costs[order][::2], costs[order][1::2]
    assert np.array_equal(one, other)
    if len(vertices) < 1_000:
        mesh = Contraction(vertices, faces, rings, quadrics, np.empty((0, 4)))
        expected = plain_costs(mesh)
        for slot in range(len(costs)):
            assert costs[slot] == pytest.approx(expected[owner[slot]][rings.nexts[slot]])
