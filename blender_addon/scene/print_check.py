"""What a printer should know of a mesh in the scene. ``backend/mesh/printing.py`` says the same of an asset.

The backend follows its rays in machine code and need not run here, so Blender's own tree of faces follows these.
"""

from __future__ import annotations

import numpy as np
from mathutils import Vector
from mathutils.bvhtree import BVHTree
from numpy.typing import NDArray

from ...backend.print_facts import MIN_WALL, PrintCheck

#: As in ``backend/mesh/printing.py``, with fewer points: Blender waits for these.
POINTS, BELOW, PARALLEL, SPLINTERS = 4000, 1e-5, 0.866, 0.01


def checked(vertices: NDArray[np.float32], faces: NDArray[np.int32], size: float) -> PrintCheck:
    """Whether a mesh is closed, and how thick its walls are.

    ``vertices`` [V, 3] and ``size``, the length of the longest side, are in millimetres; ``faces`` is [F, 3].
    """
    thickness = wall_thickness(vertices, faces, size)
    thin = thickness[thickness < MIN_WALL]
    thinnest = float(np.quantile(thin, SPLINTERS)) if len(thin) else float("inf")
    return PrintCheck(size, count_open_edges(faces, len(vertices)), len(thin) / len(thickness), thinnest)


def count_open_edges(faces: NDArray[np.int32], count: int) -> int:
    """How many edges of faces [F, 3] on ``count`` vertices do not have exactly two faces, one in each direction."""
    start, end = faces.reshape(-1).astype(np.int64), faces[:, [1, 2, 0]].reshape(-1).astype(np.int64)
    edge = np.minimum(start, end) * count + np.maximum(start, end)
    _, number = np.unique(edge, return_inverse=True)
    forward = np.bincount(number, weights=start < end)
    backward = np.bincount(number, weights=start > end)
    return int(((forward != 1) | (backward != 1)).sum())


def wall_thickness(vertices: NDArray[np.float32], faces: NDArray[np.int32], size: float) -> NDArray[np.float64]:
    """[POINTS] the thickness of the walls at places drawn evenly from the surface; infinite where there is no wall."""
    corners = vertices[faces].astype(np.float64)
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    areas = np.linalg.norm(across, axis=1)
    total = np.cumsum(areas)
    rng = np.random.default_rng(0)
    face = np.searchsorted(total, rng.random(POINTS) * total[-1], side="right").clip(max=len(faces) - 1)
    inward = -across[face] / np.maximum(areas[face, None], 1e-30)
    origins = np.einsum("pk,pkc->pc", rng.dirichlet([1, 1, 1], POINTS), corners[face]) + BELOW * size * inward
    tree = BVHTree.FromPolygons(vertices.tolist(), faces.tolist(), all_triangles=True)
    found = np.full(POINTS, np.inf)
    for i, (origin, way) in enumerate(zip(origins, inward, strict=True)):
        _, normal, _, far = tree.ray_cast(Vector(origin), Vector(way))
        if far is not None and normal.dot(Vector(way)) >= PARALLEL:
            found[i] = far
    return found
