"""Where each texel is in a picture, and how far that can be trusted."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ..bake.texels import Cover, weights_at
from ..base.compiled import compiled, in_strips, inlined
from ..base.vectors import corners_of, dot, minus, mixed, unit
from .camera import RADIUS, Camera, axes_of
from .shape import Seen, Shape

SLANTS = (0.12, 0.4)  # cosines between surface and view: nothing is painted below the first, all of it above the second
#: How much deeper than what the camera sees a texel is still painted, and how much deeper it is not; sides of the cube.
BEHIND, HIDDEN = 0.006, 0.018
STEP = 0.025  # a difference of depths that is an edge
EDGE = 0.008  # how far from edges of depth and outline a pixel is fully trusted, in sides of the picture
STRIP = 64  # rows that one thread does at a time


def trusted(seen: Seen, alpha: np.ndarray) -> np.ndarray:
    """How far each pixel can be trusted, [N, N] float32 in 0..1: not at the outline, nor beside what is nearer.

    alpha: [N, N], the picture's.
    """
    from scipy import ndimage  # lazily: it takes long to load, and most jobs do without

    size = len(alpha)
    depth = np.where(seen.shown, 1 / np.maximum(seen.near, 1e-6), 1e6)
    beside = seen.shown & (depth - ndimage.minimum_filter(depth, 3) > STEP)
    from_outline = ndimage.distance_transform_edt(np.pad(alpha >= 0.5, 1))[1:-1, 1:-1]
    from_nearer = ndimage.distance_transform_edt(~beside)
    # Not at all in the first pixel, so that the ramp begins at 0 between pixels, too.
    ramps = [np.clip((distance - 1) / (EDGE * size), 0, 1) for distance in (from_outline, from_nearer)]
    return np.asarray(ramps[0] * ramps[1], dtype=np.float32)


def paint(
    shape: Shape,
    camera: Camera,
    seen: Seen,
    trust: np.ndarray,
    picture: np.ndarray,
    cover: Cover,
    check: Callable[[], None] = lambda: None,
) -> tuple[np.ndarray, np.ndarray]:
    """The colours [T, T, 3] of texels in a picture, and their shares [T, T] in 0..1: 0 for those that it does not show.

    Args:
        shape: the mesh whose faces the cover names.
        camera: the picture's.
        seen: what it sees of the shape.
        trust: [N, N] float32, see ``trusted``.
        picture: [S, S, 4] float32, the square of the camera, straight alpha.
        cover: the texels.
        check: raises to cancel.
    """
    side = len(cover.face)
    colors, shares = np.zeros((side, side, 3), np.float32), np.zeros((side, side), np.float32)
    layers = np.concatenate([picture[..., :3] * picture[..., 3:], picture[..., 3:]], axis=2)
    fixed = camera.values(), shape.vertices, shape.normals, shape.faces, cover.face, cover.weights, seen.near

    def look(first: int, last: int) -> None:
        check()
        _look(*fixed, trust[..., None], layers, colors, shares, first, last)

    in_strips(look, side, STRIP)
    return colors, shares


@inlined
def _sampled(image: np.ndarray, x: float, y: float, channel: int) -> float:
    """A channel of an image [N, N, C] at x and y in 0..1, filtered between pixels."""
    size = len(image)
    px, py = min(max(x * size - 0.5, 0.0), size - 1.001), min(max(y * size - 0.5, 0.0), size - 1.001)
    j, i = int(px), int(py)
    fx, fy = px - j, py - i
    upper = image[i, j, channel] * (1 - fx) + image[i, j + 1, channel] * fx
    lower = image[i + 1, j, channel] * (1 - fx) + image[i + 1, j + 1, channel] * fx
    return upper * (1 - fy) + lower * fy


@compiled
def _look(
    camera: np.ndarray,
    vertices: np.ndarray,
    normals: np.ndarray,
    faces: np.ndarray,
    face_at: np.ndarray,
    weights: np.ndarray,
    near: np.ndarray,
    trust: np.ndarray,
    layers: np.ndarray,
    colors: np.ndarray,
    shares: np.ndarray,
    first: int,
    last: int,
) -> None:
    """Fill in some rows of colours and shares, see ``paint``. layers: the picture with its colours times alpha."""
    right, up, forward = axes_of(math.radians(camera[0]), math.radians(camera[1]))
    half_angle = math.radians(camera[2]) / 2
    distance, spread = RADIUS / math.sin(half_angle), math.tan(half_angle)
    eye = (-forward[0] * distance, -forward[1] * distance, -forward[2] * distance)
    size = len(near)
    pixel = 2 * camera[5] * spread / size  # its side at depth 1
    for row in range(first, last):
        for column in range(len(face_at)):
            face = face_at[row, column]
            if face < 0:
                continue
            at = weights_at(weights, row, column)
            a, b, c = corners_of(vertices, faces, face)
            point = mixed(at, a, b, c)
            a, b, c = corners_of(normals[face], CORNERS, 0)
            slant = dot(unit(mixed(at, a, b, c)), unit(minus(eye, point)))
            if not slant > SLANTS[0]:
                continue
            depth = distance + dot(point, forward)
            scale = 1.0 / (depth * spread)
            x = 0.5 + 0.5 * (dot(point, right) * scale - camera[3]) / camera[5]
            y = 0.5 - 0.5 * (dot(point, up) * scale - camera[4]) / camera[5]
            if min(x, y) <= 0 or max(x, y) >= 1:
                continue
            nearest = near[int(y * size), int(x * size)]
            behind = depth - 1.0 / nearest - pixel * depth / max(slant, 0.2) if nearest > 0 else 0.0
            if behind >= HIDDEN:
                continue
            alpha = _sampled(layers, x, y, 3)
            if alpha < 0.5:
                continue
            ramp = min((slant - SLANTS[0]) / (SLANTS[1] - SLANTS[0]), 1.0)
            open_to_view = min((HIDDEN - behind) / (HIDDEN - BEHIND), 1.0)
            shares[row, column] = ramp * ramp * (3 - 2 * ramp) * open_to_view * _sampled(trust, x, y, 0)
            for k in range(3):
                colors[row, column, k] = min(_sampled(layers, x, y, k) / alpha, 1.0)


CORNERS = np.array([[0, 1, 2]])
