"""A thumbnail shows what the backend will see: each kind of image, as the panel shows it and as a job gets it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bpy
import numpy as np
import pytest
from espalier import blender_addon
from espalier.blender_addon.jobs.inputs import InputWriter
from espalier.blender_addon.request import cutouts, images, painted

Image = pytest.importorskip("PIL.Image", reason="it takes the backend's Python, with Pillow")
pytest.importorskip("torch")

from backend import protocol as the_backends  # noqa: E402
from backend.images.files import load_image  # noqa: E402
from backend.serving.cutouts import make, on_checkerboard  # noqa: E402

WIDTH, HEIGHT = 96, 64
#: Levels of 255 by which pixels differ in the mean: those of edges are scaled by other ways.
CLOSE = 4.0


def scene(opaque: bool = True) -> Any:
    """A red and a blue half of one thing, higher on the left: no two ways up look the same. On white, or on nothing."""
    pixels = np.full((HEIGHT, WIDTH, 4), 255, np.uint8)
    pixels[..., 3] = 255 if opaque else 0
    pixels[14:52, 20:50] = (200, 40, 30, 255)
    pixels[30:52, 50:76] = (30, 60, 190, 255)
    return Image.fromarray(pixels)


def turned(path: Path, turn: int) -> Path:
    exif = Image.Exif()
    exif[0x0112] = turn
    scene().convert("RGB").save(path, exif=exif, quality=98)
    return path


def sixteen_bits(path: Path) -> Path:
    grey = np.asarray(scene().convert("L")).astype(np.uint16) * 257
    Image.fromarray(grey).save(path)
    return path


def floats(path: Path) -> Path:
    Image.fromarray(np.asarray(scene().convert("L")).astype(np.float32) / 255).save(path)
    return path


def saved(mode: str, **options: Any) -> Callable[[Path], Path]:
    def save(path: Path) -> Path:
        scene(opaque=mode not in ("RGBA", "P", "LA")).convert(mode).save(path, **options)
        return path

    return save


FILES: dict[str, Callable[[Path], Path]] = {
    "turned 6.png": lambda path: turned(path, 6),
    "transparent.png": saved("RGBA"),
    "grey and transparent.png": saved("LA"),
    "palette.png": saved("P", transparency=0),
    "palette.gif": saved("P"),
    "16 bits.png": sixteen_bits,
    "float.tif": floats,
    "inks.jpg": saved("CMYK", quality=98),
    "inks.tif": saved("CMYK"),
    "black.png": saved("1"),
    "photograph.webp": saved("RGB", quality=95),
}

COLOURED = [name for name in FILES if name not in ("grey and transparent.png", "16 bits.png", "float.tif", "black.png")]


@pytest.fixture
def settings() -> Iterator[Any]:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    blender_addon.register()
    yield bpy.context.scene.espalier
    blender_addon.unregister()


def in_the_panel(item: Any) -> np.ndarray:
    """The thumbnail that the backend makes for the panel."""
    wanted = cutouts._wanted(item)
    assert wanted is not None
    cutout = cutouts._request(item, wanted)
    if cutout.writer is not None:
        cutout.writer.join()
        assert cutout.writer.error is None
    answer = make(the_backends.Cutout(**vars(cutout.request)))
    assert answer.out == cutout.request.out
    return np.asarray(Image.open(cutout.request.thumbnail)).astype(float)


def in_a_job(settings: Any, folder: Path) -> np.ndarray:
    """What a job's backend takes from the file that it gets, as a thumbnail."""
    (picture,) = images.collect(settings)
    paths, files = images.as_files([picture], folder)
    writer = InputWriter(files)
    writer.run()
    assert writer.error is None
    seen = load_image(Path(paths[0]), "never" if picture.painted else settings.background, picture.point)
    return np.asarray(on_checkerboard(seen)).astype(float)


def assert_alike(panel: np.ndarray, job: np.ndarray) -> None:
    assert abs(panel.shape[0] - job.shape[0]) <= 2
    assert abs(panel.shape[1] - job.shape[1]) <= 2
    size = (panel.shape[1], panel.shape[0])
    job = np.asarray(Image.fromarray(job.astype(np.uint8)).resize(size)).astype(float)
    assert np.abs(panel - job).mean() < CLOSE


@pytest.mark.parametrize("name", FILES)
def test_a_file(settings: Any, tmp_path: Path, name: str) -> None:
    images.add_source(settings, str(FILES[name](tmp_path / name)))
    panel = in_the_panel(settings.images[0])
    assert_alike(panel, in_a_job(settings, tmp_path / "job"))
    if name in COLOURED:  # and not as inverted inks, or in a wrong order of channels
        red, _, blue = panel[panel.shape[0] // 2, panel.shape[1] // 3]
        assert red > 1.5 * blue


@pytest.mark.parametrize("turn", range(1, 9))
def test_every_orientation_looks_as_its_camera_meant(settings: Any, tmp_path: Path, turn: int) -> None:
    from PIL import ImageOps

    path = turned(tmp_path / "photograph.jpg", turn)
    images.add_source(settings, str(path))
    panel = in_the_panel(settings.images[0])
    meant = ImageOps.exif_transpose(Image.open(path))
    assert panel.shape[:2] == (meant.height, meant.width)
    red = np.asarray(meant).astype(int)
    at = (red[..., 0] > 150) & (red[..., 2] < 80)
    shown = (panel[..., 0] > 150) & (panel[..., 2] < 80)
    assert (at == shown).mean() > 0.97
    assert_alike(panel, in_a_job(settings, tmp_path / "job"))


def generated(alpha: bool = True, floating: bool = False) -> bpy.types.Image:
    image = bpy.data.images.new("Sketch", WIDTH, HEIGHT, alpha=alpha, float_buffer=floating)
    values = np.asarray(scene(opaque=False)).astype(np.float32)[::-1] / 255
    if floating:  # scene-linear, premultiplied
        values = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
        values[..., 3] = np.asarray(scene(opaque=False))[::-1, :, 3] / 255
        values[..., :3] *= values[..., 3:]
    image.pixels.foreach_set(values.ravel().astype(np.float32))
    image.update()
    return image


@pytest.mark.parametrize("floating", [False, True])
def test_an_image_of_the_blend(settings: Any, tmp_path: Path, floating: bool) -> None:
    image = generated(floating=floating)
    images.add_source(settings, images.DATABLOCK + image.name)
    panel = in_the_panel(settings.images[0])
    assert_alike(panel, in_a_job(settings, tmp_path / "job"))
    assert np.allclose(panel[HEIGHT // 2, WIDTH // 3], (200, 40, 30), atol=4)


@pytest.mark.parametrize("floating", [False, True])
def test_a_painted_cut_out(settings: Any, tmp_path: Path, floating: bool) -> None:
    """Its thumbnail is made in Blender, of the pixels as they are."""
    images.add_source(settings, images.CUTOUT + generated(floating=floating).name)
    item = settings.images[0]
    small = 255 * painted.thumbnail(images.read_pixels(item.cutout))[::-1, :, :3].astype(float)
    assert_alike(small, in_a_job(settings, tmp_path / "job"))


def test_a_packed_photograph_that_is_turned(settings: Any, tmp_path: Path) -> None:
    image = bpy.data.images.load(str(turned(tmp_path / "photograph.jpg", 6)))
    image.pack()
    images.add_source(settings, images.DATABLOCK + image.name)
    panel = in_the_panel(settings.images[0])
    assert panel.shape[0] > panel.shape[1]
    assert_alike(panel, in_a_job(settings, tmp_path / "job"))
