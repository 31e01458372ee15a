"""What TRELLIS.2's published networks ask of a GPU for one object at 512 and at 1024, as in ``test_full_size_counts``.

The voxels are those that an ellipsoid crosses. ``--write-counts`` writes what was counted to
docs/benchmarks/counts-trellis2.json.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from backend import stages
from backend.config import DESCRIPTIONS, Normalization, SamplerSettings
from backend.material_stages import material_mesh
from backend.models.dual_grid_vae import DualGridDecoder
from backend.models.image_encoder import RotaryImageEncoder
from backend.models.latent_flow import LatentFlow
from backend.models.sparse_unet import SparseUnetDecoder
from backend.models.structure_flow import StructureFlow
from backend.models.structure_vae import StructureDecoder
from backend.modes import LATENT_CELL, MOST_VOXELS
from backend.sparse.neighbours import child_offsets
from backend.sparse.tensor import SparseTensor, VoxelSet
from backend.store.catalog import PUBLISHED
from scripts.benchmark.objects import crossed_voxels, ellipsoid
from tests.backend.test_full_size_counts import CONTEXT, LIMITED, MARGIN, WORK, Count, Counting, unknown
from tests.fakes.cuda import Gpu, pretended_cuda

FOLDER = DESCRIPTIONS / "trellis2-4b"
#: The most that each stage may ask for. That of a flow is one step, unguided.
BUDGETS = {
    "encode 512 pixels": Count(770, 0, 8.5, 0.05, 0.74),
    "encode 1024 pixels": Count(770, 0, 30.0, 0.21, 4.22),
    "step of the structure flow": Count(1550, 1, 48.0, 0.21, 14.0),
    "structure decoder": Count(98, 0, 1.6, 0.13, 0.83),
    "step of the shape flow at 512": Count(1580, 0, 45.0, 0.2, 12.9),
    "step of the texture flow at 512": Count(1580, 0, 45.0, 0.2, 12.9),
    "shape decoder at 512": Count(1100, 8, 94.0, 1.02, 13.5),
    "texture decoder at 512": Count(1100, 8, 94.0, 1.02, 13.5),
    "surface at 512": Count(1960, 7, 3.0, 0.18),
    "step of the shape flow at 1024": Count(1580, 0, 172.0, 0.76, 93.5),
    "step of the texture flow at 1024": Count(1580, 0, 172.0, 0.76, 93.5),
    "shape decoder at 1024": Count(2760, 8, 380.0, 3.25, 54.1),
    "texture decoder at 1024": Count(2760, 8, 380.0, 3.25, 54.1),
    "surface at 1024": Count(7600, 7, 12.0, 0.72),
    "step of the shape flow with the most cells": Count(1580, 0, 540.0, 2.36, 611.2),
}
COUNTS = Path(__file__).parents[2] / "docs" / "benchmarks" / "counts-trellis2.json"
ONE_STEP = SamplerSettings(1, 0.0, (0.5, 1.0), 3.0, 1e-5)
PLAIN = Normalization((0.0,) * 32, (1.0,) * 32)


class Shape(NamedTuple):
    """The voxels of an object on the grid of its latents, and which children are kept down to its own grid."""

    cells: Tensor  # [N, 3] int32
    masks: list[Tensor]  # bool [N, 8] of each level
    voxels: int

    @classmethod
    def of(cls, resolution: int) -> Shape:
        side = resolution // LATENT_CELL
        cells = coords = crossed_voxels(ellipsoid, side)
        masks = []
        while side < resolution:
            side *= 2
            children = 2 * coords[:, None] + child_offsets(torch.device("cpu"))
            distance = ellipsoid((children.flatten(0, 1) + 0.5) / side - 0.5)[0].abs()
            masks.append((distance <= 3**0.5 / 2 / side).view(-1, 8))
            coords = children[masks[-1]]
        return cls(cells, masks, len(coords))


class Counted(Counting):
    """Counts the stages of one object, in the order in which they run."""

    def __init__(self, gpu: Gpu) -> None:
        super().__init__(gpu, FOLDER)
        assert self.config.materials is not None
        self.materials = self.config.materials
        self.sizes: dict[str, int] = {}
        self.left: dict[int, float] = {}  # gigabytes of a decoded shape, which the texture decoder finds there

    def dense(self) -> None:
        encoder = self.network(self.config.image_encoder, RotaryImageEncoder)
        for side in (512, 1024):
            pixels = self.gpu.tensor(unknown(1, 3, side, side))
            self.count(f"encode {side} pixels", partial(stages.encode, encoder, pixels))
        flow = self.network(self.config.structure_flow, StructureFlow)
        noise = self.gpu.tensor(unknown(1, flow.in_channels, *[flow.resolution] * 3))
        tokens = self.tokens(512)
        self.clear()
        stages.sample_structure(flow, noise, tokens, ONE_STEP, None, self.step("structure flow"))
        decoder = self.network(self.config.structure_decoder, StructureDecoder)
        self.count("structure decoder", lambda: decoder(noise))

    def tokens(self, side: int) -> Tensor:
        return self.gpu.tensor(unknown(1, 5 + (side // 16) ** 2, 1024))

    def flow(self, what: str, path: str | None, cells: Tensor, side: int) -> None:
        """A step of a flow on the cells of latents."""
        assert path is not None
        flow = self.network(path, LatentFlow)
        voxels = VoxelSet(self.gpu.tensor(F.pad(cells, (1, 0))))
        noise = SparseTensor(self.gpu.tensor(unknown(len(cells), flow.out_channels)), voxels)
        given, tokens = None if flow.in_channels == flow.out_channels else noise, self.tokens(side)
        self.clear()
        stages.sample_latents(flow, noise, tokens, ONE_STEP, PLAIN, self.step(what), concat_cond=given)

    def decoders(self, shape: Shape, resolution: int) -> None:
        """Both decoders, and the surface of what a decoder might have predicted: noise, which takes as much."""
        voxels = VoxelSet(self.gpu.tensor(F.pad(shape.cells, (1, 0))))
        latents = SparseTensor(self.gpu.tensor(unknown(len(shape.cells), 32)), voxels)
        masks = [self.gpu.tensor(mask) for mask in shape.masks]
        shapes = self.network(self.config.mesh_decoder, DualGridDecoder)
        before = self.gpu.live
        decoded = self.count(f"shape decoder at {resolution}", lambda: shapes(latents, masks))
        self.left[resolution] = (self.gpu.live - before) / 1e9
        textures = self.network(self.materials.texture_decoder, SparseUnetDecoder)
        self.count(f"texture decoder at {resolution}", lambda: textures(latents, masks))
        random = torch.Generator().manual_seed(0)
        features = decoded.features.replace(self.gpu.tensor(torch.randn(shape.voxels, 7, generator=random)))
        attributes = self.gpu.tensor(torch.rand(shape.voxels, 6, generator=random))
        self.count(f"surface at {resolution}", lambda: material_mesh(shapes, features, attributes, resolution))

    def all(self) -> None:
        self.dense()
        own = self.materials
        coarse, fine = (self.config.latent_flow, own.texture_flow), (own.fine_latent_flow, own.fine_texture_flow)
        for resolution, (shapes, textures) in ((512, coarse), (1024, fine)):
            shape = Shape.of(resolution)
            self.sizes |= {f"cells at {resolution}": len(shape.cells), f"voxels at {resolution}": shape.voxels}
            self.flow(f"shape flow at {resolution}", shapes, shape.cells, resolution)
            self.flow(f"texture flow at {resolution}", textures, shape.cells, resolution)
            self.decoders(shape, resolution)
        most = torch.cartesian_prod(*[torch.arange(64)] * 3)[: MOST_VOXELS - 1]  # where they are does not matter
        self.flow("shape flow with the most cells", fine[0], most, 1024)

    def peak(self, resolution: int, low_memory: bool) -> float:
        """Gigabytes of a card that an object takes. At 1536 it is as at 1024, with as many times more voxels."""
        counted, growth = min(resolution, 1024), MARGIN * max(resolution / 1024, 1) ** 2
        own = self.materials
        fine = resolution > 512
        flows = (own.fine_latent_flow or "") if fine else self.config.latent_flow
        sampling = growth * self.counts[f"step of the shape flow at {counted}"].memory
        decoding = growth * (self.left[counted] + self.counts[f"texture decoder at {counted}"].memory)
        if low_memory:
            one = max(self.weights[flows] + sampling, self.weights[self.config.mesh_decoder] + decoding)
            return one + CONTEXT
        seldom = {own.fine_latent_flow, own.fine_texture_flow}
        always = sum(size for name, size in self.weights.items() if name not in seldom)
        return always + max((self.weights[flows] if fine else 0) + sampling, decoding) + CONTEXT


@pytest.fixture(scope="module")
def counted(request: pytest.FixtureRequest) -> Counted:
    with torch.no_grad(), pretended_cuda() as gpu:
        counted = Counted(gpu)
        counted.all()
    if request.config.getoption("--write-counts"):
        COUNTS.write_text(json.dumps(table(counted), indent=1) + "\n", "utf-8")
    return counted


def table(counted: Counted) -> dict[str, Any]:
    """The counts as ``scripts.results`` takes them."""
    about = {
        "launches": ("kernels that one object launches; of a flow, one unguided step", 0, ""),
        "waits": ("points at which the program waits for the device", 0, ""),
        "gigabytes": ("what kernels read and write", 1, " GB"),
        "memory": ("what tensors hold at most, beside the weights and what was there before", 2, " GB"),
    }
    columns = {
        name: {"meaning": meaning, "decimals": decimals, "unit": unit}
        for name, (meaning, decimals, unit) in about.items()
    }
    rows = {
        stage: {name: getattr(count, name) for name in (*about, "fewest")} | count.work
        for stage, count in counted.counts.items()
    }
    command = "python -m pytest tests/backend/test_second_family_counts.py --write-counts"
    return {"command": command, **counted.sizes, "columns": columns | WORK, "rows": rows}


@pytest.mark.parametrize("stage", BUDGETS)
def test_a_stage_keeps_to_its_budget(counted: Counted, stage: str) -> None:
    asked = counted.counts[stage]
    over = {name: getattr(asked, name) for name in LIMITED if getattr(asked, name) > getattr(BUDGETS[stage], name)}
    assert over == {}


def test_every_stage_has_a_budget(counted: Counted) -> None:
    assert counted.counts.keys() == BUDGETS.keys()


@pytest.mark.parametrize("name", ["trellis2-4b", "trellis2-4b-fine"])
def test_the_catalogue_says_what_was_counted(counted: Counted, name: str) -> None:
    """A tenth of a gigabyte is as much as it shows."""
    assert PUBLISHED[name].peaks
    for peak in PUBLISHED[name].peaks:
        stated = peak.low_memory / 1e9, peak.at_once / 1e9
        assert stated == pytest.approx([counted.peak(peak.resolution, low) for low in (True, False)], abs=0.1)
