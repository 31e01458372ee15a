"""The cut-outs of the panel's images, from the fake backend to the panel, the brush and the request."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bpy
import numpy as np
import pytest
from espalier.backend import protocol
from espalier.blender_addon import pump
from espalier.blender_addon.jobs.cutouts import State
from espalier.blender_addon.jobs.inputs import Pixels
from espalier.blender_addon.request import again, cutouts, generate, images, painted
from espalier.blender_addon.scene import made
from espalier.blender_addon.ui import panels

from tests.blender_addon.ui.drawing import draw, texts
from tests.fakes.fake_backend import paint, write_png

Until = Callable[..., None]


@pytest.fixture
def settings(mode: list[str], tmp_path: Path) -> Any:
    """The panel's settings, with one image in the list."""
    write_png(tmp_path / "mug.png", 64, paint)
    return bpy.context.scene.espalier


@pytest.fixture
def cut(settings: Any, until: Until) -> Callable[[], Any]:
    """``cut()`` has the cut-outs of the list made, and returns the list's first image."""

    def make() -> Any:
        cutouts.ask(bpy.context.scene)
        until(lambda: not pump.jobs.cutouts.pending, pump.step)
        return settings.images[0]

    return make


def shown() -> str:
    return texts(draw()).replace("\n", " ")


def add(settings: Any, tmp_path: Path, name: str) -> None:
    write_png(tmp_path / f"{name}.png", 64, paint)
    images.add_source(settings, str(tmp_path / f"{name}.png"))


def erase(image: Any) -> None:
    """What a stroke leaves: the left half without alpha."""
    values = np.empty(len(image.pixels), np.float32)
    image.pixels.foreach_get(values)
    pixels = values.reshape(image.size[1], image.size[0], 4)
    pixels[:, : image.size[0] // 2, 3] = 0
    image.pixels.foreach_set(pixels.ravel())
    image.update()


def test_the_panel_shows_the_cut_out(cut: Callable[[], Any], settings: Any) -> None:
    assert protocol.BACKGROUND_REMOVED not in shown()
    item = cut()
    assert protocol.BACKGROUND_REMOVED in shown()
    assert "Edit Cut-Out" in shown()
    cutout = cutouts.of(item)
    assert cutout is not None
    assert Path(cutout.request.thumbnail).is_file()


def test_two_images_have_buttons_without_text(cut: Callable[[], Any], settings: Any, tmp_path: Path) -> None:
    add(settings, tmp_path, "edge")
    cut()
    assert "Edit Cut-Out" not in shown()
    assert "The object touches" in shown()
    settings.images.remove(1)
    assert "Edit Cut-Out" in shown()


def test_buttons_whose_words_do_not_fit_have_none(cut: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Words of the second are left out first."""
    cut()
    words = {"Edit Cut-Out": "Freistellung bearbeiten"}
    monkeypatch.setattr(panels, "translate", lambda text: words.get(text, text))

    def worded(width: int) -> list[str]:
        return [label for label in ("Edit Cut-Out", "Pick Object") if label in texts(draw(width))]

    assert worded(400) == ["Edit Cut-Out", "Pick Object"]
    assert worded(280) == ["Edit Cut-Out"]
    words["Edit Cut-Out"] = "Freistellung von Hand bearbeiten"
    assert worded(280) == []


def test_drawing_asks_for_nothing_by_itself(settings: Any) -> None:
    draw()
    assert pump.jobs.cutouts.pending == []
    assert pump.jobs.backend is None


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("edge", protocol.EDGE_TOUCHED),
        ("nothing", protocol.NOTHING_STANDS_OUT),
        ("broken", "broken is not an image."),
    ],
)
def test_warnings(cut: Callable[[], Any], settings: Any, tmp_path: Path, name: str, words: str) -> None:
    settings.images.clear()
    add(settings, tmp_path, name)
    cut()
    assert words in shown()


def test_each_is_asked_for_once(cut: Callable[[], Any], settings: Any, tmp_path: Path) -> None:
    first = cutouts.of(cut())
    assert cutouts.of(cut()) is first
    settings.background = "always"
    assert cutouts.of(settings.images[0]) is None
    second = cutouts.of(cut())
    assert second is not None
    assert second.request.background == "always"
    settings.background = "automatic"
    assert cutouts.of(settings.images[0]) is first
    os.utime(images.original(settings.images[0]), (1, 1))  # the file was changed
    assert cutouts.of(settings.images[0]) is None


def test_only_so_many_are_kept(
    cut: Callable[[], Any], settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cutouts, "MOST", 1)
    first = cutouts.of(cut())
    assert first is not None
    for number in range(3):
        os.utime(images.original(settings.images[0]), (number, number))
        cut()
    assert len(cutouts._known) == 2
    assert not Path(first.request.out).parent.exists()
    for number in range(4):  # those of the list are kept, whatever the limit
        add(settings, tmp_path, f"cup {number}")
    cut()
    assert all(cutouts.of(item) for item in settings.images)


def test_images_of_the_blend_are_cut_out_too(cut: Callable[[], Any], settings: Any) -> None:
    image = bpy.data.images.new("Vase", 32, 32)
    settings.images.clear()
    images.add_source(settings, images.DATABLOCK + image.name)
    cutout = cutouts.of(cut())
    assert cutout is not None
    assert cutout.state is State.DONE
    assert Path(cutout.request.image).read_bytes()[:2] == b"BM"
    bpy.ops.espalier.add_image(image="Vase")  # somebody has painted on it, and adds it again to say so
    renewed = cutouts.of(cut())
    assert renewed is not None
    assert renewed is not cutout


def test_an_image_that_is_gone_is_not_asked_for(cut: Callable[[], Any], settings: Any) -> None:
    Path(images.original(settings.images[0])).unlink()
    assert cutouts.of(cut()) is None
    assert pump.jobs.backend is None


def test_those_of_a_stopped_backend_are_asked_for_again(cut: Callable[[], Any], settings: Any) -> None:
    cutouts.ask(bpy.context.scene)
    pump.unload()
    failed = cutouts.of(settings.images[0])
    assert failed is not None
    assert failed.state is State.FAILED
    renewed = cutouts.of(cut())
    assert renewed is not None
    assert renewed.state is State.DONE


def test_what_failed_is_asked_for_again_with_another_backend(
    cut: Callable[[], Any], settings: Any, tmp_path: Path
) -> None:
    settings.images.clear()
    add(settings, tmp_path, "broken")
    failed = cutouts.of(cut())
    assert cutouts.of(cut()) is failed
    cutouts.forget_failures()
    assert cutouts.of(settings.images[0]) is None


# --- by hand ---------------------------------------------------------------------------------------------------------


def test_a_painted_cut_out_is_used(cut: Callable[[], Any], settings: Any, tmp_path: Path) -> None:
    Image = pytest.importorskip("PIL.Image", reason="it takes Pillow to read it, which this Python lacks")
    cut()
    assert bpy.ops.espalier.edit_cutout(index=0) == {"FINISHED"}
    image = settings.images[0].cutout
    assert image.packed_file
    assert "Edited by hand" in shown()
    erase(image)
    settings.background = "always"
    (job,) = generate.new_jobs(bpy.context)
    assert job.writer is not None
    job.writer.join()
    with Image.open(job.request.images[0]) as used:
        alpha = np.asarray(used.convert("RGBA"))[..., 3]
    assert not alpha[:, :64].any()
    assert alpha[64, 80] == 255
    assert job.request.painted == (True,)
    assert job.name == "mug"
    assert job.sources == (f"cutout:{image.name}",)


def test_without_a_cut_out_there_is_nothing_to_edit(settings: Any) -> None:
    with pytest.raises(RuntimeError, match="not there yet"):
        bpy.ops.espalier.edit_cutout(index=0)
    assert bpy.ops.espalier.edit_cutout(index=5) == {"CANCELLED"}
    assert settings.images[0].cutout is None


def test_editing_twice_keeps_what_was_painted(cut: Callable[[], Any], settings: Any) -> None:
    cut()
    bpy.ops.espalier.edit_cutout(index=0)
    image = settings.images[0].cutout
    bpy.ops.espalier.edit_cutout(index=0)
    assert settings.images[0].cutout == image


def test_reset(cut: Callable[[], Any], settings: Any) -> None:
    item = cut()
    bpy.ops.espalier.edit_cutout(index=0)
    assert painted.is_changed(item)
    image = settings.images[0].cutout
    assert not image.use_fake_user
    generate.new_jobs(bpy.context)
    assert image.use_fake_user, "what was made of it remembers it"
    assert bpy.ops.espalier.reset_cutout(index=0) == {"FINISHED"}
    assert not painted.is_changed(settings.images[0])
    assert protocol.BACKGROUND_REMOVED in shown()
    assert generate.new_jobs(bpy.context)[0].request.painted == ()


def test_what_was_painted_is_saved_and_opened_again(cut: Callable[[], Any], tmp_path: Path) -> None:
    cut()
    bpy.ops.espalier.edit_cutout(index=0)
    erase(bpy.context.scene.espalier.images[0].cutout)
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "saved.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "saved.blend"))
    (item,) = bpy.context.scene.espalier.images
    alpha = images.read_pixels(item.cutout).values[..., 3]
    assert not alpha[:, :64].any()
    assert alpha.max() == 1
    assert Path(item.path).name == "mug.png"


def test_undo_takes_the_edited_cut_out_away(cut: Callable[[], Any]) -> None:
    bpy.ops.ed.undo_push(message="An image is chosen")
    cut()
    bpy.ops.espalier.edit_cutout("EXEC_DEFAULT", True, index=0)  # True: with its undo step
    bpy.ops.ed.undo()
    assert not bpy.context.scene.espalier.images[0].cutout
    bpy.ops.ed.redo()
    redone: Any = bpy.context.scene.espalier.images[0].cutout
    assert redone.packed_file


def test_another_object_is_picked(cut: Callable[[], Any], settings: Any) -> None:
    before = cutouts.of(cut())
    assert bpy.ops.espalier.pick_object(index=0, point=(0.25, 0.75)) == {"FINISHED"}
    assert cutouts.of(settings.images[0]) is None
    after = cutouts.of(cut())
    assert after is not None
    assert after is not before
    assert after.request.point == (0.25, 0.75)
    (job,) = generate.new_jobs(bpy.context)
    assert job.request.points == ((0.25, 0.75),)
    bpy.ops.espalier.edit_cutout(index=0)
    with pytest.raises(RuntimeError, match="Reset the cut-out first"):
        bpy.ops.espalier.pick_object(index=0, point=(0.5, 0.5))
    assert generate.new_jobs(bpy.context)[0].request.points == ()  # what is painted has no background to pick from
    bpy.ops.espalier.reset_cutout(index=0)
    assert generate.new_jobs(bpy.context)[0].request.points == ()


def test_an_object_remembers_the_point_and_the_painted_image(
    cut: Callable[[], Any], settings: Any, tmp_path: Path, until: Until
) -> None:
    add(settings, tmp_path, "cup")
    cut()
    bpy.ops.espalier.pick_object(index=0, point=(0.25, 0.75))
    bpy.ops.espalier.edit_cutout(index=1)
    assert bpy.ops.espalier.generate() == {"FINISHED"}
    until(lambda: not pump.jobs.jobs, pump.step)
    remembered = made.recall(bpy.data.objects["mug"])
    assert remembered["points"] == ([0.25, 0.75], None)
    job = again.new_job(bpy.context, remembered, seed=1, location=(0, 0, 0), size=1)
    assert job.request.points == ((0.25, 0.75), None)
    assert job.request.painted == (False, True)
    settings.images.clear()
    assert again.restore(remembered, settings) == []
    assert [images.point(item) for item in settings.images] == [(0.25, 0.75), None]
    assert settings.images[1].cutout
    (restored,) = generate.new_jobs(bpy.context)
    assert (restored.request.points, restored.request.painted) == (job.request.points, job.request.painted)


@pytest.mark.parametrize("points", [[], [None], [[0.1]], [["a", 0]], [[2, 0]], [[0, 0], None], [{}]])
def test_points_that_people_changed_are_none(points: Any) -> None:
    assert again.points({"images": ("a.png",), "points": points}) == (None,)


def test_the_thumbnail_lies_on_a_checkerboard() -> None:
    values = np.ones((600, 300, 4), np.float32) * (1, 0, 0, 1)
    values[:300, :, 3] = 0
    small = painted.thumbnail(Pixels(values.astype(np.float32)))
    assert max(small.shape[:2]) <= protocol.THUMBNAIL_SIDE
    assert (small[..., 3] == 1).all()
    np.testing.assert_allclose(small[-1, 0, :3], (1, 0, 0))
    assert {round(float(grey), 2) for grey in small[: small.shape[0] // 2 - 1, :, 0].ravel()} == {
        round(grey / 255, 2) for grey in protocol.CHECKER_GREYS
    }


def test_thumbnails_of_painted_images_are_made_and_follow_the_brush(cut: Callable[[], Any], settings: Any) -> None:
    cut()
    bpy.ops.espalier.edit_cutout(index=0)
    item = settings.images[0]
    assert not painted.has_thumbnail(item.cutout)
    painted.draw_thumbnails()
    assert painted.has_thumbnail(item.cutout)
    assert painted._icons is not None
    preview = painted._icons[str(item.cutout.session_uid)]
    before = np.array(preview.image_pixels_float[:])
    erase(item.cutout)
    painted._out_of_date.add(item.cutout.session_uid)
    painted.draw_thumbnails()
    assert np.abs(np.array(preview.image_pixels_float[:]) - before).max() > 0.1
