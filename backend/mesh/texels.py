"""The texels that triangles cover in a texture, and the colours of those that none covers."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

RUN = 4  # texels in a row that share a search
SMALL = 256  # texels of a face up to which one leads all others
BLOCK = 16  # texels along a side of the squares in which one leads those


@dataclass(frozen=True)
class Texels:
    """The T texels that belong to a face, those of one face after those of another in their order, row by row."""

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

    def part(self, some: slice) -> Texels:
        """Some of them."""
        return Texels(self.row[some], self.column[some], self.face[some], self.weights[some])

    def groups(self) -> np.ndarray:
        """[T] ascending numbers: the same for up to ``RUN`` texels that lie side by side in a face."""
        begins = np.ones(len(self.face), dtype=bool)
        begins[1:] = (self.face[1:] != self.face[:-1]) | (self.row[1:] != self.row[:-1])
        places = np.arange(len(begins))
        start = np.maximum.accumulate(np.where(begins, places, 0))
        return np.cumsum((places - start) % RUN == 0) - 1

    def leaders(self, chart: np.ndarray) -> np.ndarray:
        """[T] for each texel the number of one of the same chart close by, which has a leader too or is its own.

        It is the middle one of the same face, or if that is large, of a square of ``BLOCK`` texels in it. Those have
        leaders in such squares of the chart.

        chart: [F] int64, of the faces.
        """
        counts = np.bincount(self.face)
        leaders = (np.cumsum(counts) - (counts + 1) // 2).take(self.face)
        if counts.max(initial=0) > SMALL:
            self._lead(leaders, np.flatnonzero((counts > SMALL).take(self.face)), self.face)
        self._lead(leaders, np.flatnonzero(leaders == np.arange(len(leaders))), chart.take(self.face))
        return leaders

    def _lead(self, leaders: np.ndarray, texels: np.ndarray, part: np.ndarray) -> None:
        """Give some texels one leader for each square and part of the surface: ``part`` [T] is its number."""
        row, column, part = self.row.take(texels), self.column.take(texels), part.take(texels)
        stride = int(column.max(initial=0)) // BLOCK + 1
        block = row // BLOCK * stride + column // BLOCK
        middle = np.maximum(np.abs(row % BLOCK * 2 - BLOCK), np.abs(column % BLOCK * 2 - BLOCK)) <= BLOCK // 2
        chosen = np.zeros(int(block.max(initial=0)) + 1, dtype=np.int64)
        left = np.arange(len(texels))
        while len(left):  # one part in each square at a time
            chosen[block.take(left)] = left
            central = left[middle.take(left)]
            chosen[block.take(central)] = central
            leader = chosen.take(block.take(left))
            same = part.take(leader) == part.take(left)
            leaders[texels.take(left[same])] = texels.take(leader[same])
            left = left[~same]


def rasterize(uvs: np.ndarray, texture_size: int) -> Texels:
    """Find the texels whose centres lie in each face, scan line by scan line. uvs: [F, 3, 2] in 0..1, v up."""
    x = np.ascontiguousarray(uvs[..., 0].T, dtype=np.float64) * texture_size - 0.5  # texel centres at whole numbers
    y = (1.0 - np.ascontiguousarray(uvs[..., 1].T, dtype=np.float64)) * texture_size - 0.5
    last = texture_size - 1
    (x0, x1, x2), (y0, y1, y2) = x, y
    bottom, top = np.minimum(np.minimum(y0, y1), y2), np.maximum(np.maximum(y0, y1), y2)
    face, row = ranges(np.ceil(bottom).clip(0), np.floor(top).clip(None, last))
    left, right = _spans(x, y, face, row)
    first, end = np.ceil(left).clip(0), np.floor(right).clip(None, last)
    full = np.flatnonzero(first <= end)
    face, row, first, end = face.take(full), row.take(full), first.take(full), end.take(full)

    # Barycentric coordinates are affine along a scan line: a value where it begins, and a slope that its face has.
    double_area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
    scale = 1.0 / np.where(double_area == 0, np.inf, double_area)
    slopes = [((y2 - y0) * scale).take(face), ((y0 - y1) * scale).take(face)]  # of the second and the third
    dx, dy = first - x0.take(face), row - y0.take(face)
    starts = [
        dx * slopes[0] - dy * ((x2 - x0) * scale).take(face),
        dx * slopes[1] + dy * ((x1 - x0) * scale).take(face),
    ]

    span, column = ranges(first, end)
    along = (column - first.take(span)).astype(np.float32)
    weights = np.empty((len(span), 3), dtype=np.float32)
    for corner, start, slope in zip((1, 2), starts, slopes, strict=True):
        weights[:, corner] = start.astype(np.float32).take(span) + along * slope.astype(np.float32).take(span)
    weights[:, 0] = 1 - weights[:, 1] - weights[:, 2]
    return Texels(row.astype(np.int64).take(span), column.astype(np.int64), face.take(span), weights)


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
    after = (corner + 1) % 3
    ends = np.stack([uvs[face, corner], uvs[face, after]], axis=1).astype(np.float64)
    x, y = ends[..., 0] * size - 0.5, (1 - ends[..., 1]) * size - 0.5
    across, down = x[:, 1] - x[:, 0], y[:, 1] - y[:, 0]
    steps = np.ceil(2 * np.maximum(np.abs(across), np.abs(down))) + 1  # half texels
    edge, step = ranges(np.zeros(len(steps)), steps)
    along = step / steps.take(edge)
    x, y = x[:, 0].take(edge) + along * across.take(edge), y[:, 0].take(edge) + along * down.take(edge)
    flat = covered.reshape(-1)
    places, distances, samples = [], [], []
    for i, j in ((0, 0), (1, 0), (0, 1), (1, 1)):  # what is filtered between
        column, row = (np.floor(x) + i).clip(0, size - 1), (np.floor(y) + j).clip(0, size - 1)
        place = (row * size + column).astype(np.int64)
        free = np.flatnonzero(~flat.take(place))
        places.append(place.take(free))
        distances.append(np.square(x - column).take(free) + np.square(y - row).take(free))
        samples.append(free)
    place, distance, sample = (np.concatenate(parts) for parts in (places, distances, samples))
    least = np.full(size * size, np.inf)
    np.minimum.at(least, place, distance)
    nearest = np.flatnonzero(distance == least.take(place))
    owner = np.full(size * size, -1)
    owner[place.take(nearest)] = sample.take(nearest)
    place = np.flatnonzero(owner >= 0)
    place = place[np.argsort(face.take(edge.take(owner.take(place))), kind="stable")]
    sample = owner.take(place)
    flat[place] = True
    edge, along = edge.take(sample), along.take(sample)
    weights = np.zeros((len(place), 3), dtype=np.float32)
    weights[np.arange(len(place)), corner.take(edge)] = 1 - along
    weights[np.arange(len(place)), after.take(edge)] = along
    return Texels(place // size, place % size, face.take(edge), weights)


def interpolate(values: np.ndarray, face: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Values [F, 3, C] at corners, at points of faces [P] with weights [P, 3]: [P, C]."""
    corners = values.reshape(len(values), -1).take(face, axis=0)
    return np.asarray(np.einsum("pk,pkc->pc", weights, corners.reshape(len(face), 3, -1)))


class Gutter:
    """The texels outside all charts, each with one inside that is the nearest to within three texels: painted like it,
    filtering shows no seams.

    Distances are those between squares of two by two texels: a quarter of the search.
    """

    def __init__(self, covered: np.ndarray) -> None:
        """``covered``: [size, size] bool, what lies inside."""
        from scipy import ndimage

        size = len(covered)
        padded = np.pad(covered, (0, size % 2))
        quarters = {(i, j): padded[i::2, j::2] for i in (1, 0) for j in (1, 0)}
        some = np.logical_or.reduce(list(quarters.values()))
        corner = np.arange(len(some))[:, None] * (2 * size) + np.arange(len(some)) * 2
        inside = np.zeros_like(corner)  # of each square with covered texels, one
        for (i, j), quarter in quarters.items():
            inside[quarter] = (corner + (i * size + j))[quarter]
        row, column = ndimage.distance_transform_edt(~some, return_distances=False, return_indices=True)
        inside = inside.take(row * len(some) + column)
        outside, nearest = [], []
        for (i, j), quarter in quarters.items():
            height, width = (size + 1 - i) // 2, (size + 1 - j) // 2  # without what was added
            bare = ~quarter[:height, :width] & covered.any()
            outside.append((corner[:height, :width] + (i * size + j))[bare])
            nearest.append(inside[:height, :width][bare])
        self._outside, self._nearest = np.concatenate(outside), np.concatenate(nearest)

    def fill(self, image: np.ndarray) -> np.ndarray:
        """Paint the gutter of an image [size, size] or [size, size, C], in place. What lies inside charts stays."""
        flat = image.reshape(-1, *image.shape[2:])
        flat[self._outside] = flat[self._nearest]
        return image


def ranges(first: np.ndarray, last: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All whole numbers from first[i] to last[i], with the i of each: two arrays, in order."""
    lengths = np.maximum(last - first + 1, 0).astype(np.int64)
    index = np.repeat(np.arange(len(lengths)), lengths)
    starts = np.cumsum(lengths) - lengths
    return index, np.repeat(first - starts, lengths) + np.arange(len(index))


def _spans(x: np.ndarray, y: np.ndarray, face: np.ndarray, row: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where scan lines cross triangles: x, y [3, F], face, row [S] -> left and right end [S]; left > right: missed."""
    left, right = np.full(len(row), np.inf), np.full(len(row), -np.inf)
    for a, b in ((0, 1), (1, 2), (2, 0)):
        level = y[a] == y[b]
        slope = (x[b] - x[a]) / np.where(level, 1.0, y[b] - y[a])
        low, high = np.minimum(y[a], y[b]), np.where(level, -np.inf, np.maximum(y[a], y[b]))
        misses = (low.take(face) > row) | (row > high.take(face))
        at = x[a].take(face) + (row - y[a].take(face)) * slope.take(face)
        at[misses] = np.inf
        np.minimum(left, at, out=left)
        at[misses] = -np.inf
        np.maximum(right, at, out=right)
    return left, right
