"""The objects of a run in memory, as latents of a model's encoders: those drawn meanwhile, and those held out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from ...config import Normalization
from ...models.image_encoder import ImageEncoder
from ...models.latent_vae import LatentEncoder
from ...models.structure_vae import StructureEncoder
from ...sparse.tensor import SparseTensor
from ...weights.folders import ModelFolder
from ..distillation.procedural import FolderEncoders
from ..objects.data import Objects, make_data
from ..scratch.flows import Standardized
from ..scratch.presets import Preset
from ..scratch.pretext import normalized
from ..scratch.stages import Run, voxel_features

#: How many objects are encoded at once.
ENCODED = 64


@dataclass(frozen=True)
class Encoding:
    """How a model turns objects into latents: its two encoders, on a device, and its statistics."""

    structure: StructureEncoder
    latents: LatentEncoder
    structure_statistics: Normalization
    latent_statistics: Normalization
    resolution: int

    @classmethod
    def of(cls, model: ModelFolder, resolution: int, device: torch.device) -> Encoding:
        """The encoding of a model folder. Raises CheckpointError."""
        encoders = FolderEncoders(model, torch.device("cpu"))  # loaded there, they are in full precision
        config = model.config
        assert config.structure_normalization is not None  # a model of ours has it
        statistics = config.structure_normalization, config.latent_normalization
        structure, latents = encoders.structure().to(device).eval(), encoders.latents().to(device).eval()
        return cls(structure, latents, *statistics, resolution)

    @torch.no_grad()
    def encoded(self, columns: dict[str, Tensor]) -> dict[str, Tensor]:
        """The columns of ``make_objects`` with the standardised latents of each object and voxel, "structure" and
        "latent"; without the distances, which fill the memory and are not needed any more."""
        objects = Objects(columns)
        structure, latent = [], []
        for index in torch.arange(len(objects), device=objects.device).split(ENCODED):
            structure.append(self.structure(objects.occupancy(index, self.resolution)))
            rows, item = objects.rows(index)
            features = voxel_features(columns["distance"][rows], columns["child_color"][rows])
            coords = torch.cat([item[:, None].int(), columns["coords"][rows].int()], 1)
            latent.append(self.latents(SparseTensor(features, coords, batch_size=len(index))).feats)
        values = {
            "structure": _standardized(torch.cat(structure), self.structure_statistics).values,
            "latent": _standardized(torch.cat(latent), self.latent_statistics).values,
        }
        return {name: column for name, column in columns.items() if name != "distance"} | values


def _standardized(latents: Tensor, statistics: Normalization) -> Standardized:
    mean, std = (torch.tensor(values, device=latents.device) for values in (statistics.mean, statistics.std))
    return Standardized.of(latents, mean, std)


class EncodedObjects:
    """Objects with their latents, in the form that the flows' stages take (``flows.FlowData``)."""

    def __init__(self, columns: dict[str, Tensor]) -> None:
        """``columns`` as ``Encoding.encoded`` returns them."""
        self.objects = Objects(columns)
        none = torch.empty(0)
        self.structure = Standardized(columns["structure"], none, none)
        self.voxels = Standardized(columns["latent"], none, none)
        self.tokens = none

    @torch.no_grad()
    def look(self, encoder: ImageEncoder) -> None:
        """Let an encoder, wherever it is, make the tokens of every view, [O, views, L, C]."""
        images, device = self.objects.column["image"], encoder.pos_embed.device
        parts = [encoder(normalized(part, device)).half() for part in images.flatten(0, 1).split(ENCODED)]
        self.tokens = torch.cat(parts).unflatten(0, images.shape[:2]).to(self.objects.device)


def held_out_run(preset: Preset, folder: Path, device: torch.device) -> Run:
    """A run that has only the preset's held-out shards."""
    data = preset.data
    only = replace(data, first=data.first + data.shards - preset.held_out_shards, shards=preset.held_out_shards)
    return Run(replace(preset, data=only), folder, device)


def held_out_objects(run: Run, encoding: Encoding) -> EncodedObjects:
    """The objects of ``held_out_run``, drawn on the CPU unless they are there already, with their latents."""
    make_data(run.preset.data, run.data_folder, lambda done, total: None)
    objects = run.objects("coords", "image", "distance", "child_color")
    columns = encoding.encoded({name: column.to(run.device) for name, column in objects.column.items()})
    return EncodedObjects({name: column.cpu() for name, column in columns.items()})
