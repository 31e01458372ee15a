"""The networks and sizes that ``scripts.device_run`` measures with, and its clocks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from backend.config import PipelineConfig, SamplerSettings, read_json
from backend.models.image_encoder import ImageEncoder
from backend.models.latent_flow import LatentFlow
from backend.models.latent_vae import LatentMeshDecoder
from backend.models.layers import MixedPrecisionNetwork
from backend.models.structure_flow import StructureFlow
from backend.models.structure_vae import StructureDecoder
from backend.sparse.tensor import SparseTensor
from backend.stages import (
    sample_latents,
)
from backend.weights.checkpoints import NETWORKS

from ..networks import LARGE, description_of
from ..objects import ellipsoid, nearest_voxels

Say = Callable[[dict[str, Any]], None]
Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class Scale:
    """The size of everything that is measured."""

    device: torch.device
    voxels: int
    fresh: tuple[int, ...]  # voxel counts that nothing has seen before
    changes: dict[str, Any]  # to the networks' arguments
    repeats: int

    @classmethod
    def full(cls, device: str) -> Scale:
        """The published sizes."""
        fresh = (9_973, 11_003, 11_507, 12_011, 12_503, 13_001, 13_499)
        return cls(torch.device(device), 12_000, fresh, {}, 5)

    @classmethod
    def small(cls, device: str) -> Scale:
        """One narrow block, to rehearse with."""
        changes = {"num_blocks": 1, "depth": 1, "model_channels": 256, "num_heads": 4, "channels": [32, 16, 16]}
        return cls(torch.device(device), 300, (233, 267), changes, 1)


class Networks:
    """The published networks with random weights."""

    def __init__(self, scale: Scale, **changes: Any) -> None:
        self.scale, self.device = scale, scale.device
        self.config = PipelineConfig.read(LARGE)
        self._changes = scale.changes | changes

    def make(self, name: str, kind: type[Network], *, half: bool = True) -> Network:
        """A network of pipeline.json. The same weights every time, whatever the precision."""
        values = read_json(description_of(LARGE, name))
        args = values["args"] | {key: new for key, new in self._changes.items() if key in values["args"]}
        network = NETWORKS[values["name"]](**{k: v for k, v in args.items() if k != "use_fp16"})
        network.to(self.device).eval().requires_grad_(False)
        generator = torch.Generator(self.device).manual_seed(0)
        for key, parameter in network.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator, device=self.device)
            gain = key.endswith("gamma") or (key.endswith("weight") and parameter.ndim == 1)
            parameter.copy_(1 + 0.02 * noise if gain else 0.03 * noise)
        if half and args.get("use_fp16") and self.device.type != "cpu":
            assert isinstance(network, MixedPrecisionNetwork)
            network.convert_to_fp16()
        assert isinstance(network, kind)
        return network

    def encoder(self, **options: Any) -> ImageEncoder:
        """The image encoder."""
        return self.make(self.config.image_encoder, ImageEncoder, **options)

    def structure_flow(self, **options: Any) -> StructureFlow:
        """The structure flow."""
        return self.make(self.config.structure_flow, StructureFlow, **options)

    def structure_decoder(self, **options: Any) -> StructureDecoder:
        """The structure decoder."""
        return self.make(self.config.structure_decoder, StructureDecoder, **options)

    def latent_flow(self, **options: Any) -> LatentFlow:
        """The latent flow."""
        return self.make(self.config.latent_flow, LatentFlow, **options)

    def mesh_decoder(self, **options: Any) -> LatentMeshDecoder:
        """The mesh decoder."""
        return self.make(self.config.mesh_decoder, LatentMeshDecoder, **options)

    def noise(self, *shape: int) -> Tensor:
        """Standard normal numbers, the same on every device."""
        return torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(self.device)

    def tokens(self) -> Tensor:
        """Condition tokens of one image."""
        return self.noise(1, 1374, 1024)

    def coords(self, count: int) -> Tensor:
        """The voxels nearest to the ellipsoid, [count, 4]."""
        return F.pad(nearest_voxels(ellipsoid, count, 64), (1, 0)).int().to(self.device)


def wait(device: torch.device) -> None:
    """Wait until the device has done everything."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(device: torch.device, run: Callable[[], Any]) -> float:
    """The seconds of one call, the device's work included."""
    wait(device)
    started = time.perf_counter()
    run()
    wait(device)
    return time.perf_counter() - started


def warm_ms(scale: Scale, run: Callable[[], Any]) -> float:
    """The median of several calls in milliseconds, after one that does not count."""
    seconds(scale.device, run)
    return round(1e3 * median(seconds(scale.device, run) for _ in range(scale.repeats)), 3)


def relative(a: Tensor, b: Tensor) -> float:
    """The norm of the difference over that of ``b``, in double precision on the CPU."""
    a, b = a.cpu().double(), b.cpu().double()
    return float((a - b).norm() / b.norm())


def sampled_latents(
    flow: LatentFlow, tokens: Tensor, sampler: SamplerSettings, config: PipelineConfig, noise: SparseTensor
) -> SparseTensor:
    """Latents on the voxels of the noise, in the units of the decoder."""
    return sample_latents(flow, noise, tokens, sampler, config.latent_normalization)


@contextmanager
def clocked(scale: Scale, found: dict[str, Any], name: str) -> Iterator[None]:
    """Note the milliseconds of a block."""
    wait(scale.device)
    started = time.perf_counter()
    yield
    wait(scale.device)
    found[name] = round(1e3 * (time.perf_counter() - started), 3)
