"""What triangles are joined to: half-edges, twins, components.

Half-edge 3 f + k runs from corner k of face f to its next corner.
"""

from __future__ import annotations

import numpy as np

from .compiled import compiled


@compiled
def sorted_by(order: np.ndarray, keys: np.ndarray, count: int) -> np.ndarray:
    """An order [N] of things sorted by their keys, whole numbers from 0 to count - 1; equal ones stay in order."""
    places = np.zeros(count + 1, np.int64)
    for thing in order:
        places[keys[thing] + 1] += 1
    for key in range(count):
        places[key + 1] += places[key]
    result = np.empty_like(order)
    for thing in order:
        result[places[keys[thing]]] = thing
        places[keys[thing]] += 1
    return result


@compiled
def by_edges(faces: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Half-edges sorted by the lower of their vertices, then by the higher, then by number.

    Args:
        faces: [F, 3] int64.
        count: of vertices.

    Returns:
        [3 F] the half-edges in that order, and by their numbers [3 F] the lower vertices and the higher ones.
    """
    low, high = np.empty(faces.size, np.int64), np.empty(faces.size, np.int64)
    for face in range(len(faces)):
        for k in range(3):
            start, end = faces[face, k], faces[face, (k + 1) % 3]
            low[3 * face + k], high[3 * face + k] = min(start, end), max(start, end)
    return sorted_by(sorted_by(np.arange(faces.size), high, count), low, count), low, high


@compiled
def connected(one: np.ndarray, other: np.ndarray, count: int) -> np.ndarray:
    """[count] numbers of the components that links [L] between things join, in the order of their first things."""
    root = np.arange(count)
    for link in range(len(one)):
        a, b = one[link], other[link]
        while root[a] != a:
            root[a] = root[root[a]]
            a = root[a]
        while root[b] != b:
            root[b] = root[root[b]]
            b = root[b]
        root[max(a, b)] = min(a, b)
    components = 0
    for thing in range(count):
        if root[thing] == thing:
            root[thing] = components
            components += 1
        else:  # what it hangs from came earlier and has its number
            root[thing] = root[root[thing]]
    return root


def twins(faces: np.ndarray) -> np.ndarray:
    """[3 F] int64: for each half-edge the one of another face along the same edge; -1 at an open border.

    Where more than two faces meet at an edge, they are paired two by two, in their order.
    """
    faces = np.ascontiguousarray(faces, dtype=np.int64)
    return np.asarray(_twins(faces, int(faces.max(initial=-1)) + 1))


@compiled
def _twins(faces: np.ndarray, count: int) -> np.ndarray:
    order, low, high = by_edges(faces, count)
    twin = np.full(len(order), -1)
    for place in range(1, len(order)):
        half, before = order[place], order[place - 1]
        if low[half] == low[before] and high[half] == high[before] and twin[before] < 0:
            twin[half], twin[before] = before, half
    return twin


def fans(twin: np.ndarray) -> np.ndarray:
    """[3 F] numbers of the corners of faces: equal where faces beside each other share the vertex.

    twin: [3 F] int64, for each half-edge the one that runs the other way; -1 if there is none.
    """
    half = np.flatnonzero(twin > np.arange(len(twin)))
    other = twin[half]
    after, other_after = (h // 3 * 3 + (h + 1) % 3 for h in (half, other))
    return np.asarray(connected(np.concatenate([half, after]), np.concatenate([other_after, other]), len(twin)))


def renumbered(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The whole numbers, from 0, that occur in an array, ascending; and the array with their places instead."""
    occurs = np.zeros(int(numbers.max(initial=-1)) + 1, dtype=bool)
    occurs[numbers] = True
    return np.flatnonzero(occurs), (np.cumsum(occurs) - 1)[numbers]


def components(faces: np.ndarray, vertices: int) -> np.ndarray:
    """[F] number of each face's component; faces that share a vertex belong together."""
    links = (np.ascontiguousarray(ends, dtype=np.int64).reshape(-1) for ends in (faces[:, :2], faces[:, 1:]))
    return np.asarray(connected(*links, vertices)[faces[:, 0]])


def open_edges(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Start and end [E] of the half-edges without a twin that runs the other way.

    Around a vertex without open edges, those that follow it in its faces are those that precede it: random numbers of
    theirs have the same sum. Only the faces where some sum differs are looked at edge by edge.
    """
    count = int(faces.max(initial=-1)) + 1
    start, end = _uneven(np.ascontiguousarray(faces, dtype=np.int64), count)
    alone = ~np.isin(start * count + end, end * count + start)
    return start[alone], end[alone]


@compiled
def _uneven(faces: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Start and end of the half-edges between vertices whose sums differ: see ``open_edges``."""
    random, balance = np.empty(count, np.int64), np.zeros(count, np.int64)
    for vertex in range(count):
        mixed = vertex * 0x1E3779B97F4A7C15  # of 64 bits, as all sums here
        random[vertex] = (mixed ^ mixed >> 29) * 0x3F58476D1CE4E5B9
    for face in range(len(faces)):
        for k in range(3):
            balance[faces[face, k]] += random[faces[face, (k + 1) % 3]] - random[faces[face, (k + 2) % 3]]
    start, end, found = np.empty(faces.size, np.int64), np.empty(faces.size, np.int64), 0
    for face in range(len(faces)):
        for k in range(3):
            one, other = faces[face, k], faces[face, (k + 1) % 3]
            if balance[one] != 0 and balance[other] != 0:
                start[found], end[found] = one, other
                found += 1
    return start[:found], end[:found]


def oriented(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Turn faces so that neighbours agree, wherever that is possible.

    Every face stands for two, as it is and turned; neighbours that agree join their likes, others crosswise. A patch
    that can be oriented then falls into two components, and one of them is the answer.

    Returns:
        [F, 3] the faces, some turned over, and [F] the number of each one's patch, joined by edges.
    """
    twin = twins(faces)
    half = np.flatnonzero(twin > np.arange(len(twin)))
    other = twin[half]
    start = faces.reshape(-1)
    crosswise = start[half] == start[other]
    count = len(faces)
    one, two = half // 3, other // 3
    across = np.where(crosswise, count, 0)
    label = connected(
        np.concatenate([one, one + count]), np.concatenate([two + across, two + count - across]), 2 * count
    )
    turned = label[count:] < label[:count]
    return np.where(turned[:, None], faces[:, ::-1], faces), np.minimum(label[:count], label[count:])
