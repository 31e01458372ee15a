"""The shape of a triangle."""

from __future__ import annotations

import math

import numpy as np

from ..base.compiled import compiled
from ..base.vectors import Vector, corners_of, cross, dot, minus

#: A face whose height is less than this share of its longest edge is a needle.
NEEDLE = 1e-4


@compiled
def slimness(a: Vector, b: Vector, c: Vector) -> float:
    """The height of a triangle as a share of its longest edge, from 0 to 0.87; 0 if it is a point."""
    ab, bc, ca = minus(b, a), minus(c, b), minus(a, c)
    longest = max(dot(ab, ab), dot(bc, bc), dot(ca, ca))
    normal = cross(ab, bc)
    return math.sqrt(dot(normal, normal)) / longest if longest > 0 else 0.0


def needles(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """[F] bool: faces that use a vertex twice or are lower than ``NEEDLE`` times their longest edge."""
    return np.asarray(_needles(np.ascontiguousarray(vertices, np.float32), np.ascontiguousarray(faces, np.int64)))


@compiled
def _needles(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    result = np.empty(len(faces), np.bool_)
    for face in range(len(faces)):
        a, b, c = corners_of(vertices, faces, face)
        result[face] = slimness(a, b, c) < NEEDLE
    return result
