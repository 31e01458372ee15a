"""Convex hulls: convex by plain checks, around the mesh, the same each time, cancelled at once, and silent."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import trimesh

from backend.mesh import Mesh, decompose, hulls
from backend.mesh.finish import finish, note_on_surface
from backend.mesh.hulls import Collision, Hull, convex_hulls, hull_of, sticking_out


class Cancelled(Exception):
    pass


def shape(name: str) -> tuple[np.ndarray, np.ndarray]:
    """A torus, or a table of five boxes: shapes that one hull would fill."""
    if name == "torus":
        made = trimesh.creation.torus(0.4, 0.12, major_sections=48, minor_sections=24)
    else:
        parts = [trimesh.creation.box((1, 1, 0.1))]
        for x, y in ((-0.4, -0.4), (0.4, -0.4), (-0.4, 0.4), (0.4, 0.4)):
            parts.append(trimesh.creation.box((0.1, 0.1, 0.6)).apply_translation((x, y, -0.4)))
        made = trimesh.util.concatenate(parts)
    return made.vertices.astype(np.float32), made.faces.astype(np.int64)


@pytest.fixture(scope="module", params=["torus", "table"])
def made(request: pytest.FixtureRequest) -> tuple[np.ndarray, np.ndarray, Collision]:
    vertices, faces = shape(request.param)
    return vertices, faces, convex_hulls(vertices, faces)


def test_hulls_are_closed_convex_and_small(made: tuple[np.ndarray, np.ndarray, Collision]) -> None:
    found = made[2]
    assert 1 < len(found.hulls) <= decompose.MOST_HULLS
    for hull in found.hulls:
        assert 4 <= len(hull.vertices) <= hulls.MOST_VERTICES
        assert np.array_equal(np.unique(hull.faces), np.arange(len(hull.vertices)))
        assert trimesh.Trimesh(hull.vertices, hull.faces, process=False).is_watertight
        for a, b, c in hull.vertices.astype(float)[hull.faces]:
            normal = np.cross(b - a, c - a)
            normal /= max(float(np.linalg.norm(normal)), 1e-12)
            for vertex in hull.vertices:
                assert np.dot(normal, vertex - a) < 1e-4  # nothing is outside of any face, so faces look outward


def test_the_mesh_is_inside_of_them_to_within_the_tolerance(made: tuple[np.ndarray, np.ndarray, Collision]) -> None:
    vertices, _, found = made
    side = float(np.ptp(vertices, axis=0).max())
    worst = 0.0
    for vertex in vertices.astype(float):
        outside = np.inf
        for hull in found.hulls:
            a, b, c = (hull.vertices[hull.faces[:, k]].astype(float) for k in range(3))
            normals = np.cross(b - a, c - a)
            normals /= np.linalg.norm(normals, axis=1, keepdims=True)
            outside = min(outside, float(((vertex - a) * normals).sum(axis=1).max()))
        worst = max(worst, outside)
    assert found.outside == pytest.approx(worst / side, abs=1e-5)
    assert found.outside < hulls.TOLERANCE
    assert not found.note


def test_they_do_not_fill_what_is_empty(made: tuple[np.ndarray, np.ndarray, Collision]) -> None:
    vertices, faces, found = made
    volume = sum(trimesh.Trimesh(hull.vertices, hull.faces).volume for hull in found.hulls)
    whole = trimesh.Trimesh(vertices, faces)
    assert volume < 0.75 * whole.convex_hull.volume
    assert volume > 0.8 * abs(whole.volume)


@pytest.mark.parametrize("cut", [False, True])
def test_the_same_mesh_gives_the_same_hulls(cut: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also for an open surface, which CoACD closes first, and however many threads it is told to take."""
    vertices, faces = shape("torus")
    faces = faces[60:] if cut else faces
    one = convex_hulls(vertices, faces)
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    other = convex_hulls(vertices, faces)
    assert one.hulls
    assert len(one.hulls) == len(other.hulls)
    for first, second in zip(one.hulls, other.hulls, strict=True):
        assert first.vertices.tobytes() == second.vertices.tobytes()
        assert first.faces.tobytes() == second.faces.tobytes()


def test_cancelling_ends_the_process_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    started: list[subprocess.Popen[bytes]] = []
    plain = subprocess.Popen

    def noted(*arguments: object, **more: object) -> subprocess.Popen[bytes]:
        started.append(plain(*arguments, **more))  # type: ignore[call-overload]
        return started[-1]

    slow = tmp_path / "slow.py"
    slow.write_text("import time\ntime.sleep(60)\n")
    monkeypatch.setattr(decompose, "__file__", str(slow))
    monkeypatch.setattr(subprocess, "Popen", noted)
    begun = time.monotonic()

    def check() -> None:
        if started and time.monotonic() > begun + 1:
            raise Cancelled

    with pytest.raises(Cancelled):
        convex_hulls(*shape("torus"), check)
    (child,) = started
    assert child.poll() is not None
    assert time.monotonic() - begun < 30


def test_checks_are_not_far_apart() -> None:
    calls: list[float] = []
    convex_hulls(*shape("table"), lambda: calls.append(time.process_time()))
    assert len(calls) > 3
    assert max(np.diff(calls)) < 0.25  # of this process; the machine may be busy


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("import sys; sys.exit(3)", "cannot be loaded"),
        ("import os; os.abort()", "ended with code"),
        ("import time; time.sleep(60)", "took too long"),
    ],
)
def test_a_library_that_fails_is_no_error(
    program: str, words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "failing.py").write_text(program + "\n")
    monkeypatch.setattr(decompose, "__file__", str(tmp_path / "failing.py"))
    monkeypatch.setattr(hulls, "PATIENCE", 2.0)
    found = convex_hulls(*shape("torus"))
    assert not found.hulls
    assert words in found.note
    assert found.note.endswith(".")


def test_flat_points_have_no_hull() -> None:
    assert hull_of(np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]], float)) is None
    assert hull_of(np.zeros((3, 3))) is None
    found = hull_of(np.array([[0, 0, 0], [2, 0, 0], [0, 2, 0], [0, 0, 2], [0.1, 0.1, 0.1]], float))
    assert found is not None
    assert len(found.vertices) == 4  # the one inside is left out
    assert trimesh.Trimesh(found.vertices, found.faces).volume == pytest.approx(8 / 6)


def test_what_sticks_out_is_measured_from_the_nearest_hull() -> None:
    corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], float)
    boxes = [hull_of(corners), hull_of(corners + np.array([3, 0, 0]))]
    kept = tuple(box for box in boxes if isinstance(box, Hull))
    assert sticking_out(np.array([[0.5, 0.5, 1.25], [2.5, 0.5, 0.5]], np.float32), kept) == pytest.approx(0.5)


def test_finishing_makes_them_only_if_asked(capfd: pytest.CaptureFixture[str]) -> None:
    vertices, faces = shape("torus")
    mesh = Mesh(vertices, faces, np.ones_like(vertices))
    finished = finish(mesh, faces=1000, texture_size=16, collision=True)
    assert finished.collision is not None
    assert len(finished.collision.hulls) > 1
    assert finish(mesh, faces=1000, texture_size=16).collision is None
    assert capfd.readouterr().out == ""  # stdout carries the backend's messages
    note: Callable[[Collision], str] = lambda one: note_on_surface(  # noqa: E731
        type(finished)(**{**vars(finished), "collision": one}), 100
    )
    assert "sticks out" in note(Collision(finished.collision.hulls, 0.2))
    assert "too long" in note(Collision((), problem="It took too long."))


def test_the_process_needs_nothing_of_the_package() -> None:
    """It must start fast: torch alone takes seconds."""
    code = "import runpy, sys; runpy.run_path(sys.argv[1]); print(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code, str(decompose.__file__)], capture_output=True, text=True, check=True
    )
    loaded = done.stdout.split()
    assert "numpy" in loaded
    assert not {"torch", "backend", "scipy", "numba"} & set(loaded)
