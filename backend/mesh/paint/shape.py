"""The object as painting sees it: its surface with the predicted colours, and what a camera sees of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..bake.tangents import vertex_normals
from ..base.compiled import compiled
from ..base.topology import open_edges
from .camera import Camera, draw

CREASE = math.cos(math.radians(45))  # faces that meet at a sharper angle do not share normals
COLORS_SIDE = 256  # of the texture that renders are coloured from


@dataclass(frozen=True)
class Shape:
    """A textured surface."""

    vertices: np.ndarray  # [V, 3] float32
    faces: np.ndarray  # [F, 3] int64
    uvs: np.ndarray  # [F, 3, 2] float32, v up
    normals: np.ndarray  # [F, 3, 3] float32 unit normals at the corners
    colors: np.ndarray  # [C, C, 3] float32 in 0..1, sRGB: the texture, reduced

    @classmethod
    def of(cls, vertices: np.ndarray, faces: np.ndarray, uvs: np.ndarray, texture: np.ndarray) -> Shape:
        """From a mesh [V, 3], [F, 3], [F, 3, 2] and its texture [T, T, 3] uint8."""
        vertices = np.ascontiguousarray(vertices, dtype=np.float32)
        faces = np.ascontiguousarray(faces, dtype=np.int64)
        normals = vertex_normals(vertices, faces)[faces]
        a, b, c = (vertices[faces[:, k]] for k in range(3))
        flat = np.cross(b - a, c - a)
        flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-12)
        creased = (normals * flat[:, None]).sum(axis=2) < CREASE
        normals = np.where(creased[..., None], flat[:, None], normals)
        step = max(1, len(texture) // COLORS_SIDE)
        side = len(texture) // step
        blocks = texture[: side * step, : side * step].reshape(side, step, side, step, 3)
        colors = blocks.mean(axis=(1, 3), dtype=np.float32) / 255
        return cls(vertices, faces, np.ascontiguousarray(uvs, np.float32), np.ascontiguousarray(normals), colors)

    @cached_property
    def closed(self) -> bool:
        """Whether the surface encloses a volume, so that only its outer side can be seen."""
        if len(open_edges(self.faces)[0]):
            return False
        a, b, c = (self.vertices[self.faces[:, k]].astype(np.float64) for k in range(3))
        return float((a * np.cross(b, c)).sum()) > 0

    def drawn(self, camera: Camera, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Face, weights and nearness of ``size`` x ``size`` pixels, see ``camera.draw``."""
        face_at = np.empty((size, size), dtype=np.int32)
        weights = np.empty((size, size, 2), dtype=np.float32)
        near = np.empty((size, size), dtype=np.float32)
        draw(camera.project(self.vertices), self.faces, self.closed, face_at, weights, near)
        return face_at, weights, near

    def seen(self, camera: Camera, size: int) -> Seen:
        """What a camera sees, in ``size`` x ``size`` pixels."""
        face_at, weights, near = self.drawn(camera, size)
        normals, colors = np.zeros((2, size, size, 3), dtype=np.float32)
        fill(face_at, weights, self.uvs, self.normals, self.colors, normals, colors)
        return Seen(face_at >= 0, near, normals, colors)


@dataclass(frozen=True)
class Seen:
    """What a camera sees of a shape, pixel by pixel."""

    shown: np.ndarray  # [N, N] bool: where there is a surface
    near: np.ndarray  # [N, N] float32: 1 / depth, 0 for none
    normals: np.ndarray  # [N, N, 3] float32, unit
    colors: np.ndarray  # [N, N, 3] float32: the predicted ones


@compiled
def fill(
    face_at: np.ndarray,
    weights: np.ndarray,
    uvs: np.ndarray,
    normals: np.ndarray,
    texture: np.ndarray,
    normal_at: np.ndarray,
    color_at: np.ndarray,
) -> None:
    """Fill in normals and colours [N, N, 3] float32 of the pixels that show a face, see ``camera.draw``."""
    span = len(texture)
    for row in range(len(face_at)):
        for column in range(len(face_at)):
            face = face_at[row, column]
            if face < 0:
                continue
            s, t = np.float64(weights[row, column, 0]), np.float64(weights[row, column, 1])
            r = 1 - s - t
            u = r * uvs[face, 0, 0] + s * uvs[face, 1, 0] + t * uvs[face, 2, 0]
            v = r * uvs[face, 0, 1] + s * uvs[face, 1, 1] + t * uvs[face, 2, 1]
            i, j = min(max(int((1 - v) * span), 0), span - 1), min(max(int(u * span), 0), span - 1)
            length = 0.0
            for k in range(3):
                color_at[row, column, k] = texture[i, j, k]
                normal = r * normals[face, 0, k] + s * normals[face, 1, k] + t * normals[face, 2, k]
                normal_at[row, column, k] = normal
                length += normal * normal
            scale = 1.0 / max(math.sqrt(length), 1e-9)
            for k in range(3):
                normal_at[row, column, k] *= scale
