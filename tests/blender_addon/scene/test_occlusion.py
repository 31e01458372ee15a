"""Ambient occlusion from the switch to the file that Blender's glTF exporter writes, with the fake backend."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bpy
import pytest
from espalier.backend import protocol
from espalier.blender_addon.jobs.client import Backend
from espalier.blender_addon.jobs.queue import Job, JobQueue
from espalier.blender_addon.scene import export_images, mesh_import
from espalier.blender_addon.scene.material import GLTF_GROUP, GLTF_OCCLUSION


@pytest.fixture
def result(start: Callable[..., Backend], make_job: Callable[..., Job], until: Callable[..., None]) -> protocol.Result:
    queue = JobQueue(lambda: start("ok"))
    queue.submit(job := make_job("mug", ambient_occlusion=True))
    until(lambda: not queue.active, queue.step)
    assert job.result is not None
    return job.result


def create(result: protocol.Result, name: str = "mug") -> bpy.types.Object:
    collection = bpy.context.scene.collection
    return mesh_import.create_object(result, name=name, collection=collection, settings=result.settings)


def exported(made: bpy.types.Object, path: Path) -> tuple[dict[str, Any], bytes]:
    """The JSON and the binary part of what Blender writes of an object."""
    bpy.ops.object.select_all(action="DESELECT")
    made.select_set(True)
    bpy.ops.export_scene.gltf(filepath=str(path), use_selection=True)
    content = path.read_bytes()
    (length,) = struct.unpack_from("<I", content, 12)
    return json.loads(content[20 : 20 + length]), content[28 + length :]


@pytest.fixture
def rough(start: Callable[..., Backend], make_job: Callable[..., Job], until: Callable[..., None]) -> protocol.Result:
    queue = JobQueue(lambda: start("ok"))
    queue.submit(job := make_job("pot", roughness="estimated"))
    until(lambda: not queue.active, queue.step)
    assert job.result is not None
    return job.result


@pytest.mark.skipif(
    not bpy.app.binary_path and bpy.app.version < (5, 0),
    reason="after a glTF export pip's bpy 4.2 crashes at its own exit, and 4.5 may hang: in real Blenders and 5.0",
)
def test_blenders_exporter_finds_the_occlusion(result: protocol.Result, tmp_path: Path) -> None:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    made = create(result)
    image = bpy.data.images["mug occlusion"]
    assert image.colorspace_settings.name == "Non-Color"
    assert bytes(image.packed_file.data) == Path(result.occlusion).read_bytes()
    document, body = exported(made, tmp_path / "mug.glb")
    (material,) = document["materials"]
    texture = material["occlusionTexture"]
    assert texture.get("texCoord", 0) == 0
    assert texture.get("strength", 1) == 1
    view = document["bufferViews"][document["images"][document["textures"][texture["index"]]["source"]]["bufferView"]]
    start = view.get("byteOffset", 0)
    assert body[start : start + view["byteLength"]] == Path(result.occlusion).read_bytes()
    assert {"baseColorTexture"} <= material["pbrMetallicRoughness"].keys()
    assert "normalTexture" in material

    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.import_scene.gltf(filepath=str(tmp_path / "mug.glb"))
    (back,) = (item for item in bpy.data.objects if item.type == "MESH")
    group = next(node for node in back.active_material.node_tree.nodes if node.type == "GROUP")
    assert group.node_tree.name == GLTF_GROUP  # the importer's own name for it
    assert group.inputs[GLTF_OCCLUSION].is_linked


def test_it_has_no_part_in_renders(result: protocol.Result) -> None:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    nodes = create(result).active_material.node_tree.nodes
    group = next(node for node in nodes if node.type == "GROUP")
    assert not [link for output in group.outputs for link in output.links]
    assert nodes.active.image.name == "mug"


def test_the_material_has_an_estimated_roughness(rough: protocol.Result, result: protocol.Result) -> None:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    for made, links in ((create(rough, "pot"), {"Roughness": "Green", "Metallic": "Blue"}), (create(result), {})):
        material = made.active_material
        assert material is not None
        shader = next(node for node in material.node_tree.nodes if node.type == "BSDF_PRINCIPLED")
        for name in ("Roughness", "Metallic"):
            socket = shader.inputs[name]
            assert socket.is_linked == (name in links)
            if name in links:
                (link,) = socket.links
                assert link.from_socket.name == links[name]
                image = link.from_node.inputs["Color"].links[0].from_node.image
                assert image.colorspace_settings.name == "Non-Color"
                assert bytes(image.packed_file.data) == Path(rough.occlusion).read_bytes()
    pot = bpy.data.objects["pot"]
    assert pot["espalier_roughness"] == "estimated"
    assert set(export_images.pictures_of(pot.data)) == {"texture", "normal_map", "occlusion"}


def test_objects_share_the_node_group(result: protocol.Result) -> None:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    for name in ("mug", "jug"):
        create(result, name)
    assert [group.name for group in bpy.data.node_groups] == [GLTF_GROUP]
    bpy.data.node_groups[0].interface.clear()  # a person's own of that name, say
    create(result, "cup")
    (group,) = bpy.data.node_groups
    assert [socket.name for socket in group.interface.items_tree] == [GLTF_OCCLUSION]


def test_objects_remember_it(result: protocol.Result) -> None:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    assert create(result)["espalier_ambient_occlusion"] == 1


def test_a_file_that_is_no_image_makes_nothing(result: protocol.Result) -> None:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    Path(result.occlusion).write_bytes(b"GIF89a")
    with pytest.raises(ValueError, match="not a PNG"):
        create(result)
    assert not bpy.data.objects
    assert not bpy.data.images
