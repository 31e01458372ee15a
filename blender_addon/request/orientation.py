"""Which way up an image file is shown, as its Exif data says. Blender shows images as they are stored.

Only the kinds that Blender reads and that carry Exif data are looked into: JPEG, PNG, WebP, TIFF. No bpy.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

ORIENTATION = 0x0112
#: Limits for a file that wants to be read for ever: Exif data comes near the beginning, and its first table is short.
MAX_PARTS, MAX_ENTRIES = 64, 256


def orientation(stream: IO[bytes]) -> int:
    """The orientation of an image file, 1 to 8 as Exif numbers them. 1, as it is stored, if it does not say."""
    try:
        at = _exif(stream)
        return 1 if at is None else _first_table(stream, at).get(ORIENTATION, 1)
    except (struct.error, EOFError):  # cut off
        return 1


def upright(pixels: NDArray[Any], turn: int) -> NDArray[Any]:
    """Pixels [H, W, ...], the bottom row first, as an image of this orientation is shown."""
    pixels = pixels[::-1]
    if turn in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if turn in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if turn in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels[::-1])


def _exif(stream: IO[bytes]) -> int | None:
    """Where in the file the Exif data begin, which have the form of a TIFF."""
    head = stream.read(12)
    if head[:4] in (b"II*\0", b"MM\0*"):
        return 0
    if head[:2] == b"\xff\xd8":
        parts = _jpeg_parts(stream)
    elif head[:8] == b"\x89PNG\r\n\x1a\n":
        parts = _chunks(stream, 8, ">I4s", 4)
    elif head[:4] == b"RIFF" and head[8:] == b"WEBP":
        parts = _chunks(stream, 12, "<4sI", 0)
    else:
        return None
    for _, (at, name) in zip(range(MAX_PARTS), parts, strict=False):
        stream.seek(at)
        if name in (b"\xe1", b"EXIF", b"eXIf"):
            prefix = stream.read(6)
            if prefix == b"Exif\0\0":
                return at + 6
            if name != b"\xe1":
                return at
    return None


def _jpeg_parts(stream: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """Where each segment's data begin, and its marker, up to the pixels."""
    at = 2
    while True:
        stream.seek(at)
        mark, name, length = struct.unpack(">ccH", stream.read(4))
        if mark != b"\xff" or name == b"\xda":
            return
        yield at + 4, name
        at += 2 + length


def _chunks(stream: IO[bytes], at: int, form: str, after: int) -> Iterator[tuple[int, bytes]]:
    """Where each chunk's data begin, and its name. ``form``: of its head. ``after``: bytes behind its data."""
    while True:
        stream.seek(at)
        first, second = struct.unpack(form, stream.read(8))
        length, name = (first, second) if isinstance(first, int) else (second, first)
        yield at + 8, name
        at += 8 + length + after
        at += 0 if after else length % 2  # RIFF's chunks begin at even places


def _first_table(stream: IO[bytes], start: int) -> dict[int, int]:
    """The short numbers in the first table of a TIFF that begins at ``start``, by tag."""
    stream.seek(start)
    order = "<" if stream.read(4)[:2] == b"II" else ">"
    (offset,) = struct.unpack(order + "I", stream.read(4))
    stream.seek(start + offset)
    (count,) = struct.unpack(order + "H", stream.read(2))
    entries = [struct.unpack(order + "HHIHxx", stream.read(12)) for _ in range(min(count, MAX_ENTRIES))]
    return {tag: value for tag, kind, _, value in entries if kind == 3}
