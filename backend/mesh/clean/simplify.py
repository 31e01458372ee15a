"""Reduce the number of faces: collapse edges by quadric error (Garland and Heckbert 1997).

Of a large mesh, vertices go patch by patch (see ``cluster``), then pair by pair (``pairs``), which is much faster.

Colours are ignored: the texture is baked from the raw surface, so that borders between colours are as sharp on large
faces as on small ones.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from .. import Mesh
from ..base.projection import Projector
from ..base.rings import Rings
from ..sound.careful import collapsed
from ..sound.inspect import Edges
from ..sound.mend import mended, parted
from ..sound.patch import patched
from ..sound.shells import Shells
from .cleanup import SCRAP
from .cluster import clustered
from .manifold import manifold, used
from .pairs import paired

STEP = 4  # with an error bound, the number of faces falls by this factor until the bound is exceeded
ENOUGH = 0.98  # the least share of the faces asked for
EARLIER = 4_000  # faces: so many does the library leave at least for careful collapses; they take a tenth of a second
REFINEMENTS = 5  # then the interval in which the bound is exceeded is halved this many times
#: How fast the threshold for collapses grows from round to round. The library's default of 7 allows bad collapses while
#: better ones are left: with 4 the surface is 2 to 6 times as close in the same time (``bench.py --stage finish``), but
#: its last threshold leaves some hundred faces that 7 collapses.
AGGRESSION, LAST_AGGRESSION = 4, 7
#: Meshes with more faces than this, and than so many times the target, are clustered first. That leaves so many times
#: the target to contracting pairs: half as many, and what is left has not enough places to choose from.
LARGE, MANY, LEFT = 100_000, 6, 5
SAMPLES = 20_000  # vertices of the raw mesh whose distances are measured
#: The library keeps its mesh in global variables between its internal calls: threads would get each other's meshes.
_library = threading.Lock()


class Simplified(NamedTuple):
    """A mesh: vertices [V, 3] float32 and faces [F, 3] int64, none of which uses a vertex twice."""

    vertices: np.ndarray
    faces: np.ndarray
    sound: bool  # at most two faces at each edge, one fan at each vertex, no needles, and no faces that meet

    def without_scraps(self) -> Simplified:
        """Without what nobody sees: crumbs, shells inside others, and small ones turned inside out."""
        if not self.sound or Edges(self.faces, len(self.vertices)).open:
            return self
        shells = Shells(self.vertices, self.faces)
        if shells.count < 2:
            return self
        small = shells.areas < SCRAP * shells.areas.sum()
        left_over = shells.crumbs | (shells.depths > 0) | (small & (shells.volumes <= 0))
        if not left_over.any() or left_over.all():
            return self
        vertices, faces = used(self.vertices, self.faces[~left_over[shells.of_face]])
        return self._replace(vertices=vertices, faces=faces)


def simplify(
    vertices: np.ndarray, faces: np.ndarray, target: int, max_error: float | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The vertices and faces of ``simplified``."""
    made = simplified(vertices, faces, target, max_error)
    return made.vertices, made.faces


def simplified(
    vertices: np.ndarray,
    faces: np.ndarray,
    target: int,
    max_error: float | None = None,
    check: Callable[[], None] = lambda: None,
    rings: Callable[[], Rings] | None = None,
) -> Simplified:
    """Reduce a mesh to between ``ENOUGH`` times ``target`` and ``target`` faces, and keep it sound.

    The library that collapses the edges does not look whether faces meet. What it leaves is mended by small steps.
    Where these do not suffice, it stops earlier, and ``careful`` collapses the rest.

    Args:
        vertices: [V, 3].
        faces: [F, 3].
        target: an upper bound, which the result may exceed if nothing more can be collapsed without harm.
        max_error: the largest distance of a raw vertex from the result, in the vertices' units. If necessary, more
            faces than ``target`` are kept.
        check: called often; it raises to cancel.
        rings: gives those of the mesh, if somebody has them.

    Returns:
        The mesh; closed if the given one was. If that is sound, so is this. Of a mesh with no more than ``target``
        faces, only those that are at fault are changed.
    """
    if max_error is None and len(faces) > max(LARGE, MANY * target):
        for fewer in _clustered(vertices, faces, target, rings and rings()):
            made = _made(*fewer, check, False)
            if made.sound and ENOUGH * target <= len(made.faces) <= target:
                return made
    coarse = _to(vertices, faces, target, max_error)
    made = _made(*coarse, check, len(coarse[1]) == len(faces))
    bound = max(target, len(coarse[1])) if max_error is not None else target
    room = len(faces) if len(coarse[1]) == len(faces) else bound
    while room < len(faces) and not (made.sound and ENOUGH * bound <= len(made.faces) <= bound):
        check()
        room = max(2 * room, EARLIER + room)
        start = (
            made
            if made.sound and len(made.faces) > bound
            else _made(*_collapse(vertices, faces, room), check, room >= len(faces))
        )
        made = made if len(made.faces) else start
        if not start.sound or len(start.faces) <= bound:
            continue
        fewer = collapsed(start.vertices, start.faces, bound, check)
        if max_error is not None and error_of(vertices, *fewer) > max_error:
            return start
        return Simplified(*fewer, sound=True).without_scraps()
    return made


def _made(vertices: np.ndarray, faces: np.ndarray, check: Callable[[], None], last: bool) -> Simplified:
    """What the library has left, mended as far as small steps can, and with larger ones if it is the ``last`` hope."""
    unpaired = manifold(vertices, faces)
    if not len(unpaired[1]):
        return Simplified(vertices, faces, sound=False)  # it is two faces back to back and nothing else
    vertices, faces = parted(*unpaired)
    vertices = np.asarray(vertices, np.float32)
    edges = Edges(faces, len(vertices))
    if edges.crowded or edges.opposed:
        return Simplified(*unpaired, sound=False)
    made = mended(vertices, faces, check)
    if last and not made.sound:
        made = patched(made.vertices, made.faces, check)
    return Simplified(*made).without_scraps()


def _to(vertices: np.ndarray, faces: np.ndarray, target: int, max_error: float | None) -> tuple[np.ndarray, np.ndarray]:
    if max_error is None:
        return _collapse(vertices, faces, target)
    finest, coarsest = (vertices, faces), target
    while len(finest[1]) > target:
        count = max(target, len(finest[1]) // STEP)
        coarser = _collapse(*finest, count)
        if error_of(vertices, *coarser) > max_error:
            coarsest = count
            break
        if len(coarser[1]) >= len(finest[1]):  # nothing more can be collapsed
            return coarser
        finest = coarser
    for _ in range(REFINEMENTS):
        count = (coarsest + len(finest[1])) // 2
        coarser = _collapse(*finest, count)
        if error_of(vertices, *coarser) > max_error:
            coarsest = count
        else:
            finest = coarser
    return finest


def _clustered(
    vertices: np.ndarray, faces: np.ndarray, target: int, rings: Rings | None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """A large mesh with ``target`` faces, in two ways: what the first leaves now and then cannot be mended."""
    fewer = clustered(vertices, faces, LEFT * target, rings)
    last = paired(fewer, target)
    yield _collapse(last.vertices, last.faces, target)  # the few that are left
    yield _collapse(fewer.vertices, fewer.faces, target)


def _collapse(vertices: np.ndarray, faces: np.ndarray, target: int) -> tuple[np.ndarray, np.ndarray]:
    import fast_simplification

    if len(faces) <= target:
        return vertices, faces
    # The library's thresholds are absolute, made for objects about one unit wide.
    low, high = vertices.min(axis=0).astype(np.float64), vertices.max(axis=0).astype(np.float64)
    size = max(float((high - low).max()), 1e-30)
    points, triangles = (vertices - low) / size, faces.astype(np.int32)
    for aggression in (AGGRESSION, LAST_AGGRESSION):
        with _library:
            points, triangles = fast_simplification.simplify(points, triangles, target_count=target, agg=aggression)
        if len(triangles) <= target:
            break
    triangles = triangles.astype(np.int64)
    a, b, c = triangles.T
    return (points * size + low).astype(np.float32), triangles[(a != b) & (b != c) & (c != a)]


def error_of(raw: np.ndarray, vertices: np.ndarray, faces: np.ndarray) -> float:
    """The largest distance of raw vertices, a regular sample of them, from a mesh."""
    if not len(faces):
        return float("inf")
    points = raw[:: max(1, len(raw) // SAMPLES)]
    projection = Projector(Mesh(vertices, faces, None)).project(points, np.zeros_like(points))
    return float(np.linalg.norm(projection.interpolate(faces, vertices) - points, axis=1).max())
