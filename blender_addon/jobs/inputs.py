"""Writes images and arrays as they were at the press of a button to files that the backend can read. No bpy.

Images are written as 32-bit BMP: uncompressed, with the rows from the bottom up, as in Blender. A thread converts and
writes them, because that takes longer than a frame: about 60 ms for 2048 x 2048 pixels, and as much for a mesh of
200,000 faces.
"""

from __future__ import annotations

import shutil
import struct
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

BAND = 16  # rows
BLOCK = 1 << 20  # bytes of a file that is copied

_MASKS = (0x00FF0000, 0x0000FF00, 0x000000FF, 0xFF000000)  # of red, green, blue and alpha in a pixel


@dataclass(frozen=True)
class Pixels:
    """The pixels of an image: ``values`` [H, W, C] float32, the bottom row first. C is 1, 3 or 4.

    If ``linear``, the colours are scene-linear with premultiplied alpha, as in Blender's float images. Otherwise they
    are sRGB from 0 to 1 with straight alpha.
    """

    values: NDArray[np.float32]
    linear: bool = False


#: The content of a file: bytes and opened files are written as they are, pixels as BMP, arrays as .npz.
Content: TypeAlias = bytes | IO[bytes] | Pixels | Mapping[str, NDArray[Any]]


class InputWriter(threading.Thread):
    """Writes the files that a job names. After the thread has ended, ``error`` says what went wrong, if anything.

    Missing folders are created. What could not be written stays in ``files``, so that another writer can try again.
    """

    def __init__(self, files: dict[Path, Content]) -> None:
        super().__init__(name="espalier input", daemon=True)  # otherwise Blender could not quit while it runs
        self.error = ""
        self.files = files

    def run(self) -> None:
        """Write the files: this is what the thread does."""
        for path, content in list(self.files.items()):
            try:
                path.parent.mkdir(exist_ok=True)
                _write(path, content)
                del self.files[path]
            except OSError as error:
                self.error = f"A file could not be written: {error.strerror or error} ({path})"


def _write(path: Path, content: Content) -> None:
    if isinstance(content, Mapping):
        np.savez(path, allow_pickle=False, **content)
    elif isinstance(content, bytes | Pixels):
        path.write_bytes(content if isinstance(content, bytes) else encode_bmp(content))
    else:
        content.seek(0)  # an earlier attempt may have read it
        with path.open("wb") as stream:
            shutil.copyfileobj(content, stream, BLOCK)
        content.close()


def encode_bmp(pixels: Pixels) -> bytes:
    """Encode pixels as a BMP file with alpha, in sRGB."""
    height, width = pixels.values.shape[:2]
    rows = np.empty((height, width, 4), np.uint8)
    for start in range(0, height, BAND):  # so that intermediate results stay in the processor's cache
        band = slice(start, start + BAND)
        rows[band] = _bgra(pixels.values[band], pixels.linear)
    offset, size = 14 + 108, rows.nbytes
    head = struct.pack("<2sIHHI", b"BM", offset + size, 0, 0, offset)
    info = struct.pack("<IiiHHIIiiII", 108, width, height, 1, 32, 3, size, 2835, 2835, 0, 0)
    space = struct.pack("<4I4s48x", *_MASKS, b"BGRs")
    return head + info + space + rows.tobytes()


def _bgra(values: NDArray[np.float32], linear: bool) -> NDArray[np.uint8]:
    """[h, W, C] -> [h, W, 4] in the order of BMP, from 0 to 255."""
    color, alpha = _color_and_alpha(values)
    if linear:
        color = srgb(color / np.where(alpha > 0, alpha, 1))
    straight = np.concatenate((color[..., ::-1], alpha), axis=2)
    return (np.clip(np.nan_to_num(straight), 0, 1) * 255 + 0.5).astype(np.uint8)


def srgb(linear: NDArray[np.float32]) -> NDArray[np.float32]:
    """Convert linear light, from 0 to 1, to sRGB (IEC 61966-2-1)."""
    linear = np.clip(linear, 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** np.float32(1 / 2.4) - 0.055)


def _color_and_alpha(values: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Split [H, W, C] into colour [H, W, 3] and alpha [H, W, 1]."""
    channels = values.shape[2]
    if channels == 4:
        return values[..., :3], values[..., 3:]
    color = np.repeat(values, 3, axis=2) if channels == 1 else values[..., :3]
    return color, np.ones_like(values[..., :1])
