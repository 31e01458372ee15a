"""The stages of a generation, each measured separately.

No stage takes the output of the one before it, because random weights make no object. Images, condition tokens and
latents are noise, the occupied voxels are those nearest to an ellipsoid, and the steps after the networks get the
ellipsoid's surface from a perfect decoder.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from backend.config import PipelineConfig, SamplerSettings, read_json
from backend.mesh import RawMesh, Surface
from backend.mesh.bake.bake import Source, Textures, bake
from backend.mesh.clean.cleanup import keep_outer_faces
from backend.mesh.clean.simplify import simplify
from backend.mesh.extract.flexicubes import extract_mesh
from backend.mesh.unwrap.unwrap import Unwrapped, unwrap
from backend.models import operations
from backend.models.image_encoder import ImageEncoder
from backend.models.latent_flow import LatentFlow
from backend.models.latent_vae import LatentMeshDecoder
from backend.models.layers import matmul_dtype
from backend.models.operations import Work
from backend.models.structure_flow import StructureFlow
from backend.models.structure_vae import StructureDecoder
from backend.protocol import Settings
from backend.sparse.tensor import SparseTensor, VoxelSet
from backend.stages import encode, latent_noise, sample_latents, sample_structure, structure_noise

from . import networks
from .meter import Meter, Timing
from .objects import SUBDIVISION, cube_features, ellipsoid, nearest_voxels

#: The stages, by the network or part that a process loads for them.
GROUPS = {
    "encode": ("encode",),
    "structure": ("structure",),
    "latents": ("latents",),
    "decode": ("decode",),
    "finish": ("extract", "simplify", "unwrap", "bake"),
}
#: Stages that need packages besides torch and numpy.
FINISHING = {"simplify": ("fast_simplification", "scipy"), "unwrap": ("scipy",), "bake": ("scipy",)}

DEFAULTS = Settings()
NO_WORK = Work(0, 0)

Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class Case:
    """One measurement. A number is 0 if the stage does not depend on it."""

    stage: str
    voxels: int = 0
    steps: int = 0
    resolution: int = 0

    def __str__(self) -> str:
        numbers = {name: value for name, value in asdict(self).items() if name != "stage" and value}
        return " ".join([self.stage, *(f"{value} {name}" for name, value in numbers.items())])


@dataclass(frozen=True)
class Setup:
    """What the cases of a run share."""

    folder: Path  # of the model
    by_rule: bool  # whether its networks get weights by rule instead of their own
    device: str
    repeats: int  # calls after the first


@dataclass(frozen=True)
class Prepared:
    """A call that is ready to be measured, and what to record about its result."""

    run: Callable[[], Any]
    work: Work = NO_WORK
    dtype: str = ""  # of the work; "" if the work was not counted
    on_cpu: bool = False
    counts: Callable[[], dict[str, int]] = dict[str, int]


class Stages:
    """Prepares and measures cases in this process. Networks are loaded when a case first needs them, and then kept."""

    def __init__(self, setup: Setup, *, loads: bool = True) -> None:
        """Without ``loads``, networks have no weights: their work can be counted, but not run."""
        self.setup, self.loads = setup, loads
        self.config = PipelineConfig.read(setup.folder)
        self.device = torch.device(setup.device)
        self._meters = {name: Meter(torch.device(name)) for name in {"cpu", self.device.type}}
        self._networks: dict[str, Any] = {}
        self._load_seconds = 0.0
        self._finishing: dict[int, Finishing] = {}

    @torch.inference_mode()
    def measure(self, case: Case) -> dict[str, Any]:
        """Measure a case. Returns what is recorded, in seconds and bytes."""
        self._load_seconds = 0.0
        prepared = self.prepare(case)
        timing = self._meters["cpu" if prepared.on_cpu else self.device.type].measure(prepared.run, self.setup.repeats)
        values = {"load_s": self._load_seconds} if self._load_seconds else {}
        if prepared.dtype:
            values |= asdict(prepared.work) | {"dtype": prepared.dtype}
        return record(case, timing) | values | prepared.counts()

    def prepare(self, case: Case) -> Prepared:
        """Prepare everything for the call of a case."""
        makers = {
            "encode": self._encode,
            "structure": self._structure,
            "latents": self._latents,
            "decode": self._decode,
            "extract": self._extract,
            "simplify": self._simplify,
            "unwrap": self._unwrap,
            "bake": self._bake,
        }
        return makers[case.stage](case)

    # --- networks ---

    def _encode(self, case: Case) -> Prepared:
        encoder = self._network(self.config.image_encoder, ImageEncoder)
        side = encoder.grid * encoder.patch_size
        pixels = self._noise(1, 3, side, side)
        return Prepared(lambda: encode(encoder, pixels), operations.image_encoder(encoder), _dtype(encoder))

    def _structure(self, case: Case) -> Prepared:
        flow = self._network(self.config.structure_flow, StructureFlow)
        decoder = self._network(self.config.structure_decoder, StructureDecoder)
        sampler = _with_steps(self.config.structure_sampler, case.steps)
        cond, noise = self._tokens(flow), structure_noise(flow, torch.Generator(), self.device)
        normalization = self.config.structure_normalization
        work = operations.structure_flow(flow, cond.shape[1]) * operations.network_calls(flow, sampler)
        return Prepared(
            lambda: decoder(sample_structure(flow, noise, cond, sampler, normalization)),
            work + operations.structure_decoder(decoder, flow.resolution),
            _dtype(flow),
        )

    def _latents(self, case: Case) -> Prepared:
        flow = self._network(self.config.latent_flow, LatentFlow)
        sampler = _with_steps(self.config.latent_sampler, case.steps)
        coords, cond = self._coords(case.voxels, flow.resolution), self._tokens(flow)
        normalization = self.config.latent_normalization
        cells = operations.cells_of(flow, VoxelSet(coords))
        work = operations.latent_flow(flow, len(coords), cells, cond.shape[1])
        work = work * operations.network_calls(flow, sampler)

        def run() -> SparseTensor:  # starts from the coordinates: tables of neighbours are part of the work
            noise = latent_noise(flow, coords, torch.Generator())
            return sample_latents(flow, noise, cond, sampler, normalization)

        return Prepared(run, work, _dtype(flow))

    def _decode(self, case: Case) -> Prepared:
        decoder = self._network(self.config.mesh_decoder, LatentMeshDecoder)
        coords = self._coords(case.voxels, decoder.resolution)
        latents = self._noise(len(coords), decoder.input_layer.in_features)
        work = operations.mesh_decoder(decoder, VoxelSet(coords))
        return Prepared(lambda: decoder(SparseTensor(latents, coords)), work, _dtype(decoder))

    def _network(self, name: str, kind: type[Network]) -> Network:
        if name not in self._networks:
            started = time.perf_counter()
            if self.loads:
                network = networks.load(self.setup.folder, name, kind, self.device, self.setup.by_rule)
            else:
                network = networks.describe(self.setup.folder, name, kind, self.device)
            self._networks[name] = network
            self._load_seconds += time.perf_counter() - started
        found: Network = self._networks[name]
        return found

    def _coords(self, voxels: int, resolution: int) -> Tensor:
        """The voxels nearest to the ellipsoid, [N, 4]."""
        return nn.functional.pad(nearest_voxels(ellipsoid, voxels, resolution), (1, 0)).to(self.device)

    def _tokens(self, flow: StructureFlow | LatentFlow) -> Tensor:
        """Random condition tokens: as many as the image encoder makes of one image, in the flow's width."""
        encoder = networks.describe(self.setup.folder, self.config.image_encoder, ImageEncoder, self.device)
        block: Any = flow.blocks[0]
        count = 1 + encoder.register_tokens.shape[1] + encoder.grid**2
        return self._noise(1, count, block.cross_attn.to_kv.in_features)

    def _noise(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=torch.Generator()).to(self.device)

    # --- after the networks ---

    def _extract(self, case: Case) -> Prepared:
        surface = self._surface(case)
        return Prepared(
            surface.extract,
            Work(0, surface.features.nbytes),
            "float32",
            counts=lambda: {"cubes": len(surface.cubes), "faces": len(surface.raw.faces)},
        )

    def _simplify(self, case: Case) -> Prepared:
        surface = self._surface(case)
        return Prepared(surface.simplify, on_cpu=True, counts=lambda: {"faces": len(surface.simplified[2])})

    def _unwrap(self, case: Case) -> Prepared:
        surface = self._surface(case)
        return Prepared(surface.unwrap, on_cpu=True, counts=lambda: {"charts": surface.unwrapped.charts})

    def _bake(self, case: Case) -> Prepared:
        return Prepared(self._surface(case).bake, on_cpu=True, counts=lambda: {"texels": DEFAULTS.texture_size**2})

    def _surface(self, case: Case) -> Finishing:
        if case.voxels not in self._finishing:
            description = read_json(networks.description_of(self.setup.folder, self.config.mesh_decoder))
            resolution = description["args"]["resolution"]
            self._finishing = {case.voxels: Finishing(case.voxels, resolution, self.device)}
        return self._finishing[case.voxels]


class Finishing:
    """From the features of an ellipsoid's cubes to a textured mesh. Every step is a call whose input is made once."""

    def __init__(self, voxels: int, resolution: int, device: torch.device) -> None:
        cubes, features = cube_features(ellipsoid, nearest_voxels(ellipsoid, voxels, resolution), resolution)
        self.cubes, self.features = cubes.to(device), features.to(device)
        self.resolution = resolution * SUBDIVISION

    def extract(self) -> RawMesh:
        """The raw surface of the cubes."""
        return extract_mesh(self.cubes, self.features, self.resolution)

    @cached_property
    def raw(self) -> RawMesh:
        """The result of ``extract``, made once."""
        return self.extract()

    def simplify(self) -> tuple[Surface, np.ndarray, np.ndarray]:
        """The outer faces of the raw surface, and the vertices and faces of the simplified mesh."""
        surface = keep_outer_faces(self.raw.numpy())
        return surface, *simplify(surface.vertices, surface.faces, DEFAULTS.faces)

    @cached_property
    def simplified(self) -> tuple[Surface, np.ndarray, np.ndarray]:
        """The result of ``simplify``, made once."""
        return self.simplify()

    def unwrap(self) -> Unwrapped:
        """The simplified mesh with its UVs."""
        return unwrap(*self.simplified[1:], DEFAULTS.texture_size)

    @cached_property
    def unwrapped(self) -> Unwrapped:
        """The result of ``unwrap``, made once."""
        return self.unwrap()

    def bake(self) -> Textures:
        """The colours of the surface, baked onto the UVs."""
        return bake(self.unwrapped, Source(self.simplified[0]), DEFAULTS.texture_size)


def record(case: Case, timing: Timing) -> dict[str, Any]:
    """A case and its timing as it is stored, without what does not apply."""
    values = asdict(case) | {
        "cold_s": timing.cold,
        "warm_s": timing.warm,
        "runs": 1 + timing.runs,
        "peak_bytes": timing.peak,
    }
    return {name: value for name, value in values.items() if value is not None and value != 0}


def _with_steps(sampler: SamplerSettings, steps: int) -> SamplerSettings:
    """The model's own sampler if these are its steps; else that of a student, with distilled guidance."""
    return sampler if steps == sampler.steps else replace(sampler, steps=steps, guidance=0.0)


def _dtype(network: ImageEncoder | StructureFlow | LatentFlow | LatentMeshDecoder) -> str:
    return str(matmul_dtype(network.blocks)).removeprefix("torch.")
