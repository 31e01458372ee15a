"""Writes images and arrays as they were at the press of a button to files that the backend can read. No bpy.

Image files are opened at the press, and a thread copies them: a large one takes longer than a frame. Pixels are written
as 32-bit BMP: uncompressed, with the rows from the bottom up, as in Blender. The thread does that too: it takes about
60 ms for 2048 x 2048 pixels, and as much for a mesh of 200,000 faces.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
import threading
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ...backend import protocol
from ...backend.disk_errors import explain
from ...backend.files import MAX_PICTURE, PART, put_in_place
from .file_lock import SAFELY

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


class Unreadable(Exception):
    """An image file cannot be copied as it was. ``error`` says why, for the panel."""

    def __init__(self, error: protocol.Error) -> None:
        super().__init__(error.message)
        self.error = error


class ImageFile:
    """An image file as it is when this is made: then it is opened, so that renaming or deleting it harms nothing.

    On Windows, the system refuses to rename it until it is copied. If it is overwritten in place before that, it cannot
    be had any more as it was, and this is said. Any number of jobs may share it. Raises OSError if it is no file, or
    larger than any image that is read. A pipe is not waited for.
    """

    def __init__(self, path: Path) -> None:
        handle = os.open(path, os.O_RDONLY | SAFELY)
        try:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_PICTURE:
                raise OSError(errno.EINVAL, "it is no image file", str(path))
            self._stream = os.fdopen(handle, "rb", buffering=0)
        except BaseException:
            os.close(handle)
            raise
        weakref.finalize(self, self._stream.close)
        self.path = path
        self._seen = _version(status)
        self._lock = threading.Lock()  # each job has a thread that writes
        self._copy: Path | None = None

    @property
    def is_as_it_was(self) -> bool:
        """Whether the opened file has not been written to since."""
        return _version(os.fstat(self._stream.fileno())) == self._seen

    def copy_to(self, part: Path, target: Path) -> None:
        """Write the file as it was when it was opened to ``part``, which will become ``target``.

        Only the first copy takes room: others on the same disk are links to it. Raises Unreadable, and OSError if
        ``part`` cannot be written.
        """
        with self._lock:
            if self._copy is not None and _is_linked(self._copy, part):
                return
            with part.open("wb") as stream:
                self._stream.seek(0)
                while block := self._read():
                    stream.write(block)
                copied = stream.tell()
            if copied != self._seen[0] or not self.is_as_it_was:
                words = f"The image {self.path.name} was changed while it was being read."
                raise Unreadable(protocol.Error(None, "image_changed", words, "Try again."))
            self._copy = target

    def _read(self) -> bytes:
        try:
            return self._stream.read(BLOCK)
        except OSError as error:  # not the job's folder: the image's own disk, which may be on a network
            found = explain(error, self.path.parent)
            raise Unreadable(protocol.Error(None, found.code, found.message, found.hint)) from error


def _version(status: os.stat_result) -> tuple[int, int]:
    """What changes when a file is written to, and not when it is renamed or deleted; its size comes first."""
    return status.st_size, status.st_mtime_ns


def _is_linked(copy: Path, target: Path) -> bool:
    """Make a second name for a copy. False if it is gone, or if its disk knows no links."""
    try:
        target.unlink(missing_ok=True)
        os.link(copy, target)
    except OSError:
        return False
    return True


#: The content of a file: bytes and image files are written as they are, pixels as BMP, arrays as .npz.
Content: TypeAlias = bytes | ImageFile | Pixels | Mapping[str, NDArray[Any]]


class InputWriter(threading.Thread):
    """Writes the files that a job names. After the thread has ended, ``error`` says what went wrong, if anything.

    Missing folders are created. What could not be written stays in ``files``, so that another writer can try again.
    """

    def __init__(self, files: dict[Path, Content]) -> None:
        super().__init__(name="espalier input", daemon=True)  # otherwise Blender could not quit while it runs
        self.error: protocol.Error | None = None
        self.files = files

    def run(self) -> None:
        """Write the files: this is what the thread does."""
        for path, content in list(self.files.items()):
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                _write(path, content)
                del self.files[path]
                continue
            except Unreadable as error:
                found = error.error
            except OSError as error:
                said = explain(error, path.parent)
                found = protocol.Error(None, said.code, said.message, said.hint)
            self.error = self.error or found


def _write(path: Path, content: Content) -> None:
    """Write a file whole or not at all: a part of an image would be taken for it when Blender has died meanwhile."""
    part = path.with_name(f"{PART}{path.name}")
    try:
        if isinstance(content, Mapping):
            np.savez(part, allow_pickle=False, **content)
        elif isinstance(content, ImageFile):
            content.copy_to(part, path)
        else:
            part.write_bytes(content if isinstance(content, bytes) else encode_bmp(content))
        put_in_place(part, path)
    finally:
        part.unlink(missing_ok=True)


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
    color, alpha = straight(values, linear)
    return (np.concatenate((color[..., ::-1], alpha), axis=2) * 255 + 0.5).astype(np.uint8)


def straight(values: NDArray[np.float32], linear: bool) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The values of ``Pixels`` as sRGB colours [H, W, 3] and straight alpha [H, W, 1], from 0 to 1."""
    color, alpha = _color_and_alpha(values)
    if linear:
        color = srgb(color / np.where(alpha > 0, alpha, 1))
    return np.clip(np.nan_to_num(color), 0, 1), np.clip(np.nan_to_num(alpha), 0, 1)


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
