"""Image files of every kind that is read, and hostile ones: each gives the right pixels or a sentence, within limits.

``python -m tests.backend.images.corpus`` reads all of them, says which cost most, and ends with 1 if one was wrong or
took too much. The tests read some of them. Linux only: elsewhere nothing tells what a process took.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from backend.errors import ImageError
from backend.images import refine
from backend.images.files import load_image, read_image
from tests.backend.images import hostile, icc

RED, BLUE, WHITE = (200, 40, 30), (40, 60, 190), (255, 255, 255)
MAX_MEGABYTES, MAX_SECONDS = 600, 5.0

#: A quarter of the stored image's pixels, at this place (a share of its sides), has the object's first colour.
OBJECT, CORNER = (0.3, 0.5), (0.03, 0.03)


@dataclass(frozen=True)
class Case:
    """A file, and how to check what it was read as. Without a check it may also be refused."""

    name: str
    write: Callable[[Path], object]
    check: Callable[[Image.Image], str] | None = None  # says what is wrong
    suffix: str = ".img"


@dataclass(frozen=True)
class Cost:
    """What an image took: megabytes above idle of the larger process, seconds until it was read and cut out, seconds of
    a processor that the decoder took; and what came of it."""

    name: str
    megabytes: float
    seconds: float
    decoding: float
    refused: str
    wrong: str


def drawing(size: tuple[int, int], colours: tuple[Any, Any], background: Any, mode: str) -> Image.Image:
    """A block, its left part of one colour, its right of another, on a background."""
    width, height = size
    image = Image.new(mode, size, background)
    image.paste(colours[0], (width // 8, height // 8, width // 2, height * 7 // 8))
    image.paste(colours[1], (width // 2, height // 8, width * 3 // 4, height * 7 // 8))
    return image


FORMATS: dict[str, dict[str, Any]] = {
    "png": {"format": "PNG"},
    "jpeg": {"format": "JPEG", "quality": 95, "subsampling": 0},
    "progressive": {"format": "JPEG", "quality": 95, "progressive": True},
    "webp": {"format": "WEBP", "quality": 95, "method": 0},
    "webp-lossless": {"format": "WEBP", "lossless": True, "method": 0},
    "tiff": {"format": "TIFF"},
    "tiff-lzw": {"format": "TIFF", "compression": "tiff_lzw"},
    "tiff-deflate": {"format": "TIFF", "compression": "tiff_adobe_deflate"},
    "tiff-packbits": {"format": "TIFF", "compression": "packbits"},
    "bmp": {"format": "BMP"},
    "gif": {"format": "GIF"},
    "avif": {"format": "AVIF", "quality": 95, "speed": 10},
}
MODES = {
    "png": ("RGB", "RGBA", "P", "L", "LA", "1", "I;16"),
    "jpeg": ("RGB", "L", "CMYK"),
    "progressive": ("RGB", "L"),
    "webp": ("RGB", "RGBA"),
    "webp-lossless": ("RGB", "RGBA"),
    "tiff": ("RGB", "RGBA", "P", "L", "LA", "1", "CMYK", "I;16", "I", "F"),
    "tiff-lzw": ("RGB", "RGBA", "L", "I;16", "F", "CMYK"),
    "tiff-deflate": ("RGB", "RGBA", "L", "I;16", "F"),
    "tiff-packbits": ("RGB", "L"),
    "bmp": ("RGB", "L", "P", "1"),
    "gif": ("P", "L"),
    "avif": ("RGB", "RGBA"),
}
PLAIN = ("bmp", "gif")  # these hold neither profiles nor Exif data


def good(large: bool) -> Iterator[Case]:
    """Whole files: each format in each of its modes, sizes, profiles and orientations."""
    sizes = [(64, 48), (301, 200), (1024, 768)] if large else [(64, 48)]
    for name, options in FORMATS.items():
        for mode, size in product(MODES[name], sizes):
            yield _case(name, mode, size, options)
        if name not in PLAIN:
            for space in ("display-p3", "adobe-rgb", "wide"):
                yield _case(name, "RGB", (96, 64), options, space=space)
        if name not in PLAIN:
            for turn in range(2, 9):
                yield _case(name, MODES[name][turn % 2], (96, 64), options, turn=turn)


def _case(name: str, mode: str, size: tuple[int, int], options: dict[str, Any], space: str = "", turn: int = 1) -> Case:
    has_alpha = mode in ("RGBA", "LA")
    image = _in_mode(drawing(size, (RED, BLUE), WHITE, "RGB"), mode)
    if space:
        image = drawing(size, (tuple(icc.to_space(RED, space)), tuple(icc.to_space(BLUE, space))), WHITE, "RGB")
        options = options | {"icc_profile": icc.rgb_profile(space)}
    if turn != 1:
        exif = Image.Exif()
        exif[0x0112] = turn
        options = options | {"exif": exif}
    colour = {"1": (0, 0, 0)}.get(mode, RED if mode in ("RGB", "RGBA", "P", "CMYK") else (_gray(RED),) * 3)

    def check(read: Image.Image) -> str:
        stored = _stored(read, turn)
        if stored.size != size:
            return f"{stored.size} for {size}"
        at = [pixel(stored, x, y) for x, y in (OBJECT, CORNER)]
        if np.abs(np.subtract(at[0], (*colour, 255))).max() > (1 if "lossless" in name or not space else 3) + _loss(
            name
        ):
            return f"the object is {at[0]}, not {colour}"
        if has_alpha:
            return "" if at[1][3] < 8 else f"the background is {at[1]}"
        return "" if min(at[1][:3]) > 245 and at[1][3] in (0, 255) else f"the background is {at[1]}"

    label = f"{name} {mode} {size[0]}x{size[1]}{' ' + space if space else ''}{f' turn {turn}' if turn != 1 else ''}"
    return Case(label, lambda path: image.save(path, **options), check)


def _loss(name: str) -> int:
    return 8 if name in ("jpeg", "progressive", "webp", "avif") else 2


def pixel(image: Image.Image, x: float, y: float) -> tuple[int, ...]:
    """The pixel at a place that is a share of the sides."""
    value = image.getpixel((int(x * image.width), int(y * image.height)))
    assert isinstance(value, tuple)
    return value


def _gray(colour: tuple[int, int, int]) -> int:
    return int(np.asarray(Image.new("RGB", (1, 1), colour).convert("L"))[0, 0])


def _in_mode(image: Image.Image, mode: str) -> Image.Image:
    if mode in ("I;16", "I", "F"):
        gray = np.asarray(image.convert("L"))
        if mode == "F":
            return Image.fromarray(gray.astype(np.float32) / 255)
        return Image.fromarray(
            gray.astype({"I;16": np.uint16, "I": np.int32}[mode]) * (257 if mode == "I;16" else 2**23)
        )
    if mode in ("RGBA", "LA"):
        image = image.convert(mode)
        image.putalpha(Image.fromarray((np.asarray(image.convert("RGB")).min(2) < 250).astype(np.uint8) * 255))
        return image
    return image.quantize(16) if mode == "P" else image.convert(mode)


def _stored(image: Image.Image, turn: int) -> Image.Image:
    """What was read, turned back."""
    back = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    return image.transpose(back[turn]) if turn in back else image


def all_cases() -> list[Case]:
    """Everything: about 300 files."""
    return [*good(large=True), *(Case(name, write) for name, write in hostile.FILES.items())]


def cost(case: Case, folder: Path, read: Callable[[Case, Path], str] | None = None) -> Cost:
    """Write a file, and read it in a process of its own, as a job does. ``read`` starts that process."""
    path = folder / f"image{case.suffix}"
    if not os.fork():  # so that what writing takes is not taken for what reading takes
        case.write(path)
        os._exit(0)
    os.wait()
    return Cost(case.name, *json.loads((read or read_afresh)(case, path)))


def read_afresh(case: Case, path: Path) -> str:
    """Read in a new process: nothing of this one, which may be a large one with tests, is measured."""
    command = [sys.executable, "-m", "tests.backend.images.corpus", "--one", case.name, str(path)]
    return subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout


def read_in_fork(case: Case, path: Path) -> str:
    """Read in a copy of this process, which is quick. No network may be in its memory: its threads would be missing."""
    receiver, sender = os.pipe()
    if not os.fork():
        os.write(sender, json.dumps(_read(case, path)).encode())
        os._exit(0)
    os.close(sender)
    with open(receiver, encoding="utf-8") as stream:
        answer = stream.read()
    os.wait()
    return answer


def _read(case: Case, path: Path) -> tuple[float, float, float, str, str]:
    before, started = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    refused = wrong = ""
    try:
        if case.check is None:
            load_image(path)
        else:
            wrong = case.check(read_image(path)[0])
    except ImageError as error:
        refused = f"{error} {error.hint}"
        wrong = "" if case.check is None else refused
    seconds = time.perf_counter() - started
    own, decoder = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    # The decoder has ended when its pixels are used. Its peak is at least that of the process that started it.
    megabytes = max(own.ru_maxrss - before.ru_maxrss, decoder.ru_maxrss if decoder.ru_maxrss > before.ru_maxrss else 0)
    return megabytes / 1024, seconds, decoder.ru_utime + decoder.ru_stime, refused, wrong


def line(cost: Cost) -> str:
    """What a file cost, for people."""
    return f"{cost.megabytes:4.0f} MB  {cost.seconds:4.1f} s  {cost.name}: {cost.refused or 'read'}"


def warm() -> None:
    """Do what a backend has done before its first job."""
    importlib.import_module("backend.images.background")
    refine.warm()


def main() -> int:
    """Read everything, and say what it took."""
    warm()
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(_read(next(case for case in all_cases() if case.name == sys.argv[2]), Path(sys.argv[3]))))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        costs = []
        for case in all_cases():
            costs.append(cost(case, Path(folder), read_in_fork))
            print(
                f"{costs[-1].megabytes:4.0f} MB  {costs[-1].seconds:4.1f} s  {case.name}", file=sys.stderr, flush=True
            )
    bad = [c for c in costs if c.wrong or c.megabytes > MAX_MEGABYTES or c.seconds > MAX_SECONDS]
    print(f"{len(costs)} files, {sum(bool(c.refused) for c in costs)} refused, {len(bad)} wrong or too costly")
    for title, key in (("memory", lambda c: c.megabytes), ("time", lambda c: c.seconds)):
        print(f"most {title}:")
        for c in sorted(costs, key=key, reverse=True)[:8]:
            print(line(c))
    for c in bad:
        print(f"BAD: {c}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
