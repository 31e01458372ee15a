"""How good a UV layout is: how full, how distorted, and whether faces overlap."""

from __future__ import annotations

from typing import Any

import numpy as np

from backend.mesh.bake.texels import rasterize
from backend.mesh.unwrap.unwrap import Unwrapped

SIDE = 4096  # of the raster that finds overlaps
INSIDE = 1e-3  # least barycentric coordinate of a point that counts as inside: neighbours share the points on an edge
MOST = 100.0  # distortions are cut off at this value
SLIVER = 1e-6  # faces with less than this share of the mean area are ignored


def layout_quality(mesh: Unwrapped, side: int = SIDE) -> dict[str, float]:
    """The figures of one layout.

    ``packing`` is the share of the square that faces fill. Distortions are means over the surface, at best 1. ``angle``
    is the mean of (s1 / s2 + s2 / s1) / 2, where s1 and s2 are a face's stretch along and across. ``area`` is the mean
    of a face's share of the layout over its share of the surface, or the inverse, whichever is larger. ``overlaps``
    counts each point of a raster, with ``side`` points along a side, once for every face beyond the first that contains
    it.
    """
    long, short, areas = _stretches(mesh)
    share = areas / areas.sum()
    scale = np.sqrt((long * short) @ share)  # of the whole layout
    long, short = long / scale, short / scale
    with np.errstate(divide="ignore", invalid="ignore"):
        angle, area = (long / short + short / long) / 2, long * short
        area = np.maximum(area, 1 / area)
    sides = mesh.uvs[:, 1:].astype(np.float64) - mesh.uvs[:, :1]
    filled = np.abs(sides[:, 0, 0] * sides[:, 1, 1] - sides[:, 0, 1] * sides[:, 1, 0]).sum() / 2
    return {
        "charts": mesh.charts,
        "packing": float(filled),
        "angle": float(np.fmin(angle, MOST) @ share),
        "area": float(np.minimum(area, MOST) @ share),
        "overlaps": overlaps(mesh.uvs, side),
    }


def overlaps(uvs: np.ndarray, side: int) -> int:
    """How often points of a raster are in more than one of the triangles [F, 3, 2]: once for every extra triangle."""
    texels = rasterize(uvs, side)
    inside = texels.weights.min(axis=1) > INSIDE
    taken = np.zeros(side * side, dtype=np.uint8)
    pixel = (texels.row * side + texels.column)[inside]
    taken[pixel] = 1
    return len(pixel) - int(taken.sum())


def _stretches(mesh: Unwrapped) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each face with an area: how much the layout stretches it along and across, and its area in space."""
    a, b, c = mesh.vertices[mesh.faces].astype(np.float64).swapaxes(0, 1)
    uvs = mesh.uvs.astype(np.float64)
    along = np.linalg.norm(b - a, axis=1)
    areas = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2
    solid = areas > SLIVER * areas.mean()
    a, b, c, uvs, along, areas = (values[solid] for values in (a, b, c, uvs, along, areas))
    x, y = ((b - a) * (c - a)).sum(axis=1) / along, 2 * areas / along  # of the third corner; the second is (along, 0)
    du = (uvs[:, 1] - uvs[:, 0]) / along[:, None]
    dv = (uvs[:, 2] - uvs[:, 0] - du * x[:, None]) / y[:, None]
    determinant = du[:, 0] * dv[:, 1] - du[:, 1] * dv[:, 0]
    mean = (np.square(du).sum(axis=1) + np.square(dv).sum(axis=1)) / 2
    spread = np.sqrt(np.maximum(mean**2 - determinant**2, 0))
    return np.sqrt(mean + spread), np.sqrt(np.maximum(mean - spread, 0)), areas


COLUMNS = ("charts", "packing", "angle", "area", "overlaps", "cpu_s")


def layout_table(measurements: list[dict[str, Any]]) -> str:
    """Our layouts beside xatlas's of the same meshes, as text: object by object, then the means."""
    names = [m["stage"].removeprefix("finish ") for m in measurements]
    width = max(map(len, [*names, "mean"]))
    heading = " " * width + "".join(f"{column:>11}{'xatlas':>9}" for column in COLUMNS)
    values = np.array(
        [[m[f"{prefix}{column}"] for column in COLUMNS for prefix in ("unwrap_", "xatlas_")] for m in measurements]
    )
    lines = [heading]
    for name, row in zip([*names, "mean"], [*values, values.mean(axis=0)], strict=True):
        cells = (f"{value:{11 if column % 2 == 0 else 9}.6g}" for column, value in enumerate(np.round(row, 4)))
        lines.append(f"{name:<{width}}" + "".join(cells))
    return "\n".join(lines)
