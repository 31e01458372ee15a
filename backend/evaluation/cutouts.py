"""Judge how well objects are cut out: procedural objects with known alpha, put in front of backgrounds.

Each object stands in front of three kinds of background: a procedural texture, a photograph out of focus (both are
*soft*), and a sharp photograph, which holds other things that stand out. There the largest object that a network finds
is often another one, so it is asked for the object at a point, too. Half of the objects have a soft edge, two thirds
cast a shadow, a third stand in front of a background of similar colour. All images are compressed as JPEG.

*raw* is what the network says of the image, *refined* is what Espalier makes of it, which for a fast network includes
what its colours tell. *IoU* compares where alpha is above one half, *error* is the mean
absolute difference of alpha over the whole image. An image that is refused counts as an empty cut-out.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy import ndimage

from ..errors import ImageError
from ..images import matting
from ..images.background import remove_background
from ..images.cutout import cut_out
from ..protocol import Point
from ..training.objects.families import FAMILIES
from ..training.objects.render import frame, random_light, random_view, render
from ..training.objects.shapes import HELD_OUT, draw

SIDE = 1024  # of the longer side of the images
OBJECT = 576  # of the pictures of objects, at the most
KINDS = ("texture", "blurred", "sharp")
WAYS = ("raw", "refined", "pointed", "plain")
SHAPES = ((SIDE, SIDE), (SIDE, 768), (768, SIDE))


@dataclass(frozen=True)
class Composed:
    """An image [H, W, 3] uint8, the object's alpha [H, W] in 0..1, and a place well inside the object."""

    kind: str
    image: Image.Image
    alpha: np.ndarray
    point: Point


@dataclass(frozen=True)
class Judged:
    """How close a cut-out comes to the true alpha."""

    iou: float
    error: float

    @classmethod
    def of(cls, alpha: np.ndarray, true: np.ndarray) -> Judged:
        """Compare alphas [H, W] in 0..1."""
        found, wanted = alpha > 0.5, true > 0.5
        return cls(float((found & wanted).sum() / (found | wanted).sum()), float(np.abs(alpha - true).mean()))


def evaluate(count: int, seed: int, photographs: list[Image.Image], cache: Path, say: Callable[[str], None]) -> Any:
    """Judge ``count`` images, a third of each kind. Objects are drawn once and kept in ``cache``."""
    network = matting.best()
    assert network is not None, "the matting network is missing"
    judged: dict[str, dict[str, list[Judged]]] = {kind: {way: [] for way in WAYS} for kind in KINDS}
    seconds: dict[str, list[float]] = {"network": [], "all": []}
    matting.foreground(Image.new("RGB", (64, 64)), network)  # warm
    for number in range(-(-count // len(KINDS))):
        picture = object_picture(number, seed, cache)
        for kind in KINDS:
            case = compose(picture, kind, photographs, np.random.default_rng([seed, number, KINDS.index(kind)]))
            started = time.perf_counter()
            alphas = {"raw": matting.foreground(case.image, network)}
            ran = time.perf_counter()
            alphas["refined"] = _alpha(remove_background, case.image, "image")
            seconds["network"].append(ran - started)
            seconds["all"].append(time.perf_counter() - ran)
            if kind == "sharp":
                alphas["pointed"] = _alpha(remove_background, case.image, "image", case.point)
            alphas["plain"] = _alpha(cut_out, case.image, "image")
            for way, alpha in alphas.items():
                judged[kind][way].append(Judged.of(alpha, case.alpha))
        say(f"{number + 1} objects: " + ", ".join(f"{kind} {judged[kind]['refined'][-1].iou:.3f}" for kind in KINDS))
    kinds = {**judged, "soft": {way: judged["texture"][way] + judged["blurred"][way] for way in WAYS}}
    return {
        "n": sum(len(judged[kind]["raw"]) for kind in KINDS),
        "seed": seed,
        "network": network.name,
        **{kind: {way: _means(of) for way, of in ways.items() if of} for kind, ways in kinds.items()},
        "seconds": {name: round(float(np.median(values)), 3) for name, values in seconds.items()},
    }


def object_picture(number: int, seed: int, cache: Path) -> Image.Image:
    """A held-out object in a random view, lit, RGBA, smoothed by drawing it at twice the size."""
    family = next(islice(cycle(FAMILIES), number, None))
    which = HELD_OUT + 20_000 * (seed + 1) + number
    file = cache / f"{family}-{which}-{OBJECT}.png"
    if not file.is_file():
        rng = np.random.default_rng([*family.encode(), which])
        params, view = draw(family, [which]), random_view(rng)
        window = frame(family, params, [view], margin=1.02)
        drawn = render(family, params, [view], [random_light(rng)], 2 * OBJECT, window)[0].numpy()
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(drawn).convert("RGBa").resize((OBJECT, OBJECT), Image.Resampling.BOX).convert("RGBA").save(file)
    return Image.open(file)


def compose(picture: Image.Image, kind: str, photographs: list[Image.Image], rng: np.random.Generator) -> Composed:
    """An object in front of a background of a kind."""
    width, height = SHAPES[rng.integers(len(SHAPES))]
    side = int(OBJECT * rng.uniform(0.75, 1.0))
    left, top = int(rng.uniform(0.1, 0.9) * (width - side)), int(rng.uniform(0.2, 0.9) * (height - side))
    small = np.asarray(picture.convert("RGBa").resize((side, side), Image.Resampling.LANCZOS), np.float32) / 255
    front = np.zeros((height, width, 4), np.float32)  # premultiplied
    front[top : top + side, left : left + side] = small
    if rng.random() < 0.5:
        front = ndimage.gaussian_filter(front, (*[rng.uniform(0.8, 3.0)] * 2, 0))
    alpha = front[..., 3:].clip(0, 1)
    behind = background(kind, (height, width), photographs, rng)
    if rng.random() < 1 / 3:
        mean = front[..., :3].sum(axis=(0, 1)) / alpha.sum()
        behind = behind + 0.6 * (mean - behind.mean(axis=(0, 1)))
    if rng.random() < 2 / 3:
        behind = behind * (1 - _shadow(alpha[..., 0], rng))[..., None]
    pixels = front[..., :3] + (1 - alpha) * behind.clip(0, 1) + rng.normal(0, 0.01, behind.shape)
    image = _compressed(Image.fromarray((255 * pixels.clip(0, 1)).round().astype(np.uint8)), int(rng.integers(85, 96)))
    inside = ndimage.distance_transform_edt(alpha[..., 0] > 0.9)
    row, column = np.unravel_index(int(inside.argmax()), inside.shape)
    return Composed(kind, image, alpha[..., 0], ((float(column) + 0.5) / width, (float(row) + 0.5) / height))


def background(
    kind: str, shape: tuple[int, int], photographs: list[Image.Image], rng: np.random.Generator
) -> np.ndarray:
    """A background [H, W, 3] in 0..1."""
    if kind == "texture":
        return _texture(shape, rng)
    photograph = photographs[rng.integers(len(photographs))]
    scale = max(shape[1] / photograph.width, shape[0] / photograph.height)
    size = max(shape[1], round(scale * photograph.width)), max(shape[0], round(scale * photograph.height))
    x, y = int(rng.integers(size[0] - shape[1] + 1)), int(rng.integers(size[1] - shape[0] + 1))
    large = photograph.resize(size, Image.Resampling.LANCZOS).crop((x, y, x + shape[1], y + shape[0]))
    pixels = np.asarray(large, np.float32) / 255
    return ndimage.gaussian_filter(pixels, (*[rng.uniform(10, 30)] * 2, 0)) if kind == "blurred" else pixels


def _texture(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Two colours, mixed by noise of several sizes, by stripes or by tiles, and a third of another noise."""
    colours = rng.uniform(0.1, 0.9, (3, 3)).astype(np.float32)
    rows, columns = np.mgrid[0 : shape[0], 0 : shape[1]].astype(np.float32)
    size, turn = rng.uniform(20, 90), rng.uniform(0, np.pi)
    along, across = rows * np.cos(turn) + columns * np.sin(turn), columns * np.cos(turn) - rows * np.sin(turn)
    pattern = (
        _noise(shape, size, rng),
        0.5 + 0.5 * np.sin(2 * np.pi * (along / size + _noise(shape, 120, rng))),
        ((along // size + across // size) % 2),
    )[rng.integers(3)][..., None]
    mixed = colours[0] * pattern + colours[1] * (1 - pattern)
    return mixed + 0.25 * (colours[2] - mixed) * _noise(shape, 6, rng)[..., None]


def _noise(shape: tuple[int, int], size: float, rng: np.random.Generator) -> np.ndarray:
    """Smooth noise [H, W] in 0..1, with features of about ``size`` pixels and of half and a quarter of that."""
    found = np.zeros(shape, np.float32)
    for octave in range(3):
        step = max(2.0, size / 2**octave)
        coarse = Image.fromarray(rng.random((int(shape[0] / step) + 2, int(shape[1] / step) + 2), np.float32))
        found += np.asarray(coarse.resize((shape[1], shape[0]), Image.Resampling.BICUBIC)) / 2**octave
    return (found - found.min()) / (found.max() - found.min())


def _shadow(alpha: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """How much darker [H, W] an object makes the background: its outline, moved, pressed flat and blurred."""
    rows = np.flatnonzero(alpha.max(axis=1) > 0.5)
    bottom, height = int(rows[-1]), int(rows[-1] - rows[0] + 1)
    flat, shift = rng.uniform(0.15, 0.4), rng.uniform(-0.4, 0.4)
    # Output (row, column) to where it is taken from: rows stretch upwards from the object's foot, columns lean.
    matrix = np.array([[1 / flat, 0], [shift / flat, 1]])
    offset = np.array([bottom * (1 - 1 / flat), -shift / flat * bottom])
    cast = ndimage.affine_transform(alpha, matrix, offset, order=1)
    return rng.uniform(0.25, 0.6) * ndimage.gaussian_filter(cast, 0.04 * height)


def _compressed(image: Image.Image, quality: int) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return Image.open(stream).convert("RGB")


def _alpha(cut: Callable[..., Image.Image], image: Image.Image, *more: Any) -> np.ndarray:
    """The alpha [H, W] of a cut-out; zeros if the image is refused."""
    try:
        return np.asarray(cut(image, *more).getchannel("A"), np.float32) / 255
    except ImageError:
        return np.zeros((image.height, image.width), np.float32)


def _means(judged: list[Judged]) -> dict[str, float]:
    return {
        "iou": round(float(np.mean([one.iou for one in judged])), 4),
        "iou_median": round(float(np.median([one.iou for one in judged])), 4),
        "error": round(float(np.mean([one.error for one in judged])), 5),
    }


def table(report: Any) -> str:
    """The report as Markdown."""
    titles = {
        "raw": f"network ({report['network']}) alone",
        "refined": "refined",
        "pointed": "refined, object pointed at",
        "plain": "plain-background detection",
    }
    lines = ["| Way | soft: IoU | error | sharp: IoU | error |", "|---|---:|---:|---:|---:|"]
    for way, title in titles.items():
        both = [report[kind].get(way) for kind in ("soft", "sharp")]
        cells = [f"{one['iou']:.3f} | {one['error']:.4f}" if one else "| " for one in both]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines)
