"""Cut an object out of a plain background: flood fill from the border, with an anti-aliased, decontaminated edge.

A plain background has one colour or a smooth gradient, and may show the object's soft shadow. If object and background
merge (a white object in front of a white wall), or if the background is a scene, the image is refused: a badly guessed
outline is of no use, and neither is a flat plate with the photograph on it.

Masks are [H, W] bool and colours [H, W, 3] float32 in 0..255, unless a docstring says otherwise.
"""

from __future__ import annotations

import numpy as np
from PIL import Image
from scipy import ndimage

from ..errors import ImageError

#: Limits of the largest difference in any channel (of 255) at which a pixel is still background. Between them it
#: depends on the noise in the border, so that a clean rendering keeps the pale parts of an object and JPEG noise goes.
TOLERANCE = (8.0, 20.0)

#: Share of the border that must be background for it to count as plain.
PLAIN_SHARE = 0.9

#: Shares of the image that an object may fill; outside these limits the flood leaked into it or there is no object.
OBJECT_SHARE = (0.005, 0.97)

#: Parts of the object smaller than this share of its largest part are dust or compression noise.
SPECK_SHARE = 0.002

#: Width in pixels of the edge, in which object and background are mixed.
EDGE = 2

#: A change of at least this much per pixel (of 255, in the image smoothed over SMOOTHING pixels) is an edge. The
#: outline of an object is one; the rim of a soft shadow, or of a shaded ball that fades into the background, is not.
EDGE_GRADIENT = 5.0
SMOOTHING = 1.0

#: Share of an outline that may lack an edge.
BLURRED_SHARE = 0.1

#: Minimum brightness of a shadow relative to the background around it.
DARKEST_SHADOW = 0.25

#: Maximum size of a shadow relative to the object. Anything larger may be a pale object with one coloured part.
LARGEST_SHADOW = 1.0


def cut_out(image: Image.Image, name: str) -> Image.Image:
    """An RGB image with a plain background as RGBA, with the background transparent.

    Background has the border's colour *and* is connected to the border: holes enclosed by the object stay. ``name`` is
    that of the file, for messages. Raises ImageError if the background is not plain or cannot be told from the object.
    """
    rgb = np.asarray(image, dtype=np.float32)
    backdrop = _backdrop(rgb)
    difference = np.abs(rgb - backdrop).max(axis=2)
    tolerance = float(np.clip(1.5 * np.percentile(_border(difference), 100 * PLAIN_SHARE), *TOLERANCE))
    if (_border(difference) <= tolerance).mean() < PLAIN_SHARE:
        raise background_unclear(f"The background of {name} is neither transparent nor plain.")
    background = _without_specks(_flooded(difference <= tolerance))
    gradient = _gradient(rgb)
    if _blurred_share(background, gradient) > BLURRED_SHARE:
        background = _without_shadow(background, _is_shaded(rgb, backdrop, tolerance) & (gradient < EDGE_GRADIENT))
    share = 1.0 - float(background.mean())
    if not OBJECT_SHARE[0] <= share <= OBJECT_SHARE[1] or _blurred_share(background, gradient) > BLURRED_SHARE:
        raise background_unclear(f"The object in {name} cannot be told from its background.")
    return Image.fromarray(_soften(rgb, backdrop, background))


def background_unclear(message: str, *advice: str) -> ImageError:
    """The error for an image whose background cannot be removed; ``advice`` adds to what the user can do."""
    hint = "Supply a PNG with a transparent background that shows the object alone"
    return ImageError("background_unclear", message, ", or ".join([hint, *advice]) + ".")


def _border(values: np.ndarray) -> np.ndarray:
    """The outermost pixels of [H, W, ...] as [P, ...]."""
    return np.concatenate([values[0], values[-1], values[1:-1, 0], values[1:-1, -1]])


def _backdrop(rgb: np.ndarray) -> np.ndarray:
    """The background [H, W, 3] as extrapolated from an image's border: a polynomial of degree 2 for each channel.

    Least squares over the border's pixels, repeated without the outliers, where the object touches the border.
    """
    rows, columns = np.meshgrid(*(np.linspace(-1, 1, side, dtype=np.float32) for side in rgb.shape[:2]), indexing="ij")
    terms = np.stack([np.ones_like(rows), rows, columns, rows * columns, rows**2, columns**2], axis=2)
    known, colours = _border(terms), _border(rgb)
    start = np.median(colours, axis=0)
    kept = np.abs(colours - start).max(axis=1) <= TOLERANCE[1]
    if kept.mean() < PLAIN_SHARE:  # more than one colour: perhaps a gradient
        kept[:] = True
    for _ in range(5):
        weights = np.linalg.lstsq(known[kept], colours[kept], rcond=None)[0]
        off = np.abs(colours - known @ weights).max(axis=1)
        kept = off <= max(TOLERANCE[1], float(np.quantile(off, 0.5)))
    return (terms @ weights).clip(0, 255).astype(np.float32)


def _flooded(similar: np.ndarray) -> np.ndarray:
    """The ``similar`` pixels that are connected to the border."""
    labels, _ = ndimage.label(similar)
    reached = np.unique(_border(labels))
    return np.isin(labels, reached[reached > 0])


def _without_specks(background: np.ndarray) -> np.ndarray:
    """The background together with all parts of the object that are dust compared with its largest part."""
    labels, _ = ndimage.label(~background, structure=np.ones((3, 3)))
    areas = np.bincount(labels.ravel())[1:]
    dust = np.flatnonzero(areas < SPECK_SHARE * areas.max(initial=0)) + 1
    return background | np.isin(labels, dust)


def _without_shadow(background: np.ndarray, shaded: np.ndarray) -> np.ndarray:
    """The background together with the ``shaded`` pixels connected to it, unless too little of the object is left."""
    larger = _without_specks(_flooded(background | shaded))
    shadow, rest = (larger & ~background).sum(), (~larger).sum()
    return larger if shadow <= LARGEST_SHADOW * rest else background


def _gradient(rgb: np.ndarray) -> np.ndarray:
    """The largest change of any channel per pixel [H, W], in the smoothed image."""
    slopes = [ndimage.gaussian_gradient_magnitude(rgb[..., channel], SMOOTHING) for channel in range(3)]
    return np.max(slopes, axis=0)


def _blurred_share(background: np.ndarray, gradient: np.ndarray) -> float:
    """The share of the object's outline that is no edge in the image (0 if there is no object)."""
    outline = ~background & ndimage.binary_dilation(background)
    nearby = ndimage.maximum_filter(gradient, size=4 * EDGE + 1)
    return float((nearby[outline] < EDGE_GRADIENT).mean()) if outline.any() else 0.0


def _is_shaded(rgb: np.ndarray, backdrop: np.ndarray, tolerance: float) -> np.ndarray:
    """Which pixels have the backdrop's colour, but darker."""
    light = (rgb * backdrop).sum(axis=2) / (backdrop * backdrop).sum(axis=2).clip(min=1.0)
    same_colour = np.abs(rgb - light[..., None] * backdrop).max(axis=2) <= tolerance
    return same_colour & (light >= DARKEST_SHADOW) & (light <= 1.0)


def _soften(rgb: np.ndarray, backdrop: np.ndarray, background: np.ndarray) -> np.ndarray:
    """RGBA [H, W, 4] uint8, with object and background separated in the pixels of the edge.

    An edge pixel is p = a f + (1 - a) b, with b the backdrop and f the colour of the nearest pixel well inside the
    object: a is the least-squares solution, and f replaces p so that no rim of the background's colour is left.
    Parts too thin to have an inside stay as they are.
    """
    solid = ~background
    inside = ndimage.binary_erosion(solid, iterations=EDGE, border_value=1)
    distance, nearest = ndimage.distance_transform_edt(~inside, return_indices=True)
    edge = solid & ~inside & (distance <= 2 * EDGE)
    colour = rgb[nearest[0][edge], nearest[1][edge]]
    pure, mixed = colour - backdrop[edge], rgb[edge] - backdrop[edge]
    share = (mixed * pure).sum(axis=1) / (pure * pure).sum(axis=1).clip(min=1e-6)
    rgba = np.concatenate([rgb, 255.0 * solid[..., None]], axis=2, dtype=np.float32)
    rgba[edge] = np.concatenate([colour, 255.0 * share.clip(0.0, 1.0)[:, None]], axis=1)
    return rgba.round().astype(np.uint8)
