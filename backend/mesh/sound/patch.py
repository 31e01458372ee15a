"""Mend what small steps cannot: cut the faces at fault out with those around them, and close the hole anew.

After Attene 2010, "A lightweight approach to repairing digitized polygon meshes".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from ..base.topology import connected
from .careful import SLIM
from .links import Links, compact, grow, linked, meetings
from .mend import Mended, faults

RINGS = 6  # so many rings of faces are cut out around those at fault, at most
LARGEST = 200  # corners of a hole that is closed
HOPELESS = 0.05  # with more than this share of faces at fault, nothing is tried


def patched(vertices: np.ndarray, faces: np.ndarray, check: Callable[[], None] = lambda: None) -> Mended:
    """Replace the faces at fault: arguments and result are those of ``mended``."""
    bad = faults(vertices, faces, check)
    if len(bad) > HOPELESS * len(faces):
        return Mended(vertices, faces, sound=False)
    for rings in range(1, RINGS + 1):
        if not len(bad):
            break
        links = linked(vertices, faces)
        for region in _regions(faces, len(vertices), bad, rings):
            check()
            if links.alive[region].all():
                _replace(links, region)
        vertices, faces = compact(links)
        bad = faults(vertices, faces, check)
    return Mended(vertices, faces, not len(bad))


def _regions(faces: np.ndarray, count: int, bad: np.ndarray, rings: int) -> Iterator[np.ndarray]:
    """The faces at fault with ``rings`` rings of faces around them, piece by connected piece, each ascending."""
    within = np.zeros(len(faces), bool)
    within[bad] = True
    for _ in range(rings):
        touched = np.zeros(count, bool)
        touched[faces[within]] = True
        within = touched[faces].any(axis=1)
    chosen = np.flatnonzero(within)
    corners = faces[chosen]
    ends = np.ascontiguousarray(corners[:, :2]).reshape(-1), np.ascontiguousarray(corners[:, 1:]).reshape(-1)
    piece = np.asarray(connected(*ends, count))[corners[:, 0]]
    for number in np.unique(piece):
        yield chosen[piece == number]


def _replace(links: Links, region: np.ndarray) -> bool:
    """Replace the faces ``region`` [N], if they are one disc, by others between the corners of its border."""
    border, before = _border(links, region), links.faces[region].copy()
    if not 3 <= len(border) <= min(LARGEST, len(region) + 1):
        return False
    links.alive[region] = False
    for by_shape in (True, False):
        if _fill(links, region, list(border), by_shape):
            return True
        links.alive[region] = False
    links.faces[region], links.alive[region] = before, True
    return False


def _fill(links: Links, region: np.ndarray, loop: list[int], by_shape: bool) -> bool:
    """Fill a hole, ear by ear, with faces at the places of those of ``region``. Leaves some there if it fails."""
    joined = _neighbours(links, loop)
    for slot in region.tolist():
        at = _ear(links, loop, joined, slot, by_shape)
        if at < 0:
            return False
        a, c = loop[at - 1], loop[(at + 1) % len(loop)]
        joined[a].add(c)
        joined[c].add(a)
        del loop[at]
        if len(loop) == 2:
            return True
    return False


def _border(links: Links, region: np.ndarray) -> list[int]:
    """The vertices around a region, in the order of its faces; empty if it is not one disc."""
    within = np.zeros(len(links.faces), bool)
    within[region] = True
    half = (3 * region[:, None] + np.arange(3)).reshape(-1)
    twin = links.twin[half]
    if (twin < 0).any():
        return []  # the surface itself is open here
    half = half[~within[twin // 3]]
    start = links.faces[half // 3, half % 3].tolist()
    following = dict(zip(start, links.faces[half // 3, (half + 1) % 3].tolist(), strict=True))
    if not start or len(following) != len(start):
        return []
    loop = [start[0]]
    while (vertex := following[loop[-1]]) != loop[0]:
        loop.append(vertex)
    inner = len(np.unique(links.faces[region])) - len(loop)
    # Euler: a disc of F faces with B corners on its border and I inside has F = 2 I + B - 2.
    return loop if len(loop) == len(start) and len(region) == 2 * inner + len(loop) - 2 else []


def _neighbours(links: Links, loop: list[int]) -> dict[int, set[int]]:
    """The vertices that each corner of a hole has an edge with."""
    corner = np.zeros(len(links.points), bool)
    corner[loop] = True
    joined: dict[int, set[int]] = {vertex: set() for vertex in loop}
    for face in links.faces[links.alive & corner[links.faces].any(axis=1)].tolist():
        for vertex in face:
            if vertex in joined:
                joined[vertex].update(face)
    return joined


def _ear(links: Links, loop: list[int], joined: dict[int, set[int]], slot: int, by_shape: bool) -> int:
    """Put a face into a hole at one of its corners: the index of the corner, -1 if none fits.

    It is the one of the best shape, or with the shortest edge. It is no needle and meets no other face, and its edge is
    not there yet.
    """
    count = len(loop)
    points = links.points[loop].astype(np.float64)
    before, after = np.roll(points, 1, axis=0), np.roll(points, -1, axis=0)
    sides = np.stack([points - before, after - points, before - after])
    longest = (sides**2).sum(axis=2).max(axis=0)
    shape = np.linalg.norm(np.cross(sides[0], sides[1]), axis=1) / np.maximum(longest, 1e-30)
    for at in np.argsort(-shape if by_shape else (sides[2] ** 2).sum(axis=1), kind="stable").tolist():
        face = loop[at - 1], loop[at], loop[(at + 1) % count]
        if shape[at] < SLIM or (count > 3 and face[2] in joined[face[0]]):
            continue
        links.faces[slot] = face
        links.alive[slot] = True
        grow(links, slot)
        if meetings(links, slot, 1) == 0:
            return int(at)
        links.alive[slot] = False
        if count == 3:
            break
    return -1
