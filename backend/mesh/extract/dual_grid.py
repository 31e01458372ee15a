"""A surface from a flexible dual grid: voxels near it, a vertex in each, and the lattice edges that it crosses.

Where the surface crosses a lattice edge, the vertices of the four voxels around that edge make a quad (Ju et al. 2002,
"Dual contouring"). The edge along an axis belongs to the voxel whose far edge it is, in the other two axes. Which side
is the outside is not known, so faces may look either way.

Tables of neighbours are those of ``sparse.tensor.VoxelSet``: [N, 27] int32, N where there is no voxel.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ...sparse.neighbours import child_offsets, cube_number
from .corners import cubic, find, number

#: For an edge along x, y or z: the four voxels around it, in turn, as columns of the first one's row in the table.
_AROUND = ((13, 14, 17, 16), (13, 22, 23, 14), (13, 16, 25, 22))

#: The two ways to split a quad: along the diagonal of its corners 0 and 2, or of 1 and 3.
_SPLITS = (((0, 1, 2), (0, 2, 3)), ((0, 1, 3), (3, 1, 2)))

#: Of a quad with a fifth vertex in its centre.
_FAN = ((0, 1, 4), (1, 2, 4), (2, 3, 4), (3, 0, 4))

#: Vertices whose attributes are mixed at a time: on a CPU, what is in between should stay in the cache.
_POINTS = 1 << 14

#: What the sum of weights is divided by at least; where no voxel is near, it is 0.
_LEAST_WEIGHT = 1e-12


def positions(coords: Tensor, vertices: Tensor, resolution: int) -> Tensor:
    """The vertices [N, 3] in the cube [-0.5, 0.5]^3, from those in their voxels [N, 3], in units of these."""
    return (coords + vertices) / resolution - 0.5


def quads_of(neighbours: Tensor, crossed: Tensor) -> Tensor:
    """The quads [Q, 4] int64 of the edges that are ``crossed`` [N, 3] bool, by voxel, then by axis.

    An edge around which a voxel is missing has none.
    """
    voxel, axis = torch.nonzero(crossed).unbind(1)
    around = torch.tensor(_AROUND, device=crossed.device)[axis]  # [E, 4]
    quads = neighbours[voxel[:, None], around].long()
    return quads[(quads < len(neighbours)).all(1)]


def split_by_weight(quads: Tensor, weights: Tensor) -> Tensor:
    """Triangles [2 Q, 3] of quads, each split along the diagonal whose ends have the larger product of weights [N]."""
    a, b, c, d = weights[quads].unbind(1)
    return _split(quads, a * c > b * d)


def split_without_weights(quads: Tensor, vertices: Tensor) -> Tensor:
    """Triangles [2 Q, 3] of quads, each split along its corners 0 and 2, or if 0, 1 and 2 are in line, the other way.

    The reference means to compare the normals of both splits here, but multiplies that of its first triangle by itself
    and that of the second split by zero.
    """
    a, b, c, _ = vertices[quads].unbind(1)
    return _split(quads, torch.linalg.cross(b - a, c - a).square().sum(1) > 0)


def _split(quads: Tensor, first: Tensor) -> Tensor:
    """Split quads [Q, 4] the first way where ``first`` [Q] says so, else the second."""
    one, other = (quads[:, torch.tensor(split, device=quads.device)] for split in _SPLITS)
    return torch.where(first[:, None, None], one, other).flatten(0, 1)


def fans(quads: Tensor, vertices: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """The surface for training, which the weights [N] move: the vertices and then each quad's centre, [N + Q, 3], and
    four triangles for each quad, [4 Q, 3]."""
    a, b, c, d = vertices[quads].unbind(1)
    w_a, w_b, w_c, w_d = weights[quads].unbind(1)
    along, across = (w_a * w_c)[:, None], (w_b * w_d)[:, None]
    centres = (along * (a + c) / 2 + across * (b + d) / 2) / (along + across)
    numbers = torch.arange(len(quads), device=quads.device) + len(vertices)
    five = torch.cat([quads, numbers[:, None]], dim=1)
    return torch.cat([vertices, centres]), five[:, torch.tensor(_FAN, device=quads.device)].flatten(0, 1)


# --- attributes ------------------------------------------------------------------------------------------------------


class Sampled(NamedTuple):
    """Attributes between the centres of voxels."""

    values: Tensor  # [P, C]: 0 where no voxel is near
    weight: Tensor  # [P]: the share of each point that voxels cover, 0..1
    found: Tensor  # [P] int32: how many of the eight voxels around it there are


def sample(points: Tensor, coords: Tensor, attributes: Tensor, resolution: int) -> Sampled:
    """Attributes [N, C] of voxels [N, 3] at any points [P, 3] of the cube [-0.5, 0.5]^3, trilinear.

    Only the voxels that exist count.
    """
    size = cubic(resolution)
    ascending, order = number(coords.long(), size).sort()
    place = (points + 0.5) / (1 / resolution) - 0.5
    low = place.floor()
    cells = low.long()[:, None] + child_offsets(points.device)  # [P, 8, 3]
    at = find(ascending, number(cells, size))
    missing = (at == len(order)) | ((cells < 0) | (cells >= resolution)).any(2)
    rows = F.pad(order, (0, 1), value=len(order))[at.masked_fill(missing, len(order))]
    return _mixed(place - low, rows, F.pad(attributes, (0, 0, 0, 1)))


def sample_at_vertices(vertices: Tensor, neighbours: Tensor, attributes: Tensor) -> Tensor:
    """Attributes [N, C] of voxels at the vertices [N, 3] that they have, at most half a voxel outside of each: [N, C].

    All voxels around such a vertex are neighbours of its own: nothing has to be searched.
    """
    padded, upper = F.pad(attributes, (0, 0, 0, 1)), cube_number(child_offsets(vertices.device), 3, 0)
    values = []
    for some, table in zip(vertices.split(_POINTS), neighbours.split(_POINTS), strict=True):
        place = some - 0.5
        low = place.floor().clamp(max=0)  # where a vertex is as far up as it can be, the upper voxel has all the weight
        rows = table.gather(1, cube_number(low.long(), 3, -1)[:, None] + upper)
        values.append(_mixed(place - low, rows, padded).values)
    return torch.cat(values)


def _mixed(share: Tensor, rows: Tensor, padded: Tensor) -> Sampled:
    """Mix the attributes of the eight voxels ``rows`` [P, 8] around points, the upper ones by their ``share`` [P, 3].

    ``padded`` [N + 1, C] has the attributes, and one more row for voxels that are not there.
    """
    there = rows < len(padded) - 1
    upper = child_offsets(share.device).bool()
    weights = torch.where(upper, share[:, None], 1 - share[:, None]).prod(2) * there
    total = weights.sum(1)
    values = (weights[..., None] * padded[rows]).sum(1)
    return Sampled(values / total.clamp(min=_LEAST_WEIGHT)[:, None], total, there.sum(1, dtype=torch.int32))
