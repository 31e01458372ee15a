"""What learns from objects without end: the image encoder with the structure flow, then the latent flow alone."""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn

from ...models.image_encoder import ImageEncoder
from ..loop import Metrics, Schedule
from ..scratch.flows import Chosen, FlowStage
from ..scratch.joint import JointStage, first_views
from ..scratch.latent_flow import LatentFlowStage
from ..scratch.pretext import normalized
from ..scratch.stages import Run
from .data import EncodedObjects


class EndlessStage(Protocol):
    """What ``timed.train`` needs to know of a stage."""

    name: str
    schedule: Schedule

    @property
    def model(self) -> nn.Module:
        """Everything that learns."""

    @property
    def networks(self) -> dict[str, nn.Module]:
        """What a model folder keeps of it, by name in ``model_files.FILES``."""

    def loss(
        self, objects: EncodedObjects, generator: torch.Generator, progress: float
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a random batch, and metrics, without waiting for the device."""

    def evaluate(self) -> Metrics:
        """Held-out metrics, see ``flows.FlowStage.errors``."""


S = TypeVar("S", bound=FlowStage)


class _Endless(Generic[S]):
    """What both share: the stage from scratch, its networks on the device, and the objects that are held out."""

    def __init__(self, stage: S, schedule: Schedule, held_out: EncodedObjects) -> None:
        self.stage, self.schedule, self.held_out = stage, schedule, held_out
        self.name, self.run = stage.name, stage.run
        self.model = stage.model.to(stage.run.device)

    @property
    def networks(self) -> dict[str, nn.Module]:
        """What a model folder keeps."""
        return self.stage.networks

    def _chosen(self, objects: EncodedObjects, generator: torch.Generator) -> Chosen:
        count, views = objects.objects.column["image"].shape[:2]
        dropout = self.run.preset.conditioning_dropout
        return Chosen.of(count, views, self.schedule.batch, dropout, generator)


class EndlessJoint(_Endless[JointStage]):
    """The image encoder and the structure flow, as in ``JointStage``."""

    def __init__(self, run: Run, schedule: Schedule, held_out: EncodedObjects) -> None:
        super().__init__(JointStage(run, held_out), schedule, held_out)

    def loss(
        self, objects: EncodedObjects, generator: torch.Generator, progress: float
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The velocity's mean squared error, and the pretext's loss on the same tokens."""
        chosen = self._chosen(objects, generator)
        return self.stage.joint_loss(self.stage.model, objects, chosen, generator, progress)

    def evaluate(self) -> Metrics:
        """The flow's error on held-out objects with the encoder's tokens, and with those of another image."""
        return self.stage.evaluate(self.model)


class EndlessLatentFlow(_Endless[LatentFlowStage]):
    """The latent flow on the tokens of a finished encoder, as in ``LatentFlowStage``."""

    def __init__(self, run: Run, encoder: ImageEncoder, schedule: Schedule, held_out: EncodedObjects) -> None:
        super().__init__(LatentFlowStage(run), schedule, held_out)
        self.encoder = encoder

    def loss(
        self, objects: EncodedObjects, generator: torch.Generator, progress: float
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The velocity's mean squared error."""
        chosen = self._chosen(objects, generator)
        with torch.no_grad():
            images = objects.objects.column["image"][chosen.index, chosen.view]
            tokens = self.encoder(normalized(images, self.run.device)).float()
        clean = self.stage.clean(objects, chosen.index)
        error = self.stage.velocity_loss(self.model, clean, tokens * chosen.kept, generator)
        return error, {"velocity": error}

    def evaluate(self) -> Metrics:
        """The flow's error on held-out objects, and with the tokens of another image."""
        look = first_views(self.encoder, self.held_out.objects)
        return self.stage.errors(self.model, self.held_out, look)
