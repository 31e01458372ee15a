"""Pack charts into a square by their outlines, so that one may be put into a hollow or a hole of another.

Lévy, Petitjean, Ray and Maillot, "Least Squares Conformal Maps for Automatic Texture Atlas Generation" (2002) put
charts on a horizon; here all positions in a grid of cells are tried, for the largest charts first.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..base.compiled import compiled
from .outlines import Outlines

ANGLES, REFINEMENTS = 24, 3  # angles tried for the smallest rectangle around a chart, and rounds with closer ones
MARGIN = 1  # cells around a chart that stay free
ROUNDING = 1e-6  # in cells
FILLED = 0.72  # share of the square that charts with their margins usually fill
HOPED = 0.94  # the same in the best case
MANY = 6.0  # the grid has at least the square of this in cells for each chart
SMALL = 8  # charts of up to this many cells per side are put into rows, and the rows are packed
LARGE, COARSE, FINE = 24, 4, 2  # charts are tried at every 4th cell, those below 24 cells per side at every 2nd
RECTANGLE = 0.9  # charts that fill more than this share of their bounding rectangle are not tried upside down


@dataclass(frozen=True)
class Placement:
    """Where charts are in the unit square: at points times factor plus shift, both [C] complex128."""

    factor: np.ndarray
    shift: np.ndarray


def pack(outlines: Outlines, area: float, cells: int) -> Placement:
    """Pack charts into the unit square, all at the same scale, about 2 / ``cells`` of its side apart.

    They are never closer than three quarters of that, unless there are too many of them.

    Args:
        outlines: those of at least one chart.
        area: the total area of all charts.
        cells: the approximate number of cells along each side of the square.
    """
    turned = _smallest_rectangles(outlines)
    cells = max(cells, int(MANY * np.sqrt(len(turned))))
    # Cells covered by charts with their margins, rounded up to whole cells: area scale^2 + length scale (MARGIN + 1/2).
    half = (MARGIN + 0.5) * np.abs(outlines.end - outlines.start).sum() / (2 * area)
    scale = np.sqrt(half**2 + FILLED * cells**2 / area) - half
    while True:
        masks = rasterized(outlines.transformed(turned * scale))
        side, positions, quarters = _place_all(masks)
        if side <= cells * 4 // 3:
            break
        scale *= cells / side
    turn = 1j**quarters
    opposite = np.stack([0 * turn, masks.height + 0j, masks.width + 1j * masks.height, 1j * masks.width])
    shift = turn * masks.shift + opposite[quarters, np.arange(len(turn))] + positions
    return Placement(turn * turned * scale / side, shift / side)


def _smallest_rectangles(outlines: Outlines) -> np.ndarray:
    """[C] complex of length 1: turns each chart so that the rectangle around it is the smallest."""
    return np.exp(1j * _best_angles(outlines.start, np.append(outlines.begins(), len(outlines.start))))


@compiled
def _best_angles(points: np.ndarray, begins: np.ndarray) -> np.ndarray:
    """[C] the angle, in radians, of each chart's smallest rectangle. begins: [C + 1], where a chart's points begin."""
    best = np.zeros(len(begins) - 1)
    for chart in range(len(best)):
        step = math.pi / 2 / ANGLES
        for _ in range(REFINEMENTS):
            middle, least = best[chart], np.inf
            for k in range(-(ANGLES // 2), ANGLES // 2 + 1):
                angle = middle + step * k
                cosine, sine = math.cos(angle), math.sin(angle)
                left = bottom = np.inf
                right = top = -np.inf
                for point in points[begins[chart] : begins[chart + 1]]:
                    x, y = point.real * cosine - point.imag * sine, point.real * sine + point.imag * cosine
                    left, right, bottom, top = min(left, x), max(right, x), min(bottom, y), max(top, y)
                if (right - left) * (top - bottom) < least:
                    least, best[chart] = (right - left) * (top - bottom), angle
            step *= 2 / ANGLES
    return best


@dataclass(frozen=True)
class Masks:
    """The cells that charts with their margins cover, all in one flat array, row by row."""

    cells: np.ndarray  # [K] bool
    first: np.ndarray  # [C] int64: where each chart's cells begin
    width: np.ndarray  # [C] int64
    height: np.ndarray  # [C] int64
    shift: np.ndarray  # [C] complex128: from the points of an outline to the cells of its mask

    def mask(self, chart: int) -> np.ndarray:
        """[height, width] bool: the cells of a chart."""
        first, width, height = self.first[chart], self.width[chart], self.height[chart]
        return self.cells[first : first + width * height].reshape(height, width)


def rasterized(outlines: Outlines) -> Masks:
    """Mark all cells, of side 1, within ``MARGIN`` cells of one that a chart touches."""
    x, y = outlines.start.real, outlines.start.imag
    low = outlines.least(x) + 1j * outlines.least(y)
    high = -outlines.least(-x) - 1j * outlines.least(-y)
    shift = (MARGIN + ROUNDING) * (1 + 1j) - low
    width = np.floor((high + shift).real).astype(np.int64) + MARGIN + 1
    height = np.floor((high + shift).imag).astype(np.int64) + MARGIN + 1
    ends = np.cumsum(width * height)
    first = ends - width * height
    cells = _covered(
        outlines.start + shift[outlines.chart],
        outlines.end + shift[outlines.chart],
        first[outlines.chart],
        width[outlines.chart],
        int(ends[-1]),
    )
    return Masks(cells, first, width, height, shift)


@compiled
def _covered(start: np.ndarray, end: np.ndarray, first: np.ndarray, stride: np.ndarray, count: int) -> np.ndarray:
    """[K] bool: the cells of ``Masks``, for segments [P] whose chart's cells begin at ``first`` [P]."""
    touched, winding = np.zeros(count, np.bool_), np.zeros(count, np.int64)
    for segment in range(len(start)):
        a, b = start[segment], end[segment]
        low, high = (a, b) if a.imag < b.imag else (b, a)
        left, right = min(a.real, b.real), max(a.real, b.real)
        slope = (b - a).real / ((b - a).imag if a.imag != b.imag else 1.0)
        # The cells that the segment runs through, and those around them.
        for row in range(math.floor(low.imag), math.floor(high.imag) + 1):
            one, two = a.real + (row - a.imag) * slope, a.real + (row + 1 - a.imag) * slope
            begin = math.floor(min(max(min(one, two), left), right)) - MARGIN
            behind = math.floor(min(max(max(one, two), left), right)) + MARGIN + 1
            for beside in range(row - MARGIN, row + MARGIN + 1):
                line = first[segment] + beside * stride[segment]
                for cell in range(line + begin, line + behind):
                    touched[cell] = True
        # To the right of its crossing with a row's middle, the winding number of the outline changes by one.
        for row in range(math.ceil(low.imag - 0.5), math.ceil(high.imag - 0.5)):
            crossing = a.real + (row + 0.5 - a.imag) * slope
            cell = first[segment] + row * stride[segment] + math.ceil(crossing - 0.5)
            winding[cell] += -1 if b.imag > a.imag else 1
    around = 0
    for cell in range(count):  # the sum is 0 again at the end of each row
        around += winding[cell]
        touched[cell] |= around > 0
    return touched


def _place_all(masks: Masks) -> tuple[int, np.ndarray, np.ndarray]:
    """Place all charts without overlap.

    Returns:
        The side of the square, the lower left corner [C] of each chart's cells as a complex number, and the number of
        quarter turns [C] that the chart is turned by first.
    """
    positions, quarters = np.zeros(len(masks.width), dtype=np.complex128), np.zeros(len(masks.width), dtype=np.int64)
    size = np.maximum(masks.width, masks.height)
    rows = _rows(masks, np.flatnonzero(size <= SMALL))
    large = np.flatnonzero(size > SMALL)
    filled = masks.cells.sum() + sum(row.mask.size for row in rows)
    square = _Square(int(np.ceil(np.sqrt(filled / HOPED))))
    extent = masks.width * masks.height
    for chart in large[np.argsort(-extent[large], kind="stable")]:
        positions[chart], quarters[chart] = square.place(masks.mask(chart))
    for row in rows:
        position, turns = square.place(row.mask)
        above = len(row.mask) - masks.height[row.charts]  # how much lower each chart is than its row
        positions[row.charts] = position + (row.offsets if turns == 0 else above + 1j * row.offsets)
        quarters[row.charts] = turns
    return square.used, positions, quarters


@dataclass(frozen=True)
class _Row:
    """Small charts side by side."""

    charts: np.ndarray  # [R] int64
    offsets: np.ndarray  # [R] int64: distances from the row's left end
    mask: np.ndarray  # [height, width] bool, all true


def _rows(masks: Masks, charts: np.ndarray) -> list[_Row]:
    """Put small charts, sorted by height, into rows that would make a square together."""
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
    """A grid of cells that are free or taken, from a lower left corner. It grows when something does not fit."""

    def __init__(self, side: int) -> None:
        self.used = 1  # the side of the smallest square around everything placed so far
        self._side = side
        self._taken = np.zeros((0, 0), dtype=bool)
        self._runs = np.zeros((0, 0), dtype=np.int32)  # see ``_count``

    def place(self, mask: np.ndarray) -> tuple[complex, int]:
        """Take cells for a mask where the square grows least, and then where the mask's upper end is lowest.

        Returns:
            The lower left corner of the cells, and the number of quarter turns that the mask was turned by.
        """
        turned = [np.ascontiguousarray(shape) for shape in (mask, mask.T[:, ::-1], mask[::-1, ::-1], mask.T[::-1])]
        if mask.mean() > RECTANGLE:
            turned = turned[:2]
        step = COARSE if max(mask.shape) >= LARGE else FINE
        self._make_room(self._side + step + max(mask.shape) + 1)
        fits = [(*_fit(self._runs, self._side, shape, step), turns) for turns, shape in enumerate(turned)]
        self._side, top, column, row, turns = min(fits)
        behind = column + turned[turns].shape[1]
        self._taken[row:top, column:behind] |= turned[turns]
        _count(self._taken, self._runs, row, top, behind)
        self.used = max(self.used, top, behind)
        return complex(column, row), turns

    def _make_room(self, side: int) -> None:
        """Extend the grid to at least this side."""
        old = len(self._taken)
        if old < side:
            side += side // 4
            self._taken = np.pad(self._taken, (0, side - old))
            self._runs = np.zeros((side, side), dtype=np.int32)
            _count(self._taken, self._runs, 0, side, side)


@compiled
def _count(taken: np.ndarray, runs: np.ndarray, first: int, last: int, width: int) -> None:
    """For the first ``width`` cells of some rows: the number of free cells in a run that begins there.

    For taken cells it is minus the number of taken ones.
    """
    for row in range(first, last):
        run = runs[row, width] if width < len(runs) else 0
        for column in range(width - 1, -1, -1):
            if taken[row, column]:
                run = min(run, 0) - 1
            else:
                run = max(run, 0) + 1
            runs[row, column] = run


@compiled
def _fit(free: np.ndarray, side: int, mask: np.ndarray, step: int) -> tuple[int, int, int, int]:
    """The best position for a mask: the side of the square with it, its upper end, its column and its row.

    All positions on a lattice are tried, row by row; from the best one the mask is moved down and to the left.

    Args:
        free: [N, N] int32, from ``_count``, with room for the mask beside the square.
        side: the side of the square.
        mask: [height, width] bool.
        step: the spacing of the lattice.
    """
    height, width = mask.shape
    runs = _runs(mask)
    best, column, row = 2 * len(free), 0, 0
    worst = 0  # the run that did not fit the last time, which often does not fit the next time either
    for y in range(0, side + step, step):
        if best == side or y + height >= best:
            break
        x = 0
        while x + width < best:
            ahead = 0
            for turn in range(len(runs)):
                run = worst + turn if worst + turn < len(runs) else worst + turn - len(runs)
                ahead = _ahead(free, y + runs[run, 0], x + runs[run, 1], runs[run, 2])
                if ahead > 0:
                    worst = run
                    break
            if ahead == 0:
                best, column, row = max(y + height, x + width, side), x, y
                break
            x += -(-ahead // step) * step
    for down, left in ((1, 0), (0, 1), (1, 0)):
        for _ in range(COARSE):
            y, x = row - down, column - left
            fits = y >= 0 and x >= 0
            for run in range(len(runs)):
                fits = fits and _ahead(free, y + runs[run, 0], x + runs[run, 1], runs[run, 2]) == 0
            if not fits:
                break
            row, column = y, x
    return max(row + height, column + width, side), row + height, column, row


@compiled
def _ahead(free: np.ndarray, row: int, column: int, length: int) -> int:
    """0 if a run of cells fits at this position, or else how far to the right it may fit next."""
    run = free[row, column]
    if run >= length:
        return 0
    return -run if run < 0 else run - free[row, column + run]


@compiled
def _runs(mask: np.ndarray) -> np.ndarray:
    """The runs [R, 3] of true cells in the rows of a mask: row, first column and length."""
    height, width = mask.shape
    runs, count = np.empty((height * (width + 1) // 2 + height, 3), np.int64), 0
    for row in range(height):
        for column in range(width):
            if mask[row, column]:
                if column == 0 or not mask[row, column - 1]:
                    runs[count] = row, column, 0
                    count += 1
                runs[count - 1, 2] += 1
    return runs[:count]
