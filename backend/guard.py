"""Whether a sampled structure can be what the images show.

A distilled flow is usually as good as its teacher but sometimes far worse: dust, a wall, an unrelated object. The
voxels show this before anything is built on them, and trying again costs almost nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from .images.framing import OPAQUE

if TYPE_CHECKING:
    from PIL import Image

#: Outlines are compared on a grid with this many cells per side, each scaled to touch its borders.
OUTLINE_SIDE = 32
#: Where the camera may have been, in degrees; images are taken from the horizon or from above.
AZIMUTHS, ELEVATIONS = tuple(range(0, 360, 15)), (0, 15, 30, 45)
CAMERA_DISTANCE = 2.5  # in sides of the cube: a field of view of about 35 degrees

#: Crumbs are pieces of at most this many voxels, connected by their sides. Real objects have none, and in 300 samples
#: they never made up more than 0.2 % of the voxels; adding 5 % of random voxels gives 2 % and above.
CRUMB, MAX_CRUMBS = 4, 0.015
#: Measured on 192 held-out objects at 16^3: the agreement of the true voxels with the image is at least 0.675, with a
#: median of 0.88; for voxels of an object of another kind the median is 0.70 and the lowest value 0.37.
MIN_AGREEMENT = 0.65
MIN_CONNECTED, MAX_OCCUPIED = 0.5, 0.5


@dataclass(frozen=True)
class StructureReport:
    """How well voxels are connected and agree with the images. All values are from 0 to 1."""

    occupied: float  # share of the grid
    connected: float  # share of the voxels in the largest part (of voxels that touch, corners included)
    crumbs: float  # share of the voxels in crumbs
    agreement: float  # IoU of outlines from the best camera; the lowest of several images

    @property
    def problem(self) -> str:
        """What is wrong, in words that continue "the object ..."; empty if nothing is wrong."""
        if self.occupied == 0:
            return "came out empty"
        if self.connected < MIN_CONNECTED:
            return "came out in scattered pieces"
        if self.crumbs > MAX_CRUMBS:
            return "came out with dust around it"
        if self.occupied > MAX_OCCUPIED:
            return "came out as a solid block"
        if self.agreement < MIN_AGREEMENT:
            return f"does not have the image's outline (agreement {self.agreement:.2f} of 1)"
        return ""

    @property
    def rank(self) -> tuple[bool, float]:
        """A key to compare reports by: larger is better."""
        return not self.problem, min(self.connected, 1 - self.crumbs, self.agreement)


def inspect(coords: np.ndarray, resolution: int, outlines: Sequence[np.ndarray]) -> StructureReport:
    """Judge the voxels [N, 3] of a grid of this resolution against ``outlines`` of the images, see ``outline``."""
    from scipy import ndimage

    if not len(coords):
        return StructureReport(0.0, 0.0, 0.0, 0.0)
    grid = np.zeros((resolution,) * 3, dtype=bool)
    grid[tuple(coords.T)] = True
    parts, _ = ndimage.label(grid, np.ones((3, 3, 3)))
    largest = np.bincount(parts[grid]).max()
    sizes = np.bincount(ndimage.label(grid)[0][grid])
    crumbs = sizes[sizes <= CRUMB].sum()
    seen = _outlines_from_all_sides(coords, resolution)
    agreement = min((_agreement(seen, outline) for outline in outlines), default=1.0)
    count = len(coords)
    return StructureReport(count / resolution**3, float(largest / count), float(crumbs / count), agreement)


def note_on(reports: Sequence[StructureReport], chosen: int) -> str:
    """What to tell the user about these attempts, of which ``chosen`` is used; empty if the first was good."""
    first, best = reports[0], reports[chosen]
    if not first.problem:
        return ""
    if not best.problem:
        return f"At first the object {first.problem}; attempt {chosen + 1} of the same job is used."
    attempts = f"The best of {len(reports)} attempts is used" if len(reports) > 1 else "It is used as it is"
    return f"The object {best.problem}. {attempts}: try another seed, or an image that shows one object clearly."


def outline(image: Image.Image) -> np.ndarray:
    """The object's outline in an RGBA image: bool [OUTLINE_SIDE, OUTLINE_SIDE], scaled to touch the border."""
    from PIL import Image

    alpha = np.asarray(image.getchannel("A")) > OPAQUE
    (rows,), (columns,) = np.nonzero(alpha.any(1)), np.nonzero(alpha.any(0))
    top, left, bottom, right = rows[0], columns[0], rows[-1] + 1, columns[-1] + 1
    side = max(bottom - top, right - left)
    y, x = (top + bottom - side) // 2, (left + right - side) // 2
    cut = Image.fromarray(alpha.astype(np.uint8) * 255).crop((x, y, x + side, y + side))
    return np.asarray(cut.resize((OUTLINE_SIDE, OUTLINE_SIDE), Image.Resampling.BOX)) > 127


def _agreement(seen: np.ndarray, outline: np.ndarray) -> float:
    """The largest IoU of an outline [side, side] with any of those ``seen`` [views, side, side]."""
    both, either = (seen & outline).sum((1, 2)), (seen | outline).sum((1, 2))
    return float((both / either).max())


def _outlines_from_all_sides(coords: np.ndarray, resolution: int) -> np.ndarray:
    """The outlines of voxels [N, 3] from each camera, bool [views, OUTLINE_SIDE, OUTLINE_SIDE]."""
    # Enough points in each voxel to leave no gaps between the cells of the outline.
    count = max(1, round(OUTLINE_SIDE / resolution))
    steps = (np.arange(count) + 0.5) / count
    inner = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(-1, 3)
    points = ((coords[:, None] + inner) / resolution - 0.5).reshape(-1, 3).astype(np.float32)
    # Not a matrix product: many small ones, shared among BLAS's threads, take a second if one core is busy.
    right, up, depth = np.einsum("pc,vac->avp", points, _cameras())  # each [views, points]
    columns, rows = right / (CAMERA_DISTANCE + depth), -up / (CAMERA_DISTANCE + depth)
    low, high = (np.stack([ends(columns, 1), ends(rows, 1)]) for ends in (np.min, np.max))  # [2, views]
    half = (high - low).max(0) / 2 + 1e-9
    left, top = ((low + high) / 2 - half)[..., None]
    scale = (OUTLINE_SIDE / (2 * half))[:, None]
    column, row = (((at - first) * scale).astype(np.int32) for at, first in ((columns, left), (rows, top)))
    cell = row.clip(0, OUTLINE_SIDE - 1) * OUTLINE_SIDE + column.clip(0, OUTLINE_SIDE - 1)
    covered = np.zeros((len(cell), OUTLINE_SIDE**2), dtype=bool)
    covered[np.arange(len(cell))[:, None], cell] = True
    return covered.reshape(-1, OUTLINE_SIDE, OUTLINE_SIDE)


@cache
def _cameras() -> np.ndarray:
    """Right, up and forward of every camera, [views, 3, 3]. Azimuth 0 sees the front (-y)."""
    azimuth, elevation = np.radians(np.meshgrid(AZIMUTHS, ELEVATIONS)).reshape(2, -1)
    level, zero = np.cos(elevation), np.zeros_like(azimuth)
    forward = -np.stack([np.sin(azimuth) * level, -np.cos(azimuth) * level, np.sin(elevation)], -1)
    right = np.stack([np.cos(azimuth), np.sin(azimuth), zero], -1)
    return np.stack([right, np.cross(right, forward), forward], 1).astype(np.float32)
