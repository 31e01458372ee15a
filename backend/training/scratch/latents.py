"""A run's objects as latents and image tokens, which the earlier stages' networks compute once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ...files import written_whole
from ...models.image_encoder import ImageEncoder
from ...models.latent_vae import LatentEncoder
from ...models.structure_vae import StructureEncoder
from ..objects.data import Objects
from .model_files import FolderEncoders
from .pretext import normalized
from .stages import LatentVAEStage, Run, StructureVAEStage, sparse_batch, voxel_features


def _by_channel(values: Tensor, latents: Tensor) -> Tensor:
    """One number for each channel [C], shaped to multiply latents, whose dimension 1 is the channel."""
    return values.reshape([1, -1] + [1] * (latents.ndim - 2)).to(latents)


@dataclass(frozen=True)
class Standardized:
    """Latents with mean 0 and standard deviation 1 in each channel, and the mean and deviation they had before."""

    values: Tensor
    mean: Tensor  # [C]
    std: Tensor  # [C]

    @classmethod
    def of(cls, latents: Tensor, mean: Tensor, std: Tensor) -> Standardized:
        """Standardise latents, whose dimension 1 is the channel, with given statistics."""
        return cls((latents - _by_channel(mean, latents)) / _by_channel(std, latents), mean, std)

    def restored(self, latents: Tensor) -> Tensor:
        """Standardised latents of the same kind with the mean and deviation they had before."""
        return latents * _by_channel(self.std, latents) + _by_channel(self.mean, latents)


class VoxelEncoders(Protocol):
    """The networks that make latents."""

    def structure(self) -> StructureEncoder:
        """The encoder from occupancy to structure latents."""

    def latents(self) -> LatentEncoder:
        """The encoder from the voxels' features to their latents."""


class Encoders(VoxelEncoders, Protocol):
    """The networks that make latents and tokens."""

    def image(self) -> ImageEncoder:
        """The encoder from images to tokens."""


class TrainedVoxelEncoders:
    """Those of a training run. A run that starts with a model uses the model's until it begins to train them. All
    methods raise FileNotFoundError until their stage is finished."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def structure(self) -> StructureEncoder:
        """The encoder from occupancy to structure latents."""
        if self.run.start and not self.run.has(StructureVAEStage.name):
            return FolderEncoders(self.run.start, self.run.device).structure()
        return self.run.finished(StructureVAEStage).model.encoder

    def latents(self) -> LatentEncoder:
        """The encoder from the voxels' features to their latents."""
        if self.run.start and not self.run.has(LatentVAEStage.name):
            return FolderEncoders(self.run.start, self.run.device).latents()
        return self.run.finished(LatentVAEStage).model.encoder


class Latents:
    """The latents of a run's objects, computed once and stored in ``folder`` by the numbers of their shards: structure
    latents [O, 8, r, r, r], and latents of every voxel [V, 8]."""

    def __init__(self, run: Run, encoders: VoxelEncoders, folder: Path | None = None) -> None:
        """The default folder is ``RUN/latents/``."""
        self.run, self._encoders = run, encoders
        self.folder = folder or run.folder / "latents"

    def _kept(self, name: str, make: Iterator[Tensor]) -> Tensor:
        numbers = self.run.preset.data.numbers
        path = self.folder / f"{name}_{numbers.start}-{numbers.stop - 1}.safetensors"
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            # A training step may be the first to ask. Store full precision, whatever the step computes in.
            with torch.autocast(self.run.device.type, enabled=False):
                values = torch.cat(list(make)).contiguous()
            with written_whole(path) as part:  # several runs may start at once
                save_file({name: values}, part)
        return load_file(path)[name]

    def _standardized(self, latents: Tensor, training_rows: int) -> Standardized:
        """Standardise with statistics over the training objects. The channel is dimension 1."""
        axes = [i for i in range(latents.ndim) if i != 1]
        mean, std = latents[:training_rows].mean(axes), latents[:training_rows].std(axes)
        std = std.where(std > 1e-6, torch.ones_like(std))  # a channel that never varies has no scale
        return Standardized.of(latents, mean, std)

    @cached_property
    def objects(self) -> Objects:
        """The run's objects, with the coordinates of their voxels."""
        return self.run.objects("coords")

    @cached_property
    def structure(self) -> Standardized:
        """Structure latents [O, 8, r, r, r], standardised over the training objects."""
        return self._standardized(self.raw_structure(), self.run.training_objects)

    def raw_structure(self) -> Tensor:
        """Structure latents [O, 8, r, r, r] as the encoder returns them."""
        return self._kept("structure", self._structures())

    @cached_property
    def mirrored(self) -> Standardized:
        """Structure latents of the same objects mirrored in x, standardised with the same statistics."""
        values = self._kept("mirrored", self._structures(mirrored=True))
        return Standardized.of(values, self.structure.mean, self.structure.std)

    @torch.no_grad()
    def _structures(self, mirrored: bool = False) -> Iterator[Tensor]:
        encoder = self._encoders.structure().to(self.run.device)
        for index in torch.arange(len(self.objects)).split(64):
            grid = self.objects.occupancy(index, self.run.preset.data.resolution)
            yield encoder((grid.flip(2) if mirrored else grid).to(self.run.device)).cpu()

    @cached_property
    def voxels(self) -> Standardized:
        """Latents of every voxel [V, 8], standardised over the training objects."""
        return self._standardized(self.raw_voxels(), int(self.objects.offsets[self.run.training_objects]))

    def raw_voxels(self) -> Tensor:
        """Latents of every voxel [V, 8] as the encoder returns them."""
        return self._kept("voxels", self._voxels())

    @torch.no_grad()
    def _voxels(self) -> Iterator[Tensor]:
        encoder = self._encoders.latents().to(self.run.device)
        objects = self.run.objects("coords", "distance", "child_color")
        for i in range(len(objects)):
            features = voxel_features(objects.voxels("distance", i), objects.voxels("child_color", i))
            yield encoder(sparse_batch([(objects.voxels("coords", i), features)], self.run.device)).feats.cpu()


class SeenLatents(Latents):
    """The same, and image tokens of every view, [O, views, L, C] fp16."""

    def __init__(self, run: Run, encoders: Encoders, folder: Path | None = None) -> None:
        super().__init__(run, encoders, folder)
        self.encoders = encoders

    @cached_property
    def tokens(self) -> Tensor:
        """Image tokens of every view, [O, views, L, C] fp16."""
        return self._kept("tokens", self._tokens())

    @torch.no_grad()
    def _tokens(self) -> Iterator[Tensor]:
        encoder = self.encoders.image().to(self.run.device)
        objects = self.run.objects("image")
        for images in objects.column["image"].split(32):
            tokens = encoder(normalized(images.flatten(0, 1), self.run.device))
            yield tokens.unflatten(0, images.shape[:2]).half().cpu()
