"""Take the light out of a picture: one distant light and the same from everywhere, bounded, with robust errors.

The picture is taken as colour times shade, in its own sRGB values: a factor of linear light is a factor of its power,
too. The shade of a surface that the light meets squarely is the ``gain``; a surface turned away has (1 - ``direct``) of
that (Lambert's law).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ..base.compiled import compiled, in_strips, inlined
from ..base.vectors import Vector

GAIN, GAIN_SPREAD = 1.05, 0.1  # what a gain is expected to be: pictures are exposed for their bright side
MAX_DIRECT = 0.65
TOLERATED = 0.05  # of squared colour differences: larger ones count ever less (Geman and McClure 1987)
CELLS = 24  # along each side of the histogram of colours
SURE = 0.02  # shades around a pixel that differ by less are taken as one
STRIP = 32  # rows that one thread does at a time
TRIES = 9  # shades that are tried for a pixel
REACH = 0.016  # how far edges of shape and picture may be apart, in the side of the picture


class Light(NamedTuple):
    """One distant light and the same from everywhere."""

    direction: np.ndarray  # [3] unit vector towards it, in the object's axes
    direct: float  # the share of it that a surface turned away does not get
    gain: float  # the shade of a surface that it meets squarely

    def shade(self, normals: np.ndarray) -> np.ndarray:
        """The shade [...] of surfaces with normals [..., 3]."""
        return self.gain * (1 - self.direct + self.direct * np.maximum(normals @ self.direction, 0))


def fit(normals: np.ndarray, colors: np.ndarray, picture: np.ndarray, axes: np.ndarray) -> Light:
    """The light with which the predicted colours come nearest to the picture.

    Args:
        normals, colors, picture: [P, 3] of pixels that show the object.
        axes: [3, 3] the camera's right, up and forward.
    """
    pixels = [np.ascontiguousarray(values, np.float32) for values in (normals, colors, picture)]
    view = np.array([axes[0], axes[1], -axes[2]])

    def best(directions: np.ndarray, direct: np.ndarray, gain: np.ndarray) -> Light:
        costs = np.empty((len(directions), len(direct), len(gain)))
        _costs(*pixels, directions @ view, direct, gain, costs)
        d, k, g = np.unravel_index(int(np.argmin(costs)), costs.shape)
        return Light(directions[d] @ view, float(direct[k]), float(gain[g]))

    found = best(_around(), np.linspace(0, 0.6, 7), np.linspace(0.9, 1.2, 4))
    for step in (0.25, 0.1):
        turns = step * np.stack(np.meshgrid(*[(-1, 0, 1)] * 3), axis=-1).reshape(-1, 3)
        directions = view @ found.direction + turns
        directions[:, 2] = np.maximum(directions[:, 2], 0.02)  # from the camera's side
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        near = step * np.linspace(-0.24, 0.24, 5)
        found = best(directions, np.clip(found.direct + near, 0, MAX_DIRECT), found.gain + near)
    return found


def _around() -> np.ndarray:
    """Directions [D, 3] on the camera's side: right, up and toward it."""
    result = []
    for z in (1.0, 0.85, 0.6, 0.35, 0.1):
        r = math.sqrt(1 - z * z)
        count = max(1, round(12 * r))
        for i in range(count):
            turn = 2 * math.pi * i / count
            result.append((r * math.cos(turn), r * math.sin(turn), z))
    return np.array(result)


@compiled
def _costs(
    normals: np.ndarray,
    colors: np.ndarray,
    picture: np.ndarray,
    directions: np.ndarray,
    direct: np.ndarray,
    gain: np.ndarray,
    costs: np.ndarray,
) -> None:
    """Fill in the costs [D, K, G] of lights from each direction, with each share and each gain."""
    for d in range(len(directions)):
        for k in range(len(direct)):
            for g in range(len(gain)):
                total = 0.0
                for p in range(len(normals)):
                    facing = 0.0
                    for c in range(3):
                        facing += normals[p, c] * directions[d, c]
                    shade = gain[g] * (1 - direct[k] + direct[k] * max(facing, 0.0))
                    error = 0.0
                    for c in range(3):
                        error += (picture[p, c] - colors[p, c] * shade) ** 2
                    total += error / (error + TOLERATED)
                off = (gain[g] - GAIN) / GAIN_SPREAD
                costs[d, k, g] = total / max(len(normals), 1) + 0.001 * off * off


def albedo(
    picture: np.ndarray, shade: np.ndarray, shown: np.ndarray, check: Callable[[], None] = lambda: None
) -> np.ndarray:
    """The colours [S, S, 3] of a picture [S, S, 3] without its shade.

    Edges of shape and picture are never quite in the same place, and a dark side under a bright side's shade would get
    a rim. So each pixel takes one of the shades around it: the one that makes its colour the most frequent in the
    picture. Few colours explain most pictures (Shen and Yeo 2011, "Intrinsic images decomposition using a local and
    global sparse representation of reflectance").

    Args:
        picture: float32 in 0..1.
        shade: [N, N], that of the shape as the camera sees it; N may be smaller than S.
        shown: [N, N] bool, where it is known.
        check: raises to cancel.
    """
    from scipy import ndimage  # lazily: it takes long to load, and most jobs do without

    size = len(shade)
    reach = 2 * max(1, round(REACH * size)) + 1
    low = ndimage.minimum_filter(np.where(shown, shade, np.inf), reach)
    high = ndimage.maximum_filter(np.where(shown, shade, -np.inf), reach)
    known = np.isfinite(low)
    low, high = np.where(known, low, 1.0), np.where(known, high, 1.0)
    middle = np.where(shown, shade, (low + high) / 2)
    shades = [np.ascontiguousarray(values, np.float32) for values in (low, high, middle)]
    histogram = np.zeros((CELLS,) * 3, np.float32)
    check()
    _count(picture, *shades, shown, histogram)
    histogram = ndimage.gaussian_filter(histogram, 0.8, mode="constant")
    frequent = np.log(histogram / max(float(histogram.max()), 1e-9) + 1e-3).astype(np.float32)
    result = np.empty_like(picture)

    def choose(first: int, last: int) -> None:
        check()
        _choose(picture, *shades, frequent, result, first, last)

    in_strips(choose, len(picture), STRIP)
    return result


@compiled
def _count(
    picture: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    middle: np.ndarray,
    shown: np.ndarray,
    histogram: np.ndarray,
) -> None:
    """Count the colours without shade, [C, C, C]; those where the shade is not sure count less."""
    size, side = len(picture), len(low)
    for row in range(size):
        for column in range(size):
            i, j = row * side // size, column * side // size
            if shown[i, j]:
                x, y, z = _cell(picture, row, column, middle[i, j])
                histogram[int(x + 0.5), int(y + 0.5), int(z + 0.5)] += math.exp(-8.0 * (high[i, j] - low[i, j]))


@inlined
def _cell(picture: np.ndarray, row: int, column: int, shade: float) -> Vector:
    """Where the colour of a pixel without its shade is in the histogram."""
    most = CELLS - 1.001
    x, y, z = picture[row, column, 0] / shade, picture[row, column, 1] / shade, picture[row, column, 2] / shade
    return min(x, 1.0) * most, min(y, 1.0) * most, min(z, 1.0) * most


@compiled
def _choose(
    picture: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    middle: np.ndarray,
    frequent: np.ndarray,
    result: np.ndarray,
    first: int,
    last: int,
) -> None:
    """Fill in some rows of the result of ``albedo``. frequent: [C, C, C], logarithms of frequencies."""
    size, side = len(picture), len(low)
    for row in range(first, last):
        for column in range(size):
            i, j = row * side // size, column * side // size
            best, chosen = -np.inf, np.float64(middle[i, j])
            spread = np.float64(high[i, j]) - low[i, j]
            for step in range(TRIES if spread > SURE else 0):
                shade = low[i, j] + spread * step / (TRIES - 1)
                x, y, z = _cell(picture, row, column, shade)
                a, b, c = int(x), int(y), int(z)
                value = -0.5 * ((shade - middle[i, j]) / spread) ** 2
                for corner in range(8):
                    da, db, dc = corner & 1, corner >> 1 & 1, corner >> 2
                    weight = abs(1 - da - x + a) * abs(1 - db - y + b) * abs(1 - dc - z + c)
                    value += weight * frequent[a + da, b + db, c + dc]
                if value > best:
                    best, chosen = value, shade
            for k in range(3):
                result[row, column, k] = min(picture[row, column, k] / chosen, 1.0)
