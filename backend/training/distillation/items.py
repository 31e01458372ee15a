"""What a student learns from: objects as latents and tokens, random choices for each sample, and flows on them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from ...sparse.tensor import SparseTensor
from ..flow_path import Samples
from .flow_map import MapVelocity
from .mdt import Velocity


@dataclass(frozen=True)
class Clean:
    """Clean latents of B samples, [B, C, R, R, R] or [N, C] on the voxels ``coords`` [N, 4], and tokens [B, L, D].

    ``fixed`` is what a flow of textures is given besides: the standardised latents of the shape [N, c] on these voxels.

    Where there are only pictures, the latents are not numbers (NaN): a method that is free of data never looks.
    """

    x_0: Tensor
    coords: Tensor | None
    cond: Tensor
    fixed: Tensor | None = None

    @property
    def samples(self) -> Samples:
        """Which row belongs to which sample."""
        return Samples.of(len(self.cond), self.coords)

    def unconditional(self) -> Clean:
        """The same latents under the negative condition, zeros."""
        return replace(self, cond=torch.zeros_like(self.cond))

    def on_voxels(self, x: Tensor | None = None) -> tuple[SparseTensor, dict[str, SparseTensor]]:
        """A state [N, C], by default the latents, on the voxels, and what a flow is given with it by keyword."""
        assert self.coords is not None
        voxels = SparseTensor(self.x_0 if x is None else x, self.coords, batch_size=len(self.cond))
        return voxels, {} if self.fixed is None else {"concat_cond": voxels.replace(self.fixed)}


class LatentSet(Protocol):
    """Objects to distil on. An item is anything that names one object in one view."""

    def draw(self, generator: torch.Generator) -> Any:
        """A random item."""

    def shape(self, item: Any) -> tuple[int, ...]:
        """The shape of an item's latents: [C, R, R, R] or [N, C]."""

    def load(self, items: list[Any], device: torch.device) -> Clean:
        """Clean latents and tokens of several items."""


@dataclass(frozen=True)
class Sample:
    """The random choices of one sample."""

    item: Any
    noise: Tensor
    sample_noise: Tensor
    normal: Tensor  # the time's, [1]
    uniform: Tensor  # a flow map's, [1, 4]: of the first time, of the second (two), of the guidance

    @classmethod
    def draw(cls, data: LatentSet, seed: int, number: int) -> Sample:
        """Sample ``number`` of the run with this seed. It is the same whenever it is drawn."""
        generator = torch.Generator().manual_seed((seed * 1_000_003 + number) * 2654435761 % 2**63)
        item = data.draw(generator)
        normal = torch.randn(1, generator=generator)
        noise, sample_noise = (torch.randn(data.shape(item), generator=generator) for _ in range(2))
        return cls(item, noise, sample_noise, normal, torch.rand(1, 4, generator=generator))


class Draws(NamedTuple):
    """The random choices of B samples, on the device."""

    noise: Tensor
    sample_noise: Tensor
    normal: Tensor  # [B]
    uniform: Tensor  # [B, 4]

    @classmethod
    def of(cls, chosen: list[Sample], clean: Clean) -> Draws:
        """Those of several samples. The noise gets the shape of their latents."""
        join = torch.stack if clean.coords is None else torch.cat
        parts = join([s.noise for s in chosen]), join([s.sample_noise for s in chosen])
        numbers = torch.cat([s.normal for s in chosen]), torch.cat([s.uniform for s in chosen])
        return cls(*(one.to(clean.x_0.device) for one in (*parts, *numbers)))


def velocity_of(network: nn.Module, clean: Clean) -> Velocity:
    """A flow under the conditions of ``clean``, as a function of plain tensors, in fp32."""
    if clean.coords is None:
        return lambda x, t: network(x, 1000 * t, clean.cond).float()
    voxels, given = clean.on_voxels()
    return lambda x, t: network(voxels.replace(x), 1000 * t, clean.cond, **given).feats.float()


def map_velocity_of(network: nn.Module, clean: Clean, guidance: Tensor) -> MapVelocity:
    """A flow map under the conditions of ``clean`` and strengths of guidance [B], as ``velocity_of``."""
    if clean.coords is None:
        return lambda x, t, s: network(x, 1000 * t, clean.cond, 1000 * s, guidance).float()
    voxels, given = clean.on_voxels()
    return lambda x, t, s: network(voxels.replace(x), 1000 * t, clean.cond, 1000 * s, guidance, **given).feats.float()
