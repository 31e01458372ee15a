"""Seams where a texture is cut, beside a plain loop over all faces; and what new UVs leave as it was."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import bpy
import numpy as np
import pytest
from espalier.backend import protocol
from espalier.blender_addon.scene import mesh_import, paint, seams

from tests.machine import needs_quick_memory

FRAME = 0.016  # seconds


@pytest.fixture(autouse=True)
def empty() -> None:
    bpy.ops.wm.read_factory_settings(use_empty=True)


def plain_seams(mesh: bpy.types.Mesh) -> set[frozenset[int]]:
    """The edges, as pairs of vertices, at which two faces have other UVs."""
    uvs, seen = mesh.uv_layers.active.uv, defaultdict(set)
    for polygon in mesh.polygons:
        loops = list(polygon.loop_indices)
        for one, two in zip(loops, loops[1:] + loops[:1], strict=True):
            ends = {mesh.loops[loop].vertex_index: tuple(uvs[loop].vector) for loop in (one, two)}
            seen[frozenset(ends)].add(tuple(sorted(ends.items())))
    return {edge for edge, places in seen.items() if len(places) > 1}


def marked(mesh: bpy.types.Mesh) -> set[frozenset[int]]:
    return {frozenset(edge.vertices) for edge in mesh.edges if edge.use_seam}


def values(mesh: bpy.types.Mesh, name: str, kind: str, width: int) -> np.ndarray:
    items = getattr(mesh, name)
    found = np.empty((len(items), width), np.float32)
    items.foreach_get(kind, found.ravel())
    return found


def torus(side: int) -> tuple[np.ndarray, np.ndarray]:
    steps = np.arange(side)
    a, b = np.meshgrid(*[2 * np.pi * steps / side] * 2, indexing="ij")
    radius = 0.34 + 0.14 * np.cos(b)
    vertices = np.stack((radius * np.cos(a), radius * np.sin(a), 0.14 * np.sin(b)), -1).reshape(-1, 3)
    i, j = np.meshgrid(steps, steps, indexing="ij")
    p, q, r, s = (((i + k) % side * side + (j + m) % side).ravel() for k, m in ((0, 0), (1, 0), (1, 1), (0, 1)))
    halves = np.stack((np.stack((p, q, r), -1), np.stack((p, r, s), -1)), 1)  # of quads, one after the other
    return vertices.astype(np.float32), halves.reshape(-1, 3).astype(np.int32)


def cut_up(vertices: np.ndarray, faces: np.ndarray, parts: int) -> np.ndarray:
    """UVs [F, 3, 2] with a chart for each part of the x axis, which both triangles of a pair belong to."""
    middle = vertices[faces, 0].mean(axis=1)[: len(faces) // 2 * 2].reshape(-1, 2).mean(axis=1)
    chart = np.zeros(len(faces), int)
    chart[: 2 * len(middle)] = np.repeat(np.floor(middle * parts), 2)
    return (vertices[faces][..., 1:] + 10 * chart[:, None, None]).astype(np.float32)


def result_of(folder: Path, side: int, quads: bool, lods: int = 0) -> protocol.Result:
    vertices, faces = torus(side)
    count = len(faces) // 2 if quads else 0
    uvs = cut_up(vertices, faces, 6)
    levels = {f"lod{n}_{word}": array for n in range(1, lods + 1) for word, array in
              (("vertices", vertices), ("faces", faces), ("uvs", uvs))}  # fmt: skip
    np.savez(folder / "mesh.npz", vertices=vertices, faces=faces, uvs=uvs, **levels)
    (folder / "texture.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(1000))
    return protocol.Result("a", str(folder / "mesh.npz"), str(folder / "texture.png"), "", counts={"quads": count})


@pytest.mark.parametrize("quads", [False, True])
def test_the_seams_are_where_the_texture_is_cut(tmp_path: Path, quads: bool) -> None:
    result = result_of(tmp_path, 24, quads, lods=2)
    made = mesh_import.create_object(result, name="a", collection=bpy.context.scene.collection, settings={})
    assert len(made.data.polygons) == 24 * 24 * (1 if quads else 2)
    assert len(made.children) == 2
    for each in (made, *made.children):
        expected = plain_seams(each.data)
        assert 24 <= len(expected) < len(each.data.edges) / 2
        assert marked(each.data) == expected


def test_borders_are_no_seams_and_every_pair_of_faces_counts() -> None:
    """Three faces at an edge, a loose edge, and UVs that change places, so that their sum is the same."""
    mesh = bpy.data.meshes.new("fins")
    points = [(0, 0, 0), (0, 0, 1), (1, 0, 0), (-1, 0, 0), (0, 1, 0), (5, 5, 5), (6, 6, 6)]
    mesh.from_pydata(points, [(5, 6)], [(0, 1, 2), (1, 0, 3), (0, 1, 4)])
    mesh.uv_layers.new(name="UVMap")
    one, two = (0.25, 0.0), (0.75, -0.0)
    for layout, expected in (
        ([one, two, (0, 1), two, one, (1, 1), one, two, (0, 0)], set()),
        ([one, two, (0, 1), two, one, (1, 1), two, one, (0, 0)], {frozenset((0, 1))}),
        ([one, two, (0, 1), one, two, (1, 1), one, two, (0, 0)], {frozenset((0, 1))}),
    ):
        uvs = np.array(layout, np.float32)
        mesh.uv_layers[0].uv.foreach_set("vector", uvs.ravel())
        seams.mark_seams(mesh, uvs)
        assert marked(mesh) == expected == plain_seams(mesh)


def test_marking_takes_less_than_a_frame(tmp_path: Path) -> None:
    result, times = result_of(tmp_path, 100, quads=False), []
    made = mesh_import.create_object(result, name="a", collection=bpy.context.scene.collection, settings={})
    assert len(made.data.polygons) == 20_000
    uvs = values(made.data, "loops", "normal", 3)[:, :2].copy()  # of the right shape, and cut everywhere
    for _ in range(5):
        begin = time.thread_time()
        seams.mark_seams(made.data, uvs)
        times.append(time.thread_time() - begin)
    print(f"seams of 20,000 faces: {1000 * min(times):.1f} ms")
    needs_quick_memory()
    assert min(times) < FRAME


# --- a mesh of the user's own ---


@pytest.fixture
def ball() -> bpy.types.Object:
    """A ball of quads, triangles and two n-gons, with all that new UVs might harm."""
    bpy.ops.mesh.primitive_uv_sphere_add(segments=16, ring_count=9, rotation=(0, 0, 0.1))
    bpy.ops.object.transform_apply(rotation=True)
    ball = bpy.context.object
    mesh = ball.data
    import bmesh  # there only after bpy

    work = bmesh.new()
    work.from_mesh(mesh)
    for pole in (max, min):
        bmesh.ops.dissolve_verts(work, verts=[pole(work.verts, key=lambda vertex: vertex.co.z)])
    work.to_mesh(mesh)
    work.free()
    assert max(polygon.loop_total for polygon in mesh.polygons) == 16
    rng = np.random.default_rng(0)
    mesh.polygons.foreach_set("use_smooth", np.arange(len(mesh.polygons)) % 7 != 3)
    mesh.edges.foreach_set("use_edge_sharp", rng.random(len(mesh.edges)) < 0.1)
    mesh.attributes.new("flags", "BOOLEAN", "CORNER").data.foreach_set("value", rng.random(len(mesh.loops)) < 0.5)
    mesh.attributes.new("numbers", "INT8", "CORNER").data.foreach_set("value", np.arange(len(mesh.loops)) % 100)
    mesh.uv_layers.new(name="Light").uv.foreach_set("vector", rng.random(2 * len(mesh.loops), np.float32))
    normals = values(mesh, "corner_normals", "vector", 3)
    vertex = np.empty(len(mesh.loops), np.int32)
    mesh.loops.foreach_get("vertex_index", vertex)
    normals += rng.normal(0, 0.3, (len(mesh.vertices), 3))[vertex]
    mesh.normals_split_custom_set(normals / np.linalg.norm(normals, axis=1, keepdims=True))
    assert mesh.has_custom_normals
    return ball


def told(mesh: bpy.types.Mesh) -> dict[str, Any]:
    """What must stay, by names that splitting faces does not change: vertices, and corners by their place.

    A corner is known by its value in the UV map *Light*, which is different for each.
    """
    light, old = values(mesh, "loops", "normal", 3)[:, :2].copy(), np.empty((len(mesh.loops), 2), np.float32)
    mesh.uv_layers["Light"].uv.foreach_get("vector", light.ravel())
    mesh.uv_layers[0].uv.foreach_get("vector", old.ravel())
    normals = values(mesh, "corner_normals", "vector", 3)
    flags, numbers = (mesh.attributes[name].data for name in ("flags", "numbers"))
    corners: dict[tuple[float, ...], Any] = {}
    for loop in range(len(mesh.loops)):
        state = (mesh.loops[loop].vertex_index, flags[loop].value, numbers[loop].value, tuple(old[loop]))
        assert corners.setdefault(tuple(light[loop]), (state, normals[loop]))[0] == state
    return {
        "corners": corners,
        "sharp": {frozenset(edge.vertices) for edge in mesh.edges if edge.use_edge_sharp},
        "flat": sum(polygon.area for polygon in mesh.polygons if not polygon.use_smooth),
        "vertices": values(mesh, "vertices", "co", 3).tolist(),
    }


def triangles(mesh: bpy.types.Mesh) -> tuple[np.ndarray, np.ndarray]:
    mesh.calc_loop_triangles()
    faces = np.array([tuple(triangle.vertices) for triangle in mesh.loop_triangles])
    return values(mesh, "vertices", "co", 3), faces


@pytest.mark.parametrize("through", [False, True])
def test_new_uvs_leave_sharp_edges_normals_and_other_uvs(ball: bpy.types.Object, through: bool) -> None:
    """``through``: with seams through every face that has more than three corners."""
    mesh = ball.data
    vertices, faces = triangles(mesh)
    if through:
        uvs = np.random.default_rng(1).random((len(faces), 3, 2), np.float32)
    else:
        uvs = cut_up(vertices, faces, 1)
    before, polygons = told(mesh), len(mesh.polygons)
    attributes = {(each.name, each.data_type, each.domain) for each in mesh.attributes if not each.name.startswith(".")}
    split = paint.add_uv_map(mesh, uvs)
    assert (split > 100) if through else (0 < split < polygons / 4)
    after = told(mesh)
    assert after["corners"].keys() == before["corners"].keys()
    for place, (state, normal) in before["corners"].items():
        assert after["corners"][place][0] == state
        np.testing.assert_allclose(after["corners"][place][1], normal, atol=2e-3)
    assert after["sharp"] == before["sharp"]
    assert after["vertices"] == before["vertices"]
    assert after["flat"] == pytest.approx(before["flat"])
    assert [layer.name for layer in mesh.uv_layers] == ["UVMap", "Light", paint.UV_MAP]
    assert mesh.uv_layers.active.name == paint.UV_MAP
    assert mesh.uv_layers.active.active_render
    new = {(each.name, each.data_type, each.domain) for each in mesh.attributes if not each.name.startswith(".")}
    assert {name for name, _, _ in new - attributes} <= {paint.UV_MAP, "uv_seam"}
    assert attributes <= new
    assert marked(mesh) == plain_seams(mesh)
    assert not mesh.validate()
    mesh.calc_loop_triangles()
    layer = mesh.uv_layers.active.uv
    laid = [tuple(layer[loop].vector) for each in mesh.loop_triangles for loop in each.loops]
    assert sorted(laid) == sorted(map(tuple, uvs.reshape(-1, 2).tolist()))


def test_a_face_and_its_back_are_both_split() -> None:
    mesh = bpy.data.meshes.new("card")
    mesh.from_pydata([(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0)], [], [(0, 1, 2, 3), (0, 3, 2, 1)])
    assert paint.add_uv_map(mesh, np.random.default_rng(0).random((4, 3, 2), np.float32)) == 2
    assert [polygon.loop_total for polygon in mesh.polygons] == [3] * 4


def painted_with(ball: bpy.types.Object, result: protocol.Result) -> None:
    paint.paint(ball, result, {}, paint.mesh_digests(ball.data))


def test_marked_seams_are_replaced_and_it_is_said(ball: bpy.types.Object, tmp_path: Path) -> None:
    vertices, faces = triangles(ball.data)
    np.savez(tmp_path / "mesh.npz", uvs=cut_up(vertices, faces, 1))
    (tmp_path / "texture.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(1000))
    paths = str(tmp_path / "mesh.npz"), str(tmp_path / "texture.png")
    result = protocol.Result("a", *paths, "", counts={"charts": 2}, note="New UVs were made: why.")
    painted_with(ball, result)
    assert ball["espalier_note"].startswith("New UVs were made: why. ")
    assert "faces were split" in ball["espalier_note"]
    assert "seams" not in ball["espalier_note"].replace("along the seams", "")
    ball.data.edges[0].use_seam = True
    painted_with(ball, result)
    assert ball["espalier_note"].endswith("Undo brings yours back.")
    assert marked(ball.data) == plain_seams(ball.data)
    painted_with(ball, replace(result, counts={"charts": 0}, note=""))
    assert "espalier_note" not in ball  # it was about another texture


def test_the_uv_map_that_is_chosen_is_also_the_one_that_is_rendered(ball: bpy.types.Object, tmp_path: Path) -> None:
    layers = ball.data.uv_layers
    layers.active = layers["Light"]
    layers["UVMap"].active_render = True
    seams_before = marked(ball.data)
    (tmp_path / "texture.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(1000))
    painted_with(ball, protocol.Result("a", "", str(tmp_path / "texture.png"), "", counts={"charts": 0}))
    assert [layer.name for layer in layers if layer.active_render] == ["Light"]
    assert layers.active.name == "Light"
    assert marked(ball.data) == seams_before


def test_new_uvs_of_a_duplicate_leave_the_original_alone() -> None:
    vertices, faces = torus(8)
    mesh = mesh_import.create_mesh("first", vertices, faces)
    paint.add_uv_map(mesh, cut_up(vertices, faces, 2))
    before = values(mesh.uv_layers.active, "uv", "vector", 2)
    other = mesh.copy()  # it shares the arrays of the first until one of them is written to
    paint.add_uv_map(other, np.float32(1) - cut_up(vertices, faces, 2))
    np.testing.assert_array_equal(values(mesh.uv_layers.active, "uv", "vector", 2), before)
    assert not np.array_equal(values(other.uv_layers.active, "uv", "vector", 2), before)
