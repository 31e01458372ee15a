"""Levels of detail: how many faces, that they share places and UVs with the first, and that nothing breaks."""

from __future__ import annotations

import io
import json
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import bpy
import numpy as np
import pytest
import trimesh
from PIL import Image

from backend.mesh import Mesh
from backend.mesh.export import write_glb
from backend.mesh.finish import FinishedMesh, finish
from backend.mesh.lods import SHARES, Lod, levels_of_detail
from backend.mesh.sound.inspect import inspect
from backend.mesh.unwrap.unwrap import Unwrapped, unwrap

SEAMS = 200  # faces more than asked for: what seams hold, which such small meshes have many of
SHAPES = {
    "ball": trimesh.creation.icosphere(subdivisions=4, radius=0.5),
    "torus": trimesh.creation.torus(0.35, 0.13, major_sections=48, minor_sections=24),
    "box": trimesh.creation.box(extents=(0.9, 0.5, 0.3)).subdivide().subdivide().subdivide().subdivide(),
}


def unwrapped(name: str) -> Unwrapped:
    shape = SHAPES[name]
    return unwrap(shape.vertices.astype(np.float32), np.asarray(shape.faces), 256)


def corners_of(level: Lod | Unwrapped) -> set[tuple[float, ...]]:
    """Places with their UVs, as they are at the corners of faces."""
    return set(map(tuple, np.concatenate([level.vertices[level.faces], level.uvs], axis=2).reshape(-1, 5).tolist()))


@pytest.mark.parametrize("name", SHAPES)
def test_levels_share_places_and_uvs_with_the_first(name: str) -> None:
    mesh = unwrapped(name)
    levels = levels_of_detail(mesh.vertices, mesh.faces, mesh.uvs)
    assert len(levels) == len(SHARES)
    everything = corners_of(mesh)
    euler = SHAPES[name].euler_number
    for share, level in zip(SHARES, levels, strict=True):
        assert len(level.faces) <= 1.05 * share * len(mesh.faces) + SEAMS
        assert corners_of(level) <= everything
        certificate = inspect(level.vertices, level.faces, level.uvs)
        assert certificate.watertight
        assert certificate.problems() == ()
        assert trimesh.Trimesh(level.vertices, level.faces, process=False).euler_number == euler
        # No face is turned over on the texture, and the charts cover about what they did.
        a, b, c = level.uvs[:, 0], level.uvs[:, 1], level.uvs[:, 2]
        turned = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
        assert (turned > 0).all()
        a, b, c = mesh.uvs[:, 0], mesh.uvs[:, 1], mesh.uvs[:, 2]
        before = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
        assert turned.sum() == pytest.approx(before.sum(), rel=0.05)


def test_a_level_stays_near_the_surface() -> None:
    mesh = unwrapped("ball")
    for level, most in zip(levels_of_detail(mesh.vertices, mesh.faces, mesh.uvs), (0.006, 0.012, 0.025), strict=True):
        middles = level.vertices[level.faces].mean(axis=1)
        assert np.abs(np.linalg.norm(middles, axis=1) - 0.5).max() < most


def test_flat_faces_of_a_box_need_few_triangles() -> None:
    mesh = unwrapped("box")
    level = levels_of_detail(mesh.vertices, mesh.faces, mesh.uvs)[-1]
    corners = SHAPES["box"].bounds
    for place in np.array(np.meshgrid(*corners.T)).reshape(3, -1).T:
        assert np.linalg.norm(level.vertices - place, axis=1).min() < 1e-6
    assert trimesh.Trimesh(level.vertices, level.faces).volume == pytest.approx(0.9 * 0.5 * 0.3, rel=1e-4)


def test_the_same_mesh_gives_the_same_levels() -> None:
    mesh = unwrapped("torus")
    one, other = (levels_of_detail(mesh.vertices, mesh.faces, mesh.uvs) for _ in range(2))
    for a, b in zip(one, other, strict=True):
        assert all(x.tobytes() == y.tobytes() for x, y in zip(a, b, strict=True))


def test_it_can_be_cancelled() -> None:
    class Cancelled(Exception):
        pass

    def check() -> None:
        raise Cancelled

    mesh = unwrapped("torus")
    with pytest.raises(Cancelled):
        levels_of_detail(mesh.vertices, mesh.faces, mesh.uvs, check)


@pytest.fixture(scope="module")
def finished() -> FinishedMesh:
    shape = SHAPES["ball"]
    colors = np.asarray(shape.vertices + 0.5, np.float32)
    mesh = Mesh(np.asarray(shape.vertices, np.float32), np.asarray(shape.faces), colors)
    return finish(mesh, faces=2000, texture_size=64, lods=True)


def write(path: Path, mesh: FinishedMesh, draco: bool = False) -> dict[str, Any]:
    """Write a .glb, and return its JSON."""
    pictures = []
    assert mesh.normal_map is not None
    for image in (mesh.texture, mesh.normal_map):
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "PNG")
        pictures.append(buffer.getvalue())
    write_glb(path, mesh, pictures[0], pictures[1], "ball", draco=draco)
    content = path.read_bytes()
    document: dict[str, Any] = json.loads(content[20 : 20 + struct.unpack_from("<I", content, 12)[0]])
    return document


def test_finishing_makes_them_only_if_asked(finished: FinishedMesh) -> None:
    assert [len(lod.faces) for lod in finished.lods] == sorted((len(lod.faces) for lod in finished.lods), reverse=True)
    assert len(finished.lods) == len(SHARES)
    mesh = Mesh(finished.vertices, finished.faces, np.ones_like(finished.vertices))
    assert finish(mesh, faces=2000, texture_size=16).lods == ()


@pytest.mark.parametrize("draco", [False, True])
def test_a_glb_names_its_levels(finished: FinishedMesh, tmp_path: Path, draco: bool) -> None:
    document = write(tmp_path / "ball.glb", finished, draco)
    assert "MSFT_lod" in document["extensionsUsed"]
    assert "MSFT_lod" not in document.get("extensionsRequired", [])
    assert document["scenes"] == [{"nodes": [0]}]
    first, *others = document["nodes"]
    assert first["extensions"]["MSFT_lod"]["ids"] == [1, 2, 3]
    assert len(first["extras"]["MSFT_screencoverage"]) == 4
    assert [node["name"] for node in others] == ["ball_LOD1", "ball_LOD2", "ball_LOD3"]
    counts = [len(finished.faces), *(len(lod.faces) for lod in finished.lods)]
    for node, count in zip(document["nodes"], counts, strict=True):
        (primitive,) = document["meshes"][node["mesh"]]["primitives"]
        assert document["accessors"][primitive["indices"]]["count"] == 3 * count
        assert primitive["material"] == 0
        assert set(primitive["attributes"]) == {"POSITION", "NORMAL", "TEXCOORD_0", "TANGENT"}
    assert len(document["images"]) == 2
    assert "extensions" not in write(tmp_path / "plain.glb", replace(finished, lods=()))["nodes"][0]


def test_other_readers(finished: FinishedMesh, tmp_path: Path) -> None:
    """A reader that does not know the extension sees the first level; Blender's importer makes an object of each."""
    write(tmp_path / "ball.glb", finished)
    (read,) = trimesh.load_scene(tmp_path / "ball.glb", process=False).dump()
    assert isinstance(read, trimesh.Trimesh)
    assert len(read.faces) == len(finished.faces)
    bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)
    bpy.ops.import_scene.gltf(filepath=str(tmp_path / "ball.glb"))
    sizes = {made.name: len(made.data.polygons) for made in bpy.context.scene.objects}
    expected = [finished.faces, *(lod.faces for lod in finished.lods)]
    assert sizes == {
        name: len(faces) for name, faces in zip(("ball", "ball_LOD1", "ball_LOD2", "ball_LOD3"), expected, strict=True)
    }
