"""Draws a small picture of a coloured mesh with numpy, in a few hundredths of a second. No bpy.

It shows raw meshes. The backend draws the finished ones, with their texture, in the same way.

Points on the surface are drawn as pixels, the farthest first. That is enough to recognise an object.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...backend.portrait_facts import AXES, EVEN, LIGHT, SIZE, framing

if TYPE_CHECKING:
    from bpy.utils.previews import ImagePreviewCollection

PER_PIXEL = 0.6  # the largest distance between points, in pixels
MOST_SPLITS = 64  # of an edge, so that a mesh with few large faces is filled too


def draw_portrait(
    vertices: NDArray[np.float32], faces: NDArray[np.int32], colors: NDArray[np.float32]
) -> NDArray[np.uint8]:
    """A picture [SIZE, SIZE, 4] of a mesh with vertex colours [V, 3]: sRGB with alpha, the top row first."""
    seen = vertices @ np.array(AXES).T
    factor, shift = framing(seen.min(axis=0).tolist(), seen.max(axis=0).tolist())
    seen = (seen * factor + np.append(shift, 0)) * SIZE
    corners = seen[faces]
    edges = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    normals = np.cross(vertices[faces[:, 1]] - vertices[faces[:, 0]], vertices[faces[:, 2]] - vertices[faces[:, 0]])
    normals = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    shade = EVEN + normals @ np.array(LIGHT)
    longest = np.sqrt(np.maximum(*((edge[:, :2] ** 2).sum(axis=1) for edge in edges)))
    splits = np.clip(np.ceil(longest / PER_PIXEL), 1, MOST_SPLITS).astype(int)
    points, shades = [], []
    for count in np.unique(splits):
        chosen = splits == count
        s, t = _inside(count)
        weights = np.stack([1 - s - t, s, t], axis=1)  # [K, 3]
        points.append((weights @ corners[chosen]).reshape(-1, 3))
        lit = (weights @ colors[faces[chosen]]) * shade[chosen, None, None]
        shades.append(lit.reshape(-1, 3))
    return _splat(np.concatenate(points), np.concatenate(shades))


def as_icon(icons: ImagePreviewCollection, key: str, picture: NDArray[np.uint8]) -> int:
    """A picture [SIZE, SIZE, 4] as an icon for ``UILayout.template_icon``, kept in ``icons`` under its key."""
    if key not in icons:
        pixels = picture[::-1].astype(np.float32) / 255
        pixels[..., :3] *= pixels[..., 3:]  # Blender blends previews so
        icon = icons.new(key)
        icon.image_size = (SIZE, SIZE)
        icon.image_pixels_float.foreach_set(pixels.ravel())
    return int(icons[key].icon_id)


def _inside(count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The second and third barycentric coordinates of points that are spread over a triangle."""
    s, t = np.divmod(np.arange(count * count), count)
    s, t = (s + 1 / 3) / count, (t + 1 / 3) / count
    keep = s + t < 1
    return s[keep], t[keep]


def _splat(points: NDArray[np.float64], colors: NDArray[np.float64]) -> NDArray[np.uint8]:
    picture = np.zeros((SIZE, SIZE, 4), np.uint8)
    order = np.argsort(-points[:, 2], kind="stable")
    column, row = points[order, 0].astype(int), SIZE - 1 - points[order, 1].astype(int)
    picture[row, column, :3] = np.clip(
        colors[order] * 255, 0, 255
    )  # if several points fall on a pixel, the last one stays
    picture[row, column, 3] = 255
    return picture
