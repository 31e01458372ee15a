from __future__ import annotations

import json
import struct
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from backend.mesh import MeshError, RawMesh
from backend.mesh.bake.texels import rasterize
from backend.mesh.clean.cleanup import keep_outer_faces, reachable_corners
from backend.mesh.clean.simplify import simplify
from backend.mesh.export import write_glb
from backend.mesh.extract.corners import SDF
from backend.mesh.extract.flexicubes import extract_mesh
from backend.mesh.finish import FinishedMesh, finish
from backend.mesh.unwrap.unwrap import unwrap
from tests.backend.shells import chair, color_at, features_of, grid, raw_of, sphere

RES = 32


@pytest.fixture(scope="module")
def raw_chair() -> RawMesh:
    return extract_mesh(*features_of(chair, RES), RES)


@pytest.fixture(scope="module")
def finished_chair(raw_chair: RawMesh) -> FinishedMesh:
    return finish(raw_chair, faces=2000, texture_size=256)


def test_the_inner_wall_of_a_shell_is_dropped() -> None:
    res = 64
    raw = extract_mesh(*features_of(sphere, res), res).numpy()
    outer = keep_outer_faces(raw)
    radius = np.linalg.norm(outer.vertices, axis=1)
    assert np.linalg.norm(raw.vertices, axis=1).min() < 0.33  # there was one
    assert radius.min() > 0.345
    assert radius.max() < 0.355
    assert signed_volume(outer.vertices, outer.faces) == pytest.approx(4 / 3 * np.pi * 0.35**3, rel=0.01)
    assert uses_of_edges(outer.faces).tolist() == [2] * (len(outer.faces) * 3 // 2)


def test_the_flood_gives_the_filled_object() -> None:
    res = 64
    raw = extract_mesh(*features_of(sphere, res), res).numpy()
    filled = ~reachable_corners(raw.inside_corners, res).at(np.arange((res + 1) ** 3))
    truth = (sphere(grid(res + 1) / res - 0.5) < 0).numpy()
    assert (filled & truth).sum() / (filled | truth).sum() > 0.99
    assert len(raw.inside_corners) / truth.sum() < 0.6  # the shell alone


def test_walls_that_touch_at_corners_are_cut_apart() -> None:
    """A cavity that only a diagonal joins to the outside: its walls are one component with the outer ones."""
    inside = torch.zeros(9, 9, 9, dtype=torch.bool)
    inside[2:7, 2:7, 2:7] = True
    inside[3:6, 3:6, 3:6] = False
    inside[2, 2, 4] = False  # the corner of the cavity at (3, 3, 4) now meets the outside across a face's diagonal
    surface = raw_of(inside).numpy()
    kept = keep_outer_faces(surface)
    assert 0 < len(kept.faces) < len(surface.faces)
    assert np.abs(kept.vertices).max(axis=1).min() > 1.25 / 8  # nothing of the cavity's far walls


def test_a_surface_that_is_open_at_the_border_stays() -> None:
    inside = torch.zeros(9, 9, 9, dtype=torch.bool)
    inside[:, :, :5] = True  # a half space: no closed component anywhere
    surface = raw_of(inside).numpy()
    assert len(keep_outer_faces(surface).faces) == len(surface.faces) == 2 * 7 * 7


def test_dust_is_dropped() -> None:
    inside = torch.zeros(41, 41, 41, dtype=torch.bool)
    inside[4:36, 4:36, 4:30] = True
    inside[20, 20, 36] = True
    assert keep_outer_faces(raw_of(inside).numpy()).vertices[:, 2].max() < 31 / 40 - 0.5


def test_the_texture_has_the_colours_of_the_surface(finished_chair: FinishedMesh) -> None:
    """At face corners too, where filtering reaches over the borders of the charts: no seams."""
    assert finished_chair.texture.shape == (256, 256, 3)
    assert 0 <= finished_chair.uvs.min() <= finished_chair.uvs.max() <= 1
    assert len(finished_chair.faces) <= 2000
    mesh = finished_chair
    for weights in ((1 / 3, 1 / 3, 1 / 3), (1, 0, 0), (0, 1, 0), (0, 0.5, 0.5)):
        uv = np.einsum("k,fkc->fc", weights, mesh.uvs)
        points = np.einsum("k,fkc->fc", weights, mesh.vertices[mesh.faces])
        error = np.abs(sample(mesh.texture, uv) / 255 - color_at(torch.from_numpy(points)).numpy())
        assert error.mean() < 0.02
        assert np.quantile(error, 0.99) < 0.1


def test_what_the_finished_mesh_counts(raw_chair: RawMesh, finished_chair: FinishedMesh) -> None:
    assert finished_chair.counts["raw_faces"] == len(raw_chair.faces)
    assert finished_chair.counts["faces"] == len(finished_chair.faces)
    assert finished_chair.counts["vertices"] == len(finished_chair.vertices)
    assert 6 <= finished_chair.counts["charts"] <= 200
    assert signed_volume(finished_chair.vertices, finished_chair.faces) == pytest.approx(0.046, abs=0.01)


def test_a_target_above_the_face_count_keeps_every_face(raw_chair: RawMesh) -> None:
    outer = keep_outer_faces(raw_chair.numpy())
    mesh = finish(raw_chair, faces=10**6, texture_size=128)
    np.testing.assert_array_equal(mesh.vertices, outer.vertices)
    np.testing.assert_array_equal(mesh.faces, outer.faces)


def test_the_same_input_gives_the_same_bytes(raw_chair: RawMesh, finished_chair: FinishedMesh, tmp_path: Path) -> None:
    again = finish(raw_chair, faces=2000, texture_size=256)
    for field in ("vertices", "faces", "uvs", "texture", "normal_map"):
        assert getattr(again, field).tobytes() == getattr(finished_chair, field).tobytes()
    for name, mesh in (("a", finished_chair), ("b", again)):
        write_glb(tmp_path / name, mesh, b"png", b"normals", "chair")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_check_ends_the_work(raw_chair: RawMesh) -> None:
    calls: list[None] = []

    def check() -> None:
        calls.append(None)
        if len(calls) == 3:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        finish(raw_chair, faces=2000, texture_size=64, check=check)


def test_no_colours_give_a_plain_texture(raw_chair: RawMesh) -> None:
    mesh = finish(replace(raw_chair, colors=None, attrs=None), faces=500, texture_size=32)
    assert np.unique(mesh.texture).tolist() == [204]


def test_an_empty_mesh_is_named() -> None:
    coords, features = features_of(sphere, RES)
    features[:, SDF] = 1.0
    with pytest.raises(MeshError) as error:
        finish(extract_mesh(coords, features, RES), faces=100, texture_size=64)
    assert error.value.code == "empty_mesh"


def test_a_surface_without_area_is_empty() -> None:
    triangle = one_triangle()
    with pytest.raises(MeshError) as error:
        keep_outer_faces(replace(triangle.numpy(), vertices=np.zeros((3, 3), np.float32)))
    assert error.value.code == "empty_mesh"


def test_one_triangle() -> None:
    mesh = finish(one_triangle(), faces=100, texture_size=64)
    assert mesh.counts["charts"] == 1
    centre = sample(mesh.texture, mesh.uvs.mean(axis=1))
    assert centre[0] == pytest.approx([85, 85, 85], abs=3)  # a third of each corner's colour


def test_simplify_in_two_threads_gives_each_its_own_mesh(raw_chair: RawMesh) -> None:
    """As while the backend warms up: a job's mesh came out as the ball that is finished meanwhile."""
    meshes = [keep_outer_faces(raw.numpy()) for raw in (raw_chair, extract_mesh(*features_of(sphere, RES), RES))]
    targets = (600, 100)

    def counts(which: int) -> set[tuple[int, int]]:
        made = (simplify(meshes[which].vertices, meshes[which].faces, targets[which]) for _ in range(20))
        return {(len(vertices), len(faces)) for vertices, faces in made}

    alone = [counts(0), counts(1)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(2) as threads:
            assert list(threads.map(counts, (0, 1))) == alone
    finally:
        sys.setswitchinterval(interval)


def test_simplify_keeps_the_shape() -> None:
    outer = keep_outer_faces(extract_mesh(*features_of(sphere, RES), RES).numpy())
    vertices, faces = simplify(outer.vertices, outer.faces, 600)
    assert 500 <= len(faces) <= 600
    assert np.linalg.norm(vertices, axis=1) == pytest.approx(np.full(len(vertices), 0.35), abs=0.01)


def test_texels_are_the_ones_with_their_centre_in_the_face() -> None:
    rng = np.random.default_rng(0)
    uvs = rng.random((20, 3, 2)).astype(np.float32)
    size = 24
    column, row = np.meshgrid(np.arange(size), np.arange(size))
    centres = np.stack([(column + 0.5) / size, 1 - (row + 0.5) / size], axis=-1).reshape(-1, 2)
    for uv in uvs:
        texels = rasterize(uv[None], size)
        found = set(zip(texels.row.tolist(), texels.column.tolist(), strict=True))
        system = np.vstack([uv.T, np.ones(3)]).astype(np.float64)
        weights = np.linalg.solve(system, np.vstack([centres.T, np.ones(len(centres))])).T
        expected = {divmod(int(i), size) for i in np.flatnonzero((weights >= 0).all(axis=1))}
        assert found == expected
        order = texels.row * size + texels.column
        np.testing.assert_allclose(texels.weights, weights[order], atol=1e-4)


def test_charts_do_not_overlap(raw_chair: RawMesh) -> None:
    outer = keep_outer_faces(raw_chair.numpy())
    texels = rasterize(unwrap(outer.vertices, outer.faces, 512).uvs, 512)
    taken = texels.row * 512 + texels.column
    assert len(np.unique(taken)) > 0.99 * len(taken)
    assert len(taken) > 0.4 * 512**2


def test_glb_holds_the_mesh_y_up(finished_chair: FinishedMesh, tmp_path: Path) -> None:
    mesh, texture = finished_chair, b"any bytes\x00"
    path = tmp_path / "chair.glb"
    write_glb(path, mesh, texture, None, "a chair")
    document, arrays = read_glb(path)
    primitive = document["meshes"][0]["primitives"][0]
    position, normal, uv = (arrays[primitive["attributes"][k]] for k in ("POSITION", "NORMAL", "TEXCOORD_0"))
    faces = arrays[primitive["indices"]].reshape(-1, 3)

    back = np.stack([position[:, 0], -position[:, 2], position[:, 1]], axis=1)  # z up again
    np.testing.assert_array_equal(back[faces], mesh.vertices[mesh.faces])
    np.testing.assert_allclose(uv[faces] * [1, -1] + [0, 1], mesh.uvs, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(normal, axis=1), 1, atol=1e-5)
    assert signed_volume(position, faces) == pytest.approx(signed_volume(mesh.vertices, mesh.faces), rel=1e-4)
    a, b, c = position[faces].swapaxes(0, 1)
    assert ((np.cross(b - a, c - a) * normal[faces[:, 0]]).sum(axis=1) > 0).mean() > 0.95
    bounds = document["accessors"][primitive["attributes"]["POSITION"]]
    assert bounds["min"] == position.min(axis=0).tolist()
    assert bounds["max"] == position.max(axis=0).tolist()

    material = document["materials"][0]["pbrMetallicRoughness"]
    assert material == {"baseColorTexture": {"index": 0}, "metallicFactor": 0.0, "roughnessFactor": 0.7}
    view = document["bufferViews"][document["images"][0]["bufferView"]]
    binary = path.read_bytes()[-document["buffers"][0]["byteLength"] - (-document["buffers"][0]["byteLength"] % 4) :]
    assert binary[view["byteOffset"] :][: view["byteLength"]] == texture
    assert document["nodes"][0]["name"] == "a chair"


def read_glb(path: Path) -> tuple[dict[str, Any], list[np.ndarray]]:
    """The document, and the array of each accessor."""
    data = path.read_bytes()
    magic, version, length, json_length, json_kind = struct.unpack_from("<4sIII4s", data)
    assert (magic, version, length, json_kind) == (b"glTF", 2, len(data), b"JSON")
    assert json_length % 4 == 0
    document = json.loads(data[20 : 20 + json_length])
    binary_length, binary_kind = struct.unpack_from("<I4s", data, 20 + json_length)
    assert binary_kind == b"BIN\0"
    binary = data[28 + json_length :]
    assert len(binary) == binary_length
    arrays = []
    for accessor in document["accessors"]:
        dtype = {5126: "<f4", 5125: "<u4"}[accessor["componentType"]]
        width = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}[accessor["type"]]
        offset = document["bufferViews"][accessor["bufferView"]]["byteOffset"]
        arrays.append(np.frombuffer(binary, dtype, accessor["count"] * width, offset).reshape(-1, width))
    return document, arrays


def one_triangle() -> RawMesh:
    return RawMesh(
        vertices=torch.tensor([[0.0, 0, 0], [0.3, 0, 0], [0, 0.3, 0]]),
        faces=torch.tensor([[0, 1, 2]]),
        colors=torch.eye(3),
        attrs=None,
        resolution=8,
        inside_corners=torch.zeros(0, dtype=torch.long),
        face_corners=torch.zeros(1, dtype=torch.long),
    )


def sample(texture: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """[P, 3] bilinear, as a renderer does."""
    size = texture.shape[0]
    x = np.clip(uv[:, 0] * size - 0.5, 0, size - 1.001)
    y = np.clip((1 - uv[:, 1]) * size - 0.5, 0, size - 1.001)
    column, row = x.astype(int), y.astype(int)
    fx, fy = (x - column)[:, None], (y - row)[:, None]
    upper = texture[row, column] * (1 - fx) + texture[row, column + 1] * fx
    lower = texture[row + 1, column] * (1 - fx) + texture[row + 1, column + 1] * fx
    return np.asarray(upper * (1 - fy) + lower * fy)


def uses_of_edges(faces: np.ndarray) -> np.ndarray:
    edges = np.sort(faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    return np.asarray(np.unique(edges, axis=0, return_counts=True)[1])


def signed_volume(vertices: np.ndarray, faces: np.ndarray) -> float:
    a, b, c = vertices[faces].astype(np.float64).swapaxes(0, 1)
    return float((a * np.cross(b, c)).sum() / 6)
