"""Metalness, roughness and alpha that a model made, from the result to other programs' files, with the fake backend."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bpy
import pytest
from espalier.backend import protocol
from espalier.blender_addon import pump
from espalier.blender_addon.jobs.client import Backend
from espalier.blender_addon.jobs.queue import Job, JobQueue
from espalier.blender_addon.scene import export, mesh_import, save_textures

from tests.blender_addon.request.test_again import select
from tests.blender_addon.scene.export_cases import read

#: What the inputs of the shader come from: sockets, from the shader to the image.
LINKED = {"Base Color": ["Color"], "Alpha": ["Alpha"], "Metallic": ["Blue", "Color"], "Roughness": ["Green", "Color"]}


@pytest.fixture
def result(start: Callable[..., Backend], make_job: Callable[..., Job], until: Callable[..., None]) -> protocol.Result:
    queue = JobQueue(lambda: start("materials"))
    queue.submit(job := make_job("mug"))
    until(lambda: not queue.active, queue.step)
    assert job.result is not None
    return job.result


@pytest.fixture
def made(result: protocol.Result) -> bpy.types.Object:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    collection = bpy.context.scene.collection
    return mesh_import.create_object(result, name="mug", collection=collection, settings=result.settings)


def way_to(socket: Any) -> list[str]:
    """The sockets that an input's value comes out of, from the shader to the image."""
    way = []
    while socket is not None and socket.is_linked:
        link = socket.links[0]
        way.append(link.from_socket.name)
        into = (each for each in link.from_node.inputs if each.is_linked and link.from_node.type != "TEX_IMAGE")
        socket = next(into, None)
    return way


def shader_of(target: bpy.types.Object) -> Any:
    material = target.active_material
    assert material is not None
    return next(node for node in material.node_tree.nodes if node.type == "BSDF_PRINCIPLED")


def linked(target: bpy.types.Object) -> dict[str, list[str]]:
    inputs = shader_of(target).inputs
    return {name: way_to(inputs[name]) for name in LINKED}


def test_the_material_has_all_maps(made: bpy.types.Object, result: protocol.Result) -> None:
    assert linked(made) == LINKED
    assert made.active_material is not None
    assert not made.active_material.use_backface_culling  # an open sheet is seen from both sides
    images = {image.name: image for image in save_textures.packed_images([made])}
    assert set(images) == {"mug", "mug normal", "mug occlusion"}
    assert bytes(images["mug"].packed_file.data) == Path(result.texture).read_bytes()
    assert images["mug"].alpha_mode == "STRAIGHT"
    assert images["mug occlusion"].colorspace_settings.name == "Non-Color"


@pytest.mark.parametrize("format", ["glb", "usd", "usdz"])
def test_other_programs_get_all_maps(made: bpy.types.Object, tmp_path: Path, format: str) -> None:
    if wrong := export.obstacle(format):
        pytest.skip(wrong)
    if format == "glb" and not bpy.app.binary_path and bpy.app.version < (5, 0):
        pytest.skip("after a glTF export pip's bpy 4.2 crashes at its own exit, and 4.5 may hang")
    with contextlib.redirect_stdout(io.StringIO()):
        files = export.export(bpy.context, made, tmp_path, export.Wanted(format)).files
    read(files[0])
    (back,) = (each for each in bpy.data.objects if each.type == "MESH")
    found = linked(back)
    assert {name: way[:1] for name, way in found.items()} == {name: way[:1] for name, way in LINKED.items()}


@pytest.mark.parametrize("format", ["obj", "fbx"])
def test_formats_that_know_no_channels_have_the_map_beside(made: bpy.types.Object, tmp_path: Path, format: str) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        files = export.export(bpy.context, made, tmp_path, export.Wanted(format)).files
    packed = bytes(bpy.data.images["mug occlusion"].packed_file.data)
    assert (tmp_path / "mug.occlusion.png").read_bytes() == packed
    read(files[0])
    (back,) = (each for each in bpy.data.objects if each.type == "MESH")
    assert linked(back)["Alpha"] == ["Alpha"]


def test_saved_textures_are_still_the_materials(made: bpy.types.Object, tmp_path: Path) -> None:
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "scene.blend"))
    made = bpy.data.objects["mug"]
    saved = save_textures.save(save_textures.packed_images([made]))
    assert {path.name for path in saved} == {"mug.png", "mug_normal.png", "mug_occlusion.png"}
    assert linked(made) == LINKED


def test_a_painted_mesh_gets_the_maps(mode: list[str], until: Callable[..., None]) -> None:
    mode[0] = "materials"
    bpy.ops.mesh.primitive_cube_add()
    for _ in range(2):
        assert bpy.ops.espalier.retexture() == {"FINISHED"}
        until(lambda: not pump.jobs.jobs, pump.step)
        assert linked(bpy.data.objects["Cube"]) == LINKED
        assert {image.name for image in bpy.data.images} >= {"Cube texture", "Cube texture occlusion"}


def test_made_again_in_place_by_another_family(mode: list[str], mug: bpy.types.Object, until: Any) -> None:
    assert linked(mug)["Metallic"] == linked(mug)["Alpha"] == []
    mode[0] = "materials"
    pump.jobs.close()  # the backend that is running is in another mode
    select(mug)
    assert bpy.ops.espalier.regenerate() == {"FINISHED"}
    until(lambda: not pump.jobs.jobs, pump.step)
    assert linked(bpy.data.objects["mug"]) == LINKED
