"""Whether a file is complete, by its format's own marks: for what was just written, and for what is there already.

Standard library only: both sides use it. A format that is not listed here passes: what writes it reports every error.
Blender does not. A full disk cuts off the .blend that it says it has saved.
"""

from __future__ import annotations

import json
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO

#: The magic number at the end of zstandard's seek table, and that of the frame that holds the table. Both are in
#: https://github.com/facebook/zstd/blob/dev/contrib/seekable_format/zstd_seekable_compression_format.md
_SEEKABLE, _SKIPPABLE = 0x8F92EAB1, 0x184D2A5E
_ZSTD = b"\x28\xb5\x2f\xfd"
#: The last block of a .blend.
_LAST_BLOCK = b"ENDB"

_PNG = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of a PNG's colour types
_PIECE = 1 << 20

#: The magic number at the end of a binary FBX, as https://code.blender.org/2013/08/fbx-binary-file-format-specification
#: describes it and Blender writes it.
_FBX_END = bytes.fromhex("f85a8c6adef5d97eece90ce3758f290b")
_MOST_SECTIONS = 64  # of a .usdc: there are six


def is_whole(path: Path) -> bool:
    """Whether a file is there and complete. One that was edited may be complete, one that was cut off is not."""
    try:
        return flaw(path) == ""
    except OSError:
        return False


def flaw(path: Path) -> str:
    """What shows that a file is not complete, as a clause; empty if nothing does. Raises OSError."""
    if not path.is_file():
        return "it is not there"
    if not (size := path.stat().st_size):
        return "it is empty"
    check = _CHECKS.get(path.suffix.lower())
    if check is None:
        return ""
    try:
        with path.open("rb") as stream:
            return check(stream, size)
    except (struct.error, zlib.error, zipfile.BadZipFile, EOFError, ValueError, KeyError, RecursionError) as error:
        return f"its end is missing or damaged ({error})"


def _glb(stream: BinaryIO, size: int) -> str:
    """Binary glTF 2.0: a header with the length of the whole, and chunks that fill it, JSON first."""
    magic, _, length = struct.unpack("<4sII", stream.read(12))
    if magic != b"glTF" or length != size:
        return f"it has {size} bytes, and says {length}"
    at = 12
    while at < size:
        count, kind = struct.unpack("<I4s", stream.read(8))
        if at == 12:
            if kind != b"JSON":
                return "it does not begin with JSON"
            json.loads(stream.read(count))
        at += 8 + count
        stream.seek(at)
    return "" if at == size else "its last chunk is cut off"


def _blend(stream: BinaryIO, size: int) -> str:
    """A .blend ends with its ENDB block. A compressed one ends with a table of its frames, which fill the rest."""
    start = stream.read(7)
    if start != b"BLENDER" and not start.startswith(_ZSTD):
        return "it does not begin as a .blend does"
    if start == b"BLENDER":
        return _blocks(stream, size)
    stream.seek(-9, 2)
    frames, flags, magic = struct.unpack("<IBI", stream.read(9))
    if magic != _SEEKABLE:
        return "its last block is missing"
    entry = 12 if flags & 0x80 else 8  # with a checksum or without
    table = 8 + frames * entry + 9
    stream.seek(max(size - table, 0))
    kind, length = struct.unpack("<II", stream.read(8))
    packed = sum(frame[0] for frame in struct.iter_unpack(f"<I{entry - 4}x", stream.read(frames * entry)))
    fits = kind == _SKIPPABLE and length == table - 8 and packed + table == size
    return "" if fits else "its frames do not fill it"


def _blocks(stream: BinaryIO, size: int) -> str:
    """The blocks of a .blend fill it, up to the last one. Their headers have one form before Blender 5.0, one since."""
    mark = stream.read(1)
    if mark in (b"_", b"-"):  # pointers of 4 or 8 bytes
        order = "<" if stream.read(1) == b"v" else ">"
        at, header = 12, struct.Struct(f"{order}4si{'4s' if mark == b'_' else '8s'}ii")
        where = 1
    else:
        at = int(mark + stream.read(1))
        header, where = struct.Struct("<4si8sqq"), 3
    code = b""
    while code != _LAST_BLOCK:
        stream.seek(at)
        block = header.unpack(stream.read(header.size))
        code, length = block[0], block[where]
        at += header.size + length
        if length < 0 or at > size:
            return "a block is cut off"
    return "" if at == size else "its last block is not at its end"


def _png(stream: BinaryIO, size: int) -> str:
    """A PNG whose every chunk has its checksum, and whose pixels unpack to as many bytes as its header says."""
    if stream.read(8) != _PNG:
        return "it does not begin as a PNG does"
    pixels, unpacked, expected, kind = zlib.decompressobj(), 0, -1, b""
    while kind != b"IEND":
        length, kind = struct.unpack(">I4s", stream.read(8))
        content = stream.read(length)
        (sum_,) = struct.unpack(">I", stream.read(4))
        if len(content) != length or zlib.crc32(kind + content) != sum_:
            return "a chunk of it is damaged"
        if kind == b"IHDR":
            width, height, depth, color, _, _, interlaced = struct.unpack(">IIBBBBB", content)
            if not interlaced:  # nothing here writes such files: then the checksums must do
                expected = height * (1 + (width * depth * _CHANNELS[color] + 7) // 8)
        elif kind == b"IDAT":
            while content:
                unpacked += len(pixels.decompress(content, _PIECE))
                content = pixels.unconsumed_tail
    return "" if expected in (-1, unpacked) else "its pixels are not all there"


def _ply(stream: BinaryIO, size: int) -> str:
    """A .ply: its header ends. Its text tells the length, but it is always written in one piece."""
    return "" if stream.read(4) == b"ply\n" else "it does not begin as a .ply does"


def _zip(stream: BinaryIO, size: int) -> str:
    """A zip, such as .3mf and .usdz: its directory is at its end, and the content of each entry has its checksum."""
    with zipfile.ZipFile(stream) as archive:
        damaged = archive.testzip()
    return f"{damaged} in it is damaged" if damaged else ""


def _stl(stream: BinaryIO, size: int) -> str:
    """Binary STL: a header of 80 bytes, the number of triangles, and 50 bytes for each."""
    (count,) = struct.unpack("<80xI", stream.read(84))
    return "" if size == 84 + 50 * count else f"it has {size} bytes, and says {84 + 50 * count}"


def _fbx(stream: BinaryIO, size: int) -> str:
    """Binary FBX: the nodes follow each other, each says where it ends, and a magic number ends the file."""
    if stream.read(21) != b"Kaydara FBX Binary  \0":
        return "it does not begin as a binary FBX does"
    (version,) = struct.unpack("<2xI", stream.read(6))
    wide, at = version >= 7500, 27
    while True:
        stream.seek(at)
        (end,) = struct.unpack("<Q" if wide else "<I", stream.read(8 if wide else 4))
        if end == 0:
            break
        if end <= at or end > size:
            return "a node of it is cut off"
        at = end
    stream.seek(size - 16)
    return "" if stream.read(16) == _FBX_END else "its end is missing"


def _usdc(stream: BinaryIO, size: int) -> str:
    """Binary USD: the header says where the table of contents begins, which Blender writes last."""
    magic, _, contents = struct.unpack("<8s8sq", stream.read(24))
    if magic != b"PXR-USDC":
        return "it does not begin as a .usdc does"
    stream.seek(contents)
    (count,) = struct.unpack("<Q", stream.read(8))
    sections = [struct.unpack("<16sqq", stream.read(32)) for _ in range(min(count, _MOST_SECTIONS))]
    return "a section of it is cut off" if any(start + length > size for _, start, length in sections) else ""


def _text(stream: BinaryIO, size: int) -> str:
    """Text such as .obj and .mtl, whose last line ends. Nothing else shows that such a file was cut off."""
    stream.seek(size - 1)
    return "" if stream.read(1) == b"\n" else "its last line is cut off"


_CHECKS: Mapping[str, Callable[[BinaryIO, int], str]] = {
    ".glb": _glb,
    ".blend": _blend,
    ".png": _png,
    ".ply": _ply,
    ".3mf": _zip,
    ".usdz": _zip,
    ".stl": _stl,
    ".fbx": _fbx,
    ".usdc": _usdc,
    ".obj": _text,
    ".mtl": _text,
}
