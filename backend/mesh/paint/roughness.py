"""A texture of the roughness that pictures show: laid on where they show the object, elsewhere by colour."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ...asset_facts import ROUGHNESS
from ..bake.texels import Cover
from . import gloss, texels
from .camera import Camera
from .light import Light
from .shape import Seen, Shape

REACH = 8  # pixels from a region within which it still tells the roughness
LEVELS = 32  # of each channel, in the table of roughness by colour
ALIKE = 0.1  # how far colours may differ and still have mostly the same roughness, in sRGB
STRIP = 64  # rows that are filled in at a time


class RoughnessMap:
    """The roughness of each texel, as far as pictures have told it."""

    def __init__(self, side: int) -> None:
        self._values, self._weights, self._shares = np.zeros((3, side, side), np.float32)
        self._found: list[gloss.Gloss] = []

    def add(
        self,
        shape: Shape,
        camera: Camera,
        seen: Seen,
        trust: np.ndarray,
        picture: np.ndarray,
        light: Light,
        cover: Cover,
        check: Callable[[], None],
    ) -> None:
        """Add what a picture [N, N, 4] tells. The arguments are those of ``texels.paint``, the light is the picture's.

        Where several pictures show a texel, the best one counts most.
        """
        found = gloss.estimate(picture, seen, camera, light, check)
        if found is None:
            return
        self._found.append(found)
        check()
        layers = np.zeros_like(picture)
        layers[..., 0], layers[..., 3] = _filled(found), picture[..., 3]
        values, shares = texels.paint(shape, camera, seen, trust, layers, cover, check)
        for row in range(0, len(shares), STRIP):
            check()
            part = slice(row, row + STRIP)
            weights = shares[part] ** 3
            self._values[part] += weights * values[part, :, 0]
            self._weights[part] += weights
            np.maximum(self._shares[part], shares[part], out=self._shares[part])

    def image(self, texture: np.ndarray, check: Callable[[], None]) -> np.ndarray:
        """The map, [T, T] uint8, linear. texture: [T, T, 3] uint8 sRGB, the painted one: colours that no picture shows
        have the roughness of like ones."""
        table = _by_color(self._found)
        result = np.empty(texture.shape[:2], np.uint8)
        for row in range(0, len(texture), STRIP):
            check()
            part = slice(row, row + STRIP)
            red, green, blue = np.moveaxis(texture[part] // (256 // LEVELS), -1, 0)
            elsewhere, weights = table[red, green, blue], self._weights[part]
            seen = np.divide(self._values[part], weights, out=elsewhere.copy(), where=weights > 0)
            value = elsewhere + self._shares[part] * (seen - elsewhere)
            result[part] = np.rint(255 * value.clip(0, 1)).astype(np.uint8)
        return result


def _filled(found: gloss.Gloss) -> np.ndarray:
    """The roughness of each pixel, [N, N] float32: also of those that are in no region, but near one."""
    from scipy import ndimage  # lazily: it takes long to load, and most jobs do without

    far, near = ndimage.distance_transform_edt(found.regions < 0, return_indices=True)
    values = np.append(found.roughness, ROUGHNESS)[found.regions[tuple(near)]]
    return np.where(far <= REACH, values, ROUGHNESS).astype(np.float32)


def _by_color(found: list[gloss.Gloss]) -> np.ndarray:
    """The roughness of each colour, [L, L, L] float32: the mean of the regions by likeness and size, and the usual one
    for colours that none has."""
    axis = (np.arange(LEVELS, dtype=np.float32) + 0.5) / LEVELS
    cells = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)
    values, weights = np.full((LEVELS,) * 3, 0.05 * ROUGHNESS), np.full((LEVELS,) * 3, 0.05)
    for one in found:
        for color, roughness, size in zip(one.colors, one.roughness, one.sizes, strict=True):
            alike = np.exp(-np.square(cells - color).sum(axis=-1) / (2 * (ALIKE / 2) ** 2)) * size / one.sizes.sum()
            values += alike * roughness
            weights += alike
    return (values / weights).astype(np.float32)


def note_on_roughness(roughness: np.ndarray | None) -> str:
    """What to tell the user about an estimated map [T, T] uint8; empty if it tells something. None if there is none."""
    if roughness is None:
        return "The roughness is constant: it is estimated only if the texture is painted from the images."
    if (roughness == round(255 * ROUGHNESS)).all():
        return "The roughness is constant: the images show no clear highlight."
    return ""
