"""The outlines of charts in the plane, and which of them cross themselves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..base.compiled import compiled

TOUCH = 1e-9  # segments closer than this share of their chart's size touch
ODD_TURN = np.exp(0.7j)  # sides of charts are often upright; after this turn they are not


@dataclass(frozen=True)
class Outlines:
    """The outlines of C charts: P segments in the plane, as complex numbers."""

    start: np.ndarray  # [P] complex128
    end: np.ndarray  # [P] complex128; the chart is on the left
    vertices: np.ndarray  # [P, 2] int64: the vertices of the mesh at both ends
    face: np.ndarray  # [P] int64: the face that has this side
    chart: np.ndarray  # [P] int64, ascending; a chart that is a closed surface has no segments

    def transformed(self, factor: np.ndarray) -> Outlines:
        """The same outlines with the points of each chart multiplied by its factor [C]."""
        factor = factor[self.chart]
        return Outlines(self.start * factor, self.end * factor, self.vertices, self.face, self.chart)

    def begins(self) -> np.ndarray:
        """[C] int64: the first segment of each chart that has one."""
        return np.flatnonzero(np.diff(self.chart, prepend=-1))

    def least(self, values: np.ndarray) -> np.ndarray:
        """[C] the smallest of the values [P] of each chart's segments."""
        return np.asarray(np.minimum.reduceat(values, self.begins()))


def outlines_of(corners: np.ndarray, faces: np.ndarray, charts: np.ndarray, twins: np.ndarray) -> Outlines:
    """The outlines of charts: the half-edges without a neighbour in their chart.

    Args:
        corners: [F, 3] complex128, the corners of faces in the plane.
        faces: [F, 3] int64.
        charts: [F] int64, using all numbers up to the highest.
        twins: [3 F] for each half-edge the one on the other side, within the chart; -1 if there is none.
    """
    half = np.flatnonzero(twins < 0)
    half = half[np.argsort(charts[half // 3], kind="stable")]
    after = half - half % 3 + (half + 1) % 3
    ends = np.stack([faces.ravel()[half], faces.ravel()[after]], axis=1)
    return Outlines(corners.ravel()[half], corners.ravel()[after], ends, half // 3, charts[half // 3])


def self_crossings(outlines: Outlines) -> tuple[np.ndarray, np.ndarray]:
    """Charts whose outline crosses or touches itself.

    If no face of a chart is turned over, the chart overlaps itself only if its outline does. Segments that share a
    vertex of the mesh touch there, so they count only if they cross.

    Returns:
        The numbers [K] of these charts, and for each two faces [K, 2] whose sides meet.
    """
    start, end = outlines.start * ODD_TURN, outlines.end * ODD_TURN
    left, right = np.minimum(start.real, end.real), np.maximum(start.real, end.real)
    low = outlines.least(left)
    size = np.maximum(-outlines.least(-right) - low, 1e-300)
    numbers, chart = np.unique(outlines.chart, return_inverse=True)  # a closed chart has no outline
    # Charts are put side by side, with a width of 1 and gaps of 1, so that only segments of the same chart can meet.
    left = 2.0 * chart + (left - low[chart]) / size[chart]
    right = 2.0 * chart + (right - low[chart]) / size[chart]
    order = np.argsort(left, kind="stable")
    met = _meetings(start, end, left, right, order, chart, outlines.vertices, TOUCH * size)
    found = np.flatnonzero(met[:, 0] >= 0)
    return numbers[found], outlines.face[met[found]]


@compiled
def _meetings(
    start: np.ndarray,
    end: np.ndarray,
    left: np.ndarray,
    right: np.ndarray,
    order: np.ndarray,
    chart: np.ndarray,
    vertices: np.ndarray,
    margin: np.ndarray,
) -> np.ndarray:
    """[C, 2] two segments of each chart that meet; -1 if none do. order: [P] sorts by ``left``; margin: [C]."""
    met = np.full((len(margin), 2), -1)
    for i in range(len(order)):
        one = order[i]
        if met[chart[one], 0] >= 0:
            continue
        bottom, top = min(start[one].imag, end[one].imag), max(start[one].imag, end[one].imag)
        for two in order[i + 1 :]:
            if left[two] > right[one]:
                break
            if min(start[two].imag, end[two].imag) > top or max(start[two].imag, end[two].imag) < bottom:
                continue
            ends = vertices[two, 0], vertices[two, 1]
            shared = vertices[one, 0] in ends or vertices[one, 1] in ends
            near = -margin[chart[one]] if shared else margin[chart[one]]
            if _reaches(start[one], end[one], start[two], end[two], near) and _reaches(
                start[two], end[two], start[one], end[one], near
            ):
                met[chart[one]] = one, two
                break
    return met


@compiled
def _reaches(start: complex, end: complex, one: complex, two: complex, margin: float) -> bool:
    """Whether two points are on both sides of a segment's line, or within a margin of it."""
    along = (end - start).conjugate()
    length = abs(along)
    direction = along / length if length > 0 else along
    first, second = (direction * (one - start)).imag, (direction * (two - start)).imag
    return min(first, second) <= margin and max(first, second) >= -margin
