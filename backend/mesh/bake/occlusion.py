"""Ambient occlusion: how open a surface is at its vertices, found from depth maps, without a rasteriser or rays.

It is the share of the cosine-weighted directions above a point that the surface does not block (Zhukov et al. 1998, "An
Ambient Light Illumination Model", without a limit of distance). The surface is sampled, and for each of many axes the
samples are projected into two depth maps, one from each end. A point is open along the axis, on the side that it faces,
if its pixel has nothing beyond it. Each point uses a quarter of the axes and its neighbours others; smoothing over the
surface combines them, so that the edges of shadows become gradients instead of steps.
"""

from __future__ import annotations

import numpy as np

from .. import Mesh
from ..clean.visibility import samples

RESOLUTION = 144  # pixels of a depth map along the diagonal of the bounding box
SPACING = 0.7  # in pixels, between the samples of the surface: dense enough for maps without holes
LIFT = 1.6  # in pixels: the height of points above the surface; sqrt(2) clears a plane of any tilt
BIAS = 0.75  # in pixels: how far beyond a point something must be, else the two sides of a thin wall shade each other
MARGIN = 3  # pixels around the maps, for lifted points and for rounding
GROUPS = 4  # groups of points, each with its own axes
AXES = 64  # axes of a group, and so directions above each point
BLUR = 2.5  # in pixels: how far smoothing reaches
MAX_STEPS = 64  # smoothing steps, for meshes with very small faces
SHARPNESS = 24  # across a convex edge neighbours count by this power of the cosine between their normals


def vertex_occlusion(mesh: Mesh, normals: np.ndarray) -> np.ndarray:
    """[V] float32 in 0..1 at the vertices of a mesh with unit normals [V, 3]: 1 is open, 0 closed, as in glTF.

    Faces block light from both sides and may be large, but nothing is computed between vertices.
    """
    if not len(mesh.faces):
        return np.ones(len(mesh.vertices), dtype=np.float32)
    low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
    pixel = max(float(np.linalg.norm(high - low)) / RESOLUTION, 1e-30)
    vertices = ((mesh.vertices - (low + high) / 2) / pixel).astype(np.float32)
    surface = _sampled(vertices, mesh.faces).T.copy()
    rng = np.random.default_rng(0)
    openness = np.empty(len(vertices), dtype=np.float32)
    for group in np.array_split(rng.permutation(len(vertices)), GROUPS):
        points, above = (vertices[group] + LIFT * normals[group]).T.copy(), normals[group].T.copy()
        openness[group] = _openness(surface, points, above, _frames(rng))
    return _smoothed(openness, vertices, normals, mesh.faces)


def _sampled(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Points [S, 3] float32 all over a surface given in pixels: about one in each cell that it crosses."""
    corners = vertices[faces]
    large = np.abs(corners - np.roll(corners, 1, axis=1)).max(axis=(1, 2)) > SPACING
    points = np.concatenate([vertices, *(part for _, part in samples(corners[large], SPACING))], dtype=np.float32)
    side = int(np.ceil(RESOLUTION / SPACING)) + 2
    x, y, z = np.floor(points / SPACING + side / 2).astype(np.int64).T
    _, first = np.unique((x * side + y) * side + z, return_index=True)
    return np.asarray(points[first])


def _frames(rng: np.random.Generator) -> np.ndarray:
    """[AXES, 3, 3] rotations, whose last rows are the axes.

    They are spread evenly over a hemisphere, on a spiral with the golden angle that is turned at random.
    """
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    height = (np.arange(AXES) + 0.5) / AXES
    angle = np.arange(AXES) * np.pi * (3 - np.sqrt(5))
    radius = np.sqrt(1 - height**2)
    axes = np.stack([radius * np.cos(angle), radius * np.sin(angle), height], axis=1) @ turn
    sides = np.cross(axes, np.eye(3)[np.abs(axes).argmin(axis=1)])
    sides /= np.linalg.norm(sides, axis=1, keepdims=True)
    return np.stack([sides, np.cross(axes, sides), axes], axis=1).astype(np.float32)


def _openness(surface: np.ndarray, points: np.ndarray, normals: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """[P] the openness of points [3, P] with normals [3, P] among surface samples [3, S], in pixels from the centre."""
    side = RESOLUTION + 2 * MARGIN
    seen, total = (np.zeros(points.shape[1], dtype=np.float32) for _ in range(2))
    for frame in frames:
        pixel, depth = _projected(frame, surface, side)
        ends = np.full((2, side * side), -np.inf, dtype=np.float32)  # how far the surface extends in both directions
        np.maximum.at(ends[0], pixel, depth)
        np.maximum.at(ends[1], pixel, -depth)
        pixel, depth = _projected(frame, points, side)
        cosine = frame[2] @ normals
        down = cosine < 0
        end = ends.reshape(-1).take(pixel + down * (side * side))
        weight = np.abs(cosine)
        total += weight
        seen += weight * (end <= np.where(down, -depth, depth) + BIAS)
    return seen / total


def _projected(frame: np.ndarray, points: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """The pixels [P] of points [3, P], numbered row by row, and their depths [P] along a frame's axis."""
    x, y, depth = frame @ points
    return (x + side / 2).astype(np.int64) * side + (y + side / 2).astype(np.int64), depth


def _smoothed(values: np.ndarray, vertices: np.ndarray, normals: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Values [V] at vertices [V, 3], in pixels, averaged with those of their neighbours.

    Across a concave crease the light is the same on both sides, so all neighbours count equally: else vertices in the
    crease, which look out of it, would make a bright line. Across a convex edge light may end, so neighbours with other
    normals do not count.
    """
    from scipy.sparse import csr_matrix

    start, end = faces.reshape(-1), faces[:, [1, 2, 0]].reshape(-1)
    along = vertices[end] - vertices[start]
    concave = (along * (normals[end] - normals[start])).sum(axis=1) < 0
    agreement = np.maximum((normals[start] * normals[end]).sum(axis=1), 0) ** SHARPNESS
    ends = (np.concatenate([start, end]), np.concatenate([end, start]))
    links = csr_matrix((np.tile(np.where(concave, np.float32(1), agreement), 2), ends), (len(values), len(values)))
    share = 1 / (1 + links @ np.ones_like(values))
    length = max(float(np.sqrt(np.square(along).sum(axis=1).mean())), 1e-6)
    # A random walk's range grows with the root of its steps.
    for _ in range(min(round((BLUR / length) ** 2), MAX_STEPS)):
        values = (values + links @ values) * share
    return np.asarray(values, dtype=np.float32)
