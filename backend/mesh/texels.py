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
        return interpolate(corner_values, self.face, self.weights)

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
    face, row = ranges(np.ceil(y.min(1)).clip(0), np.floor(y.max(1)).clip(None, last))
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

    span, column = ranges(first, end)
    along = (column - first[span]).astype(np.float32)
    weights = starts.astype(np.float32)[span] + along[:, None] * slopes.astype(np.float32)[span]
    return Texels(row.astype(np.int64)[span], column.astype(np.int64), face[span], weights)


def border_texels(uvs: np.ndarray, face: np.ndarray, corner: np.ndarray, covered: np.ndarray) -> Texels:
    """The texels that filtering reads on the borders of charts and that no face covers.

    Each belongs to the point of a border that is nearest to it, so that a chart's own values are found on all of it: at
    the tips of its corners, too, and where it is narrower than a texel.

    Args:
        uvs: [F, 3, 2].
        face, corner: [B] the border edges, from this corner of this face to the next corner.
        covered: [size, size] bool; the texels that are found are marked in it.
    """
    size = len(covered)
    ends = np.stack([uvs[face, corner], uvs[face, (corner + 1) % 3]], axis=1).astype(np.float64)
    x, y = ends[..., 0] * size - 0.5, (1 - ends[..., 1]) * size - 0.5
    steps = np.ceil(2 * np.maximum(np.abs(x[:, 1] - x[:, 0]), np.abs(y[:, 1] - y[:, 0]))) + 1  # half texels
    edge, step = ranges(np.zeros(len(steps)), steps)
    along = step / steps[edge]
    x, y = (a[edge, 0] + along * (a[edge, 1] - a[edge, 0]) for a in (x, y))
    around = [(np.floor(x) + i, np.floor(y) + j) for i in (0, 1) for j in (0, 1)]  # what is filtered between
    column, row = (np.concatenate(part).clip(0, size - 1).astype(np.int64) for part in zip(*around, strict=True))
    sample = np.tile(np.arange(len(edge)), 4)
    free = np.flatnonzero(~covered[row, column])
    row, column, sample = row[free], column[free], sample[free]
    place, distance = row * size + column, (x[sample] - column) ** 2 + (y[sample] - row) ** 2
    order = np.lexsort([distance, place])
    _, first = np.unique(place[order], return_index=True)
    chosen = order[first]
    sample = sample[chosen]
    covered[row[chosen], column[chosen]] = True
    weights = np.zeros((len(chosen), 3), dtype=np.float32)
    weights[np.arange(len(chosen)), corner[edge[sample]]] = 1 - along[sample]
    weights[np.arange(len(chosen)), (corner[edge[sample]] + 1) % 3] = along[sample]
    return Texels(row[chosen], column[chosen], face[edge[sample]], weights)


def interpolate(values: np.ndarray, face: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Values [F, 3, C] at corners, at points of faces [P] with weights [P, 3]: [P, C]."""
    corners = values.reshape(len(values), -1).take(face, axis=0)
    return np.asarray(np.einsum("pk,pkc->pc", weights, corners.reshape(len(face), 3, -1)))


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


def ranges(first: np.ndarray, last: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
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
