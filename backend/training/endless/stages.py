"""What learns from objects without end: the image encoder with the structure flow, then the latent flow alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from ...models.image_encoder import ImageEncoder
from ...models.latent_flow import LatentFlow
from ...models.structure_flow import StructureFlow
from ..loop import Metrics, Schedule
from ..scratch.flows import LatentFlowStage, StructureFlowStage
from ..scratch.pretext import ImagePretext, Truth, normalized, pretext_losses
from ..scratch.stages import Run
from .data import EncodedObjects

#: The share of the structure flow's rate that the encoder learns at, once it learns jointly.
ENCODER_SHARE = 0.3
#: The weight of what the encoder is first trained on, beside the flow's own loss.
PRETEXT_WEIGHT = 0.25
#: Up to this progress the new heads of the pretext learn without moving the encoder.
HEADS_ONLY = 0.1


class Part(NamedTuple):
    """A network that learns with a rate of its own."""

    network: nn.Module
    share: float  # of the schedule's rates
    weight_decay: float = 0.0


class EndlessStage(Protocol):
    """What ``timed.train`` needs to know of a stage."""

    name: str
    schedule: Schedule

    @property
    def parts(self) -> Sequence[Part]:
        """All that learns."""

    @property
    def networks(self) -> dict[str, nn.Module]:
        """What a model folder keeps of it, by name in ``export.FILES``."""

    def loss(
        self, objects: EncodedObjects, generator: torch.Generator, progress: float
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a random batch, and metrics, without waiting for the device."""

    def evaluate(self) -> Metrics:
        """Held-out metrics, as those of the stage with the same flow in ``scratch.flows``."""


@dataclass(frozen=True)
class Chosen:
    """A random batch: objects [B] and one view [B] of each."""

    index: Tensor
    view: Tensor
    kept: Tensor  # [B, 1, 1]: 0 where the condition is dropped

    @classmethod
    def of(cls, objects: EncodedObjects, batch: int, dropout: float, generator: torch.Generator) -> Chosen:
        """Draw a batch."""
        device, views = generator.device, objects.objects.column["image"].shape[1]
        index = torch.randint(len(objects.objects), (batch,), generator=generator, device=device)
        view = torch.randint(views, (batch,), generator=generator, device=device)
        kept = torch.rand(batch, generator=generator, device=device) >= dropout
        return cls(index, view, kept[:, None, None].float())


class EncoderAndStructureFlow:
    """The image encoder learns from the structure flow's loss, and what it was first trained on keeps it measuring.

    Half of the images have their channels in a random order: the structure has no colours.
    """

    name = "structure_flow"

    def __init__(
        self, run: Run, encoder: ImageEncoder, flow: StructureFlow, schedule: Schedule, held_out: EncodedObjects
    ) -> None:
        self.run, self.encoder, self.flow, self.schedule = run, encoder, flow, schedule
        self.heads = ImagePretext(ImageEncoder(**run.preset.networks["image_encoder"]), run.preset.data.resolution)
        self.heads.encoder = encoder
        self.heads.to(run.device)
        self.held_out = held_out
        self.stage = StructureFlowStage(run, held_out)

    @property
    def parts(self) -> Sequence[Part]:
        """The flow, the encoder, and the heads that are discarded."""
        heads = nn.ModuleDict({name: child for name, child in self.heads.named_children() if name != "encoder"})
        return Part(self.flow, 1.0), Part(self.encoder, ENCODER_SHARE, 0.02), Part(heads, 1.0)

    @property
    def networks(self) -> dict[str, nn.Module]:
        """The encoder and the flow."""
        return {"image_encoder": self.encoder, "structure_flow": self.flow}

    def loss(
        self, objects: EncodedObjects, generator: torch.Generator, progress: float
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The velocity's mean squared error, and the pretext's loss on the same tokens."""
        chosen = Chosen.of(objects, self.schedule.batch, self.run.preset.conditioning_dropout, generator)
        truth = Truth.of(objects.objects, chosen.index, chosen.view, self.heads.side)
        truth = truth.with_channels(_channels(len(chosen.index), generator))
        tokens = self.encoder(normalized(truth.image, self.run.device))
        self.stage.latents = objects
        error = self.stage.velocity_loss(self.flow, chosen.index, tokens * chosen.kept, generator)
        predicted = self.heads.heads(tokens.detach() if progress < HEADS_ONLY else tokens)
        pretext, metrics = pretext_losses(predicted, truth)
        shown = {name: metrics[name] for name in ("iou", "azimuth", "position", "visible")}
        return error + PRETEXT_WEIGHT * pretext, {"velocity": error, "pretext": pretext} | shown

    def evaluate(self) -> Metrics:
        """The flow's error on held-out objects with the encoder's tokens, and with those of another image."""
        self.held_out.look(self.encoder)
        self.stage.latents = self.held_out
        return self.stage.evaluate(self.flow)


def _channels(count: int, generator: torch.Generator) -> Tensor:
    """The order of red, green and blue of each item, [B, 3]: as it is for half of them, random for the others."""
    device = generator.device
    order = torch.rand(count, 3, generator=generator, device=device).argsort(1)
    same = torch.rand(count, 1, generator=generator, device=device) < 0.5
    return torch.where(same, torch.arange(3, device=device), order)


class LatentFlowAlone:
    """The latent flow on the tokens of a finished encoder."""

    name = "latent_flow"

    def __init__(
        self, run: Run, encoder: ImageEncoder, flow: LatentFlow, schedule: Schedule, held_out: EncodedObjects
    ) -> None:
        self.run, self.encoder, self.flow, self.schedule = run, encoder, flow, schedule
        self.held_out = held_out
        self.stage = LatentFlowStage(run, held_out)

    @property
    def parts(self) -> Sequence[Part]:
        """The flow."""
        return (Part(self.flow, 1.0),)

    @property
    def networks(self) -> dict[str, nn.Module]:
        """The flow."""
        return {"latent_flow": self.flow}

    def loss(
        self, objects: EncodedObjects, generator: torch.Generator, progress: float
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The velocity's mean squared error."""
        chosen = Chosen.of(objects, self.schedule.batch, self.run.preset.conditioning_dropout, generator)
        with torch.no_grad():
            images = objects.objects.column["image"][chosen.index, chosen.view]
            tokens = self.encoder(normalized(images, self.run.device)).float()
        self.stage.latents = objects
        error = self.stage.velocity_loss(self.flow, chosen.index, tokens * chosen.kept, generator)
        return error, {"velocity": error}

    def evaluate(self) -> Metrics:
        """The flow's error on held-out objects, and with the tokens of another image."""
        self.held_out.look(self.encoder)
        self.stage.latents = self.held_out
        return self.stage.evaluate(self.flow)
