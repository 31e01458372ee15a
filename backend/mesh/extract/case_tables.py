"""How a surface passes through a cube, for each of the 256 ways in which its corners can be inside or outside.

A cube's corner i lies at the offset (i & 1, i >> 1 & 1, i >> 2 & 1); its case is the sum of 2^i over corners inside.
The surface falls into patches (Nielson 2004, "Dual Marching Cubes"); which ones follows from the curves in which it
meets the cube's faces.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch

CORNERS = tuple((i & 1, i >> 1 & 1, i >> 2 & 1) for i in range(8))
# In the order of the decoder's beta weights; an edge starts at its first corner.
EDGES = ((0, 1), (1, 5), (4, 5), (0, 4), (2, 3), (3, 7), (6, 7), (2, 6), (2, 0), (3, 1), (7, 5), (6, 4))


@dataclass(frozen=True)
class CaseTables:
    """What follows from a cube's case alone."""

    patch: torch.Tensor  # [256, 12] int64: which of the cube's patches an edge's crossing is in, -1 if it is not cut
    patches: torch.Tensor  # [256] int64: how many patches, 0 to 4
    twist: torch.Tensor  # [256, 3] int64: direction of the face that one patch meets twice, 0 0 0 if there is none

    def to(self, device: torch.device) -> CaseTables:
        """The tables on a device."""
        return CaseTables(self.patch.to(device), self.patches.to(device), self.twist.to(device))


@cache
def case_tables() -> CaseTables:
    """The tables, on the CPU, made once."""
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
    return CaseTables(patch, patches, twist)


def cube_faces() -> list[tuple[int, int, list[int]]]:
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

    for _, _, edges in cube_faces():
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
