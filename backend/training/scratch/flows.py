"""What training either of the two flows has in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn

from ..flow_path import Samples, logistic_times, path_velocity, state_at
from ..loop import Metrics, Schedule
from ..objects.data import SHARD, Objects
from .latents import Standardized
from .stages import Run


class FlowData(Protocol):
    """What the flows learn from."""

    @property
    def objects(self) -> Objects:
        """The objects, with the coordinates of their voxels, and their views if an encoder is to look at them."""

    @property
    def structure(self) -> Standardized:
        """Their structure latents [O, 8, r, r, r]."""

    @property
    def mirrored(self) -> Standardized:
        """Those of the same objects mirrored in x."""

    @property
    def voxels(self) -> Standardized:
        """Latents of every voxel [V, 8]."""


@dataclass(frozen=True)
class Times:
    """Training times of two kinds: sigmoid(N(1, 1.3)) for all of the path, and, with the share ``late``,
    sigmoid(N(``mean``, 1.3)) for where a flow is sampled most.

    The deviation is larger than that of TRELLIS's N(1, 1), which puts 3 % of the times below 0.3 and 0.7 % above 0.97:
    a short training would almost skip the last steps of sampling, and the first, which are all that a one-step student
    has. Here it is 8 % and 3 %. Most steps of a sampler with a large ``rescale_t`` are later still: with 100 all 25
    start above 0.8.
    """

    STD: ClassVar[float] = 1.3

    late: float = 0.0
    mean: float = 1.0

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Times [B], on the generator's device."""
        device = generator.device
        normal = torch.randn(count, generator=generator, device=device)
        late = torch.rand(count, generator=generator, device=device) < self.late
        everywhere = logistic_times(normal, std=self.STD)
        return torch.where(late, logistic_times(normal, mean=self.mean, std=self.STD), everywhere)


#: Clean latents and their voxels [N, 4], or None if the latents are dense.
Clean = tuple[Tensor, Tensor | None]


@dataclass(frozen=True)
class Chosen:
    """A random batch: objects [B], a view [B] of each, and how these are varied. All lie with the generator."""

    index: Tensor
    view: Tensor
    kept: Tensor  # [B, 1, 1]: 0 where the condition is dropped
    channels: Tensor  # [B, 3]: the order of red, green and blue; the structure has no colours
    mirrored: Tensor  # [B] bool: to be mirrored, if it may be

    @classmethod
    def of(cls, count: int, views: int, batch: int, dropout: float, generator: torch.Generator) -> Chosen:
        """Draw from ``count`` objects. Channels keep their order in half of the batch; half of it is mirrored."""
        device = generator.device
        index = torch.randint(count, (batch,), generator=generator, device=device)
        view = torch.randint(views, (batch,), generator=generator, device=device)
        kept = torch.rand(batch, generator=generator, device=device) >= dropout
        order = torch.rand(batch, 3, generator=generator, device=device).argsort(1)
        same, mirrored = torch.rand(2, batch, generator=generator, device=device) < 0.5
        channels = torch.where(same[:, None], torch.arange(3, device=device), order)
        return cls(index, view, kept[:, None, None].float(), channels, mirrored)


class FlowStage(ABC):
    """What both flows' stages share: flow matching, and the evaluation on held-out objects."""

    name: str
    earlier: ClassVar[Mapping[str, str]] = {}
    times: ClassVar[Times] = Times()
    model: nn.Module

    def __init__(self, run: Run) -> None:
        self.run = run.extended()
        self.schedule: Schedule = run.schedule(self.name)

    @property
    @abstractmethod
    def networks(self) -> dict[str, nn.Module]:
        """What a model folder keeps of the model, see ``stages.ScratchStage``."""

    def chosen(self, generator: torch.Generator) -> Chosen:
        """A random batch of the training objects."""
        preset = self.run.preset
        count, views = self.run.training_objects, preset.data.views
        return Chosen.of(count, views, self.schedule.batch, preset.conditioning_dropout, generator)

    def _held_out(self) -> Iterator[tuple[Tensor, torch.Generator]]:
        data = self.run.preset.data
        held_out = torch.arange(self.run.training_objects, data.shards * SHARD)
        for number, index in enumerate(held_out.split(self.schedule.batch)):
            yield index, torch.Generator().manual_seed(number)

    @abstractmethod
    def clean(self, data: FlowData, index: Tensor) -> Clean:
        """The clean latents of these objects."""

    @abstractmethod
    def _velocity(self, model: nn.Module, x_t: Tensor, coords: Tensor | None, t: Tensor, tokens: Tensor) -> Tensor:
        """The flow's velocity at a state, with the state's shape."""

    def velocity_loss(
        self, model: nn.Module, clean: Clean, tokens: Tensor, generator: torch.Generator, times: Times | None = None
    ) -> Tensor:
        """Flow matching (Lipman et al. 2023): the mean squared error of the velocity at random noise and times (by
        default the stage's), over the elements of all objects. For latents of voxels this means that large objects
        count more."""
        x_0, coords = clean
        noise = torch.randn(x_0.shape, generator=generator, device=generator.device)
        t = (times or self.times).draw(len(tokens), generator)
        x_t = state_at(x_0, noise, t, Samples.of(len(tokens), coords))
        device = self.run.device
        velocity = self._velocity(model, x_t.to(device), coords, t.to(device), tokens)
        return (velocity - path_velocity(x_0, noise).to(device)).square().mean()

    def errors(self, model: nn.Module, data: FlowData, look: Callable[[Tensor], Tensor]) -> Metrics:
        """The same error on the held-out objects of ``data``, at times everywhere, which are the same for all flows,
        and with another object's image, which shows whether images matter. ``look`` makes the tokens [B, L, C] of the
        first views of given objects [B]."""
        losses, shuffled, everywhere = [], [], Times()
        for index, generator in self._held_out():
            tokens = look(index)
            state = generator.get_state()
            losses.append(self.velocity_loss(model, self.clean(data, index), tokens, generator, everywhere))
            generator.set_state(state)
            others = tokens.roll(1, 0)
            shuffled.append(self.velocity_loss(model, self.clean(data, index), others, generator, everywhere))
        return {
            "velocity_error": torch.stack(losses).mean().item(),
            "with_another_image": torch.stack(shuffled).mean().item(),
        }
