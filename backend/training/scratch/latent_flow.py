"""Training the flow of the latents of given voxels, on what the finished image encoder says."""

from __future__ import annotations

from functools import cached_property
from typing import cast

import torch
from torch import Tensor, nn

from ...models.image_encoder import ImageEncoder
from ...models.latent_flow import LatentFlow
from ...sparse.tensor import SparseTensor
from ..loop import Metrics
from .flows import Clean, FlowData, FlowStage, Times
from .joint import JointStage
from .latents import SeenLatents, TrainedVoxelEncoders
from .model_files import FolderEncoders
from .stages import Run


class TrainedEncoders(TrainedVoxelEncoders):
    """The encoders of a training run, with the image encoder as the structure flow has made it."""

    def image(self) -> ImageEncoder:
        """The encoder from images to tokens. Raises FileNotFoundError until its stage is finished."""
        if self.run.start and not self.run.has(JointStage.name):
            return FolderEncoders(self.run.start, self.run.device).image()
        return self.run.finished(JointStage).model.pretext.encoder


class LatentFlowStage(FlowStage):
    """The flow of the latents [N, 8] of given voxels."""

    name = "latent_flow"
    times = Times(late=0.75, mean=3.0)
    model: LatentFlow

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self.model = LatentFlow(**run.preset.networks[self.name])

    @cached_property
    def data(self) -> SeenLatents:
        """What it learns from."""
        return SeenLatents(self.run, TrainedEncoders(self.run))

    @property
    def networks(self) -> dict[str, nn.Module]:
        """The flow."""
        return {self.name: self.model}

    def clean(self, data: FlowData, index: Tensor) -> Clean:
        """The latents [N, 8] and their voxels."""
        rows, item = data.objects.rows(index)
        coords = torch.cat([item[:, None].int(), data.objects.column["coords"][rows].int()], 1)
        return data.voxels.values[rows], coords

    def _velocity(self, model: nn.Module, x_t: Tensor, coords: Tensor | None, t: Tensor, tokens: Tensor) -> Tensor:
        assert coords is not None
        state = SparseTensor(x_t, coords.to(x_t.device), batch_size=len(t))
        return cast(LatentFlow, model)(state, 1000 * t, tokens).feats

    def _tokens(self, index: Tensor, view: Tensor) -> Tensor:
        return self.data.tokens[index, view].float().to(self.run.device)

    def loss(self, model: nn.Module, generator: torch.Generator, progress: float) -> tuple[Tensor, Metrics]:
        """The velocity's mean squared error for a random batch, see ``loop.Stage``. Some conditions are zeroed."""
        chosen = self.chosen(generator)
        tokens = self._tokens(chosen.index, chosen.view) * chosen.kept.to(self.run.device)
        return self.velocity_loss(model, self.clean(self.data, chosen.index), tokens, generator), {}

    def evaluate(self, model: nn.Module) -> Metrics:
        """The same error on held-out objects, and with another object's image."""
        return self.errors(model, self.data, lambda index: self._tokens(index, torch.zeros_like(index)))
