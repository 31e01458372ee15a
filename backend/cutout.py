"""Cut an object out of a plain background: flood fill from the border, with an anti-aliased, decontaminated edge."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from .errors import ImageError

#: Images are reduced to this side first: the networks see 518 pixels of the object, and distances cost memory.
MAX_SIDE = 1536

#: Largest difference in any channel (of 255) at which a pixel still is background: covers JPEG noise.
TOLERANCE = 20.0

#: Share of the border that must have the background's colour for it to count as plain.
PLAIN_SHARE = 0.9

#: Shares of the image that the object may fill; outside of them the flood has leaked into it, or there is none.
OBJECT_SHARE = (0.002, 0.98)

#: A part of the object that is smaller than this share of its largest part is dust or compression noise.
SPECK_SHARE = 0.002

#: Width in pixels of the edge in which object and background are mixed.
EDGE = 2


def cut_out(image: Image.Image, name: str) -> Image.Image:
    """An RGB image with a plain background as RGBA, the background transparent.

    Background is what has the border's colour *and* is connected to the border: holes that the object closes stay.
    Raises ImageError where the background is not plain: a flat plate with the photograph on it helps nobody.
    """
    image = image.copy()
    image.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS, reducing_gap=2.0)
    rgb = np.asarray(image, dtype=np.float32)
    border = np.concatenate([rgb[0], rgb[-1], rgb[1:-1, 0], rgb[1:-1, -1]])
    colour = np.median(border, axis=0)
    if (np.abs(border - colour).max(axis=1) <= TOLERANCE).mean() < PLAIN_SHARE:
        raise _unclear(f"The background of {name} is neither transparent nor of one colour.")
    background = _without_specks(_flooded(np.abs(rgb - colour).max(axis=2) <= TOLERANCE))
    share = 1.0 - float(background.mean())
    if not OBJECT_SHARE[0] <= share <= OBJECT_SHARE[1]:
        raise _unclear(f"The object in {name} cannot be told from its background.")
    return Image.fromarray(_soften(rgb, colour, background))


def _flooded(similar: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Those of the ``similar`` pixels [H, W] that are connected to the border."""
    labels, _ = ndimage.label(similar)
    reached = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    return np.isin(labels, reached[reached > 0])


def _without_specks(background: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The background [H, W] with all parts of the object that are dust beside its largest part."""
    labels, _ = ndimage.label(~background, structure=np.ones((3, 3)))
    areas = np.bincount(labels.ravel())[1:]
    dust = np.flatnonzero(areas < SPECK_SHARE * areas.max(initial=0)) + 1
    return background | np.isin(labels, dust)


def _soften(rgb: NDArray[np.float32], colour: NDArray[np.float32], background: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """RGBA [H, W, 4] in which the pixels at the edge are unmixed.

    An edge pixel is p = a f + (1 - a) b, with b the background's colour and f that of the nearest pixel well inside
    the object: a is the least-squares solution, and f replaces p so that no rim of the background's colour stays.
    Parts too thin to have an inside stay as they are.
    """
    solid = ~background
    inside = ndimage.binary_erosion(solid, iterations=EDGE, border_value=1)
    distance, nearest = ndimage.distance_transform_edt(~inside, return_indices=True)
    edge = solid & ~inside & (distance <= 2 * EDGE)
    pure = rgb[nearest[0][edge], nearest[1][edge]] - colour
    mixed = rgb[edge] - colour
    share = (mixed * pure).sum(axis=1) / (pure * pure).sum(axis=1).clip(min=1e-6)
    rgba = np.concatenate([rgb, 255.0 * solid[..., None]], axis=2, dtype=np.float32)
    rgba[edge] = np.concatenate([pure + colour, 255.0 * share.clip(0.0, 1.0)[:, None]], axis=1)
    return rgba.round().astype(np.uint8)


def _unclear(message: str) -> ImageError:
    hint = "Supply a PNG with a transparent background that shows the object alone."
    return ImageError("background_unclear", message, hint)
