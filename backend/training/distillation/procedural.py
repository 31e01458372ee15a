"""Procedural objects as latents of a model folder's encoders: the data for distilling a small model's flows."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from ...config import Normalization
from ...weights.folders import ModelFolder
from ..scratch.latents import SeenLatents, Standardized
from ..scratch.model_files import FolderEncoders
from ..scratch.stages import Run, sparse_batch
from .items import Clean

Item = tuple[int, int]  # object, view


def latents_of(run: Run, model: ModelFolder) -> SeenLatents:
    """Latents and tokens of a run's objects from a model folder's encoders, cached beside the run's data."""
    encoders = FolderEncoders(model, run.device)
    return SeenLatents(run, encoders, run.folder / f"latents_{encoders.digest()}")


class _Procedural(ABC):
    """What both sets share: standardised latents, and training objects in a random view."""

    def __init__(self, latents: SeenLatents, normalization: Normalization) -> None:
        """``normalization`` is that of the stage's latents, from the model folder."""
        self.latents = latents
        mean, std = torch.tensor(normalization.mean), torch.tensor(normalization.std)
        self.values = Standardized.of(self._raw(), mean, std).values

    @abstractmethod
    def _raw(self) -> Tensor:
        """The latents as the encoder returns them."""

    def draw(self, generator: torch.Generator) -> Item:
        """A random training object and one of its views."""
        run = self.latents.run
        object_ = torch.randint(run.training_objects, (1,), generator=generator)
        return int(object_), int(torch.randint(run.preset.data.views, (1,), generator=generator))

    def _tokens(self, items: list[Item], device: torch.device) -> Tensor:
        objects, views = torch.tensor(items).unbind(1)
        return self.latents.tokens[objects, views].float().to(device)


class ProceduralStructures(_Procedural):
    """Structure latents, ``values`` [O, 8, r, r, r]."""

    def _raw(self) -> Tensor:
        return self.latents.raw_structure()

    def shape(self, item: Item) -> tuple[int, ...]:
        """[8, r, r, r], the same for all objects."""
        return tuple(self.values.shape[1:])

    def load(self, items: list[Item], device: torch.device) -> Clean:
        """Latents [B, 8, r, r, r] and tokens on the device."""
        objects = torch.tensor(items)[:, 0]
        return Clean(self.values[objects].to(device), None, self._tokens(items, device))


class ProceduralVoxels(_Procedural):
    """Latents of the occupied voxels, ``values`` [V, 8]. The voxels of an object are adjacent rows."""

    def _raw(self) -> Tensor:
        return self.latents.raw_voxels()

    def _rows(self, item: Item) -> slice:
        offsets = self.latents.objects.offsets
        return slice(int(offsets[item[0]]), int(offsets[item[0] + 1]))

    def shape(self, item: Item) -> tuple[int, ...]:
        """[N, 8] for an object of N voxels."""
        rows = self._rows(item)
        return rows.stop - rows.start, self.values.shape[1]

    def load(self, items: list[Item], device: torch.device) -> Clean:
        """Latents [N, 8] on the voxels of all items, and tokens, on the device."""
        voxels = [(self.latents.objects.voxels("coords", i), self.values[self._rows((i, v))]) for i, v in items]
        joined = sparse_batch(voxels, device)
        return Clean(joined.feats, joined.coords, self._tokens(items, device))


def held_out(latents: SeenLatents, count: int) -> list[Item]:
    """``count`` items that no student learns from, evenly spread over the held-out objects."""
    objects = torch.linspace(latents.run.training_objects, len(latents.objects) - 1, count).long()
    return [(int(i), 0) for i in objects]
