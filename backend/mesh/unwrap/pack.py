"""Pack charts into a square by their outlines, so that one may be put into a hollow or a hole of another.

Lévy, Petitjean, Ray and Maillot, "Least Squares Conformal Maps for Automatic Texture Atlas Generation" (2002) put
charts on a horizon; here all positions in a grid of cells are tried, for the largest charts first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..base.compiled import compiled
from .outlines import Outlines

STRAIGHT = 0.005  # how much larger than the smallest the rectangle around a chart may be, to be straight
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


def pack(outlines: Outlines, area: float, cells: int, up: np.ndarray, quarters: bool = False) -> Placement:
    """Pack charts into the unit square, all at the same scale, about 2 / ``cells`` of its side apart.

    They are never closer than three quarters of that, unless there are too many of them. Charts are straight, and stand
    upright unless that wastes room.

    Args:
        outlines: those of at least one chart.
        area: the total area of all charts.
        cells: the approximate number of cells along each side of the square.
        up: [C] complex128, the direction in each chart that is to be up in the square, of any length.
        quarters: no chart is in two quarters of the square.
    """
    turned = _straightened(outlines, up)
    cells = max(cells, int(MANY * np.sqrt(len(turned))))
    # Cells covered by charts with their margins, rounded up to whole cells: area scale^2 + length scale (MARGIN + 1/2).
    half = (MARGIN + 0.5) * np.abs(outlines.end - outlines.start).sum() / (2 * area)
    scale = np.sqrt(half**2 + FILLED * cells**2 / area) - half
    while True:
        masks = rasterized(outlines.transformed(turned * scale))
        side, positions, turns = _place_all(masks, 4 if quarters else 1)
        if side <= cells * 4 // 3:
            break
        scale *= cells / side
    turn = 1j**turns
    opposite = np.stack([0 * turn, masks.height + 0j, masks.width + 1j * masks.height, 1j * masks.width])
    shift = turn * masks.shift + opposite[turns, np.arange(len(turn))] + positions
    return Placement(turn * turned * scale / side, shift / side)


def _straightened(outlines: Outlines, up: np.ndarray) -> np.ndarray:
    """[C] complex of length 1: turns each chart so that it is straight, and ``up`` [C] as far up as that leaves.

    The longest straight piece of its outline is level or upright, unless another one makes the rectangle around the
    chart smaller.
    """
    turned = _best_turns(outlines.start, np.append(outlines.begins(), len(outlines.start)))
    quarters = np.rint(1 - np.angle(up * turned) / (np.pi / 2)).astype(np.int64)
    return np.asarray(turned * np.array([1, 1j, -1, -1j])[quarters % 4])


@compiled
def _best_turns(points: np.ndarray, begins: np.ndarray) -> np.ndarray:
    """[C] complex of length 1: turns each chart for ``_straightened``. begins: [C + 1], where a chart's points begin.

    The smallest rectangle around a chart has a side along one of its convex hull (Freeman and Shapira 1975).
    """
    best = np.ones(len(begins) - 1, np.complex128)
    for chart in range(len(best)):
        hull = _hull(points[begins[chart] : begins[chart + 1]])
        areas, least, longest = np.empty(len(hull)), np.inf, 0.0
        for side in range(len(hull)):
            along = hull[(side + 1) % len(hull)] - hull[side]
            left = bottom = np.inf
            right = top = -np.inf
            for point in hull:
                turned = point * along.conjugate()
                left, right = min(left, turned.real), max(right, turned.real)
                bottom, top = min(bottom, turned.imag), max(top, turned.imag)
            length = abs(along)
            areas[side] = (right - left) * (top - bottom) / (length * length) if length > 0 else np.inf
            least = min(least, areas[side])
        for side in range(len(hull)):
            along = hull[(side + 1) % len(hull)] - hull[side]
            length = abs(along)
            if length > longest and areas[side] <= (1 + STRAIGHT) * least:
                longest, best[chart] = length, along.conjugate() / length
    return best


@compiled
def _hull(points: np.ndarray) -> np.ndarray:
    """The convex hull [H] of points [P], counterclockwise, from the leftmost (Andrew's monotone chain, 1979)."""
    order = np.argsort(points.imag, kind="mergesort")
    order = order[np.argsort(points.real[order], kind="mergesort")]
    hull, count = np.empty(2 * len(points), np.complex128), 0
    for way in range(2):  # below, then above
        begin = count
        for i in range(len(order)):
            point = points[order[i if way == 0 else len(order) - 1 - i]]
            while count > begin + 1:
                before, last = hull[count - 2], hull[count - 1]
                if ((last - before).conjugate() * (point - before)).imag > 0:
                    break
                count -= 1
            hull[count] = point
            count += 1
        count -= 1  # the other way begins with it
    return hull[: max(count, 1)]


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
        level = a.imag == b.imag
        slope = (b - a).real / (1.0 if level else (b - a).imag)
        # The cells that the segment runs through, and those around them.
        for row in range(math.floor(low.imag), math.floor(high.imag) + 1):
            one = left if level else a.real + (row - a.imag) * slope
            two = right if level else a.real + (row + 1 - a.imag) * slope
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


def _place_all(masks: Masks, count: int) -> tuple[int, np.ndarray, np.ndarray]:
    """Place all charts without overlap, in one square or in the four quarters of one.

    Returns:
        The side of the square, the lower left corner [C] of each chart's cells as a complex number, and the number of
        quarter turns [C] that the chart is turned by first.
    """
    positions, turned = np.zeros(len(masks.width), dtype=np.complex128), np.zeros(len(masks.width), dtype=np.int64)
    within = np.zeros(len(masks.width), dtype=np.int64)
    size = np.maximum(masks.width, masks.height)
    rows = _rows(masks, np.flatnonzero(size <= SMALL), count)
    large = np.flatnonzero(size > SMALL)
    filled = masks.cells.sum() + sum(row.mask.size for row in rows)
    squares = [_Square(int(np.ceil(np.sqrt(filled / count / HOPED)))) for _ in range(count)]
    extent = masks.width * masks.height
    for chart in large[np.argsort(-extent[large], kind="stable")]:
        within[chart], positions[chart], turned[chart] = _place(squares, masks.mask(chart))
    for row in rows:
        within[row.charts], position, turns = _place(squares, row.mask)
        above = len(row.mask) - masks.height[row.charts]  # how much lower each chart is than its row
        positions[row.charts] = position + (row.offsets if turns == 0 else above + 1j * row.offsets)
        turned[row.charts] = turns
    used = max(square.used for square in squares)
    if count == 1:
        return used, positions, turned
    return 2 * used, positions + used * np.array([0, 1, 1j, 1 + 1j])[within], turned


@dataclass(frozen=True)
class _Row:
    """Small charts side by side."""

    charts: np.ndarray  # [R] int64
    offsets: np.ndarray  # [R] int64: distances from the row's left end
    mask: np.ndarray  # [height, width] bool, all true


def _rows(masks: Masks, charts: np.ndarray, squares: int) -> list[_Row]:
    """Put small charts, sorted by height, into rows that would make so many squares together."""
    charts = charts[np.lexsort((charts, -masks.width[charts], -masks.height[charts]))]
    width = masks.width[charts]
    longest = max(int(np.sqrt((width * masks.height[charts]).sum() / squares)), SMALL)
    behind = np.cumsum(width)
    rows = []
    while len(charts):
        count = max(int(np.searchsorted(behind, longest, side="right")), 1)
        offsets = (behind - width)[:count]
        mask = np.ones((masks.height[charts[0]], behind[count - 1]), dtype=bool)
        rows.append(_Row(charts[:count], offsets, mask))
        charts, width, behind = charts[count:], width[count:], behind[count:] - behind[count - 1]
    return rows


def _place(squares: Sequence[_Square], mask: np.ndarray) -> tuple[int, complex, int]:
    """Take cells for a mask where the squares, all of one size, grow least, and then where its upper end is lowest.

    Returns:
        The number of the square, the lower left corner of the cells, and the number of quarter turns that the mask was
        turned by.
    """
    turned = [np.ascontiguousarray(shape) for shape in (mask, mask.T[:, ::-1], mask[::-1, ::-1], mask.T[::-1])]
    if mask.mean() > RECTANGLE:
        turned = turned[:2]
    found = [square.fit(turned) for square in squares]
    number = min(range(len(squares)), key=lambda each: found[each][:2])
    side, top, column, row, turns = found[number]
    squares[number].take(turned[turns], top, column, row)
    for square in squares:
        square.side = side
    return number, complex(column, row), turns


class _Square:
    """A grid of cells that are free or taken, from a lower left corner. It grows when something does not fit."""

    def __init__(self, side: int) -> None:
        self.side = side
        self.used = 1  # the side of the smallest square around everything placed so far
        self._taken = np.zeros((0, 0), dtype=bool)
        self._runs = np.zeros((0, 0), dtype=np.int32)  # see ``_count``

    def fit(self, turned: Sequence[np.ndarray]) -> tuple[int, int, int, int, int]:
        """The best place for a mask that is given as it is and turned: as ``_fit`` has it, and the number of turns.

        It stays as it is where that grows the square no more than turning it, and ends at most its own height higher.
        """
        largest = max(turned[0].shape)
        step = COARSE if largest >= LARGE else FINE
        self._make_room(self.side + step + largest + 1)
        fits = [(*_fit(self._runs, self.side, shape, step), turns) for turns, shape in enumerate(turned)]
        upright, best = fits[0], min(fits)
        return upright if upright[0] <= best[0] and upright[1] <= best[1] + len(turned[0]) else best

    def take(self, mask: np.ndarray, top: int, column: int, row: int) -> None:
        """Take the cells of a mask at a place."""
        behind = column + mask.shape[1]
        self._taken[row:top, column:behind] |= mask
        _count(self._taken, self._runs, row, top, behind)
        self.used = max(self.used, top, behind)

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
