"""Bake the raw surface's vertex colours into the texture of the simplified, unwrapped mesh."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import Surface
from .unwrap import Unwrapped

NO_COLOR = 0.8  # sRGB grey of a mesh whose decoder has no colours
CANDIDATES = 2  # raw faces tried for each texel
CHUNK = 1 << 14  # texels at a time: as many as stay in the cache


def bake(mesh: Unwrapped, raw: Surface, texture_size: int) -> np.ndarray:
    """Colour each texel from the point of the raw surface that is nearest to the texel's point on the mesh.

    Texels outside the charts take the colour of the nearest texel inside one, so that filtering shows no seams.

    Returns:
        uint8 [texture_size, texture_size, 3] sRGB, row 0 at v = 1.
    """
    if raw.colors is None:
        return np.full((texture_size, texture_size, 3), round(NO_COLOR * 255), dtype=np.uint8)
    texels = rasterize(mesh.uvs, texture_size)
    if len(mesh.vertices) == len(raw.vertices) and np.array_equal(mesh.vertices, raw.vertices):
        colors = texels.interpolate(raw.colors[mesh.faces])
    else:
        colors = nearest_colors(texels.interpolate(mesh.vertices[mesh.faces]), raw.vertices, raw.faces, raw.colors)
    image = np.zeros((texture_size, texture_size, 3), dtype=np.uint8)
    image[texels.row, texels.column] = np.rint(np.clip(colors, 0.0, 1.0) * 255)
    return fill_gutter(image, texels)


@dataclass(frozen=True)
class Texels:
    """The T texels whose centres lie in a face."""

    row: np.ndarray  # [T] int64, from the top
    column: np.ndarray  # [T] int64
    face: np.ndarray  # [T] int64
    weights: np.ndarray  # [T, 3] float32: barycentric coordinates of the centre in its face

    def interpolate(self, corner_values: np.ndarray) -> np.ndarray:
        """[F, 3, C] values at face corners -> [T, C]."""
        return np.einsum("tk,tkc->tc", self.weights, corner_values[self.face])


def rasterize(uvs: np.ndarray, texture_size: int) -> Texels:
    """Find the texel centres inside each face, scan line by scan line. uvs: [F, 3, 2] in 0..1, v up."""
    x = uvs[..., 0].astype(np.float64) * texture_size - 0.5  # texel centres at whole numbers
    y = (1.0 - uvs[..., 1].astype(np.float64)) * texture_size - 0.5
    last = texture_size - 1
    first_row, last_row = np.ceil(y.min(1)).clip(0), np.floor(y.max(1)).clip(None, last)
    face, row = _ranges(first_row, last_row)
    left, right = _spans(x[face], y[face], row)
    span, column = _ranges(np.ceil(left).clip(0), np.floor(right).clip(None, last))
    face, row = face[span], row[span]

    # Barycentric coordinates are affine in the texel's position; their slopes belong to the face.
    (x0, x1, x2), (y0, y1, y2) = x.T, y.T
    double_area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
    scale = 1.0 / np.where(double_area == 0, np.inf, double_area)
    dx, dy = column - x0[face], row - y0[face]
    second = dx * ((y2 - y0) * scale)[face] - dy * ((x2 - x0) * scale)[face]
    third = dy * ((x1 - x0) * scale)[face] - dx * ((y1 - y0) * scale)[face]
    weights = np.stack([1.0 - second - third, second, third], axis=1)
    return Texels(row.astype(np.int64), column.astype(np.int64), face, weights.astype(np.float32))


def _ranges(first: np.ndarray, last: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All whole numbers from first[i] to last[i], with the i of each: two arrays, in order."""
    lengths = np.maximum(last - first + 1, 0).astype(np.int64)
    index = np.repeat(np.arange(len(lengths)), lengths)
    starts = np.cumsum(lengths) - lengths
    return index, first[index] + (np.arange(len(index)) - starts[index])


def _spans(x: np.ndarray, y: np.ndarray, row: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where scan lines cross triangles: x, y [S, 3], row [S] -> left and right end [S]; left > right if they miss."""
    left, right = np.full(len(row), np.inf), np.full(len(row), -np.inf)
    for a, b in ((0, 1), (1, 2), (2, 0)):
        ya, yb = y[:, a], y[:, b]
        crosses = (np.minimum(ya, yb) <= row) & (row <= np.maximum(ya, yb)) & (ya != yb)
        along = (row - ya) / np.where(crosses, yb - ya, 1.0)
        at = x[:, a] + along * (x[:, b] - x[:, a])
        left = np.where(crosses, np.minimum(left, at), left)
        right = np.where(crosses, np.maximum(right, at), right)
    return left, right


def nearest_colors(points: np.ndarray, vertices: np.ndarray, faces: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """Interpolated colour [P, 3] at the point of the surface nearest to each point.

    The faces tried are the ones with the nearest centroids. The extractor's faces are all about one cube in size, so
    the nearest face is among them or a neighbour's edge is as good.
    """
    from scipy.spatial import cKDTree

    corners = vertices[faces]
    count = min(CANDIDATES, len(faces))
    _, candidates = cKDTree(corners.mean(axis=1)).query(points, k=range(1, count + 1), workers=-1)
    frames = _frames(corners)
    result = np.empty((len(points), 3), dtype=np.float32)
    for start in range(0, len(points), CHUNK):
        part = slice(start, start + CHUNK)
        tried = candidates[part]
        weights = _project(points[part, None] - corners[tried, 0], frames[tried])
        offsets = np.einsum("pkw,pkwc->pkc", weights, corners[tried]) - points[part, None]
        best = np.arange(len(tried)), np.square(offsets).sum(axis=-1).argmin(axis=1)
        result[part] = np.einsum("pw,pwc->pc", weights[best], colors[faces[tried[best]]])
    return result


def _frames(corners: np.ndarray) -> np.ndarray:
    """[F, 2, 3] vectors: times an offset from the first corner they give the last two barycentric coordinates."""
    u, v = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    normal = np.cross(u, v)
    area = np.maximum(np.square(normal).sum(axis=1, keepdims=True), 1e-20)
    return np.stack([np.cross(v, normal), np.cross(normal, u)], axis=1) / area[:, None]


def _project(offsets: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """Project points onto faces, and to the border of a face where they fall outside of it.

    offsets: [..., 3] from the first corner; frames: [..., 2, 3]. Returns barycentric coordinates [..., 3].
    """
    two = np.einsum("...wc,...c->...w", frames, offsets)
    weights = np.concatenate([1.0 - two.sum(axis=-1, keepdims=True), two], axis=-1).clip(0.0)
    return weights / weights.sum(axis=-1, keepdims=True)


def fill_gutter(image: np.ndarray, texels: Texels) -> np.ndarray:
    """Give every texel outside the charts the colour of the nearest one inside."""
    from scipy import ndimage

    if not len(texels.row):
        return image
    empty = np.ones(image.shape[:2], dtype=bool)
    empty[texels.row, texels.column] = False
    rows, columns = ndimage.distance_transform_edt(empty, return_distances=False, return_indices=True)
    return image[rows, columns]
