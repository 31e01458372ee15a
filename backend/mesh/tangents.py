"""Vertex normals and tangents as the programs compute them that will read our normal maps.

A tangent-space normal map only means something together with the frame that it was baked in. Ours is MikkTSpace
(Mikkelsen 2008, "Simulation of Wrinkled Surfaces Revisited"), which glTF and Blender prescribe, on normals that weigh
faces by their angle at the vertex, as Blender does. Red points along +u, green along +v (up in the picture: the OpenGL
convention, "+Y"), blue along the normal. As in MikkTSpace, normal and tangent are interpolated over a face and not
normalised again, and the bitangent is ``sign * cross(normal, tangent)``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .texels import interpolate


@dataclass(frozen=True)
class TangentSpace:
    """The frame at the corners of F faces."""

    normals: np.ndarray  # [F, 3, 3] float32, unit: smooth, over seams too
    tangents: np.ndarray  # [F, 3, 3] float32, unit and perpendicular to the normals
    signs: np.ndarray  # [F] float32: -1 where the UVs are mirrored, else 1

    def encode(self, face: np.ndarray, weights: np.ndarray, directions: np.ndarray) -> np.ndarray:
        """Object-space ``directions`` [P, 3] at points of faces as tangent-space unit normals [P, 3], z >= 0.

        The inverse of what a renderer does: normalize(x T + y B + z N).
        """
        n, t = (interpolate(values, face, weights).T for values in (self.normals, self.tangents))
        b = _cross(n, t) * self.signs[face]
        d = directions.T
        bn, nt = _cross(b, n), _cross(n, t)
        determinant = (t * bn).sum(axis=0)
        local = np.stack([(d * bn).sum(axis=0), (d * nt).sum(axis=0), (d * _cross(t, b)).sum(axis=0)])
        local *= np.where(determinant < 0, np.float32(-1), np.float32(1))  # only the direction counts
        local[2] = np.maximum(local[2], 0)
        length = np.sqrt(np.square(local).sum(axis=0))
        flat = length <= 0
        local[2, flat], length[flat] = 1, 1
        return np.asarray((local / length).T)

    def decode(self, face: np.ndarray, weights: np.ndarray, local: np.ndarray) -> np.ndarray:
        """Tangent-space normals [P, 3] -> object-space unit normals [P, 3], as a renderer does it."""
        n, t = (interpolate(values, face, weights) for values in (self.normals, self.tangents))
        b = _cross(n.T, t.T).T * self.signs[face, None]
        d = local[:, :1] * t + local[:, 1:2] * b + local[:, 2:] * n
        return np.asarray(d / np.maximum(np.linalg.norm(d, axis=1, keepdims=True), 1e-12))


def tangent_space(vertices: np.ndarray, faces: np.ndarray, uvs: np.ndarray) -> TangentSpace:
    """The MikkTSpace frame of a mesh. vertices: [V, 3]; faces: [F, 3]; uvs: [F, 3, 2], v up.

    Corners share a tangent if they share vertex, UV and handedness. Faces without area in space or in UV lend theirs to
    nobody; a corner that only they touch has any tangent.
    """
    normals = vertex_normals(vertices, faces)[faces]
    points, uv = vertices[faces].astype(np.float64), uvs.astype(np.float64)
    edges, steps = points[:, 1:] - points[:, :1], uv[:, 1:] - uv[:, :1]
    area = steps[:, 0, 0] * steps[:, 1, 1] - steps[:, 1, 0] * steps[:, 0, 1]
    signs = np.where(area < 0, -1.0, 1.0)
    along = _unit((edges[:, 0] * steps[:, 1, 1, None] - edges[:, 1] * steps[:, 0, 1, None]) * signs[:, None])
    along[area == 0] = 0

    flat = along[:, None] - normals * (along[:, None] * normals).sum(axis=2, keepdims=True)
    weighted = _unit(flat) * _corner_angles(points, normals)[..., None]
    corner_uv = uvs.astype(np.float32).reshape(-1, 2) + np.float32(0)  # no negative zeros
    key = np.column_stack([faces.reshape(-1), corner_uv.view(np.int32), np.repeat(signs, 3).astype(np.int64)])
    _, group = unique_rows(key)
    sums = np.stack([np.bincount(group, weighted[..., axis].reshape(-1)) for axis in range(3)], axis=1)
    tangents = _unit(sums)[group].reshape(-1, 3, 3)
    tangents = np.where((tangents == 0).all(axis=2, keepdims=True), _any_perpendicular(normals), tangents)
    return TangentSpace(normals, tangents.astype(np.float32), signs.astype(np.float32))


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """[V, 3] float32 unit normals: the faces' normals weighted by their angles; +z where a vertex has none."""
    points = vertices[faces].astype(np.float32)
    normals = _cross((points[:, 1] - points[:, 0]).T, (points[:, 2] - points[:, 0]).T).T
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    normals /= np.where(length > 0, length, 1)
    angles = _corner_angles(points)
    corner = faces.reshape(-1)
    sums = np.stack(
        [np.bincount(corner, (angles * normals[:, axis, None]).reshape(-1), len(vertices)) for axis in range(3)], axis=1
    )
    found = _unit(sums)
    found[(found == 0).all(axis=1)] = [0, 0, 1]
    return found.astype(np.float32)


def unique_rows(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of integer rows [N, C]: where the first of each kind stands, and [N] the kinds, numbered in sorted order."""
    order = np.lexsort(rows.T[::-1])
    begins = np.ones(len(rows), dtype=bool)
    begins[1:] = (rows[order[1:]] != rows[order[:-1]]).any(axis=1)
    kinds = np.empty(len(rows), dtype=np.int64)
    kinds[order] = np.cumsum(begins) - 1
    return order[begins], kinds


def _corner_angles(points: np.ndarray, normals: np.ndarray | None = None) -> np.ndarray:
    """[F, 3] the angles of triangles [F, 3, 3], in the planes of the corners' ``normals`` [F, 3, 3] if given."""
    angles = np.empty(points.shape[:2], dtype=points.dtype)
    for corner in range(3):
        first, second = (points[:, (corner + step) % 3] - points[:, corner] for step in (1, 2))
        if normals is not None:
            first, second = (
                e - normals[:, corner] * (e * normals[:, corner]).sum(1, keepdims=True) for e in (first, second)
            )
        scale = np.sqrt(np.square(first).sum(axis=1) * np.square(second).sum(axis=1))
        cosine = (first * second).sum(axis=1) / np.where(scale > 0, scale, 1)
        angles[:, corner] = np.where(scale > 0, np.arccos(np.clip(cosine, -1, 1)), 0)
    return angles


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cross products of columns, [3, P] each; faster than numpy's by a lot."""
    return np.stack([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]])


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Of length 1, or 0 where they are 0."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.where(length > 0, length, 1))


def _any_perpendicular(normals: np.ndarray) -> np.ndarray:
    axis = np.eye(3)[np.abs(normals).argmin(axis=-1)]
    return _unit(np.cross(axis, normals))
