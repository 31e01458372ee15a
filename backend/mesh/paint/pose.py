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
EARLY, LEADERS = 4, 3  # after so many rounds, the best go on
COARSE_ROUNDS, FINE_ROUNDS = 12, 14  # in all, on the coarse picture, and on the finer one
FINALISTS = 2  # how many are refined on the finer picture
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
    costs = compare.framed(grid)
    chosen: list[int] = []
    for i in np.argsort(costs, kind="stable"):
        if all(_angle(grid[i], grid[j]) > APART for j in chosen):
            chosen.append(int(i))
        if len(chosen) == STARTS:
            break
    searches = [_Search(grid[i], 1.0) for i in chosen]
    searches = _gone_on(searches, compare, EARLY, 0.24)[:LEADERS]
    searches = _gone_on(searches, compare, COARSE_ROUNDS - EARLY, 0.24)[:FINALISTS]
    compare = _Comparison(shape, picture.reduced(FINE), check)
    best = _gone_on([_Search(one.camera, 0.5) for one in searches], compare, FINE_ROUNDS, 0.06)[0]
    _, overlap, mismatch = compare.these(best.camera[None])[0].tolist()
    return Pose(Camera(*best.camera.tolist()), best.cost, overlap, mismatch)


def _angle(one: np.ndarray, other: np.ndarray) -> float:
    """Degrees between the directions in which two cameras look."""
    forward = Camera(*one).axes()[2] @ Camera(*other).axes()[2]
    return math.degrees(math.acos(min(max(float(forward), -1.0), 1.0)))


class _Comparison:
    """Compares views of a shape with a picture [N, N, 4]."""

    def __init__(self, shape: Shape, pixels: np.ndarray, check: Callable[[], None]) -> None:
        surface = (shape.vertices, shape.faces, shape.uvs, shape.normals, shape.colors)
        self._fixed = (*surface, shape.closed, np.ascontiguousarray(pixels))
        self._check = check

    def framed(self, cameras: np.ndarray) -> np.ndarray:
        """The costs of cameras, after their squares [K, 6] are moved to where the object has the picture's extent."""
        costs = np.empty((len(cameras), 3))

        def compare(first: int, last: int) -> None:
            self._check()
            _compare(cameras[first:last], True, *self._fixed, costs[first:last])

        in_strips(compare, len(cameras), STRIP)
        return costs[:, 0]

    def these(self, cameras: np.ndarray) -> np.ndarray:
        """The fields of ``Pose`` after the first, [K, 3], for the values [K, 6] of cameras, in this thread."""
        self._check()
        costs = np.empty((len(cameras), 3))
        _compare(cameras, False, *self._fixed, costs)
        return costs


@dataclass
class _Search:
    """A search along the axes of a camera (Hooke and Jeeves 1961, "Direct search solution")."""

    camera: np.ndarray  # [6]
    stride: float  # of ``STRIDES``
    cost: float = math.inf

    def go_on(self, compare: _Comparison, rounds: int, last: float) -> None:
        """Search for some more rounds.

        A round tries a step both ways along each axis, then all that helped together, whole and half. If nothing
        helps, the steps are halved, down to ``last`` of ``STRIDES``.
        """
        if self.cost == math.inf:
            self.cost = float(compare.these(self.camera[None])[0, 0])
        while self.stride >= last and rounds > 0:
            steps = [{axis: sign * self.stride} for axis in range(6) for sign in (1, -1)]
            tries = np.array([_stepped(self.camera, step) for step in steps])
            costs = compare.these(tries)[:, 0]
            pairs = costs.reshape(6, 2)
            helps = np.flatnonzero(pairs.min(axis=1) < self.cost - 1e-6)
            if not len(helps):
                self.stride /= 2
                continue
            rounds -= 1
            strides = (1 - 2 * pairs.argmin(axis=1)) * self.stride
            together = [_stepped(self.camera, {k: share * strides[k] for k in helps}) for share in (1, 0.5)]
            tries = np.concatenate([tries, together])
            costs = np.concatenate([costs, compare.these(tries[12:])[:, 0]])
            best = int(np.argmin(costs))
            self.camera, self.cost = tries[best], float(costs[best])


def _gone_on(searches: list[_Search], compare: _Comparison, rounds: int, last: float) -> list[_Search]:
    """The searches after some more rounds, each in a thread of its own, the best one first."""

    def search(first: int, end: int) -> None:
        for one in searches[first:end]:
            one.go_on(compare, rounds, last)

    in_strips(search, len(searches), 1)
    return sorted(searches, key=lambda one: one.cost)


def _stepped(camera: np.ndarray, strides: dict[int, float]) -> np.ndarray:
    """A camera [6] after steps along some of its axes."""
    moved = camera.copy()
    for axis, count in strides.items():
        moved[axis] += count * STRIDES[axis] * (camera[5] if axis > 2 else 1)
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
    closed: bool,
    picture: np.ndarray,
    costs: np.ndarray,
) -> None:
    """Fill in the costs of cameras, see ``_Comparison``."""
    size = len(picture)
    screen = np.empty((len(vertices), 3))
    face_at, near = np.empty((size, size), np.int32), np.empty((size, size), np.float32)
    weights = np.empty((size, size, 2), np.float32)
    color, normal = np.empty((size, size, 3), np.float32), np.empty((size, size, 3), np.float32)
    for k in range(len(cameras)):
        camera = cameras[k]
        project(camera, vertices, screen)
        if framed:
            _frame(camera, screen, picture)
            project(camera, vertices, screen)
        draw(screen, faces, closed, face_at, weights, near)
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
