"""One step of every stage, from data to an exported model that loads; and a run that was stopped goes on as if not."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from backend.errors import BackendError, CheckpointError
from backend.pipeline import Pipeline
from backend.training.distillation.teacher import Teacher
from backend.training.export import begin_with, begun
from backend.training.loop import Schedule, Trainer, TrainingState, ema_decay, learning_rate
from backend.training.objects.data import SHARD, Objects
from backend.training.run_folder import alone
from backend.training.scratch.flows import Times
from backend.training.scratch.joint import JointStage, RunData
from backend.training.scratch.latents import Latents, TrainedVoxelEncoders
from backend.training.scratch.presets import PRESETS
from backend.training.scratch.stages import LatentVAEStage, Run, StructureVAEStage, voxel_losses
from backend.training.scratch.structure_decoder import StructureDecoderStage
from backend.weights.folders import ModelFolder

ROOT = Path(__file__).parents[4]


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """One of the scripts, as a person runs it in a checkout."""
    command = [sys.executable, "-m", f"scripts.{script}", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("smoke")
    done = run("train", "all", "--preset", "smoke", "--folder", str(folder), "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert "held out" in done.stdout
    return folder


def test_every_stage_leaves_a_config_and_held_out_metrics(trained: Path) -> None:
    for name in PRESETS["smoke"].schedules:
        metrics = json.loads((trained / name / "held_out.json").read_text())
        assert metrics, name
        assert all(isinstance(v, float) for v in metrics.values()), name
        assert json.loads((trained / name / "config.json").read_text())["stage"] == name


def test_the_exported_folder_loads(trained: Path) -> None:
    pipeline = Pipeline.load(ModelFolder.read(trained / "model"), torch.device("cpu"))
    assert pipeline.mesh_decoder.resolution == PRESETS["smoke"].data.resolution
    samplers = pipeline.config.structure_sampler, pipeline.config.latent_sampler
    assert [(s.steps, s.guidance, s.rescale_t) for s in samplers] == [(25, 1.0, 10.0), (25, 1.0, 100.0)]
    files = {p.name for p in (trained / "model" / "ckpts").iterdir()}
    assert {"image_encoder.json", "slat_flow_img_dit.safetensors"} <= files


def test_training_goes_on_from_a_model_in_half_precision(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "data").symlink_to(trained / "data", target_is_directory=True)
    command = ["train", "all", "--preset", "smoke", "--device", "cpu", "--folder", str(tmp_path)]
    done = run(*command, "--start", str(trained / "model"), "--precision", "bf16")
    assert done.returncode == 0, done.stderr
    assert Pipeline.load(ModelFolder.read(tmp_path / "model"), torch.device("cpu")).mesh_decoder.resolution == 8
    assert json.loads((tmp_path / "latent_vae" / "config.json").read_text())["precision"] == "bf16"


def test_a_stage_begins_with_the_weights_of_a_model(trained: Path) -> None:
    model = ModelFolder.read(trained / "model")
    run = Run(PRESETS["smoke"], trained, torch.device("cpu"), start=model)
    for kind in (LatentVAEStage, JointStage, StructureDecoderStage):  # the last of a network is what the model has
        stage = kind(run)
        begin_with(stage.networks, model)
        kept = load_file(trained / stage.name / "checkpoint.safetensors")
        values = {id(p): name for name, p in stage.model.named_parameters()}
        for network in stage.networks.values():
            for parameter in network.parameters():
                assert torch.equal(parameter, kept[f"ema/{values[id(parameter)]}"].half().float())


def test_the_exported_statistics_are_those_that_the_flows_learnt_with(trained: Path) -> None:
    """Of all their objects, the extra ones too."""
    latents = RunData(Run(PRESETS["smoke"], trained, torch.device("cpu")).extended())
    config = ModelFolder.read(trained / "model").config
    assert len(latents.objects) == 3 * SHARD
    for values, written in (
        (latents.structure, config.structure_normalization),
        (latents.voxels, config.latent_normalization),
    ):
        assert written is not None
        assert values.mean.tolist() == pytest.approx(list(written.mean))
        assert values.std.tolist() == pytest.approx(list(written.std))


def test_latents_of_more_objects_do_not_pass_for_those_of_fewer(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "data").symlink_to(trained / "data", target_is_directory=True)
    fewer = Run(PRESETS["smoke"], tmp_path, torch.device("cpu"))
    encoders = TrainedVoxelEncoders(Run(PRESETS["smoke"], trained, torch.device("cpu")))
    every = Latents(fewer.extended(), encoders).raw_structure()
    assert len(every) == 3 * SHARD
    some = Latents(fewer, encoders).raw_structure()
    # The extra shards come first. The encoder saw the objects in other batches, which may change the last bits.
    assert some.shape == every[SHARD:].shape
    assert torch.allclose(some, every[SHARD:], atol=1e-5)
    with torch.no_grad():
        encoder = encoders.structure()
        grid = fewer.objects("coords").occupancy(torch.arange(8), PRESETS["smoke"].data.resolution)
        assert torch.allclose(some[:8], encoder(grid), atol=1e-5)


def test_late_times_are_where_a_flow_is_sampled_most() -> None:
    generator = torch.Generator().manual_seed(0)
    t = Times(late=0.75, mean=3.0).draw(20_000, generator)
    plain = Times().draw(20_000, generator)
    share = [float((x > 0.8).float().mean()) for x in (t, plain)]
    # P(1.3 z + m > logit 0.8), for the means 3 and 1, by tables of the normal distribution
    assert share == pytest.approx([0.75 * 0.893 + 0.25 * 0.382, 0.382], abs=0.01)
    assert t.min() > 0
    assert t.max() < 1


def test_a_run_takes_from_its_model_what_it_has_not_trained(trained: Path, tmp_path: Path) -> None:
    """The image encoder learns along with the structure flow; then the model's is not used any more."""
    (tmp_path / "data").symlink_to(trained / "data", target_is_directory=True)
    command = ["--preset", "smoke", "--device", "cpu", "--folder", str(tmp_path), "--start", str(trained / "model")]
    for stage in ("structure_flow", "latent_flow", "structure_decoder", "export"):
        done = run("train", stage, *command)
        assert done.returncode == 0, done.stderr
    old, new = (folder / "model" / "ckpts" for folder in (trained, tmp_path))
    changed = {p.stem for p in new.glob("*.safetensors") if p.read_bytes() != (old / p.name).read_bytes()}
    assert changed == {"image_encoder", "ss_flow_img_dit", "slat_flow_img_dit", "ss_dec_conv3d"}
    assert Pipeline.load(ModelFolder.read(tmp_path / "model"), torch.device("cpu")).mesh_decoder.resolution == 8


def test_the_structure_decoder_goes_on_from_what_the_run_has_trained(trained: Path, tmp_path: Path) -> None:
    """Not from what the run's model has, where the run has trained its structure VAE further."""
    for name in ("data", "structure_vae"):
        (tmp_path / name).symlink_to(trained / name, target_is_directory=True)
    model = ModelFolder.read(trained / "model")  # its decoder has learnt in ``structure_decoder``, too
    run = Run(PRESETS["smoke"], tmp_path, torch.device("cpu"), start=model)
    found = begun(StructureDecoderStage, run).model.state_dict()
    own = run.finished(StructureVAEStage).model.decoder.state_dict()
    models = begun(StructureVAEStage, Run(PRESETS["smoke"], tmp_path / "no", run.device, model)).model.decoder
    assert all(found[name].equal(own[name]) for name in own)
    assert any(not found[name].equal(other) for name, other in models.state_dict().items())


def test_latents_that_were_hardly_noised_come_back(trained: Path) -> None:
    stage = StructureDecoderStage(Run(PRESETS["smoke"], trained, torch.device("cpu")))
    index = torch.arange(3)
    raw, scale = stage.latents.raw_structure()[index], stage.latents.structure.std[:, None, None, None]
    off = []
    for stage.times in ((0.0, 0.0), (0.9, 0.9)):
        back = stage.brought_back(index, torch.zeros_like(index), torch.Generator().manual_seed(0))
        off.append(float(((back - raw) / scale).square().mean().sqrt()))
    assert off[0] < 1e-4
    assert off[1] > 0.5  # the flow of this preset has learnt nothing


def test_a_lost_voxel_counts_more_than_an_invented_one() -> None:
    truth = torch.zeros(1, 1, 2, 2, 2)
    truth[0, 0, 0] = 1
    sure = 8 * (2 * truth - 1)
    lost, invented = sure.clone(), sure.clone()
    lost[0, 0, 0, 0, 0], invented[0, 0, 1, 0, 0] = -8, 8
    plain = [float(voxel_losses(x, truth)[1]) for x in (sure, lost, invented)]
    weighted = [float(voxel_losses(x, truth, 6.0)[1]) for x in (sure, lost, invented)]
    assert plain[1] == pytest.approx(plain[2], rel=1e-3)
    assert plain[0] < 1e-3
    assert weighted[1] == pytest.approx(6 * plain[1], rel=1e-2)
    assert weighted[2] == pytest.approx(plain[2], rel=1e-2)


def test_a_model_is_trained_further_on_objects_drawn_meanwhile(trained: Path, tmp_path: Path) -> None:
    command = ["train", "endless", "--preset", "smoke", "--device", "cpu", "--threads", "1", "--seconds", "25"]
    command += ["--start", str(trained / "model"), "--folder", str(trained), "--out", str(tmp_path), "--at-once", "1"]
    done = run(*command, "--precision", "bf16")
    assert done.returncode == 0, done.stderr + done.stdout
    figures = json.loads((tmp_path / "metrics.json").read_text())
    written = {"structure_flow": ("ss_flow_img_dit", "image_encoder"), "latent_flow": ("slat_flow_img_dit",)}
    for name, files in written.items():
        before, kept = (figures[name][which]["velocity_error"] for which in ("before", "kept"))
        assert kept == min(before, *(found["velocity_error"] for found in figures[name]["tried"]))
        assert all((tmp_path / "ckpts" / f"{file}.safetensors").exists() == (kept < before) for file in files)
        assert figures[name]["course"]["steps"] > 0
    assert Pipeline.load(ModelFolder.read(tmp_path), torch.device("cpu")).mesh_decoder.resolution == 8
    assert "is not empty" in run(*command).stderr


@pytest.mark.parametrize("stage", ["structure", "latents"])
def test_a_student_of_it_is_distilled_and_exported(trained: Path, stage: str) -> None:
    model, student, folder = trained / "model", trained / f"student-{stage}", trained / f"distilled-{stage}"
    command = ["distill", "vm-vd", stage, "--preset", "smoke"]
    command += ["--teacher", str(model), "--data", str(trained), "--device", "cpu", "--threads", "1"]
    plan = run(*command, "--dry-run")
    assert "M parameters" in plan.stdout, plan.stderr
    command += ["--folder", str(folder), "--export", str(student)]
    early = run(*command, "--export-only")
    assert early.returncode == 1
    assert "no checkpoint yet" in early.stderr
    done = run(*command)
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()] == [2]
    assert len(list((folder / "samples").glob("*.png"))) == 1
    config = json.loads((folder / "config.json").read_text())
    assert config["stage"] == stage
    assert config["data"].startswith("smoke, latents_")
    assert len(config["teacher"]) == 12
    teacher, loaded = (Pipeline.load(ModelFolder.read(path), torch.device("cpu")) for path in (model, student))
    sampler = loaded.config.structure_sampler if stage == "structure" else loaded.config.latent_sampler
    assert (sampler.steps, sampler.guidance) == (2, 0.0)
    assert loaded.config.image_encoder == teacher.config.image_encoder
    weights = loaded.structure_flow.state_dict() if stage == "structure" else loaded.latent_flow.state_dict()
    (student / "pipeline.json").unlink()
    again = run(*command, "--export-only")
    assert again.returncode == 0, again.stderr
    exported = Pipeline.load(ModelFolder.read(student), torch.device("cpu"))
    flow = exported.structure_flow if stage == "structure" else exported.latent_flow
    assert all(torch.equal(value, weights[key]) for key, value in flow.state_dict().items())
    again = run(*command)
    assert again.returncode == 0, again.stderr  # it is at its end already


def test_flow_maps_of_it_are_distilled_from_pictures(trained: Path, tmp_path: Path) -> None:
    """Both flows, from a folder of pictures alone; the latents take the voxels of the structure student."""
    pictures, student = tmp_path / "pictures", tmp_path / "student"
    pictures.mkdir()
    objects = Objects.load(trained / "data", range(1), ("image",))
    for number, image in enumerate(objects.column["image"][:3, 0]):
        draw_on_transparency(image).save(pictures / f"{number}.png")
    command = ["--preset", "smoke", "--teacher", str(trained / "model"), "--data-free", str(pictures)]
    command += ["--device", "cpu", "--threads", "1", "--export", str(student)]
    early = run("distill", "data-free", "latents", *command, "--folder", str(tmp_path / "latents"))
    assert early.returncode == 1
    assert "need a structure student" in early.stderr
    for stage in ("structure", "latents"):
        done = run("distill", "data-free", stage, *command, "--folder", str(tmp_path / stage))
        assert done.returncode == 0, done.stderr
        config = json.loads((tmp_path / stage / "config.json").read_text())
        assert config["data"].startswith("pictures, 3 pictures")
        assert len(list((tmp_path / stage / "samples").glob("*.png"))) == 1
    loaded = Pipeline.load(ModelFolder.read(student), torch.device("cpu"))
    assert loaded.structure_flow.flow_map
    assert loaded.latent_flow.flow_map
    assert loaded.config.structure_sampler.guidance == 1.0
    with pytest.raises(CheckpointError, match="A teacher must be a flow"):
        Teacher.find(str(student), "structure").load(torch.device("cpu"))


def draw_on_transparency(image: Tensor) -> Image.Image:
    """A picture [H, W, 3] of an object on black, with alpha; some of it is opaque even if the object is black."""
    pixels = image.numpy()
    alpha = np.where(pixels.max(2) > 0, 255, 0).astype(np.uint8)
    alpha[8:20, 8:20], alpha[0] = 255, 0
    return Image.fromarray(np.dstack([pixels, alpha]))


def test_data_is_complete_and_held_out_objects_are_the_last(trained: Path) -> None:
    objects = Objects.load(trained / "data", range(2), ("coords", "family"))
    assert len(objects) == 2 * SHARD
    grid = objects.occupancy(torch.tensor([0, SHARD]), 8)
    assert grid.sum((1, 2, 3, 4)).tolist() == objects.column["count"][[0, SHARD]].tolist()


def test_mini_keeps_to_its_size() -> None:
    from backend.models.image_encoder import ImageEncoder
    from backend.models.latent_flow import LatentFlow
    from backend.models.structure_flow import StructureFlow
    from backend.training.scratch.stages import LatentVAE, StructureVAE

    preset = PRESETS["mini"]

    def size(module: nn.Module) -> int:
        return sum(p.numel() for p in module.parameters())

    for flow_map in (False, True):  # its students have their size, too
        assert size(StructureFlow(**preset.networks["structure_flow"], flow_map=flow_map)) <= 4_000_000
        assert size(LatentFlow(**preset.networks["latent_flow"], flow_map=flow_map)) <= 4_000_000
    others = (
        size(StructureVAE(preset)) + size(LatentVAE(preset)) + size(ImageEncoder(**preset.networks["image_encoder"]))
    )
    assert others <= 6_000_000


class Line:
    """A stage that fits a line: enough to see whether a resumed run repeats an uninterrupted one."""

    name = "line"

    def __init__(self) -> None:
        self.schedule = Schedule(steps=6, batch=8, rate=0.1, warmup=2)
        torch.manual_seed(0)
        self.model = nn.Linear(3, 1)

    def loss(self, model: nn.Module, generator: torch.Generator, progress: float) -> tuple[Tensor, dict[str, float]]:
        x = torch.randn(self.schedule.batch, 3, generator=generator)
        return (model(x) - x.sum(1, keepdim=True)).square().mean(), {}

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        return {"weight": next(model.parameters()).sum().item()}


def test_a_part_learns_at_its_share_of_the_rates() -> None:
    """With AdamW and with Muon, whose matrices are those of numbered blocks."""

    def moved(shares: dict[str, float]) -> dict[str, float]:
        torch.manual_seed(0)
        model = nn.ModuleDict({n: nn.ModuleDict({"blocks": nn.ModuleList([nn.Linear(4, 4)])}) for n in ("a", "ab")})
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        state = TrainingState.of(model, Schedule(1, 1, rate=0.1, matrix_rate=0.1, shares=shares), half=False)
        for part in model.values():
            part["blocks"][0](torch.ones(2, 4)).square().sum().backward()  # type: ignore[index]
        state.update(0.1, 0.5)
        return {name: (p - before[name]).abs().max().item() for name, p in model.named_parameters()}

    alike, slower = moved({}), moved({"a.blocks": 0.25})
    for name, length in alike.items():
        share = 0.25 if name.startswith("a.") else 1.0
        assert slower[name] == pytest.approx(share * length, rel=1e-4), name


def test_a_stopped_run_goes_on_exactly(tmp_path: Path) -> None:
    whole = Trainer(Line(), tmp_path / "whole", torch.device("cpu")).run(lambda words: None)
    first = Trainer(Line(), tmp_path / "parts", torch.device("cpu"))
    for _ in range(3):
        first._one_step()
    first.state.save(first.checkpoint_path)
    (tmp_path / "parts" / "checkpoint.1.part.safetensors").write_bytes(b"left by a kill in mid-write")
    second = Trainer(Line(), tmp_path / "parts", torch.device("cpu"))
    assert second.step == 3
    assert second.run(lambda words: None) == whole


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    trainer = Trainer(Line(), tmp_path, torch.device("cpu"))
    with alone(tmp_path), pytest.raises(BackendError, match="another process is using"):
        trainer.run(lambda words: None)


def test_updates_that_were_left_out_are_not_counted_after_a_restart(tmp_path: Path) -> None:
    """Half precision skips some; AdamW's own count, which its steps depend on, is not that of the run."""

    def state() -> tuple[nn.Module, TrainingState, torch.amp.GradScaler]:
        torch.manual_seed(0)
        model = nn.Linear(3, 1)
        return model, TrainingState(model, 0.1, 0.0, (0.9, 0.999)), torch.amp.GradScaler("cpu", init_scale=2.0)

    def update(model: nn.Module, state: TrainingState, scaler: torch.amp.GradScaler, factor: float) -> None:
        model.zero_grad()
        scaler.scale(factor * model(torch.ones(2, 3)).square().mean()).backward()
        scaler.unscale_(state.optimizers[0])
        state.update(0.1, 0.5, scaler)

    whole, stopped, again = state(), state(), state()
    for factor in (1.0, torch.inf, 2.0):
        update(*whole, factor)
        update(*stopped, factor)
    stopped[1].save(tmp_path / "checkpoint.safetensors")
    again[1].restore(tmp_path / "checkpoint.safetensors")
    again[2].load_state_dict(stopped[2].state_dict())
    assert (again[1].step, again[1].updates) == (3, 2)
    update(*whole, 3.0)
    update(*again, 3.0)
    assert all(torch.equal(a, b) for a, b in zip(whole[0].parameters(), again[0].parameters(), strict=True))


def test_a_loss_that_is_not_a_number_stops_the_run(tmp_path: Path) -> None:
    class Broken(Line):
        def loss(
            self, model: nn.Module, generator: torch.Generator, progress: float
        ) -> tuple[Tensor, dict[str, float]]:
            return model(torch.full((1, 3), torch.nan)).sum(), {}

    with pytest.raises(FloatingPointError, match="step 0"):
        Trainer(Broken(), tmp_path, torch.device("cpu")).run(lambda words: None)


def test_a_gradient_that_is_not_a_number_reaches_no_weight(tmp_path: Path) -> None:
    class Edge(Line):
        def loss(
            self, model: nn.Module, generator: torch.Generator, progress: float
        ) -> tuple[Tensor, dict[str, float]]:
            return (0 * model(torch.ones(1, 3))).abs().sqrt().sum(), {}

    trainer = Trainer(Edge(), tmp_path, torch.device("cpu"))
    with pytest.raises(FloatingPointError, match="the gradient's norm is nan at step 0"):
        trainer.run(lambda words: None)
    assert all(p.isfinite().all() for p in trainer.model.parameters())


def test_schedule_warms_up_and_comes_down() -> None:
    schedule = replace(PRESETS["mini"].schedules["structure_flow"], steps=1000, warmup=100, rate=1.0)
    rates = [learning_rate(schedule, step) for step in range(1000)]
    assert rates[0] == pytest.approx(0.01)
    assert max(rates) == pytest.approx(1.0)
    assert rates[-1] < 0.06
    assert ema_decay(schedule, 0) == pytest.approx(0.1)
    assert ema_decay(schedule, 10**6) == schedule.ema
    constant = replace(schedule, course="constant", warmup=0)
    assert {learning_rate(constant, step) for step in range(1000)} == {1.0}
    assert ema_decay(constant, 0) == schedule.ema
