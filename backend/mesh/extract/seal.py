"""Close the holes that a small model leaves in an object's walls.

A hollow object is a shell of voxels. If one of them is missing, the outside gets in: the object has a hole there and is
empty. Pockets that only narrow passages lead to (``flood``) are closed by a skin across these passages, first of
voxels, then, in the decoded field, of lattice corners. Real openings are wider: of 96 procedural objects none is
changed, at 16^3 or at 64^3, while 82 of the structures that ``mini`` samples for them leak. A model's pipeline.json
says whether it needs this (``seal_leaks``); those of TRELLIS do not.
"""

from __future__ import annotations

import numpy as np
import torch

from .. import MeshError
from ..base.flood import leaks
from .case_tables import tables_on
from .corners import (
    COLOR,
    SDF,
    Box,
    active_corners,
    box_around,
    by_corner,
    cubic,
    distances_of,
    find,
    finite,
    number,
    point,
    sums_at_corners,
)

#: Passages up to twice this many voxels wide are leaks, if a voxel of the pocket behind them is that far from all
#: walls.
VOXEL_RADII, VOXEL_CORE = (1, 2), 1
#: The same in cubes of the decoded grid, four per voxel side; and the depth of dents in a wall that the skin fills.
CUBE_RADII, CUBE_DENT = (1, 2, 3, 4), 4
#: Distance of the skin's corners and of their new neighbours from the surface, in cubes.
DEPTH = 0.5
#: How many equally near cubes an added one can have its colours from.
MOST_NEAREST = 12


def seal_voxels(coords: torch.Tensor, resolution: int) -> torch.Tensor:
    """The voxels [N, 4] int32 (batch, x, y, z) of one object together with those that close its leaks.

    They are in row-major order; if there are no leaks, ``coords`` itself is returned.
    """
    solid = np.zeros((resolution,) * 3, dtype=bool)
    solid[tuple(coords[:, 1:].cpu().numpy().T)] = True
    skin = leaks(solid, VOXEL_RADII, VOXEL_CORE)
    if not skin.any():
        return coords
    sealed = torch.from_numpy(np.argwhere(solid | skin)).to(coords)
    return torch.cat([torch.zeros_like(sealed[:, :1]), sealed], dim=1)


def seal_cubes(coords: torch.Tensor, features: torch.Tensor, res: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A decoder's output (see ``extract_mesh``) with its leaks closed: cubes [N', 3] and features [N', 101].

    The skin's corners get a distance of ``DEPTH`` inside. Missing cubes around them are added, with the colours of the
    nearest given cube. Nothing is raised: input that cannot be extracted is returned unchanged.
    """
    if not (len(coords) and bool(finite(features))):
        return coords, features
    try:
        box = box_around(coords.long(), res)
    except MeshError:  # the extractor will say what is wrong
        return coords, features
    distances = distances_of(features.float(), res)
    sums = sums_at_corners(box, distances)
    solid = np.zeros((res + 1) ** 3, dtype=bool)
    solid[box.lattice_numbers(torch.nonzero(sums < 0)[:, 0]).cpu().numpy()] = True
    skin = np.flatnonzero(leaks(solid.reshape((res + 1,) * 3), CUBE_RADII, dent=CUBE_DENT))
    if not len(skin):
        return coords, features
    on_skin = torch.from_numpy(skin).to(coords.device)
    added = _missing_cubes(coords, on_skin, res)
    first = len(coords)
    features = torch.cat([features, _colored_as_nearest(coords, features, added)])
    coords = torch.cat([coords, added.to(coords)])

    numbers = number(coords.long()[:, None] + tables_on(coords.device).corners, cubic(res + 1))  # [N', 8]
    sdf = _distances(box, sums, numbers)
    skinned = find(on_skin, numbers) < len(on_skin)
    sdf[skinned] = -DEPTH / res
    skinned[first:] = True  # the added cubes have no other distances yet
    features[:, SDF] = (sdf + 1 / res).to(features.dtype).where(skinned, features[:, SDF])
    return coords, features


def _distances(box: Box, sums: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
    """The mean distances at corners [...] of the lattice, from their sums [P]; ``DEPTH`` where no cube was given."""
    corners = active_corners(box)
    counts = sums_at_corners(box, sums.new_ones(len(box.places), 8))
    means = sums[corners] / counts[corners]
    missing = means.new_full((1,), DEPTH / box.res)
    return torch.cat([means, missing])[find(box.lattice_numbers(corners), numbers)]


def _missing_cubes(coords: torch.Tensor, corners: torch.Tensor, res: int) -> torch.Tensor:
    """The cubes [K, 3] at these corners of the lattice that are not among ``coords``."""
    grid = cubic(res)
    around = (point(corners, cubic(res + 1))[:, None] - tables_on(coords.device).corners).view(-1, 3)
    around = around[((around >= 0) & (around < res)).all(1)]
    numbers = torch.unique(number(around, grid))
    active = torch.sort(number(coords.long(), grid))[0]
    return point(numbers[find(active, numbers) == len(active)], grid)


def _colored_as_nearest(coords: torch.Tensor, features: torch.Tensor, added: torch.Tensor) -> torch.Tensor:
    """Features [K, C] of added cubes [K, 3]: zero except for the colours, which are the nearest cubes' mean.

    Of several that are equally near all count: which one came first would depend on cubes that are far away.
    """
    from scipy.spatial import cKDTree

    count = min(MOST_NEAREST, len(coords))
    distances, nearest = cKDTree(coords.cpu().numpy()).query(added.cpu().numpy(), count)
    distances, nearest = distances.reshape(-1, count), nearest.reshape(-1, count)  # it leaves out a count of 1
    share = (distances <= distances[:, :1] + 1e-6).astype(np.float32)
    share /= share.sum(1, keepdims=True)
    cubes, which = np.unique(nearest, return_inverse=True)
    means = by_corner(features[torch.from_numpy(cubes).to(coords.device)], COLOR).mean(1)  # [U, 6]
    weights = torch.from_numpy(share).to(features)
    color = (means[torch.from_numpy(which.reshape(nearest.shape)).to(coords.device)] * weights[..., None]).sum(1)
    rows = features.new_zeros(len(added), features.shape[1])
    rows[:, COLOR] = color[:, None].expand(-1, 8, -1).flatten(1)
    return rows
