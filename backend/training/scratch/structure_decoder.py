"""The structure decoder, trained further on what the finished flow makes.

A decoder that has only seen encoded objects takes every small error of a flow at its word. One voxel that is missing in
a wall then opens the inside. Here it learns to close such walls: latents are noised, the flow brings them back with the
object's picture, and the decoder is to return the object's voxels.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor, nn

from ...models.image_encoder import ImageEncoder
from ...models.structure_flow import StructureFlow
from ...models.structure_vae import StructureDecoder
from ...weights.checkpoints import load_network
from ..flow_path import Samples, state_at
from ..loop import Metrics, Schedule
from ..objects.data import Objects
from .joint import JointStage
from .latent_flow import TrainedEncoders
from .latents import Latents
from .model_files import FILES
from .pretext import normalized
from .stages import Run, StructureVAEStage, voxel_errors, voxel_losses


class StructureDecoderStage:
    """Latents with a flow's errors to occupied voxels. The encoder stays as it is, and so does what latents mean."""

    name = "structure_decoder"
    earlier: ClassVar[Mapping[str, str]] = {"structure_decoder": StructureVAEStage.name}
    # Times that latents are noised to. At the last ones the flow makes nearly another object, and nothing is to learn.
    times = (0.25, 0.95)
    euler_steps = 6
    # How much more a lost voxel counts than an invented one. Of 96 structures that mini samples, 67 leak with 1, 43
    # with 3 and 20 with 6; the solids agree best with true ones with 6.
    lost_weight = 6.0

    def __init__(self, run: Run) -> None:
        self.run = run.extended()
        self.schedule: Schedule = run.schedule(self.name)
        self.model = StructureDecoder(**run.preset.networks[self.name])
        if not run.start or run.has(StructureVAEStage.name):
            self.model.load_state_dict(run.finished(StructureVAEStage).model.decoder.state_dict())

    @cached_property
    def objects(self) -> Objects:
        """The run's objects, with their voxels' coordinates and their views."""
        return self.run.objects("coords", "image")

    @cached_property
    def latents(self) -> Latents:
        """The latents of the same objects."""
        return Latents(self.run, TrainedEncoders(self.run))

    @cached_property
    def image_encoder(self) -> ImageEncoder:
        """What the flow's tokens come from."""
        return TrainedEncoders(self.run).image().requires_grad_(False)

    @cached_property
    def flow(self) -> StructureFlow:
        """The finished flow. Raises FileNotFoundError if its training is not at its end."""
        start = self.run.start
        if start is None or self.run.has(JointStage.name):
            return self.run.finished(JointStage).model.flow.requires_grad_(False)
        files = start.network(f"ckpts/{FILES[JointStage.name][1]}")
        return load_network(files, StructureFlow, self.run.device)

    @property
    def networks(self) -> dict[str, nn.Module]:
        """The decoder, see ``ScratchStage``."""
        return {self.name: self.model}

    @torch.no_grad()
    def brought_back(self, index: Tensor, view: Tensor, generator: torch.Generator) -> Tensor:
        """The latents [B, 8, r, r, r] of objects [B], noised to random times and brought back by the flow, which sees
        these views [B]. They have the encoder's own scale."""
        device, clean = self.run.device, self.latents.structure
        low, high = self.times
        noise = torch.randn(clean.values[index].shape, generator=generator)
        start = low + (high - low) * torch.rand(len(index), generator=generator)
        samples = Samples.of(len(index), None)
        x = state_at(clean.values[index], noise, start, samples).to(device)
        tokens = self.image_encoder(normalized(self.objects.column["image"][index, view], device)).float()
        start = start.to(device)
        for k in range(self.euler_steps):
            velocity = self.flow(x, 1000 * start * (1 - k / self.euler_steps), tokens).float()
            x = x - samples.spread(start / self.euler_steps, x) * velocity
        return clean.restored(x)

    def _occupancy(self, index: Tensor) -> Tensor:
        return self.objects.occupancy(index, self.run.preset.data.resolution).to(self.run.device)

    def loss(self, model: nn.Module, generator: torch.Generator, progress: float) -> tuple[Tensor, Metrics]:
        """Voxels that are lost or invented, see ``loop.Stage``."""
        index = torch.randint(self.run.training_objects, (self.schedule.batch,), generator=generator)
        view = torch.randint(self.run.preset.data.views, (self.schedule.batch,), generator=generator)
        z = self.brought_back(index, view, generator)
        with torch.autocast("cpu", enabled=False):  # as in ``StructureVAEStage``
            dice, cross_entropy = voxel_losses(model(z), self._occupancy(index), self.lost_weight)
        return dice + cross_entropy, {"dice": dice.item(), "bce": cross_entropy.item()}

    def evaluate(self, model: nn.Module) -> Metrics:
        """The IoU of the voxels, and how many are wrong, from brought back latents of held-out objects."""
        held_out = torch.arange(self.run.training_objects, len(self.objects))

        def pairs(index: Tensor) -> tuple[Tensor, Tensor]:
            generator = torch.Generator().manual_seed(int(index[0]))
            z = self.brought_back(index, torch.zeros_like(index), generator)
            return self._occupancy(index) > 0, model(z) > 0

        return voxel_errors(pairs, held_out)
