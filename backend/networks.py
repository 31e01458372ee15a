"""The networks that not every model has in memory: a student's teacher, and what makes materials in TRELLIS.2."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .config import MaterialsConfig, Normalization, SamplerSettings
from .models.latent_flow import LatentFlow
from .models.sparse_unet import SparseUnetDecoder
from .models.structure_flow import StructureFlow
from .protocol import Settings
from .sparse.tensor import SparseTensor
from .stages import latent_noise, sample_latents, standardized
from .weights.checkpoints import Checkpoint
from .weights.folders import ModelFolder


class Teacher(NamedTuple):
    """The flow that a structure flow was distilled from: slower, but more reliable."""

    flow: Checkpoint[StructureFlow]  # in memory only while it is used
    sampler: SamplerSettings
    normalization: Normalization | None

    @classmethod
    def of(cls, model: ModelFolder, device: torch.device, verify: bool) -> Teacher | None:
        """That of an overlay, whose base it is in; None for a complete model. Raises CheckpointError."""
        if model.base is None:
            return None
        config = model.base.config
        flow = Checkpoint(model.base.network(config.structure_flow), StructureFlow, device, verify=verify)
        return cls(flow, config.structure_sampler, config.structure_normalization)


class Materials(NamedTuple):
    """What makes the materials of a surface."""

    flow: LatentFlow  # latents of textures on the voxels of the shape's, which it is given
    decoder: SparseUnetDecoder
    normalization: Normalization
    own_sampler: SamplerSettings

    @classmethod
    def of(
        cls, config: MaterialsConfig | None, checkpoint: Callable[[str, Any], Checkpoint[Any]]
    ) -> tuple[Materials | None, tuple[Checkpoint[Any], ...]]:
        """The networks that a folder has for materials, and where their weights come from; none of TRELLIS's has any.

        ``checkpoint`` makes the checkpoint of a network, by its name and kind. Raises CheckpointError.
        """
        if config is None:
            return None, ()
        flow = checkpoint(config.texture_flow, LatentFlow)
        decoder = checkpoint(config.texture_decoder, SparseUnetDecoder)
        made = cls(flow.network, decoder.network, config.texture_normalization, config.texture_sampler)
        return made, (flow, decoder)

    def sampled(
        self,
        shape: SparseTensor,
        statistics: Normalization,
        cond: Tensor,
        sampler: SamplerSettings,
        generator: torch.Generator,
        on_step: Callable[[int, int], None],
    ) -> SparseTensor:
        """Latents of the texture on the voxels of the ``shape``, whose latents have the given ``statistics``.

        ``cond`` are the tokens [V, L, C] of V views.
        """
        fixed = shape.replace(standardized(shape.feats, statistics))
        noise = shape.replace(latent_noise(self.flow, shape.coords, generator).feats)
        return sample_latents(self.flow, noise, cond, sampler, self.normalization, on_step, concat_cond=fixed)

    def sampler(self, settings: Settings) -> SamplerSettings:
        """The sampler with these settings. Their guidance is meant for the shape: textures keep the model's own."""
        return replace(self.own_sampler.overridden(settings), guidance=self.own_sampler.guidance)
