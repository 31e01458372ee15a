"""The first, coarse part of simplifying a large mesh: contract small patches of it, each to one vertex.

This is clustering with quadrics (Lindstrom 2000), but a patch is a vertex with its neighbours, not what lies in a cell
of a grid: sheets that are near each other never fuse, and patches are alike in size. A patch is contracted to the place
that is nearest to the planes of its faces. The patches whose contraction costs most stay as they are, so bent parts of
the surface and its edges keep their vertices, and so do patches that would turn a face over or fold the surface onto
itself. Vertices on borders are left alone.

One look at each patch instead of a queue of edges: that is about ten times as fast as collapsing edges.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np

from ..base.compiled import compiled, in_strips
from ..base.quadrics import value_at, way_to_least, weakness
from ..base.rings import Rings, rings_of
from ..base.vectors import Vector, corners_of, cross, dot, minus, plus, vector

#: A round leaves at least this share of the faces. A patch has about nine vertices: if all had to be contracted, none
#: of those that cost much could stay.
SHARE = 0.25
NEARLY = 1.25  # with so many times the faces asked for, another round is not worth its time
PROGRESS = 0.9  # nor if the last one has left more than this share
TURN = 0.3  # the least cosine between a face's normal before and after a contraction
#: How much staying in the middle of a patch counts, beside staying in the planes of its faces; and the same for pairs,
#: which have the last word: a corner must not be drawn in.
WEAK, WEAKER = 1e-3, 1e-5
FREE = (4, 3)  # so many neighbours in no patch yet are enough for a patch, once there is no vertex with only such
STRIP, PATCHES = 16_384, 2_048  # faces and patches that one thread looks at in a row


class Contraction(NamedTuple):
    """A mesh that is being contracted, with a quadric [V, 10] for each vertex (see ``careful``).

    The quadrics are those of the surface that was given first. Until something has been contracted, there are the
    planes [F, 4] of the faces instead: the normal and the offset of each, times the root of its area. The unused one of
    the two is empty.
    """

    vertices: np.ndarray  # [V, 3] float32
    faces: np.ndarray  # [F, 3] int64
    rings: Rings
    quadrics: np.ndarray
    planes: np.ndarray


class _Patches(NamedTuple):
    """Patches of vertices, and what becomes of them."""

    of: np.ndarray  # [V] int32: the patch of each vertex
    begins: np.ndarray  # [P + 1] int32: the vertices of patch p are members[begins[p] : begins[p + 1]]
    members: np.ndarray  # [V] int32
    places: np.ndarray  # [P, 3] float32: where it is contracted to
    stays: np.ndarray  # [P] bool: it is not contracted


def clustered(vertices: np.ndarray, faces: np.ndarray, room: int, rings: Rings | None = None) -> Contraction:
    """Contract patches until about ``room`` faces are left.

    Args:
        vertices: [V, 3].
        faces: [F, 3].
        room: how many faces there may be; a quarter more, or many more if the surface allows no better.
        rings: those of the mesh, if they are known.

    Returns:
        The mesh. Where the given surface is closed and manifold, so is this, with the same parts and tunnels. Vertices
        that belong to no contracted patch are where they were, and faces keep their order.
    """
    vertices, faces = np.ascontiguousarray(vertices, np.float32), np.ascontiguousarray(faces, np.int64)
    planes = np.empty((len(faces), 4))
    in_strips(partial(_planes, vertices, faces, planes), len(planes), STRIP)
    mesh = Contraction(vertices, faces, rings or rings_of(faces, len(vertices)), np.empty((0, 10)), planes)
    while True:
        count = len(mesh.faces)
        of, patches = _patches(mesh.rings.begins, mesh.rings.nexts, mesh.rings.balance)
        mesh = contraction_of(mesh, of, patches, max(room, int(SHARE * count)))
        if len(mesh.faces) <= NEARLY * room or len(mesh.faces) > PROGRESS * count:
            return mesh


def contraction_of(mesh: Contraction, of: np.ndarray, count: int, room: int) -> Contraction:
    """Contract patches of a mesh, those that cost least, until ``room`` faces are left or there are no more.

    Args:
        mesh: the mesh.
        of: [V] int32, the patch of each vertex.
        count: how many patches there are.
        room: how many faces there may be; if the surface would turn or fold, more are left.
    """
    begins, members = _members(of, count)
    sums, places, costs = np.empty((count, 10)), np.empty((count, 3), np.float32), np.empty(count)
    in_strips(partial(_settle, mesh, begins, members, sums, places, costs), count, PATCHES)
    surplus = len(mesh.faces) - room
    patches = _Patches(of, begins, members, places, _costly(np.diff(begins), costs, surplus))
    turned = np.empty(len(mesh.faces), np.bool_)
    in_strips(partial(_mark_turned, mesh, patches, turned), len(mesh.faces), STRIP)
    _give_back(mesh, patches, of[mesh.faces[turned]].reshape(-1))
    while True:
        made, number, origin = _numbered(mesh.vertices, patches)
        fewer = _contracted(mesh.faces, number)
        around = rings_of(fewer, len(made))
        folded = np.empty(len(made), np.bool_)
        in_strips(partial(_mark_folded, fewer, around, patches.stays[of[origin]], folded), len(made), STRIP)
        if not folded.any():
            break
        _give_back(mesh, patches, of[origin[folded]])
    quadrics = np.empty((len(made), 10))
    in_strips(partial(_carry, mesh, patches, sums, origin, quadrics), len(made), STRIP)
    return Contraction(made, fewer, around, quadrics, np.empty((0, 4)))


@compiled
def _patches(begins: np.ndarray, nexts: np.ndarray, balance: np.ndarray) -> tuple[np.ndarray, int]:
    """[V] the patch of each vertex, and how many there are.

    A patch is a vertex with all its neighbours if none of them is in another patch yet. Then come smaller ones among
    the vertices left, and these join the patch that most of their neighbours are in. Vertices at borders stay alone.
    """
    of, count = np.full(len(balance), -1, np.int32), 0
    left, size = np.empty(len(balance), np.int32), 0
    for vertex in range(len(balance)):
        if balance[vertex] != 0:
            of[vertex] = count
            count += 1
    for vertex in range(len(balance)):
        free = of[vertex] < 0
        for i in range(begins[vertex], begins[vertex + 1] if free else 0):
            if of[nexts[i]] >= 0:
                free = False
                break
        if free:
            count = _gather(of, begins, nexts, vertex, count)
    for vertex in range(len(balance)):
        if of[vertex] < 0:
            left[size] = vertex
            size += 1
    for least in FREE:
        for vertex in left[:size]:
            free = 0
            for i in range(begins[vertex], begins[vertex + 1] if of[vertex] < 0 else 0):
                free += of[nexts[i]] < 0
            if free >= least:
                count = _gather(of, begins, nexts, vertex, count)
    for vertex in left[:size]:
        if of[vertex] < 0:
            patch = _most_common(of, begins, nexts, vertex)
            of[vertex] = patch if patch >= 0 else count
            count += patch < 0
    return of, count


@compiled
def _gather(of: np.ndarray, begins: np.ndarray, nexts: np.ndarray, vertex: int, patch: int) -> int:
    """Make a patch of a vertex and its neighbours that have none. Returns the number of the next patch."""
    of[vertex] = patch
    for i in range(begins[vertex], begins[vertex + 1]):
        if of[nexts[i]] < 0:
            of[nexts[i]] = patch
    return patch + 1


@compiled
def _most_common(of: np.ndarray, begins: np.ndarray, nexts: np.ndarray, vertex: int) -> int:
    """The patch that most neighbours of a vertex are in; -1 if they are in none."""
    found, most = -1, 0
    for i in range(begins[vertex], begins[vertex + 1]):
        patch, times = of[nexts[i]], 0
        for j in range(begins[vertex], begins[vertex + 1]):
            times += of[nexts[j]] == patch
        if patch >= 0 and times > most:
            found, most = patch, times
    return found


@compiled
def _members(of: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """``begins`` and ``members`` of ``_Patches``."""
    begins, members = np.zeros(count + 1, np.int32), np.empty(len(of), np.int32)
    for vertex in range(len(of)):
        begins[of[vertex] + 1] += 1
    for patch in range(count):
        begins[patch + 1] += begins[patch]
    at = begins[:-1].copy()
    for vertex in range(len(of)):
        members[at[of[vertex]]] = vertex
        at[of[vertex]] += 1
    return begins, members


@compiled
def _planes(vertices: np.ndarray, faces: np.ndarray, planes: np.ndarray, first: int, last: int) -> None:
    """Fill in the planes of some faces, see ``Contraction``."""
    for face in range(first, last):
        a, b, c = corners_of(vertices, faces, face)
        normal = cross(minus(b, a), minus(c, a))
        length = np.sqrt(dot(normal, normal))
        scale = 1.0 / np.sqrt(length) if length > 0 else 0.0
        planes[face, 0], planes[face, 1], planes[face, 2] = normal[0] * scale, normal[1] * scale, normal[2] * scale
        planes[face, 3] = -dot(normal, a) * scale


@compiled
def _add(
    quadrics: np.ndarray, planes: np.ndarray, begins: np.ndarray, around: np.ndarray, vertex: int, sums: np.ndarray
) -> None:
    """Add the quadric of a vertex to others: the sum over its faces of area times squared distance from the plane."""
    if len(quadrics):
        for i in range(10):
            sums[i] += quadrics[vertex, i]
        return
    for i in range(begins[vertex], begins[vertex + 1]):
        x, y, z, w = planes[around[i], 0], planes[around[i], 1], planes[around[i], 2], planes[around[i], 3]
        sums[0] += x * x
        sums[1] += x * y
        sums[2] += x * z
        sums[3] += y * y
        sums[4] += y * z
        sums[5] += z * z
        sums[6] += x * w
        sums[7] += y * w
        sums[8] += z * w
        sums[9] += w * w


@compiled
def _settle(
    mesh: Contraction,
    begins: np.ndarray,
    members: np.ndarray,
    sums: np.ndarray,
    places: np.ndarray,
    costs: np.ndarray,
    first: int,
    last: int,
) -> None:
    """For some patches, fill in the sums of quadrics, the places of least cost, and the costs per vertex that goes."""
    vertices, quadrics, planes = mesh.vertices, mesh.quadrics, mesh.planes
    fans, around = mesh.rings.begins, mesh.rings.around
    for patch in range(first, last):
        begin, end = begins[patch], begins[patch + 1]
        q = sums[patch]
        q[:] = 0.0
        x, y, z = 0.0, 0.0, 0.0
        for i in range(begin, end):
            _add(quadrics, planes, fans, around, members[i], q)
            place = vector(vertices, members[i])
            x, y, z = x + place[0], y + place[1], z + place[2]
        middle = (x / (end - begin), y / (end - begin), z / (end - begin))
        reach = 0.0  # the place must not be farther from the middle than the vertices are
        for i in range(begin, end):
            arm = minus(vector(vertices, members[i]), middle)
            reach = max(reach, dot(arm, arm))
        cost, place = lowest(q, middle, reach, WEAK if end - begin > 2 else WEAKER)
        places[patch, 0], places[patch, 1], places[patch, 2] = place
        costs[patch] = cost / (end - begin - 1) if end - begin > 1 else 0.0


@compiled
def lowest(q: np.ndarray, middle: Vector, reach: float, share: float) -> tuple[float, Vector]:
    """The least value of a quadric, and where that is: at most the root of ``reach`` from a patch's middle.

    share: ``WEAK`` or ``WEAKER``.
    """
    way = way_to_least(q, middle, weakness(q, share))
    far = dot(way, way)
    place = plus(middle, np.sqrt(reach / far) if far > reach else 1.0, way)
    return value_at(q, place), place


def _costly(sizes: np.ndarray, costs: np.ndarray, surplus: int) -> np.ndarray:
    """[P] bool: which patches stay, those with most cost, as many as may when ``surplus`` faces have to go."""
    order = np.argsort(costs, kind="stable")
    gone = 2 * np.cumsum(sizes[order] - 1)  # two faces go with each vertex
    stays = sizes == 1
    stays[order[np.searchsorted(gone, surplus) + 1 :]] = True
    return stays


@compiled
def _turns(
    vertices: np.ndarray, faces: np.ndarray, of: np.ndarray, places: np.ndarray, stays: np.ndarray, face: int
) -> bool:
    """Whether contracting turns a face, or leaves nothing of its area."""
    u, v, w = of[faces[face, 0]], of[faces[face, 1]], of[faces[face, 2]]
    unchanged = stays[u] and stays[v] and stays[w]
    if unchanged or (u == v and not stays[u]) or (v == w and not stays[v]) or (w == u and not stays[w]):
        return False
    a, b, c = corners_of(vertices, faces, face)
    old = cross(minus(b, a), minus(c, a))
    a = a if stays[u] else vector(places, u)
    b = b if stays[v] else vector(places, v)
    c = c if stays[w] else vector(places, w)
    new = cross(minus(b, a), minus(c, a))
    cosine = dot(old, new)
    return not (cosine > 0 and cosine * cosine > TURN * TURN * dot(old, old) * dot(new, new))


@compiled
def _mark_turned(mesh: Contraction, patches: _Patches, turned: np.ndarray, first: int, last: int) -> None:
    vertices, faces, of, places, stays = mesh.vertices, mesh.faces, patches.of, patches.places, patches.stays
    for face in range(first, last):
        turned[face] = _turns(vertices, faces, of, places, stays, face)


@compiled
def _give_back(mesh: Contraction, patches: _Patches, given: np.ndarray) -> None:
    """Let the patches ``given`` [N] stay, and then those beside them of which a face would turn now."""
    known = mesh.vertices, mesh.faces, patches.of, patches.places, patches.stays
    waiting, size = np.empty(len(patches.stays), np.int32), 0
    for patch in given:
        if not patches.stays[patch]:
            patches.stays[patch] = True
            waiting[size] = patch
            size += 1
    while size:
        size -= 1
        patch = waiting[size]
        for vertex in patches.members[patches.begins[patch] : patches.begins[patch + 1]]:
            for face in mesh.rings.around[mesh.rings.begins[vertex] : mesh.rings.begins[vertex + 1]]:
                if not _turns(*known, face):
                    continue
                for k in range(3):
                    other = patches.of[mesh.faces[face, k]]
                    if not patches.stays[other]:
                        patches.stays[other] = True
                        waiting[size] = other
                        size += 1


@compiled
def _numbered(vertices: np.ndarray, patches: _Patches) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The new vertices [V', 3], the new number [V] of each old one, and the first old one [V'] of each new."""
    of, stays = patches.of, patches.stays
    made, number = np.empty((len(of), 3), np.float32), np.empty(len(of), np.int32)
    origin, known, count = np.empty(len(of), np.int32), np.full(len(stays), -1, np.int32), 0
    for vertex in range(len(of)):
        patch = of[vertex]
        if not stays[patch] and known[patch] >= 0:
            number[vertex] = known[patch]
            continue
        for k in range(3):
            made[count, k] = vertices[vertex, k] if stays[patch] else patches.places[patch, k]
        number[vertex] = known[patch] = count
        origin[count] = vertex
        count += 1
    return made[:count].copy(), number, origin[:count].copy()


@compiled
def _contracted(faces: np.ndarray, number: np.ndarray) -> np.ndarray:
    """The faces with new numbers of vertices, without those that have become an edge or a point."""
    made, count = np.empty(faces.shape, np.int64), 0
    for face in range(len(faces)):
        a, b, c = number[faces[face, 0]], number[faces[face, 1]], number[faces[face, 2]]
        if a != b and b != c and c != a:
            made[count, 0], made[count, 1], made[count, 2] = a, b, c
            count += 1
    return made[:count].copy()


@compiled
def _mark_folded(
    faces: np.ndarray, rings: Rings, stays: np.ndarray, folded: np.ndarray, first_vertex: int, last: int
) -> None:
    """For some vertices, whether it is from a contracted patch and its faces are not one closed fan of three or more.

    Such a patch was not a disc, or two patches touch in two places. An edge with more than two faces also shows here,
    because one of its ends is from a patch. stays: [V] bool, whether a vertex is not from a contracted patch.
    """
    for vertex in range(first_vertex, last):
        begin, end = rings.begins[vertex], rings.begins[vertex + 1]
        folded[vertex] = False
        if stays[vertex]:
            continue
        first = rings.nexts[begin] if end - begin > 2 else -1
        steps, at, whole = 0, first, first >= 0
        while whole and (steps == 0 or at != first):  # from face to face around the vertex
            here, times = begin, 0
            for i in range(begin, end):
                if rings.nexts[i] == at:
                    here, times = i, times + 1
            face = rings.around[here]
            at = faces[face, 0] + faces[face, 1] + faces[face, 2] - vertex - at  # the third corner
            steps += 1
            whole = times == 1 and steps <= end - begin
        folded[vertex] = not whole or steps != end - begin


@compiled
def _carry(
    mesh: Contraction,
    patches: _Patches,
    sums: np.ndarray,
    origin: np.ndarray,
    quadrics: np.ndarray,
    first: int,
    last: int,
) -> None:
    """Fill in the quadrics of some new vertices: so the next round still measures against the surface given first."""
    known, begins = (mesh.quadrics, mesh.planes, mesh.rings.begins, mesh.rings.around), patches.begins
    for vertex in range(first, last):
        patch = patches.of[origin[vertex]]
        if patches.stays[patch] and begins[patch + 1] - begins[patch] > 1:
            quadrics[vertex] = 0.0
            _add(*known, origin[vertex], quadrics[vertex])
        else:
            for k in range(10):
                quadrics[vertex, k] = sums[patch, k]
