"""Make each edge of a closed surface have two faces: cancel faces back to back, and part bodies that touch in an edge.

Collapsing edges leaves both. Printers, physics and boolean operations take such a mesh for open.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..base.compiled import compiled
from ..base.topology import by_edges, connected

DRAWN = 0.02  # how far a new vertex on an edge is drawn in, as a share of the way to the corners beside it


def manifold(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same surface, with at most two faces at each edge where their orientations allow it.

    Args:
        vertices: [V, 3].
        faces: [F, 3] int64, each with three different vertices, anticlockwise from outside.

    Returns:
        Vertices [V', 3], of which some lie on others now or beside the middle of an edge, and faces [F', 3] int64. No
        pair of faces back to back is left. An edge along which not as many faces run one way as the other stays as it
        is.
    """
    faces = np.ascontiguousarray(faces, np.int64)
    if _is_simple(faces, *by_edges(faces, len(vertices))):
        return used(vertices, faces)
    faces = _without_pairs(faces)
    groups = _groups(faces)
    if groups.crowded:
        joined = [groups.simple]
        for group in groups.crowded:
            pairs = _pairs(vertices, faces, group)
            joined.append(pairs if pairs is not None else np.stack(np.broadcast_arrays(group[0], group[1:]), axis=1))
        corner = _corners(faces, np.concatenate(joined))
        new = np.empty(int(corner.max(initial=-1)) + 1, np.int64)
        new[corner] = faces.ravel()
        vertices, faces = vertices[new], corner.reshape(-1, 3)
    return used(*_divided(vertices, faces))


@compiled
def _is_simple(faces: np.ndarray, order: np.ndarray, low: np.ndarray, high: np.ndarray) -> bool:
    """Whether no edge has more than two faces, and no two neighbours have the same vertices."""
    for i in range(1, len(order)):
        half, before = order[i], order[i - 1]
        if low[half] != low[before] or high[half] != high[before]:
            continue
        if i > 1 and low[half] == low[order[i - 2]] and high[half] == high[order[i - 2]]:
            return False
        if faces[half // 3, (half + 2) % 3] == faces[before // 3, (before + 2) % 3]:
            return False
    return True


@dataclass(frozen=True)
class _Groups:
    """Half-edges by their edges: pairs [P, 2], and those [N] of each edge with more than two."""

    simple: np.ndarray
    crowded: list[np.ndarray]


def _groups(faces: np.ndarray) -> _Groups:
    order, low, high = by_edges(faces, int(faces.max(initial=-1)) + 1)
    edges = np.stack([low[order], high[order]], axis=1)
    first = np.flatnonzero(np.concatenate([[True], (edges[1:] != edges[:-1]).any(axis=1)])[: len(order)])
    count = np.diff(np.append(first, len(order)))
    simple = first[count == 2]
    crowded = [order[at : at + size] for at, size in zip(first[count > 2], count[count > 2], strict=True)]
    return _Groups(np.stack([order[simple], order[simple + 1]], axis=1), crowded)


def _divided(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """With a vertex in the middle of each edge that still has several pairs of faces, for all of them but one.

    Those pairs are joined around both ends of the edge, so that cutting does not part them.
    """
    while True:
        found = (_pairs(vertices, faces, group) for group in _groups(faces).crowded)
        pairs = next((pairs for pairs in found if pairs is not None), None)
        if pairs is None:
            return vertices, faces
        face, corner = pairs[1] // 3, pairs[1] % 3
        a, b, c = (faces[face, (corner + k) % 3] for k in range(3))
        new = np.full(2, len(vertices))
        middle = _drawn_in(vertices[[a[0], b[0], c[0], c[1]]].astype(np.float64)).astype(vertices.dtype)
        vertices = np.concatenate([vertices, middle[None]])
        halves = np.stack([a, new, c], axis=1), np.stack([new, b, c], axis=1)
        faces = np.concatenate([np.delete(faces, face, axis=0), *halves])


def _drawn_in(corners: np.ndarray) -> np.ndarray:
    """The middle of an edge a b, drawn a little into the body that its faces a b c and b a d are the skin of.

    corners: [4, 3], a, b, c and d. On the edge it would touch the other bodies there, and once rounded in another place
    and size it might lie in them.
    """
    a, b, c, d = corners
    middle = (a + b) / 2
    inward = (c + d) / 2 - middle
    if np.cross(b - a, c - a) @ (d - a) > 0:  # the body is more than half of what is around the edge
        inward = -inward
    return np.asarray(middle + DRAWN * inward)


def _corners(faces: np.ndarray, joined: np.ndarray) -> np.ndarray:
    """[3 F] the new vertex of each corner, when only these half-edges [P, 2] hold faces together."""
    flat = faces.ravel()
    start, end = joined, joined - joined % 3 + (joined + 1) % 3  # the corners of a half-edge
    along = flat[start[:, 0]] == flat[start[:, 1]]  # else they run against each other, as on any closed surface
    one = np.concatenate([start[:, 0], end[:, 0]])
    other = np.where(along, start[:, 1], end[:, 1]), np.where(along, end[:, 1], start[:, 1])
    return np.asarray(connected(one, np.concatenate(other), faces.size))


def _without_pairs(faces: np.ndarray) -> np.ndarray:
    """Without faces on the same three vertices: two that face each other both go, of two that are equal one does."""
    same = np.sort(faces, axis=1)
    _, group, count = np.unique(same, axis=0, return_inverse=True, return_counts=True)
    group = group.ravel()
    if count.max(initial=0) < 2:
        return faces
    turned = np.take_along_axis(faces, np.stack([(faces.argmin(axis=1) + k) % 3 for k in range(3)], axis=1), axis=1)
    sign = np.where(turned[:, 1] < turned[:, 2], 1, -1)
    keep = count[group] == 1
    for number in np.flatnonzero(count > 1):
        members = np.flatnonzero(group == number)
        if balance := sign[members].sum():
            keep[members[sign[members] == np.sign(balance)][0]] = True
    return faces[keep]


def _pairs(vertices: np.ndarray, faces: np.ndarray, group: np.ndarray) -> np.ndarray | None:
    """The half-edges [N] of an edge in pairs [P, 2] that have the inside between them: so bodies that touch are parted.

    None if not as many faces run one way along the edge as the other.
    """
    face, corner = group // 3, group % 3
    edge = faces[face[0], corner[0]], faces[face[0], (corner[0] + 1) % 3]
    forward = faces[face, corner] == edge[0]
    if 2 * forward.sum() != len(group):
        return None
    start, end = vertices[list(edge)].astype(np.float64)
    axis = (end - start) / max(float(np.linalg.norm(end - start)), 1e-30)
    across = vertices[faces[face, (corner + 2) % 3]].astype(np.float64) - start
    right = across[0] - (across[0] @ axis) * axis
    angle = np.arctan2(across @ np.cross(axis, right), across @ right)
    # Turning about the edge, the inside comes after a face that runs backwards and before one that runs forwards.
    ring = list(np.lexsort((forward, angle)))
    pairs = []
    while ring:
        at = next(i for i in range(len(ring)) if not forward[ring[i]] and forward[ring[(i + 1) % len(ring)]])
        pair = ring[at], ring[(at + 1) % len(ring)]
        pairs.append(group[list(pair)])
        ring = [place for place in ring if place not in pair]
    return np.array(pairs)


def used(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Without the vertices of no face."""
    kept = np.zeros(len(vertices), bool)
    kept[faces] = True
    return vertices[kept], (np.cumsum(kept) - 1)[faces]
