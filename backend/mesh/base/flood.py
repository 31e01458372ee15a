"""Which cells of a grid are outside of an object: those that a flood from beyond the border reaches without leaking.

Shells that a network decodes have holes of a few cells. If the flood entered through them, it would reach the inner
side of the shell, which would then be kept. So pockets are found first: spaces that only narrow passages lead to.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from .bits import count_of, filled, grown, packed, runs_of, shrunk, unpacked
from .compiled import compiled, together
from .topology import connected

RADII = (1, 2)  # in cells: passages up to twice as wide are leaks
CORE = 32  # cells of a pocket farther than a radius from all walls: with fewer it is just a crevice
OPEN = 0.25  # a space whose border is open by more than this share is meant to be seen into, like a cage


def flood(free: np.ndarray, radii: Sequence[int] = RADII, core: int = CORE) -> np.ndarray:
    """The ``free`` cells [X, Y, Z] bool that are outside; everything beyond the border of the grid is free.

    Cells are connected through their sides. Pockets behind passages up to ``2 * max(radii)`` cells wide count as
    inside, unless they are just crevices (``core``) or largely open (``OPEN``).
    """
    margin = margin_of(radii)
    return unpacked(flooded(packed(free, margin), radii, core), free.shape, margin)


def margin_of(radii: Sequence[int] = RADII) -> int:
    """How many free cells there must be around an object, so that the flood gets around it."""
    return max(radii) + 1


def flooded(free: np.ndarray, radii: Sequence[int] = RADII, core: int = CORE) -> np.ndarray:
    """``flood`` for bits [X, Y, W] (see ``bits``) with a margin of ``margin_of(radii)``."""
    outside = _reached(free)
    wide, closed = together(*[partial(_wide, outside, radius) for radius in radii]), False
    for radius, spaces in zip(radii, wide, strict=True):
        closed |= _close_pockets(outside, radius, core, _wide(outside, radius) if closed else spaces)
    return outside


def leaks(solid: np.ndarray, radii: Sequence[int], core: int = CORE, dent: int = 0) -> np.ndarray:
    """The cells to add to ``solid`` [X, Y, Z] bool that close the passages which ``flood`` treats as leaks.

    They are a skin on the inner side of the passages: the inside cells that touch the outside, even by an edge or a
    corner, since a surface between the two cells would connect them. With ``dent`` the passages are filled too, as far
    as a cube that reaches ``dent`` cells to each side cannot enter them, so that the skin is flush with the walls.
    """
    from scipy import ndimage

    margin = 2 * dent + 1
    solid = np.pad(solid, margin)
    outside = flood(~solid, radii, core)
    skin = ndimage.maximum_filter(outside, 3) & ~outside & ~solid
    if dent and skin.any():
        side = 2 * dent + 1
        closed = ndimage.minimum_filter(ndimage.maximum_filter(solid | skin, side), side)
        skin |= closed & outside & ndimage.maximum_filter(skin, side)
    return np.ascontiguousarray(skin[(slice(margin, -margin),) * 3])


def _reached(free: np.ndarray) -> np.ndarray:
    """The free cells connected with the first one, which must be free."""
    runs, region = _regions(free)
    return np.asarray(filled(*free.shape, runs[region == 0]))


def _wide(outside: np.ndarray, radius: int) -> tuple[np.ndarray, np.ndarray]:
    """The ``_regions`` of the cells that are farther than a radius from all walls."""
    core = outside
    for _ in range(radius):
        core = shrunk(core)
    return _regions(core)


def _close_pockets(outside: np.ndarray, radius: int, smallest: int, wide: tuple[np.ndarray, np.ndarray]) -> bool:
    """Remove from ``outside``, in place, the pockets behind passages up to twice this radius wide.

    Args:
        outside: bits [X, Y, W].
        radius: in cells.
        smallest: how many cells of a pocket must be farther than the radius from all walls.
        wide: what ``_wide`` gives for these.

    Returns:
        Whether there were any.
    """
    runs, region = wide
    sizes = np.bincount(region, runs[:, 3] - runs[:, 2])
    found = np.flatnonzero(sizes >= smallest)[1:]  # without the outside, which is the first region
    if not len(found):
        return False
    reached, closed = filled(*outside.shape, runs[region == 0]), False
    for _ in range(radius):
        reached = grown(reached) & outside
    growth = 2 * radius + 1  # back to the walls, and into the passages
    for number in found:
        own = runs[region == number]
        low, high = own[:, :2].min(axis=0), own[:, :2].max(axis=0) + 1
        low, high = np.maximum(low - growth - 1, 0), high + growth + 1
        box = tuple(map(slice, low, high))
        within = outside[box] & ~reached[box]
        pocket = filled(*within.shape, own - [*low, 0, 0])
        for _ in range(growth):
            pocket = grown(pocket) & within
        border = grown(pocket) & ~pocket
        if count_of(border & outside[box]) <= OPEN * count_of(border):
            outside[box] &= ~pocket
            closed = True
    return closed


def _regions(bits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The runs [R, 4] of set cells, see ``runs_of``, and the region [R] of each.

    Regions are connected through the cells' sides. They are numbered in the order of their first runs.
    """
    runs, begins = runs_of(bits)
    one, other = _touching(runs, begins)
    return runs, np.asarray(connected(one, other, len(runs)))


@compiled
def _touching(runs: np.ndarray, begins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of runs with adjacent cells."""
    one, other = np.empty(4 * len(runs), np.int64), np.empty(4 * len(runs), np.int64)
    count = 0
    for x in range(len(begins)):
        for y in range(begins.shape[1] - 1):
            for back in range(2):  # the previous row along each of the two other axes
                if (x if back else y) == 0:
                    continue
                there = begins[x - 1, y] if back else begins[x, y - 1]
                behind = begins[x - 1, y + 1] if back else begins[x, y]
                here = begins[x, y]
                while here < begins[x, y + 1] and there < behind:
                    if runs[here, 2] < runs[there, 3] and runs[there, 2] < runs[here, 3]:
                        one[count], other[count] = here, there
                        count += 1
                    if runs[here, 3] < runs[there, 3]:
                        here += 1
                    else:
                        there += 1
    return one[:count], other[:count]
