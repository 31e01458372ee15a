"""What data sets call things: TRELLIS-500K's, and those that TRELLIS.2's toolkit writes.

Of TRELLIS.2's, ``encode_ss_latent.py`` and the training's data sets were read; the name of the folder ``pbr_latents``
follows from that of its columns.
"""

from __future__ import annotations

from dataclasses import dataclass

from .methods import StageName

#: The shape of structure latents, in both.
STRUCTURE_SHAPE = (8, 16, 16, 16)


@dataclass(frozen=True)
class Layout:
    """Where a data set has what. ``folders`` are those of the latents of each stage, ``FOLDER/ENCODER/SHA256.npz``."""

    name: str  # for people
    folders: dict[StageName, str]
    key: str  # of structure latents in their files
    channels: int  # of a voxel's latents
    resolution: int  # of the grid of these voxels
    most: int  # voxels of an object in the published training
    tables: tuple[str, ...] = ()  # folders with a metadata.csv besides the first; then each folder of latents has one
    endings: tuple[str, str] = ("", "")  # of the encoders of structures and of others, where there are several

    def made(self, stage: StageName, encoder: str) -> str:
        """The column that says whether an object has latents of a stage."""
        return f"{self._latent(stage)}_{'encoded' if self.tables else encoder}"

    def count(self, stage: StageName) -> str:
        """The column with the number of voxels of an object's latents."""
        return f"{self._latent(stage)}_tokens" if self.tables else "num_voxels"

    def ending(self, stage: StageName) -> str:
        """How the encoder of a stage ends if there are several."""
        return self.endings[stage != "structure"]

    def _latent(self, stage: StageName) -> str:
        return self.folders[stage].removesuffix("s")


TRELLIS_500K = Layout(
    "TRELLIS-500K",
    folders={"structure": "ss_latents", "latents": "latents"},
    key="mean",
    channels=8,
    resolution=64,
    most=32768,
)
#: Of shapes at 512^3, whose latents are 16 times as coarse.
TRELLIS2 = Layout(
    "TRELLIS.2",
    folders={"structure": "ss_latents", "latents": "shape_latents", "textures": "pbr_latents"},
    key="z",
    channels=32,
    resolution=32,
    most=8192,
    tables=("aesthetic_scores", "renders_cond"),
    endings=("_64", "_512"),
)
#: Preset -> the layout of its data set.
LAYOUTS = {"paper": TRELLIS_500K, "trellis2": TRELLIS2}
