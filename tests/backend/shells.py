"""Features as a perfect decoder would give them, for objects whose distance and colour are formulas."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from backend.mesh import RawMesh
from backend.mesh.extract.case_tables import CORNERS
from backend.mesh.extract.corners import COLOR, SDF
from backend.mesh.extract.flexicubes import extract_mesh

Distance = Callable[[Tensor], Tensor]  # [..., 3] points -> [...] signed distance, negative inside
PARENT = 4  # cubes along a side of the voxel that the decoder subdivides


def sphere(points: Tensor) -> Tensor:
    return points.norm(dim=-1) - 0.35


def chair(points: Tensor) -> Tensor:
    """Seat, back and four legs."""
    legs = [((x, y, -0.24), (0.045, 0.045, 0.2)) for x in (-0.23, 0.23) for y in (-0.23, 0.23)]
    boxes = [((0.0, 0.0, -0.02), (0.28, 0.28, 0.04)), ((0.0, 0.25, 0.2), (0.28, 0.035, 0.22)), *legs]
    return torch.stack([_box(points, torch.tensor(centre), torch.tensor(half)) for centre, half in boxes]).amin(0)


def _box(points: Tensor, centre: Tensor, half: Tensor) -> Tensor:
    q = (points - centre).abs() - half
    return q.clamp(min=0).norm(dim=-1) + q.amax(-1).clamp(max=0)


def color_at(points: Tensor) -> Tensor:
    """A smooth pattern, [..., 3] in 0..1."""
    return (torch.sin(points * 12) * 0.5 + 0.5).clamp(0.02, 0.98)


def grid(side: int) -> Tensor:
    """[side^3, 3] all positions of a grid."""
    return torch.cartesian_prod(*[torch.arange(side)] * 3)


def features_of(distance: Distance, res: int) -> tuple[Tensor, Tensor]:
    """coords [N, 3] and features [N, 101] of cubes whose parent voxels touch the surface: a hollow shell."""
    coarse = grid(res // PARENT)
    near = distance((coarse + 0.5) * PARENT / res - 0.5).abs() < 0.87 * PARENT / res
    coords = (coarse[near][:, None] * PARENT + grid(PARENT)).reshape(-1, 3)
    points = (coords[:, None] + torch.tensor(CORNERS)) / res - 0.5
    features = torch.zeros(len(coords), COLOR.stop)
    features[:, SDF] = distance(points) * res + 1 / res  # in cubes; the extractor takes 1 / res off
    channels = torch.cat([color_at(points), torch.full_like(points, 0.5)], dim=-1)
    features[:, COLOR] = torch.logit(channels).flatten(1)
    return coords, features


def raw_of(inside: Tensor) -> RawMesh:
    """Extract what lies inside at the corners of a small grid [R + 1, R + 1, R + 1], all of whose cubes are active."""
    res = inside.shape[0] - 1
    coords = grid(res)
    corners = coords[:, None] + torch.tensor(CORNERS)
    features = torch.zeros(len(coords), 53)
    features[:, SDF] = torch.where(inside[corners[..., 0], corners[..., 1], corners[..., 2]], -1.0, 1.0) + 1 / res
    return extract_mesh(coords, features, res)
