"""Draws a small picture of a finished mesh with its texture, as Blender shows it in the panel."""

from __future__ import annotations

import numpy as np

from ..portrait_facts import AXES, EVEN, LIGHT, SIZE, framing
from .finish import FinishedMesh
from .paint.camera import draw

SUPERSAMPLING = 3  # along each side of a pixel
FAR = 100.0  # pictures' sides from the viewer: ``draw`` has perspective, which is too little there to be seen


def draw_portrait(mesh: FinishedMesh) -> np.ndarray:
    """A picture [SIZE, SIZE, 4] uint8: sRGB and alpha, which are not multiplied, the top row first."""
    side = SIZE * SUPERSAMPLING
    faces = np.ascontiguousarray(mesh.faces, np.int64)
    face_at, near = np.empty((side, side), np.int32), np.empty((side, side), np.float32)
    weights = np.empty((side, side, 2), np.float32)
    draw(_screen(mesh.vertices), faces, False, face_at, weights, near)
    shown = face_at >= 0
    face, weight = face_at[shown], weights[shown]
    uvs = mesh.uvs[face]
    points = uvs[:, 0] + weight[:, :1] * (uvs[:, 1] - uvs[:, 0]) + weight[:, 1:] * (uvs[:, 2] - uvs[:, 0])
    colors = np.zeros((side, side, 4), np.float32)
    colors[shown, :3] = _texels(mesh.texture, points) * _brightness(mesh.vertices, faces, face)[:, None]
    colors[shown, 3] = 1.0
    within = range(SUPERSAMPLING)
    total = np.sum([colors[row::SUPERSAMPLING, column::SUPERSAMPLING] for row in within for column in within], axis=0)
    means, alpha = total[..., :3] / np.maximum(total[..., 3:], 1), total[..., 3:] * (255 / SUPERSAMPLING**2)
    return (np.concatenate([np.clip(means, 0, 255), alpha], axis=2) + 0.5).astype(np.uint8)


def _screen(vertices: np.ndarray) -> np.ndarray:
    """[V, 3] float64: where vertices are in the picture, 0..1 from the left and from the top, and their depth."""
    seen = vertices.astype(np.float64) @ np.array(AXES).T
    factor, (right, up) = framing(seen.min(axis=0).tolist(), seen.max(axis=0).tolist())
    return seen * (factor, -factor, factor) + (right, 1 - up, FAR)


def _texels(texture: np.ndarray, uvs: np.ndarray) -> np.ndarray:
    """The colours [K, 3] of a texture at UVs [K, 2]; row 0 at v = 1."""
    size = len(texture)
    column, line = np.clip((uvs * size).astype(np.int64), 0, size - 1).T
    return texture[size - 1 - line, column]


def _brightness(vertices: np.ndarray, faces: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """How bright the light makes the faces whose numbers [K] are given."""
    is_shown = np.zeros(len(faces), dtype=bool)
    is_shown[shown] = True
    a, b, c = (vertices[corners] for corners in faces[is_shown].T)
    normals = np.cross(b - a, c - a)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    brightness = np.empty(len(faces), np.float32)
    brightness[is_shown] = EVEN + normals @ np.array(LIGHT, np.float32)
    return brightness[shown]
