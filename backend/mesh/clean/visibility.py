"""Which faces of any mesh can be seen from outside, and which side of them is the outer one.

The surface is drawn into a grid, and the grid is flooded from beyond its border. A side of a face can be seen if the
flood reaches a point a little in front of it. It does not reach cavities and the inner walls of shells, whatever the
orientation of the mesh.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from .. import Mesh
from ..base.flood import flood
from ..base.topology import oriented
from .cleanup import select_faces

RESOLUTION = 128  # cells along the longest side of the bounding box
SPACING = 0.4  # in cells, between the points of a face that are drawn into the grid
LOOK_SPACING = 1.5  # in cells, between the points in front of which the flood is looked for
LOOKS = (1.0, 1.5, 2.0)  # in cells: how far in front of a face the flood is looked for
MAX_SAMPLES = 1 << 22  # points at a time


def keep_visible_faces(mesh: Mesh) -> Mesh:
    """Drop the faces of which neither side can be seen, and turn the others outward, patch by patch.

    A gap narrower than a cell counts as closed. If both sides of a patch can be seen, as with an open sheet, it keeps
    the orientation of most of its faces.
    """
    faces, patch = oriented(mesh.faces)
    front, back = seen_sides(mesh.vertices, faces)
    agrees = (faces == mesh.faces).all(axis=1)
    votes = np.bincount(patch, front.astype(np.float64) - back)
    habit = np.bincount(patch, np.where(agrees, 1.0, -1.0))
    turn = np.where(np.abs(votes) > 0, votes < 0, habit < 0)[patch]
    faces = np.where(turn[:, None], faces[:, ::-1], faces)
    return select_faces(replace(mesh, faces=faces), front | back)


def seen_sides(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whether the front [F] bool and the back [F] bool of each face can be seen from outside."""
    low = vertices.min(axis=0)
    cell = max(float((vertices.max(axis=0) - low).max()), 1e-30) / RESOLUTION
    corners = ((vertices - low) / cell + 4).astype(np.float64)[faces]  # four cells of margin
    shape = np.ceil(corners.max(axis=(0, 1))).astype(np.int64) + 5
    outside = _outside(corners, shape)
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    normals /= np.where(length > 0, length, 1)
    seen = [np.zeros(len(faces), dtype=bool) for _ in range(2)]
    for face, points in samples(corners, LOOK_SPACING):
        for side, found in zip((1, -1), seen, strict=True):
            for look in LOOKS:
                x, y, z = (points + side * look * normals[face]).astype(np.int64).T
                found[face[outside[x, y, z]]] = True
    return seen[0], seen[1]


def _outside(corners: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """A bool grid of this shape: the cells outside of the triangles ``corners`` [F, 3, 3]."""
    free = np.ones(shape, dtype=bool)
    for _, points in samples(corners, SPACING):
        x, y, z = points.astype(np.int64).T
        free[x, y, z] = False
    return flood(free)


def samples(corners: np.ndarray, spacing: float) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Points all over triangles [F, 3, 3], at most ``spacing`` apart: batches of faces [P] and points [P, 3]."""
    edges = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).max(axis=1)
    octaves = np.ceil(2 * np.log2(np.maximum(edges / spacing, 1)))
    steps = np.ceil(2 ** (octaves / 2)).astype(np.int64)  # few different values: each makes a batch
    for count in np.unique(steps):
        i, j = np.divmod(np.arange((count + 1) ** 2), count + 1)
        i, j = i[i + j <= count], j[i + j <= count]
        weights = np.stack([i, j, count - i - j], axis=1) / count
        chosen = np.flatnonzero(steps == count)
        for part in np.array_split(chosen, 1 + len(chosen) * len(weights) // MAX_SAMPLES):
            yield np.repeat(part, len(weights)), (weights @ corners[part]).reshape(-1, 3)
