"""From the button to the object in the scene, under pip's bpy and with the fake backend."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bpy
import numpy as np
import pytest
from bpy_extras.object_utils import world_to_camera_view
from espalier.backend import protocol
from espalier.blender_addon import choices, pump
from espalier.blender_addon.jobs.client import Backend
from espalier.blender_addon.jobs.queue import Job, JobQueue, State
from espalier.blender_addon.scene import cameras, mesh_import, viewport
from espalier.blender_addon.scene import made as memory
from espalier.blender_addon.scene.material import UV_MAP
from espalier.blender_addon.server import process

Until = Callable[..., None]
Press = Callable[..., Job]
VERTICES, FACES = 1152, 2304  # of the fake backend's torus


@pytest.fixture
def press(mode: list[str]) -> Press:
    """``press("slow")`` presses Generate 3D for one image, with that fake backend behind the button."""
    bpy.ops.ed.undo_push(message="An image is chosen")

    def press(*arguments: str) -> Job:
        mode[:] = arguments or mode
        assert bpy.ops.espalier.generate() == {"FINISHED"}
        return pump.jobs.jobs[-1]

    return press


@pytest.fixture
def result(start: Callable[..., Backend], make_job: Callable[..., Job], until: Until) -> protocol.Result:
    queue = JobQueue(lambda: start("ok"))
    queue.submit(job := make_job("mug", seed=7))
    until(lambda: not queue.active, queue.step)
    assert job.result is not None
    return job.result


def test_cameras_see_the_object_where_the_backend_saw_it(result: protocol.Result, tmp_path: Path) -> None:
    """A corner of the mesh is at the same place in the camera's frame as the backend's formula says."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    about = protocol.ImageCamera(
        painted=True, azimuth=40.0, elevation=25.0, distance=2.6, angle=30.0, shift_x=0.1, shift_y=-0.05
    )
    found = dataclasses.replace(result, cameras=(about, None))
    settings = result.settings | {"images": [str(tmp_path / "gone.png")]}
    scene = bpy.context.scene
    made = mesh_import.create_object(found, name="mug", collection=scene.collection, settings=settings, size=3.0)
    made.location, made.rotation_euler = (5, -2, 1), (0.3, 0.2, 1.0)
    (camera,) = cameras.add(made, scene.collection, list(memory.recall(made)["images"]))
    scene.render.resolution_x = scene.render.resolution_y = 100
    bpy.context.view_layer.update()
    with np.load(result.arrays) as arrays:
        point = arrays["vertices"][17].astype(float)
    a, e = np.radians(40.0), np.radians(25.0)
    forward = np.array([-np.sin(a) * np.cos(e), np.cos(a) * np.cos(e), -np.sin(e)])
    right = np.array([np.cos(a), np.sin(a), 0.0])
    relative = point + 2.6 * forward
    width = 2 * np.tan(np.radians(15.0)) * (relative @ forward)
    expected = 0.5 + relative @ right / width - 0.1, 0.5 + relative @ np.cross(right, forward) / width + 0.05
    seen = world_to_camera_view(scene, camera, made.matrix_world @ made.data.vertices[17].co)
    assert tuple(seen)[:2] == pytest.approx(expected, abs=1e-4)
    assert not camera.data.background_images


def idle() -> bool:
    return not pump.jobs.jobs


def test_create_object(result: protocol.Result) -> None:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    collection = bpy.context.scene.collection
    made = mesh_import.create_object(result, name="mug", collection=collection, settings=result.settings)
    assert list(collection.objects) == [made]
    mesh = made.data
    assert (len(mesh.vertices), len(mesh.polygons), len(mesh.edges)) == (VERTICES, FACES, FACES * 3 // 2)
    assert not mesh.validate()  # True would say that something had to be mended
    with np.load(result.arrays) as arrays:
        positions = np.empty((VERTICES, 3), np.float32)
        mesh.vertices.foreach_get("co", positions.ravel())
        factor, shift = mesh_import.stand(arrays["vertices"], 1.0)
        np.testing.assert_allclose(positions, arrays["vertices"] * factor + shift, atol=1e-6)
        uvs = np.empty((FACES, 3, 2), np.float32)
        mesh.uv_layers["UVMap"].uv.foreach_get("vector", uvs.ravel())
        np.testing.assert_array_equal(uvs, arrays["uvs"])
        assert [list(p.vertices) for p in mesh.polygons[:9]] == arrays["faces"][:9].tolist()
    assert all(polygon.use_smooth for polygon in mesh.polygons[:9])
    outward = [polygon.normal.dot(polygon.center - ring_center(polygon.center)) for polygon in mesh.polygons]
    assert min(outward) > 0


def ring_center(point: Any) -> Any:
    """The nearest point on the circle that the torus is wound around; it is 0.96 wide and was brought to 1."""
    flat = point.copy()
    flat.z = 0
    ring = flat.normalized() * (0.34 / 0.96)
    ring.z = 0.14 / 0.96
    return ring


def test_material_and_packed_image(result: protocol.Result) -> None:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    made = mesh_import.create_object(
        result, name="mug", collection=bpy.context.scene.collection, settings=result.settings
    )
    nodes = made.active_material.node_tree.nodes
    shader = next(node for node in nodes if node.type == "BSDF_PRINCIPLED")
    (link,) = shader.inputs["Base Color"].links
    image = link.from_node.image
    assert nodes.active == link.from_node
    assert image.source == "FILE"
    assert bytes(image.packed_file.data) == Path(result.texture).read_bytes()
    assert image.filepath == "//textures/mug.png"
    assert image.colorspace_settings.name == "sRGB"
    assert not image.has_data  # nobody decoded it: that takes 100 ms
    assert tuple(image.size) == (256, 256)


def test_the_normal_map_is_linear_and_in_the_tangent_space_of_the_uvs(result: protocol.Result) -> None:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    made = mesh_import.create_object(
        result, name="mug", collection=bpy.context.scene.collection, settings=result.settings
    )
    nodes = made.active_material.node_tree.nodes
    shader = next(node for node in nodes if node.type == "BSDF_PRINCIPLED")
    bump = shader.inputs["Normal"].links[0].from_node
    assert (bump.type, bump.space, bump.uv_map) == ("NORMAL_MAP", "TANGENT", made.data.uv_layers.active.name)
    image = bump.inputs["Color"].links[0].from_node.image
    assert bytes(image.packed_file.data) == Path(result.normal_map).read_bytes()
    assert image.colorspace_settings.name == "Non-Color"
    assert image.filepath == "//textures/mug_normal.png"


def test_the_raw_mesh_is_kept_out_of_sight(
    start: Callable[..., Backend], make_job: Callable[..., Job], until: Until
) -> None:
    queue = JobQueue(lambda: start("ok"))
    queue.submit(job := make_job("mug", keep_raw=True))
    until(lambda: not queue.active, queue.step)
    assert job.result is not None
    bpy.ops.wm.read_factory_settings(use_empty=True)
    collection = bpy.context.scene.collection
    made = mesh_import.create_object(job.result, name="mug", collection=collection, settings={})
    raw = bpy.data.objects["mug raw"]
    assert raw.hide_viewport
    assert raw.hide_render
    made.location, raw.hide_viewport = (1, 2, 3), False
    bpy.context.view_layer.update()
    np.testing.assert_allclose(raw.matrix_world.translation, (1, 2, 3), err_msg="it goes where the object goes")
    with np.load(job.result.raw) as arrays:
        colors = np.empty((VERTICES, 4), np.float32)
        raw.data.color_attributes["Color"].data.foreach_get("color_srgb", colors.ravel())
        np.testing.assert_allclose(colors[:, :3], arrays["colors"], atol=1 / 255)
        assert len(raw.data.polygons) == len(arrays["faces"])


def test_an_object_remembers_how_it_was_made(result: protocol.Result) -> None:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    made = mesh_import.create_object(
        result, name="mug", collection=bpy.context.scene.collection, settings=result.settings
    )
    remembered = memory.recall(made)
    (image,) = remembered.pop("images")
    assert Path(image).name == "mug.png"
    expected = {name: result.settings[name] for name in protocol.names(protocol.Door.OBJECT)}
    # What is None has no place in a file, and is None again when it is not there.
    assert remembered == {name: value for name, value in expected.items() if value is not None} | {"size": 1.0}
    assert expected["multi_image"] == "multidiffusion"


def test_the_file_holds_everything(result: protocol.Result, tmp_path: Path) -> None:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    mesh_import.create_object(result, name="mug", collection=bpy.context.scene.collection, settings=result.settings)
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "mug.blend"))
    texture = Path(result.texture).read_bytes()
    Path(result.texture).unlink()
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "mug.blend"))
    made = bpy.data.objects["mug"]
    assert (len(made.data.vertices), len(made.data.polygons)) == (VERTICES, FACES)
    assert made["espalier_seed"] == 7
    image = bpy.data.images["mug"]
    assert bytes(image.packed_file.data) == texture
    assert tuple(image.size) == (256, 256)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"faces": np.array([[0, 1, 3]])}, "does not exist"),
        ({"faces": np.array([[0, 1, -1]])}, "does not exist"),
        ({"faces": np.zeros((0, 3), int), "uvs": np.zeros((0, 3, 2))}, "no faces"),
        ({"uvs": np.zeros((1, 3))}, "do not match"),
        ({"vertices": np.zeros((3, 2))}, "do not make triangles"),
        ({"vertices": np.full((3, 3), np.nan)}, "not a number"),
        ({"uvs": None}, "lack 'uvs'"),
        ({"texture": b"GIF89a"}, "not a PNG"),
    ],
)
def test_damaged_results_make_nothing(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    arrays: dict[str, Any] = {
        "vertices": np.eye(3, dtype=np.float32),
        "faces": np.array([[0, 1, 2]], np.int32),
        "uvs": np.zeros((1, 3, 2), np.float32),
        "texture": b"\x89PNG\r\n\x1a\n",
        **changes,
    }
    (tmp_path / "texture.png").write_bytes(arrays.pop("texture"))
    np.savez(tmp_path / "mesh.npz", **{name: array for name, array in arrays.items() if array is not None})
    result = protocol.Result("a", str(tmp_path / "mesh.npz"), str(tmp_path / "texture.png"), "")
    before = datablocks()
    with pytest.raises(ValueError, match=words):
        mesh_import.create_object(result, name="a", collection=bpy.context.scene.collection, settings={})
    assert datablocks() == before


def datablocks() -> list[int]:
    data = bpy.data
    return [len(kind) for kind in (data.objects, data.meshes, data.materials, data.images)]


def test_a_face_that_uses_a_vertex_twice_is_left_out() -> None:
    vertices, faces = np.eye(3), np.array([[0, 1, 2], [0, 1, 1]])
    _, kept, uvs = mesh_import._checked(vertices, faces, np.zeros((2, 3, 2)))
    assert kept.tolist() == [[0, 1, 2]]
    assert uvs.shape == (1, 3, 2)


def test_levels_of_detail_are_hidden_objects_with_the_same_material(tmp_path: Path) -> None:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    arrays: dict[str, Any] = {}
    for prefix, points in (("", 5), ("lod1_", 4), ("lod2_", 3)):
        arrays[prefix + "vertices"] = np.random.default_rng(points).random((points, 3)).astype(np.float32)
        arrays[prefix + "faces"] = np.array([[0, k, k + 1] for k in range(1, points - 1)], np.int32)
        arrays[prefix + "uvs"] = np.zeros((points - 2, 3, 2), np.float32)
    np.savez(tmp_path / "mesh.npz", **arrays)
    (tmp_path / "texture.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    result = protocol.Result("a", str(tmp_path / "mesh.npz"), str(tmp_path / "texture.png"), "")
    made = mesh_import.create_object(result, name="a", collection=bpy.context.scene.collection, settings={})
    assert [child.name for child in made.children] == ["a_LOD1", "a_LOD2"]
    for child, faces in zip(made.children, (2, 1), strict=True):
        assert child.hide_viewport
        assert child.hide_render
        assert len(child.data.polygons) == faces
        assert list(child.data.materials) == list(made.data.materials)
        assert child.data.uv_layers.keys() == [UV_MAP]
    arrays["lod2_faces"] = np.array([[0, 1, 9]], np.int32)
    np.savez(tmp_path / "mesh.npz", **arrays)
    before = datablocks()
    with pytest.raises(ValueError, match="does not exist"):
        mesh_import.create_object(result, name="b", collection=bpy.context.scene.collection, settings={})
    assert datablocks() == before


def test_pairs_of_triangles_become_quads_if_no_seam_is_between_them() -> None:
    faces = np.array([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7], [8, 9, 10], [3, 2, 8]], np.int32)
    uvs = np.random.default_rng(0).random((12, 2)).astype(np.float32)[faces]
    uvs[3, 1] += 0.1  # of the second pair: its halves are apart on the texture
    for count, corners, sizes in ((0, [], []), (1, [0, 1, 2, 3], [4]), (9, [0, 1, 2, 3], [4])):
        made = mesh_import.Polygons.of(faces, uvs, count)
        rest = faces[2 * len(sizes) :]
        assert made.corners.tolist() == corners + rest.ravel().tolist()
        assert np.diff([*made.starts, len(made.corners)]).tolist() == sizes + [3] * len(rest)
        assert made.uvs.shape == (len(made.corners), 2)
    assert np.array_equal(made.uvs[:4], [*uvs[0], uvs[1, 2]])
    assert np.array_equal(made.uvs[4:], uvs[2:].reshape(-1, 2))


def test_the_button(press: Press, until: Until) -> None:
    bpy.context.scene.cursor.location = (1, 2, 3)
    job = press("ok")
    assert job.request.seed == 0
    assert job.request.steps is None
    until(idle, pump.step)
    made = bpy.data.objects["mug"]
    assert tuple(made.location) == (1, 2, 3)
    assert bpy.context.view_layer.objects.active == made
    assert bpy.context.selected_objects == [made]
    assert not Path(job.request.out).exists()
    assert not viewport.shown(job.id)
    assert not bpy.app.timers.is_registered(pump._tick)  # it would never fire here, and crash at exit


def test_one_undo_step(press: Press, until: Until) -> None:
    press("ok")
    until(idle, pump.step)
    bpy.ops.ed.undo()
    assert datablocks()[:3] == [0, 0, 0]
    assert len(bpy.context.scene.espalier.images) == 1  # what the user had done before stays
    bpy.ops.ed.redo()
    assert len(bpy.data.objects["mug"].data.polygons) == FACES
    assert bpy.data.images["mug"].packed_file
    assert tuple(bpy.data.images["mug"].size) == (256, 256)


@pytest.mark.parametrize(
    ("failing", "code"),
    [(["error"], "image_unreadable"), (["crash", "0"], "backend_ended"), (["damaged"], "result_damaged")],
)
def test_a_failure_leaves_the_scene_alone(press: Press, until: Until, failing: list[str], code: str) -> None:
    before = datablocks()
    job = press(*failing)
    until(lambda: job.state is State.FAILED, pump.step)
    assert job.error is not None
    assert job.error.code == code
    assert job.error.message
    assert job.error.hint
    assert datablocks() == before
    assert not viewport.shown(job.id)
    again = press("ok")
    if code == "backend_ended":  # the others left theirs as it was, in the mode that it was started in
        until(idle, pump.step)
        assert "mug" in bpy.data.objects
    else:
        assert pump.jobs.jobs == [again]  # the old failure is no longer shown


def test_no_python(press: Press, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(process.PYTHON_VARIABLE, "/no/such/python")
    job = press("ok")
    assert job.error is not None
    assert job.error.code == "backend_unavailable"
    assert "/no/such/python" in job.error.message


def test_cancel(press: Press, until: Until) -> None:
    job = press("slow")
    until(lambda: job.fraction > 0.1, pump.step)
    assert bpy.ops.espalier.cancel(job=job.id) == {"FINISHED"}
    until(idle, pump.step)
    assert job.state is State.CANCELLED
    assert "mug" not in bpy.data.objects
    assert not Path(job.request.out).exists()


def test_a_result_waits_while_the_scene_must_not_change(
    press: Press, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pump, "busy_with", lambda: "Move")
    job = press("ok")
    until(lambda: job.state is State.DONE, pump.step)
    for _ in range(5):
        pump.step()
    assert "mug" not in bpy.data.objects
    monkeypatch.setattr(pump, "busy_with", lambda: "")
    pump.step()
    assert "mug" in bpy.data.objects


def test_in_another_file_a_result_is_offered(press: Press, until: Until) -> None:
    job = press("ok")
    bpy.ops.wm.read_homefile(use_empty=True)
    until(lambda: job.state is State.DONE, pump.step)
    pump.step()
    assert "mug" not in bpy.data.objects
    assert pump.jobs.jobs == [job]
    assert bpy.ops.espalier.insert(job=job.id) == {"FINISHED"}
    assert "mug" in bpy.data.objects
    assert idle()


def test_it_goes_where_it_was_asked_for(press: Press, until: Until) -> None:
    props = bpy.data.collections.new("Props")
    asked = bpy.context.scene
    asked.collection.children.link(props)
    layer = bpy.context.view_layer
    layer.active_layer_collection = layer.layer_collection.children["Props"]
    press("ok")
    bpy.context.window.scene = bpy.data.scenes.new("Other")
    until(idle, pump.step)
    assert [o.name for o in props.objects] == ["mug"]
    assert bpy.context.selected_objects == []


def test_a_scene_that_is_gone(press: Press, until: Until) -> None:
    scene = bpy.context.scene
    job = press("ok")
    bpy.context.window.scene = bpy.data.scenes.new("Other")
    bpy.data.scenes.remove(scene)
    until(lambda: job.state is State.DONE, pump.step)
    pump.step()
    assert pump.jobs.jobs == [job]
    assert bpy.ops.espalier.dismiss(job=job.id) == {"FINISHED"}
    assert idle()


def test_an_object_that_is_being_edited_stays_active(press: Press, until: Until) -> None:
    bpy.ops.mesh.primitive_cube_add()
    cube = bpy.context.object
    bpy.ops.object.mode_set(mode="EDIT")
    press("ok")
    until(idle, pump.step)
    assert "mug" in bpy.data.objects
    assert bpy.context.view_layer.objects.active == cube
    assert cube.mode == "EDIT"


def test_shade() -> None:
    vertices = np.array([(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)], np.float32)
    faces = np.array([(0, 2, 1), (0, 1, 3), (0, 3, 2), (1, 2, 3)], np.int32)
    shaded = viewport.shade(vertices, faces, np.ones((4, 3), np.float32))
    assert shaded.dtype == np.float32
    assert shaded.shape == (4, 4)
    assert (shaded[:, 3] == 1).all()
    assert shaded.min() >= viewport.AMBIENT
    assert shaded[3, 0] > shaded[0, 0]  # the tip is lit from above, the corner below lies in the shade


def test_a_backend_without_work_ends(press: Press, until: Until, monkeypatch: pytest.MonkeyPatch) -> None:
    press("ok")
    until(idle, pump.step)
    backend = pump.jobs.backend
    assert backend is not None
    assert pump._tick() == pump.IDLE_INTERVAL, "in a checkout it stays"
    monkeypatch.setattr(choices, "idle_minutes", lambda context: 5)
    assert pump._tick() == pump.IDLE_INTERVAL
    pump.jobs.busy_at -= 301
    assert pump._tick() is None
    assert pump.jobs.backend is None
    until(lambda: not backend.alive())
    press("ok")
    until(idle, pump.step)
    assert len(bpy.data.objects) == 2


def test_memory_is_freed_on_request(press: Press, until: Until) -> None:
    assert not bpy.ops.espalier.unload.poll()
    job = press("slow")
    until(lambda: job.state is State.RUNNING, pump.step)
    assert not bpy.ops.espalier.unload.poll()
    bpy.ops.espalier.cancel(job=job.id)
    until(idle, pump.step)
    assert bpy.ops.espalier.unload() == {"FINISHED"}
    assert pump.jobs.backend is None
