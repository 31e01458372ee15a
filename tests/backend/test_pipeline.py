"""The stages in order, on a tiny model: determinism, several views, progress, and cancelling between any two blocks."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from backend.config import SamplerSettings
from backend.errors import CheckpointError, GenerationError, JobCancelled, SettingsError
from backend.generated import Generated
from backend.mesh import AnyRawMesh
from backend.pipeline import Pipeline
from backend.progress import interruptible
from backend.protocol import InvalidSetting, Settings
from backend.stages import decode_structure, sample_structure, structure_noise
from backend.weights.folders import ModelFolder
from tests.backend.images.test_images import disc
from tests.fakes.tiny_model import LATENT_CHANNELS, RESOLUTION, TOKEN_CHANNELS, write_tiny_model

# Without further attempts, whose number depends on how busy the machine is, and with it the bytes.
SETTINGS = Settings(seed=3, steps=2, texture_size=64, faces=300, retry_seconds=0.0)


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    folder = write_tiny_model(tmp_path_factory.mktemp("pipeline") / "tiny")
    return Pipeline.load(ModelFolder.read(folder), torch.device("cpu"))


def fingerprint(generated: Generated) -> tuple[bytes, ...]:
    mesh = generated.mesh
    return mesh.vertices.tobytes(), mesh.faces.tobytes(), mesh.uvs.tobytes(), mesh.texture.tobytes()


def test_the_same_seed_gives_the_same_bytes_whatever_ran_before(pipeline: Pipeline) -> None:
    first = fingerprint(pipeline.generate([disc()], SETTINGS))
    torch.rand(5)  # nothing may depend on the global generator
    other = fingerprint(pipeline.generate([disc()], Settings(seed=4, steps=2, texture_size=64, faces=300)))
    assert other != first
    assert fingerprint(pipeline.generate([disc()], SETTINGS)) == first


def test_a_texture_from_the_picture_has_the_same_mesh_and_says_where_the_picture_was_taken(pipeline: Pipeline) -> None:
    plain = pipeline.generate([disc()], replace(SETTINGS, texture_source="colors"))
    assert plain.mesh.views == ()
    made = pipeline.generate([disc()], SETTINGS)
    assert fingerprint(made)[:3] == fingerprint(plain)[:3]
    (view,) = made.mesh.views
    assert view.camera is not None
    assert (made.mesh.texture.tobytes() != plain.mesh.texture.tobytes()) == view.trusted
    assert ("not painted" in made.note) == (not view.trusted)


def test_counts_and_times_cover_every_stage(pipeline: Pipeline) -> None:
    previews: list[AnyRawMesh] = []
    generated = pipeline.generate([disc()], SETTINGS, on_preview=previews.append)
    assert list(generated.timings) == ["prepare", "encode", "structure", "latents", "decode", "finish"]
    assert generated.counts["raw_faces"] == len(previews[0].faces) > 0
    assert generated.counts["faces"] == len(generated.mesh.faces)
    assert generated.counts["voxels"] > 0


def test_several_views_act_together(pipeline: Pipeline) -> None:
    torch.manual_seed(0)
    views = torch.randn(2, 7, TOKEN_CHANNELS)
    sampler = SamplerSettings(steps=2, guidance=0.0, interval=(0.0, 1.0), rescale_t=1.0, sigma_min=1e-5)

    def sample(cond: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        with torch.inference_mode():
            noise = structure_noise(pipeline.structure_flow, generator, cond.device)
            return sample_structure(pipeline.structure_flow, noise, cond, sampler, None)

    one, other, both = sample(views[:1]), sample(views[1:]), sample(views)
    assert not torch.allclose(one, other, atol=1e-3)
    assert not torch.allclose(both, one, atol=1e-3)
    assert torch.allclose(sample(views.flip(0)), both, atol=1e-5)
    assert torch.allclose(sample(views[:1].expand(2, -1, -1)), one, atol=1e-5)


def test_views_take_turns_if_asked_to(pipeline: Pipeline) -> None:
    def settings(mode: str, steps: int) -> Settings:
        return Settings(steps=steps, texture_size=64, faces=300, multi_image=mode)

    views = [disc(), disc((0, 0, 0, 0), 32)]
    together = pipeline.reconstruct(views, settings("multidiffusion", 2)).raw
    in_turns = pipeline.reconstruct(views, settings("stochastic", 2)).raw
    assert not torch.equal(together.vertices[:50], in_turns.vertices[:50])
    with pytest.raises(SettingsError, match="2 images cannot take turns in 1 step"):
        pipeline.reconstruct(views, settings("stochastic", 1))
    with pytest.raises(InvalidSetting, match="not 'average'"):
        settings("average", 2)


def test_steps_and_guidance_come_from_the_model_unless_chosen(pipeline: Pipeline) -> None:
    steps: list[tuple[str, int, int]] = []
    pipeline.generate(
        [disc()],
        Settings(texture_size=64, faces=300),
        on_progress=lambda *progress: steps.append(progress),
    )
    assert ("structure", 3, 3) in steps
    assert ("latents", 3, 3) in steps
    assert [s.guidance for s in pipeline.samplers(Settings())] == [2.0, 2.0]
    assert [s.guidance for s in pipeline.samplers(Settings(guidance=0))] == [0.0, 0.0]


def test_decoders_that_no_stage_runs_may_be_named(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path / "tiny")
    config = json.loads((folder / "pipeline.json").read_text())
    config["args"]["models"] |= {"slat_decoder_gs": "ckpts/gaussians", "slat_decoder_rf": "ckpts/radiance_fields"}
    (folder / "pipeline.json").write_text(json.dumps(config))
    assert Pipeline.load(ModelFolder.read(folder), torch.device("cpu")).folder == folder


def test_no_voxel_is_an_error(pipeline: Pipeline) -> None:
    decoder = pipeline.structure_decoder
    latents = torch.zeros(1, LATENT_CHANNELS, *[RESOLUTION // 2] * 3)
    bias: Any = decoder.out_layer[-1].bias
    kept = bias.clone()
    bias.fill_(-100)
    try:
        assert decode_structure(decoder, latents).shape == (0, 4)
        with pytest.raises(GenerationError) as caught:
            pipeline.generate([disc()], SETTINGS)
        assert caught.value.code == "structure_empty"
    finally:
        bias.copy_(kept)


def count_checks(pipeline: Pipeline) -> int:
    checks = 0

    def check() -> None:
        nonlocal checks
        checks += 1

    pipeline.generate([disc()], SETTINGS, check=check)
    return checks


def test_a_job_can_be_cancelled_at_every_block_and_leaves_the_model_as_it_was(pipeline: Pipeline) -> None:
    expected = fingerprint(pipeline.generate([disc()], SETTINGS))
    total = count_checks(pipeline)
    blocks = 1 + 2 * 2 * 2 + 2 * 2 * 2  # encoder; structure and latents: steps x (with and without image) x blocks
    assert total > blocks
    for last in range(0, total, 5):
        left = last

        def check() -> None:
            nonlocal left
            if left == 0:
                raise JobCancelled
            left -= 1

        with pytest.raises(JobCancelled):
            pipeline.generate([disc()], SETTINGS, check=check)
    assert count_checks(pipeline) == total  # no hook was left behind
    assert fingerprint(pipeline.generate([disc()], SETTINGS)) == expected


def test_every_block_of_a_network_checks(pipeline: Pipeline) -> None:
    checks: list[None] = []
    with interruptible([pipeline.image_encoder], lambda: checks.append(None)), torch.inference_mode():
        pipeline.image_encoder(torch.zeros(1, 3, 28, 28))
    assert len(checks) == len(pipeline.image_encoder.blocks)


def test_low_memory_gives_the_same_bytes_and_holds_no_weights(tmp_path: Path, pipeline: Pipeline) -> None:
    model = write_tiny_model(tmp_path / "tiny")
    sparing = Pipeline.load(ModelFolder.read(model), torch.device("cpu"), low_memory=True)
    networks = list(sparing.checkpoints)
    assert len(networks) == 5
    seen = []

    def on_progress(stage: str, step: int, steps: int) -> None:
        seen.append(sum(is_resident(network) for network in networks))

    expected = fingerprint(pipeline.generate([disc()], SETTINGS))
    for _ in range(2):
        assert fingerprint(sparing.generate([disc()], SETTINGS, on_progress=on_progress)) == expected
        assert not any(map(is_resident, networks))
    assert set(seen) == {0, 1}  # between stages none, within one a single network


def test_low_memory_gives_weights_back_when_a_job_ends_early(tmp_path: Path) -> None:
    sparing = Pipeline.load(ModelFolder.read(write_tiny_model(tmp_path / "tiny")), torch.device("cpu"), low_memory=True)

    def check() -> None:
        if is_resident(sparing.latent_flow):
            raise JobCancelled

    with pytest.raises(JobCancelled):
        sparing.generate([disc()], SETTINGS, check=check)
    assert not any(map(is_resident, sparing.checkpoints))


def test_low_memory_finds_wrong_keys_before_a_job(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / "tiny")
    (model / "ckpts/mesh_decoder.safetensors").write_bytes((model / "ckpts/latent_flow.safetensors").read_bytes())
    with pytest.raises(CheckpointError, match="does not fit"):
        Pipeline.load(ModelFolder.read(model), torch.device("cpu"), low_memory=True)


def is_resident(network: nn.Module) -> bool:
    return not all(tensor.is_meta for tensor in network.state_dict().values())
