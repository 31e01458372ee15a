"""How triangles are connected: half-edges, twins, components.

Half-edge 3 f + k runs from corner k of face f to its next corner.
"""

from __future__ import annotations

import numpy as np

from .compiled import compiled


@compiled
def sorted_by(order: np.ndarray, keys: np.ndarray, count: int) -> np.ndarray:
    """Sort an ``order`` [N] of items by their keys, integers from 0 to count - 1; equal ones keep their order."""
    nexts = np.zeros(count + 1, np.int64)  # where the next item with each key goes
    for item in order:
        nexts[keys[item] + 1] += 1
    for key in range(count):
        nexts[key + 1] += nexts[key]
    result = np.empty_like(order)
    for item in order:
        result[nexts[keys[item]]] = item
        nexts[keys[item]] += 1
    return result


@compiled
def by_edges(faces: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Half-edges sorted by the lower of their vertices, then by the higher, then by number.

    Args:
        faces: [F, 3] int64.
        count: the number of vertices.

    Returns:
        The sorted half-edges [3 F], and the lower [3 F] and the higher vertex [3 F] of each half-edge by its number.
    """
    low, high = np.empty(faces.size, np.int64), np.empty(faces.size, np.int64)
    for face in range(len(faces)):
        for k in range(3):
            start, end = faces[face, k], faces[face, (k + 1) % 3]
            low[3 * face + k], high[3 * face + k] = min(start, end), max(start, end)
    return sorted_by(sorted_by(np.arange(faces.size), high, count), low, count), low, high


@compiled
def join(root: np.ndarray, a: int, b: int) -> None:
    """Make one tree of those of two items. ``root`` [N] leads from each item towards the first of its tree."""
    while root[a] != a:
        root[a] = root[root[a]]
        a = root[a]
    while root[b] != b:
        root[b] = root[root[b]]
        b = root[b]
    root[max(a, b)] = min(a, b)


@compiled
def connected(one: np.ndarray, other: np.ndarray, count: int) -> np.ndarray:
    """[count] the component of each item, as joined by the links [L] from ``one`` to ``other``.

    Components are numbered in the order of their first items.
    """
    root = np.arange(count)
    for link in range(len(one)):
        join(root, one[link], other[link])
    _number_trees(root)
    return root


@compiled
def _number_trees(root: np.ndarray) -> None:
    """Give each item, in place of what is before it in its tree (see ``join``), its tree's number."""
    trees = 0
    for item in range(len(root)):
        if root[item] == item:
            root[item] = trees
            trees += 1
        else:  # its root came earlier and is numbered already
            root[item] = root[root[item]]


def twins(faces: np.ndarray) -> np.ndarray:
    """[3 F] int64: for each half-edge the one of another face along the same edge; -1 at an open border.

    If more than two faces meet at an edge, they are paired two by two, in their order.
    """
    faces = np.ascontiguousarray(faces, dtype=np.int64)
    return np.asarray(_twins(faces, int(faces.max(initial=-1)) + 1))


@compiled
def _twins(faces: np.ndarray, count: int) -> np.ndarray:
    order, low, high = by_edges(faces, count)
    twin = np.full(len(order), -1)
    for i in range(1, len(order)):
        half, before = order[i], order[i - 1]
        if low[half] == low[before] and high[half] == high[before] and twin[before] < 0:
            twin[half], twin[before] = before, half
    return twin


def fans(twin: np.ndarray) -> np.ndarray:
    """[3 F] a number for each corner of a face: equal if adjacent faces share the corner's vertex.

    twin: [3 F] int64, for each half-edge the one in the opposite direction; -1 if there is none.
    """
    half = np.flatnonzero(twin > np.arange(len(twin)))
    other = twin[half]
    after, other_after = (h // 3 * 3 + (h + 1) % 3 for h in (half, other))
    return np.asarray(connected(np.concatenate([half, after]), np.concatenate([other_after, other]), len(twin)))


def renumbered(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The integers, from 0, that occur in an array, ascending; and the array with their indices in that list."""
    occurs = np.zeros(int(numbers.max(initial=-1)) + 1, dtype=bool)
    occurs[numbers] = True
    return np.flatnonzero(occurs), (np.cumsum(occurs) - 1)[numbers]


def components(faces: np.ndarray, vertices: int) -> np.ndarray:
    """[F] the component of each face; faces that share a vertex belong together. vertices: how many there are."""
    return np.asarray(_components(np.ascontiguousarray(faces, dtype=np.int64), vertices))


@compiled
def _components(faces: np.ndarray, count: int) -> np.ndarray:
    root = np.arange(count)
    for face in range(len(faces)):
        join(root, faces[face, 0], faces[face, 1])
        join(root, faces[face, 1], faces[face, 2])
    _number_trees(root)
    of = np.empty(len(faces), np.int64)
    for face in range(len(faces)):
        of[face] = root[faces[face, 0]]
    return of


def open_edges(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Start and end vertex [E] of the half-edges that have no twin in the opposite direction.

    At a vertex without open edges, the vertices that follow it in its faces are the same as those that precede it, so
    random numbers assigned to them have the same sum. Only edges between vertices whose sums differ are examined.
    """
    count = int(faces.max(initial=-1)) + 1
    start, end = _uneven(np.ascontiguousarray(faces, dtype=np.int64), count)
    alone = ~np.isin(start * count + end, end * count + start)
    return start[alone], end[alone]


@compiled
def _uneven(faces: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Start and end of the half-edges between vertices whose sums differ, see ``open_edges``."""
    random, balance = np.empty(count, np.int64), np.zeros(count, np.int64)
    for vertex in range(count):
        mixed = vertex * 0x1E3779B97F4A7C15  # in 64 bits, like all sums here
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
    """Turn faces over so that neighbours agree, wherever possible.

    Each face stands for two, one as it is and one turned over. Neighbours that agree link equal ones, others link
    opposite ones. A patch that can be oriented then falls into two components, and one of them is the answer.

    Returns:
        The faces [F, 3], some turned over, and the patch [F] of each, connected by edges.
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


@compiled
def repeated(keys: np.ndarray, count: int) -> np.ndarray:
    """[N] bool: whether the same key [3, N] comes before. Its numbers are below ``count``."""
    order = np.arange(keys.shape[1])
    for k in (2, 1, 0):
        order = sorted_by(order, keys[k], count)
    again = np.zeros(keys.shape[1], np.bool_)
    for i in range(1, len(order)):
        item, before = order[i], order[i - 1]
        again[item] = True
        for k in range(3):
            again[item] &= keys[k, item] == keys[k, before]
    return again
