"""The ways in which TRELLIS.2's pipeline samples a shape: at once, or a coarse one that says where a finer one is."""

from __future__ import annotations

from typing import NamedTuple

#: The resolution of shapes that the coarser flows make.
COARSE = 512

#: A finer shape must have fewer voxels of latents than these, or it is made coarser.
MOST_VOXELS = 49_152

#: How many times finer than its latents a shape is.
LATENT_CELL = 16


class Mode(NamedTuple):
    """How fine a shape is sampled, and whether a finer one follows."""

    first: int  # the resolution of the first shape
    second: int | None = None  # that of a finer one in its place, unless there is no room for so many voxels

    @property
    def voxels(self) -> int:
        """The side of the grid that the structure is put on."""
        return self.first // LATENT_CELL

    @property
    def resolution(self) -> int:
        """The resolution of the shape that comes out, if there is room for its voxels."""
        return self.second or self.first

    @property
    def is_fine(self) -> bool:
        """Whether it needs the flows of finer shapes, and larger images."""
        return self.resolution > COARSE


#: The ways to sample that TRELLIS.2's pipeline has, by its names for them.
MODES = {
    "512": Mode(COARSE),
    "1024": Mode(1024),
    "1024_cascade": Mode(COARSE, 1024),
    "1536_cascade": Mode(COARSE, 1536),
}


def mode_for(own: str, resolution: int | None) -> Mode:
    """The mode for a shape of ``resolution``, or a model's ``own``, a name of ``MODES``, which also wins among several.

    Raises KeyError for another name or a resolution that no mode has.
    """
    if resolution in (None, MODES[own].resolution):
        return MODES[own]
    return MODES[str(resolution) if resolution == COARSE else f"{resolution}_cascade"]
