"""What a person says of the shape: a guide, which is a mesh or its voxels, and boxes in which it is made anew.

A guide's voxels are those that its outer surface crosses: the structure's VAE was trained on hollow objects, TRELLIS's
and ours alike. Walls inside a blockout, as where its cubes overlap, would be read as something else.
"""

from __future__ import annotations

import base64
import binascii
import re
import zlib
from dataclasses import dataclass

import numpy as np

from .errors import SettingsError
from .mesh.given import GivenMesh
from .mesh.voxelize import surface_voxels
from .protocol import MOST_EDITS, MOST_VOXELS_TEXT, Edit, edits

#: The largest guide whose size single precision can hold; and a little less than 1, so that rounding puts no flat wall
#: at the end of the grid into the free voxels.
_LARGEST, _WITHIN = 1e38, 1 - 1e-5
#: The sides of grids that a text of voxels may name.
_SIDES = range(2, 129)
_TEXT = re.compile(r"([0-9]{1,3}):([A-Za-z0-9+/]+={0,2})")


@dataclass(frozen=True)
class Guide:
    """The voxels [N, 3] int32 of a guide, in row-major order, on a grid of resolution^3."""

    voxels: np.ndarray
    resolution: int

    @classmethod
    def of_mesh(cls, mesh: GivenMesh, resolution: int) -> Guide:
        """The voxels of a mesh of any size and place. It fills the grid but for one voxel at the sides.

        Those are free, as in ``retexture``: a surface there would be cut off.
        """
        used, faces = np.unique(mesh.faces, return_inverse=True)  # a loose vertex may be far away
        vertices = mesh.vertices[used]
        extent = float(np.ptp(vertices.astype(np.float64), axis=0).max())
        if not 0 < extent < _LARGEST:
            message = "The guide has no extent." if extent == 0 else "The guide is too large to be measured."
            raise SettingsError("guide_unusable", message, "Choose an object with faces, of some meters.")
        moved = GivenMesh(vertices, faces.reshape(-1, 3)).in_cube((1 - 2 / resolution) * _WITHIN)
        return cls(_seen(surface_voxels(moved.vertices, moved.faces, resolution), resolution), resolution)

    @classmethod
    def read(cls, text: str) -> Guide:
        """The guide that ``text`` wrote. Raises SettingsError: it may come from anybody's .blend."""
        try:
            found = _TEXT.fullmatch(text) if len(text) <= MOST_VOXELS_TEXT else None
            if found is None or (side := int(found[1])) not in _SIDES:
                raise ValueError("it is no such text")
            unpacking, size = zlib.decompressobj(), -(-(side**3) // 8)
            bits = unpacking.decompress(base64.b64decode(found[2], validate=True), size + 1)
            if len(bits) != size:
                raise ValueError("it has another size")
            grid = np.unpackbits(np.frombuffer(bits, np.uint8), count=side**3).reshape((side,) * 3)
            if not grid.any():
                raise ValueError("it is empty")
        except (ValueError, binascii.Error, zlib.error) as error:
            hint = "Choose the guide's object again."
            raise SettingsError("guide_unusable", f"The guide's voxels cannot be read: {error}.", hint) from error
        return cls(np.argwhere(grid).astype(np.int32), side)

    def text(self) -> str:
        """The voxels as a short text: the grid's side, and a bit for each voxel, packed."""
        packed = zlib.compress(np.packbits(grid_of(self.voxels, self.resolution)).tobytes(), 9)
        return f"{self.resolution}:{base64.b64encode(packed).decode()}"

    def at(self, resolution: int) -> np.ndarray:
        """The voxels [N, 3] on a grid of another resolution. None is lost, so fine ones become thicker on a coarse one.
        Coarse voxels become blocks on a fine one, of which the outer layer is taken."""
        if resolution == self.resolution:
            return self.voxels
        middles = (np.arange(max(resolution, self.resolution)) + 0.5) / max(resolution, self.resolution)
        have, want = ((middles * side).astype(np.int64) for side in (self.resolution, resolution))
        fine = grid_of(self.voxels, self.resolution)[np.ix_(have, have, have)]
        found = np.unique(np.stack([want[axis] for axis in np.nonzero(fine)], axis=1), axis=0).astype(np.int32)
        return _seen(found, resolution)


def grid_of(voxels: np.ndarray, resolution: int) -> np.ndarray:
    """Voxels [N, 3] as bool [resolution]^3."""
    grid = np.zeros((resolution,) * 3, dtype=bool)
    grid[tuple(voxels.T)] = True
    return grid


def _seen(voxels: np.ndarray, resolution: int) -> np.ndarray:
    """The voxels [N, 3] that touch the outside, even by a corner.

    These are all that the outer surface crosses: a step of one voxel on each axis leads across a plane. An open surface
    has no inside, and keeps all of its voxels.
    """
    from scipy import ndimage

    free = np.pad(~grid_of(voxels, resolution), 1, constant_values=True)
    parts, _ = ndimage.label(free)
    near = ndimage.binary_dilation(parts == parts[0, 0, 0], np.ones((3, 3, 3)))[1:-1, 1:-1, 1:-1]
    return voxels[near[tuple(voxels.T)]]


def box_mask(edit: Edit, resolution: int) -> np.ndarray:
    """Which voxels of a grid over [-0.5, 0.5]^3 have their middle in a box: bool [resolution]^3.

    Raises SettingsError if there is none.
    """
    low, high, _ = edit
    middles = (np.arange(resolution) + 0.5) / resolution - 0.5
    x, y, z = ((first <= middles) & (middles <= last) for first, last in zip(low, high, strict=True))
    mask = x[:, None, None] & y[None, :, None] & z[None, None, :]
    if not mask.any():
        message = f"The box holds no voxel of the object. A voxel is 1/{resolution} of its space."
        raise SettingsError("box_empty", message, "Make the box larger, or move it onto the object.")
    return np.asarray(mask)


def agreement_around(inside: np.ndarray, found: np.ndarray, old: np.ndarray) -> float:
    """The IoU of two structures in the layer of voxels around a box, from 0 to 1. All are bool [R, R, R]."""
    from scipy import ndimage

    around = ndimage.binary_dilation(inside, np.ones((3, 3, 3))) & ~inside
    either = int(((found | old) & around).sum())
    return int((found & old & around).sum()) / either if either else 1.0


def edits_of(values: object) -> tuple[Edit, ...]:
    """The boxes of a request from the wire, which may hold anything. Raises SettingsError."""
    found = edits(values)
    if found is None:
        message = "Boxes must be their lowest and highest corner, three numbers from -1 to 1 each, and a seed."
        raise SettingsError("settings_invalid", message, f"There can be at most {MOST_EDITS}.")
    return found
