"""What a camera sees of a mesh, pixel by pixel: a depth buffer in numpy, for measurements and simple pictures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..mesh.bake.texels import rasterize
from ..training.objects.render import View, Window

#: The full view.
WHOLE = Window()


@dataclass(frozen=True)
class Seen:
    """The P pixels that show a mesh."""

    pixel: np.ndarray  # [P] int64: row * size + column, rows from the top
    face: np.ndarray  # [P] int64
    weights: np.ndarray  # [P, 3] float32: barycentric coordinates of the visible point

    def interpolate(self, corner_values: np.ndarray) -> np.ndarray:
        """Interpolate values at face corners [F, 3, C] at the pixels, [P, C]."""
        return np.asarray(np.einsum("pk,pkc->pc", self.weights, corner_values[self.face]))


def look(vertices: np.ndarray, faces: np.ndarray, view: View, size: int, window: Window = WHOLE) -> Seen:
    """What a picture of a window shows, ``size`` x ``size`` pixels, at each pixel's centre.

    The mesh, [V, 3] and [F, 3], must be in front of the camera and inside the window.
    """
    right, up, forward = view.basis().numpy().astype(np.float64)
    relative = vertices - np.array(view.position())
    depth = relative @ forward
    scale = np.tan(np.radians(view.fov) / 2) * depth
    across = (relative @ right / scale - window.u) / window.half
    upward = (relative @ up / scale - window.v) / window.half
    screen = np.stack([(across + 1) / 2, (upward + 1) / 2], axis=1)
    texels = rasterize(screen[faces], size)
    nearness = texels.weights / depth[faces][texels.face]  # perspective: linear on the screen is 1 / depth
    total = nearness.sum(axis=1)
    pixel = texels.row * size + texels.column
    order = np.lexsort([-total, pixel])
    pixel, first = np.unique(pixel[order], return_index=True)
    chosen = order[first]
    return Seen(pixel, texels.face[chosen], (nearness[chosen] / total[chosen, None]).astype(np.float32))


def look_up(image: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Sample an image [T, T, C] at ``uv`` [P, 2], v up, filtered between texels: [P, C] float."""
    size = len(image)
    x = np.clip(uv[:, 0] * size - 0.5, 0, size - 1.001)
    y = np.clip((1 - uv[:, 1]) * size - 0.5, 0, size - 1.001)
    column, row = x.astype(int), y.astype(int)
    fx, fy = (x - column)[:, None], (y - row)[:, None]
    upper = image[row, column] * (1 - fx) + image[row, column + 1] * fx
    lower = image[row + 1, column] * (1 - fx) + image[row + 1, column + 1] * fx
    return np.asarray(upper * (1 - fy) + lower * fy)
