"""A mesh of the user's own, to be textured: read from a file, moved into the cube, and unwrapped."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .bake.texels import rasterize
from .unwrap.unwrap import Unwrapped, unwrap

MAX_FACES = 5_000_000
MAX_BYTES = 1_000_000_000  # of all arrays of a file, unpacked: more than any mesh with so many faces takes
MAX_OVERLAP = 0.02  # share of the covered texels that may belong to several faces, for UVs to be used as they are
MAX_BARE = 0.02  # share of the surface that may have no area in the texture
MIN_FILLED = 0.01  # least share of the texture that UVs must fill
OVERLAP_SIZE = 512  # texels along each side, to look for overlaps
OUTSIDE = 1e-4  # how far UVs may reach out of their tile: less than half a texel of 4096
NEXT_TO_NONE = 1e-4  # a face with this share of the mean area per surface counts as having none: a 100th of the detail
WORTH_SAYING, SPARSE = 0.001, 0.1  # shares of what is wrong that are mentioned, and of the texture that is filled


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

    def unwrapped(self, texture_size: int) -> tuple[Unwrapped, str]:
        """The mesh with its own UVs if they can be used (see ``judged``); else the mesh or its cage with new ones.

        ``charts`` of the result is 0 for its own UVs. Also returns what a person should know about that.
        """
        fault = "the mesh had none"
        if self.uvs is not None:
            own = judged(self.vertices, self.faces, self.uvs)
            if not own.fault:
                chart = np.where(_doubled_areas(own.uvs) > 0, 0, -1)
                told = " ".join(("The mesh's own UVs are used.", *own.remarks))
                return Unwrapped(self.vertices, self.faces, own.uvs, chart, 0), told
            fault = own.fault
        mesh, where = (self, "") if self.cage is None else (self.cage, " for the mesh without its modifiers")
        told = f"New UVs were made{where}: {fault}."
        return unwrap(mesh.vertices, mesh.faces, texture_size), told


def read_mesh(path: Path) -> GivenMesh:
    """Read an ``.npz`` with ``vertices`` [V, 3], ``faces`` [F, 3] and, optionally, ``uvs`` [F, 3, 2] and a cage.

    The cage is ``cage_vertices`` and ``cage_faces``. Raises GivenMeshError, and OSError if there is no such file.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        with np.load(path, allow_pickle=False) as arrays:
            given = {name: arrays[name] for name in arrays.files} if size <= MAX_BYTES else {}
    except (ValueError, EOFError, RuntimeError, OverflowError, zipfile.BadZipFile, zlib.error) as error:
        raise GivenMeshError(f"cannot be read: {error}") from error
    if size > MAX_BYTES:
        raise GivenMeshError(f"takes more than {MAX_BYTES // 1_000_000} MB")
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


class Judged(NamedTuple):
    """What becomes of a mesh's own UVs."""

    uvs: np.ndarray  # [F, 3, 2] float32 in the unit square, where a repeated texture shows the same
    fault: str = ""  # why they cannot be used, as the end of a sentence; empty if they can
    remarks: tuple[str, ...] = ()  # sentences on what is not perfect


def judged(vertices: np.ndarray, faces: np.ndarray, uvs: np.ndarray) -> Judged:
    """Whether a texture on these UVs can have a separate colour for each point of the surface.

    They must be in one tile, so that a texture of one square holds them. They must cover nearly all of the surface, and
    faces must not share texels, as they do in mirrored or repeated textures.
    """
    if not np.isfinite(uvs).all():
        return Judged(uvs, "some of its UVs are not numbers")
    tile = np.floor(uvs.min(axis=(0, 1)) + OUTSIDE)
    if (uvs.max(axis=(0, 1)) > tile + 1 + OUTSIDE).any():
        return Judged(uvs, _outside(uvs))
    moved = (uvs - tile).astype(np.float32)
    remarks = [f"They lie in tile {_udim(tile)}, where the texture repeats."] if tile.any() else []
    bare = _bare(vertices, faces, moved)
    if bare > MAX_BARE:
        return Judged(moved, f"{_percent(bare)} of its surface has no area in its UVs")
    filled, shared = float(_doubled_areas(moved).sum() / 2), _shared(moved)
    if shared > MAX_OVERLAP:
        return Judged(moved, f"faces share {_percent(shared)} of the area of its UVs, as mirrored or stacked ones do")
    if filled < MIN_FILLED:
        return Judged(moved, f"its UVs fill less than {_percent(MIN_FILLED)} of the texture")
    if bare > WORTH_SAYING:
        remarks.append(f"{_percent(bare)} of the surface has no area in them.")
    if shared > WORTH_SAYING:
        remarks.append(f"Faces share {_percent(shared)} of their area.")
    if filled < SPARSE:
        remarks.append(f"They fill only {_percent(filled)} of the texture.")
    return Judged(moved, "", tuple(remarks))


def _outside(uvs: np.ndarray) -> str:
    """Why UVs that are not in one tile cannot be used."""
    tiles = np.floor(uvs.min(axis=1) + OUTSIDE)
    if (uvs.max(axis=1) <= tiles + 1 + OUTSIDE).all() and tiles.min() >= 0 and tiles[:, 0].max() < 10:
        return f"its UVs lie in {len(np.unique(tiles, axis=0))} UDIM tiles, and a texture has one"
    (left, bottom), (right, top) = uvs.min(axis=(0, 1)), uvs.max(axis=(0, 1))
    return f"its UVs reach out of the texture (U from {left:.4g} to {right:.4g}, V from {bottom:.4g} to {top:.4g})"


def _udim(tile: np.ndarray) -> str:
    """The number of a tile [2], or where it is if it has none."""
    u, v = tile.astype(int).tolist()
    return str(1001 + u + 10 * v) if 0 <= u < 10 and v >= 0 else f"({u}, {v})"


def _bare(vertices: np.ndarray, faces: np.ndarray, uvs: np.ndarray) -> float:
    """The share of the surface that has next to no area in the texture."""
    a, b, c = vertices[faces].astype(np.float64).swapaxes(0, 1)
    areas, flat = np.linalg.norm(np.cross(b - a, c - a), axis=1), _doubled_areas(uvs)
    if not flat.any():
        return 1.0
    return float(areas[flat * areas.sum() <= NEXT_TO_NONE * areas * flat.sum()].sum() / max(areas.sum(), 1e-30))


def _shared(uvs: np.ndarray) -> float:
    """The share of the texels covered that belong to several faces."""
    middle = uvs.mean(axis=1, keepdims=True)  # faces shrink a little: neighbours must not share texels at their edge
    texels = rasterize((uvs + (middle - uvs) / 1000).clip(0, 1), OVERLAP_SIZE)
    count = np.bincount(texels.row * OVERLAP_SIZE + texels.column)
    return int((count > 1).sum()) / max(int((count > 0).sum()), 1)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _doubled_areas(uvs: np.ndarray) -> np.ndarray:
    """[F] twice the areas of faces in the texture."""
    edges = (uvs[:, 1:] - uvs[:, :1]).astype(np.float64)
    return np.abs(edges[:, 0, 0] * edges[:, 1, 1] - edges[:, 0, 1] * edges[:, 1, 0])
