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

GAIN = 1.06  # pictures are exposed for their bright side
GAINS = np.arange(0.8, 1.31, 0.05)  # by which predicted colours may be too dark or too bright, hue by hue
DIRECT, DIRECT_SPREAD, UNUSUAL = 0.45, 0.15, 0.01  # what share is expected, and what another one costs
MAX_DIRECT = 0.65
OTHER_GAIN = 0.002  # what a gain costs that is off by a tenth
HUES = 12  # groups along each of the two axes of hue
TOLERATED = 0.05  # of squared colour differences: larger ones count ever less (Geman and McClure 1987)
DIRECTIONS = 8  # that one thread tries at a time
CELLS = 24  # along each side of the histogram of colours
STRIP = 32  # rows that one thread does at a time
TRIES = 13  # shades that are tried for a pixel
REACH = 0.03  # how far edges of shape and picture may be apart, in the side of the picture
SURE = 0.02  # shades around a pixel that differ by less are taken as one
SHARP = 8.0  # how much less pixels count where the shades around them differ
WAVES = 0.04  # over how much of the picture's side waves of the surface are smoothed
WOBBLE = 0.15  # by how much of itself a shade may be wrong, since the surface is not as smooth as the true one


class Light(NamedTuple):
    """One distant light and the same from everywhere."""

    direction: np.ndarray  # [3] unit vector towards it, in the object's axes
    direct: float  # the share of it that a surface turned away does not get
    gain: float = GAIN  # the shade of a surface that it meets squarely

    def shade(self, normals: np.ndarray) -> np.ndarray:
        """The shade [...] of surfaces with normals [..., 3]."""
        return self.gain * (1 - self.direct + self.direct * np.maximum(normals @ self.direction, 0))


def fit(
    normals: np.ndarray,
    colors: np.ndarray,
    picture: np.ndarray,
    axes: np.ndarray,
    check: Callable[[], None] = lambda: None,
) -> Light:
    """The light with which the predicted colours come nearest to the picture.

    A model is often wrong about how bright a part is, and a part often faces one way. So each hue may be brighter or
    darker than predicted as a whole; what counts is how it changes with the normals.

    Args:
        normals, colors, picture: [P, 3] of pixels that show the object.
        axes: [3, 3] the camera's right, up and forward.
        check: raises to cancel.
    """
    pixels = [np.ascontiguousarray(values, np.float32) for values in (normals, colors, picture)]
    groups = _hues(pixels[2])
    count = int(groups.max(initial=0)) + 1
    view = np.array([axes[0], axes[1], -axes[2]])

    def best(directions: np.ndarray, direct: np.ndarray) -> tuple[np.ndarray, float]:
        costs = np.empty((len(directions), len(direct)))

        def compare(first: int, last: int) -> None:
            check()
            _costs(*pixels, groups, count, directions @ view, direct, GAINS, costs, first, last)

        in_strips(compare, len(directions), DIRECTIONS)
        costs += UNUSUAL * ((direct - DIRECT) / DIRECT_SPREAD) ** 2
        d, k = np.unravel_index(int(np.argmin(costs)), costs.shape)
        return directions[d], float(direct[k])

    towards, share = best(_around(), np.linspace(0.05, MAX_DIRECT, 7))
    for step in (0.25, 0.1):
        turns = step * np.stack(np.meshgrid(*[(-1, 0, 1)] * 3), axis=-1).reshape(-1, 3)
        directions = towards + turns
        directions[:, 2] = np.maximum(directions[:, 2], 0.02)  # from the camera's side
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        near = step * np.linspace(-0.24, 0.24, 5)
        towards, share = best(directions, np.clip(share + near, 0, MAX_DIRECT))
    return Light(towards @ view, share)


def _hues(picture: np.ndarray) -> np.ndarray:
    """The group of like hues of each pixel [P, 3], [P] int64, without gaps."""
    total = picture.sum(axis=1) + 1e-3
    cells = np.minimum((picture[:, :2] / total[:, None] * HUES).astype(np.int64), HUES - 1)
    return np.unique(cells[:, 0] * HUES + cells[:, 1], return_inverse=True)[1]


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
    groups: np.ndarray,
    count: int,
    directions: np.ndarray,
    direct: np.ndarray,
    gains: np.ndarray,
    costs: np.ndarray,
    first: int,
    last: int,
) -> None:
    """Fill in the costs [D, K] of lights from some directions, with each share. Each group has the gain that suits it
    best."""
    odds, totals = np.zeros((count, len(gains))), np.empty((count, len(gains)))
    for p in range(len(groups)):
        for g in range(len(gains)):
            odds[groups[p], g] += OTHER_GAIN * ((gains[g] - GAIN) / 0.1) ** 2
    for d in range(first, last):
        for k in range(len(direct)):
            totals[:] = odds
            for p in range(len(normals)):
                facing, own, product, square = 0.0, 0.0, 0.0, 0.0
                for c in range(3):
                    facing += normals[p, c] * directions[d, c]
                    own += picture[p, c] * picture[p, c]
                    product += picture[p, c] * colors[p, c]
                    square += colors[p, c] * colors[p, c]
                shade = 1 - direct[k] + direct[k] * max(facing, 0.0)
                for g in range(len(gains)):
                    factor = gains[g] * shade
                    error = max(own - 2 * factor * product + factor * factor * square, 0.0)
                    totals[groups[p], g] += error / (error + TOLERATED)
            cost = 0.0
            for group in range(len(totals)):
                cost += totals[group].min()
            costs[d, k] = cost / max(len(normals), 1)


def albedo(
    picture: np.ndarray, shade: np.ndarray, shown: np.ndarray, check: Callable[[], None] = lambda: None
) -> np.ndarray:
    """The colours [S, S, 4] of a picture [S, S, 4] without its shade; transparent pixels are left as they are.

    Edges of shape and picture are never quite in the same place, and a dark side under a bright side's shade would get
    a rim. So a pixel near an edge takes one of the shades around it: the one that makes its colour the most frequent in
    the picture. Few colours explain most pictures (Shen and Yeo 2011, "Intrinsic images decomposition using a local and
    global sparse representation of reflectance"). And a made surface is wavy where the true one is flat: the same
    choice says by how much shades are wrong elsewhere, smoothly, so that no grain of the picture is taken for shade.

    Args:
        picture: float32 in 0..1, straight alpha.
        shade: [N, N], that of the shape as the camera sees it; N may be smaller than S.
        shown: [N, N] bool, where it is known.
        check: raises to cancel.
    """
    from scipy import ndimage  # lazily: it takes long to load, and most jobs do without

    size = len(shade)
    at = ((np.arange(size) + 0.5) * len(picture) / size).astype(np.int64)
    small = np.ascontiguousarray(picture[at][:, at])
    low, high, middle = _around_each(shade, shown)
    frequent = _frequent(small, low, high, middle, shown)
    wrong = _chosen(small, middle * (1 - WOBBLE), middle * (1 + WOBBLE), middle, frequent)
    check()
    sure = shown * (small[..., 3] > 0.5) * np.exp(-SHARP * (high - low))
    spread = [ndimage.gaussian_filter(values, WAVES * size) for values in (sure * np.log(wrong / middle), sure)]
    waves = np.exp(spread[0] / np.maximum(spread[1], 1e-3)).astype(np.float32)
    check()
    low, high, middle = low * waves, high * waves, middle * waves
    chosen = _chosen(picture, low, high, middle, _frequent(small, low, high, middle, shown), check)
    check()
    result = picture.copy()
    result[..., :3] /= chosen[..., None]
    np.minimum(result, 1, out=result)
    return result


def _around_each(shade: np.ndarray, shown: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The least and the greatest shade around each pixel, and its own, [N, N] float32 each; 1 where none is known."""
    from scipy import ndimage

    reach = 2 * max(1, round(REACH * len(shade))) + 1
    low = ndimage.minimum_filter(np.where(shown, shade, np.inf), reach)
    high = ndimage.maximum_filter(np.where(shown, shade, -np.inf), reach)
    known = np.isfinite(low)
    low, high = np.where(known, low, 1.0), np.where(known, high, 1.0)
    middle = np.where(shown, shade, (low + high) / 2)
    return low.astype(np.float32), high.astype(np.float32), middle.astype(np.float32)


def _frequent(
    picture: np.ndarray, low: np.ndarray, high: np.ndarray, middle: np.ndarray, shown: np.ndarray
) -> np.ndarray:
    """The logarithms of the frequencies of colours without shade, [C, C, C] float32."""
    from scipy import ndimage

    histogram = np.zeros((CELLS,) * 3, np.float32)
    _count(picture, low, high, middle, shown, histogram)
    histogram = ndimage.gaussian_filter(histogram, 0.8, mode="constant")
    return np.log(histogram / max(float(histogram.max()), 1e-9) + 1e-3).astype(np.float32)


def _chosen(
    picture: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    middle: np.ndarray,
    frequent: np.ndarray,
    check: Callable[[], None] = lambda: None,
) -> np.ndarray:
    """The shade of each pixel of a picture [S, S, 4] that makes its colour the most frequent, [S, S] float32."""
    result = np.ones(picture.shape[:2], np.float32)  # of transparent pixels, too

    def choose(first: int, last: int) -> None:
        check()
        _choose(picture, low, high, middle, frequent, result, first, last)

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
    for i in range(len(picture)):
        for j in range(len(picture)):
            if shown[i, j] and picture[i, j, 3] > 0.5:
                x, y, z = _cell(picture, i, j, middle[i, j])
                histogram[int(x + 0.5), int(y + 0.5), int(z + 0.5)] += math.exp(-SHARP * (high[i, j] - low[i, j]))


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
    """Fill in some rows of the result of ``_chosen``."""
    size, side = len(picture), len(low)
    for row in range(first, last):
        for column in range(size):
            if picture[row, column, 3] == 0:
                continue
            i, j = row * side // size, column * side // size
            best, chosen = -np.inf, np.float64(middle[i, j])
            lowest = np.float64(low[i, j])
            spread = high[i, j] - lowest
            for step in range(TRIES if spread > SURE else 0):
                shade = lowest + spread * step / (TRIES - 1)
                x, y, z = _cell(picture, row, column, shade)
                a, b, c = int(x), int(y), int(z)
                value = -(((shade - middle[i, j]) / spread) ** 2)
                for corner in range(8):
                    da, db, dc = corner & 1, corner >> 1 & 1, corner >> 2
                    weight = abs(1 - da - x + a) * abs(1 - db - y + b) * abs(1 - dc - z + c)
                    value += weight * frequent[a + da, b + db, c + dc]
                if value > best:
                    best, chosen = value, shade
            result[row, column] = chosen
