"""Photographs without alpha: an object is cut out properly, or the image is refused and the error says what helps."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from backend.errors import CheckpointError, ImageError
from backend.files import sha256
from backend.images import matting
from backend.images.background import remove_background
from backend.images.cutout import cut_out
from backend.images.files import load_image
from backend.store.catalog import PUBLISHED, HashLock, LockedFile
from tests.fakes.tiny_onnx import GAIN, bright_pixels

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
def test_what_is_not_plain_is_refused_not_mangled(pixels: Floats) -> None:
    with pytest.raises(ImageError) as caught:
        cut_out(picture(pixels), "a.png")
    assert caught.value.code == "background_unclear"
    assert "a.png" in str(caught.value)


@pytest.mark.parametrize("name", ["noise", "nothing", "nothing but a gradient"])
def test_where_no_object_stands_out_the_error_says_so(name: str) -> None:
    with pytest.raises(ImageError, match="No object stands out") as caught:
        remove_background(picture(UNCLEAR[name]), "a.png")
    assert caught.value.code == "background_unclear"
    assert "a.png" in str(caught.value)


# --- matting networks ------------------------------------------------------------------------------------------------

SCENE = picture(on(HORIZON, lit(RED)))
TWO = on(HORIZON, lit(RED))
TWO[20:110, 290:380] = TWO[155:245, 155:245]  # the middle of the ball again, as a small square


def install(monkeypatch: pytest.MonkeyPatch, folder: Path, name: str) -> Path:
    """As if a published network had been installed: a stand-in of its shape, for which bright pixels are the object."""
    network = next(network for network in matting.NETWORKS if network.name == name)
    content = bright_pixels(network.side, logits=network.logits)
    monkeypatch.setenv("ESPALIER_MODELS", str(folder))
    network.file.parent.mkdir(parents=True)
    network.file.write_bytes(content)
    lock = LockedFile(len(content), sha256(network.file))
    HashLock("owner/name", None, {network.path: lock}).write(folder / name)
    return network.file


def test_any_background_is_removed(tmp_path: Path) -> None:
    SCENE.save(tmp_path / "a.png")
    assert overlap(load_image(tmp_path / "a.png")) > 0.97


def test_the_edge_is_free_of_the_background() -> None:
    cut = np.asarray(remove_background(SCENE, "a.png")).astype(float)
    edge = (cut[..., 3] > 30) & (cut[..., 3] < 225)
    true = lit(RED)[edge]
    assert edge.sum() > 200
    assert np.abs(cut[edge][:, :3] - true).mean() < 0.5 * np.abs(np.asarray(SCENE)[edge] - true).mean()


def test_what_the_background_shows_through_stays_open() -> None:
    ring = on(HORIZON, lit(RED))
    hole = RADIUS < 0.25
    ring[hole] = HORIZON[hole]
    alpha = np.asarray(remove_background(picture(ring), "a.png").getchannel("A"))
    assert alpha[RADIUS < 0.2].mean() < 0.1 * 255
    assert alpha[(RADIUS > 0.3) & (RADIUS < 0.45)].mean() > 0.95 * 255


def test_of_several_objects_the_largest_is_taken_or_the_one_at_the_point() -> None:
    largest = np.asarray(remove_background(picture(TWO), "a.png").getchannel("A"))
    assert largest[200, 200] > 250
    assert largest[65, 335] < 5
    other = np.asarray(remove_background(picture(TWO), "a.png", (335 / SIDE, 65 / SIDE)).getchannel("A"))
    assert other[200, 200] < 5
    assert other[65, 335] > 250


def test_several_objects_on_a_plain_background() -> None:
    pixels = on(plain(WHITE), lit(RED))
    pixels[20:80, 20:80] = (40, 60, 200)
    alpha = np.asarray(remove_background(picture(pixels), "a.png").getchannel("A"))
    assert (alpha[200, 200], alpha[50, 50]) == (255, 0)
    alpha = np.asarray(remove_background(picture(pixels), "a.png", (50 / SIDE, 50 / SIDE)).getchannel("A"))
    assert (alpha[200, 200], alpha[50, 50]) == (0, 255)
    with pytest.raises(ImageError, match="chosen point"):
        remove_background(picture(pixels), "a.png", (0.9, 0.1))


def test_a_plain_background_needs_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matting, "best", lambda: pytest.fail("a network was asked for"))
    remove_background(picture(on(plain(WHITE), lit(RED))), "a.png")


def test_without_a_network_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matting, "best", lambda: None)
    with pytest.raises(ImageError) as caught:
        remove_background(SCENE, "a.png")
    assert caught.value.code == "matting_missing"
    assert "a.png" in str(caught.value)
    assert "dev.py setup" in caught.value.hint


def test_without_onnxruntime_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    matting._loaded.clear()
    with pytest.raises(ImageError) as caught:
        remove_background(SCENE, "a.png")
    assert caught.value.code == "matting_missing"


def test_the_best_network_that_is_installed_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert [network.name for network in matting.NETWORKS] == ["birefnet-lite", "isnet-general", "u2netp"]
    best = matting.best()
    assert best is not None
    assert best.name == "u2netp"
    for name in ("isnet-general", "birefnet-lite"):
        install(monkeypatch, tmp_path, name)
        best = matting.best()
        assert best is not None
        assert best.name == name


TILED = ((8 * ROWS).round() + (8 * COLUMNS).round()) % 2 == 0
BRIGHT = picture(on(np.where(TILED[..., None], plain((5, 5, 5)), plain((90, 90, 90))), plain((250, 240, 230))))


@pytest.mark.parametrize("name", ["isnet-general", "birefnet-lite"])
def test_an_installed_network_is_run_by_its_line_of_the_table(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    install(monkeypatch, tmp_path, name)
    network = matting.best()
    assert network is not None
    greys = np.repeat(np.repeat(np.array([[0, 128, 255]], np.uint8), 30, axis=0), 60, axis=1)
    found = matting.foreground(Image.fromarray(greys).convert("RGB"), network)
    assert found.shape == greys.shape
    # What the stand-in makes of a grey: the channels' mean, then a sigmoid, whether its own or the runner's.
    means = [np.mean((np.array([v, v, v]) / 255 - network.mean) / network.deviation) for v in (0, 128, 255)]
    black, grey, white = (1 / (1 + np.exp(-GAIN * mean)) for mean in means)
    expected = [0, (grey - black) / (white - black), 1]
    assert found[15, [30, 90, 150]] == pytest.approx(expected, abs=1e-3)


def test_a_network_that_is_sure_of_nothing_finds_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install(monkeypatch, tmp_path, "birefnet-lite")
    assert not matting.foreground(picture(plain((90, 90, 90))), matting.NETWORKS[0]).any()


@pytest.mark.parametrize("name", ["isnet-general", "birefnet-lite"])
def test_networks_are_in_the_catalogue(name: str) -> None:
    network = next(network for network in matting.NETWORKS if network.name == name)
    assert [file.path for file in PUBLISHED[name].files] == [network.path]
    assert network.licence in PUBLISHED[name].licence


def test_a_changed_network_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = install(monkeypatch, tmp_path, "isnet-general")
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(CheckpointError, match="SHA-256"):
        remove_background(BRIGHT, "a.png")


def test_a_network_of_another_shape_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = install(monkeypatch, tmp_path, "isnet-general")
    content = bright_pixels(512, logits=False)
    file.write_bytes(content)
    lock = LockedFile(len(content), sha256(file))
    HashLock("owner/name", None, {"onnx/model.onnx": lock}).write(tmp_path / "isnet-general")
    with pytest.raises(CheckpointError, match="isnet-general cannot be run"):
        remove_background(BRIGHT, "a.png")


def test_the_shipped_network_is_the_published_one() -> None:
    matting.SHIPPED.require_unchanged()
    assert matting.SHIPPED.file.stat().st_size == 4_574_861


# --- the setting -----------------------------------------------------------------------------------------------------


def test_transparency_is_kept_unless_backgrounds_are_always_removed(tmp_path: Path) -> None:
    framed = SCENE.convert("RGBA")
    framed.paste((0, 0, 0, 0), (0, 0, 2 * SIDE // 3, 10))
    framed.save(tmp_path / "a.png")
    for background in ("automatic", "never"):
        alpha = np.asarray(load_image(tmp_path / "a.png", background).getchannel("A"))
        assert (alpha == np.asarray(framed.getchannel("A"))).all()
    assert overlap(load_image(tmp_path / "a.png", "always")) > 0.97


def test_an_image_may_be_taken_whole(tmp_path: Path) -> None:
    SCENE.save(tmp_path / "a.png")
    whole = load_image(tmp_path / "a.png", "never")
    alpha = np.asarray(whole.getchannel("A"))
    assert alpha[1:-1, 1:-1].min() == 255
    assert alpha[0].max() == 0  # the networks need a background: it is one pixel wide
    assert (np.asarray(whole.convert("RGB"))[1:-1, 1:-1] == np.asarray(SCENE)).all()
