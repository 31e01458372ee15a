"""Files as other programs read them: the Khronos validator, trimesh and Blender."""

from __future__ import annotations

import io
import json
import os
import shutil
import struct
import subprocess
from dataclasses import replace
from pathlib import Path

import bpy
import DracoPy
import numpy as np
import pytest
import torch
import trimesh
from PIL import Image
from scipy.spatial import cKDTree
from trimesh.visual import ColorVisuals, TextureVisuals
from trimesh.visual.material import PBRMaterial, SimpleMaterial

from backend.mesh import Mesh
from backend.mesh.export import split_seams, write_gaussians, write_glb, write_obj, write_ply
from backend.mesh.extract.flexicubes import extract_mesh
from backend.mesh.finish import FinishedMesh, finish
from backend.mesh.lods import levels_of_detail
from backend.models.gaussians import Gaussians
from tests.backend.shells import chair, features_of

#: A folder with node_modules/gltf-validator: npm install gltf-validator
VALIDATOR = os.environ.get("GLTF_VALIDATOR", "")
VALIDATE = """
const validator = require('gltf-validator'), fs = require('fs');
validator.validateBytes(new Uint8Array(fs.readFileSync(process.argv[1])))
  .then(report => console.log(JSON.stringify(report.issues)));
"""
needs_validator = pytest.mark.skipif(
    not VALIDATOR or shutil.which("node") is None, reason="needs node and GLTF_VALIDATOR, a folder"
)


@pytest.fixture(scope="module")
def mesh() -> FinishedMesh:
    return finish(extract_mesh(*features_of(chair, 32), 32), faces=1000, texture_size=64, ambient_occlusion=True)


def png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def write(path: Path, mesh: FinishedMesh, draco: bool) -> Path:
    assert mesh.normal_map is not None
    assert mesh.occlusion is not None
    images = png(mesh.texture), png(mesh.normal_map), png(mesh.occlusion)
    write_glb(path, mesh, images[0], images[1], "chair", images[2], draco=draco)
    return path


@pytest.fixture(scope="module")
def fine() -> FinishedMesh:
    """One without edges of no length, whose ends Draco makes one."""
    return finish(extract_mesh(*features_of(chair, 32), 32), faces=3000, texture_size=64, ambient_occlusion=True)


@pytest.fixture
def glb(mesh: FinishedMesh, tmp_path: Path) -> Path:
    return write(tmp_path / "chair.glb", mesh, draco=False)


@needs_validator
@pytest.mark.parametrize("draco", [False, True])
@pytest.mark.parametrize("lods", [False, True])
def test_the_khronos_validator_finds_nothing(fine: FinishedMesh, tmp_path: Path, draco: bool, lods: bool) -> None:
    levels = levels_of_detail(fine.vertices, fine.faces, fine.uvs) if lods else []
    path = write(tmp_path / "chair.glb", replace(fine, lods=tuple(levels)), draco)
    command = ["node", "-e", VALIDATE, str(path)]
    done = subprocess.run(command, cwd=VALIDATOR, capture_output=True, text=True, check=True)
    issues = json.loads(done.stdout)
    # It does not know these extensions, nor what they use, says so, and looks at all the rest.
    known = {"UNSUPPORTED_EXTENSION", "UNUSED_OBJECT"} if draco or lods else set()
    assert [each for each in issues["messages"] if each["code"] not in known] == []
    assert not issues["truncated"]


def test_trimesh_reads_the_glb(mesh: FinishedMesh, glb: Path) -> None:
    (read,) = trimesh.load_scene(glb, process=False).geometry.values()
    assert isinstance(read, trimesh.Trimesh)
    visual = read.visual
    assert isinstance(visual, TextureVisuals)
    assert isinstance(visual.material, PBRMaterial)
    assert len(read.faces) == len(mesh.faces)
    back = np.asarray(read.vertices)[:, [0, 2, 1]] * [1, -1, 1]
    np.testing.assert_allclose(back[read.faces], mesh.vertices[mesh.faces], atol=1e-6)
    np.testing.assert_allclose(visual.uv[read.faces], mesh.uvs, atol=1e-6)
    assert mesh.normal_map is not None
    assert mesh.occlusion is not None
    pictures = (visual.material.baseColorTexture, visual.material.normalTexture)
    for picture, expected in zip(pictures, (mesh.texture, mesh.normal_map), strict=True):
        np.testing.assert_array_equal(np.asarray(picture.convert("RGB")), expected)
    np.testing.assert_array_equal(np.asarray(visual.material.occlusionTexture.getchannel(0)), mesh.occlusion)


def test_blender_reads_the_glb(mesh: FinishedMesh, glb: Path) -> None:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.import_scene.gltf(filepath=str(glb))
    (made,) = (item for item in bpy.data.objects if item.type == "MESH")
    assert len(made.data.polygons) == len(mesh.faces)
    bpy.context.view_layer.update()
    corners = np.array([list(corner) for corner in made.bound_box])
    np.testing.assert_allclose(corners.min(axis=0), mesh.vertices.min(axis=0), atol=1e-5)  # z is up again, in metres
    np.testing.assert_allclose(corners.max(axis=0), mesh.vertices.max(axis=0), atol=1e-5)
    bump = next(node for node in made.active_material.node_tree.nodes if node.type == "NORMAL_MAP")
    assert bump.space == "TANGENT"
    assert bump.inputs["Color"].links[0].from_node.image.colorspace_settings.name == "Non-Color"
    group = next(node for node in made.active_material.node_tree.nodes if node.type == "GROUP")
    channel = group.inputs["Occlusion"].links[0].from_socket
    assert channel.name == "Red"
    assert channel.node.inputs["Color"].links[0].from_node.image.colorspace_settings.name == "Non-Color"


def read_by_blender(path: Path) -> bpy.types.Object:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.import_scene.gltf(filepath=str(path))
    (made,) = (item for item in bpy.data.objects if item.type == "MESH")
    return made


def corners_of(made: bpy.types.Object) -> tuple[np.ndarray, np.ndarray]:
    """Places [F, 3, 3] and UVs [F, 3, 2] of the corners, the faces in the order of their places."""
    places = np.array([made.data.vertices[loop.vertex_index].co for loop in made.data.loops]).reshape(-1, 3, 3)
    uvs = np.array([one.uv for one in made.data.uv_layers[0].data]).reshape(-1, 3, 2)
    order = np.lexsort(np.round(places.mean(axis=1), 3).T)
    return places[order], uvs[order]


def test_blender_reads_the_glb_with_draco(fine: FinishedMesh, tmp_path: Path) -> None:
    """Its own decoder finds the same mesh, to within the rounding, and the same images."""
    large, small = write(tmp_path / "large.glb", fine, draco=False), write(tmp_path / "small.glb", fine, draco=True)
    assert small.read_bytes() == write(tmp_path / "again.glb", fine, draco=True).read_bytes()
    images = sum(len(png(image)) for image in (fine.texture, fine.normal_map, fine.occlusion) if image is not None)
    assert small.stat().st_size - images < 0.5 * (large.stat().st_size - images)
    places, uvs = corners_of(read_by_blender(large))
    made = read_by_blender(small)
    assert {"chair", "chair normal", "chair occlusion"} <= {image.name for image in bpy.data.images}
    found = corners_of(made)
    assert len(made.data.polygons) == len(fine.faces)
    np.testing.assert_allclose(np.sort(found[0].mean(axis=1), axis=0), np.sort(places.mean(axis=1), axis=0), atol=2e-4)
    np.testing.assert_allclose(np.sort(found[1].reshape(-1, 2), axis=0), np.sort(uvs.reshape(-1, 2), axis=0), atol=2e-4)


def test_the_tables_describe_what_draco_decodes_to(fine: FinishedMesh, tmp_path: Path) -> None:
    content = write(tmp_path / "small.glb", fine, draco=True).read_bytes()
    (length,) = struct.unpack_from("<I", content, 12)
    document, body = json.loads(content[20 : 20 + length]), content[28 + length :]
    (primitive,) = document["meshes"][0]["primitives"]
    extension = primitive["extensions"]["KHR_draco_mesh_compression"]
    assert document["extensionsRequired"] == document["extensionsUsed"] == ["KHR_draco_mesh_compression"]
    view = document["bufferViews"][extension["bufferView"]]
    decoded = DracoPy.decode(body[view["byteOffset"] : view["byteOffset"] + view["byteLength"]])
    stored = {each["unique_id"]: each["data"] for each in decoded.attributes}
    accessors = document["accessors"]
    assert accessors[primitive["indices"]]["count"] == decoded.faces.size
    split = split_seams(fine)
    expected = {
        "POSITION": split.vertices[:, [0, 2, 1]] * [1, 1, -1],
        "NORMAL": split.normals[:, [0, 2, 1]] * [1, 1, -1],
        "TEXCOORD_0": split.uvs * [1, -1] + [0, 1],
        "TANGENT": np.column_stack([split.tangents[:, [0, 2, 1]] * [1, 1, -1], split.signs]),
    }
    assert extension["attributes"].keys() == primitive["attributes"].keys() == expected.keys()
    # Draco orders vertices anew: each is found by its exact tangent and its nearly exact place.
    places = stored[extension["attributes"]["POSITION"]]
    tangents = stored[extension["attributes"]["TANGENT"]]
    keys = np.concatenate([expected["POSITION"], expected["TEXCOORD_0"], expected["TANGENT"]], axis=1)
    found = np.concatenate([places, stored[extension["attributes"]["TEXCOORD_0"]], tangents], axis=1)
    distance, nearest = cKDTree(keys).query(found)
    assert distance.max() < 2e-4
    assert len(set(nearest)) == len(keys)
    normals = stored[extension["attributes"]["NORMAL"]]
    np.testing.assert_allclose(normals, expected["NORMAL"][nearest], atol=5e-3)
    for word, number in primitive["attributes"].items():
        accessor = accessors[number]
        assert accessor["count"] == len(places), word
        assert "bufferView" not in accessor
    np.testing.assert_allclose(accessors[primitive["attributes"]["POSITION"]]["min"], places.min(axis=0), atol=1e-7)


def test_trimesh_reads_the_obj(mesh: FinishedMesh, tmp_path: Path) -> None:
    assert mesh.normal_map is not None
    (tmp_path / "texture.png").write_bytes(png(mesh.texture))
    (tmp_path / "normal_map.png").write_bytes(png(mesh.normal_map))
    write_obj(tmp_path / "chair.obj", mesh, "texture.png", "normal_map.png", "chair")
    read = trimesh.load_mesh(tmp_path / "chair.obj", process=False)
    back = np.asarray(read.vertices)[:, [0, 2, 1]] * [1, -1, 1]
    np.testing.assert_allclose(back[read.faces], mesh.vertices[mesh.faces], atol=1e-5)
    assert isinstance(read.visual, TextureVisuals)
    assert isinstance(read.visual.material, SimpleMaterial)
    np.testing.assert_allclose(read.visual.uv[read.faces], mesh.uvs, atol=1e-5)
    np.testing.assert_array_equal(np.asarray(read.visual.material.image.convert("RGB")), mesh.texture)


def test_trimesh_reads_the_ply(mesh: FinishedMesh, tmp_path: Path) -> None:
    colors = mesh.vertex_colors()
    write_ply(tmp_path / "chair.ply", Mesh(mesh.vertices, mesh.faces, colors))
    read = trimesh.load_mesh(tmp_path / "chair.ply", process=False)
    np.testing.assert_array_equal(read.vertices, mesh.vertices)
    np.testing.assert_array_equal(read.faces, mesh.faces)
    assert isinstance(read.visual, ColorVisuals)
    np.testing.assert_allclose(read.visual.vertex_colors[:, :3] / 255, colors, atol=0.51 / 255)
    write_ply(tmp_path / "grey.ply", Mesh(mesh.vertices, mesh.faces, None))
    assert len(trimesh.load_mesh(tmp_path / "grey.ply", process=False).faces) == len(mesh.faces)


def test_gaussians_are_written_as_renderers_read_them(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    xyz, dc, scaling, rotation, opacity = torch.randn(5, 14, generator=generator).split([3, 3, 3, 4, 1], dim=1)
    gaussians = Gaussians(
        xyz, dc[:, None], scaling, rotation, opacity, scaling_bias=0.004, opacity_bias=0.1, minimum_size=9e-4
    )
    write_gaussians(tmp_path / "object.ply", gaussians)
    content = (tmp_path / "object.ply").read_bytes()
    head, _, body = content.partition(b"end_header\n")
    names = [line.split()[-1].decode() for line in head.splitlines() if line.startswith(b"property float")]
    values = dict(zip(names, np.frombuffer(body, "<f4").reshape(5, -1).T, strict=True))
    columns = {
        "xyz": [values[name] for name in "xyz"],
        "scaling": [np.exp(values[f"scale_{axis}"]) for axis in range(3)],
        "rotation": [values[f"rot_{axis}"] for axis in range(4)],
        "opacity": [1 / (1 + np.exp(-values["opacity"]))],
    }
    for name, found in columns.items():
        np.testing.assert_allclose(np.stack(found, axis=1), getattr(gaussians, name).numpy(), rtol=1e-3, atol=1e-6)
    colors = np.stack([values[f"f_dc_{channel}"] for channel in range(3)], axis=1)
    np.testing.assert_allclose(colors, dc.numpy(), atol=1e-6)
