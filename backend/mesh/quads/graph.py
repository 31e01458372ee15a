"""The surface as fields see it: points with normals and neighbours, on levels that are coarser and coarser."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..base.compiled import compiled

COARSEST = 4  # a level with no more points is the last one
STUCK = 0.95  # one that has more than this share of the level before is not worth having


class Level(NamedTuple):
    """Points of a surface, and which of them are neighbours."""

    points: np.ndarray  # [V, 3] float64
    normals: np.ndarray  # [V, 3] float64, unit
    areas: np.ndarray  # [V] float64
    begins: np.ndarray  # [V + 1] int64: where the neighbours of each point begin
    neighbours: np.ndarray  # [E] int64
    weights: np.ndarray  # [E] float64: how many edges of the finest level
    parents: np.ndarray  # [V] int64: the point of the next level that stands for this one; empty on the last one


def levels(vertices: np.ndarray, faces: np.ndarray) -> list[Level]:
    """The levels of a mesh, vertices [V, 3] float64 and faces [F, 3], the finest first."""
    count = len(vertices)
    start, end = faces.reshape(-1), faces[:, [1, 2, 0]].reshape(-1)
    keys = np.unique(np.concatenate([start * count + end, end * count + start]))
    found = [_level(vertices, *_normals_and_areas(vertices, faces), keys, np.ones(len(keys)))]
    while len(found[-1].points) > COARSEST:
        parents, coarser = _coarser(found[-1])
        if len(coarser.points) > STUCK * len(found[-1].points):
            break
        found[-1] = found[-1]._replace(parents=parents)
        found.append(coarser)
    return found


def _normals_and_areas(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unit normals [V, 3], faces weighted by their angles, and a third of the area of a vertex's faces, [V]."""
    corners = vertices[faces]
    flat = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    sizes = np.linalg.norm(flat, axis=1)
    unit = flat / np.maximum(sizes, 1e-30)[:, None]
    normals, areas = np.zeros_like(vertices), np.zeros(len(vertices))
    for k in range(3):
        one, other = (_unit(corners[:, (k + step) % 3] - corners[:, k]) for step in (1, 2))
        angles = np.arccos(np.clip((one * other).sum(axis=1), -1, 1))
        for axis in range(3):
            normals[:, axis] += np.bincount(faces[:, k], angles * unit[:, axis], len(vertices))
        areas += np.bincount(faces[:, k], sizes / 6, len(vertices))
    return _unit(normals), areas


def _unit(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-30))


def _level(points: np.ndarray, normals: np.ndarray, areas: np.ndarray, keys: np.ndarray, weights: np.ndarray) -> Level:
    """keys: [E], ascending, V times a point plus its neighbour."""
    count = len(points)
    begins = np.searchsorted(keys, np.arange(count + 1) * count)
    return Level(points, normals, areas, begins, keys % count, weights, np.empty(0, np.int64))


def _coarser(level: Level) -> tuple[np.ndarray, Level]:
    """The parents of a level's points, and the next level: pairs are joined that are near and in one plane."""
    count = len(level.points)
    start, end = np.repeat(np.arange(count), np.diff(level.begins)), level.neighbours
    one, other = start[start < end], end[start < end]
    lengths = np.linalg.norm(level.points[one] - level.points[other], axis=1) / np.sqrt(level.areas.mean())
    score = (level.normals[one] * level.normals[other]).sum(axis=1) - lengths
    order = np.argsort(-score, kind="stable")
    parents, total = _paired(one[order], other[order], count)
    areas = np.bincount(parents, level.areas, total)

    def mean(rows: np.ndarray) -> np.ndarray:
        sums = [np.bincount(parents, level.areas * rows[:, axis], total) for axis in range(3)]
        return np.stack(sums, axis=1) / np.maximum(areas, 1e-30)[:, None]

    a, b = parents[start], parents[end]
    keys, numbers = np.unique((a * total + b)[a != b], return_inverse=True)
    weights = np.bincount(numbers, level.weights[a != b], len(keys))
    return parents, _level(mean(level.points), _unit(mean(level.normals)), areas, keys, weights)


@compiled
def _paired(one: np.ndarray, other: np.ndarray, count: int) -> tuple[np.ndarray, int]:
    """A number for each point, the same for both of a pair, and how many there are. The first pairs come first."""
    parents, total = np.full(count, -1), 0
    for i in range(len(one)):
        if parents[one[i]] < 0 and parents[other[i]] < 0:
            parents[one[i]] = parents[other[i]] = total
            total += 1
    for point in range(count):
        if parents[point] < 0:
            parents[point] = total
            total += 1
    return parents, total
