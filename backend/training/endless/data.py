"""The objects of a run in memory, as latents of a model's encoders: those drawn meanwhile, and those held out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from ...config import Normalization
from ...models.latent_vae import LatentEncoder
from ...models.structure_vae import StructureEncoder
from ...sparse.tensor import SparseTensor
from ...weights.folders import ModelFolder
from ..objects.data import Objects, make_data
from ..scratch.latents import Standardized
from ..scratch.model_files import FolderEncoders
from ..scratch.presets import Preset
from ..scratch.stages import VIEW_COLUMNS, Run, voxel_features

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
        """The columns of ``make_objects`` with the standardised latents of each object, "structure" and "mirrored" (of
        the mirrored object), and of each voxel, "latent"; without the distances, which fill the memory and are not
        needed any more."""
        objects = Objects(columns)
        structure, mirrored, latent = [], [], []
        for index in torch.arange(len(objects), device=objects.device).split(ENCODED):
            occupancy = objects.occupancy(index, self.resolution)
            structure.append(self.structure(occupancy))
            mirrored.append(self.structure(occupancy.flip(2)))
            rows, item = objects.rows(index)
            features = voxel_features(columns["distance"][rows], columns["child_color"][rows])
            coords = torch.cat([item[:, None].int(), columns["coords"][rows].int()], 1)
            latent.append(self.latents(SparseTensor(features, coords, batch_size=len(index))).feats)
        values = {
            "structure": _standardized(torch.cat(structure), self.structure_statistics).values,
            "mirrored": _standardized(torch.cat(mirrored), self.structure_statistics).values,
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
        self.structure, self.mirrored, self.voxels = (
            Standardized(columns[name], none, none) for name in ("structure", "mirrored", "latent")
        )


def held_out_run(preset: Preset, folder: Path, device: torch.device) -> Run:
    """A run that has only the preset's held-out shards."""
    data = preset.data
    only = replace(data, first=data.first + data.shards - preset.held_out_shards, shards=preset.held_out_shards)
    return Run(replace(preset, data=only, extra_shards=0), folder, device)


def held_out_objects(run: Run, encoding: Encoding) -> EncodedObjects:
    """The objects of ``held_out_run``, drawn on the CPU unless they are there already, with their latents."""
    make_data(run.preset.data, run.data_folder, lambda done, total: None)
    objects = run.objects("distance", *VIEW_COLUMNS)
    columns = encoding.encoded({name: column.to(run.device) for name, column in objects.column.items()})
    return EncodedObjects({name: column.cpu() for name, column in columns.items()})
