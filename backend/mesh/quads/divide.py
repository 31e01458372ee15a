"""Divide long edges, so that a surface is fine enough for a lattice on it."""

from __future__ import annotations

import numpy as np


def divided(vertices: np.ndarray, faces: np.ndarray, longest: float) -> tuple[np.ndarray, np.ndarray]:
    """Divide edges in their middle until none is longer than ``longest``.

    Args:
        vertices: [V, 3].
        faces: [F, 3] int64.
        longest: in the vertices' unit.

    Returns:
        Vertices [V', 3] float64, the given ones first, and faces [F', 3] on the same surface.
    """
    vertices = np.asarray(vertices, np.float64)
    while True:
        start, end = faces, faces[:, [1, 2, 0]]
        long = np.linalg.norm(vertices[start] - vertices[end], axis=2) > longest
        if not long.any():
            return vertices, faces
        keys = (np.minimum(start, end) * len(vertices) + np.maximum(start, end))[long]
        edges, numbers = np.unique(keys, return_inverse=True)
        middles = np.full(faces.shape, -1)
        middles[long] = len(vertices) + numbers
        ends = edges // len(vertices), edges % len(vertices)
        vertices = np.concatenate([vertices, (vertices[ends[0]] + vertices[ends[1]]) / 2])
        faces = _cut(vertices, faces, middles)


def _cut(vertices: np.ndarray, faces: np.ndarray, middles: np.ndarray) -> np.ndarray:
    """Faces cut at the middles [F, 3] of their edges, -1 for edges that stay whole."""
    count = (middles >= 0).sum(axis=1)
    # Each face is turned so that an edge that is cut comes first and, of two, the whole one last.
    first = np.where(count == 2, np.argmin(middles, axis=1) + 1, np.argmax(middles >= 0, axis=1))
    turn = (first[:, None] + np.arange(3)) % 3
    corners, cuts = np.take_along_axis(faces, turn, 1), np.take_along_axis(middles, turn, 1)
    parts = [faces[count == 0]]
    (a, b, c), (x, _, _) = corners[count == 1].T, cuts[count == 1].T
    parts += [np.stack(part, axis=1) for part in ((a, x, c), (x, b, c))]
    (a, b, c), (x, y, _) = corners[count == 2].T, cuts[count == 2].T
    across = np.linalg.norm(vertices[a] - vertices[y], axis=1) < np.linalg.norm(vertices[x] - vertices[c], axis=1)
    parts.append(np.stack((x, b, y), axis=1))
    parts.append(np.where(across[:, None], np.stack((a, x, y), axis=1), np.stack((a, x, c), axis=1)))
    parts.append(np.where(across[:, None], np.stack((a, y, c), axis=1), np.stack((x, y, c), axis=1)))
    (a, b, c), (x, y, z) = corners[count == 3].T, cuts[count == 3].T
    parts += [np.stack(part, axis=1) for part in ((a, x, z), (x, b, y), (z, y, c), (x, y, z))]
    return np.concatenate(parts)
