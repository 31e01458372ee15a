"""The faces around each vertex of a mesh, which several steps want to know: found once, and kept with the mesh."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar, cast

import numpy as np

from .. import Mesh
from .compiled import compiled, inlined

#: Around a vertex with more faces than these, nothing is looked for if it can be found around another one: there may be
#: as many as the mesh has, and looking around it for each of them would take forever.
FEW = 16

AnyFound = TypeVar("AnyFound")


class Rings(NamedTuple):
    """The corners of faces, vertex by vertex: those of vertex v are ``begins[v]`` to ``begins[v + 1]``."""

    begins: np.ndarray  # [V + 1] int32
    nexts: np.ndarray  # [3 F] int32: the vertex that follows in the face
    around: np.ndarray  # [3 F] int32: the face, in ascending order at each vertex
    balance: np.ndarray  # [V] int64: 0 where the vertices that follow are the same as those that precede, as inside


def once(look: Callable[[Mesh], AnyFound]) -> Callable[[Mesh], AnyFound]:
    """Decorator: look at a mesh only once. What was found is kept with it: most steps find nothing to change."""

    def found(mesh: Mesh) -> AnyFound:
        kept = vars(mesh)
        if look.__name__ not in kept:
            kept[look.__name__] = look(mesh)
        return cast(AnyFound, kept[look.__name__])

    return found


@once
def rings_around(mesh: Mesh) -> Rings:
    """The rings of a mesh."""
    return rings_of(np.ascontiguousarray(mesh.faces, dtype=np.int64), len(mesh.vertices))


def rings_of(faces: np.ndarray, count: int) -> Rings:
    """The rings of faces [F, 3] int64 between so many vertices."""
    return Rings(*_rings(faces, count))


@compiled
def _rings(faces: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The fields of ``Rings``. The balance is as in ``topology.open_edges``."""
    begins, balance = np.zeros(count + 1, np.int32), np.zeros(count, np.int64)
    for face in range(len(faces)):
        a, b, c = faces[face, 0], faces[face, 1], faces[face, 2]
        x, y, z = mixed(a), mixed(b), mixed(c)
        begins[a + 1] += 1
        begins[b + 1] += 1
        begins[c + 1] += 1
        balance[a] += y - z
        balance[b] += z - x
        balance[c] += x - y
    for vertex in range(count):
        begins[vertex + 1] += begins[vertex]
    at = begins[:-1].copy()
    nexts, around = np.empty(faces.size, np.int32), np.empty(faces.size, np.int32)
    for face in range(len(faces)):
        for k in range(3):
            vertex = faces[face, k]
            nexts[at[vertex]], around[at[vertex]] = faces[face, (k + 1) % 3], face
            at[vertex] += 1
    return begins, nexts, around, balance


@inlined
def mixed(vertex: int) -> int:
    """A number that is as good as random, in 64 bits."""
    mixed = vertex * 0x1E3779B97F4A7C15
    return (mixed ^ mixed >> 29) * 0x3F58476D1CE4E5B9
