"""Even faces out on the surface that they stand for, and part those that cross."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .. import Mesh
from ..base.projection import Projector
from ..sound.mend import faults

ROUNDS = 25
UNTANGLING = 12  # rounds


def relaxed(
    points: np.ndarray,
    quads: np.ndarray,
    triangles: np.ndarray,
    sharp: np.ndarray,
    surface: Mesh,
    check: Callable[[], None],
) -> np.ndarray:
    """Points [V, 3] moved and laid on a surface; those that are ``sharp`` [V], or at a border, stay."""
    projector = Projector(surface)
    free = ~sharp & ~_at_border(_edges(quads, triangles), len(points))
    for _ in range(ROUNDS):
        check()
        normals = _normals(points, quads, triangles)
        step = _wanted(points, quads, triangles) - points
        step -= (step * normals).sum(axis=1, keepdims=True) * normals
        moved = (points + step)[free]
        onto = projector.project(moved, normals[free])
        points = points.copy()
        points[free] = onto.interpolate(surface.faces, surface.vertices)
    return points


def _wanted(points: np.ndarray, quads: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Where the faces at each point want it, in the mean: [V, 3]. Each wants to be regular, where it is, as large as it
    is, and turned as little as possible."""
    sums, counts = np.zeros_like(points), np.zeros(len(points))
    for faces in (quads, triangles):
        corners = points[faces]
        size = faces.shape[1]
        middle = corners.mean(axis=1, keepdims=True)
        first = corners[:, 0] - middle[:, 0]
        normal = np.cross(corners - middle, np.roll(corners, -1, axis=1) - middle).sum(axis=1)
        x = first / np.maximum(np.linalg.norm(first, axis=1, keepdims=True), 1e-30)
        y = np.cross(normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-30), x)
        flat = ((corners - middle) * x[:, None]).sum(2) + 1j * ((corners - middle) * y[:, None]).sum(2)
        turns = np.exp(2j * np.pi * np.arange(size) / size)
        regular = (flat * turns.conj()).mean(axis=1, keepdims=True) * turns
        wanted = middle + regular.real[..., None] * x[:, None] + regular.imag[..., None] * y[:, None]
        for k in range(size):
            counts += np.bincount(faces[:, k], minlength=len(points))
            for axis in range(3):
                sums[:, axis] += np.bincount(faces[:, k], wanted[:, k, axis], len(points))
    return np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], points)


def _edges(quads: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """[E, 2] the half-edges of the faces."""
    parts = [np.stack([faces, np.roll(faces, -1, axis=1)], axis=2).reshape(-1, 2) for faces in (quads, triangles)]
    return np.concatenate(parts)


def _at_border(edges: np.ndarray, count: int) -> np.ndarray:
    keys, back = edges[:, 0] * count + edges[:, 1], edges[:, 1] * count + edges[:, 0]
    at_border = np.zeros(count, bool)
    at_border[edges[~np.isin(keys, back)]] = True
    return at_border


def _normals(points: np.ndarray, quads: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Unit normals [V, 3], faces weighted by their areas."""
    normals = np.zeros_like(points)
    for faces in (quads, triangles):
        across = points[faces[:, 2]] - points[faces[:, 0]], points[faces[:, -1]] - points[faces[:, 1]]
        flat = np.cross(*across)
        for k in range(faces.shape[1]):
            for axis in range(3):
                normals[:, axis] += np.bincount(faces[:, k], flat[:, axis], len(points))
    return np.asarray(normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-30))


def untangled(points: np.ndarray, faces: np.ndarray, check: Callable[[], None]) -> tuple[np.ndarray, bool]:
    """Points [V, 3] float32, moved toward the middle of their neighbours where triangles [F, 3] are faulty, and farther
    around the longer it takes; and whether none is faulty any more."""
    points, count = points.copy(), len(points)
    start, end = faces.reshape(-1), faces[:, [1, 2, 0]].reshape(-1)
    counts = np.maximum(np.bincount(start, minlength=count), 1)[:, None]
    for turn in range(UNTANGLING):
        bad = faults(points, faces, check)
        if not len(bad):
            return points, True
        moving = np.zeros(count, bool)
        moving[faces[bad]] = True
        for _ in range(turn // 3):
            moving[faces[moving[faces].any(axis=1)]] = True
        for _ in range(2):
            middle = np.stack([np.bincount(start, points[end, k], count) for k in range(3)], axis=1) / counts
            points[moving] = ((points + middle) / 2)[moving]
    return points, not len(faults(points, faces, check))
