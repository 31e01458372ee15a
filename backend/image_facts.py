"""What both sides must agree on about images and cut-outs. Standard library only; ``protocol`` exports it."""

from __future__ import annotations

from dataclasses import dataclass

#: The kinds of image files that are read, as Pillow names them, and the suffixes that their files have. Files are
#: recognised by content; suffixes are for file selectors and for listing folders. No kind is here whose reader starts
#: another program (EPS) or which has pages (PDF).
IMAGE_FORMATS: dict[str, tuple[str, ...]] = {
    "PNG": (".png", ".apng"),
    "JPEG": (".jpg", ".jpeg", ".jfif", ".jpe"),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "BMP": (".bmp", ".dib"),
    "GIF": (".gif",),
    "AVIF": (".avif",),
    "HEIF": (".heic", ".heif"),
}
IMAGE_SUFFIXES = tuple(suffix for suffixes in IMAGE_FORMATS.values() for suffix in suffixes)

#: The longer side of a cut-out in pixels. A larger image is reduced to it: the networks see 518 pixels of the object,
#: and distances cost memory.
CUTOUT_SIDE = 1536
#: The longer side of its thumbnail in pixels, and the checkerboard behind it: the side of a square, two greys of 255.
THUMBNAIL_SIDE = 256
CHECKER_SQUARE = 16
CHECKER_GREYS = (102, 153)

#: What ``protocol.CutoutDone.notes`` may say, for people.
BACKGROUND_REMOVED = "Background removed."
EDGE_TOUCHED = "The object touches the edge of the image, so a part of it may be missing."
NOTHING_STANDS_OUT = "No object stands out from the background."
CUTOUT_NOTES = (BACKGROUND_REMOVED, EDGE_TOUCHED, NOTHING_STANDS_OUT)


@dataclass(frozen=True)
class ImageCamera:
    """Where an image of an object was taken from: its camera looks at the middle of the object's cube."""

    painted: bool  # whether the texture was painted from the image
    azimuth: float  # in degrees: 0 sees the front, 90 the side at +X
    elevation: float  # in degrees
    distance: float  # from the middle of the cube, whose side is 1
    angle: float  # the field of view across the image's longer side, in degrees
    shift_x: float  # as Blender's cameras have them
    shift_y: float
