"""The networks that not every model has in memory: a student's teacher, and what makes materials in TRELLIS.2."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .config import MaterialsConfig, Normalization, PipelineConfig, SamplerSettings
from .errors import SettingsError
from .models.latent_flow import LatentFlow
from .models.sparse_unet import SparseUnetDecoder
from .models.structure_flow import StructureFlow
from .modes import COARSE, MODES, Mode, mode_for
from .progress import Check, interruptible
from .protocol import Settings
from .sparse.tensor import SparseTensor
from .stages import Known, latent_noise, sample_latents, sample_structure, standardized
from .weights.checkpoints import Checkpoint
from .weights.folders import ModelFolder

#: What to do about a model without a structure encoder.
ENCODER_HINT = (
    "For TRELLIS and its students, download the structure encoder (119 MB) from the preferences, or with: "
    "python -m backend download trellis-structure-encoder. A guide with a shape strength of 1 needs none."
)

#: What to do about one without flows of finer shapes.
FINE_HINT = (
    "For TRELLIS.2, download them (5.2 GB) from the preferences, or with: python -m backend download trellis2-4b-fine. "
    f"A resolution of {COARSE} needs none, and a student makes no other."
)


def require_possible(config: PipelineConfig, settings: Settings, *, guided: bool = False, boxed: bool = False) -> None:
    """Raise SettingsError for what a model with this pipeline.json cannot do, whatever its weights are.

    ``guided``: there is a guide, ``boxed``: there are boxes to make anew. The flow of structures of TRELLIS.2 was never
    tried with latents that are given in part, and its grid is not that of TRELLIS's encoder. Voxels that are taken as
    they are, it needs no structure for.
    """
    if config.materials is None:
        return
    if guided and 0 < settings.shape_strength < 1:
        message = "A model of TRELLIS.2 follows a guide only with a shape strength of 1."
        hint = "Set the shape strength to 1, which takes the guide's voxels as they are, or use a model of TRELLIS."
        raise SettingsError("settings_invalid", message, hint)
    if boxed:
        message = "A model of TRELLIS.2 makes nothing anew inside a box."
        raise SettingsError("settings_invalid", message, "Use a model of TRELLIS, or make the whole object again.")
    if settings.roughness == "estimated":
        message = "A model of TRELLIS.2 says itself how rough the surface is: that is not estimated from the images."
        raise SettingsError("settings_invalid", message, "Leave the roughness at constant.")


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

    def sampled(self, noise: Tensor, cond: Tensor, known: Known | None, check: Check) -> Tensor:
        """Structure latents as ``sample_structure`` makes them. ``check()`` is called before every block."""
        with self.flow.filled() as flow, interruptible([flow], check):
            return sample_structure(flow, noise, cond, self.sampler, self.normalization, known=known)


class Fine(NamedTuple):
    """The flows of finer shapes. They are in memory only while a job uses them: together they have 5 GB."""

    shape: LatentFlow
    texture: LatentFlow


class Materials(NamedTuple):
    """What makes the materials of a surface, and finer surfaces if the folder has flows for them."""

    flow: LatentFlow  # latents of textures on the voxels of the shape's, which it is given
    decoder: SparseUnetDecoder
    fine: Fine | None
    normalization: Normalization
    own_sampler: SamplerSettings
    own_mode: str  # a name of ``modes.MODES``

    @classmethod
    def of(
        cls,
        config: MaterialsConfig | None,
        checkpoint: Callable[[str, Any], Checkpoint[Any]],
        has: Callable[[str], bool],
    ) -> tuple[Materials | None, tuple[Checkpoint[Any], ...], tuple[Checkpoint[Any], ...]]:
        """The networks that a folder has for materials, where their weights come from, and those of the finer flows.

        None of TRELLIS's has any. ``checkpoint`` makes the checkpoint of a network, by its name and kind; ``has`` says
        whether the folder has weights of that name. Raises CheckpointError.
        """
        if config is None:
            return None, (), ()
        flow = checkpoint(config.texture_flow, LatentFlow)
        decoder = checkpoint(config.texture_decoder, SparseUnetDecoder)
        names = config.fine_latent_flow, config.fine_texture_flow
        finer = tuple(checkpoint(name, LatentFlow) for name in names if name is not None and has(name))
        fine = Fine(*(each.network for each in finer)) if len(finer) == len(names) else None
        made = cls(
            flow.network,
            decoder.network,
            fine,
            config.texture_normalization,
            config.texture_sampler,
            config.mode,
        )
        return made, (flow, decoder), finer if fine else ()

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        """All of them."""
        return self.flow, self.decoder, *(self.fine or ())

    def mode(self, settings: Settings) -> Mode:
        """How the shape is sampled with these settings. Raises SettingsError.

        Where nothing is asked for, a model without flows of finer shapes makes coarse ones: see ``note``.
        """
        if self.note(settings):
            return MODES[str(COARSE)]
        mode = mode_for(self.own_mode, settings.resolution)
        if mode.is_fine and self.fine is None:
            message = f"The model has no networks for shapes at a resolution of {mode.resolution}."
            raise SettingsError("networks_missing", message, FINE_HINT)
        return mode

    def note(self, settings: Settings) -> str:
        """What to say if the model's own mode cannot be had; empty if it can, or another was asked for."""
        if self.fine is not None or settings.resolution is not None or not MODES[self.own_mode].is_fine:
            return ""
        return f"The shape was made at a resolution of {COARSE}: the networks of finer ones are missing."

    def sampled(
        self,
        flow: LatentFlow,
        shape: SparseTensor,
        statistics: Normalization,
        cond: Tensor,
        sampler: SamplerSettings,
        generator: torch.Generator,
        on_step: Callable[[int, int], None],
    ) -> SparseTensor:
        """Latents of the texture on the voxels of the ``shape``, whose latents have the given ``statistics``.

        ``flow`` is that of textures or of finer ones, ``cond`` are the tokens [V, L, C] of V views.
        """
        fixed = shape.replace(standardized(shape.feats, statistics))
        noise = shape.replace(latent_noise(flow, shape.coords, generator).feats)
        return sample_latents(flow, noise, cond, sampler, self.normalization, on_step, concat_cond=fixed)

    def sampler(self, settings: Settings) -> SamplerSettings:
        """The sampler with these settings. Their guidance is meant for the shape: textures keep the model's own."""
        return replace(self.own_sampler.overridden(settings), guidance=self.own_sampler.guidance)
