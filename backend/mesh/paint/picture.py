"""An image of the object as painting reads it: the square around the object, in several sizes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from .camera import Camera

if TYPE_CHECKING:
    from PIL import Image

MARGIN = 1.15  # the square's side, in the object's larger extent
OPAQUE = 128
MAX_SIDE = 2048  # of the square in pixels; larger ones are reduced
DENSITY = 0.75  # of the square's pixels beside a texture's texels: what a camera sees takes a part of a texture
MIN_SIDE = 24  # objects smaller than this in the image are not painted from


@dataclass(frozen=True)
class Picture:
    """The square around the object in an image."""

    square: Image.Image  # RGBA, S x S
    left: float  # the square in the image, in its pixels
    top: float
    side: float
    size: tuple[int, int]  # the image's width and height

    @classmethod
    def of(cls, image: Image.Image, texture_size: int = 2 * MAX_SIDE) -> Picture | None:
        """From an RGBA image, as fine as a texture can show; None if the object is smaller than ``MIN_SIDE``."""
        alpha = np.asarray(image.getchannel("A")) >= OPAQUE
        rows, columns = np.flatnonzero(alpha.any(1)), np.flatnonzero(alpha.any(0))
        if not len(rows) or max(np.ptp(rows), np.ptp(columns)) + 1 < MIN_SIDE:
            return None
        extent = max(np.ptp(rows), np.ptp(columns)) + 1
        side = int(np.ceil(extent * MARGIN / 2)) * 2
        left = (int(columns[0]) + int(columns[-1]) + 1 - side) // 2
        top = (int(rows[0]) + int(rows[-1]) + 1 - side) // 2
        square = image.crop((left, top, left + side, top + side))
        most = min(MAX_SIDE, max(round(DENSITY * texture_size), MIN_SIDE))
        return cls(_resized(square, min(side, most)), left, top, side, image.size)

    @cached_property
    def pixels(self) -> np.ndarray:
        """The square, [S, S, 4] float32 in 0..1, sRGB, straight alpha."""
        return np.asarray(self.square, dtype=np.float32) / 255

    def whole(self, camera: Camera) -> Camera:
        """The camera of this square as that of the smallest square around the whole image."""
        width, height = self.size
        scale = 2 * camera.half / self.side  # of a pixel
        right, down = width / 2 - self.left - self.side / 2, height / 2 - self.top - self.side / 2
        half = scale * max(width, height) / 2
        return replace(camera, u=camera.u + scale * right, v=camera.v - scale * down, half=half)

    def reduced(self, size: int) -> np.ndarray:
        """The square in ``size`` x ``size`` pixels, [size, size, 4]; colours are means over what is opaque."""
        return np.asarray(_resized(self.square, size), dtype=np.float32) / 255


def _resized(square: Image.Image, size: int) -> Image.Image:
    """A square image in ``size`` x ``size`` pixels. Pillow weights colours by their alpha."""
    from PIL import Image

    return square if square.width == size else square.resize((size, size), Image.Resampling.BOX)
