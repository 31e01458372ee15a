"""Decoded pixels of any kind to 8 bits in sRGB: depth, colour space, transparency."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image, ImageCms

from .stated import Colours, UnknownColours, stated_colours

_INTENT, _FLAGS = ImageCms.Intent.RELATIVE_COLORIMETRIC, ImageCms.Flags.BLACKPOINTCOMPENSATION

#: The colour spaces of ICC profiles, and Pillow's modes for their pixels.
_MODES = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK", "Lab ": "LAB"}


class Converter:
    """Converts the pixels of one decoded image, band by band.

    *Depth*. Of 16 bits the upper 8 are kept. Integers of 32 bits are taken for 16 if none is larger than that, else the
    upper 8 of 31 are kept. Floats: 0 is black, 1 is white; what lies beyond is cut off.

    *Colour*. An embedded ICC profile is applied: relative colorimetric, with black point compensation. Without one it
    is what the file states in numbers (``stated``). Pixels without either are taken for sRGB; CMYK is then converted
    without a model of ink.
    """

    def __init__(self, image: Image.Image, path: Path) -> None:
        self.note = ""
        self._stated: Colours | None = None
        self._is_long = image.mode == "I" and _largest(image) > 65535
        self._transform: ImageCms.ImageCmsTransform | None = None
        self._mode = ""
        profile = image.info.get("icc_profile")
        try:
            if profile or image.mode == "LAB":
                self._use(profile, image.mode)
            else:
                self._stated = stated_colours(image, path)
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            self.note = f"The color profile of {path.name} is damaged or does not fit it, and was ignored."
        except UnknownColours as unknown:
            self.note = f"The colors of {path.name} are stated in a way that is not known ({unknown}): taken for sRGB."

    def srgb(self, band: Image.Image) -> Image.Image:
        """These rows of the image in sRGB: RGB, or RGBA if they have transparency."""
        band = self._eight_bits(band)
        whole = band.convert("RGBA" if band.has_transparency_data else "RGB")
        if self._stated is not None:
            return self._stated.to_srgb(whole)
        if self._transform is None:
            return whole
        result = ImageCms.applyTransform(band.convert(self._mode), self._transform)
        assert result is not None
        if whole.mode == "RGBA":
            result.putalpha(whole.getchannel("A"))
        return result

    def _use(self, profile: bytes | None, mode: str) -> None:
        """Prepare the conversion from this ICC profile. Raises PyCMSError, OSError, ValueError or TypeError."""
        if mode == "LAB":
            source = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
        else:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile or b""))
        space = _MODES.get(source.profile.xcolor_space, "")
        is_gray = mode in ("1", "L", "LA", "I", "F") or mode.startswith("I;16")
        if not space or (space == "CMYK") != (mode == "CMYK") or (space == "L" and not is_gray):
            raise ValueError("the profile is for other pixels")
        srgb = ImageCms.createProfile("sRGB")
        self._transform = ImageCms.buildTransform(source, srgb, space, "RGB", _INTENT, _FLAGS)
        self._mode = space

    def _eight_bits(self, band: Image.Image) -> Image.Image:
        """Numbers of 16 bits and more as 8 bits; others as they are."""
        if band.mode != "F" and not band.mode.startswith("I"):
            return band
        import numpy as np  # here, because most images do without it, and it takes longer than decoding them

        values = np.asarray(band)
        if band.mode == "F":
            values = np.nan_to_num(values).clip(0, 1) * 255 + 0.5
        elif band.mode == "I":
            values = values.clip(0, None) >> (23 if self._is_long else 8)
        else:
            values = values >> 8
        return Image.fromarray(values.astype(np.uint8))


def _largest(image: Image.Image) -> float:
    """The largest number in an image with one band."""
    high = image.getextrema()[1]
    assert isinstance(high, (int, float))
    return high
