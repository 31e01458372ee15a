"""The colour of surface points from the 3-D Gaussians around them, as one sees it looking straight at the surface.

For each point the nearest Gaussians are composited front to back along its normal: a Gaussian's weight is its opacity
times its density where the line of sight passes it the closest (Kerbl et al. 2023, equations 2 and 3, for a camera far
away). What lies below the surface is hidden by what lies on it, as in the renders that Gaussians are trained with; no
view is rendered, and nothing is blurred between charts, for every texel asks in space.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ..gaussians import Gaussians

NEIGHBOURS = 16  # Gaussians that a point looks at
LEAST_OPACITY = 1 / 255  # weaker ones are left out, as renderers do
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
        xx, xy, xz, yy, yz, zz = gaussians.covariance.double().cpu().numpy()[seen].T
        precision = np.linalg.inv(np.stack([xx, xy, xz, xy, yy, yz, xz, yz, zz], axis=1).reshape(-1, 3, 3))
        color = gaussians.raw_features_dc[:, 0].float().cpu().numpy()[seen] * SH_DC + 0.5
        # One row for each: centre, opacity, upper triangle of the precision, colour.
        row, column = np.triu_indices(3)
        self._rows = np.concatenate(
            [self._centres, opacity[seen, None], precision[:, row, column], np.clip(color, 0, 1)], axis=1
        ).astype(np.float32)
        self._tree = cKDTree(self._centres, balanced_tree=False, compact_nodes=False)

    def at(self, points: np.ndarray, normals: np.ndarray, groups: np.ndarray) -> np.ndarray:
        """sRGB colours [P, 3] in 0..1 of ``points`` [P, 3] with ``normals`` [P, 3].

        ``groups``: [P] ascending numbers, from 0 without gaps; points of the same number lie side by side and look at
        the same Gaussians.
        """
        colors = np.empty((len(points), 3), dtype=np.float32)
        if not len(points):
            return colors
        normals = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
        sizes = np.bincount(groups)
        middle = points[np.cumsum(sizes) - (sizes + 1) // 2]
        count = min(NEIGHBOURS, len(self._centres))
        _, near = self._tree.query(middle, k=range(1, count + 1), workers=-1)
        for first in range(0, len(points), CHUNK):
            part = slice(first, first + CHUNK)
            rows = self._rows[near[groups[part]]]  # [P, K, 13]
            colors[part] = _composite(points[part].astype(np.float32), normals[part].astype(np.float32), rows)
        return colors


def _composite(points: np.ndarray, normals: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """What is seen of Gaussians [P, K, 13] from afar against the normals, through the points: [P, 3]."""
    x, y, z, opacity, xx, xy, xz, yy, yz, zz = np.ascontiguousarray(np.moveaxis(rows[..., :10], 2, 0))
    px, py, pz = points.T[:, :, None]
    nx, ny, nz = normals.T[:, :, None]
    dx, dy, dz = px - x, py - y, pz - z
    ax, ay, az = xx * nx + xy * ny + xz * nz, xy * nx + yy * ny + yz * nz, xz * nx + yz * ny + zz * nz
    nn, dn = nx * ax + ny * ay + nz * az, dx * ax + dy * ay + dz * az
    dd = dx * (xx * dx + 2 * (xy * dy + xz * dz)) + dy * (yy * dy + 2 * yz * dz) + dz * zz * dz
    height = -dn / nn  # of the densest place on the line of sight, above the point
    distance = np.maximum(dd + height * dn, 0)  # squared, in standard deviations
    order = np.argsort(-height, axis=1)
    # Two standard deviations from all Gaussians and farther, their ratios are what counts: densities would vanish.
    distance -= np.maximum(distance.min(axis=1, keepdims=True) - 4, 0)
    alpha = np.take_along_axis(np.minimum(opacity * np.exp(-0.5 * distance), 0.999), order, axis=1)
    clear = np.cumprod(1 - alpha, axis=1)
    weight = alpha
    weight[:, 1:] *= clear[:, :-1]
    color = np.take_along_axis(rows[..., 10:], order[..., None], axis=1)
    return np.asarray(np.einsum("pk,pkc->pc", weight, color) / weight.sum(axis=1, keepdims=True))
