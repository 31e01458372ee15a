"""A small pair of decoders of TRELLIS.2's kind: trained for two steps, written, read, and judged."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from backend.errors import CheckpointError
from backend.sparse.tensor import SparseTensor
from backend.training.loop import Trainer
from backend.training.objects.dual_grid import distance_of, voxel_object
from backend.training.objects.shapes import HELD_OUT, draw_values
from backend.training.scratch.decoder_pair import PAIRS, DecoderPair, DecoderPairStage, Likeness, batch_of, compared

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
    metrics = json.loads((trained / "decoder_pair" / "held_out.json").read_text())
    assert set(metrics) == set(Likeness._fields)
    assert all(isinstance(value, float) for value in metrics.values())
    pair = DecoderPair.load(trained / "pair")
    kept = Trainer(DecoderPairStage(SMOKE, CPU), trained / "decoder_pair", CPU)
    assert kept.step == SMOKE.schedule.steps
    for name, value in kept.averaged().named_parameters():
        assert torch.equal(pair.get_parameter(name), value.half().float()), name


def test_what_is_no_pair_is_refused(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError):
        DecoderPair.load(tmp_path)
    done = train(tmp_path, "--start", "mini")
    assert done.returncode == 2
    assert "leave out --start" in done.stderr


def test_objects_of_a_batch_are_encoded_as_if_alone() -> None:
    torch.manual_seed(0)
    pair = DecoderPair.untrained(SMOKE).requires_grad_(False)
    objects = [voxel_object("mug", number, SMOKE.resolution) for number in (3, 4)]
    alone = [pair.encode(batch_of([each], 2, CPU)) for each in objects]
    together = pair.encode(batch_of(objects, 2, CPU))
    for kind, latents in enumerate(together):
        for item, rows in enumerate(latents.mean.layout):
            assert torch.equal(latents.mean.coords[rows, 1:], alone[item][kind].mean.coords[:, 1:])
            assert torch.allclose(latents.mean.feats[rows], alone[item][kind].mean.feats, atol=1e-5)


def test_a_pair_learns_an_object_by_heart(monkeypatch: pytest.MonkeyPatch) -> None:
    """One object, seen again and again, comes back better in every respect that is judged."""
    torch.manual_seed(0)
    stage = DecoderPairStage(SMOKE, CPU)
    batch = stage.objects([("mug", HELD_OUT)])
    monkeypatch.setattr(stage, "objects", lambda _: batch)
    before = stage.likeness(stage.model, "mug", HELD_OUT)
    optimizer = torch.optim.Adam(stage.model.parameters(), 1e-2)
    for step in range(60):
        loss, terms = stage.loss(stage.model, torch.Generator().manual_seed(step), 0.0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        assert loss.item() == pytest.approx(sum(terms.values()), rel=1e-5)
    after = stage.likeness(stage.model, "mug", HELD_OUT)
    assert after.voxel_iou > 0.8 > before.voxel_iou
    for name, value in after._asdict().items():
        if name not in ("voxel_iou", "open_edges"):
            assert value < getattr(before, name), name


def test_the_truth_is_judged_to_be_like_itself_and_less_of_it_is_not() -> None:
    stage = DecoderPairStage(SMOKE, CPU)
    batch, distance = stage.objects([("mug", HELD_OUT)]), distance_of("mug", draw_values("mug", [HELD_OUT]))
    flags = torch.where(batch.grid.crossed, 9.0, -9.0)
    vertices = ((batch.grid.vertices + 0.5) / 2).logit()
    truth = torch.cat([vertices, flags, batch.grid.weights.expm1().log()[:, None]], dim=1)

    def judged(rows: Tensor, features: Tensor, painted: Tensor) -> Likeness:
        made = SparseTensor(features, batch.voxels.coords[rows])
        return compared(stage.model.shape_decoder, made, painted, batch, distance, SMOKE.resolution)

    everything = torch.arange(len(truth))
    whole = judged(everything, truth, batch.materials)
    assert whole.voxel_iou == 1
    assert whole.wrong_flags == whole.open_edges == 0
    assert whole.vertex_off < 1e-5
    assert whole.surface_off < 0.1
    assert max(whole[5:]) < 1e-6
    half = everything[::2]
    less = judged(half, truth[half] * torch.tensor([1, 1, 1, -1, 1, 1, 1]), batch.materials[half] + 0.25)
    assert less.voxel_iou == pytest.approx(0.5, abs=1e-2)
    assert less.wrong_flags == pytest.approx(1 / 3)
    assert less[5:] == pytest.approx([0.25] * 4, abs=1e-5)
    nothing = judged(everything, -truth.abs(), batch.materials)  # no edge is crossed: there is no face
    assert nothing.surface_off == SMOKE.resolution
