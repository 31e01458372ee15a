"""The pictures of the history: those that results come with, and those of raw meshes. With the fake backend."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import bpy
import bpy.utils.previews
import numpy as np
import pytest
from espalier.backend.portrait_facts import PORTRAIT, SIZE
from espalier.blender_addon import pump
from espalier.blender_addon.jobs.queue import State
from espalier.blender_addon.scene import history
from espalier.blender_addon.scene.portrait import as_icon, draw_portrait

from tests.fakes.fake_backend import torus

Until = Callable[..., None]


def made_with(picture: np.ndarray | None, until: Until) -> None:
    """Generate an object whose result comes with another picture, or none."""
    bpy.ops.espalier.generate()
    (job,) = pump.jobs.jobs
    until(lambda: job.state is State.DONE, lambda: pump.jobs.step())
    assert job.result is not None
    with np.load(job.result.arrays) as arrays:
        others = {name: array for name, array in arrays.items() if name != PORTRAIT}
    np.savez(job.result.arrays, **others, **({} if picture is None else {PORTRAIT: picture}))
    until(lambda: not pump.jobs.jobs, pump.step)


def raw_picture() -> np.ndarray:
    """What is drawn of the raw mesh that the fake backend makes."""
    vertices, faces, _, colors = torus()
    arrays = np.array(vertices, np.float32), np.array(faces, np.int32), np.array(colors, np.float32)
    return draw_portrait(*(array.reshape(-1, 3) for array in arrays))  # type: ignore[arg-type]


def test_the_picture_is_that_of_the_finished_object(mug: bpy.types.Object) -> None:
    (entry,) = history.entries
    assert entry.result is not None
    assert entry.picture is not None, "at once: nothing has to be drawn"
    with np.load(entry.result.arrays) as arrays:
        np.testing.assert_array_equal(entry.picture, arrays[PORTRAIT])
    assert entry.folder is not None
    assert "preview.npz" not in {path.name for path in entry.folder.iterdir()}


@pytest.mark.parametrize(
    "picture",
    [
        None,
        np.zeros((SIZE, SIZE, 3), np.uint8),
        np.zeros((SIZE, SIZE, 4), np.float32),
        np.full((SIZE, SIZE, 4), None, object),
    ],
    ids=["none", "of another shape", "of another type", "of objects"],
)
def test_without_a_picture_the_raw_mesh_is_drawn(mode: list[str], until: Until, picture: np.ndarray | None) -> None:
    made_with(picture, until)
    (entry,) = history.entries
    until(lambda: entry.picture is not None)
    assert entry.picture is not None
    np.testing.assert_array_equal(entry.picture, raw_picture())
    assert entry.folder is not None
    until(lambda: entry.folder is None or "preview.npz" not in {path.name for path in entry.folder.iterdir()})


@pytest.mark.parametrize("comes_with_one", [True, False])
def test_a_full_disk_costs_no_picture(
    mode: list[str], until: Until, monkeypatch: pytest.MonkeyPatch, comes_with_one: bool
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    picture = np.full((SIZE, SIZE, 4), 90, np.uint8)
    with monkeypatch.context() as patch:
        patch.setattr(history.shutil, "move", full)
        made_with(picture if comes_with_one else None, until)
    (entry,) = history.entries
    assert entry.folder is None
    until(lambda: entry.picture is not None)
    assert entry.picture is not None
    np.testing.assert_array_equal(entry.picture, picture if comes_with_one else raw_picture())


def test_an_icon_is_blended_as_blender_blends_previews(tmp_path: Path) -> None:
    """Its colours are multiplied with alpha. Otherwise a dark outline would be pale."""
    picture = np.zeros((SIZE, SIZE, 4), np.uint8)
    picture[0, 0], picture[-1, -1] = (255, 0, 51, 51), (255, 0, 0, 255)
    icons = bpy.utils.previews.new()
    try:
        as_icon(icons, "a", picture)
        pixels = np.array(icons["a"].image_pixels_float[:]).reshape(SIZE, SIZE, 4)
    finally:
        bpy.utils.previews.remove(icons)
    np.testing.assert_allclose(pixels[-1, 0], (0.2, 0, 0.04, 0.2), atol=0.01)
    np.testing.assert_allclose(pixels[0, -1], (1, 0, 0, 1), atol=0.01)
