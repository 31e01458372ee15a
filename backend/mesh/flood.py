"""What of a grid lies outside of an object: what a flood from beyond the border reaches without leaking.

Shells that a network decodes have holes of a few cells. A flood that entered through them would wet the inner side of
the shell, and all of it would stay. So spaces are looked for that only narrow passages lead to.
"""

from __future__ import annotations

import numpy as np

RADII = (1, 2)  # in cells: passages up to twice as wide are leaks
CORE = 32  # cells of a space that lie farther than a radius from all walls: with fewer it is a crevice
OPEN = 0.25  # a space with more of its border open than this is meant to be seen into, as a cage is


def flood(free: np.ndarray) -> np.ndarray:
    """Of the ``free`` cells [X, Y, Z] bool those that lie outside; beyond the border of the grid all is free.

    Cells are connected through their sides. Spaces behind passages up to ``2 * max(RADII)`` cells wide count as inside,
    if they are no mere crevices and hardly open.
    """
    margin = max(RADII) + 1  # around the object the flood is as wide as anywhere
    outside = _reached(np.pad(free, margin, constant_values=True))
    for radius in RADII:
        _close_pockets(outside, radius)
    return np.ascontiguousarray(outside[(slice(margin, -margin),) * 3])


def _reached(free: np.ndarray) -> np.ndarray:
    from scipy import ndimage

    regions, _ = ndimage.label(free)
    return np.asarray(regions == regions[0, 0, 0])


def _close_pockets(outside: np.ndarray, radius: int) -> None:
    """Take those spaces away from ``outside``, in place, that passages of twice this radius lead to."""
    from scipy import ndimage

    core = outside
    for _ in range(radius):
        core = ~_grown(~core)
    regions, count = ndimage.label(core)
    if count == 1:  # all of it lies outside
        return
    sizes = np.bincount(regions.reshape(-1))
    sizes[[0, regions[0, 0, 0]]] = 0
    found = np.flatnonzero(sizes >= CORE)
    if not len(found):
        return
    reached = regions == regions[0, 0, 0]
    for _ in range(radius):
        reached = _grown(reached) & outside
    boxes = ndimage.find_objects(regions)
    growth = 2 * radius + 1  # back to the walls, and into the passages
    for region in found:
        box = tuple(slice(max(side.start - growth - 1, 0), side.stop + growth + 1) for side in boxes[region - 1])
        within = outside[box] & ~reached[box]
        pocket = regions[box] == region
        for _ in range(growth):
            pocket = _grown(pocket) & within
        border = _grown(pocket) & ~pocket
        if (border & outside[box]).sum() <= OPEN * border.sum():
            outside[box] &= ~pocket


def _grown(cells: np.ndarray) -> np.ndarray:
    """The cells and those that share a side with one of them."""
    grown = cells.copy()
    for axis in range(3):
        here, there = np.moveaxis(grown, axis, 0), np.moveaxis(cells, axis, 0)
        here[1:] |= there[:-1]
        here[:-1] |= there[1:]
    return grown
