"""From the mesh decoder's features to a finished asset. Here: what the stages of this package pass to each other.

``extract`` closes leaks and makes a surface of the features, ``clean`` removes what cannot be seen and simplifies,
``unwrap`` makes UVs, ``bake`` makes the textures, and ``export`` writes files. ``finish`` runs everything from
``clean`` to ``bake``. ``base`` holds what these share.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import torch


class MeshError(ValueError):
    """A mesh cannot be made from this input. ``code`` is short and stable; the message is for users.

    Codes: ``bad_features`` (wrong shapes, voxels outside the grid or given twice, NaN or infinite values),
    ``bad_mesh`` (the same for vertices, faces and colours) and ``empty_mesh`` (nothing is left to show).
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class RawMesh:
    """The surface as extracted, on the decoder's device; normals point to the positive (outer) side.

    The last two fields say where the surface is in the lattice of ``(resolution + 1)^3`` cube corners, numbered
    ``(x * (resolution + 1) + y) * (resolution + 1) + z``; ``cleanup.keep_outer_faces`` needs them.
    """

    vertices: torch.Tensor  # [V, 3] float32 in [-0.5, 0.5], z up
    faces: torch.Tensor  # [F, 3] int64
    colors: torch.Tensor | None  # [V, 3] float32 in 0..1 (sRGB); None if the decoder has no colours
    attrs: torch.Tensor | None  # [V, 6] float32 in 0..1: the three colours, then the decoder's normal channels
    resolution: int
    inside_corners: torch.Tensor  # [K] int64: the corners with negative distance
    face_corners: torch.Tensor  # [F] int64: the corner that a face looks at: the outer end of the lattice edge it cuts

    def numpy(self) -> Surface:
        """The same mesh as arrays in main memory."""
        return Surface(
            vertices=self.vertices.cpu().numpy(),
            faces=self.faces.cpu().numpy(),
            colors=None if self.colors is None else self.colors.cpu().numpy(),
            resolution=self.resolution,
            inside_corners=self.inside_corners.cpu().numpy(),
            face_corners=self.face_corners.cpu().numpy(),
        )


@dataclass(frozen=True)
class MaterialMesh:
    """A surface with materials as decoded, on the decoder's device. Its faces may look either way; it may be open."""

    vertices: torch.Tensor  # [V, 3] float32 in [-0.5, 0.5], z up; some may belong to no face
    faces: torch.Tensor  # [F, 3] int64
    colors: torch.Tensor  # [V, 3] float32, base colour (sRGB), meant to be in 0..1
    materials: torch.Tensor  # [V, 3] float32: metallic, roughness and alpha, meant to be in 0..1
    resolution: int  # of the grid that it was decoded on

    def numpy(self) -> Mesh:
        """The same mesh as arrays in main memory."""
        return Mesh(
            vertices=self.vertices.cpu().numpy(),
            faces=self.faces.cpu().numpy(),
            colors=self.colors.cpu().numpy(),
            materials=self.materials.cpu().numpy(),
        )


@dataclass(frozen=True)
class Mesh:
    """Triangles as numpy arrays, from any source."""

    vertices: np.ndarray  # [V, 3] float32, z up
    faces: np.ndarray  # [F, 3] int64, counterclockwise seen from outside
    colors: np.ndarray | None  # [V, 3] float32 in 0..1 (sRGB); None if there are none
    #: [V, 3] float32 in 0..1: metallic, roughness and alpha; None if there are none.
    materials: np.ndarray | None = field(default=None, kw_only=True)


@dataclass(frozen=True)
class Surface(Mesh):
    """A ``RawMesh`` as numpy arrays; the fields mean the same."""

    resolution: int
    inside_corners: np.ndarray
    face_corners: np.ndarray


#: What the decoders of the two families make.
AnyRawMesh: TypeAlias = RawMesh | MaterialMesh
