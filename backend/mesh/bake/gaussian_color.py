"""The colour of surface points from the 3-D Gaussians around them, as seen when looking straight at the surface.

For each point the nearest Gaussians are composited front to back along its normal: a Gaussian's weight is its opacity
times its density at the point of the line of sight closest to it (Kerbl et al. 2023, equations 2 and 3, for a distant
camera, in the order of the centres). Gaussians below the surface are hidden by those on it, as in the renderings that
Gaussians are trained with. No view is rendered, and nothing is blurred between charts: each texel is a point in space.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ...models.gaussians import Gaussians

NEIGHBOURS = 16  # Gaussians composited for a point
LEAST_OPACITY = 1 / 255  # weaker Gaussians are left out, as in renderers
SH_DC = 0.28209479177387814  # the spherical harmonic of degree 0, 1 / (2 sqrt(pi))
CHUNK = 1 << 13  # points at a time


class GaussianColors:
    """Colours from Gaussians. Raises ValueError if all of them are transparent."""

    def __init__(self, gaussians: Gaussians) -> None:
        from scipy.spatial import cKDTree

        opacity = gaussians.opacity[:, 0].float().cpu().numpy()
        seen = opacity >= LEAST_OPACITY
        if not seen.any():
            raise ValueError("all Gaussians are transparent")
        self._centres = gaussians.xyz.float().cpu().numpy()[seen]
        xx, xy, xz, yy, yz, zz = gaussians.covariance.cpu().double().numpy()[seen].T
        precision = np.linalg.inv(np.stack([xx, xy, xz, xy, yy, yz, xz, yz, zz], axis=1).reshape(-1, 3, 3))
        color = gaussians.raw_features_dc[:, 0].float().cpu().numpy()[seen] * SH_DC + 0.5
        # One row for each Gaussian: centre, opacity, upper triangle of the precision, colour.
        row, column = np.triu_indices(3)
        self._rows = np.concatenate(
            [self._centres, opacity[seen, None], precision[:, row, column], np.clip(color, 0, 1)], axis=1
        ).astype(np.float32)
        self._tree = cKDTree(self._centres, balanced_tree=False, compact_nodes=False)

    def at(self, points: np.ndarray, normals: np.ndarray, groups: np.ndarray) -> np.ndarray:
        """sRGB colours [P, 3] in 0..1 of ``points`` [P, 3] with ``normals`` [P, 3].

        ``groups``: [P] ascending numbers, from 0 without gaps; points with the same number are adjacent and use the
        same Gaussians.
        """
        colors = np.empty((len(points), 3), dtype=np.float32)
        if not len(points):
            return colors
        normals = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
        sizes = np.bincount(groups)
        middle = np.cumsum(sizes) - (sizes + 1) // 2
        count = min(NEIGHBOURS, len(self._centres))
        _, near = self._tree.query(points[middle], k=range(1, count + 1), workers=-1)
        depth = np.einsum("gkc,gc->gk", self._centres[near], -normals[middle])
        near = np.take_along_axis(near, np.argsort(depth, axis=1), axis=1)  # front to back
        for first in range(0, len(points), CHUNK):
            part = slice(first, first + CHUNK)
            # One column per point, one row per Gaussian: [K, P] for each of the 13 values.
            values = np.ascontiguousarray(np.moveaxis(self._rows[near[groups[part]].T], 2, 0))
            colors[part] = _composite(points[part].astype(np.float32), normals[part].astype(np.float32), values).T
        return colors


def _composite(points: np.ndarray, normals: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The colours [3, P] of Gaussians [13, K, P], front to back, seen from far away against the normals."""
    x, y, z, opacity, xx, xy, xz, yy, yz, zz = values[:10]
    (px, py, pz), (nx, ny, nz) = points.T, normals.T
    dx, dy, dz = px - x, py - y, pz - z
    ax, ay, az = xx * nx + xy * ny + xz * nz, xy * nx + yy * ny + yz * nz, xz * nx + yz * ny + zz * nz
    nn, dn = nx * ax + ny * ay + nz * az, dx * ax + dy * ay + dz * az
    dd = dx * (xx * dx + 2 * (xy * dy + xz * dz)) + dy * (yy * dy + 2 * yz * dz) + dz * zz * dz
    distance = np.maximum(dd - dn * dn / nn, 0)  # smallest along the line of sight, squared, in standard deviations
    # Two or more standard deviations away from all Gaussians only their ratios count: densities would vanish.
    distance -= np.maximum(distance.min(axis=0) - 4, 0)
    clear, total = np.ones(len(points), np.float32), np.zeros(len(points), np.float32)
    color = np.zeros((3, len(points)), np.float32)
    for alpha, rgb in zip(opacity * np.exp(-0.5 * distance), values[10:].swapaxes(0, 1), strict=True):
        weight = clear * alpha
        color += weight * rgb
        total += weight
        clear -= weight
    return np.asarray(color / total)
