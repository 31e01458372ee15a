"""FlexiCubes (Shen et al. 2023, "Flexible Isosurface Extraction for Gradient-Based Mesh Optimization"), sparse.

Dual marching cubes (Nielson 2004): inside a cube the surface falls into patches, each patch gets one vertex, and every
lattice edge whose ends differ in sign gets one quad between the vertices of the four cubes around it. FlexiCubes adds
learned weights: ``alpha`` (one a corner) moves the crossings along a cube's edges, ``beta`` (one an edge) weighs the
crossings in the vertex, and ``gamma`` (one a cube) chooses the diagonal that splits a quad.

A cube's corner i lies at the offset (i & 1, i >> 1 & 1, i >> 2 & 1); its case is the sum of 2^i over corners inside.
Corners of the lattice are numbered (x (res + 1) + y) (res + 1) + z, cubes (x res + y) res + z.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch

from . import MeshError, RawMesh

CORNERS = tuple((i & 1, i >> 1 & 1, i >> 2 & 1) for i in range(8))
# In the order of the decoder's beta weights; an edge starts at its first corner.
EDGES = ((0, 1), (1, 5), (4, 5), (0, 4), (2, 3), (3, 7), (6, 7), (2, 6), (2, 0), (3, 1), (7, 5), (6, 4))
# The columns of a feature row: 8 distances, 8 deformations, the weights, 8 x (3 colour + 3 normal channels).
SDF, DEFORM, BETA, ALPHA, GAMMA, COLOR = (slice(*s) for s in ((0, 8), (8, 32), (32, 44), (44, 52), (52, 53), (53, 101)))
WEIGHT_SCALE = 0.99  # alpha and beta stay within 1 +- this, gamma within 0.5 +- half of it


def extract_mesh(coords: torch.Tensor, features: torch.Tensor, res: int) -> RawMesh:
    """Extract the zero level of the distances predicted at the corners of the active voxels.

    Only cubes that the surface cuts are touched. Corners that no active voxel has count as outside (distance +1), so
    the surface closes itself through inactive neighbours; it stays open at the border of the grid.

    Args:
        coords: [N, 3] integers in 0..res-1, each voxel once, in any order.
        features: [N, 101] or, without colours, [N, 53]: raw decoder output, before the activations.
        res: cubes along a side of the grid.

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
        inside_corners=surface.corners.numbers[surface.corners.sdf[:-1] < 0],
        face_corners=surface.outer.repeat_interleave(2),
    )


@dataclass(frozen=True)
class TrainingMesh:
    """The surface as a mesh decoder is trained with it: every tensor but ``faces`` has a gradient.

    A quad is four triangles around a centre of its own, whose place depends on ``gamma``; the choice between two
    diagonals would give ``gamma`` no gradient.
    """

    vertices: torch.Tensor  # [V + Q, 3]: those of ``extract_mesh``, then the quads' centres
    faces: torch.Tensor  # [4 Q, 3] int64
    attrs: torch.Tensor | None  # [V + Q, 6] in 0..1
    reg_loss: torch.Tensor  # []: see ``extract_training_mesh``
    corner_points: torch.Tensor  # [M, 3]: the corners of active voxels, deformed ("tsdf_v")
    corner_sdf: torch.Tensor  # [M]: the distances predicted there ("tsdf_s")


def extract_training_mesh(coords: torch.Tensor, features: torch.Tensor, res: int) -> TrainingMesh:
    """The same surface as ``extract_mesh``, differentiable, with the loss that regularises the features.

    ``reg_loss`` is the mean square of how far the voxels at a corner differ from their mean there, plus 0.5 times the
    mean deviation of the distances between a vertex and its crossings (Shen et al. 2023, equation 8), plus 0.2 times
    the mean magnitude of the raw ``beta`` and ``alpha``. The second part is missing where there is no surface.

    Raises:
        MeshError: ``bad_features``.
    """
    surface = _surface(coords, features, res)
    corners, quads = surface.corners, surface.quads
    weights = features[:, BETA.start : ALPHA.stop].float()
    reg_loss = (corners.given - corners.means[corners.rows]).square().mean() + 0.2 * weights.abs().mean()
    if len(quads):
        reg_loss = reg_loss + 0.5 * _deviation(surface).mean()
    values = surface.vertices if surface.attrs is None else torch.cat([surface.vertices, surface.attrs], dim=1)
    values = torch.cat([values, _centres(values, surface.gamma, quads)])
    centre = torch.arange(len(surface.vertices), len(values), device=quads.device)
    sides = torch.stack([quads, quads.roll(-1, dims=1)], dim=-1)  # [Q, 4, 2]
    return TrainingMesh(
        vertices=values[:, :3],
        faces=torch.cat([sides, centre[:, None, None].expand(-1, 4, 1)], dim=-1).view(-1, 3),
        attrs=None if surface.attrs is None else values[:, 3:],
        reg_loss=reg_loss,
        corner_points=corners.points(res) / res - 0.5 + corners.offset[:-1],
        corner_sdf=corners.sdf[:-1],
    )


@dataclass(frozen=True)
class _Surface:
    """V vertices, each with its ``gamma``, and Q quads between them."""

    corners: Corners
    vertices: torch.Tensor  # [V, 3]
    attrs: torch.Tensor | None  # [V, 6]
    gamma: torch.Tensor  # [V]
    quads: torch.Tensor  # [Q, 4] int64
    outer: torch.Tensor  # [Q] int64: the outer end of the lattice edge that a quad is around
    # Of the E cuts of cubes' edges:
    ends: torch.Tensor  # [E, 2, 3]: where the edge runs
    distances: torch.Tensor  # [E, 2]: the distances at its ends, without alpha
    edge: torch.Tensor  # [E] int64: which of the cube's edges it is
    vertex: torch.Tensor  # [E] int64: which vertex it belongs to


def _surface(coords: torch.Tensor, features: torch.Tensor, res: int) -> _Surface:
    _check(coords, features, res)
    coords, features = coords.long(), features.float()
    corners = merge_corners(coords, features, res)
    cubes, rows = _cut_cubes(corners, res)
    alpha, beta, gamma = _weights(coords, features, cubes, res)

    tables = _tables().to(coords.device)
    inside = corners.sdf < 0
    cases = (inside[rows].long() << torch.arange(8, device=rows.device)).sum(1)
    cases = _untwist(cases, cubes, res, tables)
    cube, edge = torch.nonzero(tables.patch[cases] >= 0, as_tuple=True)  # the E cuts, cube by cube
    vertex, vertex_cube = _number_vertices(cases, cube, edge, tables)
    edge_corners = torch.tensor(EDGES, device=edge.device)[edge]  # [E, 2]
    lattice = cubes[cube][:, None] + torch.tensor(CORNERS, device=edge.device)[edge_corners]  # [E, 2, 3]
    row = rows[cube[:, None], edge_corners]

    positions = lattice / res - 0.5 + corners.offset[row]
    values = torch.cat([positions, corners.color[row]], dim=-1)
    crossings = _crossings(values, corners.sdf[row] * alpha[cube[:, None], edge_corners])
    placed = _weighted_means(crossings, beta[cube, edge], edge, vertex, len(vertex_cube))

    numbers = _number(lattice, res + 1)
    starts_inside = inside[row[:, 0]]
    quads, cut = _quads(numbers, vertex, starts_inside)
    return _Surface(
        corners=corners,
        vertices=placed[:, :3],
        attrs=placed[:, 3:] if features.shape[1] == COLOR.stop else None,
        gamma=gamma[vertex_cube],
        quads=quads,
        outer=torch.where(starts_inside, numbers[:, 1], numbers[:, 0])[cut],
        ends=positions,
        distances=corners.sdf[row],
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
    elif len(torch.unique(_number(coords.long(), res))) < len(coords):
        problem = "a voxel is given more than once"
    elif not torch.isfinite(features).all():
        problem = "the decoder's features are not finite (NaN or infinity)"
    if problem:
        raise MeshError("bad_features", problem)


def _number(points: torch.Tensor, size: int) -> torch.Tensor:
    """[..., 3] -> [...]: row-major position in a grid of size^3."""
    return (points[..., 0] * size + points[..., 1]) * size + points[..., 2]


def _point(numbers: torch.Tensor, size: int) -> torch.Tensor:
    """[...] -> [..., 3]: the inverse of ``_number``."""
    return torch.stack([numbers // size**2, numbers // size % size, numbers % size], dim=-1)


def _find(sorted_numbers: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Where each wanted number stands in a sorted list; the list's length where it does not occur."""
    if not len(sorted_numbers):
        return torch.zeros_like(wanted)
    at = torch.searchsorted(sorted_numbers, wanted).clamp_(max=len(sorted_numbers) - 1)
    return torch.where(sorted_numbers[at] == wanted, at, len(sorted_numbers))


@dataclass(frozen=True)
class Corners:
    """The M corners of active voxels, with means over the voxels that share them. Row M is for all others."""

    numbers: torch.Tensor  # [M] int64, ascending
    rows: torch.Tensor  # [N, 8]: where each voxel's corners stand in ``numbers``
    given: torch.Tensor  # [N, 8, 4 or 10]: what the voxels say: distance, deformation, colour and normal channels, raw
    means: torch.Tensor  # [M, 4 or 10]: the same, merged
    sdf: torch.Tensor  # [M + 1]
    offset: torch.Tensor  # [M + 1, 3] from the lattice point, at most half a cube
    color: torch.Tensor  # [M + 1, 6] in 0..1, or [M + 1, 0]

    def points(self, res: int) -> torch.Tensor:
        """[M, 3] int64: the corners' places in the lattice."""
        return _point(self.numbers, res + 1)


def merge_corners(coords: torch.Tensor, features: torch.Tensor, res: int) -> Corners:
    """Give each corner of voxels [N, 3] the mean of what the features [N, 53 or 101] say of it."""
    points = coords[:, None] + torch.tensor(CORNERS, device=coords.device)
    numbers, rows = torch.unique(_number(points, res + 1), return_inverse=True)
    sdf = features[:, SDF] - 1 / res
    color = features[:, COLOR].unflatten(1, (8, (features.shape[1] - COLOR.start) // 8))
    given = torch.cat([sdf[..., None], features[:, DEFORM].unflatten(1, (8, 3)), color], dim=-1)
    counted = torch.cat([given, torch.ones_like(sdf)[..., None]], dim=-1)
    sums = features.new_zeros(len(numbers), counted.shape[-1])
    for i in range(8):  # a corner is the i-th of at most one voxel: the additions have the same order on any device
        sums.index_add_(0, rows[:, i], counted[:, i])
    means = sums[:, :-1] / sums[:, -1:]
    outside = means.new_zeros(1, means.shape[1])
    outside[0, 0] = 1.0
    with_outside = torch.cat([means, outside])
    return Corners(
        numbers=numbers,
        rows=rows,
        given=given,
        means=means,
        sdf=with_outside[:, 0],
        offset=torch.tanh(with_outside[:, 1:4]) * ((1 - 1e-8) / (2 * res)),
        color=torch.sigmoid(with_outside[:, 4:]),
    )


def _cut_cubes(corners: Corners, res: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The S cubes with corners on both sides: [S, 3] in row-major order, and [S, 8] the rows of their corners."""
    offsets = torch.tensor(CORNERS, device=corners.numbers.device)
    inside = corners.numbers[corners.sdf[:-1] < 0]
    side = res + 1
    around = (_point(inside, side)[:, None] - offsets).view(-1, 3)  # a cube that is cut has a corner inside
    around = around[((around >= 0) & (around < res)).all(1)]
    numbers = torch.unique(_number(around, res))
    cubes = _point(numbers, res)
    rows = _find(corners.numbers, _number(cubes[:, None] + offsets, side))
    cut = (corners.sdf[rows] >= 0).any(1)
    return cubes[cut], rows[cut]


def _weights(
    coords: torch.Tensor, features: torch.Tensor, cubes: torch.Tensor, res: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """alpha [S, 8], beta [S, 12] and gamma [S] of the cut cubes. Inactive cubes have raw weights of zero."""
    numbers, order = torch.sort(_number(coords, res))
    at = _find(numbers, _number(cubes, res))
    active = at < len(numbers)
    raw = features.new_zeros(len(cubes), features.shape[1])
    raw[active] = features[order[at[active]]]
    alpha, beta = (torch.tanh(raw[:, columns]) * WEIGHT_SCALE + 1 for columns in (ALPHA, BETA))
    gamma = torch.sigmoid(raw[:, GAMMA.start]) * WEIGHT_SCALE + (1 - WEIGHT_SCALE) / 2
    return alpha, beta, gamma


@dataclass(frozen=True)
class _CaseTables:
    patch: torch.Tensor  # [256, 12] int64: which of the cube's patches an edge's crossing is in, -1 if it is not cut
    patches: torch.Tensor  # [256] int64: how many patches, 0 to 4
    twist: torch.Tensor  # [256, 3] int64: direction of the face that one patch meets twice, 0 0 0 if there is none

    def to(self, device: torch.device) -> _CaseTables:
        return _CaseTables(self.patch.to(device), self.patches.to(device), self.twist.to(device))


@cache
def _tables() -> _CaseTables:
    patch = torch.full((256, 12), -1, dtype=torch.long)
    patches = torch.zeros(256, dtype=torch.long)
    twist = torch.zeros(256, 3, dtype=torch.long)
    for case in range(256):
        groups = _patches_of(case)
        patches[case] = len(groups)
        for index, group in enumerate(groups):
            patch[case, group] = index
        for axis, side, edges in _faces():
            if (patch[case, edges] >= 0).all() and len(patch[case, edges].unique()) == 1:
                twist[case, axis] = 2 * side - 1
    return _CaseTables(patch, patches, twist)


def _faces() -> list[tuple[int, int, list[int]]]:
    """The six faces of a cube: axis, side (0 or 1) and the four edges in them."""
    return [
        (axis, side, [e for e, (a, b) in enumerate(EDGES) if CORNERS[a][axis] == side == CORNERS[b][axis]])
        for axis in range(3)
        for side in (0, 1)
    ]


def _patches_of(case: int) -> list[list[int]]:
    """Group the cut edges of a cube into patches: edges are together if curves on the cube's faces connect them.

    A face with two cut edges has one curve. A face with four (opposite corners inside) is ambiguous: here each of its
    curves goes around a corner inside, which gives neighbouring cubes the same curves on the face that they share.
    """
    inside = [bool(case >> i & 1) for i in range(8)]
    groups = {e: [e] for e, (a, b) in enumerate(EDGES) if inside[a] != inside[b]}

    def join(first: int, second: int) -> None:
        if groups[first] is not groups[second]:
            groups[first].extend(groups[second])
            for edge in groups[second]:
                groups[edge] = groups[first]

    for _, _, edges in _faces():
        cut = [e for e in edges if e in groups]
        if len(cut) == 2:
            join(*cut)
        elif len(cut) == 4:
            for corner in {c for e in cut for c in EDGES[e] if inside[c]}:
                join(*(e for e in cut if corner in EDGES[e]))

    def place(edge: int) -> tuple[bool, int, int]:
        (_, _, z), (_, _, end_z) = (CORNERS[c] for c in EDGES[edge])
        return (z != end_z, z, edge)

    # Patches are numbered by their first edge, where the edges of the lower face come first, then the upper face's.
    distinct = {id(group): sorted(group) for group in groups.values()}
    return sorted(distinct.values(), key=lambda group: min(map(place, group)))


def _untwist(cases: torch.Tensor, cubes: torch.Tensor, res: int, tables: _CaseTables) -> torch.Tensor:
    """Swap inside and outside in the cases of two cubes that would meet twice at one ambiguous face.

    Where a single patch of a cube (cases C16 and C19 in Nielson's list) has both curves of an ambiguous face, and its
    neighbour there likewise, four quads would share the edge between the two vertices. The opposite cases split both
    patches in two.
    """
    twisted = tables.twist[cases].any(1)
    others = cubes[twisted] + tables.twist[cases[twisted]]
    numbers = _number(cubes[twisted], res)
    met = _find(numbers, _number(others, res)) < len(numbers)
    met &= ((others >= 0) & (others < res)).all(1)
    cases = cases.clone()
    cases[twisted] = torch.where(met, 255 - cases[twisted], cases[twisted])
    return cases


def _number_vertices(
    cases: torch.Tensor, cube: torch.Tensor, edge: torch.Tensor, tables: _CaseTables
) -> tuple[torch.Tensor, torch.Tensor]:
    """Number the patches, those of cubes with one patch first, then with two, and so on.

    Returns [E] the vertex of each cut and [V] the cube of each vertex.
    """
    counts = tables.patches[cases]
    counts_in_order, order = torch.sort(counts, stable=True)
    first = torch.empty_like(counts)
    first[order] = counts_in_order.cumsum(0) - counts_in_order
    return first[cube] + tables.patch[cases[cube], edge], order.repeat_interleave(counts_in_order)


def _crossings(values: torch.Tensor, distance: torch.Tensor) -> torch.Tensor:
    """Values [E, 2, C] at the ends of edges, where the distances [E, 2] are interpolated to zero: [E, C]."""
    share = distance[:, 0] / (distance[:, 0] - distance[:, 1])
    return torch.lerp(values[:, 0], values[:, 1], share[:, None])


def _weighted_means(
    values: torch.Tensor, weights: torch.Tensor, edge: torch.Tensor, vertex: torch.Tensor, count: int
) -> torch.Tensor:
    """Mean of the crossings' values [E, C] in each vertex -> [count, C]."""
    weighted = torch.cat([values, torch.ones_like(weights)[:, None]], dim=1) * weights[:, None]
    sums = weighted.new_zeros(count, weighted.shape[1])
    for e in range(len(EDGES)):  # a vertex has each edge at most once: the additions have the same order on any device
        chosen = edge == e
        sums.index_add_(0, vertex[chosen], weighted[chosen])
    return sums[:, :-1] / sums[:, -1:]


def _deviation(surface: _Surface) -> torch.Tensor:
    """How far the distance of each crossing, without alpha, to its vertex is from the vertex's mean: [E]."""
    vertices, vertex = surface.vertices, surface.vertex
    crossings = _crossings(surface.ends, surface.distances)
    distance = torch.linalg.vector_norm(crossings - vertices[vertex], dim=-1)
    mean = _weighted_means(distance[:, None], torch.ones_like(distance), surface.edge, vertex, len(vertices))[:, 0]
    return (distance - mean[vertex]).abs()


def _centres(values: torch.Tensor, gamma: torch.Tensor, quads: torch.Tensor) -> torch.Tensor:
    """The centres [Q, C] of quads, between the midpoints of their diagonals, weighed by the products of gamma [V]."""
    corner, g = values[quads], gamma[quads]
    weight_02, weight_13 = (g[:, 0] * g[:, 2])[:, None], (g[:, 1] * g[:, 3])[:, None]
    midpoint_02, midpoint_13 = (corner[:, 0] + corner[:, 2]) / 2, (corner[:, 1] + corner[:, 3]) / 2
    return (midpoint_02 * weight_02 + midpoint_13 * weight_13) / (weight_02 + weight_13 + 1e-8)


def _quads(
    numbers: torch.Tensor, vertex: torch.Tensor, starts_inside: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """One quad for each lattice edge with all four cubes around it, normals to the outer side.

    Returns [Q, 4] vertices and [Q] one of the quad's cuts.
    """
    start, end = numbers.unbind(1)
    key = start * 3 + (end > start) + (end > start + 1)  # by start, then by end: an edge runs down y, up z or up x
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
    """Two triangles a quad [Q, 4] -> [2Q, 3], along the diagonal whose ends have the greater product of gamma [V]."""
    g = gamma[quads]
    along_02 = (g[:, 0] * g[:, 2] > g[:, 1] * g[:, 3])[:, None]
    return torch.where(along_02, quads[:, [0, 1, 2, 0, 2, 3]], quads[:, [0, 1, 3, 3, 1, 2]]).view(-1, 3)
