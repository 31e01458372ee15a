"""All files of an asset agree, as Blender opens them: size, origin, orientation, material and names."""

from __future__ import annotations

import json
import os
import struct
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import bpy
import numpy as np
import pytest
import torch
import trimesh
from espalier.blender_addon.scene.mesh_import import create_object
from PIL import Image

from backend import protocol
from backend.asset_facts import ROUGHNESS
from backend.formats import METALNESS
from backend.generated import Generated
from backend.mesh.extract.flexicubes import extract_mesh
from backend.mesh.finish import finish
from backend.models.gaussians import Gaussians
from backend.protocol import Settings
from backend.serving.outputs import ENDINGS, TILE_ENDINGS, Place, check_print, write_asset, write_notes
from tests.backend.shells import chair, features_of

#: The others are in test_besides.py and test_tiles.py.
SELDOM = {*TILE_ENDINGS, *METALNESS}  # of settings and models that are not here
KINDS = tuple(kind for kind in ENDINGS if "_lod" not in kind and "_hulls" not in kind and kind not in SELDOM)


@pytest.fixture(scope="module")
def generated() -> Generated:
    raw = extract_mesh(*features_of(chair, 32), 32)
    mesh = finish(raw, faces=800, texture_size=64, ambient_occlusion=True)
    centres = raw.vertices[:50]
    gaussians = Gaussians(
        raw_xyz=centres + 0.5,
        raw_features_dc=torch.zeros(50, 1, 3),
        raw_scaling=torch.zeros(50, 3),
        raw_rotation=torch.zeros(50, 4),
        raw_opacity=torch.zeros(50, 1),
        scaling_bias=0.004,
        opacity_bias=0.1,
        minimum_size=9e-4,
    )
    return Generated(raw=raw, mesh=mesh, gaussians=gaussians, counts={"faces": 800}, timings={})


SETTINGS = Settings(
    formats=("obj", "ply", "gaussians", "stl", "3mf"), keep_raw=True, ambient_occlusion=True, print_size=80.0
)


def write(place: Place, generated: Generated, settings: Settings = SETTINGS, **more: Any) -> dict[str, Path]:
    printed = check_print(generated, settings, lambda: None)
    return write_asset(place, generated, settings, printed=printed, **({"durable": False} | more))


@pytest.fixture
def images(tmp_path: Path) -> Callable[..., list[str]]:
    """``images("a/mug", 3)`` is an image of that name and colour."""

    def make(name: str, shade: int) -> list[str]:
        path = tmp_path / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (4, 4), (shade, 9, 9)).save(path)
        return [str(path)]

    return make


def bounds(objects: list[bpy.types.Object]) -> np.ndarray:
    bpy.context.view_layer.update()
    points = [target.matrix_world @ vertex.co for target in objects for vertex in target.data.vertices]
    return np.array([np.min(points, axis=0), np.max(points, axis=0)])


def shader(target: bpy.types.Object) -> bpy.types.ShaderNode:
    nodes = target.active_material.node_tree.nodes
    return next(node for node in nodes if node.type == "BSDF_PRINCIPLED")


def described(target: bpy.types.Object) -> dict[str, object]:
    material, node = target.active_material, shader(target)
    return {
        "name": target.name,
        "material": material.name,
        "roughness": round(node.inputs["Roughness"].default_value, 3),
        "metallic": round(node.inputs["Metallic"].default_value, 3),
    }


def opened(read: Callable[[], object]) -> bpy.types.Object:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    read()
    (target,) = (one for one in bpy.data.objects if one.type == "MESH")
    return target


@pytest.mark.parametrize("occluded", [True, False])
def test_an_estimated_roughness_is_in_all_files(
    generated: Generated, images: Callable[..., list[str]], tmp_path: Path, occluded: bool
) -> None:
    roughness = np.arange(64 * 64, dtype=np.uint8).reshape(64, 64)
    mesh = replace(generated.mesh, roughness=roughness, occlusion=generated.mesh.occlusion if occluded else None)
    settings = Settings(formats=("obj",), ambient_occlusion=occluded, roughness="estimated")
    files = write(Place.find(tmp_path, "pot", images("a", 1)), replace(generated, mesh=mesh), settings)
    with Image.open(files["occlusion"]) as image:
        orm = np.asarray(image)
    np.testing.assert_array_equal(orm[..., 0], mesh.occlusion if mesh.occlusion is not None else 255)
    np.testing.assert_array_equal(orm[..., 1], roughness)
    assert not orm[..., 2].any()
    content = files["glb"].read_bytes()
    document = json.loads(content[20 : 20 + struct.unpack_from("<I", content, 12)[0]])
    (material,) = document["materials"]
    shading = material["pbrMetallicRoughness"]
    assert (shading["metallicFactor"], shading["roughnessFactor"]) == (1.0, 1.0)
    assert ("occlusionTexture" in material) == occluded
    assert not occluded or material["occlusionTexture"] == shading["metallicRoughnessTexture"]
    view = document["bufferViews"][document["images"][shading["metallicRoughnessTexture"]["index"]]["bufferView"]]
    start = 28 + struct.unpack_from("<I", content, 12)[0] + view.get("byteOffset", 0)
    assert content[start : start + view["byteLength"]] == files["occlusion"].read_bytes()
    lines = files["mtl"].read_text("utf-8").splitlines()
    assert {"map_Pr -imfchan g pot.occlusion.png", "Pm 0"} <= set(lines)
    target = opened(lambda: bpy.ops.wm.obj_import(filepath=str(files["obj"])))
    (link,) = shader(target).inputs["Roughness"].links
    assert link.from_node.image.filepath.endswith("pot.occlusion.png")
    assert not shader(target).inputs["Metallic"].is_linked

    # Blender's reader links the roughness and the metalness to the channels that they are in.
    target = opened(lambda: bpy.ops.import_scene.gltf(filepath=str(files["glb"])))
    for name, channel in (("Roughness", "Green"), ("Metallic", "Blue")):
        (link,) = shader(target).inputs[name].links
        assert link.from_socket.name == channel


def test_all_files_agree(generated: Generated, images: Callable[..., list[str]], tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    files = write(Place.find(out, "Stuhl grün", images("a", 1)), generated, durable=True)
    assert set(files) == set(KINDS)
    with Image.open(files["occlusion"]) as image:
        orm = np.asarray(image)
    assert generated.mesh.occlusion is not None
    np.testing.assert_array_equal(orm[..., 0], generated.mesh.occlusion)
    assert {tuple(pixel) for pixel in orm[..., 1:].reshape(-1, 2)} == {(round(255 * ROUGHNESS), 0)}  # not metal
    assert {path.name for path in out.iterdir()} == {f"Stuhl grün{ENDINGS[kind]}" for kind in KINDS}
    result: Any = protocol.Result(
        "j",
        str(files["arrays"]),
        str(files["texture"]),
        str(files["glb"]),
        normal_map=str(files["normal_map"]),
        occlusion=str(files["occlusion"]),
    )
    blend = opened(
        lambda: create_object(
            result, name="Stuhl grün", collection=bpy.context.scene.collection, settings={"images": []}
        )
    )
    where, what = bounds([blend]), described(blend)
    names = {image.name for image in bpy.data.images if image.source == "FILE"}
    assert names == {"Stuhl grün", "Stuhl grün normal", "Stuhl grün occlusion"}
    np.testing.assert_allclose((where[1] - where[0]).max(), 1.0, atol=1e-5)
    np.testing.assert_allclose(where[0][2], 0.0, atol=1e-5)
    np.testing.assert_allclose(where.mean(axis=0)[:2], 0.0, atol=1e-5)
    assert what["roughness"] == ROUGHNESS
    usd = tmp_path / "chair.usda"
    bpy.ops.wm.usd_export(filepath=str(usd), export_textures=False)

    glb = opened(lambda: bpy.ops.import_scene.gltf(filepath=str(files["glb"])))
    np.testing.assert_allclose(bounds([glb]), where, atol=1e-5)
    assert described(glb) == what
    assert names <= {image.name for image in bpy.data.images}

    obj = opened(lambda: bpy.ops.wm.obj_import(filepath=str(files["obj"])))
    np.testing.assert_allclose(bounds([obj]), where, atol=1e-4)
    assert described(obj) == what
    (texture,) = (image for image in bpy.data.images if image.source == "FILE" and "texture" in image.name)
    assert Path(bpy.path.abspath(texture.filepath)) == files["texture"]

    ply = opened(lambda: bpy.ops.wm.ply_import(filepath=str(files["ply"])))
    np.testing.assert_allclose(bounds([ply]), where, atol=1e-5)
    raw = opened(lambda: bpy.ops.wm.ply_import(filepath=str(files["raw"])))
    np.testing.assert_allclose(bounds([raw]), where, atol=0.1)
    assert bounds([raw])[0][2] > -0.05

    back = opened(lambda: bpy.ops.wm.usd_import(filepath=str(usd)))
    np.testing.assert_allclose(bounds([back]), where, atol=1e-4)

    stl = opened(lambda: bpy.ops.wm.stl_import(filepath=str(files["stl"])))
    np.testing.assert_allclose(bounds([stl]), 80 * where, atol=1e-3)  # millimetres
    print_ = trimesh.load_mesh(files["3mf"])
    assert print_.units == "millimeter"
    np.testing.assert_allclose(print_.extents, 80 * (where[1] - where[0]), atol=1e-3)
    assert np.isclose(print_.volume, trimesh.load_mesh(files["stl"]).volume, rtol=1e-5)


def test_all_formats_are_written_the_same_again(
    generated: Generated, images: Callable[..., list[str]], tmp_path: Path
) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        write(Place.find(tmp_path / folder, "item", images("a", 1)), generated, replace(SETTINGS, draco=True))
    one, two = ({p.name: p.read_bytes() for p in (tmp_path / name).iterdir()} for name in ("one", "two"))
    changing = {"item.npz"}  # np.savez writes the time
    assert {name: data for name, data in one.items() if name not in changing} == {
        name: data for name, data in two.items() if name not in changing
    }
    assert b"KHR_draco_mesh_compression" in one["item.glb"]


def test_what_a_printer_should_know_is_found(generated: Generated) -> None:
    assert check_print(generated, Settings(), lambda: None) is None
    large = check_print(generated, SETTINGS, lambda: None)
    small = check_print(generated, replace(SETTINGS, print_size=5.0), lambda: None)
    assert large is not None
    assert small is not None
    assert (large.size, small.size) == pytest.approx((80, 5))
    assert large.note == ""
    assert "Printed 5 mm large" in small.note


def test_gaussians_stand_where_the_mesh_does(
    generated: Generated, images: Callable[..., list[str]], tmp_path: Path
) -> None:
    files = write(Place.find(tmp_path, "a", images("b", 1)), generated)
    head, _, body = files["gaussians"].read_bytes().partition(b"end_header\n")
    columns = [line.split()[-1].decode() for line in head.splitlines() if line.startswith(b"property float")]
    values = dict(zip(columns, np.frombuffer(body, "<f4").reshape(50, -1).T, strict=True))
    vertices = generated.mesh.vertices
    size = float((vertices.max(axis=0) - vertices.min(axis=0)).max())
    gaussians = generated.gaussians
    assert gaussians is not None
    np.testing.assert_allclose(values["z"], (gaussians.xyz[:, 2].numpy() - vertices[:, 2].min()) / size, atol=1e-5)
    np.testing.assert_allclose(np.exp(values["scale_0"]), gaussians.scaling[:, 0].numpy() / size, rtol=1e-4)


def test_several_assets_share_a_folder(generated: Generated, images: Callable[..., list[str]], tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()

    def made(wanted: str, pictures: list[str]) -> str:
        place = Place.find(out, wanted, pictures)
        write(place, generated)
        write_notes(place, {"images": pictures, "model": str(tmp_path / "model")}, {}, ())
        return place.name

    first, second, third = images("a/item", 1), images("b/item", 2), images("c/ITEM", 3)
    assert [made("item", first), made("item", second), made("ITEM", third)] == ["item", "item-2", "ITEM-3"]
    assert [made("item", first), made("item", second), made("ITEM", third)] == ["item", "item-2", "ITEM-3"]
    assert (out / "item.mtl").read_text().count("item.texture.png") == 1
    assert (out / "item-2.obj").read_text().startswith("mtllib item-2.mtl\no item-2\n")
    (out / "lamp.glb").write_text("somebody else's")
    assert made("lamp", first) == "lamp-2"
    (out / "bowl.3mf").write_text("somebody else's")
    assert made("bowl", first) == "bowl-2"
    for strange in ("[" * 100_000, "[]", "{", '{"pictures": []}'):
        (out / "item.json").write_text(strange)
        assert Place.find(out, "item", first).name == "item-4"
    settings = json.loads((out / "item-2.json").read_text())["settings"]
    assert settings == {"images": [f"../{Path(second[0]).relative_to(tmp_path).as_posix()}"], "model": "../model"}


def test_nothing_is_changed_if_one_file_cannot_be_written(
    generated: Generated,
    images: Callable[..., list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from backend.serving import outputs

    place = Place.find(tmp_path, "item", images("a", 1))
    write(place, generated)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}

    def full(*arguments: object, **more: object) -> None:
        raise OSError(28, "No space left on device")

    for name in ("write_gaussians", "mtl_text", "write_glb", "write_3mf"):
        with monkeypatch.context() as patch:
            patch.setattr(outputs, name, full)
            with pytest.raises(OSError, match="No space"):
                write(place, generated, Settings(formats=SETTINGS.formats, seed=5))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


@pytest.mark.skipif(sys.platform == "win32", reason="pipes and devices of POSIX")
def test_a_picture_that_has_no_end_is_not_read(tmp_path: Path) -> None:
    """A pipe would be waited for, and a device read, for ever, before the picture is refused."""
    os.mkfifo(tmp_path / "pipe.png")
    places = [
        Place.find(tmp_path, "a", [name]).pictures for name in (str(tmp_path / "pipe.png"), "/dev/zero", "/dev/full")
    ]
    assert len(set(places)) == 3
