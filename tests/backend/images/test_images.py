"""Every image a person may drop is used properly or refused in words, before anything large is decoded."""

from __future__ import annotations

import struct
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from backend.errors import ImageError
from backend.images.files import load_image

SIDE = 64
RED = (200, 40, 30)


def disc(background: tuple[int, ...] = (0, 0, 0, 0), side: int = SIDE) -> Image.Image:
    """A red disc, drawn at four times the size and reduced, so that its edge is smooth."""
    image = Image.new("RGBA" if len(background) == 4 else "RGB", (4 * side, 4 * side), background)
    fill = (*RED, 255) if len(background) == 4 else RED
    ImageDraw.Draw(image).ellipse((side, side, 3 * side, 3 * side), fill=fill)
    return image.resize((side, side), Image.Resampling.BOX)


def save(image: Image.Image, path: Path, **options: Any) -> Path:
    image.save(path, **options)
    return path


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + data


def truncated_png(path: Path) -> bytes:
    noise = np.random.default_rng(0).integers(0, 255, (SIDE, SIDE, 4), dtype=np.uint8)
    return save(Image.fromarray(noise), path).read_bytes()[:4000]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (None, "image_missing"),
        (b"", "image_empty"),
        (b"this is not an image\n" * 20, "image_unreadable"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "image_unreadable"),
        (b"\x89PNG\r\n\x1a\n", "image_unreadable"),
        (png_header(20_000, 20_000), "image_too_large"),
        (png_header(10_000, 9_000), "image_too_large"),
        (png_header(1, 1), "image_too_small"),
        (png_header(64, 64), "image_truncated"),
    ],
)
def test_bad_files_are_refused_in_words_and_at_once(tmp_path: Path, content: bytes | None, code: str) -> None:
    path = tmp_path / "picture.png"
    if content is not None:
        path.write_bytes(content)
    started = time.perf_counter()
    with pytest.raises(ImageError, match=r"picture\.png") as caught:
        load_image(path)
    assert caught.value.code == code
    assert caught.value.hint
    assert time.perf_counter() - started < 10  # a process is started, on a machine that may be busy


def test_a_damaged_file_is_told_from_one_of_another_kind(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    for content, words in ((b"\x89PNG\r\n\x1a\n" + b"no picture" * 100, "damaged"), (b"no picture", "not an image")):
        path.write_bytes(content)
        with pytest.raises(ImageError, match=words):
            load_image(path)


def test_a_jpeg_that_states_no_samples_is_damaged(tmp_path: Path) -> None:
    """Its header is reckoned with before anything is decoded."""
    disc().convert("RGB").save(tmp_path / "none.jpg", progressive=True)
    content = bytearray((tmp_path / "none.jpg").read_bytes())
    frame = content.index(b"\xff\xc2")  # length 2, precision 1, height 2, width 2, count 1, then three of 3 bytes
    for component in range(3):
        content[frame + 11 + 3 * component] = 0
    (tmp_path / "none.jpg").write_bytes(content)
    with pytest.raises(ImageError, match="damaged") as raised:
        load_image(tmp_path / "none.jpg")
    assert raised.value.code == "image_truncated"


def test_a_truncated_png_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cut.png"
    path.write_bytes(truncated_png(path))
    with pytest.raises(ImageError) as caught:
        load_image(path)
    assert caught.value.code == "image_truncated"


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError) as caught:
        load_image(tmp_path)
    assert caught.value.code == "image_unreadable"


def test_a_transparent_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError) as caught:
        load_image(save(Image.new("RGBA", (SIDE, SIDE), (255, 0, 0, 0)), tmp_path / "a.png"))
    assert caught.value.code == "image_transparent"


def test_a_speck_is_refused(tmp_path: Path) -> None:
    image = Image.new("RGBA", (SIDE, SIDE))
    image.putpixel((9, 9), (255, 0, 0, 255))
    with pytest.raises(ImageError) as caught:
        load_image(save(image, tmp_path / "a.png"))
    assert caught.value.code == "object_too_small"


def test_an_image_with_alpha_is_taken_as_it_is(tmp_path: Path) -> None:
    image = disc()
    assert np.array_equal(np.asarray(load_image(save(image, tmp_path / "a.png"))), np.asarray(image))


@pytest.mark.parametrize("background", [(255, 255, 255), (16, 200, 90), (0, 0, 0)])
def test_a_plain_background_is_cut_out_without_a_rim(tmp_path: Path, background: tuple[int, int, int]) -> None:
    image = load_image(save(disc(background), tmp_path / "a.png"))
    pixels, truth = np.asarray(image).astype(int), np.asarray(disc()).astype(int)
    assert np.abs(pixels[..., 3] - truth[..., 3]).mean() < 2
    visible = pixels[..., 3] > 0
    assert np.abs(pixels[visible][:, :3] - RED).max() <= 2


def test_dust_does_not_belong_to_the_object(tmp_path: Path) -> None:
    image = disc((255, 255, 255))
    image.putpixel((3, 3), (0, 0, 0))
    assert pixel(load_image(save(image, tmp_path / "a.png")), 3, 3)[3] == 0


def test_jpeg_noise_does_not_matter(tmp_path: Path) -> None:
    image = load_image(save(disc((240, 240, 245)), tmp_path / "a.jpg", quality=70))
    alpha, truth = np.asarray(image)[..., 3].astype(int), np.asarray(disc())[..., 3].astype(int)
    assert np.abs(alpha - truth).mean() < 6


def noise(side: int = SIDE) -> Image.Image:
    return Image.fromarray(np.random.default_rng(1).integers(0, 255, (side, side, 3), dtype=np.uint8))


def rounded_photograph() -> Image.Image:
    image = noise(256).convert("RGBA")
    image.putpixel((0, 0), (0, 0, 0, 0))
    return image


@pytest.mark.parametrize(
    "image",
    [noise(), rounded_photograph(), Image.new("RGB", (SIDE, SIDE), "white"), Image.linear_gradient("L")],
    ids=["photograph", "a transparent corner", "nothing but background", "gradient"],
)
def test_an_unclear_background_is_refused(tmp_path: Path, image: Image.Image) -> None:
    with pytest.raises(ImageError) as caught:
        load_image(save(image, tmp_path / "a.png"))
    assert caught.value.code == "background_unclear"
    assert "transparent" in caught.value.hint


def test_a_large_image_on_a_plain_background_is_reduced_first(tmp_path: Path) -> None:
    image = load_image(save(disc((255, 255, 255)).resize((3000, 1500)), tmp_path / "a.png"))
    assert image.size == (1536, 768)


def pixel(image: Image.Image, x: int, y: int) -> tuple[int, ...]:
    """A pixel of an image that has several bands."""
    found = image.getpixel((x, y))
    assert isinstance(found, tuple)
    return found


def red_of(image: Image.Image) -> tuple[int, ...]:
    return pixel(image, image.width // 2, image.height // 2)


@pytest.mark.parametrize("mode", ["P", "L", "LA", "CMYK", "1", "I;16", "I", "F"])
def test_every_mode_is_converted_properly(tmp_path: Path, mode: str) -> None:
    white_disc = disc((0, 0, 0)).convert("L").point(lambda v: 255 * (v > 20))
    path = tmp_path / "a.png"
    if mode in ("I;16", "I", "F"):
        scale = {"I;16": 65535, "I": 2**31 - 1, "F": 1.0}[mode]
        kind = {"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]
        values = (np.asarray(white_disc) > 0) * scale
        path = save(Image.fromarray(values.astype(kind)), path.with_suffix(".png" if mode == "I;16" else ".tiff"))
    elif mode == "LA":
        path = save(Image.merge("LA", (white_disc, white_disc)), path)
    elif mode == "CMYK":
        path = save(white_disc.convert("RGB").convert("CMYK"), path.with_suffix(".jpg"), quality=95)
    else:
        path = save(white_disc.convert(mode), path)
    image = load_image(path)
    assert image.mode == "RGBA"
    assert min(red_of(image)) > 245  # the disc is white and opaque
    assert pixel(image, 1, 1)[3] == 0


def test_a_palette_with_transparency_keeps_it(tmp_path: Path) -> None:
    path = save(disc().quantize(8), tmp_path / "a.png")
    assert Image.open(path).mode == "P"
    image = load_image(path)
    assert red_of(image)[3] > 250
    assert pixel(image, 1, 1)[3] == 0


def test_the_first_frame_of_an_animation_is_used(tmp_path: Path) -> None:
    other = Image.new("RGBA", (SIDE, SIDE), (0, 255, 0, 255))
    for name in ("a.png", "a.webp"):
        image = load_image(save(disc(), tmp_path / name, save_all=True, append_images=[other], lossless=True))
        assert red_of(image)[0] > 190


def test_the_orientation_of_a_camera_is_applied(tmp_path: Path) -> None:
    image = Image.new("RGB", (64, 32), "white")
    image.paste(RED, (4, 4, 28, 28))  # on the left
    exif = Image.Exif()
    exif[0x0112] = 6  # shown upright after a quarter turn clockwise
    turned = load_image(save(image, tmp_path / "a.jpg", exif=exif, quality=95))
    assert turned.size == (32, 64)
    assert pixel(turned, 16, 16)[3] == 255
    assert pixel(turned, 16, 48)[3] == 0


@pytest.mark.parametrize("kind", ["png", "webp"])
def test_damaged_exif_data_does_not_damage_the_picture(tmp_path: Path, kind: str) -> None:
    disc().save(tmp_path / f"a.{kind}", exif=b"Exif\0\0" + bytes(200_000))
    assert load_image(tmp_path / f"a.{kind}").size == disc().size


@pytest.mark.parametrize("margin", [(10, 10, 10, 10), (0, 40, 0, 40), (7, 0, 60, 0)])
@pytest.mark.parametrize("rounded", [False, True])
def test_a_photograph_in_a_transparent_margin_is_no_cut_out(
    tmp_path: Path, margin: tuple[int, int, int, int], rounded: bool
) -> None:
    left, top, right, bottom = margin
    photograph = disc((255, 255, 255))
    alpha = Image.new("L", photograph.size, 0)
    ImageDraw.Draw(alpha).rounded_rectangle((0, 0, alpha.width - 1, alpha.height - 1), 3 * rounded, fill=255)
    photograph = photograph.convert("RGBA")
    photograph.putalpha(alpha)
    whole = Image.new("RGBA", (left + photograph.width + right, top + photograph.height + bottom))
    whole.paste(photograph, (left, top))
    alpha_read = np.asarray(load_image(save(whole, tmp_path / "a.png")).getchannel("A"))
    truth = np.zeros(alpha_read.shape)
    truth[top : top + photograph.height, left : left + photograph.width] = np.asarray(disc().getchannel("A"))
    assert ((alpha_read > 127) == (truth > 127)).mean() > 0.99


def test_a_rectangle_in_which_nothing_stands_out_is_the_object(tmp_path: Path) -> None:
    """The front of a box, say: it is taken as it is, with a word."""
    whole = Image.new("RGBA", (120, 120))
    whole.paste((180, 60, 30, 255), (20, 10, 100, 110))
    image = load_image(save(whole, tmp_path / "box.png"))
    assert (np.asarray(image.getchannel("A")) == np.asarray(whole.getchannel("A"))).all()
    assert "as it is" in image.info["note"]
