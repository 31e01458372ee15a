"""Vectors as tuples of three float64, for compiled loops."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .compiled import inlined

Vector = tuple[Any, Any, Any]  # np.float64, which mypy does not accept as float


@inlined
def vector(rows: np.ndarray, row: int) -> Vector:
    """One row of an array [N, 3]."""
    return np.float64(rows[row, 0]), np.float64(rows[row, 1]), np.float64(rows[row, 2])


@inlined
def corners_of(rows: np.ndarray, faces: np.ndarray, face: int) -> tuple[Vector, Vector, Vector]:
    """The rows of an array [V, 3] at the corners of one of faces [F, 3]."""
    return vector(rows, faces[face, 0]), vector(rows, faces[face, 1]), vector(rows, faces[face, 2])


@inlined
def mixed(weights: Vector, a: Vector, b: Vector, c: Vector) -> Vector:
    """The sum of three vectors times their weights."""
    r, s, t = weights
    return r * a[0] + s * b[0] + t * c[0], r * a[1] + s * b[1] + t * c[1], r * a[2] + s * b[2] + t * c[2]


@inlined
def minus(a: Vector, b: Vector) -> Vector:
    """a - b."""
    return a[0] - b[0], a[1] - b[1], a[2] - b[2]


@inlined
def plus(a: Vector, factor: float, b: Vector) -> Vector:
    """a + factor b."""
    return a[0] + factor * b[0], a[1] + factor * b[1], a[2] + factor * b[2]


@inlined
def dot(a: Vector, b: Vector) -> float:
    """The dot product of two vectors."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@inlined
def cross(a: Vector, b: Vector) -> Vector:
    """The cross product of two vectors."""
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]


@inlined
def unit(a: Vector) -> Vector:
    """The vector scaled to length 1; 0 stays 0."""
    length = math.sqrt(dot(a, a))
    scale = 1.0 / length if length > 0 else 0.0
    return a[0] * scale, a[1] * scale, a[2] * scale


#: The arc cosine of x >= 0 is a polynomial with these coefficients, times the root of 1 - x, within 2e-8 (Abramowitz
#: and Stegun 1964, 4.4.46): five times as fast as the library's.
ARCCOSINE = (
    -0.0012624911,
    0.0066700901,
    -0.0170881256,
    0.0308918810,
    -0.0501743046,
    0.0889789874,
    -0.2145988016,
    1.5707963050,
)


@inlined
def angle(a: Vector, b: Vector) -> float:
    """The angle between two vectors in radians; 0 if one of them is 0."""
    scale = math.sqrt(dot(a, a) * dot(b, b))
    cosine = min(max(dot(a, b) / scale, -1.0), 1.0) if scale > 0 else 1.0
    x, total = abs(cosine), 0.0
    for factor in ARCCOSINE:
        total = total * x + factor
    total *= math.sqrt(1.0 - x)
    return total if cosine >= 0 else math.pi - total
