"""Which faces of any mesh can be seen from outside, and which side of them is the outer one.

The surface is drawn into a grid, and the grid is flooded from beyond its border. A side of a face is seen if the flood
is met a little way before it. Cavities and the inner walls of shells stay dry, whatever the mesh's orientation.
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
SPACING = 0.4  # between the points of a face that are drawn into the grid, in cells
LOOK_SPACING = 1.5  # between those that one looks from
LOOKS = (1.0, 1.5, 2.0)  # how far before a face the flood is looked for, in cells
MOST_SAMPLES = 1 << 22  # at a time


def keep_visible_faces(mesh: Mesh) -> Mesh:
    """Drop the faces that neither side of can be seen, and turn the others outward, patch by patch.

    A gap narrower than a cell counts as closed. Where both sides of a patch can be seen, as of an open sheet, it keeps
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
    """[F] bool each: whether the front and the back of each face can be seen from outside."""
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
    """Bool grid of what lies outside of the triangles ``corners`` [F, 3, 3]."""
    free = np.ones(shape, dtype=bool)
    for _, points in samples(corners, SPACING):
        x, y, z = points.astype(np.int64).T
        free[x, y, z] = False
    return flood(free)


def samples(corners: np.ndarray, spacing: float) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Points all over triangles [F, 3, 3], at most ``spacing`` apart: pairs of faces [P] and points [P, 3]."""
    edges = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).max(axis=1)
    octaves = np.ceil(2 * np.log2(np.maximum(edges / spacing, 1)))
    steps = np.ceil(2 ** (octaves / 2)).astype(np.int64)  # few different ones: each is a batch
    for count in np.unique(steps):
        i, j = np.divmod(np.arange((count + 1) ** 2), count + 1)
        i, j = i[i + j <= count], j[i + j <= count]
        weights = np.stack([i, j, count - i - j], axis=1) / count
        chosen = np.flatnonzero(steps == count)
        for part in np.array_split(chosen, 1 + len(chosen) * len(weights) // MOST_SAMPLES):
            yield np.repeat(part, len(weights)), (weights @ corners[part]).reshape(-1, 3)
