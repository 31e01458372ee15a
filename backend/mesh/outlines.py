"""The borders of charts in the plane, and which of them cross themselves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .texels import ranges

TOUCH = 1e-9  # charts with parts nearer than this share of their size touch
ODD_TURN = np.exp(0.7j)  # sides of charts are often parallel; turned by this they are not upright


@dataclass(frozen=True)
class Outlines:
    """The borders of C charts: P segments in the plane, as complex numbers."""

    start: np.ndarray  # [P] complex128
    end: np.ndarray  # [P] complex128; the chart lies to the left
    vertices: np.ndarray  # [P, 2] int64: the mesh's vertices at both ends
    face: np.ndarray  # [P] int64: whose side it is
    chart: np.ndarray  # [P] int64, ascending, without gaps

    def transformed(self, factor: np.ndarray) -> Outlines:
        """Each chart's points times its factor [C]."""
        factor = factor[self.chart]
        return Outlines(self.start * factor, self.end * factor, self.vertices, self.face, self.chart)

    def least(self, values: np.ndarray) -> np.ndarray:
        """The least of the values [..., P] of each chart's segments: [..., C]."""
        return np.asarray(np.minimum.reduceat(values, np.flatnonzero(np.diff(self.chart, prepend=-1)), axis=-1))


def outlines_of(corners: np.ndarray, faces: np.ndarray, charts: np.ndarray, joined: np.ndarray) -> Outlines:
    """The half-edges without a neighbour in their chart.

    Args:
        corners: [F, 3] complex128, the corners of faces in the plane.
        faces: [F, 3] int64.
        charts: [F] int64, every number up to the highest.
        joined: [E, 2] half-edges that are one edge within a chart.
    """
    alone = np.ones(3 * len(faces), dtype=bool)
    alone[joined] = False
    half = np.flatnonzero(alone)
    half = half[np.argsort(charts[half // 3], kind="stable")]
    after = half - half % 3 + (half + 1) % 3
    ends = np.stack([faces.ravel()[half], faces.ravel()[after]], axis=1)
    return Outlines(corners.ravel()[half], corners.ravel()[after], ends, half // 3, charts[half // 3])


def self_crossings(outlines: Outlines) -> tuple[np.ndarray, np.ndarray]:
    """Charts whose outline crosses or touches itself.

    A chart without faces that are turned over overlaps itself only if its outline does so. Segments that share a vertex
    of the mesh touch there; they have to cross to count.

    Returns:
        [K] the charts' numbers, and [K, 2] for each two faces whose sides meet.
    """
    start, end = outlines.start * ODD_TURN, outlines.end * ODD_TURN
    left, right = np.minimum(start.real, end.real), np.maximum(start.real, end.real)
    low = outlines.least(left)
    size = np.maximum(-outlines.least(-right) - low, 1e-300)
    # Charts side by side, each one wide and as far from the next, so that only segments of one chart can meet.
    left = 2.0 * outlines.chart + (left - low[outlines.chart]) / size[outlines.chart]
    right = 2.0 * outlines.chart + (right - low[outlines.chart]) / size[outlines.chart]
    order = np.argsort(left, kind="stable")
    behind = np.searchsorted(left[order], right[order], side="right")
    one, two = ranges(np.arange(len(order)) + 1.0, behind - 1.0)
    one, two = order[one], order[two.astype(np.int64)]
    bottom, top = np.minimum(start.imag, end.imag), np.maximum(start.imag, end.imag)
    near = (bottom[one] <= top[two]) & (bottom[two] <= top[one])
    one, two = one[near], two[near]

    shared = (outlines.vertices[one, :, None] == outlines.vertices[two, None, :]).any(axis=(1, 2))
    margin = np.where(shared, -1.0, 1.0) * TOUCH * size[outlines.chart[one]]
    crosses = _separated(start, end, one, two, margin) & _separated(start, end, two, one, margin)
    one, two = one[crosses], two[crosses]
    chart, place = np.unique(outlines.chart[one], return_index=True)
    return chart, outlines.face[np.stack([one[place], two[place]], axis=1)]


def _separated(start: np.ndarray, end: np.ndarray, one: np.ndarray, two: np.ndarray, margin: np.ndarray) -> np.ndarray:
    """Whether the ends of segments ``two`` lie on both sides of lines through ``one``, or within a margin of them."""
    along = (end - start)[one]
    length = np.abs(along)
    direction = along.conj() / np.where(length > 0, length, 1.0)
    first = (direction * (start[two] - start[one])).imag
    second = (direction * (end[two] - start[one])).imag
    return np.asarray((np.minimum(first, second) <= margin) & (np.maximum(first, second) >= -margin))
