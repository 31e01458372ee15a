"""The texels outside all charts: they get the values of the nearest ones inside, so that filtering shows no seams."""

from __future__ import annotations

from functools import partial

import numpy as np

from ..base.compiled import compiled, in_strips

STRIP = 64  # rows handled by one thread at a time


class Gutter:
    """The texels outside all charts, each with the nearest one inside."""

    def __init__(self, covered: np.ndarray) -> None:
        """covered: [T, T] bool, the texels inside charts."""
        self._nearest = np.empty(covered.shape, dtype=np.int32)
        rows = _nearest_in_columns(covered)
        in_strips(partial(_nearest_in_rows, rows, self._nearest), len(covered), STRIP)

    def fill(self, image: np.ndarray) -> np.ndarray:
        """Fill the gutter of an image [T, T, C] uint8 in place; texels inside charts stay. Returns the image."""
        in_strips(partial(_copy, self._nearest, image), len(image), STRIP)
        return image


@compiled
def _nearest_in_columns(covered: np.ndarray) -> np.ndarray:
    """[T, T] int32: the row of the nearest covered texel in the same column; -1 if there is none."""
    size = len(covered)
    found = np.empty(covered.shape, dtype=np.int32)
    for column in range(size):
        found[0, column] = 0 if covered[0, column] else -1
    for row in range(1, size):
        for column in range(size):
            found[row, column] = row if covered[row, column] else found[row - 1, column]
    for row in range(size - 2, -1, -1):
        for column in range(size):
            above, below = found[row, column], found[row + 1, column]
            if above < 0 or (below >= 0 and below - row < row - above):
                found[row, column] = below
    return found


@compiled
def _nearest_in_rows(rows: np.ndarray, nearest: np.ndarray, first: int, last: int) -> None:
    """For each texel the number of the nearest covered one, counted row by row; -1 for covered texels.

    The squared distance from a column's nearest texel is a parabola along a row, and the lowest parabola gives the
    nearest of all (Felzenszwalb and Huttenlocher 2012, "Distance Transforms of Sampled Functions"). Covered texels
    between covered ones are left out, since they are not the nearest of any other.
    """
    size = len(rows)
    lowest = np.empty(size, dtype=np.int64)  # columns of the lowest parabolas, from left to right
    begins = np.empty(size)  # where each gets lower than the one before
    for row in range(first, last):
        count = 0
        for column in range(size):
            left, right = max(column - 1, 0), min(column + 1, size - 1)
            if rows[row, column] < 0 or (
                rows[row, left] == row and rows[row, column] == row and rows[row, right] == row
            ):
                continue
            begin = -np.inf
            while count:
                other = lowest[count - 1]
                rise = (rows[row, column] - row) ** 2 - (rows[row, other] - row) ** 2
                begin = (rise / (column - other) + column + other) / 2
                if begin > begins[count - 1]:
                    break
                count -= 1
                begin = -np.inf
            lowest[count], begins[count] = column, begin
            count += 1
        current = 0
        for column in range(size):
            nearest[row, column] = -1
            if rows[row, column] == row or not count:
                continue
            while current + 1 < count and begins[current + 1] <= column:
                current += 1
            nearest[row, column] = rows[row, lowest[current]] * size + lowest[current]


@compiled
def _copy(nearest: np.ndarray, image: np.ndarray, first: int, last: int) -> None:
    """Copy to texels in some rows of an image the values of their nearest ones."""
    size = len(nearest)
    for row in range(first, last):
        for column in range(size):
            other = nearest[row, column]
            if other >= 0:
                for channel in range(image.shape[2]):
                    image[row, column, channel] = image[other // size, other % size, channel]
