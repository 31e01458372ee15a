"""What a model makes of materials, as other programs and Blender show it: on a hand-made object."""

from __future__ import annotations

import io
import json
import struct
import subprocess
import zipfile
from pathlib import Path

import bpy
import numpy as np
import pytest
from espalier.blender_addon.scene.mesh_import import create_object
from espalier.blender_addon.scene.render_preview import render_preview
from PIL import Image

from backend import protocol
from backend.protocol import Settings
from tests.backend.mesh.test_mesh_export import VALIDATE, VALIDATOR, needs_validator
from tests.fakes.ornament import BLUE, COPPER, finished_ornament, ornament

SETTINGS = Settings(faces=1000, texture_size=128, formats=("obj",))


@pytest.fixture(scope="module", params=[False, True], ids=["closed", "open"])
def result(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> protocol.Result:
    return finished_ornament(ornament(request.param), tmp_path_factory.mktemp("ornament"), SETTINGS)


def test_a_result_says_what_its_textures_are(result: protocol.Result) -> None:
    assert result.materials
    assert result.see_through
    with Image.open(result.texture) as color, Image.open(result.occlusion) as packed:
        assert color.mode == "RGBA"
        values = np.asarray(color).reshape(-1, 4) / 255
        orm = np.asarray(packed).reshape(-1, 3) / 255
    copper = orm[:, 2] > 0.9
    assert 0.3 < copper.mean() < 0.7
    np.testing.assert_allclose(np.median(values[copper, :3], axis=0), COPPER, atol=0.02)
    np.testing.assert_allclose(np.median(values[orm[:, 2] < 0.1, :3], axis=0), BLUE, atol=0.02)
    assert sorted(np.unique(np.round(np.quantile(orm[:, 1], [0.01, 0.5]), 2))) == [0.05, 0.6]
    assert sorted(np.unique(np.round(np.quantile(values[:, 3], [0.01, 0.99]), 2))) == [0.25, 1.0]


@needs_validator
def test_the_khronos_validator_finds_nothing(result: protocol.Result) -> None:
    command = ["node", "-e", VALIDATE, result.glb]
    done = subprocess.run(command, cwd=VALIDATOR, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["messages"] == []


def test_the_glb_has_all_maps_and_both_sides_if_it_is_open(result: protocol.Result) -> None:
    data = Path(result.glb).read_bytes()
    (length,) = struct.unpack_from("<I", data, 12)
    (material,) = json.loads(data[20 : 20 + length])["materials"]
    assert material["alphaMode"] == "BLEND"
    assert {"baseColorTexture", "metallicRoughnessTexture"} <= material["pbrMetallicRoughness"].keys()
    is_closed = len(edges_once(result)) == 0
    assert material.get("doubleSided", False) is not is_closed


def edges_once(result: protocol.Result) -> np.ndarray:
    """The edges of an asset that belong to one face only."""
    with np.load(result.arrays) as arrays:
        faces = arrays["faces"]
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    unique, counts = np.unique(edges, axis=0, return_counts=True)
    return unique[counts == 1]


def test_an_obj_says_where_its_alpha_and_its_roughness_are(result: protocol.Result) -> None:
    words = (Path(result.glb).parent / "ornament.mtl").read_text("utf-8").splitlines()
    assert "map_d -imfchan m ornament.texture.png" in words
    assert "map_Pr -imfchan g ornament.occlusion.png" in words


def test_an_obj_has_the_metalness_as_an_image_of_its_own_which_blender_reads(result: protocol.Result) -> None:
    folder = Path(result.glb).parent
    words = (folder / "ornament.mtl").read_text("utf-8").splitlines()
    assert {"Pm 1", "map_Pm ornament.metallic.png"} <= set(words)
    with Image.open(folder / "ornament.metallic.png") as alone, Image.open(result.occlusion) as packed:
        np.testing.assert_array_equal(np.asarray(alone), np.asarray(packed)[..., 2])
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.wm.obj_import(filepath=str(folder / "ornament.obj"))
    (material,) = bpy.data.materials
    shader = next(node for node in material.node_tree.nodes if node.type == "BSDF_PRINCIPLED")
    (link,) = shader.inputs["Metallic"].links
    assert link.from_node.image.filepath.endswith("ornament.metallic.png")


def test_only_an_obj_gets_that_image(tmp_path: Path) -> None:
    finished_ornament(ornament(), tmp_path, Settings(faces=1000, texture_size=64, formats=("stl",)))
    assert not (tmp_path / "ornament.metallic.png").exists()


def test_what_is_printed_is_opaque(tmp_path: Path) -> None:
    finished_ornament(ornament(), tmp_path, Settings(faces=1000, texture_size=64, formats=("3mf",)))
    with zipfile.ZipFile(tmp_path / "ornament.3mf") as archive:
        (name,) = (each for each in archive.namelist() if each.endswith(".png"))
        assert Image.open(io.BytesIO(archive.read(name))).mode == "RGB"


def test_blender_renders_metal_gloss_and_what_is_behind(result: protocol.Result, tmp_path: Path) -> None:
    """With the texture's alpha the ground behind the cap is seen; without it, the cap."""
    pictures = []
    for connected in (True, False):
        bpy.ops.wm.read_factory_settings(use_empty=True)
        made = create_object(result, name="o", collection=bpy.context.scene.collection, settings={})  # type: ignore[arg-type]
        assert made.active_material is not None
        tree = made.active_material.node_tree
        shader = next(node for node in tree.nodes if node.type == "BSDF_PRINCIPLED")
        for name in () if connected else ("Alpha", "Metallic", "Roughness"):
            tree.links.remove(shader.inputs[name].links[0])
        render_preview(made, tmp_path / "o.png", 48)
        with Image.open(tmp_path / "o.png") as image:
            pictures.append(np.asarray(image.convert("RGB")).astype(int))
    full, plain = pictures
    differs = np.abs(full - plain).max(axis=2) > 12
    cap, belly = differs[6:14, 16:32], differs[22:40, 12:40]
    assert cap.mean() > 0.8
    assert belly.mean() > 0.3
