"""Objects whose distance and colour are formulas, as voxels and as a perfect mesh decoder's features.

Random weights decode to noise. These objects stand in for the predictions of trained weights.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from backend.mesh.extract.case_tables import CORNERS
from backend.mesh.extract.corners import COLOR, SDF
from backend.training.objects.shapes import HELD_OUT, draw, evaluate

Object = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Points [N, 3] in [-0.5, 0.5]^3 to signed distances [N] (or a bound of them) and sRGB colours [N, 3] in 0..1."""

RADII = (0.45, 0.38, 0.32)
SUBDIVISION = 4  # cubes along a side of a voxel
CHUNK = 1 << 16  # points at a time


def ellipsoid(points: Tensor) -> tuple[Tensor, Tensor]:
    """An ellipsoid with a smooth colour pattern."""
    distance = ((points / points.new_tensor(RADII)).norm(dim=-1) - 1) * min(RADII)
    return distance, torch.sin(points * 12) * 0.5 + 0.5


def procedural(family: str, number: int = HELD_OUT) -> Object:
    """An object of a family of ``backend.training``, a held-out one by default."""
    params = draw(family, [number])

    def field(points: Tensor) -> tuple[Tensor, Tensor]:
        parts = [evaluate(family, params, part[None], with_color=True) for part in points.split(CHUNK)]
        distance = torch.cat([part[0][0] for part in parts])
        colors = torch.cat([torch.as_tensor(part[1])[0].expand(part[0].shape[1], 3) for part in parts])
        return distance, colors

    return field


def nearest_voxels(field: Object, count: int, resolution: int) -> Tensor:
    """The ``count`` voxels of a grid whose centres are nearest to the surface, [count, 3] int32 in row-major order."""
    distance = field((_grid(resolution) + 0.5) / resolution - 0.5)[0].abs()
    chosen = distance.argsort(stable=True)[:count].sort().values
    return torch.stack([chosen // resolution**2, chosen // resolution % resolution, chosen % resolution], 1).int()


def crossed_voxels(field: Object, resolution: int) -> Tensor:
    """The voxels that the surface may cross, [N, 3] int32: all whose centre is within half a diagonal of it."""
    grid = _grid(resolution)
    distance = field((grid + 0.5) / resolution - 0.5)[0].abs()
    return grid[distance <= 3**0.5 / 2 / resolution].int()


def cube_features(field: Object, voxels: Tensor, resolution: int) -> tuple[Tensor, Tensor]:
    """The cubes [64 N, 3] in N voxels of a grid, and the extractor's input for them, [64 N, 101]."""
    cells, corners = _grid(SUBDIVISION), _grid(SUBDIVISION + 1)
    cubes = resolution * SUBDIVISION
    lattice = (voxels[:, None] * SUBDIVISION + corners).flatten(0, 1)  # [125 N, 3]: voxels share cubes' corners
    distance, color = field(lattice / cubes - 0.5)
    rows = ((cells[:, None] + torch.tensor(CORNERS)) * torch.tensor([(SUBDIVISION + 1) ** 2, SUBDIVISION + 1, 1])).sum(
        -1
    )
    channels = torch.cat([torch.logit(color.clamp(0.02, 0.98)), torch.zeros_like(color)], dim=1)  # no normals: 1/2
    features = torch.zeros(len(voxels) * len(cells), COLOR.stop)
    features[:, SDF] = (distance * cubes + 1 / cubes).view(len(voxels), -1)[:, rows].flatten(0, 1)
    features[:, COLOR] = channels.view(len(voxels), -1, 6)[:, rows].flatten(0, 1).flatten(1)
    return (voxels[:, None] * SUBDIVISION + cells).flatten(0, 1).int(), features


def _grid(side: int) -> Tensor:
    """All positions of a grid, [side^3, 3], x slowest."""
    return torch.cartesian_prod(*[torch.arange(side)] * 3)
