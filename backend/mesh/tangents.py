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

from .columns import corners_of, cross, dot, unit
from .texels import interpolate


@dataclass(frozen=True)
class TangentSpace:
    """The frame at the corners of F faces."""

    frames: np.ndarray  # [F, 3, 6] float32: the normals, then the tangents
    signs: np.ndarray  # [F] float32: -1 where the UVs are mirrored, else 1

    @property
    def normals(self) -> np.ndarray:
        """[F, 3, 3], unit: smooth, over seams too."""
        return self.frames[..., :3]

    @property
    def tangents(self) -> np.ndarray:
        """[F, 3, 3], unit and perpendicular to the normals."""
        return self.frames[..., 3:]

    def encode(self, face: np.ndarray, weights: np.ndarray, directions: np.ndarray) -> np.ndarray:
        """Object-space ``directions`` [P, 3] at points of faces as tangent-space unit normals [P, 3], z >= 0.

        The inverse of what a renderer does: normalize(x T + y B + z N).
        """
        found = np.ascontiguousarray(interpolate(self.frames, face, weights).T)
        n, t, d = found[:3], found[3:], np.ascontiguousarray(directions.T)
        nn, nt, tt, dn, dt = dot(n, n), dot(n, t), dot(t, t), dot(d, n), dot(d, t)
        # The matrix of T, B and N inverted, up to a factor: B is perpendicular to the others.
        local = np.stack([dt * nn - dn * nt, dot(d, cross(n, t)) * self.signs.take(face), dn * tt - dt * nt])
        local[2] = np.maximum(local[2], 0)
        length = np.sqrt(dot(local, local))
        flat = np.flatnonzero(length <= 0)
        local[2, flat], length[flat] = 1, 1
        local /= length
        return np.asarray(local.T)

    def decode(self, face: np.ndarray, weights: np.ndarray, local: np.ndarray) -> np.ndarray:
        """Tangent-space normals [P, 3] -> object-space unit normals [P, 3], as a renderer does it."""
        n, t = np.split(interpolate(self.frames, face, weights), 2, axis=1)
        b = cross(n.T, t.T).T * self.signs[face, None]
        d = local[:, :1] * t + local[:, 1:2] * b + local[:, 2:] * n
        return np.asarray(d / np.maximum(np.linalg.norm(d, axis=1, keepdims=True), 1e-12))


def tangent_space(vertices: np.ndarray, faces: np.ndarray, uvs: np.ndarray) -> TangentSpace:
    """The MikkTSpace frame of a mesh. vertices: [V, 3]; faces: [F, 3]; uvs: [F, 3, 2], v up.

    Corners share a tangent if they share vertex, UV and handedness. Faces without area in space or in UV lend theirs to
    nobody; a corner that only they touch has any tangent.
    """
    normals = vertex_normals(vertices, faces)[faces]
    corners, uv = corners_of(vertices.astype(np.float64), faces), uvs.astype(np.float64)
    (u1, v1), (u2, v2) = (uv[:, 1] - uv[:, 0]).T, (uv[:, 2] - uv[:, 0]).T
    area = u1 * v2 - u2 * v1
    signs = np.where(area < 0, -1.0, 1.0)
    along = unit(((corners[1] - corners[0]) * v2 - (corners[2] - corners[0]) * v1) * signs)
    along[:, area == 0] = 0

    weighted = np.empty((len(faces), 3, 3))
    for corner in range(3):
        n = np.ascontiguousarray(normals[:, corner].T, dtype=np.float64)
        one, two = (corners[(corner + step) % 3] - corners[corner] for step in (1, 2))
        up_one, up_two = dot(n, one), dot(n, two)  # what the plane of the normal leaves out
        angle = _angles(dot(one, two) - up_one * up_two, dot(one, one) - up_one**2, dot(two, two) - up_two**2)
        weighted[:, corner] = (unit(along - n * dot(along, n)) * angle).T
    group = _shared(faces, uvs, signs)
    sums = np.stack([np.bincount(group, weighted[..., axis].reshape(-1)) for axis in range(3)])
    tangents = unit(sums).T[group].reshape(-1, 3, 3)
    none = (tangents == 0).all(axis=2)
    tangents[none] = _any_perpendicular(normals[none])
    return TangentSpace(np.concatenate([normals, tangents], axis=2, dtype=np.float32), signs.astype(np.float32))


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """[V, 3] float32 unit normals: the faces' normals weighted by their angles; +z where a vertex has none."""
    a, b, c = corners_of(vertices.astype(np.float32, copy=False), faces)
    ab, bc, ca = b - a, c - b, a - c
    normals = unit(cross(ab, bc))
    squares = [dot(side, side) for side in (ab, bc, ca)]
    sums = np.zeros((3, len(vertices)))
    for corner, before, after in ((0, 2, 0), (1, 0, 1), (2, 1, 2)):
        angle = _angles(-dot((ab, bc, ca)[before], (ab, bc, ca)[after]), squares[before], squares[after])
        for axis in range(3):
            sums[axis] += np.bincount(faces[:, corner], angle * normals[axis], len(vertices))
    found = unit(sums)
    found[2, (found == 0).all(axis=0)] = 1
    return np.ascontiguousarray(found.T, dtype=np.float32)


def _shared(faces: np.ndarray, uvs: np.ndarray, signs: np.ndarray) -> np.ndarray:
    """[3 F] numbers of corners [F, 3], the same if vertex, UV and sign are."""
    vertex, uv, sign = faces.reshape(-1), uvs.astype(np.float32).reshape(-1, 2), np.repeat(signs, 3)
    one = np.zeros(int(vertex.max(initial=-1)) + 1, dtype=np.int64)  # some corner of each vertex: most are like it
    one[vertex] = np.arange(len(vertex))
    one = one[vertex]
    other = np.flatnonzero((uv[one] != uv).any(axis=1) | (sign[one] != sign))
    corner_uv = uv[other] + np.float32(0)  # no negative zeros
    key = np.column_stack([vertex[other], corner_uv.view(np.int32), sign[other].astype(np.int64)])
    group = vertex.copy()
    group[other] = vertex.max(initial=-1) + 1 + unique_rows(key)[1]
    return group


def unique_rows(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of integer rows [N, C]: where the first of each kind stands, and [N] the kinds, numbered in sorted order."""
    order = np.lexsort(rows.T[::-1])
    begins = np.ones(len(rows), dtype=bool)
    begins[1:] = (rows[order[1:]] != rows[order[:-1]]).any(axis=1)
    kinds = np.empty(len(rows), dtype=np.int64)
    kinds[order] = np.cumsum(begins) - 1
    return order[begins], kinds


def _angles(dot: np.ndarray, one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """Angles between vectors with these products, with each other and with themselves; 0 where there is none."""
    scale = np.sqrt(np.maximum(one * two, 0))
    cosine = dot / np.where(scale > 0, scale, 1)
    return np.where(scale > 0, np.arccos(np.clip(cosine, -1, 1)), 0)


def _any_perpendicular(normals: np.ndarray) -> np.ndarray:
    axis = np.eye(3)[np.abs(normals).argmin(axis=-1)]
    return unit(cross(axis.T, normals.T)).T
