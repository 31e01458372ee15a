"""Find what lies in front of a pattern: the part of an image that has colours which the border has not.

Tiles, stripes and grain of strong contrast hide things from a fast matting network. But where an image's border looks
the same all around, it tells all colours that the background has. That is nothing new (the background's colours from
the border: GrabCut, Rother et al. 2004, https://doi.org/10.1145/1015706.1015720, starts so); new is only that it has
to be sure of it. Colours are [H, W, 3] float32 in 0..1, alpha is [H, W] float32 in 0..1.
"""

from __future__ import annotations

import numpy as np
from PIL import Image
from scipy import ndimage

from .colours import border, border_width, density, histogram, reduced_size, scaled, with_shades

#: The border's eight halves of sides have this much in common with the others (the median), if it is a pattern. Of 80
#: textures the least was 0.8, of 80 blurred photographs the most 0.7.
ALIKE = 0.72

#: Bins along each axis of the histogram that tells patterns, and of the one that tells which colours are theirs.
COARSE, FINE = 16, 24

#: Logarithms of how much rarer than in an even spread a colour is in the border: up to the first it is the pattern's,
#: from the second on it is not. In noise, both rise until this share of the border is clearly the pattern's.
COMMON, RARE = -4.0, -2.0
NOISE, MARGIN = 0.95, 0.5

#: The least density.
LEAST = 1e-6

#: A part of the object is at least so many pixels wide, in the reduced image. Pixels between two tiles are mixed.
WIDTH = 3

#: An answer that covers more than this share of the image's outermost pixels is one of the background.
TOUCHING = 0.3

#: Shares of the image that an object fills at least and at most which is found by its colours alone, and the share of
#: what is rare that lies in it.
ALONE, WHOLE = (0.02, 0.6), 0.7


def with_unlike(colours: np.ndarray, answer: np.ndarray) -> np.ndarray:
    """A network's answer, together with what has other colours than the border, if that is a pattern.

    Where the network takes the background for the object, or nothing, colours alone count. Then they have to be sure.
    """
    found = unlike(colours)
    if found is None:
        return answer
    if (answer > 0.5).any() and _touching(answer) <= TOUCHING:
        return np.maximum(answer, found) if _touching(found) <= TOUCHING else answer
    return found if _is_one_object(found) else answer


def unlike(colours: np.ndarray) -> np.ndarray | None:
    """How surely each pixel has none of the border's colours; None if the border is no pattern."""
    small = scaled(colours, reduced_size(colours.shape))
    if not _is_pattern(small):
        return None
    edge = border(small.shape)
    common = histogram(*with_shades(small[edge]), FINE)
    rarity = -np.log((density(common, small) + LEAST) * FINE**3)
    low = max(COMMON, float(np.quantile(_held_out(small), NOISE)) + MARGIN)
    alpha = ndimage.grey_opening(((rarity - low) / (RARE - COMMON)).clip(0, 1), size=WIDTH).astype(np.float32)
    size = colours.shape[1], colours.shape[0]
    return np.asarray(Image.fromarray(alpha).resize(size, Image.Resampling.BILINEAR))


def _is_pattern(colours: np.ndarray) -> bool:
    """Whether the border looks the same all around."""
    width, (height, length) = border_width(colours.shape), colours.shape[:2]
    if min(height, length) < 4 * width:
        return False
    halves = []
    for side in (colours[:width], colours[-width:], colours[:, :width], colours[:, -width:]):
        along = 1 if side.shape[1] > side.shape[0] else 0
        halves += [part.reshape(-1, 3) for part in np.array_split(side, 2, axis=along)]
    counted = [histogram(half, np.ones(len(half)), COARSE) for half in halves]
    others = [(sum(counted) - one) / (len(counted) - 1) for one in counted]
    return bool(np.median([np.minimum(one, other).sum() for one, other in zip(counted, others, strict=True)]) >= ALIKE)


def _held_out(colours: np.ndarray) -> np.ndarray:
    """How rare the border's colours are among those of the other sides: what a pattern's own colours come to."""
    edge, width = border(colours.shape), border_width(colours.shape)
    upright = edge.copy()
    upright[:, width:-width] = False
    parts = colours[upright], colours[edge & ~upright]
    found = [density(histogram(*with_shades(one), FINE), other) for one, other in (parts, parts[::-1])]
    return -np.log((np.concatenate(found) + LEAST) * FINE**3)


def _touching(alpha: np.ndarray) -> float:
    """The share of the image's outermost pixels that is in the object."""
    solid = alpha > 0.5
    return float(np.concatenate([solid[0], solid[-1], solid[:, 0], solid[:, -1]]).mean())


def _is_one_object(alpha: np.ndarray) -> bool:
    """Whether what is found by colours alone is one thing, and neither dust nor another background."""
    solid = scaled(alpha, reduced_size(alpha.shape)) > 0.5
    labels, count = ndimage.label(solid, structure=np.ones((3, 3)))
    if count == 0 or _touching(alpha) > TOUCHING:
        return False
    largest = int(np.bincount(labels.ravel())[1:].max())
    return ALONE[0] <= largest / solid.size <= ALONE[1] and largest >= WHOLE * int(solid.sum())
