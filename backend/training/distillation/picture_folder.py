"""A folder of pictures to distil on: no objects, no latents. Methods that are free of data need nothing else.

Structure latents have one shape for all pictures. The latents of voxels need voxels, and a structure student that was
distilled before makes these, as it will when the two students are used.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import cast

import torch
from torch import Tensor
from torch.nn.functional import pad

from ...config import SamplerSettings
from ...images.framing import images_to_tensor, prepare_image
from ...mesh.extract.seal import seal_voxels
from ...models.image_encoder import ImageEncoder
from ...models.structure_flow import StructureFlow
from ...models.structure_vae import StructureDecoder
from ...stages import decode_structure, sample_structure, structure_noise
from ...weights.checkpoints import load_network
from ...weights.folders import ModelFolder
from .distill import digest_of
from .items import Clean
from .trellis500k import MAX_VOXELS, read_picture

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
        coords = decode_structure(self.decoder, latents)
        if self.seals and len(coords):
            coords = seal_voxels(coords, resolution)
        return coords[:, 1:].short().cpu()


class PictureSet:
    """Pictures for ``distill``: tokens from the frozen encoder, latents that are not known, voxels from a student."""

    def __init__(
        self,
        paths: list[Path],
        encoder: ImageEncoder,
        channels: int,
        resolution: int,
        structure: StructureStudent | None = None,
    ) -> None:
        """``channels`` and ``resolution`` are the flow's. Without ``structure`` the latents are those of structures.

        The other methods raise ValueError for a picture that cannot be used.
        """
        self.paths, self.encoder = paths, encoder
        self.channels, self.resolution, self.structure = channels, resolution, structure
        self._tokens = lru_cache(maxsize=256)(self._encoded)
        self._voxels = lru_cache(maxsize=4096)(self._made)

    def draw(self, generator: torch.Generator) -> Item:
        """A random picture and one of its structures."""
        picture = torch.randint(len(self.paths), (1,), generator=generator)
        return int(picture), int(torch.randint(STRUCTURES, (1,), generator=generator))

    def shape(self, item: Item) -> tuple[int, ...]:
        """[C, R, R, R], or [N, C] for a structure of N voxels."""
        if self.structure is None:
            return self.channels, *[self.resolution] * 3
        return len(self._voxels(item)), self.channels

    def load(self, items: list[Item], device: torch.device) -> Clean:
        """The pictures' tokens and voxels, on the device. The latents are not numbers."""
        cond = torch.cat([self._tokens(picture) for picture, _ in items]).to(device, torch.float32)
        shapes = [self.shape(item) for item in items]
        if self.structure is None:
            return Clean(torch.full((len(items), *shapes[0]), torch.nan, device=device), None, cond)
        coords = [pad(self._voxels(item).int(), (1, 0), value=row) for row, item in enumerate(items)]
        rows = sum(shape[0] for shape in shapes)
        return Clean(torch.full((rows, self.channels), torch.nan, device=device), torch.cat(coords).to(device), cond)

    @torch.no_grad()
    def _encoded(self, picture: int) -> Tensor:
        """A picture's tokens [1, L, C], fp16 on the CPU. One at a time, so that they are the same in every batch."""
        size = self.encoder.grid * self.encoder.patch_size
        prepared = prepare_image(read_picture(self.paths[picture]), size)
        device = next(self.encoder.parameters()).device
        return cast(Tensor, self.encoder(images_to_tensor([prepared], size).to(device))).half().cpu()

    def _made(self, item: Item) -> Tensor:
        """The voxels [N, 3] of a picture's structure."""
        picture, number = item
        assert self.structure is not None
        for attempt in range(ATTEMPTS):
            seed = (picture * ATTEMPTS + attempt) * STRUCTURES + number
            voxels = self.structure.voxels(self._tokens(picture).float(), seed, self.resolution)
            if 0 < len(voxels) <= MAX_VOXELS:
                return voxels
        raise ValueError(f"{self.paths[picture]}: {self.structure.name} makes no structure of it that can be used")


def require_structure(model: str | None) -> str:
    """The structure student's name. Raises ValueError, with what to do, if none was given."""
    if model is None:
        advice = "distil the structure first, and give both the same --export, or name a model with --structure"
        raise ValueError(f"the latents of pictures need a structure student: {advice}")
    return model


def structure_student(model: str | None, device: torch.device) -> StructureStudent:
    """The structure student with this name or folder. Raises ValueError if none was given, CheckpointError."""
    return StructureStudent(ModelFolder.find(require_structure(model)), device)
