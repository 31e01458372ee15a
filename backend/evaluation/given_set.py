"""A person's own objects as a set to judge models on: pictures NAME.png (or .jpg, .webp) and the objects NAME.glb."""

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
from ..training.objects.drawing import draw_colors
from . import judge
from .subjects import Solid, Truth, points_on

PICTURES = (".png", ".webp", ".jpg", ".jpeg")
RESOLUTION = 64  # of the lattice that volumes are compared on
LONGEST_EDGE = 0.02  # of the box: textures are taken over at the corners of triangles not larger than this
SIDE = 256  # pixels, of the pictures that are compared


class GivenSetError(ValueError):
    """A folder is no set of objects. The text says which file, and what is wrong."""


@dataclass(frozen=True)
class GivenSubject:
    """A picture and the object that it shows.

    glTF's axes are taken for those of the model: y up, the front to +z. Where the object lies and how large it is are
    the set's affair, so truth and results are both put into the unit cube by their bounding boxes.
    """

    picture: Path
    object: Path

    def image(self) -> Image.Image:
        """The picture as a user would give it. Raises ImageError."""
        return load_image(self.picture)

    def solid(self) -> Solid:
        """The object in the unit cube. Raises GivenSetError."""
        return _solid(self.object)

    def truth(self) -> Truth:
        """The object from four sides, since it is not known from which the picture was taken. Raises GivenSetError."""
        return _truth(self.object)

    def judged_as(self, surface: Surface) -> Solid:
        """A result in the unit cube, like the object."""
        return _boxed(surface)


def given_set(folder: Path) -> list[GivenSubject]:
    """The objects of a folder, in the order of their names. Raises GivenSetError."""
    if not folder.is_dir():
        raise GivenSetError(f"{folder} is no folder.")
    found = []
    for path in sorted(folder.glob("*.glb")):
        pictures = [picture for suffix in PICTURES if (picture := path.with_suffix(suffix)).is_file()]
        if not pictures:
            raise GivenSetError(f"{path} has no picture of the same name ({', '.join(PICTURES)}) beside it.")
        found.append(GivenSubject(pictures[0], path))
    if not found:
        raise GivenSetError(f"{folder} has no .glb files. A set is pictures NAME.png and the objects NAME.glb.")
    return found


def set_digest(subjects: Sequence[GivenSubject]) -> str:
    """Names the contents of a set, by names, sizes and times of its files."""
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
    """A file's triangles in our axes, with the colours of its textures at their corners."""
    import trimesh

    try:
        scene = trimesh.load_scene(path)
        parts = [_colored(mesh) for mesh in scene.dump() if isinstance(mesh, trimesh.Trimesh) and len(mesh.faces)]
    except (ValueError, KeyError, IndexError, TypeError, OSError) as error:
        raise GivenSetError(f"{path} cannot be read as glTF: {error}.") from error
    if not parts:
        raise GivenSetError(f"{path} holds no triangles.")
    starts = np.cumsum([0, *(len(part.vertices) for part in parts)])
    vertices = np.concatenate([part.vertices for part in parts])[:, [0, 2, 1]] * [1, -1, 1]  # y up to z up
    faces = np.concatenate([part.faces + start for part, start in zip(parts, starts, strict=False)])
    colors = np.concatenate([part.colors for part in parts if part.colors is not None])
    return Mesh(vertices.astype(np.float32), faces.astype(np.int64), colors)


def _colored(mesh: Any) -> Mesh:
    """A trimesh.Trimesh in triangles small enough to carry its texture at their corners."""
    from trimesh.remesh import subdivide_to_size

    visual = mesh.visual
    textured = visual.kind == "texture" and visual.uv is not None
    if visual.kind == "texture" and not textured:
        visual = visual.to_color()  # one colour for all
    carried = visual.uv if textured else visual.vertex_colors
    longest = LONGEST_EDGE * float(np.ptp(mesh.vertices, axis=0).max())
    # Columns of any kind are halved as positions are; scaled down, they do not count as lengths.
    tiny = 1e-3 * longest / max(1.0, float(np.abs(carried).max()))
    rows, faces = subdivide_to_size(np.hstack([mesh.vertices, carried * tiny]), mesh.faces, longest, max_iter=12)
    carried = rows[:, 3:] / tiny
    colors = visual.material.to_color(carried) if textured else carried
    return Mesh(rows[:, :3].astype(np.float32), faces.astype(np.int64), (colors[:, :3] / 255).astype(np.float32))


def _boxed(mesh: Mesh) -> Solid:
    """A mesh in the middle of the unit cube, its longest side 1, and the volume that it encloses."""
    low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
    vertices = ((mesh.vertices - (low + high) / 2) / max(1e-9, float((high - low).max()))).astype(np.float32)
    cells = np.zeros((RESOLUTION + 1,) * 3, dtype=bool)
    cells[tuple(surface_voxels(vertices.clip(-0.5, 0.5), mesh.faces, RESOLUTION).T)] = True
    return Solid(Mesh(vertices, mesh.faces, mesh.colors), ndimage.binary_fill_holes(cells))
