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

GUTTER = 256  # charts are about 1 / GUTTER of the square apart: 4 of 1024 texels, enough for two more mip levels
BACK = 0.01  # how much going to the back counts beside rising, to tell what is up in a chart
LONGEST = 0.5  # how long charts may be that must fit into a quarter of the square, in square roots of the whole area
NO_AREA = 1e-6  # faces with less area than this, relative to the square of their longest side, get no chart


@dataclass(frozen=True)
class Unwrapped:
    """A mesh with UVs at its face corners. The vertices are the given ones, not split along seams."""

    vertices: np.ndarray  # [V, 3] float32
    faces: np.ndarray  # [F, 3] int64
    uvs: np.ndarray  # [F, 3, 2] float32 in 0..1, v up
    chart: np.ndarray  # [F] int64: the number of each face's chart; -1 if it has none
    charts: int  # how many there are


def unwrap(
    vertices: np.ndarray, faces: np.ndarray, texture_size: int, quads: int = 0, quarters: bool = False
) -> Unwrapped:
    """Make UVs: few charts with little stretch, at the same scale, that overlap neither themselves nor each other.

    Charts are about 1 / ``GUTTER`` of the square apart, and never less than 1.5 texels unless there are too many for a
    small texture (22 at 16 texels per side). Their outlines are along u and v where they are straight, and what is up
    on the object is up in the square where that wastes no room. Faces without area get no chart; their UVs are 0. The
    same mesh gives the same UVs.

    Args:
        vertices: [V, 3].
        faces: [F, 3].
        texture_size: texels along each side.
        quads: so many pairs of faces, the first ones, are quads, which charts keep whole as far as they can.
        quarters: no chart crosses the middle lines of the square, so that its quarters can be UDIM tiles.
    """
    chart = np.full(len(faces), -1, dtype=np.int64)
    uvs = np.zeros((len(faces), 3, 2), dtype=np.float32)
    vertices, faces = np.ascontiguousarray(vertices, dtype=np.float32), np.ascontiguousarray(faces, dtype=np.int64)
    solid = _with_area(vertices, faces)
    if not solid.any():
        return Unwrapped(vertices, faces, uvs, chart, 0)
    quad = np.where(np.arange(len(faces)) < 2 * quads, np.arange(len(faces)) // 2, -1)
    chart[solid], corners = _packed_charts(vertices, faces[solid], quad[solid], texture_size, quarters)
    uvs[solid] = np.stack([corners.real, corners.imag], axis=-1).clip(0.0, 1.0)
    return Unwrapped(vertices, faces, uvs, chart, int(chart.max()) + 1)


@compiled
def _with_area(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """[F] bool: faces with finite vertices that are not on a line."""
    result = np.empty(len(faces), np.bool_)
    for face in range(len(faces)):
        a, b, c = corners_of(vertices, faces, face)
        ab, bc, ca = minus(b, a), minus(c, b), minus(a, c)
        longest = max(dot(ab, ab), dot(bc, bc), dot(ca, ca))
        normal = cross(ab, bc)
        result[face] = np.isfinite(longest) and math.sqrt(dot(normal, normal)) > NO_AREA * longest
    return result


def _packed_charts(
    vertices: np.ndarray, faces: np.ndarray, quads: np.ndarray, texture_size: int, quarters: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Charts [F] and corners [F, 3] in the unit square, as complex numbers, of faces with area."""
    from .charts import dual_graph
    from .parameterise import flat_charts

    used, faces = renumbered(faces)
    vertices = vertices[used].astype(np.float64)
    low = vertices.min(axis=0)
    vertices = (vertices - low) / (vertices.max(axis=0) - low).max()  # avoids very large and very small numbers
    dual = dual_graph(vertices, faces, quads)
    longest = LONGEST * math.sqrt(dual.areas.sum()) if quarters else math.inf
    charts, corners = flat_charts(vertices, dual, longest)
    outlines = outlines_of(corners, faces, charts, dual.twins(charts))
    up = _upward(vertices, faces, charts, corners)
    placement = pack(outlines, dual.areas.sum(), min(2 * GUTTER, texture_size), up, quarters)
    return charts, corners * placement.factor[charts, None] + placement.shift[charts, None]


def _upward(vertices: np.ndarray, faces: np.ndarray, charts: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """[C] complex: in which direction of each chart's plane the surface rises, or goes to the back where it is level.

    It is the gradient of the height over the chart, times twice its area.
    """
    height = (vertices[:, 2] + BACK * vertices[:, 1])[faces]
    one, other = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    rise = 1j * (one * (height[:, 2] - height[:, 0]) - other * (height[:, 1] - height[:, 0]))
    return np.asarray(np.bincount(charts, rise.real) + 1j * np.bincount(charts, rise.imag))
