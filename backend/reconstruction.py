"""What the networks make of images, before it is finished."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from .mesh import AnyRawMesh, RawMesh
from .models.gaussians import Gaussians


@dataclass(frozen=True)
class Reconstruction:
    """What the networks make from images: a surface, its voxels with latents, and Gaussians if they were asked for.

    A model of TRELLIS.2 makes a surface with materials; the latents are those of its shape.

    ``note`` says if the first structure was not good; else it is empty. ``before`` has the voxels and latents before
    each box in which the object was made anew.
    """

    raw: AnyRawMesh
    coords: Tensor  # [N, 4] int32
    latents: Tensor  # [N, C], on these voxels
    gaussians: Gaussians | None
    note: str
    before: tuple[tuple[Tensor, Tensor], ...] = ()

    @property
    def lattice(self) -> RawMesh:
        """The surface with its place in the lattice of cubes. Raises TypeError for one with materials: it has none."""
        if not isinstance(self.raw, RawMesh):
            raise TypeError("a surface with materials was not extracted from a lattice of cubes")
        return self.raw

    @property
    def voxels(self) -> int:
        """The number of voxels."""
        return len(self.coords)
