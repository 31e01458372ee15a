"""The texels that triangles cover in a texture, and the colours of those that none covers."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

RUN = 4  # texels in a row that share a search


@dataclass(frozen=True)
class Texels:
    """The T texels that belong to a face, those of one face after those of another, row by row."""

    row: np.ndarray  # [T] int64, from the top
    column: np.ndarray  # [T] int64
    face: np.ndarray  # [T] int64
    weights: np.ndarray  # [T, 3] float32: barycentric coordinates of the centre in its face

    def interpolate(self, corner_values: np.ndarray) -> np.ndarray:
        """[F, 3, C] values at face corners -> [T, C]."""
        weights = self.weights
        total = weights[:, :1] * corner_values[self.face, 0]
        for corner in (1, 2):
            total += weights[:, corner, None] * corner_values[self.face, corner]
        return total

    def shifted(self, faces: int) -> Texels:
        """The same with other numbers of the faces."""
        return replace(self, face=self.face + faces)

    def groups(self) -> np.ndarray:
        """[T] ascending numbers: the same for up to ``RUN`` texels that lie side by side in a face."""
        begins = np.ones(len(self.face), dtype=bool)
        begins[1:] = (self.face[1:] != self.face[:-1]) | (self.row[1:] != self.row[:-1])
        places = np.arange(len(begins))
        start = np.maximum.accumulate(np.where(begins, places, 0))
        return np.cumsum((places - start) % RUN == 0) - 1


def rasterize(uvs: np.ndarray, texture_size: int) -> Texels:
    """Find the texels whose centres lie in each face, scan line by scan line. uvs: [F, 3, 2] in 0..1, v up."""
    x = uvs[..., 0].astype(np.float64) * texture_size - 0.5  # texel centres at whole numbers
    y = (1.0 - uvs[..., 1].astype(np.float64)) * texture_size - 0.5
    last = texture_size - 1
    face, row = _ranges(np.ceil(y.min(1)).clip(0), np.floor(y.max(1)).clip(None, last))
    left, right = _spans(x, y, face, row)
    first, end = np.ceil(left).clip(0), np.floor(right).clip(None, last)

    # Barycentric coordinates are affine along a scan line: a value where it begins, and a slope that its face has.
    (x0, x1, x2), (y0, y1, y2) = x.T, y.T
    double_area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
    scale = 1.0 / np.where(double_area == 0, np.inf, double_area)
    slopes = np.stack([(y1 - y2) * scale, (y2 - y0) * scale, (y0 - y1) * scale], axis=1)[face]
    dx, dy = first - x0[face], row - y0[face]
    second = dx * slopes[:, 1] - dy * ((x2 - x0) * scale)[face]
    third = dx * slopes[:, 2] + dy * ((x1 - x0) * scale)[face]
    starts = np.stack([1.0 - second - third, second, third], axis=1)

    span, column = _ranges(first, end)
    along = (column - first[span]).astype(np.float32)
    weights = starts.astype(np.float32)[span] + along[:, None] * slopes.astype(np.float32)[span]
    return Texels(row.astype(np.int64)[span], column.astype(np.int64), face[span], weights)


def small_faces(uvs: np.ndarray, faces: np.ndarray, covered: np.ndarray) -> Texels:
    """Give each of ``faces`` the texel that its centroid is in, if no face has that; it is marked in ``covered``.

    So a chart that is smaller than a texel has a colour of its own, not that of the chart beside it.
    """
    size = len(covered)
    centre = uvs[faces].mean(axis=1)
    column = np.floor(centre[:, 0] * size).astype(np.int64).clip(0, size - 1)
    row = np.floor((1.0 - centre[:, 1]) * size).astype(np.int64).clip(0, size - 1)
    free = np.flatnonzero(~covered[row, column])
    _, first = np.unique(row[free] * size + column[free], return_index=True)
    chosen = free[first]
    covered[row[chosen], column[chosen]] = True
    third = np.full((len(chosen), 3), 1 / 3, dtype=np.float32)
    return Texels(row[chosen], column[chosen], faces[chosen], third)


class Gutter:
    """The texels outside all charts, each with the nearest one inside: painted like it, filtering shows no seams."""

    def __init__(self, covered: np.ndarray) -> None:
        """``covered``: [size, size] bool, what lies inside."""
        from scipy import ndimage

        self._outside = np.flatnonzero(~covered) if covered.any() else np.empty(0, dtype=np.int64)
        places = ndimage.distance_transform_edt(~covered, return_distances=False, return_indices=True)
        rows, columns = places.reshape(2, -1)[:, self._outside].astype(np.int64)
        self._nearest = rows * covered.shape[1] + columns

    def fill(self, image: np.ndarray) -> np.ndarray:
        """Paint the gutter of an image [size, size, C], in place. What lies inside charts stays as it is."""
        flat = image.reshape(-1, image.shape[-1])
        flat[self._outside] = flat[self._nearest]
        return image


def _ranges(first: np.ndarray, last: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All whole numbers from first[i] to last[i], with the i of each: two arrays, in order."""
    lengths = np.maximum(last - first + 1, 0).astype(np.int64)
    index = np.repeat(np.arange(len(lengths)), lengths)
    starts = np.cumsum(lengths) - lengths
    return index, np.repeat(first - starts, lengths) + np.arange(len(index))


def _spans(x: np.ndarray, y: np.ndarray, face: np.ndarray, row: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where scan lines cross triangles: x, y [F, 3], face, row [S] -> left and right end [S]; left > right: missed."""
    left, right = np.full(len(row), np.inf), np.full(len(row), -np.inf)
    for a, b in ((0, 1), (1, 2), (2, 0)):
        ya, yb = y[:, a], y[:, b]
        level = ya == yb
        slope = (x[:, b] - x[:, a]) / np.where(level, 1.0, yb - ya)
        low, high = np.minimum(ya, yb), np.where(level, -np.inf, np.maximum(ya, yb))
        crosses = (low[face] <= row) & (row <= high[face])
        at = x[face, a] + (row - ya[face]) * slope[face]
        left = np.where(crosses, np.minimum(left, at), left)
        right = np.where(crosses, np.maximum(right, at), right)
    return left, right
