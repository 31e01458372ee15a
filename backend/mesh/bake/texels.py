"""The texels that triangles cover in a texture, and those that filtering reads at the borders of charts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..base.compiled import compiled, inlined
from ..base.vectors import Vector


@dataclass(frozen=True)
class Texels:
    """The T texels that belong to a face, sorted by face, then row by row."""

    row: np.ndarray  # [T] int64, from the top
    column: np.ndarray  # [T] int64
    face: np.ndarray  # [T] int64
    weights: np.ndarray  # [T, 3] float32: barycentric coordinates of the centre in its face

    def interpolate(self, corner_values: np.ndarray) -> np.ndarray:
        """Values [F, 3, C] at face corners to values [T, C] at the texels."""
        return interpolate(corner_values, self.face, self.weights)


def rasterize(uvs: np.ndarray, texture_size: int) -> Texels:
    """The texels whose centres are in each face, found line by line. uvs: [F, 3, 2] in 0..1, v up."""
    return Texels(*_texels_of(in_texels(uvs, texture_size), texture_size))


def in_texels(uvs: np.ndarray, texture_size: int) -> np.ndarray:
    """[F, 3, 2] float64: x and y (downwards) of face corners in texels, whose centres are at integers."""
    uvs = uvs.astype(np.float64)
    return np.stack([uvs[..., 0] * texture_size - 0.5, (1.0 - uvs[..., 1]) * texture_size - 0.5], axis=-1)


@dataclass(frozen=True)
class Cover:
    """The face that each texel of a texture belongs to."""

    face: np.ndarray  # [T, T] int32; -1 for none
    weights: np.ndarray  # [T, T, 2] float32: the second and the third barycentric coordinate of the centre in its face

    @classmethod
    def nothing(cls, texture_size: int) -> Cover:
        """A cover without faces, to be filled in."""
        side = texture_size
        return cls(np.full((side, side), -1, dtype=np.int32), np.empty((side, side, 2), dtype=np.float32))


@inlined
def weights_at(weights: np.ndarray, row: int, column: int) -> Vector:
    """The three barycentric coordinates of a texel of a ``Cover``."""
    s, t = np.float64(weights[row, column, 0]), np.float64(weights[row, column, 1])
    return 1.0 - s - t, s, t


@compiled
def cover_rows(corners: np.ndarray, face_at: np.ndarray, weights: np.ndarray, first: int, last: int) -> None:
    """Fill in the rows ``first`` to ``last - 1`` of a ``Cover`` by faces with these corners, see ``in_texels``.

    A texel that several faces share belongs to the last of them.
    """
    for face in range(len(corners)):
        top, bottom = _rows(corners, face, first, last)
        if top < bottom:
            sx, tx, sy, ty = _slopes(corners, face)
        for row in range(top, bottom):
            left, right = _columns(corners, face, row, len(face_at))
            dy = row - corners[face, 0, 1]
            for column in range(left, right):
                dx = column - corners[face, 0, 0]
                face_at[row, column] = face
                weights[row, column, 0], weights[row, column, 1] = dx * sx + dy * sy, dx * tx + dy * ty


@compiled
def cover_borders(
    corners: np.ndarray, twin: np.ndarray, chart: np.ndarray, face_at: np.ndarray, weights: np.ndarray
) -> None:
    """Fill in the texels of a ``Cover`` that filtering reads at the borders of charts and that no face covers.

    Each gets the nearest point of a border, so that filtering finds a chart's own values everywhere in it, even at
    pointed corners and where it is narrower than a texel.

    Args:
        corners: [F, 3, 2], see ``in_texels``.
        twin: [3 F] int64, the half-edges' twins, see ``topology``.
        chart: [F] int64; faces without chart, -1, have no borders.
    """
    last = len(face_at) - 1
    distances = np.zeros(face_at.shape, dtype=np.float32)  # 0 for texels that a face covers, so that they are kept
    for row in range(last + 1):
        for column in range(last + 1):
            if face_at[row, column] < 0:
                distances[row, column] = np.inf
    for half in range(3 * len(corners)):
        face, start, end = half // 3, half % 3, (half % 3 + 1) % 3
        if chart[face] < 0 or (twin[half] >= 0 and _are_joined(corners, half, twin[half])):
            continue
        x0, y0 = corners[face, start, 0], corners[face, start, 1]
        x1, y1 = corners[face, end, 0], corners[face, end, 1]
        steps = int(np.ceil(2 * max(abs(x1 - x0), abs(y1 - y0)))) + 1  # half texels
        for step in range(steps + 1):
            along = step / steps
            x, y = x0 + along * (x1 - x0), y0 + along * (y1 - y0)
            for turn in range(4):  # the four texels that filtering reads here
                column = min(max(int(np.floor(x)) + turn % 2, 0), last)
                row = min(max(int(np.floor(y)) + turn // 2, 0), last)
                distance = np.float32((x - column) ** 2 + (y - row) ** 2)
                if distance < distances[row, column]:
                    distances[row, column], face_at[row, column] = distance, face
                    for k in range(2):
                        weights[row, column, k] = along if end == k + 1 else 1 - along if start == k + 1 else 0.0


@inlined
def _are_joined(corners: np.ndarray, half: int, twin: int) -> bool:
    """Whether half-edges of two faces, in opposite directions, are the same line in the texture."""
    start, end = corners[half // 3, half % 3], corners[half // 3, (half % 3 + 1) % 3]
    back, forth = corners[twin // 3, (twin % 3 + 1) % 3], corners[twin // 3, twin % 3]
    return start[0] == back[0] and start[1] == back[1] and end[0] == forth[0] and end[1] == forth[1]


@compiled
def _texels_of(corners: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The fields of ``Texels`` for faces with these corners, see ``in_texels``."""
    count = 0
    for face in range(len(corners)):
        top, bottom = _rows(corners, face, 0, size)
        for row in range(top, bottom):
            left, right = _columns(corners, face, row, size)
            count += max(right - left, 0)
    rows, columns, faces = np.empty((3, count), dtype=np.int64)
    weights = np.empty((count, 3), dtype=np.float32)
    texel = 0
    for face in range(len(corners)):
        top, bottom = _rows(corners, face, 0, size)
        sx, tx, sy, ty = _slopes(corners, face)
        for row in range(top, bottom):
            left, right = _columns(corners, face, row, size)
            dy = row - corners[face, 0, 1]
            for column in range(left, right):
                dx = column - corners[face, 0, 0]
                rows[texel], columns[texel], faces[texel] = row, column, face
                s, t = dx * sx + dy * sy, dx * tx + dy * ty
                weights[texel, 0], weights[texel, 1], weights[texel, 2] = 1.0 - s - t, s, t
                texel += 1
    return rows, columns, faces, weights


@inlined
def _rows(corners: np.ndarray, face: int, first: int, last: int) -> tuple[int, int]:
    """The rows in which a face may have texels, as a range like that of ``_between``."""
    y0, y1, y2 = corners[face, 0, 1], corners[face, 1, 1], corners[face, 2, 1]
    return _between(min(y0, y1, y2), max(y0, y1, y2), first, last)


@inlined
def _columns(corners: np.ndarray, face: int, row: int, size: int) -> tuple[int, int]:
    """The texels of a face in a row, as a range like that of ``_between``."""
    left, right = np.inf, -np.inf
    xa, ya = corners[face, 2, 0], corners[face, 2, 1]
    for corner in range(3):
        xb, yb = corners[face, corner, 0], corners[face, corner, 1]
        if min(ya, yb) <= row <= max(ya, yb) and ya != yb:
            x = xa + (row - ya) * ((xb - xa) / (yb - ya))
            left, right = min(left, x), max(right, x)
        xa, ya = xb, yb
    return _between(left, right, 0, size)


@inlined
def _between(low: float, high: float, first: int, last: int) -> tuple[int, int]:
    """The integers from low to high that are in ``first`` to ``last - 1``: the first one and the one after the last."""
    if low <= high and low < last and high >= first:  # false for NaN
        return int(np.ceil(max(low, first))), int(np.floor(min(high, last - 1))) + 1
    return first, first


@inlined
def _slopes(corners: np.ndarray, face: int) -> tuple[float, float, float, float]:
    """The slopes of the second and the third barycentric coordinate along x, then along y."""
    x0, y0 = corners[face, 0, 0], corners[face, 0, 1]
    x1, y1, x2, y2 = (
        corners[face, 1, 0] - x0,
        corners[face, 1, 1] - y0,
        corners[face, 2, 0] - x0,
        corners[face, 2, 1] - y0,
    )
    double_area = x1 * y2 - x2 * y1
    scale = 1.0 / double_area if double_area != 0 else 0.0
    return y2 * scale, -y1 * scale, -x2 * scale, x1 * scale


def interpolate(values: np.ndarray, face: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Values [F, 3, C] at face corners to values [P, C] at points in faces [P] with weights [P, 3]."""
    corners = values.reshape(len(values), -1).take(face, axis=0)
    return np.asarray(np.einsum("pk,pkc->pc", weights, corners.reshape(len(face), 3, -1)))


def ranges(first: np.ndarray, last: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All integers from first[i] to last[i], for each i in order: two arrays, the i of each and the integers."""
    lengths = np.maximum(last - first + 1, 0).astype(np.int64)
    index = np.repeat(np.arange(len(lengths)), lengths)
    starts = np.cumsum(lengths) - lengths
    return index, np.repeat(first - starts, lengths) + np.arange(len(index))
