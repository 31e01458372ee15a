"""How a surface passes through a cube, for each of the 256 ways in which its corners can be inside or outside.

A cube's corner i has the offset (i & 1, i >> 1 & 1, i >> 2 & 1); its case is the sum of 2^i over the corners inside.
The surface consists of patches (Nielson 2004, "Dual Marching Cubes"), which follow from the curves in which it meets
the faces of the cube.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cache

import torch

CORNERS = tuple((i & 1, i >> 1 & 1, i >> 2 & 1) for i in range(8))
# In the order of the decoder's beta weights; an edge starts at its first corner.
EDGES = ((0, 1), (1, 5), (4, 5), (0, 4), (2, 3), (3, 7), (6, 7), (2, 6), (2, 0), (3, 1), (7, 5), (6, 4))

MOST_CUTS = 7  # of the edges of a cube that one patch has


@dataclass(frozen=True)
class CaseTables:
    """What follows from the case of a cube alone."""

    patch: torch.Tensor  # [256, 12] int64: the patch that an edge's crossing belongs to, -1 if the edge is not cut
    patches: torch.Tensor  # [256] int64: the number of patches, 0 to 4
    twist: torch.Tensor  # [256, 3] int64: direction of the face that one patch meets twice, 0 0 0 if there is none
    cuts: torch.Tensor  # [256] int64: the number of edges that are cut
    cut: torch.Tensor  # [256, 12] int64: the edges that are cut, ascending, then the others
    rank: torch.Tensor  # [256, 12] int64: how many lower edges have the same patch

    def to(self, device: torch.device) -> CaseTables:
        """The same tables on ``device``."""
        return CaseTables(**{one.name: getattr(self, one.name).to(device) for one in fields(self)})


@dataclass(frozen=True)
class Tables:
    """The tables and constants on one device: to send them there each time would make the device wait."""

    cases: CaseTables
    corners: torch.Tensor  # [8, 3] int64: ``CORNERS``
    edges: torch.Tensor  # [12, 2] int64: ``EDGES``
    edge_corners: torch.Tensor  # [12, 2, 3] int64: the corners at the ends of the edges


@cache
def tables_on(device: torch.device) -> Tables:
    """The tables on ``device``, sent there once."""
    with torch.inference_mode(False):  # they outlive the call, and training may use them as well
        corners, edges = torch.tensor(CORNERS), torch.tensor(EDGES)
        on_device = (x.to(device) for x in (corners, edges, corners[edges]))
        return Tables(case_tables().to(device), *on_device)


@cache
def case_tables() -> CaseTables:
    """The tables, on the CPU, computed once."""
    with torch.inference_mode(False):
        return _case_tables()


def _case_tables() -> CaseTables:
    patch = torch.full((256, 12), -1, dtype=torch.long)
    patches = torch.zeros(256, dtype=torch.long)
    twist = torch.zeros(256, 3, dtype=torch.long)
    for case in range(256):
        groups = _patches_of(case)
        patches[case] = len(groups)
        for index, group in enumerate(groups):
            patch[case, group] = index
        for axis, side, edges in cube_faces():
            if (patch[case, edges] >= 0).all() and len(patch[case, edges].unique()) == 1:
                twist[case, axis] = 2 * side - 1
    same = patch[:, :, None] == patch[:, None]  # [256, 12, 12]
    return CaseTables(
        patch=patch,
        patches=patches,
        twist=twist,
        cuts=(patch >= 0).sum(1),
        cut=torch.argsort(patch < 0, dim=1, stable=True),
        rank=same.tril(-1).sum(2),
    )


def cube_faces() -> list[tuple[int, int, list[int]]]:
    """The six faces of a cube: axis, side (0 or 1) and four edges."""
    return [
        (axis, side, [e for e, (a, b) in enumerate(EDGES) if CORNERS[a][axis] == side == CORNERS[b][axis]])
        for axis in range(3)
        for side in (0, 1)
    ]


def _patches_of(case: int) -> list[list[int]]:
    """Group the cut edges of a cube into patches: curves on the faces of the cube connect the edges of a patch.

    A face with two cut edges has one curve. A face with four (opposite corners inside) is ambiguous: here each of its
    curves goes around a corner inside, which gives neighbouring cubes the same curves on their common face.
    """
    inside = [bool(case >> i & 1) for i in range(8)]
    groups = {e: [e] for e, (a, b) in enumerate(EDGES) if inside[a] != inside[b]}

    def join(first: int, second: int) -> None:
        if groups[first] is not groups[second]:
            groups[first].extend(groups[second])
            for edge in groups[second]:
                groups[edge] = groups[first]

    for _, _, edges in cube_faces():
        cut = [e for e in edges if e in groups]
        if len(cut) == 2:
            join(*cut)
        elif len(cut) == 4:
            for corner in {c for e in cut for c in EDGES[e] if inside[c]}:
                join(*(e for e in cut if corner in EDGES[e]))

    def rank(edge: int) -> tuple[bool, int, int]:
        (_, _, z), (_, _, end_z) = (CORNERS[c] for c in EDGES[edge])
        return (z != end_z, z, edge)

    # Patches are numbered by their first edge; the edges of the lower face come first, then those of the upper face.
    distinct = {id(group): sorted(group) for group in groups.values()}
    return sorted(distinct.values(), key=lambda group: min(map(rank, group)))
