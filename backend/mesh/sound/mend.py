"""Mend a mesh where it is unsound, by small steps: short edges are collapsed, and vertices drawn away from others."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ..base.compiled import compiled
from ..base.topology import fans, twins
from ..base.vectors import corners_of, dot, minus, plus, vector
from .careful import SLIM, TURN
from .crossings import crossings
from .links import MOST, Links, collapse, compact, linked, meetings, move, nearness, star
from .shape import NEEDLE, needles, slimness

ROUNDS = 4
SHORT = 0.05  # an edge below this share of a needle's longest is collapsed; else a corner is moved
STEPS = (0.01, 0.05, 0.2)  # how far a vertex is drawn to the middle of its neighbours
ENOUGH = 64  # meetings of one face that are counted
HOPELESS = 0.2  # with more than this share of faces at fault, nothing is tried


def faults(vertices: np.ndarray, faces: np.ndarray, check: Callable[[], None] = lambda: None) -> np.ndarray:
    """The faces [N], ascending, that are needles or meet others: vertices [V, 3] float32, faces [F, 3] int64."""
    slim = needles(vertices, faces)
    whole = np.flatnonzero(~slim)
    pairs = crossings(vertices, faces[whole], check, nearness(vertices))
    slim[whole[pairs.reshape(-1)]] = True
    return np.flatnonzero(slim)


class Mended(NamedTuple):
    """A mesh: vertices [V, 3] float32 and faces [F, 3] int64."""

    vertices: np.ndarray
    faces: np.ndarray
    sound: bool  # no face is a needle or meets others


def mended(vertices: np.ndarray, faces: np.ndarray, check: Callable[[], None] = lambda: None) -> Mended:
    """Mend needles and faces that meet, where small steps can.

    Args:
        vertices: [V, 3] float32.
        faces: [F, 3] int64, at most two at each edge, which agree, and one fan at each vertex.
        check: called often; it raises to cancel.

    A step looks at the faces that it changes, and those that it does not change can meet only these. So at the end only
    the faces that were at fault or have changed are looked at again.
    """
    bad = faults(vertices, faces, check)
    if not len(bad) or len(bad) > HOPELESS * len(faces):
        return Mended(vertices, faces, not len(bad))
    links = linked(vertices, faces)
    for _ in range(ROUNDS):
        check()
        touched, steps = _mend(links, bad)
        bad = _still(links, np.unique(np.concatenate([bad, touched])))
        if not (len(bad) and steps):
            break
    return Mended(*compact(links), not len(bad))


def parted(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mesh with a vertex for each fan of faces: where several fans meet in one, they get copies of it."""
    fan = fans(twins(faces))
    used = np.zeros(len(vertices), bool)
    used[faces] = True
    if int(fan.max(initial=-1)) + 1 == used.sum():
        return vertices, faces
    vertex = np.empty(int(fan.max(initial=-1)) + 1, np.int64)
    vertex[fan] = faces.reshape(-1)
    return vertices[vertex], fan.reshape(-1, 3)


@compiled
def _mend(links: Links, bad: np.ndarray) -> tuple[np.ndarray, int]:
    """Try to mend the faces ``bad`` [N] in place. Returns the faces [M] that have changed, and the number of steps."""
    one, other, steps = np.empty(MOST, np.int64), np.empty(MOST, np.int64), 0
    touched, count = np.empty(2 * MOST * len(bad), np.int64), 0
    for face in bad:
        if not links.alive[face]:
            continue
        if slim_at(links, face) >= NEEDLE and meetings(links, face, 1) == 0:
            continue  # another step has mended it
        short, share = _shortest(links, face)
        vertex = _shrink(links, short, one, other) if share <= SHORT else -1
        if vertex < 0:
            vertex = _draw_away(links, face, one)
        if vertex >= 0:
            steps += 1
            around, _ = star(links, vertex, one)
            for i in range(around):
                touched[count] = one[i] // 3
                count += 1
    return touched[:count].copy(), steps


@compiled
def _still(links: Links, asked: np.ndarray) -> np.ndarray:
    """Those of the faces ``asked`` [N] that are needles or meet others."""
    found, count = np.empty(len(asked), np.int64), 0
    for face in asked:
        if links.alive[face] and (slim_at(links, face) < NEEDLE or meetings(links, face, 1) > 0):
            found[count] = face
            count += 1
    return found[:count].copy()


@compiled
def slim_at(links: Links, face: int) -> float:
    """How slim a face is."""
    a, b, c = corners_of(links.points, links.faces, face)
    return slimness(a, b, c)


@compiled
def _shortest(links: Links, face: int) -> tuple[int, float]:
    """The half-edge at the shortest edge of a face, and its length as a share of the longest edge's."""
    found, least, most = 3 * face, np.inf, 0.0
    for k in range(3):
        a, b = vector(links.points, links.faces[face, k]), vector(links.points, links.faces[face, (k + 1) % 3])
        along = minus(b, a)
        length = np.sqrt(dot(along, along))
        if length < least:
            found, least = 3 * face + k, length
        most = max(most, length)
    return found, least / most if most > 0 else 0.0


@compiled
def _around(links: Links, vertex: int, found: np.ndarray) -> int:
    """How often the faces of a vertex meet others."""
    count, _ = star(links, vertex, found)
    return sum([meetings(links, found[i] // 3, ENOUGH) for i in range(count)])


@compiled
def _shrink(links: Links, half: int, one: np.ndarray, other: np.ndarray) -> int:
    """Collapse an edge, if fewer faces meet then, to its middle or one of its ends. Returns the vertex, or -1."""
    start, end = links.faces[half // 3, half % 3], links.faces[half // 3, (half + 1) % 3]
    before = max(_around(links, start, one) + _around(links, end, other) - 1, 0)
    a, b = vector(links.points, start), vector(links.points, end)
    middle = ((a[0] + b[0]) / 2, (a[1] + b[1]) / 2, (a[2] + b[2]) / 2)
    for most in (0, before):
        for place in (middle, b, a):
            if collapse(links, half, place, one, other, TURN, SLIM, most) >= 0:
                return end
    return -1


@compiled
def _draw_away(links: Links, face: int, one: np.ndarray) -> int:
    """Draw a corner of a face to the middle of its neighbours, if that mends something. Returns the corner, or -1."""
    for step in STEPS:
        for k in range(3):
            vertex = links.faces[face, k]
            before = _around(links, vertex, one)
            count, on_border = star(links, vertex, one)
            if count <= 0 or on_border:
                continue
            x, y, z = 0.0, 0.0, 0.0
            for i in range(count):
                near = vector(links.points, links.faces[one[i] // 3, (one[i] + 1) % 3])
                x, y, z = x + near[0] / count, y + near[1] / count, z + near[2] / count
            old, slim = vector(links.points, vertex), slim_at(links, face)
            place = plus(old, step, minus((x, y, z), old))
            if move(links, vertex, place, one, TURN, SLIM, max(before - 1, 0)):
                if before or (slim_at(links, face) >= NEEDLE > slim):
                    return vertex
                move(links, vertex, old, one, -1.0, 0.0, before)
    return -1
