"""What lies around a photograph and is not part of it: frames, rounded corners, the opacity of a layer."""

from __future__ import annotations

import numpy as np
from PIL import Image

from .framing import OPAQUE

#: Share of the image that must be transparent to take its alpha for a cut-out. Less is stray pixels.
MIN_TRANSPARENT_SHARE = 0.01
#: An object may touch the frame of its image. If this much of all four sides is opaque, the image is a photograph with
#: rounded corners. So it is within a transparent margin, if more of its sides and of all of it is.
MAX_OPAQUE_SIDE, IN_MARGIN, FILLED = 0.5, 0.9, 0.97
#: The most that an alpha may be below to be seen at all.
INVISIBLE = 25
#: Share of the visible pixels that must be opaque. If fewer are, the opacity of the object is what this share reaches.
SOLID_SHARE = 0.1

#: Widest frame, as a share of the side, and how many frames may lie in each other (a margin around a line is one).
WIDEST, MOST = 0.06, 3
#: Pixels of a frame differ from its colour by at most this much in any channel (of 255).
TOLERANCE = 20
#: Shares of a line of pixels that have the frame's colour, if it belongs to the frame, and that have not, just inside.
FLAT, ENDED = 0.97, 0.8
SOFT = 2  # pixels in which a frame and what it frames are mixed


def solid(image: Image.Image) -> tuple[Image.Image, str]:
    """An RGBA image whose object is opaque, and a note if it was not: its layer may have had an opacity of its own."""
    counts = np.array(image.getchannel("A").histogram())
    counts[: INVISIBLE + 1] = 0
    reached = counts[::-1].cumsum()[::-1]  # pixels with at least this alpha
    level = int(np.flatnonzero(reached >= SOLID_SHARE * reached[0])[-1])
    if level > OPAQUE or not reached[0]:
        return image, ""
    image = image.copy()
    image.putalpha(image.getchannel("A").point(lambda value: min(255, round(value * 255 / level))))
    return image, f"The object is only {level / 255:.0%} opaque and was taken for solid."


def is_cut_out(image: Image.Image) -> bool:
    """Whether an RGBA image's alpha shows an object. Otherwise it is a photograph, perhaps with rounded corners."""
    opaque = np.asarray(image.getchannel("A")) > OPAQUE
    if 1 - opaque.mean() < MIN_TRANSPARENT_SHARE:
        return False
    return _least_side(opaque) < MAX_OPAQUE_SIDE and not has_margin(image)


def has_margin(image: Image.Image) -> bool:
    """Whether an RGBA image is a rectangle with a transparent margin: a photograph, or the front of a box."""
    opaque = np.asarray(image.getchannel("A")) > OPAQUE
    left, top, right, bottom = opaque_box(image) or (0, 0, *image.size)
    inner = opaque[top:bottom, left:right]
    return inner.size < opaque.size and bool(_least_side(inner) >= IN_MARGIN and inner.mean() >= FILLED)


def opaque_box(image: Image.Image) -> tuple[int, int, int, int] | None:
    """The box around all that is opaque: left, top, right, bottom. None if nothing is."""
    return image.getchannel("A").point(lambda alpha: 255 * (alpha > OPAQUE)).getbbox()


def _least_side(opaque: np.ndarray) -> float:
    return min(float(side.mean()) for side in (opaque[0], opaque[-1], opaque[:, 0], opaque[:, -1]))


def without_alpha(image: Image.Image) -> tuple[Image.Image, tuple[int, int]]:
    """A photograph as RGB without a transparent margin, and where in the image it begins: x, y.

    Where it is transparent, at its corners, it gets the colour of its rim.
    """
    box = (opaque_box(image) if has_margin(image) else None) or (0, 0, *image.size)
    image = image.crop(box)
    return _filled(image), box[:2]


def _filled(image: Image.Image) -> Image.Image:
    pixels = np.asarray(image)
    rim = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    rim = rim[rim[:, 3] > OPAQUE]
    if pixels[..., 3].min() == 255 or not len(rim):
        return image.convert("RGB")
    flat = Image.new("RGB", image.size, tuple(int(value) for value in np.median(rim[:, :3], axis=0)))
    flat.paste(image, mask=image.getchannel("A"))
    return flat


def inside_frame(image: Image.Image) -> tuple[int, int, int, int]:
    """The box of an RGB photograph within the lines or margins of one colour around it: left, top, right, bottom.

    A plain background is not one of them.
    """
    whole, (left, top, right, bottom) = np.asarray(image), (0, 0, *image.size)
    for _ in range(MOST):
        pixels = whole[top:bottom, left:right]
        sides = [pixels, pixels[::-1], pixels.swapaxes(0, 1), pixels.swapaxes(0, 1)[::-1]]
        rim = np.concatenate([side[0] for side in sides])
        widths = [_frame_width(side, np.median(rim, axis=0)) for side in sides]
        if not all(widths):
            break
        top, bottom, left, right = (
            edge + sign * (wide + SOFT)
            for edge, sign, wide in zip((top, bottom, left, right), (1, -1, 1, -1), widths, strict=True)
        )
    return left, top, right, bottom


def _frame_width(pixels: np.ndarray, colour: np.ndarray) -> int:
    """How many of the first rows of [H, W, 3] are a frame of this colour, which ends all along a row; 0 if none."""
    widest = int(WIDEST * min(pixels.shape[:2]))
    inner = slice(widest, pixels.shape[1] - widest)
    for row in range(widest + 1):
        same = np.abs(pixels[row, inner].astype(np.int16) - colour).max(axis=1) <= TOLERANCE
        if same.mean() < FLAT:
            return row if same.mean() <= 1 - ENDED else 0
    return 0
