"""From a structure to a surface with materials: what TRELLIS.2 does after the stages that it shares with TRELLIS.

Latents of the shape come first, in a cascade two of them, then those of the texture on the same voxels. Both are
decoded at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .cascade import Refined, refined
from .config import Normalization, SamplerSettings
from .material_stages import decode_materials, material_mesh
from .mesh import MaterialMesh
from .models.dual_grid_vae import DualGridDecoder
from .models.latent_flow import LatentFlow
from .modes import COARSE, MOST_VOXELS, Mode
from .networks import Fine, Materials
from .sparse.tensor import SparseTensor
from .stages import latent_noise, sample_latents

OnStep = Callable[[int, int], None]


class Sampled(NamedTuple):
    """The latents of one object, on the same voxels."""

    shape: SparseTensor  # [N, C]
    texture: SparseTensor  # [N, C]
    resolution: int  # of the grid that they are decoded to
    note: str  # if that is coarser than was asked for; else empty


@dataclass(frozen=True)
class MaterialRun:
    """How one object is sampled and decoded: its networks, its mode and its noise.

    ``resident(network)`` has the weights of a network in memory while the context lasts. Resolutions are those of the
    published networks: a model whose grids are smaller has the same modes with smaller numbers.
    """

    shape_flow: LatentFlow  # of coarse shapes
    decoder: DualGridDecoder
    materials: Materials
    mode: Mode
    sampler: SamplerSettings  # of shapes
    textures: SamplerSettings
    statistics: Normalization  # of the shape's latents
    generator: torch.Generator
    resident: Callable[[nn.Module], AbstractContextManager[None]]

    @property
    def steps(self) -> int:
        """How many steps ``sample`` takes."""
        return self.sampler.steps * (1 if self.mode.second is None else 2) + self.textures.steps

    def sample(self, coords: Tensor, cond: tuple[Tensor, ...], on_step: OnStep) -> Sampled:
        """Latents of the object whose structure has the voxels [N, 4].

        ``cond`` are the tokens [V, L, C] of V views, the last ones of the images as large as the mode needs them.
        """

        def after(before: int) -> OnStep:
            return lambda done, _: on_step(before + done, self.steps)

        resolution, note, is_fine = self._own(self.mode.first), "", self.mode.first > COARSE
        flow, tokens = (self._fine.shape, cond[-1]) if is_fine else (self.shape_flow, cond[0])
        shape = self._shape(flow, coords, tokens, after(0))
        if self.mode.second is not None:
            finer = self._refined(shape, self._own(self.mode.second))
            resolution, note = finer.resolution, self._note(finer)
            shape = self._shape(self._fine.shape, finer.coords, cond[-1], after(self.sampler.steps))
        painter = self._fine.texture if self.mode.is_fine else self.materials.flow
        with self.resident(painter):
            texture = self.materials.sampled(
                painter,
                shape,
                self.statistics,
                cond[-1],
                self.textures,
                self.generator,
                after(self.steps - self.textures.steps),
            )
        return Sampled(shape, texture, resolution, note)

    def decode(self, sampled: Sampled) -> MaterialMesh:
        """The surface of the latents, with materials. Raises GenerationError if there is none."""
        with self.resident(self.decoder):
            decoded = self.decoder(sampled.shape)
        with self.resident(self.materials.decoder):
            attributes = decode_materials(self.materials.decoder, sampled.texture, decoded.masks)
        return material_mesh(self.decoder, decoded.features, attributes, sampled.resolution)

    @property
    def _fine(self) -> Fine:
        assert self.materials.fine is not None  # ``Materials.mode`` has seen to it
        return self.materials.fine

    def _own(self, resolution: int) -> int:
        """The resolution that stands for a published one: the coarse grid of these networks stands for 512^3."""
        return resolution * self.shape_flow.resolution * self.decoder.scale // COARSE

    def _shape(self, flow: LatentFlow, coords: Tensor, tokens: Tensor, on_step: OnStep) -> SparseTensor:
        noise = latent_noise(flow, coords, self.generator)
        with self.resident(flow):
            return sample_latents(flow, noise, tokens, self.sampler, self.statistics, on_step)

    def _refined(self, shape: SparseTensor, resolution: int) -> Refined:
        """Where the latents of a finer shape are. Only where voxels are is decoded, not what is in them."""
        with self.resident(self.decoder):
            voxels = self.decoder.finest(shape).coords
        return refined(voxels, self._own(COARSE), resolution, MOST_VOXELS, self.decoder.scale)

    def _note(self, finer: Refined) -> str:
        wanted, voxels = finer.tried[0]
        if finer.resolution == wanted:
            return ""
        return (
            f"The shape was made at a resolution of {finer.resolution}: at {wanted} it would have {voxels:,} voxels of "
            f"latents, and must have less than {MOST_VOXELS:,}."
        )
