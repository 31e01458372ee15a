"""Reference images: read, cut out, framed for the image encoder."""

from .files import load_image

__all__ = ["load_image"]
