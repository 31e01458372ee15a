"""A small pair of decoders of TRELLIS.2's kind: trained for two steps, written, read, and judged."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from backend.errors import CheckpointError
from backend.sparse.resample import space_to_channels
from backend.sparse.tensor import SparseTensor
from backend.training.loop import Trainer
from backend.training.objects.dual_grid import VoxelObject, distance_of, voxel_object
from backend.training.objects.families import FAMILIES
from backend.training.objects.shapes import HELD_OUT, draw_values
from backend.training.scratch.decoder_pair import (
    PAIRS,
    Batch,
    DecoderPair,
    ShapeAutoencoder,
    TextureAutoencoder,
    batch_of,
)
from backend.training.scratch.decoder_pair_stages import (
    STAGES,
    Likeness,
    MaterialErrors,
    ShapeStage,
    TextureStage,
    compared,
)
from backend.weights.checkpoints import NETWORKS

Found = TypeVar("Found")
ROOT, CPU, SMOKE = Path(__file__).parents[4], torch.device("cpu"), PAIRS["smoke"]


def train(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "scripts.train", "pair", "--preset", "smoke", "--device", "cpu", *options]
    return subprocess.run([*command, "--folder", str(folder)], cwd=ROOT, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pair")
    done = train(folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_a_pair_is_trained_judged_and_written(trained: Path) -> None:
    pair = DecoderPair.load(trained / "pair")
    for part, judged in zip(pair, (Likeness._fields, MaterialErrors._fields), strict=True):
        stage = STAGES[part.part](SMOKE, CPU)
        metrics = json.loads((trained / stage.name / "held_out.json").read_text())
        assert tuple(metrics) == judged
        assert all(isinstance(value, float) for value in metrics.values())
        kept = Trainer(stage, trained / stage.name, CPU)
        assert kept.step == stage.schedule.steps
        for name, value in kept.averaged().named_parameters():
            assert torch.equal(part.get_parameter(name), value.half().float()), name


def test_one_part_is_trained_alone(tmp_path: Path) -> None:
    done = train(tmp_path, "--part", "texture")
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "pair").glob("*.safetensors")} == {
        "texture_encoder.safetensors",
        "texture_decoder.safetensors",
    }
    with pytest.raises(CheckpointError, match="shape_encoder"):
        DecoderPair.load(tmp_path / "pair")


def test_what_is_no_pair_is_refused(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError):
        DecoderPair.load(tmp_path)
    done = train(tmp_path, "--start", "mini")
    assert done.returncode == 2
    assert "leave out --start" in done.stderr


@pytest.mark.parametrize("kind", [ShapeAutoencoder, TextureAutoencoder])
def test_objects_of_a_batch_are_encoded_as_if_alone(kind: type[ShapeAutoencoder | TextureAutoencoder]) -> None:
    torch.manual_seed(0)
    part = kind.untrained(SMOKE).requires_grad_(False)
    objects = [voxel_object("mug", number, SMOKE.resolution) for number in (3, 4)]
    alone = [part.encode(batch_of([each], 2, CPU)).mean for each in objects]
    together = part.encode(batch_of(objects, 2, CPU)).mean
    for item, rows in enumerate(together.layout):
        assert torch.equal(together.coords[rows, 1:], alone[item].coords[:, 1:])
        assert torch.allclose(together.feats[rows], alone[item].feats, atol=1e-5)


def unexplained(encoder: nn.Module, objects: list[VoxelObject]) -> float:
    """The share of the mean materials' variance, in new cells, that no linear function of an encoder's latents has."""
    latents, cells = [], []
    for number, each in enumerate(objects):
        batch = patched(batch_of([each], 2, CPU), number)
        found = encoder(SparseTensor(2 * batch.materials - 1, batch.voxels))
        with_count = SparseTensor(F.pad(batch.materials, (0, 1), value=1.0), batch.voxels)
        sums = space_to_channels(space_to_channels(with_count)).feats.unflatten(1, (-1, 7)).sum(1)
        latents.append(F.pad(found.feats, (0, 1), value=1.0))
        cells.append(sums[:, :6] / sums[:, 6:])
    given, wanted, new, truth = torch.cat(latents[:-2]), torch.cat(cells[:-2]), torch.cat(latents[-2:]), cells[-2:]
    left = torch.cat(truth) - new @ torch.linalg.lstsq(given, wanted).solution
    return float((left.var(0) / torch.cat(truth).var(0)).mean())


def patched(batch: Batch, seed: int) -> Batch:
    """The same shapes, in patches of drawn materials."""
    generator = torch.Generator().manual_seed(seed)
    middles = 32 * torch.rand(100, 3, generator=generator)
    nearest = torch.cdist(batch.voxels.coords[:, 1:].float(), middles).argmin(1)
    return batch._replace(materials=torch.rand(100, 6, generator=generator)[nearest])


@torch.no_grad()
def test_an_untrained_encoder_lets_materials_through() -> None:
    """With the published start, nothing of them is left in the latents of networks as narrow as these."""
    objects = [voxel_object(family, 7, 32) for family in list(FAMILIES)[:10]]
    torch.manual_seed(0)
    published = NETWORKS["SparseUnetVaeEncoder"](**PAIRS["mini"].networks["texture_encoder"])
    assert unexplained(published, objects) > 0.95
    assert unexplained(TextureAutoencoder.untrained(PAIRS["mini"]).encoder, objects) < 0.85


def test_a_shape_is_learnt_by_heart(monkeypatch: pytest.MonkeyPatch) -> None:
    """One object, seen again and again, comes back better in every respect that is judged."""
    torch.manual_seed(0)
    stage = ShapeStage(SMOKE, CPU)
    before, after = by_heart(stage, lambda: stage.likeness(stage.model, "mug", HELD_OUT), monkeypatch)
    assert after.voxel_iou > 0.8 > before.voxel_iou
    for name in ("wrong_flags", "vertex_off", "surface_off"):
        assert getattr(after, name) < getattr(before, name), name


def test_materials_are_learnt_by_heart(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    stage = TextureStage(SMOKE, CPU)
    monkeypatch.setattr(stage, "_in_patches", lambda batch, _: batch)
    before, after = by_heart(stage, lambda: stage.errors(stage.model, "mug", HELD_OUT), monkeypatch)
    assert all(value < 0.3 * start for value, start in zip(after, before, strict=True))


def by_heart(
    stage: ShapeStage | TextureStage, judge: Callable[[], Found], monkeypatch: pytest.MonkeyPatch
) -> tuple[Found, Found]:
    """What is found of the mug before and after it was seen 150 times."""
    batch = stage.objects([("mug", HELD_OUT)])
    monkeypatch.setattr(stage, "objects", lambda _: batch)
    before = judge()
    optimizer = torch.optim.Adam(stage.model.parameters(), 1e-2)
    for step in range(150):
        loss, terms = stage.loss(stage.model, torch.Generator().manual_seed(step), 0.0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        assert loss.item() == pytest.approx(sum(terms.values()), rel=1e-5)
    return before, judge()


def test_the_truth_is_judged_to_be_like_itself_and_less_of_it_is_not() -> None:
    stage = ShapeStage(SMOKE, CPU)
    batch, distance = stage.objects([("mug", HELD_OUT)]), distance_of("mug", draw_values("mug", [HELD_OUT]))
    flags = torch.where(batch.grid.crossed, 9.0, -9.0)
    vertices = ((batch.grid.vertices + 0.5) / 2).logit()
    truth = torch.cat([vertices, flags, batch.grid.weights.expm1().log()[:, None]], dim=1)

    def judged(rows: Tensor, features: Tensor) -> Likeness:
        made = SparseTensor(features, batch.voxels.coords[rows])
        return compared(stage.model.decoder, made, batch, distance, SMOKE.resolution)

    everything = torch.arange(len(truth))
    whole = judged(everything, truth)
    assert whole.voxel_iou == 1
    assert whole.wrong_flags == whole.open_edges == 0
    assert whole.vertex_off < 1e-5
    assert whole.surface_off < 0.1
    half = everything[::2]
    less = judged(half, truth[half] * torch.tensor([1, 1, 1, -1, 1, 1, 1]))
    assert less.voxel_iou == pytest.approx(0.5, abs=1e-2)
    assert less.wrong_flags == pytest.approx(1 / 3)
    nothing = judged(everything, -truth.abs())  # no edge is crossed: there is no face
    assert nothing.surface_off == SMOKE.resolution
