"""A mesh's vertex colours, unlit, as a camera sees them."""

from __future__ import annotations

import math

import numpy as np

from ...mesh import Mesh, RawMesh, Surface
from ...mesh.base.compiled import compiled
from ...mesh.clean.cleanup import keep_outer_faces
from .render import View, Window


def outer_surface(raw: RawMesh) -> Surface:
    """The faces that can be seen from outside, as numpy arrays."""
    return keep_outer_faces(raw.numpy())


def draw_colors(surface: Mesh, view: View, window: Window, size: int) -> np.ndarray:
    """The mesh's vertex colours, unlit, as a camera sees them: [size, size, 4] float (0..1, alpha 0 or 1).

    Faces are sampled more densely than the pixels. Each pixel shows its nearest sample.
    """
    assert surface.colors is not None
    right, up, forward = view.basis().numpy()
    relative: np.ndarray = surface.vertices - np.array(view.position(), dtype=np.float32)
    depth = relative @ forward
    scale = np.tan(np.radians(view.fov) / 2) * depth
    u, v = (relative @ right / scale - window.u) / window.half, (relative @ up / scale - window.v) / window.half
    screen = np.stack([(u + 1) / 2 * size, (1 - v) / 2 * size, depth], 1).astype(np.float32)
    return np.asarray(_nearest_samples(screen, surface.colors.astype(np.float32), surface.faces.astype(np.int64), size))


@compiled
def _nearest_samples(screen: np.ndarray, colors: np.ndarray, faces: np.ndarray, size: int) -> np.ndarray:
    """The image of ``draw_colors``, from columns, rows and depths [V, 3] (columns and rows in pixels), colours [V, 3]
    and faces [F, 3]."""
    image = np.zeros((size, size, 4), np.float32)
    nearest = np.full((size, size), np.inf, np.float32)
    for a, b, c in faces:
        longest = np.float32(0)
        for one, other in ((a, b), (b, c), (c, a)):
            across, down = screen[one, 0] - screen[other, 0], screen[one, 1] - screen[other, 1]
            longest = max(longest, across * across + down * down)
        cuts = 2  # twice as many as the longest edge has pixels, rounded up to a power of two
        while cuts * cuts < 4 * longest:
            cuts *= 2
        for i in range(cuts + 1):
            for j in range(cuts + 1 - i):
                p, q = np.float32(i / cuts), np.float32(j / cuts)
                r = 1 - p - q
                x = math.floor(p * screen[a, 0] + q * screen[b, 0] + r * screen[c, 0])
                y = math.floor(p * screen[a, 1] + q * screen[b, 1] + r * screen[c, 1])
                depth = p * screen[a, 2] + q * screen[b, 2] + r * screen[c, 2]
                if 0 <= x < size and 0 <= y < size and depth <= nearest[y, x]:
                    nearest[y, x] = depth
                    for k in range(3):
                        image[y, x, k] = p * colors[a, k] + q * colors[b, k] + r * colors[c, k]
                    image[y, x, 3] = 1
    return image
