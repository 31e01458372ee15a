"""Training the two flows on latents and image tokens, which the earlier stages' networks compute once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol, cast

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ...files import written_whole
from ...models.image_encoder import ImageEncoder
from ...models.latent_flow import LatentFlow
from ...models.latent_vae import LatentEncoder
from ...models.structure_flow import StructureFlow
from ...models.structure_vae import StructureEncoder
from ...sparse.tensor import SparseTensor
from ..flow_path import Samples, logistic_times, path_velocity, state_at
from ..loop import Metrics, Schedule
from ..objects.data import Objects
from .pretext import ImagePretext, normalized
from .stages import (
    ImageEncoderStage,
    LatentVAE,
    LatentVAEStage,
    Run,
    StructureVAE,
    StructureVAEStage,
    sparse_batch,
    voxel_features,
)


@dataclass(frozen=True)
class Standardized:
    """Latents with mean 0 and standard deviation 1 in each channel, and the mean and deviation they had before."""

    values: Tensor
    mean: Tensor  # [C]
    std: Tensor  # [C]

    @classmethod
    def of(cls, latents: Tensor, mean: Tensor, std: Tensor) -> Standardized:
        """Standardise latents, whose dimension 1 is the channel, with given statistics."""
        shape = [1, -1] + [1] * (latents.ndim - 2)
        return cls((latents - mean.reshape(shape)) / std.reshape(shape), mean, std)


class Encoders(Protocol):
    """The networks that make latents and tokens."""

    def structure(self) -> StructureEncoder:
        """The encoder from occupancy to structure latents."""

    def latents(self) -> LatentEncoder:
        """The encoder from the voxels' features to their latents."""

    def image(self) -> ImageEncoder:
        """The encoder from images to tokens."""


class TrainedEncoders:
    """The encoders of a training run. All methods raise FileNotFoundError until their stage is finished."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def structure(self) -> StructureEncoder:
        """The encoder from occupancy to structure latents."""
        return cast(StructureVAE, self.run.finished(StructureVAEStage)).encoder

    def latents(self) -> LatentEncoder:
        """The encoder from the voxels' features to their latents."""
        return cast(LatentVAE, self.run.finished(LatentVAEStage)).encoder

    def image(self) -> ImageEncoder:
        """The encoder from images to tokens."""
        return cast(ImagePretext, self.run.finished(ImageEncoderStage)).encoder


class FlowData(Protocol):
    """What the flows learn from."""

    @property
    def objects(self) -> Objects:
        """The objects, with the coordinates of their voxels."""

    @property
    def structure(self) -> Standardized:
        """Their structure latents [O, 8, r, r, r]."""

    @property
    def voxels(self) -> Standardized:
        """Latents of every voxel [V, 8]."""

    @property
    def tokens(self) -> Tensor:
        """Image tokens of every view, [O, views, L, C]."""


class Latents:
    """The latents and tokens of a run's objects, computed once and stored in ``folder``: structure latents
    [O, 8, r, r, r], latents of every voxel [V, 8], image tokens [O, views, L, C] (fp16)."""

    def __init__(self, run: Run, encoders: Encoders | None = None, folder: Path | None = None) -> None:
        """By default, use the run's own encoders and the folder ``RUN/latents/``."""
        self.run = run
        self.encoders = encoders or TrainedEncoders(run)
        self.folder = folder or run.folder / "latents"

    def _kept(self, name: str, make: Iterator[Tensor]) -> Tensor:
        path = self.folder / f"{name}.safetensors"
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

    @torch.no_grad()
    def _structures(self) -> Iterator[Tensor]:
        encoder = self.encoders.structure().to(self.run.device)
        for index in torch.arange(len(self.objects)).split(64):
            grid = self.objects.occupancy(index, self.run.preset.data.resolution)
            yield encoder(grid.to(self.run.device)).cpu()

    @cached_property
    def voxels(self) -> Standardized:
        """Latents of every voxel [V, 8], standardised over the training objects."""
        return self._standardized(self.raw_voxels(), int(self.objects.offsets[self.run.training_objects]))

    def raw_voxels(self) -> Tensor:
        """Latents of every voxel [V, 8] as the encoder returns them."""
        return self._kept("voxels", self._voxels())

    @torch.no_grad()
    def _voxels(self) -> Iterator[Tensor]:
        encoder = self.encoders.latents().to(self.run.device)
        objects = self.run.objects("coords", "distance", "child_color")
        for i in range(len(objects)):
            features = voxel_features(objects.voxels("distance", i), objects.voxels("child_color", i))
            yield encoder(sparse_batch([(objects.voxels("coords", i), features)], self.run.device)).feats.cpu()

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


#: Standard deviation of the training times, before the sigmoid. It is wider than TRELLIS's N(1, 1), which puts 3 % of
#: the times below 0.3 and 0.7 % above 0.97. With that, a short training would almost skip the last steps of sampling,
#: and the first, which are all that a one-step student has. Here it is 8 % and 3 %.
TIMES_STD = 1.3


class _FlowStage(ABC):
    """What both flows share: conditions, the choice of objects, and the evaluation."""

    name: str

    def __init__(self, run: Run, latents: FlowData | None = None) -> None:
        """``latents``: what to learn from, by default the run's own."""
        self.run = run
        self.schedule: Schedule = run.schedule(self.name)
        self.latents: FlowData = latents or Latents(run)

    def _condition(self, index: Tensor, view: Tensor) -> Tensor:
        return self.latents.tokens[index, view].float().to(self.run.device)

    def _draw(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Random objects and their image tokens, some of them zeroed for the unconditional flow."""
        count = self.schedule.batch
        index = torch.randint(self.run.training_objects, (count,), generator=generator)
        view = torch.randint(self.run.preset.data.views, (count,), generator=generator)
        kept = torch.rand(count, generator=generator) >= self.run.preset.conditioning_dropout
        return index, self._condition(index, view) * kept[:, None, None].to(self.run.device)

    def _held_out(self) -> Iterator[tuple[Tensor, torch.Generator]]:
        held_out = torch.arange(self.run.training_objects, len(self.latents.objects))
        for number, index in enumerate(held_out.split(self.schedule.batch)):
            yield index, torch.Generator().manual_seed(number)

    @abstractmethod
    def _clean(self, index: Tensor) -> tuple[Tensor, Tensor | None]:
        """The clean latents of these objects, and their voxels [N, 4], or None if the latents are dense."""

    @abstractmethod
    def _velocity(self, model: nn.Module, x_t: Tensor, coords: Tensor | None, t: Tensor, tokens: Tensor) -> Tensor:
        """The flow's velocity at a state, with the state's shape."""

    def velocity_loss(self, model: nn.Module, index: Tensor, tokens: Tensor, generator: torch.Generator) -> Tensor:
        """Flow matching (Lipman et al. 2023): the mean squared error of the velocity at random times and noise, over
        the elements of all objects. For latents of voxels this means that large objects count more."""
        x_0, coords = self._clean(index)
        noise = torch.randn(x_0.shape, generator=generator, device=generator.device)
        t = logistic_times(torch.randn(len(index), generator=generator, device=generator.device), std=TIMES_STD)
        x_t = state_at(x_0, noise, t, Samples.of(len(index), coords))
        device = self.run.device
        velocity = self._velocity(model, x_t.to(device), coords, t.to(device), tokens)
        return (velocity - path_velocity(x_0, noise).to(device)).square().mean()

    def loss(self, model: nn.Module, generator: torch.Generator, progress: float) -> tuple[Tensor, Metrics]:
        """The velocity's mean squared error, see ``loop.Stage``."""
        index, tokens = self._draw(generator)
        return self.velocity_loss(model, index, tokens, generator), {}

    def evaluate(self, model: nn.Module) -> Metrics:
        """The same error on held-out objects, and with another object's image, which shows whether images matter."""
        losses, shuffled = [], []
        for index, generator in self._held_out():
            tokens = self._condition(index, torch.zeros_like(index))
            state = generator.get_state()
            losses.append(self.velocity_loss(model, index, tokens, generator))
            generator.set_state(state)
            shuffled.append(self.velocity_loss(model, index, tokens.roll(1, 0), generator))
        return {
            "velocity_error": torch.stack(losses).mean().item(),
            "with_another_image": torch.stack(shuffled).mean().item(),
        }


class StructureFlowStage(_FlowStage):
    """The flow of the structure latents [B, 8, r, r, r]."""

    name = "structure_flow"

    def __init__(self, run: Run, latents: FlowData | None = None) -> None:
        super().__init__(run, latents)
        self.model = StructureFlow(**run.preset.networks[self.name])

    def _clean(self, index: Tensor) -> tuple[Tensor, None]:
        return self.latents.structure.values[index], None

    def _velocity(self, model: nn.Module, x_t: Tensor, coords: Tensor | None, t: Tensor, tokens: Tensor) -> Tensor:
        return cast(StructureFlow, model)(x_t, 1000 * t, tokens)


class LatentFlowStage(_FlowStage):
    """The flow of the latents [N, 8] of given voxels."""

    name = "latent_flow"

    def __init__(self, run: Run, latents: FlowData | None = None) -> None:
        super().__init__(run, latents)
        self.model = LatentFlow(**run.preset.networks[self.name])

    def _clean(self, index: Tensor) -> tuple[Tensor, Tensor]:
        objects = self.latents.objects
        rows, item = objects.rows(index)
        coords = torch.cat([item[:, None].int(), objects.column["coords"][rows].int()], 1)
        return self.latents.voxels.values[rows], coords

    def _velocity(self, model: nn.Module, x_t: Tensor, coords: Tensor | None, t: Tensor, tokens: Tensor) -> Tensor:
        assert coords is not None
        state = SparseTensor(x_t, coords.to(x_t.device), batch_size=len(t))
        return cast(LatentFlow, model)(state, 1000 * t, tokens).feats
