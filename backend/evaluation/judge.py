"""Whether generated objects vary as the true ones do: for each image against its true completions, and overall.

One image has many right answers. Scores against a single one (F-score, IoU) prefer an average, which is none of them.
The measures here compare sets of samples. Samples are rows of features [n, d].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from scipy import ndimage
from scipy.linalg import sqrtm
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import cdist

from ..images.framing import images_to_tensor
from ..mesh import Mesh
from ..models.image_encoder import ImageEncoder
from ..training.objects.drawing import draw_colors
from ..training.objects.render import View, Window

#: The views for renders (azimuth, elevation, field of view in degrees), as in MDT-dist's evaluation.
VIEWS = tuple(View(azimuth, 30.0, 40.0) for azimuth in (0.0, 90.0, 180.0, 270.0))
WINDOW = Window(0.0, 0.0, 0.95)
POOLED = 16  # cells along a side of the shape features


def shape_features(occupancy: np.ndarray) -> np.ndarray:
    """The volume of a filled lattice [R + 1]^3 in each cell of a coarse grid, [POOLED^3] in 0..1."""
    solid = occupancy[:-1, :-1, :-1].astype(np.float32)
    factor = len(solid) // POOLED
    return solid.reshape(POOLED, factor, POOLED, factor, POOLED, factor).mean((1, 3, 5)).ravel()


def render_features(surface: Mesh | None, encoder: ImageEncoder) -> np.ndarray:
    """Features of unlit renders on black, [4, C]: the mean of an image encoder's tokens. None renders as empty."""
    size = encoder.grid * encoder.patch_size
    pictures = np.zeros((len(VIEWS), size, size, 3), np.float32)
    if surface is not None:
        pictures = np.stack([draw_colors(surface, view, WINDOW, size)[..., :3] for view in VIEWS])
    images = [Image.fromarray((picture * 255).astype(np.uint8)) for picture in pictures]
    with torch.inference_mode():
        return encoder(images_to_tensor(images, size)).mean(1).float().numpy()


def nearest_neighbour_accuracy(a: np.ndarray, b: np.ndarray) -> float:
    """1-NNA (Lopez-Paz and Oquab 2017): how often a sample's nearest other sample is in its own set. 0.5 is best.

    Samples that coincide across the sets count half, as they would by chance.
    """
    joined = np.concatenate([a, b])
    own = np.arange(len(joined)) < len(a)
    distance = cdist(joined, joined)
    np.fill_diagonal(distance, np.inf)
    nearest = distance == distance.min(1, keepdims=True)
    same = (nearest & (own[:, None] == own)).sum(1)
    return float((same / nearest.sum(1)).mean())


def energy_distance(a: np.ndarray, b: np.ndarray) -> float:
    """2 E|x - y| - E|x - x'| - E|y - y'| (Szekely and Rizzo 2013), without pairs of a sample with itself."""
    between, within_a, within_b = cdist(a, b).mean(), cdist(a, a), cdist(b, b)
    return float(2 * between - within_a.sum() / (len(a) * (len(a) - 1)) - within_b.sum() / (len(b) * (len(b) - 1)))


@dataclass(frozen=True)
class HiddenVariation:
    """The directions in which true answers to one image differ: axes [k, d] and the size of the differences along them.

    Over all features, samples differ from true answers by small errors that all of them share. Those say nothing about
    how samples vary. Along these axes, only what the image does not show counts.
    """

    mean: np.ndarray
    axes: np.ndarray
    size: float

    @classmethod
    def of(cls, answers: np.ndarray, count: int = 4) -> HiddenVariation:
        """From true answers [n, d], which should not be the ones that samples are compared with."""
        mean = answers.mean(0)
        _, _, axes = np.linalg.svd(answers - mean, full_matrices=False)
        along = (answers - mean) @ axes[:count].T
        return cls(mean, axes[:count], max(1e-6, _spread(along)))

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """Rows [n, d] as coordinates along the axes [n, k]. True answers are about 1 from their mean."""
        return np.asarray((rows - self.mean) @ self.axes.T / self.size)

    def spread(self, rows: np.ndarray) -> float:
        """How far samples are from their own mean: about 1 for true answers, 0 if all samples are the same."""
        return _spread(self(rows))


def _spread(points: np.ndarray) -> float:
    """The root mean square distance of points [n, k] from their own mean."""
    return float(np.sqrt(((points - points.mean(0)) ** 2).sum() / (len(points) - 1)))


@dataclass(frozen=True)
class Axes:
    """Principal axes [k, d] of training objects, scaled so that their spread along the first is 1."""

    mean: np.ndarray
    axes: np.ndarray

    @classmethod
    def fit(cls, rows: np.ndarray, count: int = 32) -> Axes:
        """Fit the axes of the largest spread."""
        mean = rows.mean(0)
        _, spread, axes = np.linalg.svd(rows - mean, full_matrices=False)
        return cls(mean, axes[:count] * (np.sqrt(len(rows)) / spread[0]))

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """Rows [n, d] as coordinates along the axes, [n, k]."""
        return np.asarray((rows - self.mean) @ self.axes.T)


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """The squared distance of means plus that of covariances, for normal distributions fitted to both sets (Dowson and
    Landau 1982)."""
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = np.real(sqrtm(cov_a @ cov_b))
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(cov_a + cov_b - 2 * root))


@dataclass(frozen=True)
class Structure:
    """What can be wrong with a surface's structure."""

    parts: int  # components with at least one percent of the area
    dust: float  # share of the area in smaller ones
    leaks: bool  # whether most of the inside of a closed hull is open to the outside

    def valid(self, true_parts: int | None) -> bool:
        """Whether there is no dust, no leak, and as many parts as in the true object, if that is known."""
        return self.dust <= 0.01 and not self.leaks and true_parts in (self.parts, None)


def structure_of(surface: Mesh, filled: np.ndarray) -> Structure:
    """The structure of a surface. ``filled`` is its lattice after filling from the border, [R + 1]^3."""
    faces = surface.faces
    edges = np.concatenate([faces[:, :2], faces[:, 1:]])
    graph = coo_matrix((np.ones(len(edges), bool), edges.T), shape=(len(surface.vertices),) * 2)
    label = connected_components(graph, directed=False)[1][faces[:, 0]]
    corner = surface.vertices[faces]
    area = np.linalg.norm(np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]), axis=1)
    shares = np.bincount(label, area) / area.sum()
    large = shares >= 0.01
    # Dilation closes small openings. The volume inside, eroded again, is what the surface was meant to enclose.
    swollen = ndimage.binary_fill_holes(ndimage.binary_dilation(np.pad(filled, 3), iterations=2))
    closed = ndimage.binary_erosion(swollen, iterations=2)
    return Structure(int(large.sum()), float(shares[~large].sum()), bool(filled.sum() < 0.5 * closed.sum()))
