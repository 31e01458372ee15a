"""Levels of detail and convex hulls beside an object: made, replaced, painted, deleted, and exported."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import bpy
import numpy as np
import pytest
from espalier.backend import protocol
from espalier.backend.formats import FORMATS, TARGETS
from espalier.blender_addon import pump
from espalier.blender_addon.jobs.client import Backend
from espalier.blender_addon.jobs.queue import Job, JobQueue
from espalier.blender_addon.scene import mesh_import, replace
from espalier.blender_addon.scene.made import HULL, LEVEL, besides

from tests.blender_addon.scene.export_cases import facts, read, state
from tests.blender_addon.scene.test_export import ALL, MESHES, NEEDS_GLTF, NEEDS_PIP, run

Make = Callable[[int], protocol.Result]
PLACE = (1.0, -2.0, 0.5)


@pytest.fixture
def make(start: Callable[..., Backend], make_job: Callable[..., Job], until: Callable[..., None]) -> Make:
    """``make(3)`` is a result with three levels of detail and four convex hulls."""
    queue = JobQueue(lambda: start("ok"))

    def make(seed: int) -> protocol.Result:
        queue.submit(job := make_job(f"mug{seed}", seed=seed, lods=True, collision=True))
        until(lambda: not queue.active, queue.step)
        assert job.result is not None
        return job.result

    return make


@pytest.fixture
def mug(make: Make) -> bpy.types.Object:
    """A torus with all that can be beside it, turned, scaled and moved."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    result = make(3)
    made = mesh_import.create_object(
        result, name="mug", collection=bpy.context.scene.collection, settings=result.settings
    )
    made.rotation_euler, made.scale, made.location = (0.4, 0.2, 1.0), (1.0, 1.0, 2.0), PLACE
    bpy.context.view_layer.update()
    return made


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def names() -> dict[str, list[str]]:
    kinds = ("objects", "meshes", "collections", "materials", "images")
    return {kind: sorted(each.name for each in getattr(bpy.data, kind)) for kind in kinds}


def test_each_kind_has_a_collection_of_its_own(mug: bpy.types.Object) -> None:
    levels, hulls = bpy.data.collections["mug LODs"], bpy.data.collections["mug Collision"]
    assert list(bpy.context.scene.collection.children) == [levels, hulls]
    assert list(bpy.context.scene.collection.objects) == [mug]
    assert [each.name for each in levels.objects] == ["mug_LOD1", "mug_LOD2", "mug_LOD3"]
    assert [each.name for each in hulls.objects] == [f"UCX_mug_{number:02}" for number in (1, 2, 3, 4)]
    assert list(besides(mug, LEVEL).values()) == list(levels.objects)
    assert list(besides(mug, HULL).values()) == list(hulls.objects)
    for each in (*levels.objects, *hulls.objects):
        assert each.parent == mug
        assert each.hide_viewport
        assert each.hide_render
    assert all(each.display_type == "WIRE" and not each.data.materials for each in hulls.objects)


def test_making_again_leaves_nothing_over_and_keeps_the_names(mug: bpy.types.Object, make: Make) -> None:
    before = names()
    replace.put_in_place(mug, make(8), {})  # as many hulls
    assert names() == before
    replace.put_in_place(mug, make(1), {})  # fewer
    kept = [name for name in before["objects"] if not name.startswith("UCX_")]
    assert names()["objects"] == sorted([*kept, "UCX_mug_01", "UCX_mug_02"])
    replace.put_in_place(mug, make(3), {})
    assert names() == before
    low = np.array([vertex.co for vertex in bpy.data.objects["mug_LOD1"].data.vertices]).min(axis=0)
    assert low[2] == pytest.approx(0, abs=1e-6)  # its bottom is where that of the object is
    plain = make(3)
    arrays = dict(np.load(plain.arrays))
    np.savez(plain.arrays, **{name: arrays[name] for name in ("vertices", "faces", "uvs")})
    replace.put_in_place(mug, plain, {})  # with none
    assert names()["objects"] == ["mug"]
    assert names()["collections"] == []
    assert len(names()["meshes"]) == 1


def test_what_people_did_to_them_is_no_obstacle(mug: bpy.types.Object, make: Make) -> None:
    """A level and a collection were deleted, a hull is elsewhere, and a collection holds something of theirs."""
    bpy.data.objects.remove(bpy.data.objects["mug_LOD2"])
    theirs = bpy.data.objects.new("theirs", None)
    bpy.data.collections["mug LODs"].objects.link(theirs)
    hull = bpy.data.objects["UCX_mug_01"]
    bpy.data.collections.remove(bpy.data.collections["mug Collision"])
    bpy.context.scene.collection.objects.link(hull)
    replace.put_in_place(mug, make(3), {})
    assert list(bpy.data.collections["mug LODs"].objects) == [theirs]
    assert sorted(besides(mug, LEVEL)) == [1, 2, 3]
    assert sorted(besides(mug, HULL)) == [1, 2, 3, 4]
    assert len([name for name in names()["objects"] if name.startswith("UCX_")]) == 4


def test_undo_takes_all_of_it(mode: list[str], until: Callable[..., None]) -> None:
    settings = bpy.context.scene.espalier
    settings.lods = settings.collision = True
    bpy.ops.ed.undo_push(message="Settings are chosen")
    before = names()
    assert bpy.ops.espalier.generate() == {"FINISHED"}
    until(lambda: not pump.jobs.jobs, pump.step)
    assert "mug LODs" in bpy.data.collections
    after = names()
    bpy.ops.ed.undo()
    assert names() == before
    bpy.ops.ed.redo()
    assert names() == after
    assert sorted(besides(bpy.data.objects["mug"], LEVEL)) == [1, 2, 3]


def test_a_new_texture_is_that_of_the_levels_too(mode: list[str], until: Callable[..., None]) -> None:
    settings = bpy.context.scene.espalier
    settings.lods = True
    assert bpy.ops.espalier.generate() == {"FINISHED"}
    until(lambda: not pump.jobs.jobs, pump.step)
    mug = bpy.data.objects["mug"]
    old, changed = mug.active_material, bpy.data.objects["mug_LOD2"]
    uvs = changed.data.uv_layers[0].data
    uvs[0].uv = (0.123, 0.456)  # somebody made another layout of it
    bpy.context.view_layer.objects.active = mug
    mug.select_set(True)
    assert bpy.ops.espalier.retexture() == {"FINISHED"}
    until(lambda: not pump.jobs.jobs, pump.step)
    assert mug.active_material != old
    assert bpy.data.objects["mug_LOD1"].active_material == mug.active_material
    assert changed.active_material == old


# --- export ----------------------------------------------------------------------------------------------------------


def opened(path: Path) -> dict[str, bpy.types.Object]:
    """The objects in a file, as Blender imports it into an empty scene."""
    read(path)
    return {each.name: each for each in bpy.data.objects if each.type in ("MESH", "EMPTY")}


def expected(mug: bpy.types.Object) -> dict[str, np.ndarray]:
    """The bounding boxes of the object and all beside it, as seen from the object's origin."""
    found = {}
    for each in (mug, *mug.children):
        places = [mug.matrix_world @ vertex.co for vertex in each.data.vertices]
        found[each.name] = np.array([np.min(places, axis=0), np.max(places, axis=0)]) - PLACE
    return found


@pytest.mark.parametrize("format", ALL)
@pytest.mark.parametrize("target", ["any", "unreal"])
def test_the_scene_stays_as_it_was(mug: bpy.types.Object, out: Path, format: str, target: str) -> None:
    before = state()
    files = run(mug, out, format, target=target)
    assert state() == before
    assert sorted(out.iterdir()) == sorted(files)


@pytest.mark.parametrize("format", MESHES)
def test_levels_and_hulls_are_files_of_their_own(mug: bpy.types.Object, out: Path, format: str) -> None:
    boxes, ending = expected(mug), FORMATS[format].ending
    faces = {each.name: len(each.data.polygons) for each in mug.children}
    files = {path.name for path in run(mug, out, format)}
    for number in (1, 2, 3):
        assert f"mug_LOD{number}{ending}" in files
        found = opened(out / f"mug_LOD{number}{ending}")
        (level,) = (each for each in found.values() if each.type == "MESH")
        assert level.name.startswith(f"mug_LOD{number}")
        assert len(level.data.polygons) == faces[f"mug_LOD{number}"]
        np.testing.assert_allclose(facts(level)["bounds"], boxes[f"mug_LOD{number}"], atol=2e-5)
        assert level.active_material.name.split(".")[0] == "mug"
    hulls = {name: each for name, each in opened(out / f"mug.hulls{ending}").items() if each.type == "MESH"}
    assert sorted(hulls) == [f"UCX_mug_{number:02}" for number in (1, 2, 3, 4)]
    for name, hull in hulls.items():
        np.testing.assert_allclose(facts(hull)["bounds"], boxes[name], atol=2e-5)
    assert sorted(name for name, each in opened(out / f"mug{ending}").items() if each.type == "MESH") == ["mug"]


@pytest.mark.parametrize("target", ["unreal", "unity"])
def test_an_fbx_has_the_levels_in_a_group(mug: bpy.types.Object, out: Path, target: str) -> None:
    boxes = expected(mug)
    files = {path.name for path in run(mug, out, "fbx", target=target)}
    own = {"mug.hulls.fbx"} if target == "unity" else set()
    textures = {f"mug{ending}" for kind, ending in TARGETS[target].textures.items() if kind != "occlusion"}
    assert files == {"mug.fbx"} | own | textures
    assert b"LodGroup" in (out / "mug.fbx").read_bytes()
    found = opened(out / "mug.fbx")
    levels = {f"mug_LOD{number}" for number in range(4)}
    hulls = {f"UCX_mug_LOD0_{number:02}" for number in (1, 2, 3, 4)} if target == "unreal" else set()
    assert found.keys() == {"mug"} | levels | hulls
    assert found["mug"].type == "EMPTY"
    assert {each.name for each in found["mug"].children} == levels
    for name in levels | hulls:
        box = boxes[{"mug_LOD0": "mug"}.get(name, name.replace("_LOD0", "") if name in hulls else name)]
        np.testing.assert_allclose(facts(found[name])["bounds"], box, atol=2e-5, err_msg=name)
    assert {found[name].active_material for name in levels} == {found["mug_LOD0"].active_material}


def test_without_levels_the_hulls_are_called_after_the_mesh(mug: bpy.types.Object, out: Path) -> None:
    for level in besides(mug, LEVEL).values():
        bpy.data.objects.remove(level)
    (path, *_) = run(mug, out, "fbx", target="unreal")
    assert opened(path).keys() == {"mug"} | {f"UCX_mug_{number:02}" for number in (1, 2, 3, 4)}


@NEEDS_GLTF
def test_godot_finds_the_hulls_by_their_names(mug: bpy.types.Object, out: Path) -> None:
    files = {path.name for path in run(mug, out, "glb", target="godot")}
    assert files == {"mug.glb"} | {f"mug_LOD{number}.glb" for number in (1, 2, 3)}
    assert opened(out / "mug.glb").keys() == {"mug"} | {f"mug_{number:02}-convcolonly" for number in (1, 2, 3, 4)}


@NEEDS_PIP
def test_names_that_are_too_long_or_taken_are_no_obstacle(mug: bpy.types.Object, out: Path) -> None:
    other = bpy.data.objects.new("m" * 40 + "_LOD0", None)
    bpy.context.scene.collection.objects.link(other)
    mug.name = "m" * 60
    before = names()
    (path, *_) = run(mug, out, "fbx", target="unreal")
    assert names() == before
    base = "m" * 40
    levels = {f"{base}_LOD{number}" for number in range(4)}
    assert opened(path).keys() == {base} | levels | {f"UCX_{base}_LOD0_{number:02}" for number in (1, 2, 3, 4)}
