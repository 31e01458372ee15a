"""What an opened .blend may list, and that looking at it starts nothing."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bpy
import pytest
from espalier.blender_addon import pump
from espalier.blender_addon.request import cutouts, images, opened, painted, thumbnails
from espalier.blender_addon.scene.made import MOST_IMAGES
from espalier.blender_addon.scene.material import create_image

from tests.blender_addon.ui.drawing import draw, texts
from tests.fakes.fake_backend import paint, write_png

Until = Callable[..., None]


@pytest.fixture
def reopened(mode: list[str], tmp_path: Path) -> Any:
    """The panel's settings, in a file with one image in the list that was saved and opened again."""
    write_png(tmp_path / "mug.png", 64, paint)
    images.add_source(bpy.context.scene.espalier, str(tmp_path / "mug.png"))
    return reopen(tmp_path)


def reopen(tmp_path: Path) -> Any:
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "file.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "file.blend"))
    return bpy.context.scene.espalier


def test_the_images_of_an_opened_file_wait_until_they_are_asked_for(reopened: Any, until: Until) -> None:
    assert "espalier.show_cutouts" in texts(draw())
    cutouts.ask(bpy.context.scene)
    assert pump.jobs.cutouts.pending == []
    assert pump.jobs.backend is None
    bpy.ops.espalier.show_cutouts()
    cutouts.ask(bpy.context.scene)
    until(lambda: not pump.jobs.cutouts.pending, pump.step)
    assert cutouts.answer(reopened.images[0]) is not None
    assert "espalier.show_cutouts" not in texts(draw())


def test_generate_asks_for_them_too(reopened: Any) -> None:
    assert bpy.ops.espalier.generate() == {"FINISHED"}
    assert not opened.waits(images.source(reopened.images[0]))


def test_an_image_that_the_user_adds_does_not_wait(reopened: Any, tmp_path: Path, until: Until) -> None:
    write_png(tmp_path / "cup.png", 64, paint)
    images.add_source(reopened, str(tmp_path / "cup.png"))
    cutouts.ask(bpy.context.scene)
    until(lambda: not pump.jobs.cutouts.pending, pump.step)
    assert cutouts.answer(reopened.images[1]) is not None
    assert cutouts.of(reopened.images[0]) is None


def test_an_edited_cut_out_of_an_opened_file_is_not_unpacked_by_itself(reopened: Any, tmp_path: Path) -> None:
    reopened.images[0].cutout = create_image("mug cut-out", (tmp_path / "mug.png").read_bytes())
    settings = reopen(tmp_path)
    painted.draw_thumbnails()
    assert not painted.has_thumbnail(settings.images[0].cutout)
    bpy.ops.espalier.show_cutouts()
    painted.draw_thumbnails()
    assert painted.has_thumbnail(settings.images[0].cutout)


def test_a_file_lists_no_more_images_than_an_object_can_have(
    reopened: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for number in range(3000):
        reopened.images.add().path = f"/nowhere/{number}.png"
    settings = reopen(tmp_path)
    assert len(settings.images) == MOST_IMAGES
    assert images.title(settings.images[0]) == "mug.png"
    said = capfd.readouterr().out
    assert said.count("3001 images") == 1
    draw()


def test_no_more_images_are_added_either(mode: list[str], tmp_path: Path) -> None:
    settings = bpy.context.scene.espalier
    settings.images.clear()
    files = [{"name": f"{number}.png"} for number in range(MOST_IMAGES + 5)]
    bpy.ops.espalier.add_images(directory=str(tmp_path), files=files)
    assert len(settings.images) == MOST_IMAGES


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes in its file system")
def test_a_pipe_that_a_file_names_is_not_waited_for(reopened: Any, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    reopened.images[0].path = str(tmp_path / "pipe.png")
    settings = reopen(tmp_path)
    draw()
    assert thumbnails.icon(str(tmp_path / "pipe.png")) == 0
    assert thumbnails.turn_of(str(tmp_path / "pipe.png")) == 1, "of an image of the .blend, too"
    assert images.is_missing(settings.images[0])
    opened.ask()
    cutouts.ask(bpy.context.scene)
