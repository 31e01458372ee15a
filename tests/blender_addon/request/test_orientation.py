"""Photographs that a camera stored on their side are shown upright, and go to the backend upright."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bpy
import numpy as np
import pytest
from espalier import blender_addon
from espalier.blender_addon.request import images, thumbnails
from espalier.blender_addon.request.orientation import orientation, upright

Image = pytest.importorskip("PIL.Image", reason="it takes Pillow to write photographs, which this Python lacks")
ImageOps = pytest.importorskip("PIL.ImageOps")

#: The left half is red, the rest white, with a green corner below.
STORED = np.full((40, 60, 3), 255, np.uint8)
STORED[:, :30] = (255, 0, 0)
STORED[30:, 50:] = (0, 255, 0)


def photograph(path: Path, turn: int) -> Path:
    exif = Image.Exif()
    exif[0x010F] = "A camera"  # its letters lie behind the table
    exif[0x0112] = turn
    Image.fromarray(STORED).save(path, exif=exif, **({"quality": 95} if path.suffix == ".jpg" else {}))
    return path


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tiff"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_the_orientation_is_found_and_applied(tmp_path: Path, suffix: str, turn: int) -> None:
    path = photograph(tmp_path / f"a{suffix}", turn)
    with path.open("rb") as stream:
        assert orientation(stream) == turn
    expected = ImageOps.exif_transpose(Image.open(photograph(tmp_path / "b.png", turn)))
    assert np.array_equal(upright(STORED[::-1], turn)[::-1], np.asarray(expected))


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tiff", ".bmp"])
def test_files_that_do_not_say_are_taken_as_they_are(tmp_path: Path, suffix: str) -> None:
    Image.fromarray(STORED).save(tmp_path / f"a{suffix}")
    with (tmp_path / f"a{suffix}").open("rb") as stream:
        assert orientation(stream) == 1


def test_cut_and_endless_files_do_no_harm(tmp_path: Path) -> None:
    for suffix in (".jpg", ".png", ".webp", ".tiff"):
        content = photograph(tmp_path / f"a{suffix}", 6).read_bytes()
        for length in range(0, len(content), 7):
            assert orientation(io.BytesIO(content[:length])) in (1, 6)
    empty_segments = b"\xff\xd8" + b"\xff\xe2" + struct.pack(">H", 2)
    assert orientation(io.BytesIO(empty_segments * 100_000)) == 1
    assert orientation(io.BytesIO(b"\x89PNG\r\n\x1a\n" + bytes(1_000_000))) == 1


@pytest.fixture
def settings() -> Iterator[Any]:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    blender_addon.register()
    yield bpy.context.scene.espalier
    blender_addon.unregister()


def shown(preview: Any) -> Any:
    """The preview's pixels, the top row first."""
    width, height = preview.image_size
    pixels = np.empty(width * height, np.int32)
    preview.image_pixels.foreach_get(pixels)
    return pixels.view(np.uint8).reshape(height, width, 4)[::-1]


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_thumbnails_of_files_are_upright(settings: Any, tmp_path: Path, suffix: str) -> None:
    for turn in (1, 6):
        path = str(photograph(tmp_path / f"{turn}{suffix}", turn))
        images.add_source(settings, path)
        images.icon(settings.images[-1])  # always 0 without a window
        assert thumbnails._previews is not None
        pixels = shown(thumbnails._previews[path])
        is_red = (pixels[..., 0] > 200) & (pixels[..., 1] < 90)
        height, width = is_red.shape
        if turn == 1:
            assert width > height
            assert is_red[:, 0].all()
        else:  # a quarter turn clockwise: what was on the left is above
            assert height > width
            assert is_red[0].all()
            assert not is_red[-1].any()


def test_images_of_the_blend_are_upright_too(settings: Any, tmp_path: Path) -> None:
    image = bpy.data.images.load(str(photograph(tmp_path / "a.png", 6)))
    images.add_source(settings, images.DATABLOCK + image.name)
    images.icon(settings.images[0])  # which Blender has not drawn yet, without a window
    image.preview.image_size = (60, 40)
    images.icon(settings.images[0])
    assert thumbnails._previews is not None
    turned = shown(thumbnails._previews[images.DATABLOCK + image.name])
    assert turned.shape[0] > turned.shape[1]
    pixels = images.read_pixels(image).values[::-1]
    assert pixels.shape[:2] == (60, 40)
    assert np.allclose(pixels[0, :, :3], (1, 0, 0))
    image.pack()
    (tmp_path / "a.png").unlink()
    assert images.read_pixels(image).values.shape[:2] == (60, 40)
