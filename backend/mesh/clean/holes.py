"""Close holes, each with a fan of faces."""

from __future__ import annotations

import numpy as np

from .. import Mesh
from ..base.topology import components, fans, twins
from .cleanup import border_of, pieces_of

HOLE = 1e-2  # holes with less than this share of their component's area are closed
LEAK = 5e-2  # the same for surfaces that are known to have been closed


def close_holes(mesh: Mesh, limit: float = HOLE) -> Mesh:
    """Close each hole with less than ``limit`` of its component's area, with a fan of faces around its middle.

    Only simple loops are closed, whose vertices have no other open edge; holes that touch at a vertex are separated
    first.
    """
    mesh = _separate_touching(mesh)
    start, end = border_of(mesh)  # the border of a hole runs against the adjacent faces
    if not len(start):
        return mesh
    plain = (np.bincount(start, minlength=len(mesh.vertices)) == 1) & (
        np.bincount(end, minlength=len(mesh.vertices)) == 1
    )
    loop = np.unique(components(np.column_stack([start, end, end]), len(mesh.vertices)), return_inverse=True)[1]
    sizes = np.bincount(loop)[:, None]
    closed = np.ones(len(sizes), dtype=bool)
    closed[loop[~(plain[start] & plain[end])]] = False
    middles = _sums(loop, mesh.vertices[start]) / sizes
    fan = np.linalg.norm(np.cross(mesh.vertices[start] - middles[loop], mesh.vertices[end] - middles[loop]), axis=1) / 2
    component, area = pieces_of(mesh)
    of_vertex = np.zeros(len(mesh.vertices), dtype=np.int64)
    of_vertex[mesh.faces] = component[:, None]
    lies_on = np.zeros(len(sizes), dtype=np.int64)
    lies_on[loop] = of_vertex[start]
    closed &= np.bincount(loop, weights=fan) < limit * area[lies_on]
    chosen = closed[loop]
    number = np.cumsum(closed) - 1 + len(mesh.vertices)
    added = np.column_stack([end[chosen], start[chosen], number[loop[chosen]]])

    def with_means(values: np.ndarray | None) -> np.ndarray | None:
        """Values of the vertices, then the means around the holes."""
        if values is None:
            return None
        return np.concatenate([values, (_sums(loop, values[start]) / sizes)[closed].astype(values.dtype)])

    vertices = np.concatenate([mesh.vertices, middles[closed].astype(mesh.vertices.dtype)])
    faces = np.concatenate([mesh.faces, added])
    return Mesh(vertices, faces, with_means(mesh.colors), materials=with_means(mesh.materials))


def _separate_touching(mesh: Mesh) -> Mesh:
    """Where several open fans of faces meet at a vertex, give each its own copy of it."""
    start, _ = border_of(mesh)
    touching = np.bincount(start, minlength=len(mesh.vertices)) > 1
    if not touching.any():
        return mesh
    near = np.flatnonzero(touching[mesh.faces].any(axis=1))
    faces = mesh.faces[near]
    twin, start = twins(faces), faces.reshape(-1)
    twin[start == start[twin]] = -1  # these run in the same direction
    fan = fans(twin)
    corner = np.flatnonzero(touching[faces.reshape(-1)])
    old = faces.reshape(-1)[corner]
    parted, which = np.unique(np.column_stack([old, fan[corner]]), axis=0, return_inverse=True)
    new = parted[:, 0].copy()
    further = np.flatnonzero(new[1:] == new[:-1]) + 1  # the first fan keeps the vertex
    new[further] = len(mesh.vertices) + np.arange(len(further))
    copied = parted[further, 0]
    faces.reshape(-1)[corner] = new[which.reshape(-1)]
    changed = mesh.faces.copy()
    changed[near] = faces
    colors, materials = (
        None if values is None else np.concatenate([values, values[copied]]) for values in (mesh.colors, mesh.materials)
    )
    return Mesh(np.concatenate([mesh.vertices, mesh.vertices[copied]]), changed, colors, materials=materials)


def _sums(group: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Sums [G, 3] of values [N, 3] by group [N]."""
    return np.stack([np.bincount(group, weights=values[:, axis]) for axis in range(3)], axis=1)
