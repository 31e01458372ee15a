"""Draw predicted colours toward a picture's: where the model took yellow for ochre, it did so on the far side, too."""

from __future__ import annotations

from functools import partial

import numpy as np
from scipy import ndimage

from ..base.compiled import compiled, in_strips

CELLS = 12  # along each side of the cube of colours
DOUBT = 0.004  # how much of all that is painted must have a colour before that colour follows
STRIP = 64  # rows that one thread does at a time
SHOWN = 0.3  # texels with a larger share of the picture are compared


def toned(predicted: np.ndarray, painted: np.ndarray, shares: np.ndarray, strength: float = 1.0) -> np.ndarray:
    """Predicted colours [T, T, 3] moved by the mean difference that like colours have where the picture shows them.

    The differences are means over a grid in the space of colours, as in a bilateral grid (Chen, Paris and Durand 2007).

    Args:
        predicted, painted: [T, T, 3] float32 in 0..1.
        shares: [T, T] of the picture in each texel.
        strength: of the change, 0..1.
    """
    shown = shares > SHOWN
    if not shown.any():
        return predicted
    weights = shares[shown].astype(np.float64)
    own = predicted[shown]
    cells = np.minimum((own * CELLS).astype(np.int64), CELLS - 1)
    numbers = (cells[:, 0] * CELLS + cells[:, 1]) * CELLS + cells[:, 2]

    def spread(values: np.ndarray) -> np.ndarray:
        sums = np.bincount(numbers, values, CELLS**3).reshape((CELLS,) * 3)
        return np.asarray(ndimage.gaussian_filter(sums, 1.0, mode="constant"))

    mass = spread(weights) + DOUBT * weights.sum()
    moves = [strength * spread(weights * (painted[shown][:, k] - own[:, k])) / mass for k in range(3)]
    table = np.stack(moves, axis=-1).astype(np.float32)
    return np.asarray(np.clip(predicted + _looked_up(table, predicted), 0, 1))


def _looked_up(table: np.ndarray, colors: np.ndarray) -> np.ndarray:
    result = np.empty_like(colors)
    in_strips(partial(_interpolate, table, colors, result), len(colors), STRIP)
    return result


@compiled
def _interpolate(table: np.ndarray, colors: np.ndarray, result: np.ndarray, first: int, last: int) -> None:
    """Look up colours [T, T, 3] in 0..1 in a table [C, C, C, 3], linearly between the middles of its cells."""
    cells = len(table)
    for row in range(first, last):
        for column in range(colors.shape[1]):
            x = min(max(colors[row, column, 0] * cells - 0.5, 0.0), cells - 1.001)
            y = min(max(colors[row, column, 1] * cells - 0.5, 0.0), cells - 1.001)
            z = min(max(colors[row, column, 2] * cells - 0.5, 0.0), cells - 1.001)
            a, b, c = int(x), int(y), int(z)
            for k in range(3):
                result[row, column, k] = 0.0
            for corner in range(8):
                da, db, dc = corner & 1, corner >> 1 & 1, corner >> 2
                weight = abs(1 - da - x + a) * abs(1 - db - y + b) * abs(1 - dc - z + c)
                for k in range(3):
                    result[row, column, k] += weight * table[a + da, b + db, c + dc, k]
