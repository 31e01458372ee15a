"""A surface remeshed with quads."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from .. import Mesh
from ..base.topology import connected, twins
from .divide import divided
from .fields import Lattice
from .graph import levels
from .polygons import Polygons
from .quotient import quotient
from .regular import improve
from .relax import relaxed, untangled

TRIES = 3
PASSES = 2  # of making faces regular and laying them out
MARGIN = 0.99  # how much below the target the next try aims
FINE = 0.5  # how long an edge of the divided surface may be, in sides of a quad
SHARP = math.cos(math.radians(50))  # an edge is sharp if the normals of its faces differ by more
LINE = 12.0  # how long the sharp edges must be that hang together, in sides of a quad: others are noise
STRAIGHT = math.cos(math.radians(40))  # how much a sharp edge may bend where the lattice follows it


class QuadMesh(NamedTuple):
    """A mesh of quads with some triangles among them."""

    vertices: np.ndarray  # [V, 3] float32
    faces: np.ndarray  # [F, 3] int64: two triangles for each quad, (a, b, c) and (a, c, d), and then the others
    quads: int
    sound: bool  # no faces cross, and none is a needle


def remeshed(
    vertices: np.ndarray, faces: np.ndarray, target: int, check: Callable[[], None] = lambda: None
) -> QuadMesh:
    """Cover a surface with quads along its curvature and sharp edges.

    Args:
        vertices: [V, 3] float32.
        faces: [F, 3] int64, at most two at each edge, which agree, and one fan at each vertex.
        target: an upper bound for the number of triangles that the quads and triangles are.
        check: called often; it raises to cancel.

    Returns:
        The mesh; closed if the given one was. It may have more faces than ``target`` if that is very small.
    """
    wanted = target / 2
    for _ in range(TRIES):
        made = _remeshed(vertices, faces, wanted, check)
        if len(made.faces) <= target:
            break
        wanted *= MARGIN * target / len(made.faces)
    return made


def _remeshed(vertices: np.ndarray, faces: np.ndarray, wanted: float, check: Callable[[], None]) -> QuadMesh:
    corners = vertices[faces].astype(np.float64)
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1).sum() / 2
    side = math.sqrt(area / wanted)
    fine, fine_faces = divided(vertices, faces, FINE * side)
    check()
    lines, sharp = sharp_edges(fine, fine_faces, LINE * side)
    lattice = Lattice(levels(fine, fine_faces), side, lines, check)
    coarse = quotient(fine, fine_faces, lattice, lines, sharp, check)
    polygons = Polygons.of(coarse.points, coarse.faces, coarse.diagonal, coarse.sharp)
    surface = Mesh(vertices, faces, None)
    for _ in range(PASSES):  # faces that are even allow what slim ones did not
        improve(polygons, check)
        quads, triangles = polygons.faces()
        coarse.points[:] = relaxed(coarse.points, quads, triangles, coarse.sharp, surface, check)
    points = coarse.points
    used = np.zeros(len(points), bool)
    used[quads] = used[triangles] = True
    points, number = points[used].astype(np.float32), np.cumsum(used) - 1
    halves = _halved(points, number[quads], number[triangles])
    made = np.concatenate([halves.reshape(-1, 3), number[triangles]])
    points, sound = untangled(points, made, check)
    return QuadMesh(points, made, len(halves), sound)


def _halved(points: np.ndarray, quads: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Two triangles for each quad [Q, 2, 3], along the shorter diagonal unless an edge or another diagonal is there."""
    sides = np.concatenate([part for faces in (quads, triangles) for part in _sides(faces)])
    edges = _keys(sides, len(points))
    diagonals = quads[:, [0, 2]], quads[:, [1, 3]]
    lengths = [np.linalg.norm(points[ends[:, 0]] - points[ends[:, 1]], axis=1) for ends in diagonals]
    keys = [_keys(ends, len(points)) for ends in diagonals]
    second = lengths[1] < lengths[0]
    chosen = np.where(second, keys[1], keys[0])
    _, number, count = np.unique(chosen, return_inverse=True, return_counts=True)
    second ^= (count[number] > 1) | np.isin(chosen, edges)
    a, b, c, d = np.where(second[:, None], np.roll(quads, -1, axis=1), quads).T
    return np.stack([np.stack([a, b, c], axis=1), np.stack([a, c, d], axis=1)], axis=1)


def _sides(faces: np.ndarray) -> list[np.ndarray]:
    return [faces[:, [k, (k + 1) % faces.shape[1]]] for k in range(faces.shape[1])]


def _keys(ends: np.ndarray, count: int) -> np.ndarray:
    """A number for each edge [E, 2], the same in both directions."""
    return np.asarray(ends.min(axis=1) * count + ends.max(axis=1))


def sharp_edges(vertices: np.ndarray, faces: np.ndarray, shortest: float) -> tuple[np.ndarray, np.ndarray]:
    """The directions [V, 3] of sharp edges at the points on them, zero elsewhere and where they bend or meet; and which
    points are on any."""
    corners = vertices[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-30)
    twin = twins(faces)
    half = np.flatnonzero(twin > np.arange(len(twin)))
    half = half[(normals[half // 3] * normals[twin[half] // 3]).sum(axis=1) < SHARP]
    flat = faces.reshape(-1)
    start, end = flat[half], flat[half - half % 3 + (half + 1) % 3]
    lengths = np.linalg.norm(vertices[end] - vertices[start], axis=1)
    line = connected(start, end, len(vertices))[start]
    long = np.bincount(line, lengths)[line] > shortest if len(line) else np.zeros(0, bool)
    start, end = start[long], end[long]
    along = vertices[end] - vertices[start]
    along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-30)
    points, tips = np.concatenate([start, end]), np.concatenate([along, -along])
    count = np.bincount(points, minlength=len(vertices))
    # Two edges of a straight line lead to opposite sides: as axes they agree, and so do their outer products.
    first, last = np.zeros((2, len(vertices), 3))
    first[points[::-1]], last[points] = tips[::-1], tips
    straight = (count == 2) & ((first * last).sum(axis=1) < -STRAIGHT)
    lines = np.where(straight[:, None], last - first, 0.0)
    return lines / np.maximum(np.linalg.norm(lines, axis=1, keepdims=True), 1e-30), count > 0
