"""Reduce the number of faces: collapse edges by quadric error (Garland and Heckbert 1997).

Colours are ignored: the texture is baked from the raw surface, so that borders between colours are as sharp on large
faces as on small ones.
"""

from __future__ import annotations

import threading

import numpy as np

from .. import Mesh
from ..base.projection import Projector
from .manifold import manifold

STEP = 4  # with an error bound, the number of faces falls by this factor until the bound is exceeded
REFINEMENTS = 3  # then the interval in which the bound is exceeded is halved this many times
#: How fast the threshold for collapses grows from round to round. The library's default of 7 allows bad collapses while
#: better ones are left: with 4 the surface is 2 to 6 times as close in the same time (``bench.py --stage finish``), but
#: its last threshold leaves some hundred faces that 7 collapses.
AGGRESSION, LAST_AGGRESSION = 4, 7
SAMPLES = 20_000  # vertices of the raw mesh whose distances are measured
#: The library keeps its mesh in global variables between its internal calls: threads would get each other's meshes.
_library = threading.Lock()


def simplify(
    vertices: np.ndarray, faces: np.ndarray, target: int, max_error: float | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Reduce a mesh to about ``target`` faces. Of one with no more than that only faces back to back are changed.

    Args:
        vertices: [V, 3].
        faces: [F, 3].
        target: an upper bound, which the result may exceed if nothing more can be collapsed, or nothing would be left.
        max_error: the largest distance of a raw vertex from the result, in the vertices' units. If necessary, more
            faces than ``target`` are kept.

    Returns:
        Vertices [V', 3] float32 and faces [F', 3] int64, without faces that use a vertex twice, two at each edge if the
        mesh was closed (``manifold``).
    """
    while True:
        coarse = _to(vertices, faces, target, max_error)
        made = manifold(*coarse)
        if len(made[1]):
            return made
        if target >= len(faces):
            return coarse  # it is two faces back to back and nothing else
        target = 2 * max(target, 2)  # a small body was collapsed to two such faces


def _to(vertices: np.ndarray, faces: np.ndarray, target: int, max_error: float | None) -> tuple[np.ndarray, np.ndarray]:
    if max_error is None:
        return _collapse(vertices, faces, target)
    finest, coarsest = (vertices, faces), target
    while len(finest[1]) > target:
        count = max(target, len(finest[1]) // STEP)
        coarser = _collapse(*finest, count)
        if _error(vertices, *coarser) > max_error:
            coarsest = count
            break
        if len(coarser[1]) >= len(finest[1]):  # nothing more can be collapsed
            return coarser
        finest = coarser
    for _ in range(REFINEMENTS):
        count = (coarsest + len(finest[1])) // 2
        coarser = _collapse(*finest, count)
        if _error(vertices, *coarser) > max_error:
            coarsest = count
        else:
            finest = coarser
    return finest


def _collapse(vertices: np.ndarray, faces: np.ndarray, target: int) -> tuple[np.ndarray, np.ndarray]:
    import fast_simplification

    if len(faces) <= target:
        return vertices, faces
    # The library's thresholds are absolute, made for objects about one unit wide.
    low, high = vertices.min(axis=0).astype(np.float64), vertices.max(axis=0).astype(np.float64)
    size = max(float((high - low).max()), 1e-30)
    points, triangles = (vertices - low) / size, faces.astype(np.int32)
    for aggression in (AGGRESSION, LAST_AGGRESSION):
        with _library:
            points, triangles = fast_simplification.simplify(points, triangles, target_count=target, agg=aggression)
        if len(triangles) <= target:
            break
    triangles = triangles.astype(np.int64)
    a, b, c = triangles.T
    return (points * size + low).astype(np.float32), triangles[(a != b) & (b != c) & (c != a)]


def _error(raw: np.ndarray, vertices: np.ndarray, faces: np.ndarray) -> float:
    """The largest distance of raw vertices, a regular sample of them, from a mesh."""
    if not len(faces):
        return float("inf")
    points = raw[:: max(1, len(raw) // SAMPLES)]
    projection = Projector(Mesh(vertices, faces, None)).project(points, np.zeros_like(points))
    return float(np.linalg.norm(projection.interpolate(faces, vertices) - points, axis=1).max())
