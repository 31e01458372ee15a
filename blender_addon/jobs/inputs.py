"""What exists only in Blender, as pixels or as arrays, becomes files that the backend can read. No bpy.

Images are written as 32-bit BMP: no compression, and rows from the bottom up, as Blender keeps them. A thread converts
and writes, for that takes longer than a frame: about 60 ms for 2048 x 2048 pixels, as much for a mesh of 200,000 faces.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

BAND = 16  # rows

_MASKS = (0x00FF0000, 0x0000FF00, 0x000000FF, 0xFF000000)  # of red, green, blue and alpha in a pixel


@dataclass(frozen=True)
class Pixels:
    """``values`` [H, W, C] float32, the bottom row first; C is 1, 3 or 4.

    If ``linear``, colours are scene-linear and already multiplied by alpha, as in Blender's float images; otherwise
    they are sRGB from 0 to 1 and are not.
    """

    values: NDArray[np.float32]
    linear: bool = False


#: What a file is made of: bytes as they are, pixels as BMP, arrays as .npz.
Content: TypeAlias = bytes | Pixels | Mapping[str, NDArray[Any]]


class InputWriter(threading.Thread):
    """Writes the files that a job names. ``error`` says in words what went wrong, once the thread has ended.

    Folders are made where there are none. What could not be written is kept, for another writer to try.
    """

    def __init__(self, files: dict[Path, Content]) -> None:
        super().__init__(name="espalier input", daemon=True)  # any other thread would hold up Blender's quit
        self.error = ""
        self.files = files

    def run(self) -> None:
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
    else:
        path.write_bytes(content if isinstance(content, bytes) else encode_bmp(content))


def encode_bmp(pixels: Pixels) -> bytes:
    """A BMP file with alpha, in sRGB."""
    height, width = pixels.values.shape[:2]
    rows = np.empty((height, width, 4), np.uint8)
    for start in range(0, height, BAND):  # so that what is computed in between stays in the processor's cache
        band = slice(start, start + BAND)
        rows[band] = _bgra(pixels.values[band], pixels.linear)
    offset, size = 14 + 108, rows.nbytes
    head = struct.pack("<2sIHHI", b"BM", offset + size, 0, 0, offset)
    info = struct.pack("<IiiHHIIiiII", 108, width, height, 1, 32, 3, size, 2835, 2835, 0, 0)
    space = struct.pack("<4I4s48x", *_MASKS, b"BGRs")
    return head + info + space + rows.tobytes()


def _bgra(values: NDArray[np.float32], linear: bool) -> NDArray[np.uint8]:
    """[h, W, C] -> [h, W, 4], from 0 to 255."""
    color, alpha = _color_and_alpha(values)
    if linear:
        color = srgb(color / np.where(alpha > 0, alpha, 1))
    straight = np.concatenate((color[..., ::-1], alpha), axis=2)
    return (np.clip(np.nan_to_num(straight), 0, 1) * 255 + 0.5).astype(np.uint8)


def srgb(linear: NDArray[np.float32]) -> NDArray[np.float32]:
    """Linear light 0..1 as sRGB (IEC 61966-2-1)."""
    linear = np.clip(linear, 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** np.float32(1 / 2.4) - 0.055)


def _color_and_alpha(values: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """[H, W, 3] and [H, W, 1] of [H, W, C]."""
    channels = values.shape[2]
    if channels == 4:
        return values[..., :3], values[..., 3:]
    color = np.repeat(values, 3, axis=2) if channels == 1 else values[..., :3]
    return color, np.ones_like(values[..., :1])
