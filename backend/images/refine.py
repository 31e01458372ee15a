"""From a network's coarse answer to a cut-out: one object, its edge at full resolution, its colours its own.

Masks and alpha are [H, W], alpha float32 in 0..1, colours [H, W, 3] float32 in 0..1.
"""

from __future__ import annotations

import numpy as np
from PIL import Image
from scipy import ndimage

from ..mesh.base.compiled import compiled
from ..protocol import Point

#: Parts that are nearer to each other than this share of the image's longer side are one object.
GAP = 0.02

#: The side that an image is reduced to for telling objects apart.
SMALL = 256

#: Parts of the object smaller than this share of its largest part are dust.
SPECK_SHARE = 0.002

#: Coarse alpha below the first and above the second is sure, except for GROWN pixels beside the rest.
SURE = (0.1, 0.9)
GROWN = 3

#: How far around a pixel of the edge sure pixels are looked at, and every how many pixels one is, at 1024 pixels.
REACH, STRIDE = 20, 4

#: How much further away (in pixels, at 1024), or of how different a colour, a sure pixel counts clearly less.
NEAR, ALIKE = 13.0, 0.04

#: The difference of object's and background's colour at which both colours and coarse alpha count the same.
UNLIKE = 0.2


def separate(alpha: np.ndarray, point: Point | None) -> np.ndarray:
    """Which pixels [H, W] may belong to the object that is meant: the one at ``point``, without it the largest.

    Each pixel counts as a part of the object that is nearest. None may belong to it if there is no object at ``point``.
    """
    height, width = alpha.shape
    scale = SMALL / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = np.asarray(Image.fromarray(alpha).resize(size, Image.Resampling.BOX)) > 0.5
    if not small.any():
        return np.zeros(alpha.shape, bool)
    distance, nearest = ndimage.distance_transform_edt(~small, return_indices=True)
    labels, _ = ndimage.label(distance <= GAP * SMALL / 2, structure=np.ones((3, 3)))
    if point is None:
        chosen = int(np.bincount(labels[small]).argmax())
    else:
        chosen = int(labels[min(int(point[1] * size[1]), size[1] - 1), min(int(point[0] * size[0]), size[0] - 1)])
    meant = (labels[nearest[0], nearest[1]] == chosen) & (chosen > 0)
    return np.asarray(Image.fromarray(meant).resize((width, height), Image.Resampling.NEAREST))


def refined(colours: np.ndarray, coarse: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Alpha that follows the edges in the image, and the object's own colours, from a network's coarse alpha.

    A pixel p of the edge is a F + (1 - a) B. F and B are means of the sure pixels nearby, those of a like colour
    foremost, so that object and background may have several colours. a is the least-squares solution; where F and B are
    alike, coarse alpha counts instead. The colour is F, corrected so that p comes out. (Sampling as in Gastal and
    Oliveira 2010, Shared Sampling for Real-Time Alpha Matting, https://doi.org/10.1111/j.1467-8659.2009.01627.x, with
    means in place of the best pair.)
    """
    low, high = SURE
    sure = _eroded(coarse > high).astype(np.int8) - _eroded(coarse < low).astype(np.int8)
    rows, columns = np.nonzero(sure == 0)
    expected = ((coarse - 0.5) * 2 + 0.5).clip(0, 1)  # the network's edge is wider than a real one
    scale = max(coarse.shape) / 1024
    mixed = _mixed(
        np.ascontiguousarray(colours, np.float32),
        sure,
        rows,
        columns,
        expected[rows, columns].astype(np.float32),
        max(2, round(REACH * scale)),
        max(1, round(STRIDE * scale)),
        NEAR * scale,
    )
    alpha, own = (sure > 0).astype(np.float32), colours.copy()
    alpha[rows, columns], own[rows, columns] = mixed[:, 0], mixed[:, 1:]
    return alpha, own


def _eroded(mask: np.ndarray) -> np.ndarray:
    return np.asarray(ndimage.binary_erosion(mask, iterations=GROWN, border_value=1))


@compiled
def _mixed(
    colours: np.ndarray,
    sure: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
    expected: np.ndarray,
    reach: int,
    stride: int,
    near: float,
) -> np.ndarray:
    """Alpha and own colour [N, 4] float32 of N pixels. ``sure`` [H, W] int8 is 1 in the object, -1 outside, else 0;
    ``expected`` [N] is the alpha where colours do not tell."""
    found = np.empty((len(rows), 4), np.float32)
    means = np.empty((2, 3), np.float32)  # of the background, of the object
    for n in range(len(rows)):
        pixel, alpha = colours[rows[n], columns[n]], float(expected[n])
        known = _nearby(colours, sure, rows[n], columns[n], reach, stride, near, means)
        behind, front = means
        if known:
            along, unlike = 0.0, 0.0
            for k in range(3):
                along += (pixel[k] - behind[k]) * (front[k] - behind[k])
                unlike += (front[k] - behind[k]) ** 2
            trust = unlike / (unlike + UNLIKE**2)
            alpha = trust * min(max(along / (unlike + 1e-12), 0.0), 1.0) + (1 - trust) * alpha
        found[n, 0] = alpha
        for k in range(3):
            own = front[k] + alpha * (pixel[k] - alpha * front[k] - (1 - alpha) * behind[k]) if known else pixel[k]
            found[n, k + 1] = min(max(own, 0.0), 1.0)
    return found


@compiled
def _nearby(
    colours: np.ndarray,
    sure: np.ndarray,
    row: int,
    column: int,
    reach: int,
    stride: int,
    near: float,
    means: np.ndarray,
) -> bool:
    """Put the mean colours of background and object around a pixel into ``means`` [2, 3]. False if one is unknown."""
    height, width = sure.shape
    behind, front = 0.0, 0.0  # sums of weights
    means[:] = 0
    for i in range(max(row % stride, row - reach), min(height, row + reach + 1), stride):
        for j in range(max(column % stride, column - reach), min(width, column + reach + 1), stride):
            side = sure[i, j]
            if side == 0:
                continue
            unlike = 0.0
            for k in range(3):
                unlike += (colours[i, j, k] - colours[row, column, k]) ** 2
            apart = (i - row) ** 2 + (j - column) ** 2
            weight = np.exp(-0.5 * unlike / ALIKE**2 - 0.5 * apart / near**2) + 1e-12
            which = 1 if side > 0 else 0
            for k in range(3):
                means[which, k] += weight * colours[i, j, k]
            if side > 0:
                front += weight
            else:
                behind += weight
    if front == 0 or behind == 0:
        return False
    for k in range(3):
        means[0, k] /= behind
        means[1, k] /= front
    return True


def warm() -> None:
    """Load the machine code, or compile it if there is none yet."""
    coarse = np.zeros((16, 16), np.float32)
    coarse[4:12, 4:12] = 1
    refined(np.zeros((16, 16, 3), np.float32), coarse)


def without_specks(alpha: np.ndarray) -> np.ndarray:
    """Alpha without parts that are dust compared with the largest."""
    labels, _ = ndimage.label(alpha > 0.5, structure=np.ones((3, 3)))
    areas = np.bincount(labels.ravel())
    areas[0] = 0
    dust = areas < SPECK_SHARE * areas.max(initial=0)
    dust[0] = False
    if not dust.any():
        return alpha
    return np.where(ndimage.binary_dilation(dust[labels], iterations=3), 0, alpha)
