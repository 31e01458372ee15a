"""A slow, simple version of what ``flexicubes`` extracts: whole grids, one cube edge or axis at a time.

Tests and the benchmark compare with it. Time and memory grow with res^3: 256^3 with colours takes several gigabytes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .. import RawMesh
from .case_tables import CORNERS, EDGES, CaseTables, case_tables
from .corners import ALPHA, BETA, COLOR, DEFORM, GAMMA, SDF
from .flexicubes import WEIGHT_SCALE

SIGNS = ((0, 0), (0, 1), (1, 1), (1, 0))  # the cubes around a lattice edge: 1 if on the upper side, in cyclic order


def extract_mesh(coords: Tensor, features: Tensor, res: int) -> RawMesh:
    """The surface of ``flexicubes.extract_mesh``, with its faces in another order. Input is not checked."""
    coords, features = coords.long(), features.detach().float()
    sdf, values = _lattice(coords, features, res)
    alpha, beta, gamma = _weights(coords, features, res)
    inside = sdf < 0
    tables = case_tables().to(coords.device)
    cases = sum(_corner(inside, i, res).long() << i for i in range(8))
    cases = _untwist(torch.as_tensor(cases), tables)

    cut = torch.nonzero((cases > 0) & (cases < 255))  # [S, 3], row-major
    case = cases[tuple(cut.T)]
    patch, count = tables.patch[case], tables.patches[case]
    order = torch.argsort(count, stable=True)  # cubes with one patch first, then with two, and so on
    first = torch.empty_like(count)
    first[order] = count[order].cumsum(0) - count[order]
    vertex = torch.where(patch >= 0, first[:, None] + patch, -1)  # [S, 12]: the vertex of each edge of a cube

    sums = values.new_zeros(int(count.sum()), values.shape[-1])
    weights = values.new_zeros(len(sums), 1)
    for e, (a, b) in enumerate(EDGES):
        here = torch.nonzero(vertex[:, e] >= 0)[:, 0]
        cube, of = tuple(cut[here].T), vertex[here, e]
        ends = [tuple((cut[here] + torch.tensor(CORNERS[i], device=cut.device)).T) for i in (a, b)]
        distance = [sdf[end] * alpha[cube][:, i] for end, i in zip(ends, (a, b), strict=True)]
        share = (distance[0] / (distance[0] - distance[1]))[:, None]
        weight = beta[cube][:, e, None]
        sums.index_add_(0, of, torch.lerp(values[ends[0]], values[ends[1]], share) * weight)
        weights.index_add_(0, of, weight)
    vertices = sums / weights

    vertex_at = torch.full((res, res, res, 12), -1, dtype=torch.int32, device=cut.device)
    vertex_at[tuple(cut.T)] = vertex.int()
    faces, outer = zip(*(_faces_across(axis, inside, vertex_at, gamma, res) for axis in range(3)), strict=True)
    attrs = vertices[:, 3:] if features.shape[1] == COLOR.stop else None
    return RawMesh(
        vertices=vertices[:, :3],
        faces=torch.cat(faces),
        colors=None if attrs is None else attrs[:, :3],
        attrs=attrs,
        resolution=res,
        inside_corners=torch.nonzero(inside.flatten())[:, 0],
        face_corners=torch.cat(outer),
    )


def same_mesh(one: RawMesh, other: RawMesh, tolerance: float = 1e-6) -> bool:
    """Whether two meshes have the same set of faces, and vertices and attributes that agree within the tolerance."""
    if (one.attrs is None) != (other.attrs is None):
        return False
    return (
        _close(one.vertices, other.vertices, tolerance)
        and (one.attrs is None or other.attrs is None or _close(one.attrs, other.attrs, tolerance))
        and torch.equal(_sorted_faces(one), _sorted_faces(other))
        and torch.equal(one.inside_corners, other.inside_corners)
    )


def _close(one: Tensor, other: Tensor, tolerance: float) -> bool:
    return one.shape == other.shape and torch.allclose(one, other, rtol=0, atol=tolerance)


def _sorted_faces(mesh: RawMesh) -> Tensor:
    """[F, 4] in ascending order: the faces, each starting at its lowest vertex, with the corner that it looks at."""
    first = mesh.faces.argmin(1, keepdim=True)
    turned = mesh.faces.gather(1, (first + torch.arange(3, device=first.device)) % 3)
    rows = torch.cat([turned, mesh.face_corners[:, None]], dim=1)
    for column in (3, 2, 1, 0):
        rows = rows[torch.argsort(rows[:, column], stable=True)]
    return rows


def _corner(lattice: Tensor, i: int, res: int) -> Tensor:
    """A view [res, res, res, ...] of values at lattice points [res + 1, ...]: each cube's i-th corner."""
    x, y, z = CORNERS[i]
    return lattice[x : x + res, y : y + res, z : z + res]


def _lattice(coords: Tensor, features: Tensor, res: int) -> tuple[Tensor, Tensor]:
    """At all lattice points: distances [res + 1, ...]; positions and colour channels [res + 1, ..., 3 or 9]."""
    columns = [features[:, c].unflatten(1, (8, (c.stop - c.start) // 8)) for c in (SDF, DEFORM)]
    if features.shape[1] == COLOR.stop:
        columns.append(features[:, COLOR].unflatten(1, (8, 6)))
    given = torch.cat(columns, dim=2)
    given[..., 0] -= 1 / res
    means = features.new_zeros(*[res + 1] * 3, given.shape[2])
    counts = features.new_zeros(*[res + 1] * 3, 1)
    for i in range(8):  # each voxel adds to its own i-th corner: no lattice point occurs twice
        cubes = tuple(coords.T)
        _corner(means, i, res)[cubes] += given[:, i]
        _corner(counts, i, res)[cubes] += 1
    means /= counts.clamp(min=1)
    sdf = torch.where(counts[..., 0] > 0, means[..., 0], 1.0)
    axis = torch.arange(res + 1, device=coords.device) / res - 0.5
    points = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1)
    points += torch.tanh(means[..., 1:4]) * ((1 - 1e-8) / (2 * res))
    return sdf, torch.cat([points, torch.sigmoid(means[..., 4:])], dim=-1)


def _weights(coords: Tensor, features: Tensor, res: int) -> tuple[Tensor, Tensor, Tensor]:
    """alpha [res, res, res, 8], beta [..., 12] and gamma [...] of all cubes; raw weights of inactive cubes are zero."""
    raw = features.new_zeros(res, res, res, GAMMA.stop - BETA.start)
    raw[tuple(coords.T)] = features[:, BETA.start : GAMMA.stop]
    beta, alpha, gamma = raw.split([12, ALPHA.stop - ALPHA.start, 1], dim=-1)
    gamma = torch.sigmoid(gamma[..., 0]) * WEIGHT_SCALE + (1 - WEIGHT_SCALE) / 2
    return torch.tanh(alpha) * WEIGHT_SCALE + 1, torch.tanh(beta) * WEIGHT_SCALE + 1, gamma


def _untwist(cases: Tensor, tables: CaseTables) -> Tensor:
    """Swap inside and outside where a twisted cube's ambiguous face is that of another twisted cube."""
    direction = tables.twist[cases]
    twisted = direction.any(-1)
    meets = torch.zeros_like(twisted)
    for axis in range(3):
        lower, upper = ([slice(None)] * axis + [part] for part in (slice(None, -1), slice(1, None)))
        meets[tuple(lower)] |= (direction[(*lower, ..., axis)] > 0) & twisted[tuple(upper)]
        meets[tuple(upper)] |= (direction[(*upper, ..., axis)] < 0) & twisted[tuple(lower)]
    return torch.where(meets, 255 - cases, cases)


def _faces_across(axis: int, inside: Tensor, vertex_at: Tensor, gamma: Tensor, res: int) -> tuple[Tensor, Tensor]:
    """The triangles [F, 3] around the lattice edges along one axis, and the outer end [F] of each one's edge."""
    b, c = (axis + 1) % 3, (axis + 2) % 3
    start = [slice(1, res)] * 3  # lattice edges with a cube on all four sides
    start[axis] = slice(0, res)
    end = list(start)
    end[axis] = slice(1, res + 1)
    crossed = inside[tuple(start)] != inside[tuple(end)]
    origin = torch.nonzero(crossed)
    origin[:, [b, c]] += 1

    quad, weight = [], []
    for upper_b, upper_c in SIGNS:
        cube = origin.clone()
        cube[:, b] += upper_b - 1
        cube[:, c] += upper_c - 1
        at = tuple(cube.T)
        quad.append(vertex_at[at][:, _edge(axis, {b: 1 - upper_b, c: 1 - upper_c})].long())
        weight.append(gamma[at])
    leaves = inside[tuple(origin.T)][:, None]  # the edge's lower end is inside: the surface faces up the axis
    v = torch.stack(quad, dim=1)
    # SIGNS run clockwise as seen from the upper end, since b, c and the axis are right-handed.
    v = torch.where(leaves, v.flip(1), v)
    main, other = weight[0] * weight[2], weight[1] * weight[3]
    # A tie goes to the diagonal that follows from the published extractor's order of the four cubes.
    ties_to_main = leaves[:, 0] != (axis == 1)
    along_main = ((main > other) | ((main == other) & ties_to_main))[:, None]
    # The main diagonal joins corners 0 and 2, or 3 and 1 in a quad that was flipped.
    along_02 = along_main != leaves
    faces = torch.where(along_02, v[:, [0, 1, 2, 0, 2, 3]], v[:, [0, 1, 3, 3, 1, 2]]).view(-1, 3)
    outer = origin.clone()
    outer[:, axis] += leaves[:, 0]
    numbers = (outer[:, 0] * (res + 1) + outer[:, 1]) * (res + 1) + outer[:, 2]
    return faces, numbers.repeat_interleave(2)


def _edge(axis: int, at: dict[int, int]) -> int:
    """The edge of a cube along an axis, at these offsets on the other two axes."""
    return next(
        e
        for e, (i, j) in enumerate(EDGES)
        if CORNERS[i][axis] != CORNERS[j][axis] and all(CORNERS[i][other] == side for other, side in at.items())
    )
