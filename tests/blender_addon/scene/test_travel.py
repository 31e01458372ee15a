"""A project that is moved finds its images, and a shared file does not tell its maker's folders."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bpy
import pytest
from espalier.blender_addon import pump
from espalier.blender_addon.request import images
from espalier.blender_addon.scene import history, made, travel

from tests.fakes import fake_backend

Until = Callable[..., None]


@pytest.fixture
def project(tmp_path: Path, mode: list[str]) -> Path:
    """A folder with a saved .blend and reference images beside and below it. The panel lists one of them."""
    folder = tmp_path / "secret name" / "project"
    for name in ("refs/mug.png", "lamp.png", "../outside.png"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        fake_backend.write_png(path, 8, lambda u, v: (200, 90, 20))
    bpy.context.scene.espalier.images.clear()
    bpy.ops.espalier.add_images("EXEC_DEFAULT", directory=str(folder / "refs"), files=[{"name": "mug.png"}])
    bpy.ops.wm.save_as_mainfile(filepath=str(folder / "x.blend"), compress=False)
    return folder


def generated(until: Until) -> bpy.types.Object:
    assert bpy.ops.espalier.generate() == {"FINISHED"}
    until(lambda: not any(job.active for job in pump.jobs.jobs), pump.step)
    assert [job.error for job in pump.jobs.jobs if job.error] == []
    return bpy.data.objects[-1]


def test_a_moved_project_generates_and_regenerates(project: Path, until: Until) -> None:
    generated(until)
    bpy.ops.wm.save_mainfile()
    moved = project.parent.parent / "b"
    shutil.move(project, moved)
    bpy.ops.wm.open_mainfile(filepath=str(moved / "x.blend"))
    settings = bpy.context.scene.espalier
    assert [item.path for item in settings.images] == ["//refs/mug.png"]
    assert [images.is_missing(item) for item in settings.images] == [False]
    target = bpy.data.objects["mug"]
    assert json.loads(target["espalier_images"]) == ["//refs/mug.png"]
    assert made.recall(target)["images"] == ("//refs/mug.png",)
    assert [entry.settings["images"] for entry in history.entries] == [(str(moved / "refs" / "mug.png"),)]
    target.select_set(True)
    bpy.context.view_layer.objects.active = target
    assert bpy.ops.espalier.regenerate() == {"FINISHED"}
    until(lambda: not any(job.active for job in pump.jobs.jobs), pump.step)
    assert [job.error for job in pump.jobs.jobs if job.error] == []
    generated(until)
    assert bpy.ops.espalier.restore_settings() == {"FINISHED"}
    assert [images.original(item) for item in settings.images] == [str(moved / "refs" / "mug.png")]


def test_a_shared_file_does_not_tell_its_makers_folders(project: Path, until: Until) -> None:
    bpy.ops.espalier.add_images("EXEC_DEFAULT", directory=str(project), files=[{"name": "lamp.png"}])
    generated(until)
    bpy.ops.wm.save_as_mainfile(filepath=str(project / "y.blend"), compress=False)
    content = (project / "y.blend").read_bytes()
    assert b"//refs/mug.png" in content
    assert b"//lamp.png" in content
    # Blender itself writes where a file was saved, and at times memory that it has freed. What Espalier keeps:
    bpy.ops.wm.open_mainfile(filepath=str(project / "y.blend"))
    scene = bpy.context.scene
    kept = [value for target in bpy.data.objects for value in target.values() if isinstance(value, str)]
    kept += [scene.espalier_history, *(item.path for item in scene.espalier.images)]
    assert len(kept) > 5
    assert [text for text in kept if "secret name" in text] == []


def test_saving_elsewhere_and_copies(project: Path) -> None:
    item = bpy.context.scene.espalier.images[0]
    copy = project.parent / "copies" / "x.blend"
    copy.parent.mkdir()
    bpy.ops.wm.save_as_mainfile(filepath=str(copy), copy=True)
    assert images.original(item) == str(project / "refs" / "mug.png"), "the open file is still the first"
    other = project / "deeper" / "still" / "x.blend"
    other.parent.mkdir(parents=True)
    bpy.ops.wm.save_as_mainfile(filepath=str(other))
    assert item.path == "//../../refs/mug.png"
    assert images.original(item) == bpy.path.abspath("//../../refs/mug.png")
    bpy.ops.wm.open_mainfile(filepath=str(copy))
    (item,) = bpy.context.scene.espalier.images
    assert item.path == "//../project/refs/mug.png"
    assert not images.is_missing(item)


def test_a_save_that_fails_changes_no_paths(project: Path) -> None:
    item = bpy.context.scene.espalier.images[0]
    before = item.path
    with pytest.raises(RuntimeError):
        bpy.ops.wm.save_as_mainfile(filepath=str(project / "gone" / "x.blend"))
    assert item.path == before
    assert not images.is_missing(item)


STRANGE: list[Any] = ["[" * 100_000, "3", "{}", '{"images": 3}', "[3]", "", 5, "x" * 10_000_000]


@pytest.mark.parametrize("value", STRANGE, ids=range(len(STRANGE)))
def test_what_cannot_be_read_is_saved_as_it_is(project: Path, value: Any) -> None:
    target = bpy.data.objects.new("cube", bpy.data.meshes.new("cube"))
    bpy.context.scene.collection.objects.link(target)
    target["espalier_images"] = target["espalier_texture"] = value
    bpy.ops.wm.save_mainfile()
    assert target["espalier_images"] == target["espalier_texture"] == value


def test_sources_that_are_no_paths_stay(project: Path) -> None:
    for named in ("image:Render", "cutout:mug cut-out", "relative.png"):
        assert travel.relative(named, str(project)) == named
        assert travel.absolute(named) == named
    assert travel.relative(str(project / "a.png"), "") == str(project / "a.png"), "a file that was never saved"
