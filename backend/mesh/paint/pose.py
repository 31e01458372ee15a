"""Find the camera of a picture: draw the object from many sides, compare, and refine what is most like the picture.

The measure is the same throughout: the share of pixels that only one of both shows, plus the differences of colours
where both show the object. Colours are compared under the light that fits best, first-order harmonics of the normals
(Basri and Jacobs 2003, "Lambertian reflectance and linear subspaces").
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..base.compiled import compiled, in_strips
from .camera import Camera, draw, project
from .picture import Picture
from .shape import Shape, fill

AZIMUTHS, ELEVATIONS, FOV = range(0, 360, 15), (0, 15, 30, 45), 35.0  # of the coarse search, in degrees
COARSE, FINE = 48, 96  # sides of the pictures that are compared
STARTS, APART = 5, 18.0  # how many of the coarse poses are refined, and how many degrees they are apart
FINALISTS = 2  # how many of these are refined on the finer picture
STRIDES = (5.0, 5.0, 8.0, 0.03, 0.03, 0.04)  # of the refinement: degrees, then shares of the square
COLOR_LIMIT = 0.15  # of squared colour differences: larger ones count ever less (Geman and McClure 1987)
COLOR_WEIGHT = 2.0  # what colours count beside outlines
USUAL = 0.01  # what an unusual camera costs: pictures hardly show the field of view, so that an expected one helps
USUAL_FOV, FOV_SPREAD = 36.0, 0.35  # degrees, and of the logarithm
USUAL_ELEVATION, ELEVATION_SPREAD = 20.0, 25.0  # degrees
LIGHT_RIDGE = 0.02  # how strongly the light is drawn to even light
SHADES = (0.3, 1.4)  # bounds of the light
STRIP = 2  # poses that one thread compares at a time


@dataclass(frozen=True)
class Pose:
    """A camera, and how much the object looks like the picture from there."""

    camera: Camera
    cost: float  # from 0, the lower the better
    overlap: float  # IoU of the outlines
    mismatch: float  # mean difference of colours where both show the object, from 0 to 1


def find(shape: Shape, picture: Picture, check: Callable[[], None]) -> Pose:
    """The pose from which the object looks most like the picture. ``check`` raises to cancel."""
    compare = _Comparison(shape, picture.reduced(COARSE), check)
    grid = np.array([[a, e, FOV, 0, 0, 1] for a in AZIMUTHS for e in ELEVATIONS], dtype=np.float64)
    costs = compare(grid, framed=True)[:, 0]
    chosen: list[int] = []
    for i in np.argsort(costs, kind="stable"):
        if all(_angle(grid[i], grid[j]) > APART for j in chosen):
            chosen.append(int(i))
        if len(chosen) == STARTS:
            break
    found = [_refined(compare, grid[i], 1.0, 0.24, 12) for i in chosen]
    found.sort(key=lambda one: one[0])
    compare = _Comparison(shape, picture.reduced(FINE), check)
    cost, camera = min(
        (_refined(compare, camera, 0.5, 0.06, 14) for _, camera in found[:FINALISTS]), key=lambda o: o[0]
    )
    values = compare(camera[None].copy())[0]
    return Pose(Camera(*camera.tolist()), float(cost), float(values[1]), float(values[2]))


def _angle(one: np.ndarray, other: np.ndarray) -> float:
    """Degrees between the directions in which two cameras look."""
    forward = Camera(*one).axes()[2] @ Camera(*other).axes()[2]
    return math.degrees(math.acos(min(max(float(forward), -1.0), 1.0)))


class _Comparison:
    """Compares views of a shape with a picture [N, N, 4]."""

    def __init__(self, shape: Shape, pixels: np.ndarray, check: Callable[[], None]) -> None:
        surface = (shape.vertices, shape.faces, shape.uvs, shape.normals, shape.colors)
        self._fixed = (*surface, np.ascontiguousarray(pixels))
        self._check = check

    def __call__(self, cameras: np.ndarray, framed: bool = False) -> np.ndarray:
        """The fields of ``Pose`` after the first, [K, 3], for the values [K, 6] of cameras.

        If ``framed``, their squares are first moved to where the object has the picture's extent.
        """
        costs = np.empty((len(cameras), 3))

        def compare(first: int, last: int) -> None:
            self._check()
            _compare(cameras, framed, *self._fixed, costs, first, last)

        in_strips(compare, len(cameras), STRIP)
        return costs


def _refined(
    compare: _Comparison, camera: np.ndarray, stride: float, last: float, rounds: int
) -> tuple[float, np.ndarray]:
    """The cost and the camera after a search along the axes (Hooke and Jeeves 1961, "Direct search solution").

    A round tries a step both ways along each axis, then all that helped together, whole and half. If nothing helps,
    the steps are halved, from ``stride`` down to ``last`` of ``STRIDES``.
    """
    cost = compare(camera[None].copy())[0, 0]
    while stride >= last and rounds > 0:
        tries = np.array([_stepped(camera, axis, sign * stride) for axis in range(6) for sign in (1, -1)])
        costs = compare(tries)[:, 0]
        pairs = costs.reshape(6, 2)
        helps = np.flatnonzero(pairs.min(axis=1) < cost - 1e-6)
        if not len(helps):
            stride /= 2
            continue
        rounds -= 1
        signs = 1 - 2 * pairs.argmin(axis=1)
        joint, half = camera, camera
        for axis in helps:
            joint = _stepped(joint, axis, signs[axis] * stride)
            half = _stepped(half, axis, signs[axis] * stride / 2)
        tries = np.concatenate([tries, [joint, half]])
        costs = np.concatenate([costs, compare(tries[12:])[:, 0]])
        best = int(np.argmin(costs))
        camera, cost = tries[best], costs[best]
    return float(cost), camera


def _stepped(camera: np.ndarray, axis: int, strides: float) -> np.ndarray:
    moved = camera.copy()
    moved[axis] += strides * STRIDES[axis] * (camera[5] if axis > 2 else 1)
    moved[1], moved[2] = min(max(moved[1], -20.0), 80.0), min(max(moved[2], 10.0), 75.0)
    return moved


@compiled
def _compare(
    cameras: np.ndarray,
    framed: bool,
    vertices: np.ndarray,
    faces: np.ndarray,
    uvs: np.ndarray,
    normals: np.ndarray,
    texture: np.ndarray,
    picture: np.ndarray,
    costs: np.ndarray,
    first: int,
    last: int,
) -> None:
    """Fill in some rows of the costs, see ``_Comparison``."""
    size = len(picture)
    screen = np.empty((len(vertices), 3))
    face_at, near = np.empty((size, size), np.int32), np.empty((size, size), np.float32)
    weights = np.empty((size, size, 2), np.float32)
    color, normal = np.empty((size, size, 3), np.float32), np.empty((size, size, 3), np.float32)
    for k in range(first, last):
        camera = cameras[k]
        project(camera, vertices, screen)
        if framed:
            _frame(camera, screen, picture)
            project(camera, vertices, screen)
        draw(screen, faces, face_at, weights, near)
        fill(face_at, weights, uvs, normals, texture, normal, color)
        alone, either, both = 0.0, 0.0, 0
        for row in range(size):
            for column in range(size):
                alpha = picture[row, column, 3]
                shown = face_at[row, column] >= 0
                alone += 1.0 - alpha if shown else alpha
                either += 1.0 if shown else alpha
                both += 1 if shown and alpha >= 0.5 else 0
        mismatch = _mismatch(face_at, normal, color, picture) / max(both, 1)
        wide, high = math.log(camera[2] / USUAL_FOV) / FOV_SPREAD, (camera[1] - USUAL_ELEVATION) / ELEVATION_SPREAD
        unusual = USUAL * (wide * wide + high * high)
        costs[k, 0] = (alone + COLOR_WEIGHT * mismatch * both) / max(either, 1.0) + unusual
        costs[k, 1] = 1.0 - alone / max(either, 1.0)
        costs[k, 2] = mismatch


@compiled
def _mismatch(face_at: np.ndarray, normal: np.ndarray, color: np.ndarray, picture: np.ndarray) -> float:
    """The sum of robust colour differences under the light that fits best, where picture and render show the object."""
    gram, right = np.zeros((4, 4)), np.zeros(4)
    for row in range(len(picture)):
        for column in range(len(picture)):
            if face_at[row, column] < 0 or picture[row, column, 3] < 0.5:
                continue
            square, product = 0.0, 0.0
            for c in range(3):
                square += color[row, column, c] ** 2
                product += color[row, column, c] * picture[row, column, c]
            for p in range(4):
                one = 1.0 if p == 0 else normal[row, column, p - 1]
                right[p] += one * product
                for q in range(4):
                    other = 1.0 if q == 0 else normal[row, column, q - 1]
                    gram[p, q] += one * other * square
    ridge = LIGHT_RIDGE * gram[0, 0] + 1e-6
    for p in range(4):
        gram[p, p] += ridge
    right[0] += ridge
    light = np.linalg.solve(gram, right)
    total = 0.0
    for row in range(len(picture)):
        for column in range(len(picture)):
            if face_at[row, column] < 0 or picture[row, column, 3] < 0.5:
                continue
            shade = light[0]
            for c in range(3):
                shade += light[c + 1] * normal[row, column, c]
            shade = min(max(shade, SHADES[0]), SHADES[1])
            error = 0.0
            for c in range(3):
                error += (color[row, column, c] * shade - picture[row, column, c]) ** 2
            total += error / (error + COLOR_LIMIT)
    return total


@compiled
def _frame(camera: np.ndarray, screen: np.ndarray, picture: np.ndarray) -> None:
    """Move and scale a camera's square so that the object has the picture's middle and, in the mean, its extent."""
    size = len(picture)
    low_x, low_y, high_x, high_y = np.inf, np.inf, -np.inf, -np.inf
    for p in range(len(screen)):
        low_x, high_x = min(low_x, screen[p, 0]), max(high_x, screen[p, 0])
        low_y, high_y = min(low_y, screen[p, 1]), max(high_y, screen[p, 1])
    left, right, top, bottom = size, 0, size, 0
    for row in range(size):
        for column in range(size):
            if picture[row, column, 3] >= 0.5:
                left, right, top, bottom = min(left, column), max(right, column), min(top, row), max(bottom, row)
    width, height = (right + 1 - left) / size, (bottom + 1 - top) / size
    half = camera[5] * math.sqrt((high_x - low_x) * (high_y - low_y) / (width * height))
    camera[3] += (low_x + high_x - 1) * camera[5] - ((left + right + 1) / size - 1) * half
    camera[4] += ((top + bottom + 1) / size - 1) * half - (low_y + high_y - 1) * camera[5]
    camera[5] = half
