"""The image encoder and the structure flow in one training: so the encoder learns what the flow needs to be told.

An encoder that has only learnt its pretext recognises objects but does not measure them well. Here the flow's loss
reaches the encoder through its tokens, and the pretext goes on beside it. Views are varied as in the pretext alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from ...models.image_encoder import ImageEncoder
from ...models.structure_flow import StructureFlow
from ..loop import Metrics
from ..objects.data import Objects
from .flows import Chosen, Clean, FlowData, FlowStage, Times
from .latents import Latents, TrainedVoxelEncoders
from .presets import Preset
from .pretext import ImagePretext, Truth, mirrorable, normalized, pretext_losses
from .stages import VIEW_COLUMNS, ImageEncoderStage, Run

#: The weight of the pretext's loss beside the flow's.
PRETEXT_WEIGHT = 0.25
#: Up to this progress, heads of the pretext that are new learn without moving the encoder.
HEADS_ONLY = 0.05


class EncoderAndFlow(nn.Module):
    """The encoder with its heads, which are discarded afterwards, and the flow."""

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        self.pretext = ImagePretext(ImageEncoder(**preset.networks["image_encoder"]), preset.data.resolution)
        self.flow = StructureFlow(**preset.networks["structure_flow"])


def first_views(encoder: ImageEncoder, objects: Objects) -> Callable[[Tensor], Tensor]:
    """What an encoder says of the first views of given objects [B]: tokens [B, L, C]."""
    device = encoder.pos_embed.device
    return lambda index: encoder(normalized(objects.column["image"][index, 0], device)).float()


class RunData(Latents):
    """A run's objects with their views, and their latents."""

    def __init__(self, run: Run) -> None:
        super().__init__(run, TrainedVoxelEncoders(run))

    @cached_property
    def objects(self) -> Objects:
        """The objects with ``VIEW_COLUMNS``."""
        return self.run.objects(*VIEW_COLUMNS)


class JointStage(FlowStage):
    """The structure flow and the image encoder. The encoder begins with what ``ImageEncoderStage`` left, if the run has
    it."""

    name = "structure_flow"
    earlier: ClassVar[Mapping[str, str]] = {"image_encoder": ImageEncoderStage.name}
    times = Times(late=0.5, mean=2.3)
    model: EncoderAndFlow

    def __init__(self, run: Run, data: FlowData | None = None) -> None:
        """``data``: what is held out, and what ``loss`` learns from; by default the run's."""
        super().__init__(run)
        self.data = data or RunData(self.run)
        self.model = EncoderAndFlow(run.preset)
        if data is None and (not run.start or run.has(ImageEncoderStage.name)):
            self.model.pretext.load_state_dict(run.finished(ImageEncoderStage).model.state_dict())
            self.new_heads = False
        else:
            self.new_heads = True

    @property
    def networks(self) -> dict[str, nn.Module]:
        """The encoder and the flow."""
        return {"image_encoder": self.model.pretext.encoder, "structure_flow": self.model.flow}

    def clean(self, data: FlowData, index: Tensor) -> Clean:
        """The latents [B, 8, r, r, r], which have no voxels."""
        return data.structure.values[index], None

    def _velocity(self, model: nn.Module, x_t: Tensor, coords: Tensor | None, t: Tensor, tokens: Tensor) -> Tensor:
        return cast(StructureFlow, model)(x_t, 1000 * t, tokens)

    def joint_loss(
        self, model: EncoderAndFlow, data: FlowData, chosen: Chosen, generator: torch.Generator, progress: float
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The velocity's mean squared error plus the pretext's loss on the same tokens, and metrics still on the
        device."""
        device = self.run.device
        mirrored = chosen.mirrored & mirrorable(data.objects, chosen.index)
        truth = Truth.of(data.objects, chosen.index, chosen.view, model.pretext.side, mirrored)
        truth = truth.with_channels(chosen.channels).to(device)
        tokens = model.pretext.encoder(normalized(truth.image, device))
        flip = mirrored[:, None, None, None, None]
        clean = torch.where(flip, data.mirrored.values[chosen.index], data.structure.values[chosen.index])
        velocity = self.velocity_loss(model.flow, (clean, None), tokens * chosen.kept.to(device), generator)
        heads_only = self.new_heads and progress < HEADS_ONLY
        pretext, found = pretext_losses(model.pretext.heads(tokens.detach() if heads_only else tokens), truth)
        shown = {name: found[name] for name in ("iou", "azimuth", "position", "visible")}
        return velocity + PRETEXT_WEIGHT * pretext, {"velocity": velocity, "pretext": pretext} | shown

    def loss(self, model: nn.Module, generator: torch.Generator, progress: float) -> tuple[Tensor, Metrics]:
        """The loss of ``joint_loss`` for a random batch, see ``loop.Stage``."""
        chosen = self.chosen(generator)
        loss, found = self.joint_loss(cast(EncoderAndFlow, model), self.data, chosen, generator, progress)
        return loss, {name: value.item() for name, value in found.items()}

    def evaluate(self, model: nn.Module) -> Metrics:
        """The flow's error on held-out objects with the encoder's tokens, and with those of another image."""
        model = cast(EncoderAndFlow, model)
        return self.errors(model.flow, self.data, first_views(model.pretext.encoder, self.data.objects))
