"""A person's own objects as a set to judge models on: pictures NAME.png (or .jpg, .webp) and objects NAME.glb."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy import ndimage

from ..images.files import load_image
from ..mesh import Mesh, Surface
from ..mesh.voxelize import surface_voxels
from ..protocol import IMAGE_SUFFIXES
from ..training.objects.drawing import draw_colors
from . import judge
from .subjects import Solid, Truth, points_on

RESOLUTION = 64  # of the lattice on which volumes are compared
LONGEST_EDGE = 0.02  # of the box: triangles are split to this size, and take their texture's colours at the corners
SIDE = 256  # pixels, of the compared pictures


class GivenSetError(ValueError):
    """A folder is not a set of objects. The text says which file is at fault, and why."""


@dataclass(frozen=True)
class GivenSubject:
    """A picture and the object that it shows.

    The object must use glTF's axes: y up, the front to +z. Its position and size are up to the set, so truth and
    results are both moved into the unit cube by their bounding boxes.
    """

    picture: Path
    object: Path

    def image(self) -> Image.Image:
        """The picture as a user would provide it. Raises ImageError."""
        return load_image(self.picture)

    def solid(self) -> Solid:
        """The object in the unit cube. Raises GivenSetError."""
        return _solid(self.object)

    def truth(self) -> Truth:
        """The object from four sides, because the picture's own view is unknown. Raises GivenSetError."""
        return _truth(self.object)

    def judged_as(self, surface: Surface) -> Solid:
        """A result in the unit cube, like the object."""
        return _boxed(surface)


def given_set(folder: Path) -> list[GivenSubject]:
    """The objects of a folder, sorted by name. Raises GivenSetError."""
    if not folder.is_dir():
        raise GivenSetError(f"{folder} is not a folder.")
    found = []
    for path in sorted(folder.glob("*.glb")):
        pictures = [picture for suffix in IMAGE_SUFFIXES if (picture := path.with_suffix(suffix)).is_file()]
        if not pictures:
            raise GivenSetError(f"{path} has no picture with the same name ({', '.join(IMAGE_SUFFIXES)}) beside it.")
        found.append(GivenSubject(pictures[0], path))
    if not found:
        raise GivenSetError(f"{folder} has no .glb files. A set has pictures NAME.png and objects NAME.glb.")
    return found


def set_digest(subjects: Sequence[GivenSubject]) -> str:
    """A short hash of a set, from the names, sizes and times of its files."""
    files = [path for subject in subjects for path in (subject.picture, subject.object)]
    stats = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return hashlib.sha256(repr(stats).encode()).hexdigest()[:12]


@lru_cache(maxsize=256)
def _solid(path: Path) -> Solid:
    return _boxed(_read(path))


@lru_cache(maxsize=256)
def _truth(path: Path) -> Truth:
    solid = _solid(path)
    views = [(view, judge.WINDOW) for view in judge.VIEWS]
    pictures = tuple((draw_colors(solid.mesh, view, window, SIDE), view, window) for view, window in views)
    return Truth(points_on(solid.mesh, seed=1), pictures, None)


def _read(path: Path) -> Mesh:
    """A file's triangles in our axes, with the textures' colours at their corners."""
    import trimesh

    try:
        scene = trimesh.load_scene(path)
        parts = [_colored(mesh) for mesh in scene.dump() if isinstance(mesh, trimesh.Trimesh) and len(mesh.faces)]
    except (ValueError, KeyError, IndexError, TypeError, OSError) as error:
        raise GivenSetError(f"{path} cannot be read as glTF: {error}.") from error
    if not parts:
        raise GivenSetError(f"{path} contains no triangles.")
    starts = np.cumsum([0, *(len(part.vertices) for part in parts)])
    vertices = np.concatenate([part.vertices for part in parts])[:, [0, 2, 1]] * [1, -1, 1]  # y up to z up
    faces = np.concatenate([part.faces + start for part, start in zip(parts, starts, strict=False)])
    colors = np.concatenate([part.colors for part in parts if part.colors is not None])
    return Mesh(vertices.astype(np.float32), faces.astype(np.int64), colors)


def _colored(mesh: Any) -> Mesh:
    """A ``trimesh.Trimesh`` split into triangles that are small enough to carry its texture at their corners."""
    from trimesh.remesh import subdivide_to_size

    visual = mesh.visual
    textured = visual.kind == "texture" and visual.uv is not None
    if visual.kind == "texture" and not textured:
        visual = visual.to_color()  # one colour for the whole mesh
    carried = visual.uv if textured else visual.vertex_colors
    longest = LONGEST_EDGE * float(np.ptp(mesh.vertices, axis=0).max())
    # Splitting interpolates all columns like positions. These are scaled down, so that they do not count as lengths.
    tiny = 1e-3 * longest / max(1.0, float(np.abs(carried).max()))
    rows, faces = subdivide_to_size(np.hstack([mesh.vertices, carried * tiny]), mesh.faces, longest, max_iter=12)
    carried = rows[:, 3:] / tiny
    colors = visual.material.to_color(carried) if textured else carried
    return Mesh(rows[:, :3].astype(np.float32), faces.astype(np.int64), (colors[:, :3] / 255).astype(np.float32))


def _boxed(mesh: Mesh) -> Solid:
    """A mesh moved to the middle of the unit cube and scaled to a longest side of 1, with its enclosed volume."""
    low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
    vertices = ((mesh.vertices - (low + high) / 2) / max(1e-9, float((high - low).max()))).astype(np.float32)
    cells = np.zeros((RESOLUTION + 1,) * 3, dtype=bool)
    cells[tuple(surface_voxels(vertices.clip(-0.5, 0.5), mesh.faces, RESOLUTION).T)] = True
    return Solid(Mesh(vertices, mesh.faces, mesh.colors), ndimage.binary_fill_holes(cells))
