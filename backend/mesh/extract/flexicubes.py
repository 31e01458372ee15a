"""FlexiCubes (Shen et al. 2023, "Flexible Isosurface Extraction for Gradient-Based Mesh Optimization"), sparse.

Dual marching cubes (Nielson 2004): in each cube the surface consists of patches, each patch gets one vertex, and every
lattice edge whose ends differ in sign gets one quad between the vertices of the four cubes around it. FlexiCubes adds
learned weights: ``alpha`` (one per corner) moves the crossings along a cube's edges, ``beta`` (one per edge) weights
the crossings in the vertex, and ``gamma`` (one per cube) chooses the diagonal that splits a quad.

A cube's case is the sum of 2^i over its corners i inside; ``corners`` says how corners and cubes are numbered.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from .. import MeshError, RawMesh
from .case_tables import CORNERS, EDGES, CaseTables, case_tables
from .corners import (
    ALPHA,
    BETA,
    COLOR,
    DEFORM,
    GAMMA,
    SDF,
    Corners,
    all_finite,
    by_corner,
    find,
    find_corners,
    means_of,
    number,
    point,
)

WEIGHT_SCALE = 0.99  # alpha and beta stay within 1 +- this, gamma within 0.5 +- half of this


def extract_mesh(coords: torch.Tensor, features: torch.Tensor, res: int) -> RawMesh:
    """Extract the zero level of the distances predicted at the corners of the active voxels.

    Corners that no active voxel has count as outside (distance +1), so the surface is closed through inactive
    neighbours; at the border of the grid it stays open. Distances are computed for all active voxels, everything else
    only for the cubes that the surface cuts. So time and memory depend on the number of voxels, not on the grid.

    Args:
        coords: [N, 3] integers in 0..res-1, each voxel once, in any order.
        features: [N, 101] or, without colours, [N, 53]: raw decoder output, before the activations.
        res: cubes along each side of the grid.

    Returns:
        The mesh, on the device of the features; it has no faces if no edge between four cubes is cut.

    Raises:
        MeshError: ``bad_features``.
    """
    surface = _surface(coords, features.detach(), res)
    attrs = surface.attrs
    return RawMesh(
        vertices=surface.vertices.contiguous(),
        faces=_split(surface.quads, surface.gamma),
        colors=None if attrs is None else attrs[:, :3].contiguous(),
        attrs=attrs,
        resolution=res,
        inside_corners=surface.corners.numbers[surface.corners.inside[:-1]],
        face_corners=surface.outer.repeat_interleave(2),
    )


@dataclass(frozen=True)
class TrainingMesh:
    """The surface that a mesh decoder is trained with: its float tensors carry gradients.

    A quad is four triangles around its centre, whose position depends on ``gamma``; the choice between two diagonals
    would give ``gamma`` no gradient.
    """

    vertices: torch.Tensor  # [V + Q, 3]: those of ``extract_mesh``, then the centres of the quads
    faces: torch.Tensor  # [4 Q, 3] int64
    attrs: torch.Tensor | None  # [V + Q, 6] in 0..1
    reg_loss: torch.Tensor  # []: see ``extract_training_mesh``
    corners: torch.Tensor  # [M, 3] int64: lattice coordinates of the corners of active voxels, in row-major order
    corner_values: torch.Tensor  # [M, 4 or 10]: mean distance, raw deformation, raw colour and normal channels there
    corner_points: torch.Tensor  # [M, 3]: the deformed corners, which the distances are predicted for


def extract_training_mesh(coords: torch.Tensor, features: torch.Tensor, res: int) -> TrainingMesh:
    """The same surface as ``extract_mesh``, differentiable, with the loss that regularises the features.

    ``reg_loss`` is the mean square of the differences between the voxels at a corner and their mean there, plus 0.5
    times the mean deviation of the distances between a vertex and its crossings (Shen et al. 2023, equation 8), plus
    0.2 times the mean magnitude of the raw ``beta`` and ``alpha``. The second part is missing if there is no surface.

    Raises:
        MeshError: ``bad_features``.
    """
    surface = _surface(coords, features, res)
    corners, quads = surface.corners, surface.quads
    features = features.float()
    given = torch.cat([by_corner(features, columns) for columns in (SDF, DEFORM, COLOR)], dim=-1)
    means, _ = means_of(corners.rows, len(corners.numbers), given)
    weights = features[:, BETA.start : ALPHA.stop]
    reg_loss = (given - means[corners.rows]).square().mean() + 0.2 * weights.abs().mean()
    if len(quads):
        reg_loss = reg_loss + 0.5 * _deviation(surface).mean()
    values = surface.vertices if surface.attrs is None else torch.cat([surface.vertices, surface.attrs], dim=1)
    values = torch.cat([values, _centres(values, surface.gamma, quads)])
    centre = torch.arange(len(surface.vertices), len(values), device=quads.device)
    sides = torch.stack([quads, quads.roll(-1, dims=1)], dim=-1)  # [Q, 4, 2]
    lattice = point(corners.numbers, res + 1)
    return TrainingMesh(
        vertices=values[:, :3],
        faces=torch.cat([sides, centre[:, None, None].expand(-1, 4, 1)], dim=-1).view(-1, 3),
        attrs=None if surface.attrs is None else values[:, 3:],
        reg_loss=reg_loss,
        corners=lattice,
        corner_values=torch.cat([corners.sdf[:-1, None], means[:, 1:]], dim=1),
        corner_points=lattice / res - 0.5 + _activated(means[:, 1:], res)[:, :3],
    )


@dataclass(frozen=True)
class _Surface:
    """V vertices, each with its ``gamma``, Q quads between them, and the E cuts of cubes' edges."""

    corners: Corners
    vertices: torch.Tensor  # [V, 3]
    attrs: torch.Tensor | None  # [V, 6]
    gamma: torch.Tensor  # [V]
    quads: torch.Tensor  # [Q, 4] int64
    outer: torch.Tensor  # [Q] int64: the outer end of the lattice edge around which a quad lies
    # For each cut:
    ends: torch.Tensor  # [E, 2, 3]: the ends of the edge
    distances: torch.Tensor  # [E, 2]: the distances at its ends, without alpha
    edge: torch.Tensor  # [E] int64: which of the cube's edges is cut
    vertex: torch.Tensor  # [E] int64: the vertex that the cut belongs to


def _surface(coords: torch.Tensor, features: torch.Tensor, res: int) -> _Surface:
    _check(coords, features, res)
    coords, features = coords.long(), features.float()
    corners = find_corners(coords, features, res)
    cubes, rows = _cut_cubes(coords, corners, res)
    alpha, beta, gamma = _weights(coords, features, cubes, res)

    tables = case_tables().to(coords.device)
    inside = corners.inside
    cases = (inside[rows].long() << torch.arange(8, device=rows.device)).sum(1)
    cases = _untwist(cases, cubes, res, tables)
    cube, edge = torch.nonzero(tables.patch[cases] >= 0, as_tuple=True)  # the E cuts, cube by cube
    vertex, vertex_cube = _number_vertices(cases, cube, edge, tables)
    edge_corners = torch.tensor(EDGES, device=edge.device)[edge]  # [E, 2]
    row = rows[cube[:, None], edge_corners]
    strides = number(torch.tensor(CORNERS, device=edge.device), res + 1)
    numbers = number(cubes, res + 1)[cube][:, None] + strides[edge_corners]  # [E, 2]

    ends = _attributes(features, corners, row, res)
    ends[..., :3] += point(numbers, res + 1) / res - 0.5
    distances = corners.sdf[row]
    crossings = _crossings(ends, distances * alpha[cube[:, None], edge_corners])
    placed = _weighted_means(crossings, beta[cube, edge], edge, vertex, len(vertex_cube))

    starts_inside = inside[row[:, 0]]
    quads, cut = _quads(numbers, vertex, starts_inside)
    return _Surface(
        corners=corners,
        vertices=placed[:, :3],
        attrs=placed[:, 3:] if features.shape[1] == COLOR.stop else None,
        gamma=gamma[vertex_cube],
        quads=quads,
        outer=torch.where(starts_inside, numbers[:, 1], numbers[:, 0])[cut],
        ends=ends[..., :3],
        distances=distances,
        edge=edge,
        vertex=vertex,
    )


def _check(coords: torch.Tensor, features: torch.Tensor, res: int) -> None:
    problem = ""
    if coords.dim() != 2 or coords.shape[1] != 3 or coords.is_floating_point():
        problem = f"coords must be [N, 3] integers, not {list(coords.shape)} {coords.dtype}"
    elif features.dim() != 2 or len(features) != len(coords) or features.shape[1] not in (GAMMA.stop, COLOR.stop):
        problem = f"features must be [{len(coords)}, 53 or 101], not {list(features.shape)}"
    elif len(coords) and (coords.min() < 0 or coords.max() >= res):
        problem = f"a voxel lies outside the grid of {res}^3"
    elif len(torch.unique(number(coords.long(), res))) < len(coords):
        problem = "a voxel is given more than once"
    elif len(features) and not all_finite(features):
        problem = "the decoder's features are not finite (NaN or infinity)"
    if problem:
        raise MeshError("bad_features", problem)


def _activated(means: torch.Tensor, res: int) -> torch.Tensor:
    """Raw deformations and colour channels [M, 3 or 9] to offsets from the lattice, at most half a cube, and 0..1."""
    offset = torch.tanh(means[:, :3]) * ((1 - 1e-8) / (2 * res))
    return torch.cat([offset, torch.sigmoid(means[:, 3:])], dim=1)


def _attributes(features: torch.Tensor, corners: Corners, row: torch.Tensor, res: int) -> torch.Tensor:
    """Offsets and colour channels [E, 2, 3 or 9] at the corners ``row`` [E, 2].

    They are computed for these corners only, which are a small part of all.
    """
    needed = torch.zeros(len(corners.sdf), dtype=torch.bool, device=row.device)
    needed[row] = True
    needed[-1] = False
    count = int(needed.sum())
    index = torch.where(needed, needed.cumsum(0) - 1, count)
    means, _ = means_of(index[corners.rows], count, by_corner(features, DEFORM), by_corner(features, COLOR))
    return _activated(torch.cat([means, means.new_zeros(1, means.shape[1])]), res)[index[row]]


def _cut_cubes(coords: torch.Tensor, corners: Corners, res: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The S cubes with corners on both sides: [S, 3] in row-major order, and [S, 8] the rows of their corners.

    An inactive cube is cut if it shares a corner that is inside with an active one.
    """
    inside = corners.inside
    among_active = inside[corners.rows]
    active = coords[among_active.any(1) & ~among_active.all(1)]
    offsets = torch.tensor(CORNERS, device=coords.device)
    border = corners.numbers[inside[:-1] & ~corners.interior]
    around = (point(border, res + 1)[:, None] - offsets).view(-1, 3)
    around = around[((around >= 0) & (around < res)).all(1)]
    cubes = point(torch.unique(number(torch.cat([active, around]), res)), res)
    rows = find(corners.numbers, number(cubes[:, None] + offsets, res + 1))
    cut = ~inside[rows].all(1)
    return cubes[cut], rows[cut]


def _weights(
    coords: torch.Tensor, features: torch.Tensor, cubes: torch.Tensor, res: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """alpha [S, 8], beta [S, 12] and gamma [S] of the cut cubes. The raw weights of inactive cubes are zero."""
    numbers, order = torch.sort(number(coords, res))
    at = find(numbers, number(cubes, res))
    active = at < len(numbers)
    columns = slice(BETA.start, GAMMA.stop)
    raw = features.new_zeros(len(cubes), GAMMA.stop - BETA.start)
    raw[active] = features[order[at[active]], columns]
    beta, alpha, gamma = raw.split([12, 8, 1], dim=1)
    gamma = torch.sigmoid(gamma[:, 0]) * WEIGHT_SCALE + (1 - WEIGHT_SCALE) / 2
    return torch.tanh(alpha) * WEIGHT_SCALE + 1, torch.tanh(beta) * WEIGHT_SCALE + 1, gamma


def _untwist(cases: torch.Tensor, cubes: torch.Tensor, res: int, tables: CaseTables) -> torch.Tensor:
    """Swap inside and outside in the cases of two cubes that would meet twice at one ambiguous face.

    If a single patch of a cube (cases C16 and C19 in Nielson's list) has both curves of an ambiguous face, and so has a
    patch of the neighbour there, four quads would share the edge between the two vertices. The opposite cases split
    both patches in two.
    """
    twisted = tables.twist[cases].any(1)
    others = cubes[twisted] + tables.twist[cases[twisted]]
    numbers = number(cubes[twisted], res)
    met = find(numbers, number(others, res)) < len(numbers)
    met &= ((others >= 0) & (others < res)).all(1)
    cases = cases.clone()
    cases[twisted] = torch.where(met, 255 - cases[twisted], cases[twisted])
    return cases


def _number_vertices(
    cases: torch.Tensor, cube: torch.Tensor, edge: torch.Tensor, tables: CaseTables
) -> tuple[torch.Tensor, torch.Tensor]:
    """Number the patches: first those of cubes with one patch, then of cubes with two, and so on.

    Returns the vertex [E] of each cut and the cube [V] of each vertex.
    """
    counts = tables.patches[cases]
    counts_in_order, order = torch.sort(counts, stable=True)
    first = torch.empty_like(counts)
    first[order] = counts_in_order.cumsum(0) - counts_in_order
    return first[cube] + tables.patch[cases[cube], edge], order.repeat_interleave(counts_in_order)


def _crossings(values: torch.Tensor, distance: torch.Tensor) -> torch.Tensor:
    """Values [E, 2, C] at the ends of edges, interpolated to where the distance [E, 2] is zero: [E, C]."""
    share = distance[:, 0] / (distance[:, 0] - distance[:, 1])
    return torch.lerp(values[:, 0], values[:, 1], share[:, None])


def _weighted_means(
    values: torch.Tensor, weights: torch.Tensor, edge: torch.Tensor, vertex: torch.Tensor, count: int
) -> torch.Tensor:
    """The weighted means [count, C] of the crossings' values [E, C] at each vertex."""
    weighted = torch.cat([values, torch.ones_like(weights)[:, None]], dim=1) * weights[:, None]
    sums = weighted.new_zeros(count, weighted.shape[1])
    for e in range(len(EDGES)):  # a vertex has each edge at most once, so additions have the same order on any device
        chosen = edge == e
        sums.index_add_(0, vertex[chosen], weighted[chosen])
    return sums[:, :-1] / sums[:, -1:]


def _deviation(surface: _Surface) -> torch.Tensor:
    """[E] the distance of each crossing, without alpha, from its vertex, compared with the mean at that vertex."""
    vertices, vertex = surface.vertices, surface.vertex
    crossings = _crossings(surface.ends, surface.distances)
    distance = torch.linalg.vector_norm(crossings - vertices[vertex], dim=-1)
    mean = _weighted_means(distance[:, None], torch.ones_like(distance), surface.edge, vertex, len(vertices))[:, 0]
    return (distance - mean[vertex]).abs()


def _centres(values: torch.Tensor, gamma: torch.Tensor, quads: torch.Tensor) -> torch.Tensor:
    """The centres [Q, C] of quads, between the midpoints of their diagonals, weighted by the products of gamma [V]."""
    corner, g = values[quads], gamma[quads]
    weight_02, weight_13 = (g[:, 0] * g[:, 2])[:, None], (g[:, 1] * g[:, 3])[:, None]
    midpoint_02, midpoint_13 = (corner[:, 0] + corner[:, 2]) / 2, (corner[:, 1] + corner[:, 3]) / 2
    return (midpoint_02 * weight_02 + midpoint_13 * weight_13) / (weight_02 + weight_13 + 1e-8)


def _quads(
    numbers: torch.Tensor, vertex: torch.Tensor, starts_inside: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """One quad for each cut lattice edge with all four cubes around it, with normals to the outer side.

    Returns the vertices [Q, 4] of the quads and one of the cuts [Q] of each.
    """
    start, end = numbers.unbind(1)
    key = start * 3 + (end > start) + (end > start + 1)  # by start, then by end: edges run down y, up z or up x
    key, order = torch.sort(key, stable=True)
    first = torch.nonzero(key[: max(len(key) - 3, 0)] == key[3:])[:, 0]
    around = order[first[:, None] + torch.arange(4, device=first.device)]  # in the order of the cubes: -- -+ +- ++
    cut = around[:, 0]
    flip = starts_inside[cut]
    quads = vertex[around]
    return (
        torch.cat([quads[~flip][:, [0, 1, 3, 2]], quads[flip][:, [2, 3, 1, 0]]]),
        torch.cat([cut[~flip], cut[flip]]),
    )


def _split(quads: torch.Tensor, gamma: torch.Tensor) -> torch.Tensor:
    """Quads [Q, 4] to triangles [2 Q, 3], split along the diagonal whose ends have the larger product of gamma [V]."""
    g = gamma[quads]
    along_02 = (g[:, 0] * g[:, 2] > g[:, 1] * g[:, 3])[:, None]
    return torch.where(along_02, quads[:, [0, 1, 2, 0, 2, 3]], quads[:, [0, 1, 3, 3, 1, 2]]).view(-1, 3)
