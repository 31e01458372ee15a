"""Meshes for printers: wall thickness beside a plain loop, closed or not, STL as others read it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh

from backend.mesh import Mesh, printing
from backend.mesh.extract.flexicubes import extract_mesh
from backend.mesh.finish import finish
from backend.print_facts import MIN_WALL
from tests.backend.shells import chair, features_of


def as_mesh(given: trimesh.Trimesh) -> Mesh:
    return Mesh(np.asarray(given.vertices, np.float32), np.asarray(given.faces, np.int64), None)


def thickness_of(mesh: Mesh, origin: np.ndarray, way: np.ndarray) -> float:
    """One ray against all faces, one after the other."""
    nearest, cosine = np.inf, 0.0
    for a, b, c in mesh.vertices[mesh.faces].astype(float):
        normal = np.cross(b - a, c - a)
        if abs(normal @ way) < 1e-12:
            continue
        far = normal @ (a - origin) / (normal @ way)
        point = origin + far * way
        inside = all(normal @ np.cross(end - start, point - start) >= 0 for start, end in ((a, b), (b, c), (c, a)))
        if far > 0 and inside and far < nearest:
            nearest, cosine = far, way @ normal / np.linalg.norm(normal)
    return nearest if cosine >= printing.PARALLEL else np.inf


def test_rays_find_what_a_plain_loop_finds() -> None:
    given: Any = trimesh.util.concatenate([trimesh.creation.torus(3, 1), trimesh.creation.box((1, 2, 0.3))])
    mesh = as_mesh(given)
    tree = printing.Projector(mesh).tree
    rng = np.random.default_rng(3)
    face = rng.choice(len(mesh.faces), 100)
    below = given.triangles_center[face] - 0.01 * given.face_normals[face]
    origins = np.concatenate([below, rng.uniform(-4, 4, (100, 3))]).astype(np.float32)
    ways = np.concatenate([0.3 * rng.normal(size=(100, 3)) - given.face_normals[face], rng.normal(size=(100, 3))])
    ways[100::10] = [0, 0, 1]  # along an axis, where a box has no extent to divide by
    ways = (ways / np.linalg.norm(ways, axis=1, keepdims=True)).astype(np.float32)
    found = printing._leave_all(tree, origins, ways)
    expected = [thickness_of(mesh, o.astype(float), w.astype(float)) for o, w in zip(origins, ways, strict=True)]
    assert 30 < np.isfinite(expected).sum() < 170
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_walls_are_as_thick_as_they_are() -> None:
    plate = as_mesh(trimesh.creation.box((40, 40, 0.5)))
    thickness = printing.wall_thickness(plate, 2000)
    flat = np.isclose(thickness, 0.5, atol=1e-3)
    assert flat.mean() > 0.95  # the rest is the narrow sides
    np.testing.assert_allclose(thickness[~flat], 40, atol=1e-2)
    outer, inner = trimesh.creation.icosphere(4, 10), trimesh.creation.icosphere(4, 9.2)
    inner.invert()
    both: Any = trimesh.util.concatenate([outer, inner])
    shell = printing.wall_thickness(as_mesh(both), 2000)
    np.testing.assert_allclose(np.median(shell), 0.8, atol=0.02)
    np.testing.assert_array_equal(thickness, printing.wall_thickness(plate, 2000))  # the same places again


def test_a_wedge_is_no_thin_wall() -> None:
    prism = trimesh.creation.extrude_triangulation(np.array([[0, 0], [10, 0], [0, 10]]), np.array([[0, 1, 2]]), 10)
    assert printing.checked(as_mesh(prism)).thin < 0.01


def test_what_is_said_of_a_print() -> None:
    plate = trimesh.creation.box((40, 40, 0.5))
    found = printing.checked(as_mesh(plate))
    assert found.closed
    assert found.thin > 0.9
    assert found.note == (
        f"Printed 40 mm large, {100 * found.thin:.0f} % of the surface has walls under {MIN_WALL:.0f} mm, "
        "down to 0.5 mm."
    )
    plate.update_faces(np.arange(len(plate.faces)) > 0)
    assert printing.checked(as_mesh(plate)).note.startswith("At 3 edges the mesh is not closed.")
    assert printing.checked(as_mesh(trimesh.creation.box((40, 40, 40)))).note == ""


def test_edges_that_are_not_closed_are_counted() -> None:
    box = trimesh.creation.box().faces
    assert printing.count_open_edges(box, 8) == 0
    assert printing.count_open_edges(box[1:], 8) == 3
    assert printing.count_open_edges(np.concatenate([box, box[:1]]), 8) == 3  # a face twice
    turned = box.copy()
    turned[0] = turned[0, ::-1]
    assert printing.count_open_edges(turned, 8) == 3


def test_edges_of_no_length_are_taken_away() -> None:
    box = trimesh.creation.box()
    start, end = box.faces[0, :2]
    vertices = np.asarray(box.vertices, np.float32)
    vertices[end] = vertices[start]
    assert printing.count_open_edges(box.faces, 8) == 0
    mesh, kept = printing.solid(Mesh(vertices, np.asarray(box.faces, np.int64), None))
    assert (len(mesh.vertices), kept.sum(), len(mesh.faces)) == (7, 10, 10)
    assert printing.count_open_edges(mesh.faces, 7) == 0
    np.testing.assert_array_equal(mesh.vertices[mesh.faces], vertices[box.faces[kept]])
    whole, kept = printing.solid(as_mesh(trimesh.creation.box()))
    assert kept.all()
    np.testing.assert_array_equal(whole.faces, trimesh.creation.box().faces)


def test_a_check_ends_it() -> None:
    class Ended(Exception):
        pass

    def check() -> None:
        calls.append(1)
        if len(calls) == 4:
            raise Ended

    calls: list[int] = []
    with pytest.raises(Ended):
        printing.checked(as_mesh(trimesh.creation.icosphere(5)), check)


def test_trimesh_reads_the_stl(tmp_path: Path) -> None:
    made = finish(extract_mesh(*features_of(chair, 32), 32), faces=1000, texture_size=64)
    mesh, kept = printing.solid(Mesh(made.vertices * np.float32(100), made.faces, None))
    assert kept.mean() > 0.99
    printing.write_stl(tmp_path / "chair.stl", mesh)
    read = trimesh.load_mesh(tmp_path / "chair.stl")  # welds the corners
    assert read.is_watertight
    assert read.is_winding_consistent
    assert read.volume > 0
    assert (len(read.vertices), len(read.faces)) == (len(mesh.vertices), len(mesh.faces))
    np.testing.assert_array_equal(read.bounds, [mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)])
    first = (tmp_path / "chair.stl").read_bytes()
    printing.write_stl(tmp_path / "again.stl", mesh)
    assert (tmp_path / "again.stl").read_bytes() == first
