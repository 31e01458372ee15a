"""Quads through unwrapping, finishing and the .obj: charts keep them whole, and what cannot be quads says so."""

from __future__ import annotations

import numpy as np
import pytest

from backend.mesh import Mesh
from backend.mesh import finish as module
from backend.mesh.export import obj_text
from backend.mesh.finish import FinishedMesh, finish, note_on_surface
from backend.mesh.quads.quads import QuadMesh, remeshed
from backend.mesh.unwrap.unwrap import unwrap
from tests.backend.mesh.quads.quad_cases import ball, box, quads_of


def finished(faces: int, quads: bool = True) -> FinishedMesh:
    vertices, triangles = ball()
    colors = (vertices + 0.5).astype(np.float32)
    return finish(Mesh(vertices, triangles, colors), faces=faces, texture_size=128, quads=quads)


@pytest.mark.parametrize("shape", [ball(), box((0.9, 0.5, 0.3))])
def test_no_seam_goes_through_a_quad(shape: tuple[np.ndarray, np.ndarray]) -> None:
    made = remeshed(*shape, 3000)
    plain, whole = (unwrap(made.vertices, made.faces, 256, count) for count in (0, made.quads))

    def cut(chart: np.ndarray) -> int:
        return int((chart[0 : 2 * made.quads : 2] != chart[1 : 2 * made.quads : 2]).sum())

    assert cut(whole.chart) == 0
    assert cut(plain.chart) > 0  # so that this is worth a test
    assert whole.charts < 3 * plain.charts


def test_a_finished_mesh_has_quads() -> None:
    made = finished(2000)
    assert made.counts["quads"] > 0.9 * 1000
    assert len(quads_of(made.faces, made.counts["quads"])) == made.counts["quads"]
    assert made.certificate.problems() == ()
    assert note_on_surface(made, 2000, quads=True) == ""
    assert finished(2000, quads=False).counts["quads"] == 0


def test_where_quads_would_cross_there_are_triangles_and_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    def crossing(vertices: np.ndarray, faces: np.ndarray, target: int, check: object) -> QuadMesh:
        return QuadMesh(vertices, faces, 10, sound=False)

    monkeypatch.setattr(module, "remeshed", crossing)
    made = finished(2000)
    assert made.counts["quads"] == 0
    assert made.certificate.problems() == ()
    assert "Quads would cross" in note_on_surface(made, 2000, quads=True)


def test_an_obj_has_the_quads() -> None:
    made = finished(2000)
    faces = [line.split()[1:] for line in obj_text(made, "ball.mtl", "ball").splitlines() if line.startswith("f ")]
    count = made.counts["quads"]
    assert [len(face) for face in faces] == [4] * count + [3] * (len(made.faces) - 2 * count)
    corners = np.array([[int(corner.split("/")[0]) for corner in face] for face in faces[:count]]) - 1
    assert np.array_equal(corners, quads_of(made.faces, count))
