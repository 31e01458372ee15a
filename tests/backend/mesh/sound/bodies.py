"""Closed meshes to check and to damage."""

from __future__ import annotations

import numpy as np

CUBE = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], np.float32)
SQUARES = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
SIDES = np.array([t for a, b, c, d in SQUARES for t in ((a, b, c), (a, c, d))])

Arrays = tuple[np.ndarray, np.ndarray]


def ball(radius: float = 0.4, centre: tuple[float, float, float] = (0.0, 0.0, 0.0), rounds: int = 3) -> Arrays:
    """An octahedron whose faces are divided in four, ``rounds`` times, and drawn onto a sphere: 8 * 4^rounds faces."""
    points = [np.array(p, float) for p in ((1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1))]
    faces = [(0, 2, 4), (2, 1, 4), (1, 3, 4), (3, 0, 4), (2, 0, 5), (1, 2, 5), (3, 1, 5), (0, 3, 5)]
    for _ in range(rounds):
        middles: dict[tuple[int, int], int] = {}

        def middle(a: int, b: int, middles: dict[tuple[int, int], int] = middles) -> int:
            edge = (min(a, b), max(a, b))
            if edge not in middles:
                point = points[a] + points[b]
                points.append(point / np.linalg.norm(point))
                middles[edge] = len(points) - 1
            return middles[edge]

        divided = []
        for a, b, c in faces:
            p, q, r = middle(a, b), middle(b, c), middle(c, a)
            divided += [(a, p, r), (p, b, q), (r, q, c), (p, q, r)]
        faces = divided
    return (np.array(points) * radius + centre).astype(np.float32), np.array(faces)


def joined(*meshes: Arrays) -> Arrays:
    starts = np.cumsum([0, *(len(vertices) for vertices, _ in meshes[:-1])])
    faces = [faces + start for (_, faces), start in zip(meshes, starts, strict=True)]
    return np.concatenate([vertices for vertices, _ in meshes]), np.concatenate(faces)
