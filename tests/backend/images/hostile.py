"""Files that are small and take much, and large ones: ``FILES`` has what writes each, ``REFUSED`` what is no image."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

PNG = b"\x89PNG\r\n\x1a\n"


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def zeros(count: int) -> bytes:
    """So many zeros, compressed."""
    packer = zlib.compressobj(1)
    packed = [packer.compress(bytes(1 << 20)) for _ in range(count >> 20)]
    return b"".join([*packed, packer.compress(bytes(count % (1 << 20))), packer.flush()])


def png(path: Path, side: int, depth: int, kind: int, interlaced: int = 0, extra: bytes = b"", more: int = 0) -> None:
    """A black PNG. ``extra``: chunks before the pixels. ``more``: bytes behind them, in the same stream."""
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[kind]
    head = struct.pack(">IIBBBBB", side, side, depth, kind, 0, 0, interlaced)
    rows = side * (1 + side * samples * depth // 8) + (2 * side if interlaced else 0)
    path.write_bytes(PNG + chunk(b"IHDR", head) + extra + chunk(b"IDAT", zeros(rows + more)) + chunk(b"IEND", b""))


def disc_png(path: Path, *chunks: bytes) -> None:
    """A small PNG of a disc on transparency, with these chunks."""
    rows, columns = np.mgrid[:64, :64]
    pixels = np.zeros((64, 64, 4), np.uint8)
    pixels[(rows - 32) ** 2 + (columns - 32) ** 2 < 400] = (200, 40, 30, 255)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    content = stream.getvalue()
    path.write_bytes(content[:33] + b"".join(chunks) + content[33:])


def text(kind: bytes, length: int) -> bytes:
    packed = zeros(length)
    return chunk(kind, b"a\0\0" + packed if kind == b"zTXt" else b"a\0\1\0\0\0" + packed)


def jpeg(side: int, **options: Any) -> bytes:
    rows = np.arange(side, dtype=np.uint32)
    gray = ((rows[:, None] ^ rows) & 255).astype(np.uint8)
    stream = io.BytesIO()
    Image.merge("RGB", [Image.fromarray(gray)] * 3).save(stream, "JPEG", **options)
    return stream.getvalue()


def many_scans(path: Path, count: int) -> None:
    """A progressive JPEG whose last scan comes again and again."""
    content = jpeg(2000, progressive=True)
    last = content.rindex(b"\xff\xda")
    path.write_bytes(content[:last] + content[last:-2] * count + content[-2:])


def padded(path: Path, count: int) -> None:
    path.write_bytes(b"\xff\xd8" + b"\xff" * count + jpeg(64)[2:])


def flat(path: Path, mode: str, size: tuple[int, int], **options: Any) -> None:
    Image.new(mode, size, 1).save(path, **options)


def noise(path: Path, size: tuple[int, int], **options: Any) -> None:
    """Coarse noise, with a finer one over it."""
    pixels = np.random.default_rng(0).integers(0, 255, (100, 100, 3), dtype=np.uint8)
    image = Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR)
    image.paste(Image.effect_noise((min(size), min(size)), 60).convert("RGB"), (0, 0))
    image.save(path, **options)


def frames(path: Path, count: int, kind: str) -> None:
    shown = [Image.new("RGB", (256, 256), (number % 256, 9, 9)) for number in range(count)]
    shown[0].save(path, kind, save_all=True, append_images=shown[1:])


def gif_comments(path: Path, count: int) -> None:
    head = b"GIF89a" + struct.pack("<HHBBB", 64, 64, 0x80, 0, 0) + bytes(6)
    path.write_bytes(head + b"\x21\xfe" + (b"\xff" + b"c" * 255) * count + b"\0")


def tiff(path: Path, entries: Iterable[tuple[int, int, int, int]], data: bytes = b"") -> None:
    """A TIFF with these entries (tag, type, count, value) and data at its byte 4096."""
    table = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    head = b"II*\0" + struct.pack("<IH", 8, len(table) // 12) + table + bytes(4)
    path.write_bytes(head.ljust(4096, b"\0") + data)


def tiff_of(path: Path, side: int, tile: int = 0, bits: int = 8, count: int = 1) -> None:
    """A grey TIFF, compressed: one strip, or one tile of another size."""
    data = zeros((tile or side) ** 2 * bits // 8)
    part = [(322, 4, 1, tile), (323, 4, 1, tile), (324, 4, 1, 4096), (325, 4, 1, len(data))]
    if not tile:
        part = [(273, 4, 1, 4096), (278, 4, 1, side), (279, 4, 1, len(data))]
    form = [(256, 4, 1, side), (257, 4, 1, side), (258, 3, 1, bits), (259, 3, 1, 8), (262, 3, 1, 1), (277, 3, 1, count)]
    tiff(path, sorted([*form, *part, (339, 3, 1, 3 if bits == 32 else 1)]), data)


def tiff_tags(path: Path, count: int, size: int) -> None:
    """A TIFF of many tags, all of which hold the same large data."""
    tiff(path, [(40_000 + number, 1, size, 4096) for number in range(count)], bytes(size))


def bmp_rle(path: Path, side: int) -> None:
    run = bytes((255, 0)) * (side // 255) + bytes((side % 255, 0, 0, 0))
    head = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 8, 1, len(run) * side, 1, 1, 256, 0)
    offset = 14 + len(head) + 1024
    path.write_bytes(
        struct.pack("<2sIII", b"BM", offset + len(run) * side, 0, offset) + head + bytes(1024) + run * side
    )


def webp_canvas(path: Path, side: int) -> None:
    """A WebP animation of a large canvas and a small frame."""
    stream = io.BytesIO()
    Image.new("RGB", (16, 16)).save(stream, "WEBP", lossless=True)
    frame = stream.getvalue()[12:]
    three = [(value).to_bytes(3, "little") for value in (side - 1, 0, 15, 100)]
    body = three[1] * 2 + three[2] * 2 + three[3] + b"\0" + frame
    parts = b"VP8X" + struct.pack("<IB3x", 10, 2) + three[0] * 2 + b"ANIM" + struct.pack("<IIH", 6, 0, 0)
    parts += b"ANMF" + struct.pack("<I", len(body)) + body
    path.write_bytes(b"RIFF" + struct.pack("<I", 4 + len(parts)) + b"WEBP" + parts)


#: Read or refused, but within limits.
FILES: dict[str, Callable[[Path], object]] = {
    "PNG, 16-bit grey, 8000": partial(png, side=8000, depth=16, kind=0),
    "PNG, 16-bit RGBA, 8000": partial(png, side=8000, depth=16, kind=6),
    "PNG, 16-bit RGB, 4000": partial(png, side=4000, depth=16, kind=2),
    "PNG, interlaced, 7000": partial(png, side=7000, depth=8, kind=6, interlaced=1),
    "PNG, 1-bit, 8000": partial(png, side=8000, depth=1, kind=0),
    "PNG, 30000": lambda path: path.write_bytes(
        PNG + chunk(b"IHDR", struct.pack(">IIBBBBB", 30_000, 30_000, 8, 6, 0, 0, 0)) + chunk(b"IDAT", b"") * 2
    ),
    "PNG, 400 MB behind the pixels": partial(png, side=64, depth=8, kind=2, more=400_000_000),
    "PNG, 90 MB of zTXt": lambda path: disc_png(path, text(b"zTXt", 90_000_000)),
    "PNG, 90 MB of iTXt": lambda path: disc_png(path, text(b"iTXt", 90_000_000)),
    "PNG, 200 zTXt": lambda path: disc_png(path, *[text(b"zTXt", 1_000_000)] * 200),
    "PNG, a profile of 200 MB": lambda path: disc_png(path, chunk(b"iCCP", b"a\0\0" + zeros(200_000_000))),
    "PNG, 100,000 chunks": lambda path: disc_png(path, *[chunk(b"tEXt", b"a\0b")] * 100_000),
    "JPEG, 1,000 scans": partial(many_scans, count=1000),
    "JPEG, 100 scans": partial(many_scans, count=100),
    "JPEG, 20 MB of padding": partial(padded, count=20_000_000),
    "JPEG, 16000": lambda path: path.write_bytes(jpeg(16_000)),
    "JPEG, progressive 4:4:4, 8000": partial(
        noise, size=(8000, 8000), format="JPEG", progressive=True, subsampling=0, quality=92
    ),
    "JPEG, progressive 4:2:0, 9000": partial(noise, size=(9000, 9000), format="JPEG", progressive=True),
    "JPEG, CMYK, 8000": partial(flat, mode="CMYK", size=(8000, 8000), format="JPEG"),
    "JPEG, noise, 8000": partial(noise, size=(8000, 8000), format="JPEG", quality=95),
    "TIFF, float, 8000": partial(tiff_of, side=8000, bits=32),
    "TIFF, float, 7000": partial(tiff_of, side=7000, bits=32),
    "TIFF, 16 bits, 8000": partial(tiff_of, side=8000, bits=16),
    "TIFF, 100 with a tile of 20000": partial(tiff_of, side=100, tile=20_000),
    "TIFF, 64 large tags": partial(tiff_tags, count=64, size=50_000_000),
    "TIFF, turned, 8000": partial(flat, mode="RGB", size=(8000, 8000), format="TIFF", tiffinfo={274: 6}),
    "TIFF, noise, LZW, 7000": partial(noise, size=(7000, 7000), format="TIFF", compression="tiff_lzw"),
    "GIF, 65000": lambda path: path.write_bytes(b"GIF89a" + struct.pack("<HHBBB", 65_000, 65_000, 0, 0, 0) + bytes(99)),
    "GIF, 8000": partial(flat, mode="L", size=(8000, 8000), format="GIF"),
    "GIF, 2,000 frames": partial(frames, count=2000, kind="GIF"),
    "GIF, 20 MB of comments": partial(gif_comments, count=80_000),
    "WebP, 500 frames": partial(frames, count=500, kind="WEBP"),
    "WebP, a canvas of 16383": partial(webp_canvas, side=16_383),
    "WebP, a canvas of 5000": partial(webp_canvas, side=5000),
    "WebP, lossless, 5000": partial(flat, mode="RGB", size=(5000, 5000), format="WEBP", lossless=True, method=0),
    "WebP, 5300": partial(noise, size=(5300, 5300), format="WEBP", method=0),
    "WebP, 6000": partial(flat, mode="RGB", size=(6000, 6000), format="WEBP", method=0),
    "BMP, run lengths, 3000": partial(bmp_rle, side=3000),
    "BMP, run lengths, 8000": partial(bmp_rle, side=8000),
    "BMP, 8000": partial(flat, mode="RGB", size=(8000, 8000), format="BMP"),
    "AVIF, 4:4:4, 5500": partial(noise, size=(5500, 5500), format="AVIF", speed=10, subsampling="4:4:4"),
    "AVIF, 7000": partial(flat, mode="RGB", size=(7000, 7000), format="AVIF", speed=10),
    "AVIF, 100 frames": partial(frames, count=100, kind="AVIF"),
    "a line of 4,000,000 pixels": partial(flat, mode="RGB", size=(4_000_000 // 64, 16), format="PNG"),
}

#: No images that are read: what they are is said.
REFUSED: dict[str, tuple[bytes, str]] = {
    "PostScript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\nshowpage\n", "PostScript"),
    "EPS": (b"\xc5\xd0\xd3\xc6" + bytes(60), "EPS"),
    "PDF": (b"%PDF-1.7\n", "PDF"),
    "Photoshop": (b"8BPS\0\1" + bytes(60), "Photoshop"),
    "OpenEXR": (b"v/1\x01\2" + bytes(60), "OpenEXR"),
    "JPEG 2000": (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(60), "JPEG 2000"),
    "JPEG XL": (b"\xff\x0a" + bytes(60), "JPEG XL"),
    "SVG": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "vector"),
    "a web page": (b"<!DOCTYPE html><html></html>", "web page"),
    "a film": (b"\0\0\0\x18ftypisom" + bytes(60), "film"),
    "a companion": (b"\0\5\x16\7\0\2\0\0Mac OS X        " + bytes(60), "Mac"),
    "raw": (b"II*\0\x10\0\0\0CR\2\0" + bytes(60), "raw"),
    "a pointer": (b"version https://git-lfs.github.com/spec/v1\n", "LFS"),
}
