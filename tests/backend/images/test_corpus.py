"""Image files of many kinds give the right pixels, and no file takes too much memory or time."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from PIL import Image

from backend.errors import ImageError
from backend.images.decode import MAX_SECONDS
from backend.images.files import load_image, read_image
from backend.protocol import IMAGE_FORMATS, IMAGE_SUFFIXES

if sys.platform != "linux":
    pytest.skip("only Linux tells what a process took", allow_module_level=True)

from tests.backend.images import corpus, hostile

#: Quick ones of each kind of attack. The others run with --slow.
QUICK = [
    *("PNG, 16-bit grey, 8000", "PNG, 200 zTXt", "JPEG, 1,000 scans"),
    *("TIFF, float, 8000", "GIF, 65000", "WebP, a canvas of 16383"),
]
GOOD = {case.name: case for case in corpus.good(large=False)}


@pytest.mark.parametrize("name", list(GOOD)[::6])
def test_an_image_is_read_as_it_is_meant(tmp_path: Path, name: str) -> None:
    GOOD[name].write(tmp_path / "a.img")
    check = GOOD[name].check
    assert check is not None
    assert check(read_image(tmp_path / "a.img")[0]) == ""


@pytest.mark.parametrize("name", QUICK)
def test_what_would_take_too_much_is_refused_or_does_not(tmp_path: Path, name: str) -> None:
    cost = corpus.cost(corpus.Case(name, hostile.FILES[name]), tmp_path)
    assert cost.megabytes < corpus.MAX_MEGABYTES
    assert cost.decoding < MAX_SECONDS + 1  # the system ends it within a second
    if cost.refused:
        assert "internal" not in cost.refused
        assert cost.refused.count(".") >= 2  # what is wrong, and what to do


@pytest.mark.slow
def test_the_whole_corpus(capsys: pytest.CaptureFixture[str]) -> None:
    assert corpus.main() == 0, capsys.readouterr().out


@pytest.mark.parametrize("name", hostile.REFUSED)
def test_other_files_are_named_and_there_is_advice(tmp_path: Path, name: str) -> None:
    content, words = hostile.REFUSED[name]
    (tmp_path / "picture.png").write_bytes(content)
    with pytest.raises(ImageError, match=words) as caught:
        load_image(tmp_path / "picture.png")
    assert caught.value.code == "image_unreadable"
    assert caught.value.hint


def test_the_list_of_kinds_is_the_list() -> None:
    assert set(IMAGE_FORMATS) == {"PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "HEIF"}
    assert len(set(IMAGE_SUFFIXES)) == len(IMAGE_SUFFIXES)
    assert {".jfif", ".gif", ".avif", ".heic"} <= set(IMAGE_SUFFIXES)


@pytest.mark.parametrize("name", ["plain", "transparent", "turned", "display-p3"])
def test_heic(name: str) -> None:
    image, note = read_image(Path(__file__).parent / "heic" / f"{name}.heic")
    assert note == ""
    assert image.size == ((96, 128) if name == "turned" else (128, 96))
    stored = image.transpose(Image.Transpose.ROTATE_90) if name == "turned" else image
    inside, outside = corpus.pixel(stored, 0.3, 0.5), corpus.pixel(stored, 0.8, 0.5)
    assert max(abs(a - b) for a, b in zip(inside, (200, 40, 30, 255), strict=True)) <= 3
    assert outside == ((0, 0, 0, 0) if name == "transparent" else (255, 255, 255, 255))


def test_the_corpus_is_large() -> None:
    assert len(corpus.all_cases()) >= 250
