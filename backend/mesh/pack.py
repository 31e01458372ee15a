"""Pack charts into a square by their outlines, so that one may lie in the hollow or the hole of another.

Lévy, Petitjean, Ray and Maillot, "Least Squares Conformal Maps for Automatic Texture Atlas Generation" (2002) place
charts on a horizon; here they are tried at all places of a grid of cells, the largest first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .outlines import Outlines
from .texels import ranges

ANGLES, REFINEMENTS = 24, 3  # directions tried for the smallest rectangle around a chart, then ever closer ones
MARGIN = 1  # cells around a chart that stay free
ROUNDING = 1e-6  # cells
FILLED = 0.72  # share of the square that charts with their margins usually fill
HOPED = 0.94  # the same if all goes well
MANY = 6.0  # each chart has the square of this in cells, at least
SMALL = 8  # charts of up to so many cells a side are laid in rows, and those packed
LARGE, COARSE, FINE = 24, 4, 2  # charts are tried at every 4th cell, those of less than 24 cells a side at every 2nd
RECTANGLE = 0.9  # charts that fill so much of the rectangle around them are not tried upside down
FILTER = 5  # runs of a chart's cells that are tried at all places at once
BATCH = 1 << 11  # further tests in the first batch of places, twice as many in the next


#: The runs of true cells in the rows of a mask: row, first column and length of each, [R] int64.
Runs = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Placement:
    """Where charts lie in the unit square: at points times factor plus shift, both [C] complex128."""

    factor: np.ndarray
    shift: np.ndarray


def pack(outlines: Outlines, area: float, cells: int) -> Placement:
    """Lay charts into the unit square, all at the same scale, about 2 / ``cells`` of its side apart.

    They are never nearer than three quarters of that, unless there are so many that less must do.

    Args:
        outlines: of at least one chart.
        area: of all charts together.
        cells: into how many the square is divided along a side, about.
    """
    turned = _smallest_rectangles(outlines)
    cells = max(cells, int(MANY * np.sqrt(len(turned))))
    # Charts with their margins and what is lost to whole cells: area scale^2 + length scale (MARGIN + 1/2).
    half = (MARGIN + 0.5) * np.abs(outlines.end - outlines.start).sum() / (2 * area)
    scale = np.sqrt(half**2 + FILLED * cells**2 / area) - half
    while True:
        masks = rasterized(outlines.transformed(turned * scale))
        side, places, quarters = _place_all(masks)
        if side <= cells * 4 // 3:
            break
        scale *= cells / side
    turn = 1j**quarters
    opposite = np.stack([0 * turn, masks.height + 0j, masks.width + 1j * masks.height, 1j * masks.width])
    shift = turn * masks.shift + opposite[quarters, np.arange(len(turn))] + places
    return Placement(turn * turned * scale / side, shift / side)


def _smallest_rectangles(outlines: Outlines) -> np.ndarray:
    """[C] complex of length 1 that turns each chart so that the rectangle around it is smallest."""
    count = outlines.chart[-1] + 1
    best, step = np.zeros(count), np.pi / 2 / ANGLES
    for _ in range(REFINEMENTS):
        angles = best + step * np.arange(-(ANGLES // 2), ANGLES // 2 + 1)[:, None]
        points = outlines.start * np.exp(1j * angles)[:, outlines.chart]
        x, y = points.real, points.imag
        area = (outlines.least(x) + outlines.least(-x)) * (outlines.least(y) + outlines.least(-y))
        best = angles[area.argmin(axis=0), np.arange(count)]
        step *= 2 / ANGLES
    return np.asarray(np.exp(1j * best))


@dataclass(frozen=True)
class Masks:
    """The cells that charts cover with their margins, all in one flat array, row by row."""

    cells: np.ndarray  # [K] bool
    first: np.ndarray  # [C] int64, where a chart's cells begin
    width: np.ndarray  # [C] int64
    height: np.ndarray  # [C] int64
    shift: np.ndarray  # [C] complex128, from an outline's points to its mask's cells

    def mask(self, chart: int) -> np.ndarray:
        """bool [height, width]."""
        first, width, height = self.first[chart], self.width[chart], self.height[chart]
        return self.cells[first : first + width * height].reshape(height, width)


def rasterized(outlines: Outlines) -> Masks:
    """Mark all cells of side 1 within ``MARGIN`` cells of one that a chart touches."""
    x, y = outlines.start.real, outlines.start.imag
    low = outlines.least(x) + 1j * outlines.least(y)
    high = -outlines.least(-x) - 1j * outlines.least(-y)
    shift = (MARGIN + ROUNDING) * (1 + 1j) - low
    width = np.floor((high + shift).real).astype(np.int64) + MARGIN + 1
    height = np.floor((high + shift).imag).astype(np.int64) + MARGIN + 1
    ends = np.cumsum(width * height)
    first, count = ends - width * height, int(ends[-1])

    start, end = outlines.start + shift[outlines.chart], outlines.end + shift[outlines.chart]
    slope = (end - start).real / np.where(start.imag == end.imag, 1.0, (end - start).imag)
    bottom, top = np.minimum(start.imag, end.imag), np.maximum(start.imag, end.imag)
    left, right = np.minimum(start.real, end.real), np.maximum(start.real, end.real)
    first, stride = first[outlines.chart], width[outlines.chart]

    # The cells that a segment runs through, and those around: +1 where they begin in a row, -1 behind their end.
    segment, row = ranges(np.floor(bottom), np.floor(top))
    at = [start.real[segment] + (level - start.imag[segment]) * slope[segment] for level in (row, row + 1.0)]
    begin = np.floor(np.minimum(*at).clip(left[segment], right[segment])).astype(np.int64)
    behind = np.floor(np.maximum(*at).clip(left[segment], right[segment])).astype(np.int64) + 1
    line = first[segment] + row.astype(np.int64) * stride[segment]
    changes = np.zeros(count + 1)
    for rows in range(-MARGIN, MARGIN + 1):
        moved = line + rows * stride[segment]
        changes += np.bincount(moved + begin - MARGIN, minlength=count + 1)
        changes -= np.bincount(moved + behind + MARGIN, minlength=count + 1)
    touched = np.cumsum(changes)[:-1] > 0.5

    # The cells whose centres the outline goes round: +-1 behind each of its crossings with the row's middle.
    segment, row = ranges(np.ceil(bottom - 0.5), np.ceil(top - 0.5) - 1)
    crossing = start.real[segment] + (row + 0.5 - start.imag[segment]) * slope[segment]
    place = first[segment] + row.astype(np.int64) * stride[segment] + np.ceil(crossing - 0.5).astype(np.int64)
    sign = np.where(end.imag > start.imag, -1.0, 1.0)[segment]
    inside = np.cumsum(np.bincount(place, sign, count)) > 0.5
    return Masks(touched | inside, ends - width * height, width, height, shift)


def _place_all(masks: Masks) -> tuple[int, np.ndarray, np.ndarray]:
    """Place all charts without overlap.

    Returns:
        The side of the square, the lower left corner [C] of each chart's cells as complex numbers, and how many
        quarter turns [C] it is turned by before.
    """
    places, quarters = np.zeros(len(masks.width), dtype=np.complex128), np.zeros(len(masks.width), dtype=np.int64)
    size = np.maximum(masks.width, masks.height)
    rows = _rows(masks, np.flatnonzero(size <= SMALL))
    large = np.flatnonzero(size > SMALL)
    filled = masks.cells.sum() + sum(row.mask.size for row in rows)
    square = _Square(int(np.ceil(np.sqrt(filled / HOPED))))
    extent = masks.width * masks.height
    for chart in large[np.argsort(-extent[large], kind="stable")]:
        places[chart], quarters[chart] = square.place(masks.mask(chart))
    for row in rows:
        place, turns = square.place(row.mask)
        above = len(row.mask) - masks.height[row.charts]  # what a chart is less high than its row
        places[row.charts] = place + (row.offsets if turns == 0 else above + 1j * row.offsets)
        quarters[row.charts] = turns
    return square.used, places, quarters


@dataclass(frozen=True)
class _Row:
    """Small charts side by side."""

    charts: np.ndarray  # [R] int64
    offsets: np.ndarray  # [R] int64, from the row's left end
    mask: np.ndarray  # [height, width] bool, all true


def _rows(masks: Masks, charts: np.ndarray) -> list[_Row]:
    """Lay small charts in rows that would make a square together, those of one height beside each other."""
    charts = charts[np.lexsort((charts, -masks.width[charts], -masks.height[charts]))]
    width = masks.width[charts]
    longest = max(int(np.sqrt((width * masks.height[charts]).sum())), SMALL)
    behind = np.cumsum(width)
    rows = []
    while len(charts):
        count = max(int(np.searchsorted(behind, longest, side="right")), 1)
        offsets = (behind - width)[:count]
        mask = np.ones((masks.height[charts[0]], behind[count - 1]), dtype=bool)
        rows.append(_Row(charts[:count], offsets, mask))
        charts, width, behind = charts[count:], width[count:], behind[count:] - behind[count - 1]
    return rows


class _Square:
    """Cells that are free or taken, from a lower left corner. It grows when something does not fit."""

    def __init__(self, side: int) -> None:
        self.used = 1  # the side of the smallest square around all that was placed
        self._side = side
        self._free = np.zeros((0, 0), dtype=np.int16)

    def place(self, mask: np.ndarray) -> tuple[complex, int]:
        """Take cells for a mask, where the square grows least, then where the mask's upper end is lowest.

        Returns:
            The lower left corner of the cells, and by how many quarter turns the mask was turned.
        """
        turned = [mask, mask.T[:, ::-1], mask[::-1, ::-1], mask.T[::-1]]
        if mask.mean() > RECTANGLE:
            turned = turned[:2]
        self._make_room(self._side + max(mask.shape) + 1)
        reach, _, column, row, turns = min((*self._fit(shape), turns) for turns, shape in enumerate(turned))
        self._take(turned[turns], row, column)
        self._side = reach
        return complex(column, row), turns

    def _make_room(self, side: int) -> None:
        """Extend the grid to at least this side."""
        old = len(self._free)
        if old < side:
            taken = np.zeros((side + side // 4, side + side // 4), dtype=bool)
            taken[:old, :old] = self._free == 0
            self._free = _free_runs(taken)

    def _fit(self, mask: np.ndarray) -> tuple[int, int, int, int]:
        """The best place for a mask: the side of the square with it, its upper end, its column and its row."""
        height, width = mask.shape
        side, step = self._side, COARSE if max(mask.shape) >= LARGE else FINE
        runs = row, column, length = _runs(mask)
        fits = np.ones((side // step + 1,) * 2, dtype=bool)  # where the mask begins; beyond the side, all is free
        longest = np.argsort(-length, kind="stable")
        chosen = longest[:: -(-len(longest) // FILTER)]
        for r, c, n in zip(row[chosen].tolist(), column[chosen].tolist(), length[chosen].tolist(), strict=True):
            fits &= self._free[r : r + side + 1 : step, c : c + side + 1 : step] >= n
        within = fits[: max((side - height) // step + 1, 0), : max((side - width) // step + 1, 0)]
        found = self._first(np.flatnonzero(within), within.shape[1], step, runs)
        if found is None:
            places = np.flatnonzero(fits)
            y, x = np.divmod(places, len(fits))
            order = np.argsort(np.maximum(y * step + height, x * step + width), kind="stable")
            found = self._first(places[order], len(fits), step, runs)
        assert found is not None, "there is always room beside the square"
        y0, x0 = self._moved(*found, runs)
        return max(y0 + height, x0 + width, side), y0 + height, x0, y0

    def _first(self, places: np.ndarray, stride: int, step: int, runs: Runs) -> tuple[int, int] | None:
        """Row and column of the first of some places, on a lattice that is ``stride`` wide, where runs of cells fit."""
        row, column, length = runs
        free, cell = self._free.reshape(-1), row * len(self._free) + column
        y, x = np.divmod(places, stride)
        corner = (y * len(self._free) + x) * step
        start, batch = 0, BATCH // len(row) + 1
        while start < len(places):
            fits = free.take(corner[start : start + batch, None] + cell) >= length
            hits = np.flatnonzero(fits.all(axis=1))
            if len(hits):
                return int(y[start + hits[0]]) * step, int(x[start + hits[0]]) * step
            start, batch = start + batch, 2 * batch
        return None

    def _moved(self, y: int, x: int, runs: Runs) -> tuple[int, int]:
        """Move runs of cells down and to the left, by less than the lattice's step, while they fit."""
        row, column, length = runs
        free, cell = self._free.reshape(-1), (row + y) * len(self._free) + column + x
        for down, left in ((1, 0), (0, 1), (1, 0)):
            for _ in range(COARSE):
                below = cell - down * len(self._free) - left
                if y < down or x < left or (free.take(below) < length).any():
                    break
                y, x, cell = y - down, x - left, below
        return y, x

    def _take(self, mask: np.ndarray, row: int, column: int) -> None:
        height, width = mask.shape
        free = self._free[row : row + height, : column + width]  # what lies to the right does not change
        columns = np.arange(column + width, dtype=np.int16)
        taken = free + columns
        np.copyto(taken[:, column:], columns[column:], where=mask)
        free[:] = _up_to_next(taken, columns)
        self.used = max(self.used, row + height, column + width)


def _free_runs(taken: np.ndarray) -> np.ndarray:
    """[H, W] bool -> [H, W] int16: how many cells are free from each one on to the right."""
    columns = np.arange(taken.shape[1], dtype=np.int16)
    return _up_to_next(np.where(taken, columns, np.int16(len(columns))), columns)


def _up_to_next(taken: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """[H, W] from each column to the least of the numbers from there to the right."""
    backwards = taken[:, ::-1]
    np.minimum.accumulate(backwards, axis=1, out=backwards)
    return taken - columns


def _runs(mask: np.ndarray) -> Runs:
    height, width = mask.shape
    padded = np.zeros((height, width + 1), dtype=bool)  # so that no run begins in one row and ends in another
    padded[:, 1:] = mask
    flat = np.append(padded.ravel(), False)
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    row, column = np.divmod(changes[::2], width + 1)
    return row, column, changes[1::2] - changes[::2]
