"""UV coordinates: cut a mesh into charts, flatten them and pack them into the unit square."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..base.compiled import compiled
from ..base.topology import renumbered
from ..base.vectors import corners_of, cross, dot, minus
from .outlines import outlines_of
from .pack import pack

GUTTER = 256  # charts are about one part in so many of the square apart: 4 of 1024 texels, for two more mip levels
NO_AREA = 1e-6  # faces whose area is less than this, as a share of their longest side squared, get no chart


@dataclass(frozen=True)
class Unwrapped:
    """A mesh with UVs at its face corners. The vertices are those that were given: not split along seams."""

    vertices: np.ndarray  # [V, 3] float32
    faces: np.ndarray  # [F, 3] int64
    uvs: np.ndarray  # [F, 3, 2] float32 in 0..1, v up
    chart: np.ndarray  # [F] int64: the number of each face's chart; -1 if it has none
    charts: int


def unwrap(vertices: np.ndarray, faces: np.ndarray, texture_size: int) -> Unwrapped:
    """Few charts with little stretch that overlap neither themselves nor each other, at one scale.

    Between charts about 1 / ``GUTTER`` of the square stays free, and never less than 1.5 texels unless there are too
    many charts for so small a texture (22 at 16 texels a side). Faces without area get no chart; their UVs are 0. The
    same mesh gives the same UVs.
    """
    chart = np.full(len(faces), -1, dtype=np.int64)
    uvs = np.zeros((len(faces), 3, 2), dtype=np.float32)
    vertices, faces = np.ascontiguousarray(vertices, dtype=np.float32), np.ascontiguousarray(faces, dtype=np.int64)
    solid = _with_area(vertices, faces)
    if not solid.any():
        return Unwrapped(vertices, faces, uvs, chart, 0)
    chart[solid], corners = _layout(vertices, faces[solid], texture_size)
    uvs[solid] = np.stack([corners.real, corners.imag], axis=-1).clip(0.0, 1.0)
    return Unwrapped(vertices, faces, uvs, chart, int(chart.max()) + 1)


@compiled
def _with_area(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """bool [F]: faces with finite vertices that do not lie in a line."""
    result = np.empty(len(faces), np.bool_)
    for face in range(len(faces)):
        a, b, c = corners_of(vertices, faces, face)
        ab, bc, ca = minus(b, a), minus(c, b), minus(a, c)
        longest = max(dot(ab, ab), dot(bc, bc), dot(ca, ca))
        normal = cross(ab, bc)
        result[face] = np.isfinite(longest) and math.sqrt(dot(normal, normal)) > NO_AREA * longest
    return result


def _layout(vertices: np.ndarray, faces: np.ndarray, texture_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Charts [F] and corners [F, 3], complex, in the unit square, of faces with area."""
    from .charts import dual_graph
    from .parameterise import flat_charts

    used, faces = renumbered(faces)
    vertices = vertices[used].astype(np.float64)
    low = vertices.min(axis=0)
    vertices = (vertices - low) / (vertices.max(axis=0) - low).max()  # so that no size is too large or too small
    dual = dual_graph(vertices, faces)
    charts, corners = flat_charts(vertices, dual)
    outlines = outlines_of(corners, faces, charts, dual.twins(charts))
    placement = pack(outlines, dual.areas.sum(), min(2 * GUTTER, texture_size))
    return charts, corners * placement.factor[charts, None] + placement.shift[charts, None]
