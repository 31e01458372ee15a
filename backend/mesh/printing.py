"""Meshes for 3-D printers: how thick their walls are, whether they are closed, and the file format STL.

A wall's thickness at a point of the surface is how far a ray goes inward until it leaves the solid again. Where the two
sides are not about parallel, the ray has crossed an edge and not a wall, so it does not count.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..print_facts import MIN_WALL, PrintCheck
from . import Mesh
from .base.compiled import compiled, inlined
from .base.projection import DEEP, LEAF, Projector, Tree
from .base.topology import by_edges, connected
from .base.vectors import Vector, corners_of, cross, dot, minus, vector

#: Points of the surface at which its thickness is measured, and how many rays are followed between checks.
POINTS, PIECE = 20_000, 1024
#: Rays begin this far below the surface, in parts of the mesh's size: their own face does not stop them.
BELOW = 1e-5
#: The two sides of a wall are parallel to within an angle of this cosine (30 degrees).
PARALLEL = 0.866
#: Of the thin places, the share that is thinner than what is called the thinnest: a single splinter is no wall.
SPLINTERS = 0.01

_RECORD = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])


def write_stl(path: Path, mesh: Mesh, check: Callable[[], None] = lambda: None) -> None:
    """Write binary STL, z up, in the units of the mesh: printers read millimetres. The same input gives the same bytes.

    Give a path of ``files.written_whole``. ``check()`` is called every few milliseconds, and may raise. Raises OSError.
    """
    with Path(path).open("wb") as stream:
        stream.write(b"Espalier, binary STL, millimeters".ljust(80, b" "))  # must not begin with "solid"
        stream.write(len(mesh.faces).to_bytes(4, "little"))
        for start in range(0, len(mesh.faces), 1 << 15):
            check()
            corners = mesh.vertices[mesh.faces[start : start + (1 << 15)]].astype(np.float32)
            records = np.zeros(len(corners), _RECORD)
            records["corners"], records["normal"] = corners, _normals(corners)
            stream.write(records.tobytes())


def solid(mesh: Mesh) -> tuple[Mesh, np.ndarray]:
    """A mesh without edges of no length, and which of its faces [F] are left.

    Their ends become one vertex, and the faces there vanish. A mesh is closed as before, but the format STL, which has
    only positions, would leave a gap.
    """
    ends = np.stack([mesh.faces.reshape(-1), mesh.faces[:, [1, 2, 0]].reshape(-1)])
    none = (mesh.vertices[ends[0]] == mesh.vertices[ends[1]]).all(axis=1)
    group = connected(*ends[:, none].astype(np.int64), len(mesh.vertices))
    _, first = np.unique(group, return_index=True)
    faces = group[mesh.faces]
    kept = (faces != np.roll(faces, 1, axis=1)).all(axis=1)
    return Mesh(mesh.vertices[first], faces[kept], None), kept


def checked(mesh: Mesh, check: Callable[[], None] = lambda: None) -> PrintCheck:
    """Whether a mesh in millimetres is closed, and how thick its walls are. ``check()`` may end it by raising."""
    size = float((mesh.vertices.max(axis=0) - mesh.vertices.min(axis=0)).max())
    open_edges = count_open_edges(mesh.faces, len(mesh.vertices))
    check()
    thickness = wall_thickness(mesh, POINTS, check)
    thin = thickness[thickness < MIN_WALL]
    thinnest = float(np.quantile(thin, SPLINTERS)) if len(thin) else float("inf")
    return PrintCheck(size, open_edges, len(thin) / max(len(thickness), 1), thinnest)


def count_open_edges(faces: np.ndarray, count: int) -> int:
    """How many edges of faces [F, 3] on ``count`` vertices do not have exactly two faces, one in each direction."""
    faces = np.ascontiguousarray(faces, np.int64)
    return int(_count_open(faces.reshape(-1), *by_edges(faces, count)))


@compiled
def _count_open(corners: np.ndarray, order: np.ndarray, low: np.ndarray, high: np.ndarray) -> int:
    """The same, of half-edges [3 F] that start at ``corners`` and are sorted as by ``by_edges``."""
    found, at = 0, 0
    while at < len(order):
        one, end, forward = order[at], at, 0
        while end < len(order) and low[order[end]] == low[one] and high[order[end]] == high[one]:
            forward += corners[order[end]] == low[one]
            end += 1
        found += end - at != 2 or forward != 1
        at = end
    return found


def wall_thickness(mesh: Mesh, points: int, check: Callable[[], None] = lambda: None) -> np.ndarray:
    """[points] the thickness of the walls at places drawn evenly from the surface; infinite where there is no wall.

    In the units of the mesh. The same mesh gives the same places. ``check()`` may end it by raising.
    """
    corners = mesh.vertices[mesh.faces].astype(np.float64)
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    total = np.cumsum(np.linalg.norm(across, axis=1))
    rng = np.random.default_rng(0)
    face = np.searchsorted(total, rng.random(points) * total[-1], side="right").clip(max=len(corners) - 1)
    weights = rng.dirichlet([1, 1, 1], points)
    inward = -across[face] / np.maximum(np.linalg.norm(across[face], axis=1, keepdims=True), 1e-30)
    size = float((mesh.vertices.max(axis=0) - mesh.vertices.min(axis=0)).max())
    origins = np.einsum("pk,pkc->pc", weights, corners[face]) + BELOW * size * inward
    check()
    tree = Projector(mesh).tree
    found = [np.zeros(0)]
    for at in range(0, points, PIECE):
        check()
        piece = slice(at, at + PIECE)
        found.append(_leave_all(tree, origins[piece].astype(np.float32), inward[piece].astype(np.float32)))
    return np.concatenate(found)


def warm() -> None:
    """Have the machine code of this module made, with a tetrahedron: the first print would wait for it."""
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)
    mesh, _ = solid(Mesh(vertices, np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]]), None))
    checked(mesh)


def _normals(corners: np.ndarray) -> np.ndarray:
    """Unit normals [F, 3] of triangles [F, 3, 3]; zero for those without an area, as STL has it."""
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    return np.asarray(normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-30), np.float32)


@compiled
def _leave_all(tree: Tree, origins: np.ndarray, ways: np.ndarray) -> np.ndarray:
    """[P] how far rays from origins [P, 3] go along unit ways [P, 3] until they leave through a parallel wall."""
    found = np.empty(len(origins))
    for i in range(len(origins)):
        found[i] = _leave(tree, vector(origins, i), vector(ways, i))
    return found


@inlined
def _leave(tree: Tree, origin: Vector, way: Vector) -> float:
    """How far a ray goes to the first face that it meets; infinite if that is turned to it, or not about parallel."""
    boxes, half = tree.boxes, len(tree.boxes) // 2
    nearest, cosine = np.inf, 0.0
    nodes = np.empty(DEEP, dtype=np.int64)
    nodes[0], left = 1, 1
    while left:
        left -= 1
        node = nodes[left]
        if _enters(boxes, node, origin, way) >= nearest:
            continue
        if node < half:
            nodes[left], nodes[left + 1] = 2 * node, 2 * node + 1
            left += 2
            continue
        first = (node - half) * LEAF
        for face in range(first, min(first + LEAF, len(tree.faces))):
            a, b, c = corners_of(tree.vertices, tree.faces, face)
            far, across = _meets(origin, way, a, minus(b, a), minus(c, a))
            if far < nearest:
                nearest, cosine = far, across
    return nearest if cosine >= PARALLEL else np.inf


@inlined
def _enters(boxes: np.ndarray, node: int, origin: Vector, way: Vector) -> float:
    """How far a ray goes until it enters a box; infinite if it misses it."""
    near, far = 0.0, np.inf
    for axis in range(3):
        if abs(way[axis]) > 1e-12:
            one = (boxes[node, axis] - origin[axis]) / way[axis]
            other = (boxes[node, 3 + axis] - origin[axis]) / way[axis]
            near, far = max(near, min(one, other)), min(far, max(one, other))
        elif origin[axis] < boxes[node, axis] or origin[axis] > boxes[node, 3 + axis]:
            return np.inf
    return near if near <= far * (1 + 1e-6) else np.inf


@inlined
def _meets(origin: Vector, way: Vector, a: Vector, u: Vector, v: Vector) -> tuple[float, float]:
    """How far a ray goes to a triangle from ``a`` along ``u`` and ``v`` (infinite: it misses), and the cosine between
    the ray and the triangle's normal (Moeller and Trumbore 1997, "Fast, Minimum Storage Ray/Triangle Intersection")."""
    p = cross(way, v)
    volume = dot(u, p)
    if abs(volume) < 1e-30:
        return np.inf, 0.0
    e = minus(origin, a)
    s = dot(e, p) / volume
    q = cross(e, u)
    t, far = dot(way, q) / volume, dot(v, q) / volume
    if s < 0 or t < 0 or s + t > 1 or far <= 0:
        return np.inf, 0.0
    normal = cross(u, v)
    return far, dot(way, normal) / np.sqrt(dot(normal, normal))
