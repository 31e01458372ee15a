"""Read reference images: any file that a user may drop becomes an RGBA image with a cut-out object, or a clear error.

Nothing is decoded before its header has been checked.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from ..errors import ImageError
from ..images.framing import OPAQUE
from ..protocol import Point, Settings

#: Formats recognised by content. Some others that Pillow knows start external programs (EPS) or have no signature.
FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF")
MAX_PIXELS = 64_000_000
MIN_SIDE = 16

#: Share of the image that must be transparent to take its alpha for a cut-out. Less is rounded corners or stray pixels.
MIN_TRANSPARENT_SHARE = 0.01

_MIN_OBJECT_SIDE = 8

_READABLE = f"Use an image of one of these kinds: {', '.join(FORMATS)}."


class Cut(NamedTuple):
    """An image as RGBA, and whether its background was removed: otherwise it is as the file has it."""

    image: Image.Image
    removed: bool


def load_image(path: Path | str, background: str = Settings.background, point: Point | None = None) -> Image.Image:
    """One reference image as RGBA, upright, with an opaque object on a transparent background.

    ``background`` is the setting of that name. The object is the one at ``point``, without it the largest. Raises
    ImageError if the file cannot be read or shows no object that can be cut out.
    """
    image = load_cut(path, background, point).image
    _require_object(image, Path(path).name)
    if np.asarray(image.getchannel("A")).min() == 255:  # the whole image is the object; the networks need a background
        image = ImageOps.expand(image, 1, (0, 0, 0, 0))
    return image


def load_cut(path: Path | str, background: str = Settings.background, point: Point | None = None) -> Cut:
    """One image, cut out as ``background`` says. Raises ImageError as ``load_image`` does, except for tiny objects."""
    path = Path(path)
    image = to_rgba(_decode(path))
    if background == "never" or (background == "automatic" and _has_mask(image)):
        return Cut(image, False)
    from .background import remove_background  # imports scipy, which takes a while

    return Cut(remove_background(image, path.name, point), True)


def _has_mask(image: Image.Image) -> bool:
    """Whether the alpha of an RGBA image says what the object is."""
    return bool((np.asarray(image.getchannel("A")) <= OPAQUE).mean() >= MIN_TRANSPARENT_SHARE)


def _decode(path: Path) -> Image.Image:
    """The first frame of an image file, decoded and upright. Raises ImageError."""
    if not path.exists():
        raise ImageError("image_missing", f"The image {path} does not exist.", "It may have been moved or renamed.")
    if not path.is_file():
        raise ImageError("image_unreadable", f"{path} is not a file.", _READABLE)
    if path.stat().st_size == 0:
        raise ImageError("image_empty", f"The image {path.name} is an empty file.", "Save or download it again.")
    try:
        image = _open(path)
    except Image.DecompressionBombError as error:
        raise _too_large(path.name, "far more") from error
    except Image.UnidentifiedImageError as error:
        raise ImageError("image_unreadable", f"{path.name} is not an image that can be read.", _READABLE) from error
    except Exception as error:  # with damaged headers, decoders raise almost anything
        raise ImageError(
            "image_unreadable", f"{path.name} is damaged: {error}.", "Save or download it again."
        ) from error
    with image:
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise _too_large(path.name, f"{width} x {height}")
        if min(width, height) < MIN_SIDE:
            message = f"The image {path.name} is only {width} x {height} pixels."
            raise ImageError("image_too_small", message, f"Use an image of at least {MIN_SIDE} x {MIN_SIDE} pixels.")
        try:
            image.load()
        except Exception as error:  # the same with damaged data
            message = f"The image {path.name} is damaged or incomplete: {error}."
            raise ImageError("image_truncated", message, "Save or download it again.") from error
        return ImageOps.exif_transpose(image)


def _open(path: Path) -> Image.Image:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit is lower
        return Image.open(path, formats=FORMATS)


def _too_large(name: str, size: str) -> ImageError:
    message = f"The image {name} is too large ({size} pixels; the limit is {MAX_PIXELS // 1_000_000} million)."
    return ImageError("image_too_large", message, "Scale it down; 1024 pixels per side are plenty.")


def to_rgba(image: Image.Image) -> Image.Image:
    """Any Pillow mode as 8-bit RGBA. Integers of 16 and 32 bits are rescaled; floats are expected in 0..1."""
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image).astype(np.float64)
        if image.mode.startswith("I"):
            values = values / (65535 if values.max() <= 65535 else 2**31 - 1)
        image = Image.fromarray((np.nan_to_num(values).clip(0, 1) * 255).round().astype(np.uint8))
    return image.convert("RGBA")


def _require_object(image: Image.Image, name: str) -> None:
    """Raise ImageError unless enough of the image is opaque to be an object. ``name`` is for messages."""
    solid = image.getchannel("A").point(lambda alpha: 255 * (alpha > OPAQUE))
    box = solid.getbbox()
    if box is None:
        raise ImageError("image_transparent", f"The image {name} is fully transparent.", "Its object must be opaque.")
    if max(box[2] - box[0], box[3] - box[1]) < _MIN_OBJECT_SIDE:
        message = f"The object in {name} is only {box[2] - box[0]} x {box[3] - box[1]} pixels."
        raise ImageError("object_too_small", message, "Crop the image to the object, or use a larger one.")
