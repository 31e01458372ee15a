"""Colours that a file states in numbers instead of a profile: cICP, gAMA and cHRM of PNG, nclx of AVIF and HEIC.

Numbers as in ITU-T H.273 (coding-independent code points), PNG's third edition and ISO 14496-12.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    import numpy as np

#: x and y of white, red, green and blue, by their code.
Chromaticities = tuple[float, ...]
_D65 = (0.3127, 0.3290)
_SRGB: Chromaticities = (*_D65, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
_PRIMARIES: dict[int, Chromaticities] = {
    1: _SRGB,
    5: (*_D65, 0.64, 0.33, 0.29, 0.60, 0.15, 0.06),
    6: (*_D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    9: (*_D65, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    12: (*_D65, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
}
#: Exponents from a stored number to light, by their code. 0 is sRGB's curve, which viewers use for those of video, too.
_EXPONENTS = {1: 0.0, 4: 2.2, 5: 2.8, 6: 0.0, 8: 1.0, 13: 0.0, 14: 0.0, 15: 0.0}
_UNSPECIFIED = 2
_ALIKE = 0.005  # by which chromaticities, and 0.02 by which an exponent, may differ and mean the same
_HEAD = 1 << 16  # bytes of a file that are searched
_CHUNKS = 64  # of a PNG that are looked at


class UnknownColours(Exception):
    """What a file states is not among the known ones. The text names it."""


@dataclass(frozen=True)
class Colours:
    """How stored numbers become light: an exponent (0: sRGB's curve), and where red, green, blue and white lie."""

    exponent: float
    chromaticities: Chromaticities

    def to_srgb(self, image: Image.Image) -> Image.Image:
        """An RGB or RGBA image of these colours in sRGB. What sRGB has not is cut off."""
        import numpy as np  # here, because most images do without it, and it takes longer than decoding them

        pixels = np.asarray(image)
        light = self._light(np.arange(256) / 255).astype(np.float32)[pixels[..., :3]]
        if self.chromaticities != _SRGB:
            light = light @ (np.linalg.inv(_to_xyz(_SRGB)) @ _to_xyz(self.chromaticities)).T.astype(np.float32)
        light = light.clip(0, 1)
        stored = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
        result = Image.fromarray((255 * stored + 0.5).astype(np.uint8))
        if image.mode == "RGBA":
            result.putalpha(image.getchannel("A"))
        return result

    def _light(self, stored: np.ndarray) -> np.ndarray:
        import numpy as np

        if self.exponent:
            return np.asarray(stored**self.exponent)
        return np.where(stored <= 0.04045, stored / 12.92, ((stored + 0.055) / 1.055) ** 2.4)


def stated_colours(image: Image.Image, path: Path) -> Colours | None:
    """What the file of an image states; None if it is sRGB, or if it states nothing. Raises UnknownColours, OSError."""
    find: Callable[[Path], tuple[int, int] | None] = {"PNG": _in_png, "AVIF": _in_boxes, "HEIF": _in_boxes}.get(
        image.format or "", lambda path: None
    )
    found = find(path)
    if found is not None:
        primaries, transfer = found
        if primaries != _UNSPECIFIED and primaries not in _PRIMARIES:
            raise UnknownColours(f"primaries {primaries}")
        if transfer != _UNSPECIFIED and transfer not in _EXPONENTS:
            raise UnknownColours(f"transfer {transfer}")
        return _unless_srgb(_EXPONENTS.get(transfer, 0.0), _PRIMARIES.get(primaries, _SRGB))
    if image.format != "PNG" or "srgb" in image.info:
        return None
    gamma, places = image.info.get("gamma"), image.info.get("chromaticity")
    exponent = 1 / gamma if gamma and 0.05 < gamma < 20 else 0.0
    if abs(exponent - 2.2) < 0.02:  # what is written for sRGB, whose curve is near it
        exponent = 0.0
    return _unless_srgb(exponent, _SRGB if places is None or not _is_possible(places) else tuple(places))


def _unless_srgb(exponent: float, places: Chromaticities) -> Colours | None:
    if max(abs(a - b) for a, b in zip(places, _SRGB, strict=True)) < _ALIKE:
        places = _SRGB
    return Colours(exponent, places) if exponent or places != _SRGB else None


def _is_possible(places: Chromaticities) -> bool:
    """Whether these can be chromaticities at all: a damaged file may state anything."""
    import numpy as np

    if len(places) != 8 or not all(0 < value < 1 for value in places):
        return False
    white, red, green, blue = np.array(places).reshape(4, 2)
    area = np.linalg.det(np.stack([green - red, blue - red]))
    inside = [np.linalg.det(np.stack([b - a, white - a])) / area for a, b in ((red, green), (green, blue), (blue, red))]
    return bool(abs(area) > 0.01 and min(inside) > 0.05)


def _to_xyz(places: Chromaticities) -> np.ndarray:
    """[3, 3] from light in red, green and blue to XYZ, white having Y = 1."""
    import numpy as np

    white, *corners = [np.array([x / y, 1, (1 - x - y) / y]) for x, y in zip(places[::2], places[1::2], strict=True)]
    matrix = np.stack(corners, axis=1)
    return np.asarray(matrix * np.linalg.solve(matrix, white))


def _in_png(path: Path) -> tuple[int, int] | None:
    """The code points of a PNG's cICP chunk. Raises OSError."""
    with path.open("rb") as stream:
        stream.seek(8)
        for _ in range(_CHUNKS):
            head = stream.read(8)
            if len(head) < 8 or head[4:] == b"IDAT":
                break
            (length,) = struct.unpack(">I", head[:4])
            if head[4:] == b"cICP" and length == 4:
                primaries, transfer, *_ = stream.read(4).ljust(4, b"\0")
                return primaries, transfer
            stream.seek(length + 4, 1)
    return None


def _in_boxes(path: Path) -> tuple[int, int] | None:
    """The code points of the first colour box of an AVIF or HEIC. Raises OSError."""
    with path.open("rb") as stream:
        head = stream.read(_HEAD)
    at = head.find(b"colrnclx")
    if at < 0 or len(head) < at + 12:
        return None
    primaries, transfer = struct.unpack(">HH", head[at + 8 : at + 12])
    return primaries, transfer
