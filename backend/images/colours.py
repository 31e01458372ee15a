"""The colours of an image's border: what the background looks like. Colours are [H, W, 3] float32 in 0..1."""

from __future__ import annotations

import numpy as np
from PIL import Image
from scipy import ndimage

#: The longer side of the reduced image that colours are compared in.
SIDE = 160

#: The width of the border, as a share of the longer side.
BORDER = 0.03

#: How much darker a shadow makes the background, and what such a colour counts beside the colour itself.
SHADES, SHADED = (0.8, 0.65, 0.5), 0.1

#: The deviation, in bins, that a histogram is smoothed by.
SMOOTH = 0.6


def reduced_size(shape: tuple[int, ...]) -> tuple[int, int]:
    """Width and height of the reduced image, for an image of this shape [H, W, ...]."""
    scale = SIDE / max(shape[:2])
    return max(1, round(shape[1] * scale)), max(1, round(shape[0] * scale))


def scaled(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Values [H, W] or [H, W, C] brought to another width and height, each the mean of those it stands for."""
    if values.ndim == 3:
        return np.stack([scaled(values[..., channel], size) for channel in range(values.shape[2])], axis=2)
    return np.asarray(Image.fromarray(np.ascontiguousarray(values, np.float32)).resize(size, Image.Resampling.BOX))


def border_width(shape: tuple[int, ...]) -> int:
    """How wide the border of an image of this shape [H, W, ...] is, in pixels."""
    return max(1, round(BORDER * max(shape[:2])))


def border(shape: tuple[int, ...]) -> np.ndarray:
    """Which pixels [H, W] are the border."""
    width = border_width(shape)
    inside = np.ones(shape[:2], bool)
    inside[width:-width, width:-width] = False
    return inside


def with_shades(colours: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Colours [N, 3] of a background together with those of shadows on it [M, 3], and what each counts [M]."""
    shades = np.concatenate([colours, *(shade * colours for shade in SHADES)])
    weights = np.full(len(shades), SHADED)
    weights[: len(colours)] = 1
    return shades, weights


def histogram(colours: np.ndarray, weights: np.ndarray, bins: int) -> np.ndarray:
    """The density [bins, bins, bins] of colours [N, 3], smoothed, which sums up to 1."""
    at = (colours * bins).astype(int).clip(0, bins - 1)
    counted = np.bincount(at @ (bins**2, bins, 1), weights, bins**3).reshape(bins, bins, bins)
    return np.asarray(ndimage.gaussian_filter(counted / counted.sum(), SMOOTH, mode="nearest"))


def density(counted: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """What a histogram says of each colour [H, W, 3]: [H, W], between its bins interpolated."""
    at = np.moveaxis(colours * counted.shape[0] - 0.5, -1, 0)
    return np.asarray(ndimage.map_coordinates(counted, at, order=1, mode="nearest"))
