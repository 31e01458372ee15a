"""Files as other programs read them: the Khronos validator, trimesh and Blender."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
from pathlib import Path

import bpy
import numpy as np
import pytest
import torch
import trimesh
from PIL import Image
from trimesh.visual import ColorVisuals, TextureVisuals
from trimesh.visual.material import PBRMaterial, SimpleMaterial

from backend.mesh import Mesh
from backend.mesh.export import write_gaussians, write_glb, write_obj, write_ply
from backend.mesh.extract.flexicubes import extract_mesh
from backend.mesh.finish import FinishedMesh, finish
from backend.models.gaussians import Gaussians
from tests.backend.shells import chair, features_of

#: A folder with node_modules/gltf-validator: npm install gltf-validator
VALIDATOR = os.environ.get("GLTF_VALIDATOR", "")
VALIDATE = """
const validator = require('gltf-validator'), fs = require('fs');
validator.validateBytes(new Uint8Array(fs.readFileSync(process.argv[1])))
  .then(report => console.log(JSON.stringify(report.issues)));
"""


@pytest.fixture(scope="module")
def mesh() -> FinishedMesh:
    return finish(extract_mesh(*features_of(chair, 32), 32), faces=1000, texture_size=64, ambient_occlusion=True)


def png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def glb(mesh: FinishedMesh, tmp_path: Path) -> Path:
    assert mesh.normal_map is not None
    assert mesh.occlusion is not None
    write_glb(tmp_path / "chair.glb", mesh, png(mesh.texture), png(mesh.normal_map), "chair", png(mesh.occlusion))
    return tmp_path / "chair.glb"


@pytest.mark.skipif(not VALIDATOR or shutil.which("node") is None, reason="needs node and GLTF_VALIDATOR, a folder")
def test_the_khronos_validator_finds_nothing(glb: Path) -> None:
    command = ["node", "-e", VALIDATE, str(glb)]
    done = subprocess.run(command, cwd=VALIDATOR, capture_output=True, text=True, check=True)
    issues = json.loads(done.stdout)
    assert issues["messages"] == []
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
