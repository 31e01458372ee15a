"""What the published networks ask of a GPU for one object of 12,000 voxels, by stage: launches, waits, bytes, products.

They have no weights here: on the pretended device, tensors without values are counted as well. The object itself and
what is looked up for it are real. ``--write-counts`` writes what was counted to docs/benchmarks/counts.json.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from backend import stages
from backend.config import PipelineConfig
from backend.mesh.extract.case_tables import tables_on
from backend.mesh.extract.flexicubes import extract_mesh
from backend.models.image_encoder import ImageEncoder
from backend.models.latent_flow import LatentFlow
from backend.models.latent_vae import LatentGaussianDecoder, LatentMeshDecoder
from backend.models.structure_flow import StructureFlow
from backend.models.structure_vae import StructureDecoder
from backend.sparse.tensor import SparseTensor, VoxelSet
from backend.store.catalog import PUBLISHED
from scripts.benchmark.networks import LARGE, describe
from scripts.benchmark.objects import cube_features, ellipsoid, nearest_voxels
from tests.backend.test_pretended_cuda import MOST_WAITS, NORMALIZATION, SAMPLER, tables
from tests.fakes.cuda import CUDA, Gpu, pretended_cuda

COUNTS = Path(__file__).parents[2] / "docs" / "benchmarks" / "counts.json"
SIDE, VOXELS = 64, 12_000
TOKENS = (1, 1374, 1024)  # of one image

#: Teraflops and gigabytes a millisecond of an H200: four fifths and nine tenths of what its makers state.
COMPUTES, MOVES = 0.79, 4.3


class Count(NamedTuple):
    """What a stage asks of the device."""

    launches: int
    waits: int
    gigabytes: float  # that kernels read and write
    memory: float = 0.0  # gigabytes that tensors hold at most, beside the weights and what was there before
    teraflop: float = 0.0  # of products
    fewest: float = 0.0  # gigabytes of weights, inputs and outputs, each once

    @property
    def work(self) -> dict[str, float]:
        """Columns of the table: the products, and the least milliseconds for them or for the bytes."""
        return {"TFLOP": self.teraflop, "floor": round(max(self.teraflop / COMPUTES, self.fewest / MOVES), 2)}


#: What those columns mean.
WORK: dict[str, dict[str, Any]] = {
    "TFLOP": {"meaning": "operations of matrix products, convolutions and attention", "decimals": 2, "unit": ""},
    "floor": {
        "meaning": "computed: what an H200 takes at least, at 790 TFLOP/s and 4.3 TB/s, for the operations or for "
        "weights, inputs and outputs once, whichever is more",
        "decimals": 2,
        "unit": " ms",
    },
}
#: What a stage may ask no more of than its budget says. The fewest bytes are not ours to change.
LIMITED = Count._fields[:-1]

#: The most that each stage may ask for. That of a flow is one step.
BUDGETS = {
    "encode": Count(319, 0, 4.0, 0.05, 1.03),
    "step of the structure flow": Count(700, 0, 14.0, 0.11, 5.3),
    "structure decoder": Count(98, 0, 1.6, 0.13, 0.82),
    "tables of voxels": Count(250, 4, 0.1, 0.01),
    "step of the latent flow": Count(810, 0, 13.0, 0.2, 3.8),
    "mesh decoder": Count(570, 0, 41.5, 1.3, 3.25),
    "Gaussian decoder": Count(215, 0, 13.0, 0.35, 2.2),
    "extraction at 256^3": Count(280, 6, 6.5, 0.75),
}
#: The same without memory at commit 8595dab, before anything was done for a GPU, as another program counted it.
BEFORE = {
    "encode": Count(293, 0, 6.9),
    "step of the structure flow": Count(1125, 0, 26.9),
    "structure decoder": Count(98, 0, 2.6),
    "tables of voxels": Count(117, 20, 0.0),
    "step of the latent flow": Count(1246, 0, 23.0),
    "mesh decoder": Count(554, 16, 56.6),
    "Gaussian decoder": Count(233, 1, 16.4),
    "extraction at 256^3": Count(710, 80, 9.7),
}


#: How much more than what tensors hold a stage takes, as was measured on a processor (docs/LOG.md): gaps, and what
#: products need for themselves.
MARGIN = 1.27
#: Gigabytes of a card that all networks at once may take, and one at a time; and what CUDA itself takes of them.
RESIDENT, LOW_MEMORY, CONTEXT = 6.0, 4.0, 0.6


def unknown(*shape: int) -> Tensor:
    """A tensor without values."""
    return torch.empty(*shape, device="meta")


class Counting:
    """Counts stages of a published model, by default TRELLIS."""

    def __init__(self, gpu: Gpu, folder: Path = LARGE) -> None:
        self.folder = folder
        self.gpu = gpu
        self.counts: dict[str, Count] = {}
        self.weights: dict[str, float] = {}  # gigabytes
        self.before = 0  # bytes in memory when counting began
        self.config = PipelineConfig.read(folder)

    def network(self, name: str, kind: type[nn.Module]) -> Any:
        before = self.gpu.live
        network = self.gpu.network(describe(self.folder, name, kind, CUDA))
        self.weights[name] = (self.gpu.live - before) / 1e9
        self.clear()
        return network

    def count(self, stage: str, act: Callable[[], Any]) -> Any:
        """What a stage returns."""
        self.clear()
        made = act()
        self.note(stage)
        return made

    def note(self, stage: str) -> None:
        """Take what was counted since it was noted last for this stage."""
        gpu = self.gpu
        self.counts[stage] = Count(
            launches=gpu.launches,
            waits=gpu.waits,
            gigabytes=round(gpu.bytes / 1e9, 1),
            memory=round((gpu.peak - self.before) / 1e9, 2),
            teraflop=round(gpu.operations / 1e12, 2),
            fewest=round(gpu.fewest_bytes / 1e9, 2),
        )
        self.clear()

    def clear(self) -> None:
        self.gpu.clear()
        self.before = self.gpu.live

    def dense(self) -> None:
        encoder = self.network(self.config.image_encoder, ImageEncoder)
        pixels = self.gpu.tensor(unknown(1, 3, 518, 518))
        cond = self.count("encode", lambda: stages.encode(encoder, pixels))
        flow = self.network(self.config.structure_flow, StructureFlow)
        noise = self.gpu.tensor(unknown(1, flow.in_channels, *[flow.resolution] * 3))
        stages.sample_structure(flow, noise, cond, SAMPLER, NORMALIZATION, self.step("structure flow"))
        decoder = self.network(self.config.structure_decoder, StructureDecoder)
        self.count("structure decoder", lambda: decoder(noise))

    def sparse(self) -> None:
        cond = self.gpu.tensor(unknown(*TOKENS))
        voxels = VoxelSet(self.gpu.tensor(F.pad(nearest_voxels(ellipsoid, VOXELS, SIDE), (1, 0)).int()))
        self.count("tables of voxels", lambda: tables(voxels))
        flow = self.network(self.config.latent_flow, LatentFlow)
        noise = SparseTensor(self.gpu.tensor(unknown(VOXELS, flow.in_channels)), voxels)
        stages.sample_latents(flow, noise, cond, SAMPLER, NORMALIZATION, self.step("latent flow"))
        mesh_decoder = self.network(self.config.mesh_decoder, LatentMeshDecoder)
        self.count("mesh decoder", lambda: mesh_decoder(noise))
        assert self.config.gaussian_decoder is not None
        gaussian_decoder = self.network(self.config.gaussian_decoder, LatentGaussianDecoder)
        self.count("Gaussian decoder", lambda: stages.decode_gaussians(gaussian_decoder, noise))

    def step(self, flow: str) -> Callable[[int, int], None]:
        """What to call after each step: the first may make tables, the last one counts."""
        return lambda done, steps: self.note(f"step of the {flow}")

    def extraction(self) -> None:
        cubes, features = cube_features(ellipsoid, nearest_voxels(ellipsoid, VOXELS, SIDE), SIDE)
        given = self.gpu.tensor(cubes), self.gpu.tensor(features)
        self.count("extraction at 256^3", lambda: extract_mesh(*given, 4 * SIDE))


@pytest.fixture(scope="module")
def counting(request: pytest.FixtureRequest) -> Counting:
    with torch.no_grad(), pretended_cuda() as gpu:
        tables_on(CUDA)  # these are sent once, not for each object
        counting = Counting(gpu)
        counting.dense()
        counting.sparse()
        counting.extraction()
    if request.config.getoption("--write-counts"):
        COUNTS.write_text(json.dumps(table(counting.counts), indent=1) + "\n", "utf-8")
    return counting


@pytest.fixture
def counts(counting: Counting) -> dict[str, Count]:
    return counting.counts


def table(counts: dict[str, Count]) -> dict[str, Any]:
    """The counts as ``scripts.results`` takes them."""
    about = {
        "launches": ("kernels that one object launches; of a flow, one step", 0, ""),
        "waits": ("points at which the program waits for the device", 0, ""),
        "gigabytes": ("what kernels read and write", 1, " GB"),
    }
    columns = {
        f"{name}{when}": {"meaning": f"{meaning}{told}", "decimals": decimals, "unit": unit}
        for name, (meaning, decimals, unit) in about.items()
        for when, told in (("", ""), (" before", ", at commit 8595dab"))
    }
    held = "what tensors hold at most, beside the weights and what was there before"
    columns["memory"] = {"meaning": held, "decimals": 2, "unit": " GB"}
    columns |= WORK
    rows = {
        stage: {
            f"{name}{when}": getattr(these, name)
            for when, these in (("", now), (" before", BEFORE[stage]))
            for name in about
        }
        | {"memory": now.memory, "fewest": now.fewest}
        | now.work
        for stage, now in counts.items()
    }
    command = "python -m pytest tests/backend/test_full_size_counts.py --write-counts"
    return {"command": command, "voxels": VOXELS, "columns": columns, "rows": rows}


@pytest.mark.parametrize("stage", BUDGETS)
def test_a_stage_keeps_to_its_budget(counts: dict[str, Count], stage: str) -> None:
    over = {
        name: (asked, most)
        for name, asked, most in zip(LIMITED, counts[stage], BUDGETS[stage], strict=False)
        if asked > most
    }
    assert over == {}


def test_tables_and_extraction_wait_ten_times_at_most(counts: dict[str, Count]) -> None:
    assert counts["tables of voxels"].waits + counts["extraction at 256^3"].waits <= MOST_WAITS


def test_all_networks_fit_into_a_card_of_six_gigabytes(counting: Counting) -> None:
    most = sum(counting.weights.values()) + max(count.memory for count in counting.counts.values())
    assert most + CONTEXT <= RESIDENT


def test_one_network_at_a_time_fits_into_a_card_of_four(counting: Counting) -> None:
    most = max(counting.weights.values()) + max(count.memory for count in counting.counts.values())
    assert most + CONTEXT <= LOW_MEMORY


def peak(counting: Counting, *, low_memory: bool) -> float:
    """Gigabytes of a card that an object takes. Extracting its surface takes less than the decoder before it."""
    config = counting.config
    stages_of = {
        config.image_encoder: "encode",
        config.structure_flow: "step of the structure flow",
        config.structure_decoder: "structure decoder",
        config.latent_flow: "step of the latent flow",
        config.mesh_decoder: "mesh decoder",
    }
    weights = {name: counting.weights[name] for name in stages_of}
    beside = {name: MARGIN * counting.counts[stage].memory for name, stage in stages_of.items()}
    if low_memory:
        return max(weights[name] + beside[name] for name in stages_of) + CONTEXT
    return sum(weights.values()) + max(beside.values()) + CONTEXT


@pytest.mark.parametrize("name", ["trellis-image-large", "mdt-dist"])
def test_the_catalogue_says_what_was_counted(counting: Counting, name: str) -> None:
    """A tenth of a gigabyte is as much as it shows."""
    (stated,) = PUBLISHED[name].peaks
    assert stated.resolution == 4 * SIDE
    found = [peak(counting, low_memory=low) for low in (True, False)]
    assert [stated.low_memory / 1e9, stated.at_once / 1e9] == pytest.approx(found, abs=0.1)
