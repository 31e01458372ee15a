"""A mesh of the user's own, to be textured: read from a file, moved into the cube, and unwrapped."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .bake.texels import rasterize
from .unwrap.unwrap import Unwrapped, unwrap

MAX_FACES = 5_000_000
MAX_OVERLAP = 0.02  # share of the covered texels that may belong to several faces, for UVs to be used as they are
MAX_BARE = 0.02  # share of the surface that may have no area in the texture
OVERLAP_SIZE = 512  # texels along each side, to look for overlaps


class GivenMeshError(ValueError):
    """A file does not hold a mesh that can be textured. The message continues "The mesh ..."."""


@dataclass(frozen=True)
class GivenMesh:
    """Triangles, with or without UVs at their corners.

    If the visible shape is made from a simpler one (by Blender's modifiers), ``cage`` is the simpler one: new UVs are
    made for it, since only the cage can store them.
    """

    vertices: np.ndarray  # [V, 3] float32, z up, front to -Y
    faces: np.ndarray  # [F, 3] int64
    uvs: np.ndarray | None = None  # [F, 3, 2] float32, v up
    cage: GivenMesh | None = None

    def in_cube(self, side: float) -> GivenMesh:
        """The mesh moved and scaled: the bounding box is centred at the origin and its longest side is ``side``."""
        low, high = self.vertices.min(axis=0), self.vertices.max(axis=0)
        center, size = (low + high) / 2, float((high - low).max())

        def moved(mesh: GivenMesh) -> GivenMesh:
            vertices = ((mesh.vertices - center) * (side / size)).astype(np.float32)
            return GivenMesh(vertices, mesh.faces, mesh.uvs, mesh.cage and moved(mesh.cage))

        return moved(self)

    def unwrapped(self, texture_size: int) -> Unwrapped:
        """The mesh with its own UVs if they are ``usable``; else the mesh or its cage with new ones.

        ``charts`` of the result is 0 for its own UVs.
        """
        if self.uvs is not None and usable(self.vertices, self.faces, self.uvs):
            area = _doubled_areas(self.uvs)
            return Unwrapped(self.vertices, self.faces, self.uvs, np.where(area > 0, 0, -1), 0)
        mesh = self.cage or self
        return unwrap(mesh.vertices, mesh.faces, texture_size)


def read_mesh(path: Path) -> GivenMesh:
    """Read an ``.npz`` with ``vertices`` [V, 3], ``faces`` [F, 3] and, optionally, ``uvs`` [F, 3, 2] and a cage.

    The cage is ``cage_vertices`` and ``cage_faces``. Raises GivenMeshError, and OSError if there is no such file.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            given = {name: arrays[name] for name in arrays.files}
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise GivenMeshError(f"cannot be read: {error}") from error
    mesh = _checked(given, "")
    cage = _checked(given, "cage_") if "cage_vertices" in given else None
    uvs = given.get("uvs")
    if uvs is not None and uvs.shape != (len(mesh.faces), 3, 2):
        raise GivenMeshError("has UVs that do not match its faces")
    if float(np.ptp(mesh.vertices, axis=0).max()) <= 0:
        raise GivenMeshError("has no extent")
    return GivenMesh(mesh.vertices, mesh.faces, None if uvs is None else uvs.astype(np.float32), cage)


def _checked(given: dict[str, np.ndarray], prefix: str) -> GivenMesh:
    vertices, faces = given.get(prefix + "vertices"), given.get(prefix + "faces")
    if vertices is None or faces is None:
        raise GivenMeshError("has no vertices or no faces")
    if vertices.ndim != 2 or vertices.shape[1] != 3 or faces.ndim != 2 or faces.shape[1] != 3:
        raise GivenMeshError("does not consist of triangles")
    if not 0 < len(faces) <= MAX_FACES:
        raise GivenMeshError(f"has {len(faces)} faces; it must have from 1 to {MAX_FACES}")
    if vertices.dtype.kind != "f" or faces.dtype.kind not in "iu" or not np.isfinite(vertices).all():
        raise GivenMeshError("has coordinates that are not numbers")
    if faces.min() < 0 or faces.max() >= len(vertices):
        raise GivenMeshError("has a face with a vertex that does not exist")
    return GivenMesh(vertices.astype(np.float32), faces.astype(np.int64))


def usable(vertices: np.ndarray, faces: np.ndarray, uvs: np.ndarray) -> bool:
    """Whether a texture on these UVs can have a separate colour for each point of the surface.

    They must be in the unit square and cover nearly all of the surface, and faces must not share texels, as they do in
    mirrored or tiled textures.
    """
    if not np.isfinite(uvs).all() or uvs.min() < -1e-4 or uvs.max() > 1 + 1e-4:
        return False
    corners = vertices[faces].astype(np.float64)
    areas = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    if areas[_doubled_areas(uvs) < 1e-12].sum() > MAX_BARE * areas.sum():
        return False
    middle = uvs.mean(axis=1, keepdims=True)  # faces shrink a little: neighbours must not share texels at their edge
    texels = rasterize((uvs + (middle - uvs) / 1000).clip(0, 1), OVERLAP_SIZE)
    count = np.bincount(texels.row * OVERLAP_SIZE + texels.column)
    return bool((count > 1).sum() <= MAX_OVERLAP * (count > 0).sum())


def _doubled_areas(uvs: np.ndarray) -> np.ndarray:
    """[F] twice the areas of faces in the texture."""
    edges = (uvs[:, 1:] - uvs[:, :1]).astype(np.float64)
    return np.abs(edges[:, 0, 0] * edges[:, 1, 1] - edges[:, 0, 1] * edges[:, 1, 0])
