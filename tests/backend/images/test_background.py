"""Photographs without alpha: an object is cut out properly, or the image is refused and the error says what helps."""

from __future__ import annotations

import base64
import io
import sys
import tomllib
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from backend.errors import CheckpointError, ImageError
from backend.files import sha256
from backend.images import background
from backend.images.background import FILE, MODEL, REMBG, remove_background
from backend.images.cutout import cut_out
from backend.images.files import load_image
from backend.store.catalog import PUBLISHED, HashLock, LockedFile

Floats = NDArray[np.float64]

SIDE = 400
ROWS, COLUMNS = np.mgrid[0:SIDE, 0:SIDE] / SIDE * 2 - 1
RADIUS = np.hypot(ROWS, COLUMNS)
BALL = np.clip(0.5 - (RADIUS - 0.5) * SIDE / 2, 0, 1)  # a smooth mask
DEPTH = np.sqrt(np.clip(0.25 - RADIUS**2, 0, None)) / 0.5  # of the ball's surface: 0 at its rim
RED, GREY, WHITE = (220, 60, 40), (150, 150, 150), (255, 255, 255)


def plain(colour: tuple[int, ...]) -> Floats:
    return np.full((SIDE, SIDE, 3), colour, dtype=float)


def lit(colour: tuple[int, ...]) -> Floats:
    """A ball lit from the left and above."""
    light = np.clip(-0.99 * COLUMNS - 1.2 * ROWS + 0.62 * DEPTH, 0, 1) * 0.85 + 0.15
    return plain(colour) * light[..., None]


def on(backdrop: Floats, ball: Floats) -> Floats:
    return backdrop * (1 - BALL[..., None]) + ball * BALL[..., None]


def shadowed(backdrop: Floats, blur: float = 20) -> Floats:
    """With a soft shadow below the ball."""
    ellipse = (np.hypot(COLUMNS / 0.55, (ROWS - 0.45) / 0.15) < 1).astype(float)
    return backdrop * (1 - 0.5 * ndimage.gaussian_filter(ellipse, blur))[..., None]


def picture(pixels: Floats) -> Image.Image:
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return Image.open(stream).convert("RGB")


def noisy(pixels: Floats, deviation: float) -> Floats:
    return pixels + np.random.default_rng(0).normal(0, deviation, pixels.shape)


GRADIENT = plain((230, 235, 240)) - 30 * (ROWS + 1)[..., None]
VIGNETTE = plain((240, 240, 240)) * (1 - 0.12 * RADIUS**2)[..., None]
COLOURED = plain((250, 200, 120)) - np.array([90, 50, 0]) * (ROWS / 2 + COLUMNS / 2 + 1)[..., None]


def overlap(image: Image.Image) -> float:
    """Intersection over union with the ball, by alpha."""
    alpha = np.asarray(image.getchannel("A")) / 255
    return float(np.minimum(alpha, BALL).sum() / np.maximum(alpha, BALL).sum())


@pytest.mark.parametrize(
    ("image", "least"),
    [
        (picture(on(plain(WHITE), lit(RED))), 0.99),
        (picture(on(GRADIENT, lit(RED))), 0.99),
        (picture(on(VIGNETTE, lit(RED))), 0.99),
        (picture(on(COLOURED, lit((60, 200, 60)))), 0.99),
        (picture(on(plain((15, 15, 20)), lit(RED))), 0.99),
        (picture(on(plain(WHITE), plain((240, 238, 235)))), 0.99),
        (picture(on(shadowed(plain(WHITE)), lit(RED))), 0.97),
        (picture(on(shadowed(GRADIENT), lit(RED))), 0.97),
        (picture(on(shadowed(plain(WHITE)), lit(GREY))), 0.97),
        (picture(on(plain(WHITE), lit(GREY))), 0.99),
        (picture(noisy(on(plain((245, 245, 245)), lit(RED)), 5)), 0.99),
        (jpeg(picture(on(plain(WHITE), lit(RED))), 30), 0.95),
        (jpeg(picture(on(plain((20, 180, 60)), lit(RED))), 50), 0.9),
        (jpeg(picture(on(shadowed(plain(WHITE)), lit(RED))), 60), 0.95),
    ],
    ids=[
        *("white", "gradient", "vignette", "coloured gradient", "black", "pale on white", "shadow"),
        *("shadow on a gradient", "grey with its shadow", "grey", "noise", "JPEG", "JPEG on green", "JPEG with shadow"),
    ],
)
def test_an_object_on_a_plain_background_is_cut_out(image: Image.Image, least: float) -> None:
    assert overlap(cut_out(image, "a.png")) >= least


def grey(values: Floats) -> Floats:
    return np.repeat(values[..., None], 3, axis=2)


STRIPE = np.where(((abs(ROWS) < 0.1) & (BALL > 0.5))[..., None], np.array([0.2, 0.3, 0.9]), 1.0)
HORIZON = np.where((ROWS > 0.3)[..., None], plain((120, 90, 60)), plain((200, 220, 250)))
SPOTLIGHT = plain((60, 60, 60)) + 180 * np.exp(-(RADIUS**2) / 0.8)[..., None]

UNCLEAR = {
    "white on white": on(plain(WHITE), plain((250, 250, 250))),
    "white that runs into white": on(plain(WHITE), grey(255 - 90 * np.clip(COLUMNS + 0.3, 0, 1))),
    "white with a shadow": on(shadowed(plain(WHITE)), grey(255 - 60 * DEPTH)),
    "white with a stripe": on(plain(WHITE), grey(255 - 60 * np.clip(COLUMNS + 0.2, 0, 1))) * STRIPE,
    "black on black": on(plain((10, 10, 10)), plain((16, 16, 16))),
    "out of focus": ndimage.gaussian_filter(on(plain(WHITE), lit(RED)), (12, 12, 0)),
    "a horizon": on(HORIZON, lit(RED)),
    "a spotlight": on(SPOTLIGHT, lit(RED)),
    "noise": noisy(plain((128, 128, 128)), 60),
    "nothing": plain(WHITE),
    "nothing but a gradient": GRADIENT,
    "nothing but a shadow": shadowed(plain(WHITE)),
}


@pytest.mark.parametrize("pixels", UNCLEAR.values(), ids=UNCLEAR)
def test_what_cannot_be_told_apart_is_refused_not_mangled(pixels: Floats) -> None:
    with pytest.raises(ImageError) as caught:
        remove_background(picture(pixels), "a.png")
    assert caught.value.code == "background_unclear"
    assert "a.png" in str(caught.value)


# --- rembg -----------------------------------------------------------------------------------------------------------

SCENE = picture(on(HORIZON, lit(RED)))


def install_rembg(monkeypatch: pytest.MonkeyPatch, mask: Floats) -> list[dict[str, Any]]:
    """A stand-in for rembg whose network answers with ``mask``. Returns what sessions were asked for."""
    sessions: list[dict[str, Any]] = []

    def new_session(name: str, **options: Any) -> object:
        sessions.append({"name": name} | options)
        return sessions[-1]

    def remove(image: Image.Image, *, session: object, only_mask: bool) -> Image.Image:
        assert only_mask
        assert session is sessions[-1]
        return Image.fromarray((mask * 255).astype(np.uint8)).resize(image.size)

    module = ModuleType("rembg")
    module.__spec__ = ModuleSpec("rembg", None)
    module.__dict__.update(new_session=new_session, remove=remove)
    monkeypatch.setitem(sys.modules, "rembg", module)
    return sessions


def install_model(monkeypatch: pytest.MonkeyPatch, folder: Path, content: bytes = b"weights") -> Path:
    file = folder / MODEL / FILE
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    HashLock("owner/name", None, {FILE: LockedFile(len(content), sha256(file))}).write(file.parent)
    monkeypatch.setenv("ESPALIER_MODELS", str(folder))
    return file


@pytest.fixture
def no_rembg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "find_spec", lambda name: None)


@pytest.mark.usefixtures("no_rembg")
def test_without_rembg_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(ImageError) as caught:
        remove_background(SCENE, "a.png")
    assert REMBG in caught.value.hint
    assert f"download {MODEL}" in caught.value.hint
    assert "transparent" in caught.value.hint
    install_model(monkeypatch, tmp_path)
    with pytest.raises(ImageError) as caught:
        remove_background(SCENE, "a.png")
    assert REMBG in caught.value.hint
    assert "download" not in caught.value.hint


def test_without_its_model_rembg_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = install_rembg(monkeypatch, BALL)
    with pytest.raises(ImageError) as caught:
        remove_background(SCENE, "a.png")
    assert "pip" not in caught.value.hint
    assert f"download {MODEL}" in caught.value.hint
    assert sessions == []


def test_any_background_is_removed_by_rembg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    sessions = install_rembg(monkeypatch, BALL)
    file = install_model(monkeypatch, tmp_path / "models")
    SCENE.save(tmp_path / "a.png")
    assert overlap(load_image(tmp_path / "a.png")) > 0.98
    assert [session["model_path"] for session in sessions] == [str(file)]  # so that rembg downloads nothing


def test_a_plain_background_needs_no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    sessions = install_rembg(monkeypatch, BALL)
    install_model(monkeypatch, tmp_path)
    remove_background(picture(on(plain(WHITE), lit(RED))), "a.png")
    assert sessions == []


@pytest.mark.parametrize("mask", [np.ones((8, 8)), np.zeros((8, 8))])
def test_a_mask_of_everything_or_nothing_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, mask: Floats
) -> None:
    install_rembg(monkeypatch, mask)
    install_model(monkeypatch, tmp_path)
    with pytest.raises(ImageError) as caught:
        remove_background(SCENE, "a.png")
    assert caught.value.code == "background_unclear"


def test_a_changed_model_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install_rembg(monkeypatch, BALL)
    install_model(monkeypatch, tmp_path).write_bytes(b"wEights")
    with pytest.raises(CheckpointError, match="SHA-256"):
        remove_background(SCENE, "a.png")


def test_the_advice_names_the_pinned_version() -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["optional-dependencies"]["background"] == [REMBG]


def test_the_model_is_in_the_catalogue() -> None:
    assert [file.path for file in PUBLISHED[MODEL].files] == [FILE]


#: A network of rembg's form in ONNX: the mean of the three channels.
TINY_ONNX = base64.b64decode(
    "CAg6fwo2CgVpbnB1dBIDb3V0IgpSZWR1Y2VNZWFuKgsKBGF4ZXNAAaABByoPCghrZWVwZGltcxgBoAECEgFnWiEKBWlucHV0EhgK"
    "FggBEhIKAggBCgIIAwoDCMACCgMIwAJiHwoDb3V0EhgKFggBEhIKAggBCgIIAQoDCMACCgMIwAJCBAoAEA0="
)


def test_rembg_itself_takes_the_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("rembg", reason="the extra background is not installed")
    install_model(monkeypatch, tmp_path, TINY_ONNX)
    pixels = on(np.where((ROWS > 0.3)[..., None], plain((20, 20, 20)), plain((60, 60, 60))), plain((250, 240, 230)))
    assert overlap(remove_background(picture(pixels), "a.png")) > 0.8
