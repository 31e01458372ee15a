"""Fewer faces: collapse edges by quadric error (Garland and Heckbert 1997).

Colours take no part: the texture is painted from the raw surface, so that a border between colours is as sharp on large
faces as on small ones.
"""

from __future__ import annotations

import threading

import numpy as np

from .. import Mesh
from ..base.projection import Projector

STEP = 4  # with an error bound, the number of faces falls by this factor until the bound is broken
REFINEMENTS = 3  # halvings of the interval in which the bound breaks
#: How fast the collapses' threshold grows from round to round. The library's own 7 lets bad collapses pass while better
#: ones are left: at 4 the surface is 2 to 6 times as near in the same time (``bench.py --stage finish``), but the last
#: round's threshold keeps some hundred faces that 7 collapses.
AGGRESSION, LAST_AGGRESSION = 4, 7
SAMPLES = 20_000  # vertices of the raw mesh whose distances are measured
#: The library keeps its mesh in globals between the calls that it makes of one: two threads would get each other's.
_library = threading.Lock()


def simplify(
    vertices: np.ndarray, faces: np.ndarray, target: int, max_error: float | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Reduce a mesh to about ``target`` faces. Returns it as it is if it has no more than that.

    Args:
        vertices: [V, 3].
        faces: [F, 3].
        target: an upper bound that the result may miss by a few faces where nothing can be collapsed.
        max_error: how far, in the vertices' units, a raw vertex may come to lie from the result. More faces than
            ``target`` are left if that takes them.

    Returns:
        [V', 3] float32 and [F', 3] int64, without faces that use a vertex twice.
    """
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
    # The collapses' thresholds are absolute: they are meant for objects about one unit across.
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
    """The greatest distance of raw vertices, evenly chosen, from a mesh."""
    if not len(faces):
        return float("inf")
    points = raw[:: max(1, len(raw) // SAMPLES)]
    place = Projector(Mesh(vertices, faces, None)).project(points, np.zeros_like(points))
    return float(np.linalg.norm(place.interpolate(faces, vertices) - points, axis=1).max())
