"""Pictures as they come: profiles, depths, metadata, frames, opacity."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from backend.errors import ImageError
from backend.images import files
from backend.images.files import load_image, read_image
from backend.images.frames import is_cut_out
from tests.backend.images import hostile, icc

SIDE = 160
COLOURS = [(200, 40, 30), (38, 153, 51), (40, 60, 190), (128, 128, 128)]


def cut_out(colour: Any = (200, 40, 30), opacity: float = 1.0) -> Image.Image:
    """A disc on transparency."""
    image = Image.new("RGBA", (SIDE, SIDE), (*colour, 0))
    ImageDraw.Draw(image).ellipse((40, 40, 120, 120), fill=(*colour, round(255 * opacity)))
    return image


def on(background: Any, image: Image.Image | None = None) -> Image.Image:
    result = Image.new("RGB", (SIDE, SIDE), background)
    result.paste(image or cut_out(), mask=(image or cut_out()).getchannel("A"))
    return result


def save(image: Image.Image, path: Path, **options: Any) -> Path:
    image.save(path, **options)
    return path


def middle(image: Image.Image) -> tuple[int, ...]:
    value = image.getpixel((image.width // 2, image.height // 2))
    assert isinstance(value, tuple)
    return value


# --- colour ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("space", ["display-p3", "adobe-rgb", "wide"])
@pytest.mark.parametrize("suffix", [".png", ".tiff", ".webp"])
def test_colours_of_another_space_are_those_that_were_meant(tmp_path: Path, space: str, suffix: str) -> None:
    for colour in COLOURS:
        image = cut_out(tuple(icc.to_space(colour, space)))
        path = save(image, tmp_path / f"a{suffix}", icc_profile=icc.rgb_profile(space), lossless=True)
        read, note = read_image(path)
        assert note == ""
        assert np.abs(np.subtract(middle(read), (*colour, 255))).max() <= 3
        assert read.getpixel((2, 2))[3] == 0  # type: ignore[index]


@pytest.mark.parametrize("mode", ["L", "LA"])
def test_grey_with_a_curve_of_its_own(tmp_path: Path, mode: str) -> None:
    image = cut_out((128, 128, 128)).convert(mode)
    read, note = read_image(save(image, tmp_path / "a.png", icc_profile=icc.gray_profile(1.0)))
    assert note == ""
    assert abs(middle(read)[0] - 188) <= 2  # half of the light


def test_cmyk_with_a_profile_has_the_colours_of_its_ink(tmp_path: Path) -> None:
    lab = np.zeros((2, 2, 2, 2, 3), np.uint8)
    lab[..., 0], lab[..., 1:] = 40, 128
    lab[0, 0, 0, 0], lab[0, 1, 0, 0], lab[..., 1, :] = (255, 128, 128), (128, 200, 120), (0, 128, 128)
    image = Image.new("CMYK", (SIDE, SIDE))
    image.paste((0, 255, 0, 0), (40, 40, 120, 120))
    path = save(image, tmp_path / "a.tiff", icc_profile=icc.cmyk_profile(lab))
    read, note = read_image(path)
    assert note == ""
    red, green, blue, _ = middle(read)  # L = 50, a = 72, b = -8
    assert np.abs(np.subtract((red, green, blue), (222, 24, 133))).max() <= 12
    assert min(read.getpixel((2, 2))[:3]) > 250  # type: ignore[index]


@pytest.mark.parametrize(
    ("mode", "profile"),
    [
        ("RGB", b"no profile"),
        ("RGB", icc.rgb_profile("display-p3")[:200]),
        ("RGB", icc.gray_profile(2.2)),
        ("CMYK", icc.rgb_profile("display-p3")),
        ("RGB", icc.cmyk_profile(np.zeros((2, 2, 2, 2, 3), np.uint8))),
    ],
    ids=["garbage", "cut off", "grey for colours", "RGB for CMYK", "CMYK for RGB"],
)
def test_a_profile_that_is_broken_or_for_other_pixels_is_ignored_and_said(
    tmp_path: Path, mode: str, profile: bytes
) -> None:
    image = load_image(save(on("white").convert(mode), tmp_path / "a.tiff", icc_profile=profile))
    assert np.abs(np.subtract(middle(image)[:3], (200, 40, 30))).max() <= 1
    assert "profile of a.tiff" in image.info["note"]


# --- depth -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        (np.uint16, [0, 255, 256, 32768, 65535], [0, 0, 1, 128, 255]),
        (np.int32, [0, 255, 256, 32768, 65535], [0, 0, 1, 128, 255]),
        (np.int32, [-5, 2**23, 2**30, 2**31 - 1, 65535], [0, 1, 128, 255, 0]),
        (np.float32, [0, 0.5, 1, 7, -3], [0, 128, 255, 255, 0]),
        (np.float32, [np.nan, np.inf, -np.inf, 0.25, 1], [0, 255, 0, 64, 255]),
    ],
)
def test_more_than_eight_bits_by_the_rule(tmp_path: Path, kind: Any, values: list[float], expected: list[int]) -> None:
    pixels = np.repeat(np.repeat(np.array([values], kind), 20, axis=1), 20, axis=0)
    for options in ({}, {"compression": "tiff_adobe_deflate"}):
        image, _ = read_image(save(Image.fromarray(pixels), tmp_path / "a.tiff", **options))
        assert np.asarray(image)[5, 10::20, 0].tolist() == expected


# --- metadata, large images, limits ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"tEXt", b"iCCP"])
def test_large_metadata_do_not_matter(tmp_path: Path, kind: bytes) -> None:
    packed = zlib.compress(b'{"a":1}' * 400_000)
    data = {b"iTXt": b"workflow\0\1\0\0\0" + packed, b"tEXt": b"workflow\0" + b"x" * 3_000_000}
    hostile.disc_png(tmp_path / "a.png", hostile.chunk(kind, data.get(kind, b"workflow\0\0" + packed)))
    assert load_image(tmp_path / "a.png").size == (64, 64)


def test_a_large_image_keeps_its_transparency_and_is_reduced(tmp_path: Path) -> None:
    image = cut_out().resize((5000, 4200))
    read, _ = read_image(save(image, tmp_path / "a.png", compress_level=1))
    assert read.size == (2500, 2100)
    assert middle(read) == (200, 40, 30, 255)
    assert read.getpixel((3, 3)) == (0, 0, 0, 0)  # colours that nobody sees do not count


def test_a_line_is_no_image(tmp_path: Path) -> None:
    with pytest.raises(ImageError) as caught:
        read_image(save(Image.new("RGB", (100_000, 16)), tmp_path / "a.png"))
    assert caught.value.code == "image_too_small"


def test_a_decoder_that_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(files, "PATIENCE", 0.01)
    with pytest.raises(ImageError, match="too much memory or time"):
        read_image(save(cut_out(), tmp_path / "a.png"))


def test_what_may_not_be_read_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = save(cut_out(), tmp_path / "a.png")

    def refuse(*arguments: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)  # as root, everything may be read
    with pytest.raises(ImageError, match="may not be read: Permission denied") as caught:
        read_image(path)
    assert "permissions" in caught.value.hint


# --- opacity, corners, frames ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("percent", [15, 50, 79, 80, 81, 100])
def test_a_faint_object_is_taken_for_solid(tmp_path: Path, percent: int) -> None:
    image = load_image(save(cut_out(opacity=percent / 100), tmp_path / "a.png"))
    assert middle(image)[3] >= 206
    assert image.getpixel((2, 2))[3] == 0  # type: ignore[index]
    assert ("opaque" in image.info["note"]) == (percent <= 80)


def test_a_stray_opaque_pixel_does_not_make_the_rest_fainter(tmp_path: Path) -> None:
    image = cut_out(opacity=0.5)
    image.putpixel((80, 80), (200, 40, 30, 255))
    assert load_image(save(image, tmp_path / "a.png")).getpixel((70, 70))[3] == 255  # type: ignore[index]


def test_a_faint_photograph_is_a_photograph(tmp_path: Path) -> None:
    image = on("white").convert("RGBA")
    image.putalpha(150)
    read = load_image(save(image, tmp_path / "a.png"))
    assert 0.15 < (np.asarray(read)[..., 3] > 204).mean() < 0.3


def rounded(image: Image.Image, radius: int) -> Image.Image:
    mask = Image.new("L", image.size)
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, image.width - 1, image.height - 1), radius, fill=255)
    image = image.convert("RGBA")
    image.putalpha(mask)
    black = Image.new("RGBA", image.size)
    black.paste(image, mask=mask)
    return black


@pytest.mark.parametrize("radius", [8, 20, 35])
def test_rounded_corners_are_no_cut_out(tmp_path: Path, radius: int) -> None:
    read = load_image(save(rounded(on("white"), radius), tmp_path / "a.png"))
    assert 0.15 < (np.asarray(read)[..., 3] > 204).mean() < 0.3
    photograph = save(rounded(Image.effect_noise((SIDE, SIDE), 90), radius), tmp_path / "b.png")
    assert not is_cut_out(read_image(photograph)[0])


@pytest.mark.parametrize("width", [1, 2, 4, 8])
@pytest.mark.parametrize("colour", ["black", (180, 150, 90)])
@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_frame_is_cut_off(tmp_path: Path, width: int, colour: Any, suffix: str) -> None:
    image = on("white")
    ImageDraw.Draw(image).rectangle((0, 0, SIDE - 1, SIDE - 1), outline=colour, width=width)
    read = load_image(save(image, tmp_path / f"a{suffix}", quality=95))
    assert 0.15 < (np.asarray(read)[..., 3] > 204).mean() < 0.3


def test_a_line_inside_a_margin_is_cut_off_too(tmp_path: Path) -> None:
    image = on("white")
    ImageDraw.Draw(image).rectangle((5, 5, SIDE - 6, SIDE - 6), outline="black", width=2)
    read = load_image(save(image, tmp_path / "a.png"))
    assert 0.15 < (np.asarray(read)[..., 3] > 204).mean() < 0.3


def test_an_object_near_the_edges_is_not_taken_for_a_frame(tmp_path: Path) -> None:
    image = Image.new("RGB", (SIDE, SIDE), "white")
    ImageDraw.Draw(image).ellipse((4, 4, SIDE - 5, SIDE - 5), fill=(200, 40, 30))
    read = load_image(save(image, tmp_path / "a.png"))
    assert read.size == (SIDE, SIDE)
    assert 0.7 < (np.asarray(read)[..., 3] > 204).mean() < 0.8
