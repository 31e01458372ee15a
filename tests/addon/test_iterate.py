"""What is done with objects that are there: made again, painted, remembered. With the fake backend."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bpy
import numpy as np
import pytest
from espalier import blender_addon
from espalier.blender_addon import history, job_list, mesh_import, pump, remake, retexture
from espalier.blender_addon.jobs import Job, State
from espalier.blender_addon.journal import Journal
from espalier.blender_addon.portrait import SIZE, draw_portrait
from espalier.blender_addon.server import process

Until = Callable[..., None]


@pytest.fixture
def mode(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fake_command: Callable[..., list[str]]
) -> Iterator[list[str]]:
    """The add-on, an image, and the fake backend in the mode that the list names."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    monkeypatch.setenv(process.PYTHON_VARIABLE, sys.executable)
    mode = ["ok"]
    monkeypatch.setattr(process, "backend_command", lambda python, root: fake_command(*mode))
    blender_addon.register()
    bpy.ops.espalier.add_images("EXEC_DEFAULT", directory=str(tmp_path), files=[{"name": "mug.png"}])
    bpy.context.scene.espalier.lock_seed = True
    yield mode
    blender_addon.unregister()


@pytest.fixture
def mug(mode: list[str], until: Until) -> bpy.types.Object:
    """A generated object, with its undo step."""
    bpy.context.scene.espalier.seed = 7
    bpy.ops.ed.undo_push(message="An image is chosen")
    assert bpy.ops.espalier.generate() == {"FINISHED"}
    until(idle, pump.step)
    return bpy.data.objects["mug"]


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
    bottom, size = remake.extent(mug.data)
    select(mug)
    bpy.ops.espalier.regenerate(how="SEED")
    until(idle, pump.step)
    again, as_large = remake.extent(bpy.data.objects["mug"].data)
    np.testing.assert_allclose(again, bottom, atol=1e-5)
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
    assert pump.hindrance(job) == "Edit Mode"
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
    with pytest.raises(RuntimeError, match="Select an object that Espalier made"):
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
    lost = remake.restore(remake.recall(mug), bpy.context.scene.espalier)
    assert lost == ["the image gone"]


# --- retexture ---


def painted(until: Until, *targets: bpy.types.Object) -> list[dict[str, Any]]:
    """Retexture with the fake backend; what it was sent."""
    select(*targets)
    assert bpy.ops.espalier.retexture() == {"FINISHED"}
    sent = []
    for job in pump.jobs.jobs:
        assert job.writer is not None
        job.writer.join()
        with np.load(job.request.mesh) as arrays:
            sent.append(dict(arrays))
    until(idle, pump.step)
    return sent


def test_retexture_on_the_meshes_own_uvs(mode: list[str], until: Until) -> None:
    bpy.ops.mesh.primitive_cube_add()
    cube = bpy.context.object
    before = positions(cube)
    uvs = np.empty((24, 2), np.float32)
    cube.data.uv_layers.active.uv.foreach_get("vector", uvs.ravel())
    bpy.ops.ed.undo_push(message="A cube")
    (sent,) = painted(until, cube)
    assert sent["vertices"].shape == (8, 3)
    assert sent["faces"].shape == (12, 3)
    assert sent["uvs"].shape == (12, 3, 2)
    assert "cage_faces" not in sent
    cube = bpy.data.objects["Cube"]
    np.testing.assert_array_equal(positions(cube), before)
    assert cube.active_material.node_tree.nodes.active.image.packed_file
    assert [layer.name for layer in cube.data.uv_layers] == ["UVMap"]
    assert json.loads(cube["espalier_texture"])["seed"] == 0
    assert not remake.is_made(cube)  # its shape is not ours: nothing may replace it
    bpy.ops.ed.undo()
    assert bpy.data.objects["Cube"].active_material is None


def test_new_uvs_and_faces_that_a_seam_runs_through(mode: list[str], until: Until) -> None:
    bpy.ops.mesh.primitive_cube_add()
    cube = bpy.context.object
    bpy.ops.mesh.uv_texture_remove()
    (sent,) = painted(until, cube)
    assert "uvs" not in sent
    cube = bpy.data.objects["Cube"]
    assert len(cube.data.polygons) == 12  # the fake lays each triangle out by itself
    assert cube.data.uv_layers.active.name == retexture.UV_MAP
    cube.data.calc_loop_triangles()
    area = 0.0
    for triangle in cube.data.loop_triangles:
        a, b, c = (cube.data.uv_layers.active.uv[loop].vector for loop in triangle.loops)
        area += abs((b - a).cross(c - a)) / 2
    assert area == pytest.approx(12 * 0.5 / 16, rel=1e-4)
    assert "12 faces" in cube[mesh_import.NOTE] or "6 faces" in cube[mesh_import.NOTE]


def test_a_modifier_is_sent_with_its_cage(mode: list[str]) -> None:
    bpy.ops.mesh.primitive_cube_add()
    cube = bpy.context.object
    cube.modifiers.new("Subdivision", "SUBSURF").levels = 2
    shape = retexture.read_shape(bpy.context, cube)
    assert len(shape["faces"]) > 100
    assert shape["cage_faces"].shape == (12, 3)
    assert shape["uvs"].shape == (len(shape["faces"]), 3, 2)


def test_axes_are_the_worlds_or_the_objects_own(mug: bpy.types.Object) -> None:
    bpy.ops.mesh.primitive_cube_add(rotation=(np.pi / 2, 0, 0), scale=(1, 2, 3))
    cube = bpy.context.object
    bpy.context.view_layer.update()
    assert np.ptp(retexture.read_shape(bpy.context, cube)["vertices"], axis=0) == pytest.approx((2, 6, 4), abs=1e-5)
    mug.rotation_euler.z = 1.0
    mug.scale = (2, 2, 2)
    bpy.context.view_layer.update()
    np.testing.assert_allclose(retexture.read_shape(bpy.context, mug)["vertices"], positions(mug) * 2, atol=1e-5)


def test_a_mesh_that_was_changed_meanwhile_fails_in_words(mode: list[str], until: Until) -> None:
    bpy.ops.mesh.primitive_cube_add()
    cube = bpy.context.object
    bpy.ops.mesh.uv_texture_remove()
    bpy.ops.espalier.retexture()
    (job,) = pump.jobs.jobs
    cube.data.clear_geometry()
    cube.data.from_pydata([(0, 0, 0), (1, 0, 0), (0, 1, 0)], [], [(0, 1, 2)])
    until(lambda: job.state is State.FAILED, pump.step)
    assert job.error is not None
    assert "changed" in job.error.message


def shuffle_faces(mesh: bpy.types.Mesh) -> None:
    corners = [tuple(polygon.vertices) for polygon in mesh.polygons]
    places = [vertex.co[:] for vertex in mesh.vertices]
    mesh.clear_geometry()
    mesh.from_pydata(places, [], corners[::-1])


def move_uvs(mesh: bpy.types.Mesh) -> None:
    mesh.uv_layers.active.uv[0].vector.x += 0.5


@pytest.mark.parametrize("change", [shuffle_faces, move_uvs])
def test_a_texture_for_other_uvs_is_not_put_on(
    mode: list[str], until: Until, change: Callable[[bpy.types.Mesh], None]
) -> None:
    """Of as many faces: it would come out scrambled."""
    bpy.ops.mesh.primitive_cube_add()
    cube = bpy.context.object
    bpy.ops.espalier.retexture()
    (job,) = pump.jobs.jobs
    change(cube.data)
    until(lambda: job.state is State.FAILED, pump.step)
    assert job.error is not None
    assert "changed" in job.error.message
    assert cube.active_material is None


def test_vertices_may_be_moved_meanwhile(mode: list[str], until: Until) -> None:
    bpy.ops.mesh.primitive_cube_add()
    cube = bpy.context.object
    bpy.ops.espalier.retexture()
    cube.data.vertices[0].co.x -= 0.5
    until(idle, pump.step)
    assert cube.active_material is not None


def test_a_mesh_without_faces_cannot_be_painted(mode: list[str]) -> None:
    bpy.ops.mesh.primitive_circle_add()
    with pytest.raises(RuntimeError, match="Select a mesh with faces"):
        bpy.ops.espalier.retexture()


# --- history and assets ---


@pytest.mark.parametrize("name", ["whole path", ""])
def test_a_blends_history_deletes_no_files_of_others(mug: bpy.types.Object, tmp_path: Path, name: str) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    saved = json.loads(history.dump())
    saved[0]["id"] = str(precious) if name else ""
    history.load(json.dumps(saved))
    (entry,) = history.entries
    other = history._folder() / "of another entry"
    other.mkdir(parents=True)
    history.remove(entry)
    assert precious.is_dir()
    assert other.is_dir()


def test_a_full_disk_costs_the_history_alone(
    mode: list[str], until: Until, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(history.shutil, "move", full)
    bpy.ops.espalier.generate()
    until(idle, pump.step)
    assert "mug" in bpy.data.objects
    assert len(bpy.data.objects) == 1
    assert history.entries == []
    assert "No space left on device" in capsys.readouterr().err


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
    folders = [folder.name for folder in history._folder().iterdir()]
    assert folders == [newest.id]
    assert bpy.ops.espalier.forget(entry=newest.id) == {"FINISHED"}
    assert list(history._folder().iterdir()) == []


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
        assert "in the place of mug" in job_list.waiting_text(job)
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
