"""Colours that a file states in numbers instead of a profile."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from backend.images.files import read_image

STORED = (199, 54, 41)  # in Display P3, which is a red that sRGB has as
RED = (217, 31, 26)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(path: Path, colour: tuple[int, ...], *chunks: bytes) -> Path:
    """A PNG of one colour, with these chunks after its header."""
    Image.new("RGBA" if len(colour) == 4 else "RGB", (32, 32), colour).save(path)
    content = path.read_bytes()
    path.write_bytes(content[:33] + b"".join(chunks) + content[33:])
    return path


def read(path: Path) -> tuple[tuple[int, ...], str]:
    image, note = read_image(path)
    value = image.getpixel((5, 5))
    assert isinstance(value, tuple)
    return value, note


def places(*values: float) -> bytes:
    return chunk(b"cHRM", struct.pack(">8I", *(round(100_000 * value) for value in values)))


P3 = places(0.3127, 0.3290, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060)
SRGB = places(0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)


@pytest.mark.parametrize(
    ("colour", "chunks", "expected"),
    [
        (STORED, [chunk(b"cICP", bytes([12, 13, 0, 1]))], RED),
        ((*STORED, 100), [chunk(b"cICP", bytes([12, 13, 0, 1]))], (*RED, 100)),
        (STORED, [chunk(b"cICP", bytes([1, 13, 0, 1]))], STORED),
        (STORED, [chunk(b"cICP", bytes([2, 2, 0, 1]))], STORED),
        ((177, 4, 3), [chunk(b"gAMA", struct.pack(">I", 100_000))], (217, 33, 28)),
        (STORED, [chunk(b"gAMA", struct.pack(">I", 45_455))], STORED),
        (STORED, [chunk(b"gAMA", struct.pack(">I", 45_455)), P3], RED),
        (STORED, [chunk(b"gAMA", struct.pack(">I", 45_455)), SRGB], STORED),
        (STORED, [chunk(b"sRGB", b"\0"), chunk(b"gAMA", struct.pack(">I", 100_000)), P3], STORED),
        (STORED, [chunk(b"cICP", bytes([1, 13, 0, 1])), chunk(b"gAMA", struct.pack(">I", 100_000)), P3], STORED),
        (STORED, [places(0, 0, 0, 0, 0, 0, 0, 0)], STORED),
        (STORED, [places(0.9, 0.05, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)], STORED),
        (STORED, [chunk(b"gAMA", struct.pack(">I", 0))], STORED),
    ],
)
def test_a_png_states_its_colours(
    tmp_path: Path, colour: tuple[int, ...], chunks: list[bytes], expected: tuple[int, ...]
) -> None:
    found, note = read(png(tmp_path / "a.png", colour, *chunks))
    assert np.abs(np.subtract(found[: len(expected)], expected)).max() <= 4
    assert note == ""


def test_a_profile_is_worth_more_than_numbers(tmp_path: Path) -> None:
    from tests.backend.images.icc import rgb_profile

    Image.new("RGB", (32, 32), STORED).save(tmp_path / "a.png", icc_profile=rgb_profile("display-p3"))
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(content[:33] + chunk(b"gAMA", struct.pack(">I", 100_000)) + content[33:])
    assert np.abs(np.subtract(read(tmp_path / "a.png")[0][:3], RED)).max() <= 10, "not those of a straight line"


@pytest.mark.parametrize("points", [(9, 16), (77, 13)])
def test_what_is_not_known_is_said(tmp_path: Path, points: tuple[int, int]) -> None:
    found, note = read(png(tmp_path / "a.png", STORED, chunk(b"cICP", bytes([*points, 0, 1]))))
    assert found[:3] == STORED
    assert "taken for sRGB" in note


def test_an_avif_states_its_colours(tmp_path: Path) -> None:
    Image.new("RGB", (64, 64), STORED).save(tmp_path / "a.avif", quality=100, subsampling="4:4:4")
    content = bytearray((tmp_path / "a.avif").read_bytes())
    at = content.index(b"colrnclx") + 8
    content[at : at + 4] = struct.pack(">HH", 12, 13)
    (tmp_path / "a.avif").write_bytes(content)
    assert np.abs(np.subtract(read(tmp_path / "a.avif")[0][:3], RED)).max() <= 4
