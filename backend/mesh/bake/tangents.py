"""Vertex normals and tangents, computed in the same way as by the programs that read our normal maps.

A tangent-space normal map is only meaningful together with the frame that it was baked in. Ours is MikkTSpace
(Mikkelsen 2008, "Simulation of Wrinkled Surfaces Revisited"), which glTF and Blender prescribe, on normals that weight
faces by their angle at the vertex, as in Blender. Red points along +u, green along +v (up in the picture: the OpenGL
convention, "+Y"), blue along the normal. As in MikkTSpace, normal and tangent are interpolated over a face without
normalising them again, and the bitangent is ``sign * cross(normal, tangent)``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..base.compiled import compiled, inlined
from ..base.vectors import Vector, angle, corners_of, cross, dot, minus, plus, unit, vector
from .texels import interpolate


@dataclass(frozen=True)
class TangentSpace:
    """The frame at the corners of F faces."""

    frames: np.ndarray  # [F, 3, 2, 3] float32: normal and tangent
    signs: np.ndarray  # [F] float32: -1 where the UVs are mirrored, else 1

    @property
    def normals(self) -> np.ndarray:
        """Unit normals [F, 3, 3], smooth even across seams."""
        return self.frames[:, :, 0]

    @property
    def tangents(self) -> np.ndarray:
        """Unit tangents [F, 3, 3], perpendicular to the normals."""
        return self.frames[:, :, 1]

    def decode(self, face: np.ndarray, weights: np.ndarray, local: np.ndarray) -> np.ndarray:
        """Tangent-space normals [P, 3] to object-space unit normals [P, 3], as a renderer does it.

        face: [P] the faces of the points; weights: [P, 3] barycentric coordinates in them.
        """
        n, t = (interpolate(values, face, weights) for values in (self.normals, self.tangents))
        b = np.cross(n, t) * self.signs[face, None]
        d = local[:, :1] * t + local[:, 1:2] * b + local[:, 2:] * n
        return np.asarray(d / np.maximum(np.linalg.norm(d, axis=1, keepdims=True), 1e-12))


def tangent_space(vertices: np.ndarray, faces: np.ndarray, uvs: np.ndarray) -> TangentSpace:
    """The MikkTSpace frame of a mesh. vertices: [V, 3]; faces: [F, 3]; uvs: [F, 3, 2], v up.

    Corners share a tangent if they share vertex, UV and handedness. Faces without area in space or in UV do not count;
    corners with no other faces get an arbitrary tangent.
    """
    vertices, uvs = (np.ascontiguousarray(given, dtype=np.float32) for given in (vertices, uvs))
    faces = np.ascontiguousarray(faces, dtype=np.int64)
    return TangentSpace(*_frames(vertices, faces, uvs, vertex_normals(vertices, faces)))


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """[V, 3] float32 unit normals: the faces' normals weighted by their angles; +z for vertices without faces."""
    return np.asarray(
        _vertex_normals(np.ascontiguousarray(vertices, dtype=np.float32), np.ascontiguousarray(faces, dtype=np.int64))
    )


def unique_rows(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of integer rows [N, C] the first index of each distinct row, in sorted order, and which of these [N] each is."""
    order = np.lexsort(rows.T[::-1])
    begins = np.ones(len(rows), dtype=bool)
    begins[1:] = (rows[order[1:]] != rows[order[:-1]]).any(axis=1)
    kinds = np.empty(len(rows), dtype=np.int64)
    kinds[order] = np.cumsum(begins) - 1
    return order[begins], kinds


@inlined
def encode(n: Vector, t: Vector, sign: float, direction: Vector) -> Vector:
    """An object-space direction as a tangent-space unit normal, z >= 0, at a point with normal n and tangent t.

    The inverse of what a renderer does: normalize(x T + y B + z N).
    """
    nn, nt, tt, dn, dt = dot(n, n), dot(n, t), dot(t, t), dot(direction, n), dot(direction, t)
    # The inverse of the matrix of T, B and N, up to a factor: B is perpendicular to the others.
    x, y, z = unit((dt * nn - dn * nt, dot(direction, cross(n, t)) * sign, max(dn * tt - dt * nt, 0.0)))
    return (x, y, z) if x != 0 or y != 0 or z != 0 else (0.0, 0.0, 1.0)


@compiled
def _vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    sums = np.zeros(vertices.shape)
    for face in range(len(faces)):
        a, b, c = corners_of(vertices, faces, face)
        ab, bc, ca = minus(b, a), minus(c, b), minus(a, c)
        normal = unit(cross(ab, bc))
        first, second = np.pi - angle(ca, ab), np.pi - angle(ab, bc)
        weights = (first, second, np.pi - first - second)
        for corner in range(3):
            for axis in range(3):
                sums[faces[face, corner], axis] += weights[corner] * normal[axis]
    normals = np.empty(vertices.shape, dtype=np.float32)
    for vertex in range(len(vertices)):
        x, y, z = unit(vector(sums, vertex))
        normals[vertex, 0], normals[vertex, 1], normals[vertex, 2] = x, y, (z if x != 0 or y != 0 or z != 0 else 1.0)
    return normals


@compiled
def _frames(
    vertices: np.ndarray, faces: np.ndarray, uvs: np.ndarray, normals: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The fields of a ``TangentSpace`` for a mesh with these vertex normals [V, 3]."""
    signs = np.ones(len(faces), dtype=np.float32)
    first = np.arange(3 * len(faces))  # the first of the corners that share a tangent
    sums = np.zeros((3 * len(faces), 3))  # the sum of tangents, at that corner
    latest, before = np.full(len(vertices), -1), np.full(3 * len(faces), -1)  # the first corners of each vertex
    for face in range(len(faces)):
        along, signs[face] = _along_u(vertices, faces[face], uvs[face])
        for corner in range(3):
            vertex, own = faces[face, corner], 3 * face + corner
            here, n = vector(vertices, vertex), vector(normals, vertex)
            one = minus(vector(vertices, faces[face, (corner + 1) % 3]), here)
            two = minus(vector(vertices, faces[face, (corner + 2) % 3]), here)
            weight = angle(plus(one, -dot(one, n), n), plus(two, -dot(two, n), n))
            like = latest[vertex]
            while like >= 0 and not (
                signs[like // 3] == signs[face]
                and uvs[like // 3, like % 3, 0] == uvs[face, corner, 0]
                and uvs[like // 3, like % 3, 1] == uvs[face, corner, 1]
            ):
                like = before[like]
            if like < 0:
                like, before[own], latest[vertex] = own, latest[vertex], own
            first[own] = like
            tangent = unit(plus(along, -dot(along, n), n))
            for axis in range(3):
                sums[like, axis] += weight * tangent[axis]
    frames = np.empty((len(faces), 3, 2, 3), dtype=np.float32)
    for own in range(3 * len(faces)):
        n, t = vector(normals, faces[own // 3, own % 3]), unit(vector(sums, first[own]))
        if t[0] == 0 and t[1] == 0 and t[2] == 0:
            t = _any_perpendicular(n)
        for axis in range(3):
            frames[own // 3, own % 3, 0, axis], frames[own // 3, own % 3, 1, axis] = n[axis], t[axis]
    return frames, signs


@inlined
def _along_u(vertices: np.ndarray, face: np.ndarray, uvs: np.ndarray) -> tuple[Vector, float]:
    """The unit direction in which u grows fastest on a face with UVs [3, 2], or 0 if it has no area; and its sign."""
    a = vector(vertices, face[0])
    u1, v1 = np.float64(uvs[1, 0]) - uvs[0, 0], np.float64(uvs[1, 1]) - uvs[0, 1]
    u2, v2 = np.float64(uvs[2, 0]) - uvs[0, 0], np.float64(uvs[2, 1]) - uvs[0, 1]
    area = u1 * v2 - u2 * v1
    sign = -1.0 if area < 0 else 1.0
    if area == 0:
        return (0.0, 0.0, 0.0), sign
    none = (0.0, 0.0, 0.0)
    one, two = minus(vector(vertices, face[1]), a), minus(vector(vertices, face[2]), a)
    return unit(plus(plus(none, sign * v2, one), -sign * v1, two)), sign


@inlined
def _any_perpendicular(normal: Vector) -> Vector:
    x, y, z = abs(normal[0]), abs(normal[1]), abs(normal[2])
    if x <= y and x <= z:
        return unit(cross((1.0, 0.0, 0.0), normal))
    return unit(cross((0.0, 1.0, 0.0) if y <= z else (0.0, 0.0, 1.0), normal))
