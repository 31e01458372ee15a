"""Quadrics: sums of squared distances from planes, as a function of a place (Garland and Heckbert 1997).

A quadric is ten numbers: xx, xy, xz, yy, yz, zz of a symmetric matrix A, three of a vector b, and c. Its value at p is
p A p + 2 b p + c.
"""

from __future__ import annotations

import numpy as np

from .compiled import compiled
from .vectors import Vector


@compiled
def weakness(q: np.ndarray, share: float) -> float:
    """How much staying in place counts, as a ``share`` of what staying in the planes does."""
    return share * (q[0] + q[3] + q[5]) / 3 + 1e-30


@compiled
def way_to_least(q: np.ndarray, start: Vector, weak: float) -> Vector:
    """The way from ``start`` to where the quadric, plus ``weak`` times the squared way, is least; 0 if nowhere is."""
    x, y, z = start
    a, b, c, d, e, f = q[0] + weak, q[1], q[2], q[3] + weak, q[4], q[5] + weak
    # In coordinates from the start s: (A + weak) p = -(A s + b).
    gx = -(q[0] * x + q[1] * y + q[2] * z + q[6])
    gy = -(q[1] * x + q[3] * y + q[4] * z + q[7])
    gz = -(q[2] * x + q[4] * y + q[5] * z + q[8])
    i, j, k = d * f - e * e, c * e - b * f, b * e - c * d
    det = a * i + b * j + c * k
    if not det > 0:
        return np.float64(0.0), np.float64(0.0), np.float64(0.0)
    return (
        (i * gx + j * gy + k * gz) / det,
        (j * gx + (a * f - c * c) * gy + (b * c - a * e) * gz) / det,
        (k * gx + (b * c - a * e) * gy + (a * d - b * b) * gz) / det,
    )


@compiled
def value_at(q: np.ndarray, place: Vector) -> float:
    """The value of a quadric at a place, at least 0."""
    x, y, z = place
    value = (
        x * (q[0] * x + 2 * (q[1] * y + q[2] * z + q[6]))
        + y * (q[3] * y + 2 * (q[4] * z + q[7]))
        + z * (q[5] * z + 2 * q[8])
        + q[9]
    )
    return max(value, 0.0)
