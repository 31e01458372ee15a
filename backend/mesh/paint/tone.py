"""Draw predicted colours toward a picture's: where the model took yellow for ochre, it did so on the far side, too."""

from __future__ import annotations

import numpy as np

CELLS = 12  # along each side of the cube of colours
DOUBT = 0.004  # how much of all that is painted must have a colour before that colour follows
SHOWN = 0.3  # texels with a larger share of the picture are compared
MOST = 50_000  # of these texels are enough


def moves(predicted: np.ndarray, painted: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """By how much predicted colours move: [C, C, C, 3] float32, the mean differences that like colours have.

    They are means over a grid in the space of colours, as in a bilateral grid (Chen, Paris and Durand 2007). Colours
    that no picture shows hardly move.

    Args:
        predicted: [T, T, 3] uint8.
        painted: [T, T, 3] float32 in 0..1.
        shares: [T, T] of the picture in each texel.
    """
    from scipy import ndimage  # lazily: it takes long to load, and most jobs do without

    shown = np.flatnonzero(shares > SHOWN)
    shown = shown[:: max(1, len(shown) // MOST)]
    own = predicted.reshape(-1, 3)[shown].astype(np.float32) / 255
    differences = painted.reshape(-1, 3)[shown] - own
    weights = shares.reshape(-1)[shown].astype(np.float64)
    cells = np.minimum((own * CELLS).astype(np.int64), CELLS - 1)
    numbers = (cells[:, 0] * CELLS + cells[:, 1]) * CELLS + cells[:, 2]

    def spread(values: np.ndarray) -> np.ndarray:
        sums = np.bincount(numbers, values, CELLS**3).reshape((CELLS,) * 3)
        return np.asarray(ndimage.gaussian_filter(sums, 1.0, mode="constant"))

    mass = spread(weights) + DOUBT * max(weights.sum(), 1e-9)
    return np.stack([spread(weights * differences[:, k]) / mass for k in range(3)], axis=-1).astype(np.float32)
