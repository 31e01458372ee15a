"""The voxels that a surface crosses, found triangle by triangle.

Exact: a triangle and a box intersect unless one of these separates them: the box's axes, the triangle's plane, or, in
the projections along the three axes, an edge of the triangle (Schwarz and Seidel 2010, "Fast Parallel Surface and Solid
Voxelization on GPUs", the full test of section 3.1).
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from .bake.texels import ranges

CHUNK = 1 << 18  # pairs of a triangle and a nearby voxel tested at a time, approximately
SLACK = 1e-9  # in voxels: rounding error allowed when a triangle touches a box


def surface_voxels(vertices: np.ndarray, faces: np.ndarray, resolution: int) -> np.ndarray:
    """[N, 3] int32 voxels of a grid of resolution^3 over [-0.5, 0.5]^3 that triangles cross, in ascending order.

    A surface in the plane between two layers of voxels belongs to the upper layer only, and one on the upper sides of
    the cube to the last layer. vertices: [V, 3], inside the cube; faces: [F, 3].
    """
    corners = (vertices.astype(np.float64) + 0.5)[faces] * resolution  # [F, 3, 3], in voxels
    low = np.floor(corners.min(axis=1)).clip(0, resolution - 1).astype(np.int64)
    high = np.maximum(np.ceil(corners.max(axis=1)).astype(np.int64) - 1, low).clip(0, resolution - 1)
    found = np.zeros(resolution**3, dtype=bool)
    pairs = np.cumsum((high - low + 1).prod(axis=1))
    cuts = np.searchsorted(pairs, np.arange(CHUNK, pairs[-1], CHUNK))
    for first, last in pairwise(np.unique([0, *cuts, len(faces)])):
        face, voxel = _near(low[first:last], high[first:last])
        crossed = voxel[_meet(corners[first:last], face, voxel)]
        found[(crossed[:, 0] * resolution + crossed[:, 1]) * resolution + crossed[:, 2]] = True
    return np.stack(np.unravel_index(np.flatnonzero(found), (resolution,) * 3), axis=1).astype(np.int32)


def _near(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pair each triangle [F] with all voxels from its ``low`` to its ``high`` [F, 3]: triangles [P], voxels [P, 3]."""
    size = high - low + 1
    face, index = ranges(np.zeros(len(size)), size.prod(axis=1) - 1)
    index = index.astype(np.int64)
    _, height, depth = size[face].T
    return face, low[face] + np.stack([index // (height * depth), index // depth % height, index % depth], axis=1)


def _meet(corners: np.ndarray, face: np.ndarray, voxel: np.ndarray) -> np.ndarray:
    """[P] bool: whether triangles ``corners[face]`` and unit boxes at ``voxel``, in their bounding boxes, intersect."""
    edges = np.roll(corners, -1, axis=1) - corners  # [F, 3, 3]
    normal = np.cross(edges[:, 0], edges[:, 1])
    middle = voxel + 0.5
    reach = np.abs(normal).sum(axis=1) / 2
    offset = np.einsum("fi,fi->f", normal, corners[:, 0])
    meet = np.abs(np.einsum("pi,pi->p", normal[face], middle) - offset[face]) <= reach[face] + SLACK
    for axis in range(3):
        u, v = (axis + 1) % 3, (axis + 2) % 3
        turn = np.where(normal[:, axis] < 0, -1.0, 1.0)
        for corner in range(3):
            # The edge's normal in this projection, pointing into the triangle; the box's corner farthest along it.
            nu, nv = -edges[:, corner, v] * turn, edges[:, corner, u] * turn
            start = nu * corners[:, corner, u] + nv * corners[:, corner, v]
            inner = nu[face] * middle[:, u] + nv[face] * middle[:, v] + ((np.abs(nu) + np.abs(nv)) / 2 - start)[face]
            meet &= inner >= -SLACK
    return meet
