"""From a network's coarse answer to a cut-out: one object, its edge at full resolution, its colours its own.

Masks and alpha are [H, W], alpha float32 in 0..1, colours [H, W, 3] float32 in 0..1.
"""

from __future__ import annotations

import numpy as np
from PIL import Image
from scipy import ndimage

from ..protocol import Point

#: Parts that are nearer to each other than this share of the image's longer side are one object.
GAP = 0.02

#: The side that an image is reduced to for telling objects apart.
SMALL = 256

#: Parts of the object smaller than this share of its largest part are dust.
SPECK_SHARE = 0.002

#: The window of the guided filter as a share of the image's longer side, and the variance that it smooths away.
RADIUS, SMOOTHED = 0.008, 1e-4

#: The windows in pixels in which colours of object and background are estimated, the wide one first.
COLOUR_RADII = (45, 5)


def separate(alpha: np.ndarray, point: Point | None) -> np.ndarray:
    """Which pixels [H, W] may belong to the object that is meant: the one at ``point``, without it the largest.

    Each pixel counts as a part of the object that is nearest. None may belong to it if there is no object at ``point``.
    """
    height, width = alpha.shape
    scale = SMALL / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = np.asarray(Image.fromarray(alpha).resize(size, Image.Resampling.BOX)) > 0.5
    if not small.any():
        return np.zeros(alpha.shape, bool)
    distance, nearest = ndimage.distance_transform_edt(~small, return_indices=True)
    labels, _ = ndimage.label(distance <= GAP * SMALL / 2, structure=np.ones((3, 3)))
    if point is None:
        chosen = int(np.bincount(labels[small]).argmax())
    else:
        chosen = int(labels[min(int(point[1] * size[1]), size[1] - 1), min(int(point[0] * size[0]), size[0] - 1)])
    meant = (labels[nearest[0], nearest[1]] == chosen) & (chosen > 0)
    return np.asarray(Image.fromarray(meant).resize((width, height), Image.Resampling.NEAREST))


def refined(colours: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Alpha that follows the edges in the image: a guided filter with the image as its guide.

    Guided image filtering, He et al. 2010, equations 11 to 16 (https://doi.org/10.1007/978-3-642-15549-9_1).
    """
    size = 2 * max(2, round(RADIUS * max(alpha.shape))) + 1
    red, green, blue = means = [_blurred(channel, size) for channel in colours.transpose(2, 0, 1)]
    mean_alpha = _blurred(alpha, size)

    def spread(i: int, j: int) -> np.ndarray:
        found = _blurred(colours[..., i] * colours[..., j], size) - means[i] * means[j]
        return found + SMOOTHED if i == j else found

    together = [_blurred(colours[..., i] * alpha, size) - means[i] * mean_alpha for i in range(3)]
    slopes = _solved([spread(i, j) for i, j in ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))], together)
    offset = mean_alpha - slopes[0] * red - slopes[1] * green - slopes[2] * blue
    found = _blurred(offset, size)
    for slope, channel in zip(slopes, colours.transpose(2, 0, 1), strict=True):
        found += _blurred(slope, size) * channel
    return found.clip(0, 1)


def _solved(matrix: list[np.ndarray], right: list[np.ndarray]) -> list[np.ndarray]:
    """The solution of a symmetric 3 x 3 system at each pixel, by cofactors. ``matrix`` is its upper half, in rows."""
    a, b, c, d, e, f = matrix
    cofactors = ((d * f - e * e, c * e - b * f, b * e - c * d), (a * f - c * c, b * c - a * e), (a * d - b * b,))
    (aa, ab, ac), (bb, bc), (cc,) = cofactors
    determinant = a * aa + b * ab + c * ac
    x, y, z = right
    return [
        (aa * x + ab * y + ac * z) / determinant,
        (ab * x + bb * y + bc * z) / determinant,
        (ac * x + bc * y + cc * z) / determinant,
    ]


def without_specks(alpha: np.ndarray) -> np.ndarray:
    """Alpha without parts that are dust compared with the largest."""
    labels, _ = ndimage.label(alpha > 0.5, structure=np.ones((3, 3)))
    areas = np.bincount(labels.ravel())
    areas[0] = 0
    dust = areas < SPECK_SHARE * areas.max(initial=0)
    dust[0] = False
    if not dust.any():
        return alpha
    return np.where(ndimage.binary_dilation(dust[labels], iterations=3), 0, alpha)


def own_colours(colours: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """The object's own colours: what the background adds at its edge is taken away.

    A pixel is a F + (1 - a) B. F and B are estimated from the surroundings, and F is corrected so that the pixel comes
    out: Forte 2021, Approximate Fast Foreground Colour Estimation (https://doi.org/10.1109/ICIP42928.2021.9506164).
    """
    front = behind = colours
    for radius in COLOUR_RADII:
        size = 2 * radius + 1
        weight = _blurred(alpha, size)[..., None]
        front = _blurred(front * alpha[..., None], size) / (weight + 1e-5)
        behind = _blurred(behind * (1 - alpha[..., None]), size) / (1 - weight + 1e-5)
        front = front + alpha[..., None] * (colours - alpha[..., None] * front - (1 - alpha[..., None]) * behind)
        front = front.clip(0, 1)
    return front


def _blurred(values: np.ndarray, size: int) -> np.ndarray:
    """The mean over windows of ``size`` x ``size`` pixels of [H, W, ...]."""
    return ndimage.uniform_filter(values, (size, size, *[0] * (values.ndim - 2)), mode="nearest")
