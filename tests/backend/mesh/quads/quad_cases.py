"""Surfaces to lay quads on, and what a mesh of quads is judged by."""

from __future__ import annotations

import numpy as np
import trimesh

Mesh = tuple[np.ndarray, np.ndarray]


def box(extents: tuple[float, float, float]) -> Mesh:
    made = trimesh.creation.box(extents=extents)
    return made.vertices.astype(np.float32), made.faces.astype(np.int64)


def ball(radius: float = 0.5) -> Mesh:
    made = trimesh.creation.icosphere(subdivisions=4, radius=radius)
    return made.vertices.astype(np.float32), made.faces.astype(np.int64)


def torus() -> Mesh:
    made = trimesh.creation.torus(0.35, 0.13, major_sections=64, minor_sections=32)
    return made.vertices.astype(np.float32), made.faces.astype(np.int64)


def square(cells: int) -> Mesh:
    """A flat open square, one unit wide, in the XY plane."""
    y, x = np.mgrid[0 : cells + 1, 0 : cells + 1] / cells
    vertices = np.stack([x, y, np.zeros_like(x)], axis=2).reshape(-1, 3).astype(np.float32)
    a = (np.arange(cells)[:, None] * (cells + 1) + np.arange(cells)).reshape(-1)
    b, c, d = a + 1, a + cells + 2, a + cells + 1
    return vertices, np.concatenate([np.stack([a, b, c], axis=1), np.stack([a, c, d], axis=1)])


def area(vertices: np.ndarray, faces: np.ndarray) -> float:
    a, b, c = (vertices[faces[:, k]].astype(np.float64) for k in range(3))
    return float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2)


def quads_of(faces: np.ndarray, count: int) -> np.ndarray:
    """[Q, 4] the corners of the quads that pairs of triangles are."""
    one, other = faces[0 : 2 * count : 2], faces[1 : 2 * count : 2]
    assert np.array_equal(one[:, [0, 2]], other[:, [0, 1]])
    return np.concatenate([one, other[:, 2:]], axis=1)


def corner_angles(vertices: np.ndarray, quads: np.ndarray) -> np.ndarray:
    """[Q, 4] in degrees."""
    corners = vertices[quads].astype(np.float64)
    back, on = np.roll(corners, 1, axis=1) - corners, np.roll(corners, -1, axis=1) - corners
    lengths = np.linalg.norm(back, axis=2) * np.linalg.norm(on, axis=2)
    return np.degrees(np.arccos(np.clip((back * on).sum(axis=2) / lengths, -1, 1)))
