"""Mend a network's coarse answer by colour: what is missing comes back, what the background shows is dropped.

A network may miss a part of an object that plainly differs from the background, or take some background for object.
GrabCut (Rother et al. 2004, https://doi.org/10.1145/1015706.1015720) starts from a rough region, learns the colours of
object and background, and finds the least cut between them. Here the network is the rough region and keeps its say, the
colours are smoothed histograms (as in Boykov and Jolly 2001, https://doi.org/10.1109/ICCV.2001.937505), and there is
one round. Colours are [H, W, 3] float32 in 0..1, alpha and masks [H, W].
"""

from __future__ import annotations

import numpy as np
from PIL import Image
from scipy import ndimage, sparse
from scipy.sparse.csgraph import breadth_first_order, maximum_flow

from .colours import border, density, histogram, reduced_size, scaled, with_shades

#: The background's colours are those of the image's border where coarse alpha is below this. What lies further in may
#: be a part of the object that was missed.
FREE = 0.1

#: Histograms of colour: bins along each axis, and the least density.
BINS, LEAST = 16, 1e-5

#: The most that a pixel's colour may say, what the network's logit weighs against it, and its bound on probabilities.
MOST, NETWORK, DOUBT = 4.0, 0.6, 0.003

#: What it costs to part two neighbours of one colour, and how fast that falls with their difference.
JOIN, CONTRAST = 3.0, 0.5

#: With a greater overlap of the two histograms (0 to 1) colours tell nothing.
ALIKE = 0.5

#: How much smaller or larger the object may become. Beyond that, the colours speak of something else.
RANGE = (0.5, 3.0)

#: Capacities are integers: this many to one unit of cost.
UNIT = 100


def mended(colours: np.ndarray, coarse: np.ndarray) -> np.ndarray:
    """Coarse alpha with missed parts of the object, and without background that was taken for the object.

    It stays as it is where object and background have the same colours, or the object would change beyond ``RANGE``.
    """
    size = reduced_size(coarse.shape)
    small, alpha = scaled(colours, size), scaled(coarse, size)
    found = alpha > 0.5
    evidence = _evidence(small, alpha)
    if evidence is None:
        return coarse
    mask = _joined(_cut(NETWORK * _logit(alpha) + evidence, small), found)
    if not RANGE[0] <= mask.sum() / found.sum() <= RANGE[1]:
        return coarse
    return _changed(coarse, mask, found)


def _logit(alpha: np.ndarray) -> np.ndarray:
    bounded = alpha.clip(DOUBT, 1 - DOUBT)
    return np.asarray(np.log(bounded / (1 - bounded)))


def _evidence(colours: np.ndarray, alpha: np.ndarray) -> np.ndarray | None:
    """How much likelier each colour is in the object than in the background, as a logarithm; None if both are alike."""
    edge = border(alpha.shape) & (alpha < FREE)
    front = np.where(alpha > 0.5, alpha, 0)
    if not edge.any() or not front.any():
        return None
    inside = histogram(colours.reshape(-1, 3), front.ravel(), BINS)
    behind = histogram(*with_shades(colours[edge]), BINS)
    if np.minimum(inside, behind).sum() > ALIKE:
        return None
    one, other = (density(of, colours) + LEAST for of in (inside, behind))
    return np.asarray(np.log(one / other).clip(-MOST, MOST))


def _cut(evidence: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """The object's mask: the least cut, where a pixel on the wrong side costs its evidence, and neighbours their join.

    The object is what flow from the source still reaches when it is the greatest.
    """
    count = evidence.size
    source, sink = count, count + 1
    pixels = np.arange(count)
    one, other, costs = _neighbours(colours)
    told = evidence.ravel()
    tails = np.concatenate([one, other, np.full(count, source), pixels])
    heads = np.concatenate([other, one, pixels, np.full(count, sink)])
    costs = np.concatenate([costs, costs, told.clip(0), (-told).clip(0)])
    capacity = sparse.csr_matrix(((UNIT * costs).astype(np.int32), (tails, heads)), shape=(count + 2, count + 2))
    left = capacity - maximum_flow(capacity, source, sink).flow
    left.data = (left.data > 0).astype(np.int8)
    left.eliminate_zeros()
    reached = np.zeros(count + 2, bool)
    reached[breadth_first_order(left, source, return_predecessors=False)] = True
    return reached[:count].reshape(evidence.shape)


def _neighbours(colours: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All pairs of the 8-neighbourhood: one pixel's index, the other's, and what it costs to part them."""
    height, width = colours.shape[:2]
    index = np.arange(height * width).reshape(height, width)
    ones, others, apart = [], [], []
    for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
        here = np.s_[: height - down, max(0, -right) : width - max(0, right)]
        there = np.s_[down:, max(0, right) : width + min(0, right)]
        ones.append(index[here].ravel())
        others.append(index[there].ravel())
        apart.append(np.full(ones[-1].size, np.hypot(down, right)))
    one, other = np.concatenate(ones), np.concatenate(others)
    flat = colours.reshape(-1, 3)
    unlike = ((flat[one] - flat[other]) ** 2).sum(axis=1)
    costs = JOIN / np.concatenate(apart) * np.exp(-CONTRAST * unlike / (2 * unlike.mean() + 1e-9))
    return one, other, costs


def _joined(mask: np.ndarray, found: np.ndarray) -> np.ndarray:
    """The parts of a mask that touch what the network found."""
    labels, _ = ndimage.label(mask, structure=np.ones((3, 3)))
    return mask & np.isin(labels, labels[mask & found])


def _changed(coarse: np.ndarray, mask: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Coarse alpha, with a reduced mask in its place wherever that differs by more than a seam one pixel wide."""
    differs = ndimage.binary_opening(mask != found, structure=np.ones((2, 2)))
    if not differs.any():
        return coarse
    there = ndimage.binary_dilation(differs, structure=np.ones((3, 3)), iterations=2)
    size = coarse.shape[1], coarse.shape[0]
    share, new = (
        np.asarray(Image.fromarray(of.astype(np.float32)).resize(size, Image.Resampling.BILINEAR))
        for of in (there, mask)
    )
    return np.asarray(coarse + share * (new - coarse), np.float32)
