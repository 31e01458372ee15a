"""The lattice of mesh corners inside a voxel."""

from __future__ import annotations

import torch
from torch import Tensor

MESH_CELLS = 4  # mesh cells along a voxel's side


def corner_table() -> Tensor:
    """The indices of each decoded cell's eight corners in a voxel's lattice of 5^3 points, [64, 8].

    Rows are in the order of two subdivisions (z fastest in each), columns in that of the mesh extractor's corners (x
    fastest).
    """
    child = torch.arange(8)
    child = torch.stack([child >> 2 & 1, child >> 1 & 1, child & 1], 1)
    cell = (2 * child[:, None] + child[None]).reshape(64, 1, 3)
    k = torch.arange(8)
    corner = cell + torch.stack([k & 1, k >> 1 & 1, k >> 2 & 1], 1)
    side = MESH_CELLS + 1
    return (corner[..., 0] * side + corner[..., 1]) * side + corner[..., 2]
