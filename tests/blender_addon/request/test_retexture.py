"""Meshes of one's own are painted, with the fake backend."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import bpy
import numpy as np
import pytest
from espalier.blender_addon import pump
from espalier.blender_addon.jobs.queue import State
from espalier.blender_addon.request import retexture
from espalier.blender_addon.scene import made, paint

from tests.blender_addon.request.test_again import Until, idle, positions, select


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
    assert not made.is_made(cube)  # its shape is not ours: nothing may replace it
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
    assert cube.data.uv_layers.active.name == paint.UV_MAP
    cube.data.calc_loop_triangles()
    area = 0.0
    for triangle in cube.data.loop_triangles:
        a, b, c = (cube.data.uv_layers.active.uv[loop].vector for loop in triangle.loops)
        area += abs((b - a).cross(c - a)) / 2
    assert area == pytest.approx(12 * 0.5 / 16, rel=1e-4)
    assert "12 faces" in cube[made.NOTE] or "6 faces" in cube[made.NOTE]


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
