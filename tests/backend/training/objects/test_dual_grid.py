"""Signed distances as dual grids: what is extracted from them again is the surface, closed, sharp and where it was."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from backend.mesh.extract.dual_grid import positions, quads_of, split_by_weight
from backend.models.dual_grid_vae import DualGrid
from backend.sparse.tensor import VoxelSet
from backend.training.objects.dual_grid import Distance, _least_inside, distance_of, dual_grid, voxel_object
from backend.training.objects.families import FAMILIES
from backend.training.objects.materials import draw_materials, in_patches
from backend.training.objects.shapes import HELD_OUT, draw_values

SIDE = 32
TURN, _ = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(1)))


def ball(points: Tensor) -> Tensor:
    return (points - torch.tensor([0.01, -0.02, 0.03])).norm(dim=1) - 0.37


def turned_box(points: Tensor) -> Tensor:
    beyond = (points @ TURN).abs() - torch.tensor([0.3, 0.2, 0.25])
    return beyond.clamp(min=0).norm(dim=1) + beyond.amax(1).clamp(max=0)


def extracted(coords: Tensor, grid: DualGrid, resolution: int = SIDE) -> tuple[Tensor, Tensor]:
    """Vertices and faces. Every crossed edge has its four voxels."""
    quads = quads_of(VoxelSet(torch.nn.functional.pad(coords, (1, 0))).neighbours, grid.crossed)
    assert len(quads) == int(grid.crossed.sum())
    return positions(coords, grid.vertices, resolution), split_by_weight(quads, grid.weights)


def faces_at_edges(faces: Tensor) -> set[int]:
    ends = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).sort(1).values
    return set(ends.unique(dim=0, return_counts=True)[1].tolist())


def off(distance: Distance, vertices: Tensor, faces: Tensor, resolution: int = SIDE) -> Tensor:
    """How far 20,000 random points of the faces are from the true surface, in voxels."""
    generator = torch.Generator().manual_seed(0)
    corners = vertices[faces]
    area = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]).norm(dim=1)
    chosen = corners[torch.multinomial(area, 20_000, replacement=True, generator=generator)]
    share = -torch.rand(len(chosen), 3, generator=generator).log()  # uniform over a triangle, once normalised
    return distance(((share / share.sum(1, keepdim=True))[..., None] * chosen).sum(1)).abs() * resolution


def test_a_ball_comes_back_closed() -> None:
    coords, grid = dual_grid(ball, SIDE)
    vertices, faces = extracted(coords, grid)
    assert faces_at_edges(faces) == {2}
    assert len(vertices) - len(faces) * 3 // 2 + len(faces) == 2  # Euler's formula: no handle
    assert len(faces.unique()) == len(coords)  # a voxel without a crossed edge does not exist
    distance = off(ball, vertices, faces)
    assert distance.mean() < 0.01
    assert distance.max() < 0.04


def test_a_turned_box_keeps_its_edges_and_corners() -> None:
    coords, grid = dual_grid(turned_box, SIDE)
    vertices, faces = extracted(coords, grid)
    assert faces_at_edges(faces) <= {2, 4}  # four where two sheets share a voxel: closed all the same
    assert off(turned_box, vertices, faces).mean() < 0.005
    blunt = extracted(coords, grid._replace(vertices=torch.full_like(grid.vertices, 0.5)))
    assert off(turned_box, *blunt).mean() > 0.1
    corners = torch.cartesian_prod(*torch.tensor([[-0.3, 0.3], [-0.2, 0.2], [-0.25, 0.25]])) @ TURN.T
    assert torch.cdist(corners, vertices).amin(1).max() * SIDE < 0.35


def test_quads_are_split_where_the_surface_is() -> None:
    coords, grid = dual_grid(turned_box, SIDE)
    undecided = extracted(coords, grid._replace(weights=torch.ones(len(coords))))
    assert off(turned_box, *extracted(coords, grid)).mean() < 0.92 * off(turned_box, *undecided).mean()


def test_a_vertex_is_the_best_point_inside_of_its_voxel() -> None:
    generator = torch.Generator().manual_seed(0)
    factor, far = torch.randn(200, 3, 3, generator=generator), 2 * torch.randn(200, 3, generator=generator)
    matrix = factor @ factor.mT + 0.01 * torch.eye(3)
    right = (matrix @ far[..., None])[..., 0]

    def cost(x: Tensor) -> Tensor:
        return (x * ((matrix[:, None] @ x[..., None])[..., 0] - 2 * right[:, None])).sum(2)

    found = _least_inside(matrix, right)
    assert found.min() >= 0
    assert found.max() <= 1
    axis = torch.linspace(0, 1, 21)
    anywhere = torch.cartesian_prod(axis, axis, axis).expand(200, -1, -1)
    assert (cost(found[:, None])[:, 0] <= cost(anywhere).amin(1) + 1e-4).all()
    assert len({tuple(row) for row in ((found == 0) | (found == 1)).tolist()}) == 8  # corners, edges, faces, and inside


@pytest.mark.parametrize("radius", [0.6, -0.1])
def test_a_surface_must_be_there_and_inside_of_the_cube(radius: float) -> None:
    with pytest.raises(ValueError, match="inside of the cube"):
        dual_grid(lambda points: points.norm(dim=1) - radius, 8)


@pytest.mark.parametrize("family", FAMILIES)
def test_objects_come_back_with_what_they_are_made_of(family: str) -> None:
    made = voxel_object(family, HELD_OUT, SIDE)
    assert made.grid.vertices.min() >= 0
    assert made.grid.vertices.max() <= 1
    vertices, faces = extracted(made.coords, made.grid)
    assert faces_at_edges(faces) <= {2, 4}
    assert off(distance_of(family, draw_values(family, [HELD_OUT])), vertices, faces).mean() < 0.05
    drawn = {tuple(row) for row in draw_materials(family, HELD_OUT).tolist()}
    of_color: dict[tuple[float, ...], set[tuple[float, ...]]] = {}
    for row in made.materials.tolist():
        of_color.setdefault(tuple(row[:3]), set()).add(tuple(row[3:]))
    assert set.union(*of_color.values()) <= drawn
    assert all(len(materials) == 1 for materials in of_color.values())  # a part's material goes with its colour
    assert len(of_color) >= 3


def test_materials_are_metal_or_not_and_belong_to_a_number() -> None:
    drawn = torch.cat([torch.from_numpy(draw_materials("car", number)) for number in range(300)])
    metallic, roughness, alpha = drawn.unbind(1)
    assert set(metallic.tolist()) == {0, 1}
    assert 0.3 < metallic.mean() < 0.5
    assert 0.02 < (alpha < 1).float().mean() < 0.1
    assert ((metallic == 0) | (alpha == 1)).all()
    assert roughness.min() < 0.15
    assert roughness.max() > 0.85
    assert (draw_materials("car", 7) == draw_materials("car", 7)).all()
    assert (draw_materials("car", 7) != draw_materials("mug", 7)).any()


def test_patches_are_around_their_middles_and_made_as_objects_are() -> None:
    points = torch.rand(4000, 3, generator=torch.Generator().manual_seed(0))
    painted = in_patches(points, 300, torch.Generator().manual_seed(1))
    assert torch.equal(painted, in_patches(points, 300, torch.Generator().manual_seed(1)))
    patches, rows = painted.unique(dim=0, return_inverse=True)
    assert 200 < len(patches) <= 300
    assert patches.min() >= 0
    assert patches.max() <= 1
    metallic, alpha = patches[:, 3], patches[:, 5]
    assert set(metallic.tolist()) == {0.0, 1.0}
    assert 0.3 < metallic.mean() < 0.5
    assert 0.02 < (alpha < 1).float().mean() < 0.2
    assert alpha.min() >= 0.2
    assert (metallic[alpha < 1] == 0).all()
    nearest = (torch.cdist(points, points) + 9 * torch.eye(len(points))).argmin(1)
    assert (rows[nearest] == rows).float().mean() > 0.7  # 1 / 300 if materials did not depend on the place
