"""What an artist gave to an object stays when it is made again or painted: vertex groups, material slots."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import bpy
import numpy as np
import pytest
from espalier.backend import protocol
from espalier.blender_addon import pump
from espalier.blender_addon.scene import carry_over, made, replace
from espalier.blender_addon.scene.made import NOTE, OWN

Until = Callable[..., None]


def idle() -> bool:
    return not pump.jobs.jobs


def select(target: bpy.types.Object) -> None:
    for other in bpy.context.view_layer.objects:
        other.select_set(other == target)
    bpy.context.view_layer.objects.active = target


def heights(target: bpy.types.Object) -> np.ndarray:
    """Of each vertex, from 0 to 1."""
    values = np.array([vertex.co.z for vertex in target.data.vertices])
    return (values - values.min()) / (values.max() - values.min())


def weigh(target: bpy.types.Object, name: str, weights: np.ndarray) -> None:
    group = target.vertex_groups.new(name=name)
    for index in np.flatnonzero(weights > 0):
        group.add([int(index)], float(weights[index]), "REPLACE")


def weights(target: bpy.types.Object, name: str) -> np.ndarray:
    number = target.vertex_groups[name].index
    found = np.zeros(len(target.data.vertices))
    for vertex in target.data.vertices:
        for each in vertex.groups:
            if each.group == number:
                found[vertex.index] = each.weight
    return found


def regenerate(target: bpy.types.Object, until: Until, how: str = "SEED") -> None:
    select(target)
    assert bpy.ops.espalier.regenerate(how=how) == {"FINISHED"}
    until(idle, pump.step)


def test_vertex_groups_are_kept_by_place(mug: bpy.types.Object, until: Until) -> None:
    weigh(mug, "top", heights(mug))
    weigh(mug, "bottom", (heights(mug) < 0.2).astype(float))
    mug.vertex_groups["bottom"].lock_weight = True
    mug.vertex_groups.active_index = 0
    mug.location, mug.rotation_euler = (3, -2, 1), (0.4, 0.2, 1.0)  # weights lie in the object's own space
    regenerate(mug, until)
    assert mug.vertex_groups.keys() == ["top", "bottom"]
    assert mug.vertex_groups.active_index == 0
    assert mug.vertex_groups["bottom"].lock_weight
    np.testing.assert_allclose(weights(mug, "top"), heights(mug), atol=1e-3)
    assert weights(mug, "bottom").sum() == pytest.approx((heights(mug) < 0.2).sum(), rel=0.1)
    assert NOTE not in mug
    assert len(bpy.context.scene.objects) == 1  # nothing of the transfer is left


def test_a_deformed_object_is_carried_over_as_it_is_at_rest(mug: bpy.types.Object, until: Until) -> None:
    weigh(mug, "top", heights(mug))
    bend = mug.modifiers.new("Bend", "SIMPLE_DEFORM")
    bend.deform_method, bend.angle = "BEND", 2.0
    regenerate(mug, until)
    np.testing.assert_allclose(weights(mug, "top"), heights(mug), atol=1e-3)


def test_what_is_far_from_the_old_surface_is_said(mug: bpy.types.Object, until: Until) -> None:
    weigh(mug, "top", heights(mug))
    keep = [vertex.co.copy() for vertex in mug.data.vertices]
    for vertex, place in zip(mug.data.vertices, keep, strict=True):
        vertex.co = place * 0.2 if place.x < 0.1 else place  # another shape of the same size to one side
    regenerate(mug, until)
    assert "vertex groups were kept" in mug[NOTE]
    assert "% of the surface is far" in mug[NOTE]


def test_groups_of_a_mesh_without_faces_are_kept_without_weights(mug: bpy.types.Object, until: Until) -> None:
    mug.vertex_groups.new(name="top")
    empty = bpy.data.meshes.new("empty")
    mug.data = empty
    mug.vertex_groups.new(name="top")
    regenerate(mug, until)
    assert mug.vertex_groups.keys() == ["top"]
    assert "could not be kept" in mug[NOTE]


def test_what_is_lost_is_said_and_undo_brings_it_back(mug: bpy.types.Object, until: Until) -> None:
    mug.shape_key_add(name="Basis")
    mug.data.color_attributes.new("Mask", "FLOAT_COLOR", "POINT")
    mug.data.uv_layers.new(name="mine")
    bpy.ops.ed.undo_push(message="By hand")
    regenerate(mug, until)
    assert "Not kept: shape keys, more UV maps, color attributes." in mug[NOTE]
    bpy.ops.ed.undo()
    assert bpy.data.objects["mug"].data.shape_keys is not None


def test_the_raw_mesh_is_renewed(mode: list[str], mug: bpy.types.Object, until: Until) -> None:
    bpy.context.scene.espalier.keep_raw = True
    regenerate(mug, until, "PANEL")
    (raw,) = mug.children
    assert made.has_raw(mug)
    bpy.context.scene.espalier.keep_raw = False
    raw.name, before = "the raw one", raw.data.session_uid
    for how in ("PANEL", "SEED"):
        regenerate(mug, until, how)
        (raw,) = mug.children
        assert raw.name == "the raw one"
        assert raw.data.session_uid != before
        before = raw.data.session_uid


def test_regenerate_keeps_slots_of_others(mug: bpy.types.Object, until: Until) -> None:
    gold, steel = bpy.data.materials.new("gold"), bpy.data.materials.new("steel")
    own = mug.data.materials[0]
    mug.data.materials.clear()
    for material in (gold, own, steel):
        mug.data.materials.append(material)
    for _ in range(2):
        regenerate(mug, until)
        assert [material.name for material in mug.data.materials] == ["gold", "mug", "steel"]
        assert mug.data.materials[1].node_tree is not None
        assert {face.material_index for face in mug.data.polygons} == {1}
    assert bpy.data.images.keys().count("mug") == 1


def test_retexture_keeps_slots_of_others_and_their_faces(mug: bpy.types.Object, until: Until) -> None:
    gold = bpy.data.materials.new("gold")
    mug.data.materials.append(gold)
    for face in mug.data.polygons[:10]:
        face.material_index = 1
    own = mug.data.materials[0]
    for _ in range(2):
        select(mug)
        assert bpy.ops.espalier.retexture() == {"FINISHED"}
        until(idle, pump.step)
        assert mug.data.materials[1] == gold
        assert mug.data.materials[0] != own
        assert OWN in mug.data.materials[0]
        assert [face.material_index for face in mug.data.polygons[:11]] == [*[1] * 10, 0]
        assert "10 faces keep other materials." in mug[NOTE]


def test_the_first_texture_of_ones_own_mesh_is_on_all_faces(mode: list[str], until: Until) -> None:
    bpy.ops.mesh.primitive_cube_add()
    cube = bpy.context.object
    gold, steel = bpy.data.materials.new("gold"), bpy.data.materials.new("steel")
    for material in (gold, steel):
        cube.data.materials.append(material)
    cube.material_slots[1].link = "OBJECT"
    cube.material_slots[1].material = steel
    cube.data.polygons[3].material_index = 1
    assert bpy.ops.espalier.retexture() == {"FINISHED"}
    until(idle, pump.step)
    assert [slot.material.name for slot in cube.material_slots] == ["gold", "steel", "Cube texture"]
    assert {face.material_index for face in cube.data.polygons} == {2}
    assert "The others are still in their slots." in cube[NOTE]
    cube.data.polygons[0].material_index = 0  # gold again, by hand
    select(cube)
    assert bpy.ops.espalier.retexture() == {"FINISHED"}
    until(idle, pump.step)
    assert [face.material_index for face in cube.data.polygons][:2] == [0, 2]


def test_an_empty_slot_is_used(mode: list[str], until: Until) -> None:
    bpy.ops.mesh.primitive_cube_add()
    cube = bpy.context.object
    cube.data.materials.append(None)
    assert bpy.ops.espalier.retexture() == {"FINISHED"}
    until(idle, pump.step)
    assert [slot.material.name for slot in cube.material_slots] == ["Cube texture"]
    assert NOTE not in cube


def test_an_object_of_an_earlier_version_has_its_own_slot_first(mug: bpy.types.Object) -> None:
    del mug.data.materials[0][OWN]
    mug.data.materials.append(bpy.data.materials.new("gold"))
    assert carry_over.own_slots(mug) == [0]
    bpy.ops.mesh.primitive_cube_add()
    assert carry_over.own_slots(bpy.context.object) == []


def test_another_scene_than_the_open_one(mug: bpy.types.Object, tmp_path: Path) -> None:
    """A job's scene need not be the one that is shown, and Blender's transfer works on what is shown."""
    weigh(mug, "top", heights(mug))
    vertices = np.array([vertex.co for vertex in mug.data.vertices], np.float32)
    faces = np.array([face.vertices for face in mug.data.polygons], np.int32)
    np.savez(tmp_path / "again.npz", vertices=vertices, faces=faces, uvs=np.zeros((len(faces), 3, 2), np.float32))
    texture = tmp_path / "again.png"
    texture.write_bytes(bytes(mug.data.materials[0].node_tree.nodes.active.image.packed_file.data))
    result = protocol.Result(job="again", arrays=str(tmp_path / "again.npz"), texture=str(texture), glb="")
    there = bpy.context.scene
    bpy.context.window.scene = bpy.data.scenes.new("another")
    replace.put_in_place(mug, result, {})
    np.testing.assert_allclose(weights(mug, "top"), heights(mug), atol=1e-3)
    assert not bpy.context.scene.objects
    assert list(there.objects) == [mug]
