"""What triangles are joined to: half-edges, twins, components.

Half-edge 3 f + k runs from corner k of face f to its next corner.
"""

from __future__ import annotations

import numpy as np


def twins(faces: np.ndarray) -> np.ndarray:
    """[3 F] int64: for each half-edge the one of another face along the same edge; -1 at an open border.

    Where more than two faces meet at an edge, they are paired two by two, in their order.
    """
    start = faces.reshape(-1)
    end = faces[:, [1, 2, 0]].reshape(-1)
    low, high = np.minimum(start, end), np.maximum(start, end)
    key = low * (faces.max(initial=0) + 1) + high
    order = np.argsort(key, kind="stable")
    key = key[order]
    begins = np.ones(len(key), dtype=bool)
    begins[1:] = key[1:] != key[:-1]
    turn = np.arange(len(key)) - np.maximum.accumulate(np.where(begins, np.arange(len(key)), 0))
    second = np.flatnonzero(turn % 2)
    found = np.full(len(key), -1, dtype=np.int64)
    found[order[second]] = order[second - 1]
    found[order[second - 1]] = order[second]
    return found


def sorting(*keys: np.ndarray) -> np.ndarray:
    """[N] what sorts by the first of these whole numbers [N], from 0, then by the next ones; equal ones stay in order.

    numpy's stable sort counts if numbers have 16 bits, which takes a fraction of the time: so it goes digit by digit.
    """
    order: np.ndarray | None = None
    for key in reversed(keys):
        highest = int(key.max(initial=0))
        for shift in range(0, max(highest.bit_length(), 1), 16):
            digit = (key >> shift).astype(np.uint16)
            if order is None:
                order = np.argsort(digit, kind="stable")
            else:
                order = order.take(np.argsort(digit.take(order), kind="stable"))
    assert order is not None
    return order


def renumbered(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The whole numbers, from 0, that occur in an array, ascending; and the array with their places instead."""
    occurs = np.zeros(int(numbers.max(initial=-1)) + 1, dtype=bool)
    occurs[numbers] = True
    return np.flatnonzero(occurs), (np.cumsum(occurs) - 1)[numbers]


def components(faces: np.ndarray, vertices: int) -> np.ndarray:
    """[F] number of each face's component; faces that share a vertex belong together."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    links = coo_matrix(
        (np.ones(2 * len(faces), dtype=bool), (faces[:, [0, 1]].ravel(), faces[:, [1, 2]].ravel())),
        shape=(vertices, vertices),
    )
    return np.asarray(connected_components(links, directed=False)[1][faces[:, 0]])


def open_edges(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Start and end [E] of the half-edges without a twin that runs the other way.

    Around a vertex without open edges, those that follow it in its faces are those that precede it: random numbers of
    theirs have the same sum. Only the faces where some sum differs are looked at edge by edge.
    """
    count = int(faces.max(initial=-1)) + 1
    start, end = faces.reshape(-1), faces[:, [1, 2, 0]].reshape(-1)
    drawn = np.random.default_rng(0).integers(0, 1 << 40, count).astype(np.float64)  # their sums are exact
    after, before = np.bincount(start, drawn[end], count), np.bincount(end, drawn[start], count)
    uneven = after != before
    near = uneven[start] & uneven[end]
    start, end = start[near], end[near]
    alone = ~np.isin(start * count + end, end * count + start)
    return start[alone], end[alone]


def oriented(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Turn faces so that neighbours agree, wherever that is possible.

    Every face stands for two, as it is and turned; neighbours that agree join their likes, others crosswise. A patch
    that can be oriented then falls into two components, and one of them is the answer.

    Returns:
        [F, 3] the faces, some turned over, and [F] the number of each one's patch, joined by edges.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    twin = twins(faces)
    half = np.flatnonzero(twin > np.arange(len(twin)))
    other = twin[half]
    start = faces.reshape(-1)
    crosswise = start[half] == start[other]
    count = len(faces)
    one, two = half // 3, other // 3
    rows = np.concatenate([one, one + count])
    columns = np.concatenate([np.where(crosswise, two + count, two), np.where(crosswise, two, two + count)])
    links = coo_matrix((np.ones(len(rows), dtype=bool), (rows, columns)), shape=(2 * count,) * 2)
    label = connected_components(links, directed=False)[1]
    turned = label[count:] < label[:count]
    return np.where(turned[:, None], faces[:, ::-1], faces), np.minimum(label[:count], label[count:])
