"""Shapes at 1024 and 1536: which mode a job has, and the cascade through the whole pipeline."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from backend.__main__ import main
from backend.errors import CheckpointError, JobCancelled, SettingsError
from backend.mesh import MaterialMesh
from backend.modes import MODES, Mode, mode_for
from backend.pipeline import Pipeline
from backend.protocol import InvalidSetting, Settings
from backend.reconstruction import Reconstruction
from backend.stages import decode_structure
from backend.weights.checkpoints import Checkpoint
from backend.weights.folders import ModelFolder
from tests.backend.images.test_images import disc
from tests.fakes.cuda import pretended_cuda
from tests.fakes.tiny_model import LATENT_CHANNELS, RESOLUTION, write_tiny_model
from tests.fakes.tiny_trellis2 import write_tiny_trellis2

SETTINGS = Settings(seed=3, texture_size=64, faces=300, retry_seconds=0.0, texture_source="colors")
FINE = replace(SETTINGS, resolution=1024)
CPU = torch.device("cpu")
#: The side of the grid that stands for 512^3.
SIDE = 4 * RESOLUTION


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_trellis2(tmp_path_factory.mktemp("modes") / "tiny")


@pytest.fixture(scope="module")
def pipeline(folder: Path) -> Pipeline:
    return Pipeline.load(ModelFolder.read(folder), CPU)


@pytest.fixture(scope="module")
def fine(pipeline: Pipeline) -> Reconstruction:
    """A shape at 1024."""
    return pipeline.reconstruct([disc()], FINE)


def with_mode(folder: Path, mode: Any) -> Path:
    """A model of the tiny one's networks whose own mode is another."""
    values = json.loads((folder / "pipeline.json").read_text())
    values["args"]["default_pipeline_type"] = mode
    (folder / "pipeline.json").write_text(json.dumps(values))
    return folder


def without_fine(folder: Path) -> Path:
    for name in ("fine_shape_flow", "fine_texture_flow"):
        (folder / "ckpts" / f"{name}.safetensors").unlink()
    return folder


def same(one: Reconstruction, other: Reconstruction) -> bool:
    return all(
        torch.equal(getattr(one.raw, name), getattr(other.raw, name)) for name in ("vertices", "faces", "colors")
    )


# --- which mode ------------------------------------------------------------------------------------------------------


def test_a_resolution_means_the_models_own_way_to_it_or_a_cascade() -> None:
    assert mode_for("1024_cascade", None) == MODES["1024_cascade"]
    assert mode_for("1024_cascade", 512) == Mode(512)
    assert mode_for("512", 1024) == Mode(512, 1024)
    assert mode_for("1024", 1024) == Mode(1024)
    assert mode_for("1024", 1536) == Mode(512, 1536)
    assert [mode.is_fine for mode in MODES.values()] == [False, True, True, True]


@pytest.mark.parametrize("resolution", [256, 768, 2048, 1024.0, "1024", True])
def test_only_three_resolutions_can_be_asked_for(resolution: Any) -> None:
    with pytest.raises(InvalidSetting, match="Resolution must be 512 or 1024 or 1536"):
        Settings(resolution=resolution)


@pytest.mark.parametrize("mode", ["2048_cascade", 1024, None])
def test_a_folder_must_name_a_mode_that_there_is(tmp_path: Path, mode: Any) -> None:
    folder = with_mode(write_tiny_trellis2(tmp_path / "tiny"), mode)
    with pytest.raises(CheckpointError, match=r"default_pipeline_type.+must be one of 512, 1024, 1024_cascade"):
        ModelFolder.read(folder)


def test_a_model_of_the_first_family_has_no_choice(tmp_path: Path) -> None:
    pipeline = Pipeline.load(ModelFolder.read(write_tiny_model(tmp_path / "first")), CPU)
    with pytest.raises(SettingsError, match="TRELLIS has no choice of resolutions") as caught:
        pipeline.generate([disc()], FINE)
    assert "TRELLIS.2" in caught.value.hint
    assert pipeline.mode(SETTINGS) is None


def test_a_folder_without_the_finer_networks_makes_coarse_shapes_and_says_so(tmp_path: Path) -> None:
    folder = with_mode(without_fine(write_tiny_trellis2(tmp_path / "tiny")), "1024_cascade")
    model = ModelFolder.read(folder)
    model.require_whole()
    pipeline = Pipeline.load(model, CPU)
    with pytest.raises(SettingsError, match="no networks for shapes at a resolution of 1536") as caught:
        pipeline.generate([disc()], replace(SETTINGS, resolution=1536))
    assert (caught.value.code, "trellis2-4b-fine" in caught.value.hint) == ("networks_missing", True)
    made = pipeline.reconstruct([disc()], SETTINGS)
    assert made.raw.resolution == SIDE
    assert "512: the networks of finer ones are missing" in made.note
    assert pipeline.reconstruct([disc()], replace(SETTINGS, resolution=512)).note == ""


# --- the cascade -----------------------------------------------------------------------------------------------------


def test_the_models_own_mode_is_taken_unless_another_is_asked_for(
    folder: Path, fine: Reconstruction, tmp_path: Path
) -> None:
    pipeline = Pipeline.load(ModelFolder.read(with_mode(write_tiny_trellis2(tmp_path / "tiny"), "1024_cascade")), CPU)
    assert same(pipeline.reconstruct([disc()], SETTINGS), fine)
    assert pipeline.reconstruct([disc()], replace(SETTINGS, resolution=512)).raw.resolution == SIDE


def test_a_finer_shape_lies_where_the_coarse_one_was(pipeline: Pipeline, fine: Reconstruction) -> None:
    coarse = pipeline.reconstruct([disc()], SETTINGS)
    assert isinstance(fine.raw, MaterialMesh)
    assert (coarse.raw.resolution, fine.raw.resolution) == (SIDE, 2 * SIDE)
    assert fine.note == ""
    assert fine.voxels == len(fine.latents) > coarse.voxels
    assert int(fine.coords.max()) < 2 * RESOLUTION
    parents = {tuple(voxel) for voxel in (fine.coords[:, 1:] // 2).tolist()}
    assert parents <= {tuple(voxel) for voxel in coarse.coords[:, 1:].tolist()}


def test_each_flow_has_its_steps_and_the_tokens_of_its_size(pipeline: Pipeline) -> None:
    calls: list[tuple[str, int]] = []
    assert pipeline.materials is not None
    assert pipeline.materials.fine is not None
    flows: dict[str, nn.Module] = {
        "structure": pipeline.structure_flow,
        "shape": pipeline.latent_flow,
        "texture": pipeline.materials.flow,
        "fine shape": pipeline.materials.fine.shape,
        "fine texture": pipeline.materials.fine.texture,
    }

    def noting(name: str) -> Callable[[Any, Any], None]:
        return lambda _, inputs: calls.append((name, inputs[2].shape[1])) if inputs[2].any() else None

    hooks = [flow.register_forward_pre_hook(noting(name)) for name, flow in flows.items()]
    steps: list[tuple[str, int, int]] = []
    made = pipeline.generate([disc()], FINE, on_progress=lambda *step: steps.append(step))
    for hook in hooks:
        hook.remove()
    small, large = (5 + (side // 16) ** 2 for side in (512, 1024))
    assert calls == [
        *3 * [("structure", small)],
        *3 * [("shape", small)],
        *3 * [("fine shape", large)],
        *3 * [("fine texture", large)],
    ]
    assert [done for stage, done, total in steps if stage == "latents" and total == 9] == list(range(10))
    assert made.counts["resolution"] == 2 * SIDE


def test_too_many_voxels_make_a_coarser_shape_and_it_is_said(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    finest = replace(SETTINGS, resolution=1536)
    free = pipeline.reconstruct([disc()], finest)
    assert (free.raw.resolution, free.note) == (3 * SIDE, "")
    monkeypatch.setattr("backend.material_run.MOST_VOXELS", free.voxels)
    made = pipeline.reconstruct([disc()], finest)
    assert 2 * SIDE <= made.raw.resolution < 3 * SIDE
    assert f"at {3 * SIDE} it would have {free.voxels:,} voxels" in made.note


def test_one_network_at_a_time_makes_the_same(folder: Path, fine: Reconstruction) -> None:
    low = Pipeline.load(ModelFolder.read(folder), CPU, low_memory=True)
    assert same(low.reconstruct([disc()], FINE), fine)
    for network in low.checkpoints:
        assert all(parameter.is_meta for parameter in network.parameters())


def test_the_finer_flows_are_in_memory_only_while_they_are_used(pipeline: Pipeline, fine: Reconstruction) -> None:
    assert pipeline.materials is not None
    assert pipeline.materials.fine is not None
    assert set(pipeline.checkpoints) == set(pipeline.materials.fine)
    for flow in pipeline.materials.fine:
        assert all(parameter.is_meta for parameter in flow.parameters())


def test_a_job_ends_in_the_finer_flows(pipeline: Pipeline, fine: Reconstruction) -> None:
    assert pipeline.materials is not None
    for flow in pipeline.materials.fine or ():
        running: list[bool] = []
        hook = flow.register_forward_pre_hook(lambda *_, running=running: running.append(True))

        def check(running: list[bool] = running) -> None:
            if running:
                raise JobCancelled

        with pytest.raises(JobCancelled):
            pipeline.generate([disc()], FINE, check=check)
        hook.remove()
    assert same(pipeline.reconstruct([disc()], FINE), fine)


def test_a_shape_that_is_fine_from_the_start_needs_no_coarse_one(tmp_path: Path) -> None:
    pipeline = Pipeline.load(ModelFolder.read(with_mode(write_tiny_trellis2(tmp_path / "tiny"), "1024")), CPU)
    assert pipeline.grid(FINE) == 2 * RESOLUTION == 2 * pipeline.grid(replace(SETTINGS, resolution=512))
    calls: list[int] = []
    pipeline.latent_flow.register_forward_pre_hook(lambda *_: calls.append(1))
    block = range(RESOLUTION, RESOLUTION + 3)
    voxels = np.array([[x, y, z] for x in block for y in block for z in block], np.int32)
    made = pipeline.reconstruct([disc()], FINE, structure=voxels)
    assert (made.voxels, made.raw.resolution, calls) == (27, 2 * SIDE, [])


# --- through its doors -----------------------------------------------------------------------------------------------


def test_the_command_line_makes_a_finer_shape_and_says_how_fine(
    folder: Path, tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    disc().save(tmp_path / "disc.png")
    monkeypatch.setattr("backend.serving.loop.claim_standard_streams", lambda: (None, __import__("sys").stdout.buffer))
    line = ["generate", str(tmp_path / "disc.png"), "--out", str(tmp_path / "out"), "--model", str(folder), "--json"]
    chosen = ["--resolution", "1024", "--texture-size", "64", "--faces", "300", "--device", "cpu", "--low-memory"]
    assert main([*line, *chosen]) == 0
    summary = json.loads(capsysbinary.readouterr().out)
    assert summary["settings"]["resolution"] == 1024
    assert summary["counts"]["resolution"] == 2 * SIDE
    with pytest.raises(SystemExit):
        main([*line, "--resolution", "768"])


def test_what_a_job_left_to_the_model_is_filled_in(folder: Path, pipeline: Pipeline) -> None:
    from backend.protocol import Generate
    from backend.serving.job import Shape, carried_out_by

    request = Generate("a", ("a.png",), "out", model=str(folder))
    assert carried_out_by(request, pipeline, SETTINGS, Shape(None, ()))["resolution"] == 512
    assert carried_out_by(request, pipeline, FINE, Shape(None, ()))["resolution"] == 1024


# --- Apple's GPUs ----------------------------------------------------------------------------------------------------


def test_the_structures_networks_stay_on_the_processor_where_a_gpu_cannot_convolve_volumes(
    folder: Path, caplog: pytest.LogCaptureFixture, pipeline: Pipeline
) -> None:
    from backend.models.structure_flow import StructureFlow
    from backend.models.structure_vae import StructureDecoder

    caplog.set_level("INFO")
    files = ModelFolder.read(folder).network
    decoder = Checkpoint(files("ckpts/structure_decoder"), StructureDecoder, torch.device("mps"))
    assert "StructureDecoder runs on the processor" in caplog.text
    decoder.fill()
    assert {weight.device.type for weight in decoder.network.parameters()} == {"cpu"}
    assert {weight.dtype for weight in decoder.network.parameters()} == {torch.float32}
    flow = Checkpoint(files("ckpts/structure_flow"), StructureFlow, torch.device("mps"))
    assert flow.network.dtype == torch.bfloat16, "the others are on the GPU"
    latents = torch.randn(1, LATENT_CHANNELS, *3 * [RESOLUTION // 2], generator=torch.Generator().manual_seed(0))
    with pretended_cuda() as gpu:
        coords = decode_structure(decoder.network, gpu.tensor(latents))
        assert coords.device.type == "cuda"
