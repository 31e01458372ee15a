"""What is done with objects that are there: made again, remembered. With the fake backend."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import bpy
import numpy as np
import pytest
from espalier import blender_addon
from espalier.backend import protocol
from espalier.backend.portrait_facts import SIZE
from espalier.blender_addon import pump
from espalier.blender_addon.jobs.journal import Journal
from espalier.blender_addon.jobs.queue import Job, State
from espalier.blender_addon.request import again
from espalier.blender_addon.scene import history, made, paths, replace
from espalier.blender_addon.scene.portrait import draw_portrait
from espalier.blender_addon.ui import job_list

Until = Callable[..., None]


def idle() -> bool:
    return not pump.jobs.jobs


def select(*targets: bpy.types.Object) -> None:
    for other in bpy.context.view_layer.objects:
        other.select_set(other in targets)
    bpy.context.view_layer.objects.active = targets[0]


def positions(target: bpy.types.Object) -> np.ndarray:
    values = np.empty((len(target.data.vertices), 3), np.float32)
    target.data.vertices.foreach_get("co", values.ravel())
    return values


def counts() -> list[int]:
    data = bpy.data
    return [len(kind) for kind in (data.objects, data.meshes, data.materials, data.images)]


# --- cameras of its images ---


def test_cameras_are_added_with_the_images_behind_the_object(mug: bpy.types.Object) -> None:
    select(mug)
    assert not bpy.ops.espalier.add_cameras.poll()
    place = protocol.ImageCamera(
        painted=True, azimuth=0.0, elevation=0.0, distance=2.6, angle=30.0, shift_x=0.0, shift_y=0.0
    )
    found = protocol.Result(job="mug", arrays="", texture="", glb="", cameras=(place,))
    made.remember_cameras(mug, found, positions(mug))
    image = paths.absolute(made.recall(mug)["images"][0])
    picture = bpy.data.images.new("picture", 8, 8)
    picture.filepath_raw, picture.file_format = image, "PNG"
    picture.save()
    bpy.data.images.remove(picture)
    bpy.context.scene.camera = None
    assert bpy.ops.espalier.add_cameras() == {"FINISHED"}
    camera = bpy.context.scene.camera
    assert camera.parent == mug
    assert Path(camera.data.background_images[0].image.filepath) == Path(image)


# --- regenerate ---


def test_regenerate_replaces_the_mesh_and_nothing_else(mug: bpy.types.Object, until: Until) -> None:
    parent = bpy.data.objects.new("parent", None)
    bpy.context.scene.collection.objects.link(parent)
    mug.parent, mug.location, mug.rotation_euler.z, mug.scale = parent, (1, 2, 3), 0.5, (2, 1, 1)
    mug.modifiers.new("Wave", "WAVE")
    other = bpy.data.collections.new("other")
    bpy.context.scene.collection.children.link(other)
    other.objects.link(mug)
    bpy.context.view_layer.update()
    transform, before, old = mug.matrix_world.copy(), counts(), mug.data.session_uid
    select(mug)
    assert bpy.ops.espalier.regenerate(how="SEED") == {"FINISHED"}
    until(idle, pump.step)
    assert counts() == before
    made = bpy.data.objects["mug"]
    assert made == mug
    assert made.data.session_uid != old
    assert made.matrix_world == transform
    assert (made.parent, [m.name for m in made.modifiers]) == (parent, ["Wave"])
    assert {c.name for c in made.users_collection} == {other.name, bpy.context.scene.collection.name}
    assert [made.data.name, made.active_material.name] == ["mug", "mug"]
    assert "mug" in bpy.data.images
    assert made["espalier_seed"] != 7


def test_the_old_data_come_back_with_one_undo(mug: bpy.types.Object, until: Until) -> None:
    mug.data.vertices[0].co.z += 5  # a change that tells the old mesh from the new one
    bpy.ops.ed.undo_push(message="A change by hand")
    select(mug)
    bpy.ops.espalier.regenerate(how="SEED")
    until(idle, pump.step)
    assert positions(bpy.data.objects["mug"])[:, 2].max() < 5
    bpy.ops.ed.undo()
    back = bpy.data.objects["mug"]
    assert positions(back)[:, 2].max() > 5
    assert back["espalier_seed"] == 7
    assert back.active_material.node_tree.nodes.active.image.packed_file
    bpy.ops.ed.redo()
    assert positions(bpy.data.objects["mug"])[:, 2].max() < 5


def test_a_regenerated_mesh_stands_where_the_old_one_did(mug: bpy.types.Object, until: Until) -> None:
    moved = positions(mug) * 3 + np.array((1, 0, -2), np.float32)  # scale applied, origin moved
    mug.data.vertices.foreach_set("co", moved.ravel())
    bottom, size = replace.extent(mug.data)
    select(mug)
    bpy.ops.espalier.regenerate(how="SEED")
    until(idle, pump.step)
    place, as_large = replace.extent(bpy.data.objects["mug"].data)
    np.testing.assert_allclose(place, bottom, atol=1e-5)
    assert as_large == pytest.approx(size)


def test_each_selected_object_is_regenerated(mug: bpy.types.Object, until: Until) -> None:
    bpy.ops.espalier.generate()
    until(idle, pump.step)
    both = [bpy.data.objects["mug"], bpy.data.objects["mug.001"]]
    old = [target.data.session_uid for target in both]
    select(*both)
    bpy.ops.espalier.regenerate(how="PANEL")
    assert len(pump.jobs.jobs) == 2
    until(idle, pump.step)
    assert [target.data.session_uid for target in both] != old
    assert [target["espalier_seed"] for target in both] == [7, 7]
    assert len(bpy.data.objects) == 2


def test_an_object_that_is_edited_is_not_replaced_yet(mug: bpy.types.Object, until: Until) -> None:
    select(mug)
    bpy.ops.espalier.regenerate(how="SEED")
    bpy.ops.object.mode_set(mode="EDIT")
    (job,) = pump.jobs.jobs
    until(lambda: job.state is State.DONE, pump.step)
    pump.step()
    assert pump.blocked_by(job) == "Edit Mode"
    assert pump.jobs.jobs == [job]
    bpy.ops.object.mode_set(mode="OBJECT")
    pump.step()
    assert idle()


def test_the_result_of_a_deleted_object_is_offered(mug: bpy.types.Object, until: Until) -> None:
    select(mug)
    bpy.ops.espalier.regenerate(how="SEED")
    bpy.data.objects.remove(mug)
    (job,) = pump.jobs.jobs
    until(lambda: job.state is State.DONE, pump.step)
    pump.step()
    assert "mug" not in bpy.data.objects
    assert bpy.ops.espalier.insert(job=job.id) == {"FINISHED"}
    assert "mug" in bpy.data.objects


def test_a_damaged_result_leaves_the_object_as_it_was(mode: list[str], mug: bpy.types.Object, until: Until) -> None:
    pump.jobs.release()
    mode[:] = ["damaged"]
    before, old = counts(), mug.data.session_uid
    select(mug)
    bpy.ops.espalier.regenerate(how="SEED")
    (job,) = pump.jobs.jobs
    until(lambda: job.state is State.FAILED, pump.step)
    assert counts() == before
    assert bpy.data.objects["mug"].data.session_uid == old


def test_a_linked_twin_keeps_its_mesh(mug: bpy.types.Object, until: Until) -> None:
    twin = bpy.data.objects.new("twin", mug.data)
    bpy.context.scene.collection.objects.link(twin)
    select(mug)
    bpy.ops.espalier.regenerate(how="SEED")
    until(idle, pump.step)
    assert bpy.data.objects["twin"].data != bpy.data.objects["mug"].data
    assert bpy.data.objects["twin"].active_material is not None


def test_only_made_objects_can_be_regenerated(mode: list[str]) -> None:
    bpy.ops.mesh.primitive_cube_add()
    with pytest.raises(RuntimeError, match="Select an object made with Espalier"):
        bpy.ops.espalier.regenerate()


def test_variants_stand_beside(mug: bpy.types.Object, until: Until) -> None:
    select(mug)
    bpy.ops.espalier.variants(count=2)
    until(idle, pump.step)
    objects = [bpy.data.objects[name] for name in ("mug", "mug.001", "mug.002")]
    xs = [target.location.x for target in objects]
    assert np.diff(xs).min() > 1
    assert len({target["espalier_seed"] for target in objects}) == 3


def test_settings_come_back_from_the_object(mug: bpy.types.Object) -> None:
    settings = bpy.context.scene.espalier
    settings.images.clear()
    settings.seed, settings.faces, settings.texture_size = 1, 300, "2048"
    settings.use_steps = False
    select(mug)
    assert bpy.ops.espalier.restore_settings() == {"FINISHED"}
    assert [Path(image.path).name for image in settings.images] == ["mug.png"]
    assert (settings.seed, settings.lock_seed, settings.faces) == (7, True, 10_000)
    assert (settings.texture_size, settings.model) == ("1024", "mini-mdt")
    assert (settings.use_steps, settings.steps, settings.use_guidance, settings.guidance) == (True, 25, True, 5.0)


def test_an_image_that_is_gone_is_said(mug: bpy.types.Object) -> None:
    mug["espalier_images"] = json.dumps(["image:gone"])
    select(mug)
    with pytest.raises(RuntimeError, match="gone is no longer in this file"):
        bpy.ops.espalier.regenerate()
    assert idle()
    lost = again.restore(made.recall(mug), bpy.context.scene.espalier)
    assert lost == ["the image gone"]


# --- history and assets ---


@pytest.mark.parametrize("name", ["whole path", ""])
def test_a_blends_history_deletes_no_files_of_others(mug: bpy.types.Object, tmp_path: Path, name: str) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    saved = json.loads(history.dump())
    saved[0]["id"] = str(precious) if name else ""
    history.load(json.dumps(saved))
    (entry,) = history.entries
    other = history.folder() / "of another entry"
    other.mkdir(parents=True)
    history.remove(entry)
    assert precious.is_dir()
    assert other.is_dir()


def test_a_full_disk_costs_the_history_alone(mode: list[str], until: Until, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the object, nor how it was made, nor its picture: only the files, and that is said."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(history.shutil, "move", full)
        bpy.ops.espalier.generate()
        until(idle, pump.step)
    assert "mug" in bpy.data.objects
    assert len(bpy.data.objects) == 1
    (entry,) = history.entries
    assert (entry.result, entry.folder, entry.bytes) == (None, None, 0)
    assert list(history.folder().iterdir()) == []
    until(lambda: entry.picture is not None)
    (notice,) = pump.notices
    assert f"The disk of the folder {history.folder().parent} is full." in notice
    assert json.loads(history.dump())[0]["name"] == "mug"
    assert bpy.ops.espalier.insert_again(entry=entry.id) == {"FINISHED"}
    assert len(pump.jobs.jobs) == 1
    pump.jobs.give_up(pump.jobs.jobs[0])


@pytest.mark.parametrize("damage", ["gone", "cut off"])
def test_an_entry_whose_files_are_gone_is_made_again(mug: bpy.types.Object, damage: str) -> None:
    (entry,) = history.entries
    assert entry.result is not None
    if damage == "gone":
        shutil.rmtree(history.folder())
    else:
        os.truncate(entry.result.arrays, 100)
    assert bpy.ops.espalier.insert_again(entry=entry.id) == {"FINISHED"}
    assert len(pump.jobs.jobs) == 1
    pump.jobs.give_up(pump.jobs.jobs[0])


def test_history_survives_undo_saving_and_loading(mug: bpy.types.Object, until: Until, tmp_path: Path) -> None:
    (entry,) = history.entries
    until(lambda: entry.picture is not None)
    assert entry.picture is not None
    assert entry.picture.shape == (SIZE, SIZE, 4)
    bpy.ops.ed.undo()
    assert history.entries == [entry]
    assert bpy.ops.espalier.insert_again(entry=entry.id) == {"FINISHED"}
    assert bpy.data.objects["mug"]["espalier_seed"] == 7
    assert bpy.context.view_layer.objects.active == bpy.data.objects["mug"]
    assert bpy.context.selected_objects == [bpy.data.objects["mug"]]
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "mug.blend"))
    bpy.ops.wm.read_homefile(use_empty=True)
    assert history.entries == []
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "mug.blend"))
    (loaded,) = history.entries
    assert (loaded.id, loaded.settings["seed"], loaded.result) == (entry.id, 7, None)
    assert loaded.picture is not None
    np.testing.assert_array_equal(loaded.picture, entry.picture)
    assert bpy.ops.espalier.insert_again(entry=loaded.id) == {"FINISHED"}  # is made again: its files are gone
    until(idle, pump.step)
    assert bpy.data.objects["mug.001"]["espalier_seed"] == 7


def test_history_is_bounded(mug: bpy.types.Object, until: Until, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MAX_ENTRIES", 2)
    monkeypatch.setattr(history, "MAX_BYTES", 1)
    for _ in range(2):
        bpy.ops.espalier.generate()
        until(idle, pump.step)
    assert [entry.result is not None for entry in history.entries] == [True, False]
    newest = history.entries[0]
    folders = [folder.name for folder in history.folder().iterdir()]
    assert folders == [newest.id]


@pytest.mark.parametrize("text", ["{", "[1]", '[{"id": "a"}]', '{"a": 1}'])
def test_a_history_that_cannot_be_read_is_left_out(mode: list[str], text: str) -> None:
    history.load(text)
    assert history.entries == []


def test_a_portrait_shows_the_nearest_surface() -> None:
    near = np.array([(-1, -1, -1), (1, -1, -1), (1, -1, 1), (-1, -1, 1)], np.float32)
    vertices = np.concatenate([near, near + np.array((0, 2, 0))]).astype(np.float32)
    faces = np.array([(0, 1, 2), (0, 2, 3), (4, 5, 6), (4, 6, 7)], np.int32)
    colors = np.repeat(np.array([(1, 0, 0), (0, 0, 1)], np.float32), 4, axis=0)
    picture = draw_portrait(vertices, faces, colors)
    assert picture.shape == (SIZE, SIZE, 4)
    middle = picture[SIZE // 2, SIZE // 2 - 10]
    assert middle[0] > 100
    assert middle[2] == 0
    assert picture[0, 0, 3] == 0
    assert (picture[..., 3] == 255).mean() > 0.4


def test_mark_as_asset(mug: bpy.types.Object) -> None:
    select(mug)
    assert bpy.ops.espalier.mark_asset() == {"FINISHED"}
    assert mug.asset_data is not None
    assert "7" in mug.asset_data.description


def test_a_result_finds_its_scene_again(mode: list[str], until: Until, tmp_path: Path) -> None:
    home = bpy.context.scene.name
    bpy.ops.espalier.generate()
    (job,) = pump.jobs.jobs
    bpy.context.window.scene = bpy.data.scenes.new("elsewhere")
    bpy.ops.ed.undo_push(message="Another scene")
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "a.blend"))
    until(lambda: job.state is State.DONE, lambda: pump.jobs.step())
    bpy.ops.mesh.primitive_cube_add()
    bpy.ops.ed.undo_push(message="A cube")
    bpy.ops.ed.undo()
    until(idle, pump.step)
    assert "mug" in bpy.data.scenes[home].objects
    assert "mug" not in bpy.data.scenes["elsewhere"].objects


# --- after Blender was closed in mid-job ---


def closed_and_opened(file: Path) -> Job:
    """Blender ends and starts again, with this file; the job that is left."""
    journal = pump.jobs.journal
    assert journal is not None
    pump.jobs.close()
    pump.jobs.journal = Journal(journal.root)
    bpy.ops.wm.open_mainfile(filepath=str(file))
    pump.recover()
    (job,) = pump.jobs.jobs
    return job


def test_of_an_object_that_was_deleted_meanwhile_the_result_waits(
    mug: bpy.types.Object, mode: list[str], until: Until
) -> None:
    select(mug)
    bpy.ops.espalier.regenerate(how="SEED")
    (job,) = pump.jobs.jobs
    bpy.data.objects.remove(mug)
    until(lambda: job.state is State.DONE and job in pump.jobs.jobs, pump.step)
    assert job_list.waiting_text(job) == "The object that it was made for was deleted"
    bpy.ops.wm.read_homefile(use_empty=True)
    assert "no longer open" in job_list.waiting_text(job)


@pytest.mark.parametrize("state", [State.DONE, State.INTERRUPTED])
def test_after_closing_it_goes_in_place_again(
    mug: bpy.types.Object, until: Until, tmp_path: Path, state: State
) -> None:
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "a.blend"))
    select(mug)
    bpy.ops.espalier.regenerate(how="SEED")
    (job,) = pump.jobs.jobs
    if state is State.DONE:
        until(lambda: job.state is State.DONE, pump.jobs.step)
    job = closed_and_opened(tmp_path / "a.blend")
    assert job.state is state
    pump.step()
    assert pump.jobs.jobs == [job], "it is only offered"
    if state is State.DONE:
        assert "replaces mug" in job_list.waiting_text(job)
        bpy.ops.espalier.insert(job=job.id)
    else:
        bpy.ops.espalier.retry(job=job.id)
        until(idle, pump.step)
    assert [target.name for target in bpy.data.objects] == ["mug"]
    assert bpy.data.objects["mug"]["espalier_seed"] == job.request.seed != 7


@pytest.mark.parametrize("change", ["removed", "another file"])
def test_after_closing_without_its_object_it_is_a_new_one(
    mug: bpy.types.Object, until: Until, tmp_path: Path, change: str
) -> None:
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "a.blend"))
    select(mug)
    bpy.ops.espalier.regenerate(how="SEED")
    (job,) = pump.jobs.jobs
    until(lambda: job.state is State.DONE, pump.jobs.step)
    if change == "removed":
        bpy.data.objects.remove(mug)
        bpy.ops.wm.save_mainfile()
    else:
        bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "b.blend"))
    job = closed_and_opened(Path(bpy.data.filepath))
    assert pump.replaced(job) is None
    bpy.ops.espalier.insert(job=job.id)
    expected = ["mug"] if change == "removed" else ["mug", "mug.001"]
    assert sorted(target.name for target in bpy.data.objects) == expected


def test_the_history_outlives_the_add_on(mug: bpy.types.Object, tmp_path: Path) -> None:
    """Switched off and on, the list is there; and what was not read yet is not written over."""
    (entry,) = history.entries
    for _ in range(2):
        blender_addon.unregister()
        assert history.entries == []
        blender_addon.register()
        assert [e.id for e in history.entries] == [entry.id]
    file = str(tmp_path / "a.blend")
    bpy.ops.wm.save_as_mainfile(filepath=file)
    blender_addon.unregister()
    blender_addon.register()
    history.clear()
    history._read = False  # as when Blender enables the add-on and does not let it read the file
    bpy.ops.wm.save_mainfile()
    bpy.ops.wm.open_mainfile(filepath=file)
    assert [e.id for e in history.entries] == [entry.id]
