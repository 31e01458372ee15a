"""Levels of detail and convex hulls in an asset's files, as other programs and the add-on read them."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import bpy
import numpy as np
import pytest
import torch
import trimesh
from espalier.backend import protocol
from espalier.blender_addon.scene.made import HULL, LEVEL, besides
from espalier.blender_addon.scene.mesh_import import create_object

from backend.generated import Generated
from backend.mesh import Mesh, RawMesh
from backend.mesh.finish import finish
from backend.protocol import Settings
from backend.serving.outputs import Place, write_asset

SETTINGS = Settings(formats=("obj", "ply"), lods=True, collision=True)
NAMES = {f"x_LOD{number}{ending}" for number in (1, 2, 3) for ending in (".obj", ".ply")}


@pytest.fixture(scope="module")
def generated() -> Generated:
    torus = trimesh.creation.torus(0.4, 0.12, major_sections=48, minor_sections=24)
    vertices = torus.vertices.astype(np.float32)
    mesh = Mesh(vertices, torus.faces.astype(np.int64), np.ones_like(vertices))
    none = torch.zeros(0, 3)
    raw = RawMesh(none, none.long(), None, None, 8, none.long(), none.long())
    made = finish(mesh, faces=1500, texture_size=64, lods=True, collision=True)
    return Generated(raw=raw, mesh=made, gaussians=None, counts=made.counts, timings={})


def write(folder: Path, generated: Generated, settings: Settings = SETTINGS) -> dict[str, Path]:
    folder.mkdir(exist_ok=True)
    return write_asset(Place(folder, "x", ""), generated, settings, durable=False)


def document(path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    found: dict[str, Any] = json.loads(content[20 : 20 + struct.unpack_from("<I", content, 12)[0]])
    return found


def test_each_level_and_the_hulls_are_files(generated: Generated, tmp_path: Path) -> None:
    files = write(tmp_path / "a", generated)
    assert NAMES | {"x.hulls.glb", "x.hulls.obj"} < {path.name for path in files.values()}
    assert {path.name for path in (tmp_path / "a").iterdir()} == {path.name for path in files.values()}
    again = write(tmp_path / "b", generated)
    assert all(path.read_bytes() == again[kind].read_bytes() for kind, path in files.items() if kind != "arrays")
    bounds = trimesh.load_mesh(files["obj"]).bounds
    for number, lod in enumerate(generated.mesh.lods, 1):
        level = trimesh.load_mesh(files[f"obj_lod{number}"], process=False)
        assert len(level.faces) == len(lod.faces)
        np.testing.assert_allclose(level.bounds, bounds, atol=0.05)
        assert "usemtl x\n" in files[f"obj_lod{number}"].read_text("utf-8")
        assert len(trimesh.load_mesh(files[f"ply_lod{number}"], process=False).faces) == len(lod.faces)


def test_readers_find_each_hull_where_the_mesh_is(generated: Generated, tmp_path: Path) -> None:
    files = write(tmp_path / "a", generated)
    names = {f"UCX_x_{number:02}" for number in range(1, len(generated.mesh.hulls) + 1)}
    whole = trimesh.load_mesh(files["obj"]).bounds
    scene = trimesh.load_scene(files["glb_hulls"], process=False)
    assert set(scene.geometry) == names
    for hull in scene.geometry.values():
        assert hull.is_watertight
        assert hull.volume > 0
        assert hull.convex_hull.volume == pytest.approx(hull.volume, rel=1e-3)
    np.testing.assert_allclose(scene.bounds, whole, atol=0.03)
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.wm.obj_import(filepath=str(files["obj_hulls"]))
    sizes = {each.name: len(each.data.polygons) for each in bpy.data.objects}
    assert sizes == {name: len(hull.faces) for name, hull in scene.geometry.items()}


def test_the_glb_has_the_hulls_only_if_asked_for(generated: Generated, tmp_path: Path) -> None:
    plain = document(write(tmp_path / "a", generated)["glb"])
    assert [node["name"] for node in plain["nodes"]] == ["x", "x_LOD1", "x_LOD2", "x_LOD3"]
    files = write(tmp_path / "b", generated, replace(SETTINGS, collision_nodes=True))
    found = document(files["glb"])
    count = len(generated.mesh.hulls)
    hulls = [f"x_{number:02}-convcolonly" for number in range(1, count + 1)]
    assert [node["name"] for node in found["nodes"]] == ["x", "x_LOD1", "x_LOD2", "x_LOD3", *hulls]
    assert found["scenes"] == [{"nodes": [0, *range(4, 4 + count)]}]
    assert found["nodes"][0]["extensions"]["MSFT_lod"]["ids"] == [1, 2, 3]
    scene = trimesh.load_scene(files["glb"], process=False)
    assert set(scene.graph.nodes_geometry) == {"x", *hulls}


def test_nothing_of_them_is_written_if_there_are_none(generated: Generated, tmp_path: Path) -> None:
    none = replace(generated, mesh=replace(generated.mesh, lods=(), collision=None))
    names = {path.name for path in write(tmp_path / "a", none).values()}
    assert not any("hulls" in name or "LOD" in name for name in names)


def test_the_add_on_makes_objects_of_them(generated: Generated, tmp_path: Path) -> None:
    files = write(tmp_path / "a", generated)
    bpy.ops.wm.read_factory_settings(use_empty=True)
    result = protocol.Result("x", str(files["arrays"]), str(files["texture"]), str(files["glb"]))
    made = create_object(result, name="x", collection=bpy.context.scene.collection, settings={})
    assert [len(level.data.polygons) for level in besides(made, LEVEL).values()] == [
        len(lod.faces) for lod in generated.mesh.lods
    ]
    assert len(besides(made, HULL)) == len(generated.mesh.hulls)
    mine = np.array([vertex.co for hull in besides(made, HULL).values() for vertex in hull.data.vertices])
    theirs = trimesh.load_scene(files["glb_hulls"], process=False).bounds  # y up
    np.testing.assert_allclose(mine.min(axis=0), [theirs[0, 0], -theirs[1, 2], theirs[0, 1]], atol=1e-5)
