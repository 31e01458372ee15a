"""A surface given by its signed distance, as a flexible dual grid: what the second family's shape VAE learns from.

Every voxel around whose twelve edges the sign changes is kept. Its vertex is where the surface's planes at these
changes meet best (Ju et al. 2002, "Dual contouring of Hermite data", section 2.3), but inside the voxel.
``mesh.extract.dual_grid`` makes a surface of it again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ...mesh.extract.dual_grid import positions, quads_of
from ...models.dual_grid_vae import DualGrid
from ...sparse.tensor import VoxelSet
from .materials import draw_materials
from .shapes import Values, draw_values, evaluate_in_chunks, lattice, params_of

#: A signed distance, negative inside, [P] at points [P, 3] of the cube [-0.5, 0.5]^3.
Distance = Callable[[Tensor], Tensor]

#: How often the place where the sign changes is halved; then it is interpolated.
_HALVINGS = 6

#: The points around another whose distances tell the gradient, and how far away they are, in sides of a voxel.
_AROUND, _NEAR = torch.tensor([[1.0, -1, -1], [-1, -1, 1], [-1, 1, -1], [1, 1, 1]]), 0.01

#: How much a vertex is drawn to the mean of the changes, beside the planes. As in the published encoder's data.
_TO_MEAN = 0.01

#: For each corner of a quad, whether it is an end of the first diagonal or of the other.
_ENDS = torch.tensor([1.0, -1, 1, -1])


class VoxelObject(NamedTuple):
    """One object as both VAEs see it."""

    coords: Tensor  # [M, 3] int32: its voxels, x slowest
    grid: DualGrid  # [M, ...]; its vertices inside of their voxels
    materials: Tensor  # [M, 6] float, in 0..1: base colour (sRGB), metallic, roughness and alpha, at the vertices


def voxel_object(family: str, number: int, resolution: int) -> VoxelObject:
    """A procedural object on a grid with so many voxels along a side."""
    values = draw_values(family, [number])
    coords, grid = dual_grid(distance_of(family, values), resolution)
    points = positions(coords, grid.vertices, resolution)
    made_of = values._replace(colors=draw_materials(family, number)[None])  # evaluated as if they were colours
    color, material = (_color_at(points, family, each) for each in (values, made_of))
    return VoxelObject(coords, grid, torch.cat([color, material], dim=1))


def _color_at(points: Tensor, family: str, values: Values) -> Tensor:
    _, color = evaluate_in_chunks(family, params_of(family, values), points[None], with_color=True)
    assert color is not None
    return color[0]


def distance_of(family: str, values: Values) -> Distance:
    """The signed distance of one procedural object."""
    params = params_of(family, values)
    return lambda points: evaluate_in_chunks(family, params, points[None])[0][0]


def dual_grid(distance: Distance, resolution: int) -> tuple[Tensor, DualGrid]:
    """The voxels [M, 3] int32 that a surface crosses, x slowest, and the dual grid of these.

    Raises ValueError if the surface is not inside of the cube, or if there is none.
    """
    start, axis = _crossed_edges(distance, resolution)
    along, normal = _where_crossed(distance, start, axis, resolution)
    voxels, rows = _voxels_around(start, axis, resolution)
    voxel, edge = rows.flatten(), torch.arange(len(start)).repeat_interleave(4)
    place = (start + along)[edge] - voxels[voxel]
    vertices = _meeting(voxel, place, normal[edge], len(voxels))
    crossed = torch.zeros(len(voxels), 3, dtype=torch.bool)
    crossed[rows[:, 0], axis] = True
    quads = quads_of(VoxelSet(torch.nn.functional.pad(voxels, (1, 0))).neighbours, crossed)
    weights = _weights(distance, quads, positions(voxels, vertices, resolution), resolution)
    return voxels.int(), DualGrid(vertices, crossed, weights)


def _crossed_edges(distance: Distance, resolution: int) -> tuple[Tensor, Tensor]:
    """The lattice edges on which the sign changes: their lower ends [E, 3] and axes [E]."""
    points = lattice(resolution)
    inside = distance(points.reshape(-1, 3)).reshape(points.shape[:3]) < 0
    if not inside.any() or inside.sum() > inside[1:-1, 1:-1, 1:-1].sum():
        raise ValueError("the surface must be inside of the cube")
    found = [torch.nonzero(inside.diff(dim=axis)) for axis in range(3)]
    return torch.cat(found), torch.arange(3).repeat_interleave(torch.tensor([len(part) for part in found]))


def _where_crossed(distance: Distance, start: Tensor, axis: Tensor, resolution: int) -> tuple[Tensor, Tensor]:
    """Where edges meet the surface, [E, 3] in sides of a voxel from their lower ends, and its normals there, [E, 3]."""
    step = torch.eye(3)[axis]

    def at(share: Tensor) -> Tensor:
        return (start + share[:, None] * step) / resolution - 0.5

    low, high = torch.zeros(len(start)), torch.ones(len(start))
    at_low, at_high = distance(at(low)), distance(at(high))
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        here = distance(at(middle))
        above = (here < 0) == (at_low < 0)
        low, at_low = torch.where(above, middle, low), torch.where(above, here, at_low)
        high, at_high = torch.where(above, high, middle), torch.where(above, at_high, here)
    share = low + (high - low) * at_low / (at_low - at_high)
    around = at(share)[:, None] + _AROUND * (_NEAR / resolution)
    gradient = distance(around.reshape(-1, 3)).reshape(-1, 4) @ _AROUND
    return share[:, None] * step, torch.nn.functional.normalize(gradient, dim=1)


def _voxels_around(start: Tensor, axis: Tensor, resolution: int) -> tuple[Tensor, Tensor]:
    """The voxels [M, 3] around all edges, and the rows [E, 4] of those around each. It is the far edge of the first."""
    others = torch.tensor([[1, 2], [0, 2], [0, 1]])[axis]
    back = torch.cartesian_prod(torch.tensor([1, 0]), torch.tensor([1, 0]))  # the first is two steps away
    steps = torch.zeros(len(start), 4, 3, dtype=torch.long)
    steps.scatter_(2, others[:, None].expand(-1, 4, -1), back.expand(len(start), -1, -1))
    strides = torch.tensor([resolution**2, resolution, 1])
    keys, rows = ((start[:, None] - steps) * strides).sum(2).unique(return_inverse=True)
    return keys[:, None] // strides % resolution, rows


def _meeting(voxel: Tensor, place: Tensor, normal: Tensor, count: int) -> Tensor:
    """For each of ``count`` voxels, the point in it nearest to all its planes, [M, 3] in 0..1.

    Each of the K planes belongs to a ``voxel`` [K], in which it goes through a ``place`` [K, 3]. The sum of squared
    distances is x^T A x - 2 b x + c.
    """
    matrix = normal[:, :, None] * normal[:, None] + _TO_MEAN * torch.eye(3)
    right = (matrix @ place[..., None])[..., 0]
    matrix = torch.zeros(count, 3, 3).index_add_(0, voxel, matrix)
    right = torch.zeros(count, 3).index_add_(0, voxel, right)
    found = torch.linalg.solve(matrix, right)
    beyond = ((found < 0) | (found > 1)).any(1)
    found[beyond] = _least_inside(matrix[beyond], right[beyond])
    return found


def _weights(distance: Distance, quads: Tensor, points: Tensor, resolution: int) -> Tensor:
    """Weights [M] of vertices at ``points`` [M, 3] by which ``split_by_weight`` splits most quads [Q, 4] well.

    Every quad votes for the ends of the diagonal whose middle is nearer to the surface, by how much nearer it is. The
    reference learns weights from renderings instead.
    """
    corners = points[quads]
    middles = (corners[:, :2] + corners[:, 2:]) / 2
    first, other = (distance(middles.reshape(-1, 3)).abs() * resolution).view(-1, 2).unbind(1)
    votes = (other - first)[:, None] * _ENDS
    return torch.zeros(len(points)).index_add_(0, quads.flatten(), votes.flatten()).exp()


def _least_inside(matrix: Tensor, right: Tensor) -> Tensor:
    """The x [M, 3] in 0..1 with the least x^T A x - 2 b x, for A [M, 3, 3] and b [M, 3].

    It is the best of those that are least in the cube, on a face, on an edge or at a corner and are inside.
    """
    choice = torch.tensor([torch.nan, 0.0, 1.0])
    bound = torch.cartesian_prod(choice, choice, choice)[:, None]  # [27, 1, 3]; NaN where x is free
    free = bound.isnan()
    x = torch.linalg.solve(torch.where(free[..., None], matrix, torch.eye(3)), torch.where(free, right, bound))
    x = torch.where(free, x, bound)  # exactly
    cost = (x * ((matrix @ x[..., None])[..., 0] - 2 * right)).sum(2)
    best = cost.masked_fill(((x < 0) | (x > 1)).any(2), torch.inf).argmin(0)
    return x[best, torch.arange(len(right))]
