"""The module for scripts, with the fake backend: what it makes is what the panel's button makes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import bpy
import pytest
from espalier.backend import protocol
from espalier.blender_addon import api, installation, pump
from espalier.blender_addon.jobs.client import BackendUnavailable
from espalier.blender_addon.scene import made, paths

from tests.fakes import fake_backend

Until = Callable[..., None]


@pytest.fixture
def picture(mode: list[str], tmp_path: Path) -> Path:
    """The add-on with the fake backend, and a picture."""
    fake_backend.write_png(tmp_path / "mug.png", 16, fake_backend.paint)
    return tmp_path / "mug.png"


@pytest.fixture
def window(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a window. The timers that then call the pump never fire here: the tests do."""
    monkeypatch.setattr(api, "_without_window", lambda: False)


def without_path(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name != "images"}


def test_without_a_window_it_returns_the_object_that_the_button_makes(picture: Path, until: Until) -> None:
    found = api.generate(picture, seed=7, location=(1, 2, 3), size=2.0)
    assert isinstance(found, bpy.types.Object)
    assert found.name == "mug"
    assert tuple(found.location) == (1.0, 2.0, 3.0)
    assert max(found.dimensions) == pytest.approx(2.0)
    assert pump.jobs.jobs == []
    panel = bpy.context.scene.espalier
    panel.seed, panel.size = 7, 2.0
    assert bpy.ops.espalier.generate() == {"FINISHED"}
    (pressed,) = api.wait()
    assert without_path(made.recall(found)) == without_path(made.recall(pressed))
    assert tuple(map(paths.absolute, made.recall(found)["images"])) == (str(picture),)


def test_what_the_panel_shows_plays_no_part(picture: Path) -> None:
    bpy.context.scene.espalier.faces = 500
    found = api.generate([str(picture)], texture_size=2048)
    settings = made.recall(found)
    assert (settings["faces"], settings["texture_size"]) == (protocol.default("faces"), 2048)


def test_images_of_the_file_and_paths_beside_it(picture: Path, tmp_path: Path) -> None:
    image = bpy.data.images.new("painted", 8, 8)
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "project.blend"))
    image = bpy.data.images["painted"]
    found = api.generate([image, "//mug.png"], points=[(0.5, 0.25), None])
    settings = made.recall(found)
    assert tuple(map(paths.absolute, settings["images"])) == ("image:painted", str(picture))
    assert list(settings["points"]) == [[0.5, 0.25], None]


def test_a_mesh_is_painted(picture: Path) -> None:
    bpy.ops.mesh.primitive_cube_add()
    cube = bpy.context.object
    assert api.retexture(cube, picture, seed=3) == cube
    assert cube.active_material is not None
    assert pump.jobs.jobs == []


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"sede": 3}, "The setting sede is not known. Choose from model, steps,"),
        ({"seed": 0.5}, "Seed must be a whole number"),
        ({"draco": True}, "The setting draco is not known"),
        ({"texture_size": 1025, "udim": True}, "must be even"),
        ({"size": -1.0}, "Size must be a length"),
        ({"location": (1, 2)}, "Location must be three numbers"),
        ({"points": [(0, 0), (1, 1)]}, "2 points for 1 images"),
    ],
)
def test_what_is_wrong_is_said_before_anything_starts(picture: Path, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(api.EspalierError, match=words):
        api.generate(picture, **settings)
    assert pump.jobs.jobs == []
    assert pump.jobs.backend is None


def test_images_that_are_none(picture: Path) -> None:
    gone = bpy.data.images.new("gone", 8, 8)
    gone.source, gone.filepath = "FILE", "//gone.exr"
    for images in ([], "", [picture, 3], [picture] * (made.MOST_IMAGES + 1), gone):
        with pytest.raises(api.EspalierError) as told:
            api.generate(images)
        assert told.value.code == "images_unusable"
    assert pump.jobs.jobs == []


def test_objects_that_cannot_be_painted(picture: Path) -> None:
    bpy.ops.object.empty_add()
    empty = bpy.context.object
    bpy.ops.mesh.primitive_cube_add()
    cube = bpy.context.object
    with pytest.raises(api.EspalierError, match="faces has no effect on a given mesh"):
        api.retexture(cube, picture, faces=100)
    bpy.ops.object.mode_set(mode="EDIT")
    for target in (empty, cube):
        with pytest.raises(api.EspalierError) as told:
            api.retexture(target, picture)
        assert told.value.code == "object_unusable"
    bpy.ops.object.mode_set(mode="OBJECT")


def test_what_the_backend_says_is_raised_with_its_hint(picture: Path, mode: list[str]) -> None:
    mode[:] = ["error"]
    with pytest.raises(api.EspalierError) as told:
        api.generate(picture)
    assert told.value.code not in ("", "not_inserted")
    assert told.value.hint
    assert told.value.hint in str(told.value)
    assert pump.jobs.jobs == [], "nobody would look at it"


def test_a_backend_that_cannot_be_started(picture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def find(context: object) -> Path:
        raise BackendUnavailable("The backend is not installed.", "Install it in the preferences.")

    monkeypatch.setattr(installation, "backend_python", find)
    for call in (lambda: api.generate(picture), api.models):
        with pytest.raises(api.EspalierError, match="Install it in the preferences") as told:
            call()
        assert told.value.code == "backend_unavailable"


def test_ctrl_c_leaves_nothing_behind(picture: Path, mode: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    mode[:] = ["slow", "60"]
    step = pump.step

    def interrupted() -> None:
        step()
        if pump.jobs.running is not None:
            raise KeyboardInterrupt

    monkeypatch.setattr(pump, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        api.generate(picture)
    assert pump.jobs.jobs == []
    assert pump.jobs.backend is None


def test_models(mode: list[str]) -> None:
    found = api.models()
    assert found
    assert all(model.usable and model.name == name for name, model in found.items())


def test_in_a_window_nothing_waits(picture: Path, window: None, until: Until) -> None:
    told: list[api.Making] = []
    making = api.generate(picture, seed=1, when_done=told.append)
    assert isinstance(making, api.Making)
    assert not making.done
    assert (making.object, making.error, told) == (None, None, [])
    with pytest.raises(api.EspalierError) as early:
        making.result()
    assert early.value.code == "unfinished"
    with pytest.raises(api.EspalierError) as waiting:
        api.wait()
    assert waiting.value.code == "in_a_window"
    until(lambda: making.done, pump.step)
    assert told == [making]
    assert making.result() == making.object == bpy.data.objects["mug"]
    assert making.fraction == 1.0
    pump.step()
    assert told == [making], "it is told once"
    bpy.data.objects.remove(bpy.data.objects["mug"])
    with pytest.raises(api.EspalierError, match="deleted"):
        making.result()


def test_in_a_window_a_failure_stays_in_the_panel(
    picture: Path, mode: list[str], window: None, until: Until, capsys: pytest.CaptureFixture[str]
) -> None:
    mode[:] = ["error"]
    told: list[api.Making] = []

    def careless(making: api.Making) -> None:
        told.append(making)
        raise ValueError("the script's own fault")

    making = api.generate(picture, when_done=careless)
    assert isinstance(making, api.Making)
    until(lambda: making.done, pump.step)
    assert told == [making]
    assert "the script's own fault" in capsys.readouterr().err
    assert making.error is not None
    assert making.error.hint
    assert [job.error is not None for job in pump.jobs.jobs] == [True]


def test_in_a_window_it_can_be_cancelled(picture: Path, mode: list[str], window: None, until: Until) -> None:
    mode[:] = ["slow", "60"]
    told: list[api.Making] = []
    making = api.generate(picture, when_done=told.append)
    assert isinstance(making, api.Making)
    until(lambda: pump.jobs.running is not None, pump.step)
    making.cancel()
    until(lambda: making.done, pump.step)
    assert told == [making]
    assert making.error is not None
    assert making.error.code == "cancelled"
    making.cancel()
