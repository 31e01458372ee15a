"""Frame cut-out images for the image encoder and convert them to its input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..models.image_encoder import IMAGE_SIZE

if TYPE_CHECKING:
    from PIL import Image  # imported where it is used: the networks can be measured without Pillow

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

#: Pixels whose alpha is above this belong to the object.
OPAQUE = 0.8 * 255

#: Side of the crop relative to the longer side of the object: TRELLIS leaves a margin, TRELLIS.2 none.
FRAME, TIGHT_FRAME = 1.2, 1.0

#: The longer side in pixels that TRELLIS.2 reduces images to before it looks for the object.
LONGEST_SIDE = 1024


def object_bounds(alpha: np.ndarray) -> tuple[int, int, int, int]:
    """The first and last columns and rows (left, top, right, bottom) of the opaque pixels of ``alpha`` [H, W] uint8.

    Raises ValueError if no pixel is opaque.
    """
    rows, columns = np.nonzero(alpha > OPAQUE)
    if not len(rows):
        raise ValueError("the image has no opaque pixels: there is no object in it")
    return int(columns.min()), int(rows.min()), int(columns.max()), int(rows.max())


def frame_side(bounds: tuple[int, int, int, int], frame: float = FRAME) -> int:
    """The side in pixels of the square that frames an object with these bounds."""
    left, top, right, bottom = bounds
    return int(frame * max(right - left, bottom - top))


def object_box(alpha: np.ndarray, frame: float = FRAME) -> tuple[float, float, float, float]:
    """The square crop (left, top, right, bottom) around the opaque pixels of ``alpha`` [H, W] uint8.

    ``frame`` is its side relative to the longer side of the object. Corners may be half-integers and lie outside the
    image. Raises ValueError if the opaque pixels span less than two.
    """
    left, top, right, bottom = bounds = object_bounds(alpha)
    half = frame_side(bounds, frame) // 2
    if half == 0:
        raise ValueError("the object in the image is less than two pixels wide")
    x, y = (left + right) / 2, (top + bottom) / 2
    return x - half, y - half, x + half, y + half


def prepare_image(image: Image.Image, size: int = IMAGE_SIZE) -> Image.Image:
    """The object of an image with alpha, centred on black: an RGB image of ``size`` x ``size`` pixels.

    The same as TRELLIS's ``preprocess_image``. Raises ValueError if the image has no transparent pixel or no object.
    """
    from PIL import Image

    rgba = image.convert("RGBA")
    return _on_black(rgba.crop(object_box(_alpha(rgba))).resize((size, size), Image.Resampling.LANCZOS))


def prepare_tight(image: Image.Image) -> Image.Image:
    """The object of an image with alpha, without a margin, on black: a square RGB image, as large as the object.

    The same as TRELLIS.2's ``preprocess_image``: unlike in ``prepare_image``, the background is black before the image
    is resized for the encoder. Raises ValueError as that does.
    """
    from PIL import Image

    rgba = image.convert("RGBA")
    scale = LONGEST_SIDE / max(rgba.size)
    if scale < 1:
        width, height = rgba.size
        rgba = rgba.resize((int(width * scale), int(height * scale)), Image.Resampling.LANCZOS)
    return _on_black(rgba.crop(object_box(_alpha(rgba), TIGHT_FRAME)))


def _alpha(rgba: Image.Image) -> np.ndarray:
    """The alpha of an RGBA image, [H, W] uint8. Raises ValueError if no pixel is transparent."""
    alpha = np.asarray(rgba.getchannel("A"))
    if alpha.min() == 255:
        raise ValueError("the image has no transparent background to cut the object out of")
    return alpha


def _on_black(rgba: Image.Image) -> Image.Image:
    """An RGBA image on black, as RGB: bytes are cut off, not rounded."""
    from PIL import Image

    pixels = np.asarray(rgba).astype(np.float32) / 255
    premultiplied = pixels[..., :3] * pixels[..., 3:]
    return Image.fromarray((premultiplied * 255).astype(np.uint8))


def resized_to(image: Image.Image, size: int) -> Image.Image:
    """An image with ``size`` x ``size`` pixels, in its own mode."""
    from PIL import Image

    return image.resize((size, size), Image.Resampling.LANCZOS)


def images_to_tensor(images: Sequence[Image.Image], size: int = IMAGE_SIZE) -> Tensor:
    """Images as [B, 3, size, size] float32, normalised with the ImageNet mean and standard deviation.

    As in TRELLIS's ``encode_image`` an image with alpha is resized first (Pillow premultiplies it) and converted to RGB
    afterwards.
    """
    resized = [resized_to(image, size) for image in images]
    pixels = np.stack([np.asarray(image.convert("RGB")) for image in resized]).astype(np.float32) / 255
    rgb = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
    return (rgb - mean[:, None, None]) / std[:, None, None]
