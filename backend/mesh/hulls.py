"""Convex hulls for collisions: what a game's physics takes in place of the mesh.

The mesh is closed, simplified, and split into nearly convex parts by CoACD (Wei et al., "Approximate Convex
Decomposition for 3D Meshes with Collision-Aware Concavity and Tree Search", 2022). Of each part the convex hull is
taken. CoACD is one call that cannot be interrupted, so it runs in a process of its own (``decompose.py``), which is
ended on cancelling.
"""

from __future__ import annotations

import io
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from . import Mesh, decompose
from .clean.holes import close_holes
from .clean.simplify import simplified

FACES = 500  # of what is split
PATIENCE = 30.0  # seconds until splitting is given up: it takes about one
POLL = 0.02  # seconds
#: How far the surface may stick out of the hulls, in parts of its longest side, before it is said.
TOLERANCE = 0.05
MOST_VERTICES = 32  # of a hull
#: The points of a hull that are farthest along these are kept: along the axes and the diagonals.
_DIRECTIONS = np.array(
    [(x, y, z) for x in (-1, 0, 1) for y in (-1, 0, 1) for z in (-1, 0, 1) if abs(x) + abs(y) + abs(z) in (1, 3)]
)
_PIECE = 1 << 14  # vertices that are measured between checks
_CREATION_FLAGS = getattr(subprocess, "CREATE_NO_WINDOW", 0)  # no console appears on Windows


class Hull(NamedTuple):
    """A closed convex mesh of at most ``MOST_VERTICES`` vertices."""

    vertices: np.ndarray  # [V, 3] float32
    faces: np.ndarray  # [F, 3] int64, outward


class Collision(NamedTuple):
    """The convex hulls of a mesh."""

    hulls: tuple[Hull, ...]  # at most ``decompose.MOST_HULLS``
    outside: float = 0.0  # how far a vertex of the mesh sticks out of them at most, in parts of its longest side
    problem: str = ""  # why there are none, in a sentence

    @property
    def note(self) -> str:
        """What to tell the user; empty if all is well."""
        if self.problem:
            return self.problem
        if self.outside > TOLERANCE:
            return f"The surface sticks out of its convex hulls by up to {self.outside:.0%} of its longest side."
        return ""


def convex_hulls(vertices: np.ndarray, faces: np.ndarray, check: Callable[[], None] = lambda: None) -> Collision:
    """The convex hulls of a mesh, vertices [V, 3] float32 and faces [F, 3] int64. The same input gives the same hulls.

    ``check()`` is called every few hundredths of a second, and may raise to cancel. If CoACD fails, that is no error:
    the asset is whole without hulls, and ``problem`` says why there are none.
    """
    whole = close_holes(Mesh(vertices, faces, None), math.inf)
    simple = simplified(whole.vertices, whole.faces, FACES, check=check)
    code, answer = _decomposed(simple.vertices, simple.faces, check)
    if code is None:
        return Collision((), problem="No convex hulls were made: it took too long. Another seed may help.")
    if code == decompose.MISSING:
        reason = "the library CoACD cannot be loaded. Install the backend again."
        if sys.platform == "win32":
            reason = "the library CoACD cannot be loaded. Install Microsoft's Visual C++ Redistributable."
        return Collision((), problem=f"No convex hulls were made: {reason}")
    if code:
        return Collision((), problem=f"No convex hulls were made: CoACD ended with code {code}.")
    stream = io.BytesIO(answer)
    counts, points = np.load(stream), np.load(stream)
    parts = np.split(points, np.cumsum(counts)[:-1]) if len(counts) else []
    hulls = tuple(hull for part in parts if (hull := hull_of(part)) is not None)
    if not hulls:
        return Collision((), problem="No convex hulls were made: the mesh has no volume.")
    side = float((vertices.max(axis=0) - vertices.min(axis=0)).max())
    return Collision(hulls, sticking_out(vertices, hulls, check) / side)


def hull_of(points: np.ndarray) -> Hull | None:
    """The convex hull of points [N, 3], or of ``MOST_VERTICES`` of them; None if they are flat.

    Of more points, those are taken one by one that stick out farthest of the hull of the earlier ones.
    """
    from scipy.spatial import ConvexHull, QhullError

    points = points.astype(np.float32).astype(np.float64)
    try:
        found = ConvexHull(points)
        if len(found.vertices) > MOST_VERTICES:
            points = points[np.sort(found.vertices)]
            chosen = sorted({*(_DIRECTIONS @ points.T).argmax(axis=1).tolist()})
            while len(chosen) < MOST_VERTICES:
                planes = ConvexHull(points[chosen]).equations
                chosen.append(int((points @ planes[:, :3].T + planes[:, 3]).max(axis=1).argmax()))
            found = ConvexHull(points[chosen])
    except (QhullError, ValueError):  # flat, or fewer than four points
        return None
    kept = np.sort(found.vertices)
    corners = found.points[found.simplices]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    inward = (normals * found.equations[:, :3]).sum(axis=1) < 0
    faces = np.where(inward[:, None], found.simplices[:, ::-1], found.simplices)
    return Hull(found.points[kept].astype(np.float32), np.searchsorted(kept, faces))


def sticking_out(vertices: np.ndarray, hulls: tuple[Hull, ...], check: Callable[[], None] = lambda: None) -> float:
    """How far a vertex [V, 3] is outside of all hulls at most, measured from the planes of their faces."""
    planes = []
    for hull in hulls:
        corners = hull.vertices[hull.faces].astype(np.float64)
        normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        lengths = np.linalg.norm(normals, axis=1)
        normals = normals[lengths > 0] / lengths[lengths > 0, None]
        planes.append((normals, (normals * corners[lengths > 0, 0]).sum(axis=1)))
    farthest = 0.0
    for start in range(0, len(vertices), _PIECE):
        check()
        points = vertices[start : start + _PIECE].astype(np.float64)
        nearest = np.min([(points @ normals.T - offsets).max(axis=1) for normals, offsets in planes], axis=0)
        farthest = max(farthest, float(nearest.max()))
    return farthest


def _decomposed(vertices: np.ndarray, faces: np.ndarray, check: Callable[[], None]) -> tuple[int | None, bytes]:
    """The exit code of ``decompose.py`` for a mesh, and what it wrote; None if it had to be ended."""
    given = io.BytesIO()
    np.save(given, vertices.astype(np.float64))
    np.save(given, faces.astype(np.int32))
    modules = os.pathsep.join(folder or os.getcwd() for folder in sys.path)
    # One thread: what comes out is the same however many processors there are, and it is hardly slower.
    environment = os.environ | {"PYTHONPATH": modules, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-P", "-B", str(Path(decompose.__file__))]
    end = time.monotonic() + PATIENCE
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, creationflags=_CREATION_FLAGS
    ) as child:
        try:
            content: bytes | None = given.getvalue()
            while time.monotonic() < end:
                check()
                try:
                    answer, _ = child.communicate(content, timeout=POLL)
                except subprocess.TimeoutExpired:
                    content = None  # it is on its way
                    continue
                return child.returncode, answer
            return None, b""
        finally:
            child.kill()  # nothing happens if it has ended
