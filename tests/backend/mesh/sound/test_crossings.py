"""Which faces meet, compared with exact fractions."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest

from backend.mesh.sound.crossings import MOST, crossings

Point = tuple[Fraction, ...]


def minus(a: Point, b: Point) -> Point:
    return tuple(x - y for x, y in zip(a, b, strict=True))


def dot(a: Point, b: Point) -> Fraction:
    return sum((x * y for x, y in zip(a, b, strict=True)), Fraction(0))


def cross(a: Point, b: Point) -> Point:
    return (a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0])


def segment_meets(p: Point, q: Point, triangle: list[Point]) -> bool:
    """Clip the segment p + t (q - p), t from 0 to 1, by the plane and the three edges of the triangle."""
    a, b, c = triangle
    normal = cross(minus(b, a), minus(c, a))
    low, high = Fraction(0), Fraction(1)
    along = minus(q, p)
    walls = [(normal, a), (tuple(-x for x in normal), a)]
    walls += [(cross(normal, minus(end, start)), start) for start, end in ((a, b), (b, c), (c, a))]
    for wall, place in walls:  # points with dot(wall, x - place) >= 0 stay
        start, slope = dot(wall, minus(p, place)), dot(wall, along)
        if slope == 0:
            if start < 0:
                return False
        elif slope > 0:
            low = max(low, -start / slope)
        else:
            high = min(high, -start / slope)
    return low <= high


def meet(one: list[int], other: list[int], points: list[Point]) -> bool:
    shared = sorted(set(one) & set(other))
    if len(shared) == 3:
        return True
    first, second = [points[i] for i in one], [points[i] for i in other]
    if len(shared) == 2:
        a, b = (points[i] for i in shared)
        c, d = (points[next(i for i in face if i not in shared)] for face in (one, other))
        left, right = cross(minus(b, a), minus(c, a)), cross(minus(b, a), minus(d, a))
        return not any(cross(left, right)) and dot(left, right) > 0
    if len(shared) == 1:
        ends = [[points[i] for i in face if i not in shared] for face in (one, other)]
        (a, b), (c, d) = ends
        return segment_meets(a, b, second) or segment_meets(c, d, first)
    edges = [(a, b, second) for a, b in combinations(first, 2)] + [(a, b, first) for a, b in combinations(second, 2)]
    return any(segment_meets(*edge) for edge in edges)


def soup(rng: np.random.Generator, lattice: bool) -> tuple[np.ndarray, np.ndarray]:
    """Triangles between few vertices, with area: in general position, or flat, touching and folded ones in plenty."""
    count = 14
    if lattice:
        places = rng.permutation(64)[:count]
        vertices = np.stack([places // 16, places // 4 % 4, places % 4], axis=1) / 8
    else:
        vertices = rng.random((count, 3))
    vertices = vertices.astype(np.float32)
    faces = np.array([rng.choice(count, 3, replace=False) for _ in range(40)])
    a, b, c = vertices[faces].astype(np.float64).transpose(1, 0, 2)
    return vertices, faces[np.linalg.norm(np.cross(b - a, c - a), axis=1) > 1e-9]


@pytest.mark.parametrize("lattice", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_faces_that_meet_are_those_of_the_exact_reference(seed: int, lattice: bool) -> None:
    vertices, faces = soup(np.random.default_rng(seed), lattice)
    points = [tuple(Fraction(float(x)) for x in row) for row in vertices]
    expected = [
        (i, j) for i, j in combinations(range(len(faces)), 2) if meet(faces[i].tolist(), faces[j].tolist(), points)
    ]
    assert len(expected) > 10
    assert [tuple(pair) for pair in crossings(vertices, faces).tolist()] == expected


def sheet(side: int, height: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """A flat square of 2 (side - 1)^2 faces in the plane z = height, over 0..1."""
    x, y = np.meshgrid(*[np.linspace(0, 1, side)] * 2, indexing="ij")
    vertices = np.stack([x, y, np.full_like(x, height)], axis=-1).reshape(-1, 3).astype(np.float32)
    i, j = (part.reshape(-1) for part in np.meshgrid(*[np.arange(side - 1)] * 2, indexing="ij"))
    here = i * side + j
    quads = np.stack([here, here + side, here + side + 1, here + 1], axis=1)
    return vertices, np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])


def test_a_flat_surface_does_not_meet_itself() -> None:
    assert not len(crossings(*sheet(40)))
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    vertices, faces = sheet(40)
    assert not len(crossings((vertices @ turn).astype(np.float32), faces))


def test_two_sheets_that_cross_meet_along_a_line() -> None:
    vertices, faces = sheet(21)
    wall = vertices[:, [0, 2, 1]] + np.array([0, 0.512, -0.51], np.float32)
    pairs = crossings(np.concatenate([vertices, wall]), np.concatenate([faces, faces + len(vertices)]))
    assert len(pairs)
    assert (pairs[:, 0] < len(faces)).all()
    assert (pairs[:, 1] >= len(faces)).all()
    middle = np.concatenate([vertices, wall])[np.concatenate([faces, faces + len(vertices)])[pairs]].mean(axis=(1, 2))
    assert np.abs(middle[:, 1] - 0.512).max() < 0.05


def test_many_crossing_faces_take_bounded_memory() -> None:
    count = 3000
    vertices = np.random.default_rng(0).random((3 * count, 3)).astype(np.float32)
    faces = np.arange(3 * count).reshape(-1, 3)
    some = count // 10
    share = len(crossings(vertices[: 3 * some], faces[:some])) / (some * (some - 1) / 2)
    assert share * count * (count - 1) / 2 > 1.5 * MOST * count  # far more than are kept
    assert count < len(crossings(vertices, faces)) <= MOST * count


def test_a_search_is_cancelled() -> None:
    def check() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        crossings(*sheet(5), check)
