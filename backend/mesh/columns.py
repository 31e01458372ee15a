"""Vectors as columns, [3, N]: each coordinate in one piece of memory, on which numpy computes several times as fast."""

from __future__ import annotations

import numpy as np


def corners_of(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where the three corners of F faces lie, [3, F] each. vertices: [V, 3]; faces: [F, 3]."""
    columns = np.ascontiguousarray(vertices.T)
    first, second, third = (columns.take(faces[:, corner], axis=1) for corner in range(3))
    return first, second, third


def dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """[N] products of columns."""
    return np.asarray(a[0] * b[0] + a[1] * b[1] + a[2] * b[2])


def cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cross products of columns."""
    return np.stack([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]])


def unit(vectors: np.ndarray) -> np.ndarray:
    """Columns of length 1, or 0 where they are 0."""
    length = np.sqrt(dot(vectors, vectors))
    return np.asarray(vectors / np.where(length > 0, length, 1))
