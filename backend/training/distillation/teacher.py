"""The flow to distil: found once, by a model's name or folder, with everything that a run needs from it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, cast

import torch
from torch import nn

from ...config import DESCRIPTIONS, Normalization, PipelineConfig, SamplerSettings
from ...errors import CheckpointError
from ...models.image_encoder import DinoEncoder
from ...models.latent_flow import LatentFlow
from ...models.layers import FlowNetwork
from ...models.structure_flow import StructureFlow
from ...weights.checkpoints import build_network, load_network
from ...weights.folders import ModelFolder
from .layouts import TRELLIS2, TRELLIS_500K
from .methods import StageName

Described = TypeVar("Described", bound=nn.Module)

#: The published model that stands in for one that is not known.
_USUAL = "trellis-image-large"
#: The statistics of latents that are used as the encoder returns them.
_AS_THEY_ARE = Normalization((0.0,), (1.0,))


@dataclass(frozen=True)
class Teacher:
    """One of the flows of a model, and what the model's pipeline.json says about it."""

    model: ModelFolder
    stage: StageName
    flow: str  # the flow's name in pipeline.json
    decoder: str  # and that of the decoder of its latents
    kind: type[nn.Module]
    sampling: SamplerSettings
    normalization: Normalization  # of its latents

    @classmethod
    def find(cls, name: str, stage: StageName) -> Teacher:
        """The flow of the model with this name or folder. Raises CheckpointError, with the code ``model_missing`` for a
        published model that is not installed."""
        return cls.of(ModelFolder.find(name), stage)

    @classmethod
    def published(cls, stage: StageName, name: str = _USUAL) -> Teacher:
        """The flow of the published model of this name without weights, which is enough to plan a run.

        TRELLIS's if only its name is known. Raises CheckpointError if the model has no such flow.
        """
        folder = DESCRIPTIONS / (name if (DESCRIPTIONS / name / "pipeline.json").is_file() else _USUAL)
        return cls.of(ModelFolder(folder, PipelineConfig.read(folder)), stage)

    @classmethod
    def of(cls, model: ModelFolder, stage: StageName) -> Teacher:
        """The flow of a model folder that has been read. Raises CheckpointError if the model has no such flow."""
        config = model.config
        if stage == "structure":
            names, kind = (config.structure_flow, config.structure_decoder), StructureFlow
            statistics = config.structure_normalization or _AS_THEY_ARE
            return cls(model, stage, *names, kind, config.structure_sampler, statistics)
        if stage == "latents":
            names = config.latent_flow, config.mesh_decoder
            return cls(model, stage, *names, LatentFlow, config.latent_sampler, config.latent_normalization)
        own = config.materials
        if own is None:
            raise CheckpointError(f"{model.path.name} has no flow of textures. Only a model of TRELLIS.2 has one.")
        names = own.texture_flow, own.texture_decoder
        return cls(model, stage, *names, LatentFlow, own.texture_sampler, own.texture_normalization)

    @property
    def tight(self) -> bool:
        """Whether its pictures are framed without a margin."""
        return self.model.config.materials is not None

    @property
    def most_voxels(self) -> int:
        """The most voxels of an object's latents in the published training."""
        return (TRELLIS_500K if self.model.config.materials is None else TRELLIS2).most

    def missing(self) -> str:
        """Which network that a run needs is not in the folder, and what to do; empty if all are there."""
        try:
            names = [self.flow, self.model.config.image_encoder, self.decoder]
            if self.stage == "textures":
                names.append(self.model.config.mesh_decoder)  # which says what voxels have a texture
            for name in names:
                self.model.network(name)
        except CheckpointError as error:
            return f"{error} {error.hint}"
        return ""

    def described(self) -> nn.Module:
        """The flow without weights, on the meta device. Raises CheckpointError."""
        return self._described(self.flow, self.kind)

    def context(self) -> int:
        """How many tokens of a picture the flow is given. Raises CheckpointError."""
        encoder = self._described(self.model.config.image_encoder, DinoEncoder)
        return 1 + encoder.register_tokens.shape[1] + (encoder.side // encoder.patch_size) ** 2

    def _described(self, name: str, kind: type[Described]) -> Described:
        """A network without weights. Its description is enough: TRELLIS's own are here without weights."""
        places = (self.model.path / f"{name}.json", DESCRIPTIONS / f"{Path(name).name}.json")
        there = next((place for place in places if place.is_file()), None)
        return build_network(there or self.model.network(name).description, kind, half=False)

    def load(self, device: torch.device) -> nn.Module:
        """The teacher, in the device's precision. Raises CheckpointError, also if it is a flow map itself."""
        files = self.model.network(self.flow)
        network = load_network(files, self.kind, device)
        if cast(FlowNetwork, network).flow_map:
            raise CheckpointError(f"{files.description} describes a flow map. A teacher must be a flow.")
        return network

    def begin(self, flow_map: bool = False) -> nn.Module:
        """A network to be trained, fp32 on the CPU, with the teacher's weights. As a flow map it also gets a second
        time and guidance, which change nothing yet. Raises CheckpointError."""
        network = load_network(self.model.network(self.flow), self.kind, torch.device("cpu"))
        if flow_map:
            cast(FlowNetwork, network).become_flow_map()
        return network
