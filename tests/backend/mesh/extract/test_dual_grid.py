"""Surfaces from dual grids and attributes between voxels, beside plain loops."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from backend.mesh.extract.dual_grid import (
    fans,
    positions,
    quads_of,
    sample,
    sample_at_vertices,
    split_by_weight,
    split_without_weights,
)
from backend.sparse.tensor import VoxelSet
from tests.backend.golden import assert_close

SIDE = 7


def random_grid(count: int = 150) -> tuple[Tensor, Tensor, Tensor]:
    """Voxels [N, 3], vertices in them [N, 3] up to half a voxel outside, and crossed edges [N, 3]."""
    generator = torch.Generator().manual_seed(0)
    cells = torch.randperm(SIDE**3, generator=generator)[:count]
    coords = torch.stack([cells // SIDE**2, cells // SIDE % SIDE, cells % SIDE], dim=1).int()
    vertices = 2 * torch.rand(count, 3, generator=generator) - 0.5
    return coords, vertices, torch.rand(count, 3, generator=generator) < 0.4


def table(coords: Tensor) -> Tensor:
    return VoxelSet(torch.nn.functional.pad(coords, (1, 0))).neighbours


def quads_by_search(coords: Tensor, crossed: Tensor) -> list[list[int]]:
    """For a crossed edge along an axis, the four voxels that share the voxel's far corner in the other two."""
    row_of = {tuple(voxel): row for row, voxel in enumerate(coords.tolist())}
    quads = []
    for voxel, flags in zip(coords.tolist(), crossed.tolist(), strict=True):
        for axis in range(3):
            u, v = ((1, 2), (0, 2), (0, 1))[axis]
            steps = ((0, 0), (0, 1), (1, 1), (1, 0)) if axis != 1 else ((0, 0), (1, 0), (1, 1), (0, 1))
            around: list[int] = []
            for du, dv in steps:
                there = list(voxel)
                there[u] += du
                there[v] += dv
                around.append(row_of.get(tuple(there), -1))
            if flags[axis] and -1 not in around:
                quads.append(around)
    return quads


def test_quads_join_the_four_voxels_around_an_edge() -> None:
    coords, _, crossed = random_grid()
    quads = quads_of(table(coords), crossed)
    assert quads.tolist() == quads_by_search(coords, crossed)
    assert 0 < len(quads) < int(crossed.sum())  # the others miss a voxel


def test_quads_are_split_by_weight_and_a_tie_the_second_way() -> None:
    quads = torch.tensor([[0, 1, 2, 3], [3, 2, 1, 0], [4, 5, 6, 7]])
    weights = torch.tensor([2.0, 1.0, 2.0, 1.0, 1.0, 4.0, 4.0, 1.0])
    assert split_by_weight(quads, weights).tolist() == [
        *([0, 1, 2], [0, 2, 3]),
        *([3, 2, 0], [0, 2, 1]),
        *([4, 5, 7], [7, 5, 6]),
    ]


def test_without_weights_only_a_flat_first_triangle_changes_the_split() -> None:
    quads = torch.tensor([[0, 1, 2, 3], [0, 4, 2, 3]])
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0.5, 0.5, 0]])
    assert split_without_weights(quads, vertices).tolist() == [[0, 1, 2], [0, 2, 3], [0, 4, 3], [3, 4, 2]]


def test_fans_meet_in_a_centre_that_the_weights_pull() -> None:
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 1, 1], [0, 1, 0]])
    points, faces = fans(torch.tensor([[0, 1, 2, 3]]), vertices, torch.tensor([3.0, 1.0, 1.0, 1.0]))
    assert_close(points[4], torch.tensor([0.5, 0.5, 0.375]), 1e-6)
    assert faces.tolist() == [[0, 1, 4], [1, 2, 4], [2, 3, 4], [3, 0, 4]]


@pytest.mark.parametrize("resolution", [512, 1536])
def test_a_ball_of_any_resolution_is_closed(resolution: int) -> None:
    """Voxels around a ball at the far end of the grid: each edge of the surface has two faces."""
    radius, middle = 4.3, resolution - 8.1

    def outside(point: tuple[float, ...]) -> bool:
        return sum((c - middle) ** 2 for c in point) > radius**2

    span = range(resolution - 14, resolution - 2)
    crossed = {}
    for voxel in itertools.product(span, span, span):
        far = [tuple(c + (axis != other) for other, c in enumerate(voxel)) for axis in range(3)]
        ends = [tuple(c + (axis == other) for other, c in enumerate(start)) for axis, start in enumerate(far)]
        crossed[voxel] = [outside(a) != outside(b) for a, b in zip(far, ends, strict=True)]
    coords = torch.tensor(list(crossed), dtype=torch.int32)
    quads = quads_of(table(coords), torch.tensor(list(crossed.values())))
    faces = split_by_weight(quads, torch.ones(len(coords)))
    edges = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).sort(1).values
    assert len(faces) > 100
    assert set(torch.unique(edges, dim=0, return_counts=True)[1].tolist()) == {2}
    points = positions(coords, torch.full((len(coords), 3), 0.5), resolution)[faces.unique()]
    assert points.abs().max() <= 0.5


# --- attributes ------------------------------------------------------------------------------------------------------


def sampled_by_search(points: Tensor, coords: Tensor, attributes: Tensor) -> tuple[Tensor, list[float], list[int]]:
    row_of = {tuple(voxel): row for row, voxel in enumerate(coords.tolist())}
    values, weights, counts = [], [], []
    for point in points.double():
        place = ((point + 0.5) * SIDE - 0.5).tolist()
        total, weight, count = torch.zeros(attributes.shape[1], dtype=torch.float64), 0.0, 0
        for corner in itertools.product(*((int(c // 1), int(c // 1) + 1) for c in place)):
            if (row := row_of.get(corner)) is not None:
                share = math.prod(1 - abs(c - there) for c, there in zip(place, corner, strict=True))
                total, weight, count = total + share * attributes[row].double(), weight + share, count + 1
        values.append(total / weight if weight else total)
        weights.append(weight)
        counts.append(count)
    return torch.stack(values).float(), weights, counts


def test_attributes_between_voxels_are_trilinear_over_those_that_exist() -> None:
    coords, _, _ = random_grid()
    generator = torch.Generator().manual_seed(1)
    attributes = torch.rand(len(coords), 6, generator=generator)
    points = torch.rand(300, 3, generator=generator) * 1.1 - 0.55  # some outside of the cube
    values, weights, counts = sampled_by_search(points, coords, attributes)
    found = sample(points, coords, attributes, SIDE)
    assert found.found.tolist() == counts
    assert 0 in counts
    assert_close(found.weight, torch.tensor(weights), 1e-5)
    covered = found.weight > 1e-3
    assert_close(found.values[covered], values[covered], 1e-4)
    assert not found.values[found.found == 0].any()


def test_vertices_find_their_attributes_among_their_neighbours() -> None:
    coords, vertices, _ = random_grid()
    above, below = (torch.nonzero(table(coords)[:, column] < len(coords))[row, 0] for column, row in ((26, 0), (0, -1)))
    vertices[above], vertices[below] = 1.5, -0.5  # as far as they may be: in the middle of another voxel
    attributes = torch.rand(len(coords), 6, generator=torch.Generator().manual_seed(1))
    anywhere = sample(positions(coords, vertices, SIDE), coords, attributes, SIDE)
    found = sample_at_vertices(vertices, table(coords), attributes)
    covered = anywhere.weight > 1e-3
    assert covered.float().mean() > 0.9
    assert_close(found[covered], anywhere.values[covered], 1e-4)
    assert_close(found[above], attributes[table(coords)[above, 26]], 1e-6)
    assert_close(found[below], attributes[table(coords)[below, 0]], 1e-6)
