"""Grids of cells as bits: 64 cells along the last axis are one number, so that most loops take a 64th of the steps.

A grid of bits is [X, Y, W] uint64. Cell z of a row is bit ``z % 64`` of word ``z // 64``.
"""

from __future__ import annotations

import numpy as np

from .compiled import compiled, inlined

WORD = 64
ONE, SIX, LAST = np.uint64(1), np.uint64(6), np.uint64(63)
NONE, ALL = np.uint64(0), np.uint64(0xFFFFFFFFFFFFFFFF)
#: Multiples of this by the powers of two differ in their upper six bits (de Bruijn), which so tell the power.
SEQUENCE, UPPER = np.uint64(0x03F79D71B4CB0A89), np.uint64(58)
PLACES = np.zeros(WORD, np.int64)
PLACES[[(0x03F79D71B4CB0A89 << place) % 2**64 >> 58 for place in range(WORD)]] = range(WORD)


@inlined
def lowest(word: int) -> int:
    """The place of the lowest bit that is set in a word; there must be one."""
    return PLACES[((word & (~word + ONE)) * SEQUENCE) >> UPPER]


def packed(cells: np.ndarray, margin: int) -> np.ndarray:
    """Cells [X, Y, Z] bool as bits, with a margin of so many set cells, or more at the end of the last axis."""
    width, depth, height = (side + 2 * margin for side in cells.shape)
    bits = np.full((width, depth, -(-height // WORD)), ALL)
    _clear(np.ascontiguousarray(cells), bits, margin)
    return bits


@compiled
def _clear(cells: np.ndarray, bits: np.ndarray, margin: int) -> None:
    width, depth, height = cells.shape
    for x in range(width):
        for y in range(depth):
            row, words = cells[x, y], bits[x + margin, y + margin]
            for z in range(height):
                if not row[z]:
                    words[(z + margin) >> 6] &= ~(ONE << np.uint64((z + margin) & 63))


def unpacked(bits: np.ndarray, shape: tuple[int, ...], margin: int) -> np.ndarray:
    """The cells [X, Y, Z] bool of this shape that have been ``packed`` with a margin."""
    cells = np.empty(shape, np.bool_)
    _read(bits, cells, margin)
    return cells


@compiled
def _read(bits: np.ndarray, cells: np.ndarray, margin: int) -> None:
    width, depth, height = cells.shape
    for x in range(width):
        for y in range(depth):
            row, words = cells[x, y], bits[x + margin, y + margin]
            for z in range(height):
                row[z] = words[(z + margin) >> 6] >> np.uint64((z + margin) & 63) & ONE != NONE


@compiled
def grown(bits: np.ndarray) -> np.ndarray:
    """The set cells and all that share a side with one of them."""
    made = np.empty_like(bits)
    width, depth, words = bits.shape
    for x in range(width):
        for y in range(depth):
            own = bits[x, y]
            left, right = bits[max(x - 1, 0), y], bits[min(x + 1, width - 1), y]  # beyond the border, its own row
            front, back = bits[x, max(y - 1, 0)], bits[x, min(y + 1, depth - 1)]
            for w in range(words):
                word = own[w]
                below = own[w - 1] >> LAST if w > 0 else NONE
                above = own[w + 1] << LAST if w + 1 < words else NONE
                made[x, y, w] = (
                    word | word << ONE | below | word >> ONE | above | left[w] | right[w] | front[w] | back[w]
                )
    return made


def shrunk(bits: np.ndarray) -> np.ndarray:
    """The set cells of which all that share a side with them are set too, or beyond the border."""
    return np.asarray(~grown(~bits))


@compiled
def runs_of(bits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The runs of set cells along the last axis, row by row.

    Returns:
        [R, 4] int64: x, y, first z, z after the last; and [X, Y + 1] where the runs of each row begin, with an extra
        entry per x for the end.
    """
    width, depth, words = bits.shape
    begins, room = np.zeros((width, depth + 1), np.int64), width * depth + 64
    runs, count = np.empty((room, 4), np.int64), 0
    for x in range(width):
        for y in range(depth):
            begins[x, y] = count
            if count + (WORD // 2 + 1) * words > room:
                room = 2 * room + (WORD // 2 + 1) * words
                more = np.empty((room, 4), np.int64)
                more[:count] = runs[:count]
                runs = more
            before = NONE  # the last cell of the word before
            for w in range(words):
                word = bits[x, y, w]
                changes = word ^ (word << ONE | before)
                inside, before = before != NONE, word >> LAST
                while changes != NONE:
                    z = WORD * w + lowest(changes)
                    changes &= changes - ONE
                    if inside:
                        runs[count, 3] = z
                        count += 1
                    else:
                        runs[count, 0], runs[count, 1], runs[count, 2] = x, y, z
                    inside = not inside
            if before != NONE:
                runs[count, 3] = WORD * words
                count += 1
        begins[x, depth] = count
    return runs[:count].copy(), begins


@compiled
def filled(width: int, depth: int, words: int, runs: np.ndarray) -> np.ndarray:
    """A grid [width, depth, words] that is set in the runs [R, 4]."""
    bits = np.zeros((width, depth, words), np.uint64)
    for run in range(len(runs)):
        row, first, last = bits[runs[run, 0], runs[run, 1]], runs[run, 2], runs[run, 3] - 1
        if last < first:
            continue
        for w in range(first >> 6, (last >> 6) + 1):
            word = ALL
            if w == first >> 6:
                word = word << np.uint64(first & 63)
            if w == last >> 6:
                word = word & (ALL >> np.uint64(63 - (last & 63)))
            row[w] |= word
    return bits


@compiled
def count_of(bits: np.ndarray) -> int:
    """How many cells are set."""
    count = 0
    for word in bits.ravel():
        while word != NONE:
            word &= word - ONE
            count += 1
    return count
