"""A camera that looks at an object, and the depth buffer of what it sees."""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass

import numpy as np

from ..base.compiled import compiled, inlined

RADIUS = 0.8  # of a sphere around the cube, with some margin: it just fits into ``fov``


@dataclass(frozen=True)
class Camera:
    """A camera that looks at the middle of the cube, and the square part of its picture that is used.

    Azimuth 0 sees the front (-Y), 90 the side at +X. The distance is such that a sphere of ``RADIUS`` fills the field
    of view. On the picture plane, that sphere reaches from -1 to 1; the square is around (u, v), v up.
    """

    azimuth: float  # degrees
    elevation: float  # degrees
    fov: float  # degrees
    u: float = 0.0
    v: float = 0.0
    half: float = 1.0  # half of the square's side

    def values(self) -> np.ndarray:
        """The fields in their order, [6] float64."""
        return np.array(astuple(self), dtype=np.float64)

    def position(self) -> np.ndarray:
        """Where the camera is, [3]."""
        return -self.axes()[2] * self.distance

    @property
    def distance(self) -> float:
        """From the camera to the middle of the cube."""
        return RADIUS / math.sin(math.radians(self.fov) / 2)

    def axes(self) -> np.ndarray:
        """The directions right, up and forward, [3, 3]."""
        return np.array(axes_of(math.radians(self.azimuth), math.radians(self.elevation)))

    def project(self, points: np.ndarray) -> np.ndarray:
        """Points [P, 3] to x, y and depth, [P, 3] float64. The square is 0..1 from the left and from the top."""
        result = np.empty((len(points), 3))
        project(self.values(), np.ascontiguousarray(points, np.float32), result)
        return result


@inlined
def axes_of(azimuth, elevation):  # type: ignore[no-untyped-def]
    """The directions right, up and forward, for angles in radians."""
    sa, ca, se, ce = math.sin(azimuth), math.cos(azimuth), math.sin(elevation), math.cos(elevation)
    return (ca, sa, 0.0), (-sa * se, ca * se, ce), (-sa * ce, ca * ce, -se)


@compiled
def project(camera: np.ndarray, points: np.ndarray, result: np.ndarray) -> None:
    """Fill in ``Camera.project`` of points [P, 3] float32, for the values [6] of a camera."""
    right, up, forward = axes_of(math.radians(camera[0]), math.radians(camera[1]))
    half_angle = math.radians(camera[2]) / 2
    distance, spread = RADIUS / math.sin(half_angle), math.tan(half_angle)
    for p in range(len(points)):
        x, y, z = np.float64(points[p, 0]), np.float64(points[p, 1]), np.float64(points[p, 2])
        depth = distance + x * forward[0] + y * forward[1] + z * forward[2]
        scale = 1.0 / (max(depth, 1e-6) * spread)
        across = (x * right[0] + y * right[1] + z * right[2]) * scale
        upward = (x * up[0] + y * up[1] + z * up[2]) * scale
        result[p, 0] = 0.5 + 0.5 * (across - camera[3]) / camera[5]
        result[p, 1] = 0.5 - 0.5 * (upward - camera[4]) / camera[5]
        result[p, 2] = depth


@compiled
def draw(
    screen: np.ndarray,
    faces: np.ndarray,
    closed: bool,
    face_at: np.ndarray,
    weights: np.ndarray,
    near: np.ndarray,
) -> None:
    """What is nearest at the centre of each pixel.

    Args:
        screen: [V, 3] float64, see ``Camera.project``.
        faces: [F, 3] int64.
        closed: whether only the faces' outer side can be seen, which saves half of the work.
        face_at: [N, N] int32, filled in: the face, -1 for none.
        weights: [N, N, 2] float32, filled in: the second and third barycentric coordinate on the face itself.
        near: [N, N] float32, filled in: 1 / depth, 0 for none.
    """
    size = len(face_at)
    face_at[:] = -1
    near[:] = 0.0
    for face in range(len(faces)):
        a, b, c = faces[face, 0], faces[face, 1], faces[face, 2]
        x0, y0 = screen[a, 0] * size - 0.5, screen[a, 1] * size - 0.5
        x1, y1 = screen[b, 0] * size - 0.5, screen[b, 1] * size - 0.5
        x2, y2 = screen[c, 0] * size - 0.5, screen[c, 1] * size - 0.5
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if area == 0 or (closed and area > 0):
            continue
        top, bottom = max(math.ceil(min(y0, y1, y2)), 0), min(math.floor(max(y0, y1, y2)), size - 1)
        left, right = max(math.ceil(min(x0, x1, x2)), 0), min(math.floor(max(x0, x1, x2)), size - 1)
        if top > bottom or left > right or min(screen[a, 2], screen[b, 2], screen[c, 2]) < 1e-3:
            continue
        scale = 1.0 / area
        z0, z1, z2 = 1.0 / screen[a, 2], 1.0 / screen[b, 2], 1.0 / screen[c, 2]
        for row in range(top, bottom + 1):
            for column in range(left, right + 1):
                s = ((column - x0) * (y2 - y0) - (x2 - x0) * (row - y0)) * scale
                t = ((x1 - x0) * (row - y0) - (column - x0) * (y1 - y0)) * scale
                if s < 0 or t < 0 or s + t > 1:
                    continue
                nearness = (1 - s - t) * z0 + s * z1 + t * z2
                if nearness > near[row, column]:
                    near[row, column] = nearness
                    face_at[row, column] = face
                    weights[row, column, 0] = s * z1 / nearness
                    weights[row, column, 1] = t * z2 / nearness
