"""A folder of pictures to distil on: no objects, no latents. Methods that are free of data need nothing else.

Structure latents have one shape for all pictures. The latents of voxels need voxels, and a structure student that was
distilled before makes these, as it will when the students are used. Textures need the latents of the shape, too: from a
student of shapes on these voxels.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from ...config import SamplerSettings
from ...mesh.extract.seal import seal_voxels
from ...models.image_encoder import DinoEncoder
from ...models.latent_flow import LatentFlow
from ...models.structure_flow import StructureFlow
from ...models.structure_vae import StructureDecoder
from ...stages import (
    decode_structure,
    encode,
    latent_noise,
    prepare,
    sample_latents,
    sample_structure,
    standardized,
    structure_noise,
)
from ...weights.checkpoints import load_network
from ...weights.folders import ModelFolder
from .distill import digest_of
from .items import Clean
from .layouts import TRELLIS_500K
from .methods import StageName
from .trellis500k import read_picture

Item = tuple[int, int]  # picture, structure

SUFFIXES = (".png", ".webp", ".tif", ".tiff")  # of files that can be transparent
#: How many structures of one picture are learned on. Each is made once.
STRUCTURES = 8
#: How often another one is tried if one has no voxels, or too many.
ATTEMPTS = 4


def pictures_in(folder: Path) -> list[Path]:
    """The pictures of a folder by name. Raises ValueError if there are none."""
    found = sorted(path for path in folder.glob("*") if path.suffix.lower() in SUFFIXES)
    if not found:
        raise ValueError(f"{folder} has no pictures ({', '.join(SUFFIXES)}), which show their objects on transparency")
    return found


def problems(folder: Path) -> Iterator[str]:
    """What is wrong with a folder of pictures, one sentence for each problem."""
    try:
        paths = pictures_in(folder)
    except ValueError as error:
        yield str(error)
        return
    for path in paths:
        try:
            read_picture(path)
        except ValueError as error:
            yield f"{error} (python -m backend cutout removes a background)"


class StructureStudent:
    """Makes voxels from a picture's tokens, with the structure flow of a model."""

    def __init__(self, model: ModelFolder, device: torch.device) -> None:
        """Raises CheckpointError."""
        config = model.config
        self.flow = load_network(model.network(config.structure_flow), StructureFlow, device)
        self.decoder = load_network(model.network(config.structure_decoder), StructureDecoder, device)
        self.sampler: SamplerSettings = config.structure_sampler
        self.normalization, self.seals = config.structure_normalization, config.seal_leaks
        self.device, self.name = device, f"{model.path.name} {digest_of(self.flow)}"

    @torch.no_grad()
    def voxels(self, tokens: Tensor, seed: int, resolution: int) -> Tensor:
        """The voxels [N, 3] (int16, on the CPU) of one object on a grid of this resolution, from tokens [1, L, C]."""
        generator = torch.Generator().manual_seed(seed)
        noise = structure_noise(self.flow, generator, self.device)
        latents = sample_structure(self.flow, noise, tokens.to(self.device), self.sampler, self.normalization)
        coords = decode_structure(self.decoder, latents, side=resolution)
        if self.seals and len(coords):
            coords = seal_voxels(coords, resolution)
        return coords[:, 1:].short().cpu()


class ShapeStudent:
    """Makes a shape's latents on voxels from a picture's tokens, with the latent flow of a model."""

    def __init__(self, model: ModelFolder, device: torch.device) -> None:
        """Raises CheckpointError."""
        config = model.config
        self.flow = load_network(model.network(config.latent_flow), LatentFlow, device)
        self.sampler, self.normalization = config.latent_sampler, config.latent_normalization
        self.device, self.name = device, f"{model.path.name} {digest_of(self.flow)}"

    @torch.no_grad()
    def latents(self, tokens: Tensor, voxels: Tensor, seed: int) -> Tensor:
        """The standardised latents [N, c] (fp16, on the CPU) on voxels [N, 3] of one object, from tokens [1, L, C]."""
        coords = pad(voxels.int(), (1, 0)).to(self.device)
        noise = latent_noise(self.flow, coords, torch.Generator().manual_seed(seed))
        made = sample_latents(self.flow, noise, tokens.to(self.device), self.sampler, self.normalization)
        return standardized(made.feats, self.normalization).half().cpu()


class Students(NamedTuple):
    """What makes an object of a picture, as far as a flow needs it."""

    structure: StructureStudent | None = None  # None for the flow of structures
    shape: ShapeStudent | None = None  # only for the flow of textures

    @classmethod
    def of(cls, stage: StageName, model: str | None, device: torch.device) -> Students:
        """Those that come before a stage, from the model with this name or folder. Raises ValueError, CheckpointError.

        ``model`` may be None for structures alone.
        """
        if stage == "structure":
            return cls()
        folder = ModelFolder.find(require_students(stage, model))
        structure = StructureStudent(folder, device)
        return cls(structure, ShapeStudent(folder, device) if stage == "textures" else None)

    @property
    def names(self) -> str:
        """What identifies the objects, to append to the name of the pictures."""
        parts = (("voxels", self.structure), ("shapes", self.shape))
        return "".join(f", {what} of {student.name}" for what, student in parts if student is not None)


class PictureSet:
    """Pictures for ``distill``: tokens from the frozen encoder, latents that are not known, voxels from a student."""

    def __init__(
        self,
        paths: list[Path],
        encoder: DinoEncoder,
        channels: int,
        resolution: int,
        students: Students | None = None,
        *,
        tight: bool = False,
        most: int = TRELLIS_500K.most,
    ) -> None:
        """``channels`` are those that the flow predicts, ``resolution`` is the flow's. Without students the latents are
        those of structures. ``tight`` frames pictures without a margin; ``most`` is the limit of an object's voxels.

        The other methods raise ValueError for a picture that cannot be used.
        """
        self.paths, self.encoder, self.tight, self.most = paths, encoder, tight, most
        self.channels, self.resolution, self.students = channels, resolution, students or Students()
        self._tokens = lru_cache(maxsize=256)(self._encoded)
        self._voxels = lru_cache(maxsize=4096)(self._made)
        self._shapes = lru_cache(maxsize=1024)(self._shaped)

    def draw(self, generator: torch.Generator) -> Item:
        """A random picture and one of its structures."""
        picture = torch.randint(len(self.paths), (1,), generator=generator)
        return int(picture), int(torch.randint(STRUCTURES, (1,), generator=generator))

    def shape(self, item: Item) -> tuple[int, ...]:
        """[C, R, R, R], or [N, C] for a structure of N voxels."""
        if self.students.structure is None:
            return self.channels, *[self.resolution] * 3
        return len(self._voxels(item)), self.channels

    def load(self, items: list[Item], device: torch.device) -> Clean:
        """The pictures' tokens and voxels, for textures also the shapes' latents, on the device. The latents of the
        flow itself are not numbers."""
        cond = torch.cat([self._tokens(picture) for picture, _ in items]).to(device, torch.float32)
        shapes = [self.shape(item) for item in items]
        if self.students.structure is None:
            return Clean(torch.full((len(items), *shapes[0]), torch.nan, device=device), None, cond)
        coords = [pad(self._voxels(item).int(), (1, 0), value=row) for row, item in enumerate(items)]
        rows = sum(shape[0] for shape in shapes)
        x_0, fixed = torch.full((rows, self.channels), torch.nan, device=device), None
        if self.students.shape is not None:
            fixed = torch.cat([self._shapes(item) for item in items]).to(device, torch.float32)
        return Clean(x_0, torch.cat(coords).to(device), cond, fixed)

    @torch.no_grad()
    def _encoded(self, picture: int) -> Tensor:
        """A picture's tokens [1, L, C], fp16 on the CPU. One at a time, so that they are the same in every batch."""
        pixels = prepare([read_picture(self.paths[picture])], self.encoder.side, tight=self.tight)
        return encode(self.encoder, pixels.to(next(self.encoder.parameters()).device)).half().cpu()

    def _made(self, item: Item) -> Tensor:
        """The voxels [N, 3] of a picture's structure."""
        (picture, number), structure = item, self.students.structure
        assert structure is not None
        for attempt in range(ATTEMPTS):
            seed = (picture * ATTEMPTS + attempt) * STRUCTURES + number
            voxels = structure.voxels(self._tokens(picture).float(), seed, self.resolution)
            if 0 < len(voxels) <= self.most:
                return voxels
        raise ValueError(f"{self.paths[picture]}: {structure.name} makes no structure of it that can be used")

    def _shaped(self, item: Item) -> Tensor:
        """The standardised latents [N, c] of the shape on a structure's voxels."""
        (picture, number), shape = item, self.students.shape
        assert shape is not None
        return shape.latents(self._tokens(picture).float(), self._voxels(item), picture * STRUCTURES + number)


def require_students(stage: StageName, model: str | None) -> str:
    """The name of the model that makes what comes before a stage.

    Raises ValueError, with what to do, if none was given.
    """
    if model is None:
        first = "the structure" if stage == "latents" else "the structure and the latents"
        students = "a structure student" if stage == "latents" else "students of the structure and of the latents"
        advice = f"distil {first} first, and give all the same --export, or name a model with --structure"
        raise ValueError(f"the {stage} of pictures need {students}: {advice}")
    return model
