"""Reference images: read, cut out, framed for the image encoder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..protocol import Point, Settings

if TYPE_CHECKING:
    from PIL import Image


def load_image(path: Path | str, background: str = Settings.background, point: Point | None = None) -> Image.Image:
    """One reference image as RGBA, upright, with an opaque object on a transparent background.

    ``background`` is the setting of that name. The object is the one at ``point``, without it the largest. Raises
    ImageError if the file cannot be read or shows no object that can be cut out.
    """
    from .files import load_image as load  # what frames images for the networks must not need Pillow

    return load(path, background, point)
