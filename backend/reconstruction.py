"""What the networks make of images, before it is finished."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from .mesh import RawMesh
from .models.gaussians import Gaussians


@dataclass(frozen=True)
class Reconstruction:
    """What the networks make from images: a surface, its voxels with latents, and Gaussians if they were asked for.

    ``note`` says if the first structure was not good; else it is empty. ``before`` has the voxels and latents before
    each box in which the object was made anew.
    """

    raw: RawMesh
    coords: Tensor  # [N, 4] int32
    latents: Tensor  # [N, C], on these voxels
    gaussians: Gaussians | None
    note: str
    before: tuple[tuple[Tensor, Tensor], ...] = ()

    @property
    def voxels(self) -> int:
        """The number of voxels."""
        return len(self.coords)
