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
from espalier.blender_addon.request import again, images
from espalier.blender_addon.scene import history, made, paths

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
        assert paths.relative(named, str(project)) == named
        assert paths.absolute(named) == named


def test_a_file_that_was_never_saved_keeps_names_alone(mode: list[str], tmp_path: Path, until: Until) -> None:
    """What other exporters would write, and what the panel holds; and it is made again all the same."""
    write_whole_image(tmp_path / "secret name" / "lamp.png")
    scene = bpy.context.scene
    scene.espalier.images.clear()
    bpy.ops.espalier.add_images("EXEC_DEFAULT", directory=str(tmp_path / "secret name"), files=[{"name": "lamp.png"}])
    target = generated(until)
    target.select_set(True)
    bpy.context.view_layer.objects.active = target
    bpy.ops.espalier.retexture()
    until(lambda: not pump.jobs.jobs, pump.step)
    kept = [value for value in target.values() if isinstance(value, str)]
    kept += [item.path for item in scene.espalier.images] + [history.dump()]
    assert [text for text in kept if "secret name" in text] == []
    assert [text for text in kept if "lamp.png" in text]
    assert [images.original(item) for item in scene.espalier.images] == [str(tmp_path / "secret name" / "lamp.png")]
    assert images.title(scene.espalier.images[0]) == "lamp.png"
    for _ in range(2):
        assert bpy.ops.espalier.regenerate(how="SEED") == {"FINISHED"}
        until(lambda: not any(job.active for job in pump.jobs.jobs), pump.step)
        assert pump.jobs.jobs == []
    scene.espalier.images.clear()
    assert bpy.ops.espalier.restore_settings() == {"FINISHED"}
    assert not images.is_missing(scene.espalier.images[0])


def write_whole_image(path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    fake_backend.write_png(path, 8, lambda u, v: (200, 90, 20))


@pytest.fixture
def listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The list of this computer's paths, empty."""
    monkeypatch.setattr(paths, "_paths", {})
    monkeypatch.setattr(paths, "_numbers", {})
    monkeypatch.setattr(paths, "_list", None)
    paths.remember_in(tmp_path / "kept" / "images.json")
    (tmp_path / "kept").mkdir()
    return tmp_path / "kept" / "images.json"


def another_session(listed: Path) -> None:
    paths.write()
    paths._paths.clear()
    paths._numbers.clear()
    paths.remember_in(listed)


def test_what_has_no_folder_in_common_is_a_name_that_this_computer_knows(mode: list[str], listed: Path) -> None:
    path, other = "/home/anna/mug.png", "/home/anna/other/mug.png"
    told = paths.relative(path, "/mnt/shared")
    assert "anna" not in told
    assert told.endswith("/mug.png")
    assert told != paths.relative(other, "/mnt/shared")
    assert told == paths.relative(told, "/mnt/shared") == paths.relative(path, "")
    another_session(listed)
    assert paths.absolute(told) == path
    assert paths.relative(told, "/home/anna/project") == "//../mug.png"


def test_on_another_computer_it_is_looked_for_beside_the_blend(project: Path) -> None:
    told = "~0123abcd/lamp.png"
    assert paths.absolute(told) == str(project / "lamp.png")
    assert paths.relative(told, str(project)) == told, "its maker can still read it"


def test_the_list_is_bounded_and_shared_by_several_blenders(
    mode: list[str], listed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = paths.relative("/home/anna/mug.png", "")
    paths.write()
    listed.write_text(json.dumps(json.loads(listed.read_text()) | {"89abcdef": "/home/anna/of another.png"}))
    paths.relative("/home/anna/cup.png", "")
    another_session(listed)
    assert paths.absolute("~89abcdef/of another.png") == "/home/anna/of another.png"
    monkeypatch.setattr(paths, "MOST", 3)
    for number in range(3):
        paths.relative(f"/home/anna/{number}.png", "")
    assert len(paths._paths) == 3
    assert paths.absolute(first) == "mug.png"


@pytest.mark.parametrize("content", ["", "[]", "[" * 100_000, '{"a": 3}'], ids=range(4))
def test_a_list_that_cannot_be_read_is_no_obstacle(mode: list[str], listed: Path, content: str) -> None:
    listed.write_text(content)
    another_session(listed)
    assert paths.absolute(paths.relative("/home/anna/mug.png", "")) == "/home/anna/mug.png"


def test_a_model_of_ones_own_is_kept_as_images_are(mode: list[str], tmp_path: Path, until: Until) -> None:
    own = tmp_path / "secret name" / "my model"
    own.mkdir(parents=True)
    (own / "pipeline.json").write_text("{}")
    bpy.context.scene.espalier.model = str(own)
    target = generated(until)
    assert "secret name" not in target["espalier_model"]
    assert paths.absolute(target["espalier_model"]) == str(own)
    assert "secret name" not in history.dump()
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "x.blend"))
    assert target["espalier_model"] == "//secret name/my model"
    assert bpy.context.scene.espalier.model == "//secret name/my model"
    assert again.request_settings(made.recall(target))["model"] == str(own)


@pytest.mark.parametrize("kind", ["usd", "fbx"])
def test_files_of_other_exporters_do_not_tell_either(mode: list[str], tmp_path: Path, until: Until, kind: str) -> None:
    """Blender's own exporters write custom properties, those of USD without being asked."""
    if kind == "usd" and "usd_export" not in dir(bpy.ops.wm):
        pytest.skip("this Blender was built without USD")
    write_whole_image(tmp_path / "secret name" / "lamp.png")
    bpy.context.scene.espalier.images.clear()
    bpy.ops.espalier.add_images("EXEC_DEFAULT", directory=str(tmp_path / "secret name"), files=[{"name": "lamp.png"}])
    generated(until)
    out = tmp_path / "out"
    out.mkdir()
    if kind == "usd":
        bpy.ops.wm.usd_export(filepath=str(out / "lamp.usda"), export_custom_properties=True)
    else:
        bpy.ops.export_scene.fbx(filepath=str(out / "lamp.fbx"), use_custom_props=True)
    (file,) = (path for path in out.iterdir() if path.is_file())
    assert b"espalier_images" in file.read_bytes()
    assert b"secret name" not in file.read_bytes()
