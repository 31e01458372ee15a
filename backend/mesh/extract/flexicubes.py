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
import torch.nn.functional as F

from .. import MeshError, RawMesh
from .case_tables import MOST_CUTS, tables_on
from .corners import (
    ALPHA,
    BETA,
    COLOR,
    DEFORM,
    GAMMA,
    SDF,
    Box,
    active_corners,
    box_around,
    by_corner,
    distances_of,
    find,
    finite,
    means_around,
    number,
    sums_at_corners,
)

WEIGHT_SCALE = 0.99  # alpha and beta stay within 1 +- this, gamma within 0.5 +- half of this


def extract_mesh(coords: torch.Tensor, features: torch.Tensor, res: int) -> RawMesh:
    """Extract the zero level of the distances predicted at the corners of the active voxels.

    Corners that no active voxel has count as outside (distance +1), so the surface is closed through inactive
    neighbours; at the border of the grid it stays open. Distances are computed for all active voxels, everything else
    only for the cubes that the surface cuts. Beyond that, each place in the box around the voxels takes about 20 bytes
    (256^3: 340 MB), but empty parts of the grid around it take nothing.

    The device is waited for six times: each time the next sizes depend on the data.

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
        inside_corners=surface.inside_corners(),
        face_corners=surface.outer[:, None].expand(-1, 2).reshape(-1),
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
    box, quads = surface.box, surface.quads
    features = features.float()
    given = torch.cat([by_corner(features, columns) for columns in (SDF, DEFORM, COLOR)], dim=-1)
    corners = active_corners(box)
    around = box.rows_around(corners)
    means = means_around(around, given)
    distances = means_around(around, distances_of(features, res)[..., None])
    rows = find(corners, torch.stack([box.places + offset for offset in box.offsets], dim=1))
    weights = features[:, BETA.start : ALPHA.stop]
    reg_loss = (given - means[rows]).square().mean() + 0.2 * weights.abs().mean()
    if len(quads):
        reg_loss = reg_loss + 0.5 * _deviation(surface).mean()
    values = surface.vertices if surface.attrs is None else torch.cat([surface.vertices, surface.attrs], dim=1)
    values = torch.cat([values, _centres(values, surface.gamma, quads)])
    centre = torch.arange(len(surface.vertices), len(values), device=quads.device)
    sides = torch.stack([quads, quads.roll(-1, dims=1)], dim=-1)  # [Q, 4, 2]
    lattice = box.points(corners)
    return TrainingMesh(
        vertices=values[:, :3],
        faces=torch.cat([sides, centre[:, None, None].expand(-1, 4, 1)], dim=-1).view(-1, 3),
        attrs=None if surface.attrs is None else values[:, 3:],
        reg_loss=reg_loss,
        corners=lattice,
        corner_values=torch.cat([distances, means[:, 1:]], dim=1),
        corner_points=lattice / res - 0.5 + _activated(means[:, 1:], res)[:, :3],
    )


@dataclass(frozen=True)
class _Surface:
    """V vertices, each with its ``gamma``, Q quads between them, and the E cuts of cubes' edges."""

    box: Box
    inside: torch.Tensor  # [P] bool: the corners of the box with negative distance
    vertices: torch.Tensor  # [V, 3]
    attrs: torch.Tensor | None  # [V, 6]
    gamma: torch.Tensor  # [V]
    quads: torch.Tensor  # [Q, 4] int64
    outer: torch.Tensor  # [Q] int64: the outer end of the lattice edge around which a quad lies
    cuts: _Cuts
    distances: torch.Tensor  # [E, 2]: the distances at the ends of each cut edge, without alpha
    ends: torch.Tensor  # [E, 2, 3]: the ends of the edge

    def inside_corners(self) -> torch.Tensor:
        """The corners inside, ascending, by their numbers in the lattice."""
        return self.box.lattice_numbers(torch.nonzero(self.inside)[:, 0])


@dataclass(frozen=True)
class _Cuts:
    """The E cuts of the edges of S cubes, cube by cube, and the V vertices that they belong to."""

    cube: torch.Tensor  # [E] int64: the cube, one of S
    edge: torch.Tensor  # [E] int64: which of its edges is cut
    rank: torch.Tensor  # [E] int64: how many lower edges of the cube belong to the same vertex
    vertex: torch.Tensor  # [E] int64
    cube_of_vertex: torch.Tensor  # [V] int64


def _surface(coords: torch.Tensor, features: torch.Tensor, res: int) -> _Surface:
    _check_shapes(coords, features)
    box = box_around(coords.long(), res)
    usable = finite(features) if len(features) else None
    features = features.float()
    distances = distances_of(features, res)
    inside = sums_at_corners(box, distances) < 0
    places, cases = _cut_cubes(box, inside)
    cuts = _find_cuts(cases, box, usable)
    alpha, beta, gamma = _weights(features, box.rows_at(places))

    tables = tables_on(coords.device)
    ends = places[cuts.cube][:, None] + number(tables.edge_corners, box.size)[cuts.edge]  # [E, 2]
    corners, index = _distinct(ends, box.count)
    distance, values = _at_corners(features, distances, box, corners)
    distance, values = distance[index], values[index]  # [E, 2], [E, 2, 3 or 9]
    crossings = _crossings(values, distance * alpha[cuts.cube[:, None], tables.edges[cuts.edge]])
    placed = _weighted_means(crossings, beta[cuts.cube, cuts.edge], cuts)

    starts_inside = inside[ends[:, 0]]
    quads, cut = _quads(ends, cuts.vertex, starts_inside)
    outer = torch.where(starts_inside, ends[:, 1], ends[:, 0])[cut]
    return _Surface(
        box=box,
        inside=inside,
        vertices=placed[:, :3],
        attrs=placed[:, 3:] if features.shape[1] == COLOR.stop else None,
        gamma=gamma[cuts.cube_of_vertex],
        quads=quads,
        outer=box.lattice_numbers(outer),
        cuts=cuts,
        distances=distance,
        ends=values[..., :3],
    )


def _check_shapes(coords: torch.Tensor, features: torch.Tensor) -> None:
    if coords.dim() != 2 or coords.shape[1] != 3 or coords.is_floating_point():
        raise MeshError("bad_features", f"coords must be [N, 3] integers, not {list(coords.shape)} {coords.dtype}")
    if features.dim() != 2 or len(features) != len(coords) or features.shape[1] not in (GAMMA.stop, COLOR.stop):
        raise MeshError("bad_features", f"features must be [{len(coords)}, 53 or 101], not {list(features.shape)}")


def _activated(means: torch.Tensor, res: int) -> torch.Tensor:
    """Raw deformations and colour channels [M, 3 or 9] to offsets from the lattice, at most half a cube, and 0..1."""
    offset = torch.tanh(means[:, :3]) * ((1 - 1e-8) / (2 * res))
    return torch.cat([offset, torch.sigmoid(means[:, 3:])], dim=1)


def _distinct(numbers: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The distinct ones [K] of numbers [...] below ``count``, ascending, and the index of each number among them."""
    present = torch.zeros(count, dtype=torch.bool, device=numbers.device).index_fill_(0, numbers.flatten(), True)
    distinct = torch.nonzero(present)[:, 0]
    index = torch.empty(count, dtype=torch.int32, device=numbers.device)
    index.index_copy_(0, distinct, torch.arange(len(distinct), dtype=torch.int32, device=numbers.device))
    return distinct, index.index_select(0, numbers.flatten()).view(numbers.shape).long()


def _at_corners(
    features: torch.Tensor, distances: torch.Tensor, box: Box, corners: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Distances [K], positions and colour channels [K, 3 or 9] at corners of the box; those of no active cube too."""
    around = box.rows_around(corners)
    means = means_around(around, distances[..., None], by_corner(features, DEFORM), by_corner(features, COLOR))
    distance = means[:, 0].where((around >= 0).any(0), 1.0)
    values = _activated(means[:, 1:], box.res)
    at = box.points(corners) / box.res - 0.5
    return distance, torch.cat([values[:, :3] + at, values[:, 3:]], dim=1)


def _cut_cubes(box: Box, inside: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The S cubes with corners on both sides, in row-major order: their places and cases [S].

    An inactive cube is cut if it shares a corner that is inside with an active one.
    """
    # A cube is between two corners along x, y and z: each axis doubles the corners that a number stands for.
    bits = inside.view(box.size)[1:, 1:, 1:].view(torch.uint8)
    bits = torch.add(bits[:-1], bits[1:], alpha=2)
    bits = torch.add(bits[:, :-1], bits[:, 1:], alpha=4)
    bits = torch.add(bits[:, :, :-1], bits[:, :, 1:], alpha=16)
    cases = F.pad(bits, (1, 1, 1, 1, 1, 1)).view(-1)  # nothing is cut on the rim: the surface stays open there
    places = torch.nonzero((cases > 0) & (cases < 255))[:, 0]
    return places, _untwist(cases, places, box)


def _untwist(cases: torch.Tensor, places: torch.Tensor, box: Box) -> torch.Tensor:
    """The cases [S] of the cubes at ``places``, from those of all places [P], with some inside and outside swapped.

    That is done where two cubes would meet twice at one ambiguous face. If a single patch of a cube (cases C16 and C19
    in Nielson's list) has both curves of an ambiguous face, and so has a patch of the neighbour there, four quads would
    share the edge between the two vertices. The opposite cases split both patches in two.
    """
    twist = tables_on(cases.device).cases.twist
    case = cases.index_select(0, places).long()
    other = cases.index_select(0, places + number(twist[case], box.size)).long()
    meets = twist[case].any(1) & twist[other].any(1)
    return torch.where(meets, 255 - case, case)


def _find_cuts(cases: torch.Tensor, box: Box, usable: torch.Tensor | None) -> _Cuts:
    """The cut edges of cubes with these cases [S]; vertices are those of cubes with one patch first, then with two.

    Raises MeshError for a cube that was given twice, or if the features are not ``usable``: the device is asked once.
    """
    tables = tables_on(cases.device).cases
    cuts, patches = tables.cuts[cases], tables.patches[cases]
    cut_count, vertex_count = _sizes(cuts, patches, box, usable)

    patches_in_order, order = torch.sort(patches, stable=True)
    first_vertex = torch.empty_like(patches)
    first_vertex[order] = patches_in_order.cumsum(0) - patches_in_order
    cubes = torch.arange(len(cases), device=cases.device)
    cube = cubes.repeat_interleave(cuts, output_size=cut_count)
    number_in_cube = torch.arange(cut_count, device=cases.device) - (cuts.cumsum(0) - cuts)[cube]
    case = cases[cube]
    edge = tables.cut[case, number_in_cube]
    return _Cuts(
        cube=cube,
        edge=edge,
        rank=tables.rank[case, edge],
        vertex=first_vertex[cube] + tables.patch[case, edge],
        cube_of_vertex=order.repeat_interleave(patches_in_order, output_size=vertex_count),
    )


def _sizes(cuts: torch.Tensor, patches: torch.Tensor, box: Box, usable: torch.Tensor | None) -> tuple[int, int]:
    """The sums of the cubes' cuts and patches [S]. Raises MeshError as ``_find_cuts`` does."""
    if usable is None:
        return 0, 0
    cut_count, vertex_count, distinct, finite = torch.stack(
        [cuts.sum(), patches.sum(), box.distinct().long(), usable.long()]
    ).tolist()
    if not distinct:
        raise MeshError("bad_features", "a voxel is given more than once")
    if not finite:
        raise MeshError("bad_features", "the decoder's features are not finite (NaN or infinity)")
    return cut_count, vertex_count


def _weights(features: torch.Tensor, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """alpha [S, 8], beta [S, 12] and gamma [S] of the cubes with these rows [S]: raw weights are 0 where it is -1."""
    raw = features[:, BETA.start : GAMMA.stop].index_select(0, rows.clamp(min=0))
    raw = raw.where((rows >= 0)[:, None], 0.0)
    beta, alpha, gamma = raw.split([12, 8, 1], dim=1)
    gamma = torch.sigmoid(gamma[:, 0]) * WEIGHT_SCALE + (1 - WEIGHT_SCALE) / 2
    return torch.tanh(alpha) * WEIGHT_SCALE + 1, torch.tanh(beta) * WEIGHT_SCALE + 1, gamma


def _crossings(values: torch.Tensor, distance: torch.Tensor) -> torch.Tensor:
    """Values [E, 2, C] at the ends of edges, interpolated to where the distance [E, 2] is zero: [E, C]."""
    share = distance[:, 0] / (distance[:, 0] - distance[:, 1])
    return torch.lerp(values[:, 0], values[:, 1], share[:, None])


def _weighted_means(values: torch.Tensor, weights: torch.Tensor, cuts: _Cuts) -> torch.Tensor:
    """The weighted means [V, C] of the crossings' values [E, C] at each vertex."""
    weighted = torch.cat([values, torch.ones_like(weights)[:, None]], dim=1) * weights[:, None]
    # A place for each cut of each vertex: then additions have the same order on any device.
    count = len(cuts.cube_of_vertex)
    spread = weighted.new_zeros(MOST_CUTS * count, weighted.shape[1])
    spread = spread.index_copy(0, cuts.rank * count + cuts.vertex, weighted)
    sums = spread.view(MOST_CUTS, count, weighted.shape[1]).sum(0)
    return sums[:, :-1] / sums[:, -1:]


def _deviation(surface: _Surface) -> torch.Tensor:
    """[E] the distance of each crossing, without alpha, from its vertex, compared with the mean at that vertex."""
    vertices, vertex = surface.vertices, surface.cuts.vertex
    crossings = _crossings(surface.ends, surface.distances)
    distance = torch.linalg.vector_norm(crossings - vertices[vertex], dim=-1)
    mean = _weighted_means(distance[:, None], torch.ones_like(distance), surface.cuts)[:, 0]
    return (distance - mean[vertex]).abs()


def _centres(values: torch.Tensor, gamma: torch.Tensor, quads: torch.Tensor) -> torch.Tensor:
    """The centres [Q, C] of quads, between the midpoints of their diagonals, weighted by the products of gamma [V]."""
    corner, g = values[quads], gamma[quads]
    weight_02, weight_13 = (g[:, 0] * g[:, 2])[:, None], (g[:, 1] * g[:, 3])[:, None]
    midpoint_02, midpoint_13 = (corner[:, 0] + corner[:, 2]) / 2, (corner[:, 1] + corner[:, 3]) / 2
    return (midpoint_02 * weight_02 + midpoint_13 * weight_13) / (weight_02 + weight_13 + 1e-8)


def _quads(ends: torch.Tensor, vertex: torch.Tensor, starts_inside: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """One quad for each cut lattice edge with all four cubes around it, with normals to the outer side.

    Returns the vertices [Q, 4] of the quads and one of the cuts [Q] of each; those of edges that start outside first.
    """
    start, end = ends.unbind(1)
    key = start * 3 + (end > start) + (end > start + 1)  # by start, then by end: edges run down y, up z or up x
    key, order = torch.sort(key, stable=True)
    first = torch.nonzero(key[: max(len(key) - 3, 0)] == key[3:])[:, 0]
    first = first[torch.argsort(starts_inside[order[first]].int(), stable=True)]
    around = order[first[:, None] + torch.arange(4, device=first.device)]  # in the order of the cubes: -- -+ +- ++
    cut = around[:, 0]
    return _turned(vertex[around], starts_inside[cut]), cut


def _turned(quads: torch.Tensor, starts_inside: torch.Tensor) -> torch.Tensor:
    """The corners [Q, 4] of the four cubes around an edge, in the order in which a quad is seen from outside."""
    a, b, c, d = quads.unbind(1)
    flip = starts_inside
    turned = torch.where(flip, c, a), torch.where(flip, d, b), torch.where(flip, b, d), torch.where(flip, a, c)
    return torch.stack(turned, dim=1)


def _split(quads: torch.Tensor, gamma: torch.Tensor) -> torch.Tensor:
    """Quads [Q, 4] to triangles [2 Q, 3], split along the diagonal whose ends have the larger product of gamma [V]."""
    (g0, g1, g2, g3), (a, b, c, d) = gamma[quads].unbind(1), quads.unbind(1)
    along_02 = g0 * g2 > g1 * g3
    fifth, last = torch.where(along_02, c, b), torch.where(along_02, d, c)
    third, fourth = torch.where(along_02, c, d), torch.where(along_02, a, d)
    return torch.stack([a, b, third, fourth, fifth, last], dim=1).view(-1, 3)
