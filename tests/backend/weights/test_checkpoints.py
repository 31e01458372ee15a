"""Whatever is wrong with a model folder is said in one sentence that names the file and the keys."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from backend.config import PipelineConfig
from backend.errors import CheckpointError
from backend.models.structure_flow import StructureFlow
from backend.models.structure_vae import StructureDecoder
from backend.protocol import Settings
from backend.store.catalog import find_model
from backend.weights import checkpoints
from backend.weights.checkpoints import Checkpoint, load_network
from backend.weights.folders import NetworkFiles
from tests.fakes.tiny_model import write_tiny_model

CPU = torch.device("cpu")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_tiny_model(tmp_path / "tiny")


def load_flow(model: Path) -> StructureFlow:
    return load_network(model / "ckpts" / "structure_flow", StructureFlow, CPU)


def test_weights_arrive_key_for_key_in_fp32(model: Path) -> None:
    flow = load_flow(model)
    stored = load_file(model / "ckpts" / "structure_flow.safetensors")
    state = flow.state_dict()
    assert state.keys() == stored.keys()
    assert stored["blocks.0.mlp.mlp.0.weight"].dtype == torch.float16
    for key, tensor in state.items():
        assert tensor.dtype == torch.float32
        assert tensor.device == CPU
        assert torch.equal(tensor, stored[key].float())
    assert not flow.training
    assert not any(parameter.requires_grad for parameter in flow.parameters())


def test_computed_buffers_are_what_the_network_computes(model: Path) -> None:
    fresh = StructureFlow(**json.loads((model / "ckpts/structure_flow.json").read_text())["args"])
    assert torch.equal(load_flow(model).state_dict()["pos_emb"], fresh.state_dict()["pos_emb"])


def test_a_loaded_network_does_not_hold_its_file(model: Path) -> None:
    file = model / "ckpts" / "structure_flow.safetensors"
    save_file({key: tensor.float() for key, tensor in load_file(file).items()}, file)
    flow = load_flow(model)
    before = {key: tensor.clone() for key, tensor in flow.state_dict().items()}
    with file.open("r+b") as stream:  # in place: a mapped tensor would change, or the process would crash
        stream.truncate(0)
    assert all(torch.equal(tensor, before[key]) for key, tensor in flow.state_dict().items())


def drop(tensors: dict[str, torch.Tensor]) -> None:
    del tensors["out_layer.bias"]


def add(tensors: dict[str, torch.Tensor]) -> None:
    tensors["extra.weight"] = torch.zeros(3)


def reshape(tensors: dict[str, torch.Tensor]) -> None:
    tensors["input_layer.bias"] = torch.zeros(5)


def all_three(tensors: dict[str, torch.Tensor]) -> None:
    for change in (drop, add, reshape):
        change(tensors)


def poison(tensors: dict[str, torch.Tensor]) -> None:
    tensors["input_layer.bias"][0] = torch.nan


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (drop, ["missing: out_layer.bias"]),
        (add, ["unexpected: extra.weight"]),
        (reshape, ["of another shape: input_layer.bias [5] instead of [24]"]),
        (all_three, ["missing: out_layer.bias", "unexpected: extra.weight", "input_layer.bias [5] instead of [24]"]),
        (poison, ["not finite in input_layer.bias"]),
    ],
)
def test_wrong_keys_are_named_with_the_file(
    model: Path, change: Callable[[dict[str, torch.Tensor]], None], words: list[str]
) -> None:
    file = model / "ckpts" / "structure_flow.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file)
    with pytest.raises(CheckpointError) as caught:
        load_flow(model)
    for expected in [str(file), *words]:
        assert expected in str(caught.value)
    assert caught.value.code == "checkpoint_invalid"


class Bomb:
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return (exec, ("raise SystemExit('a pickle was run')",))


def write_pickle(file: Path) -> None:
    file.write_bytes(pickle.dumps(Bomb()))


def write_torch_file(file: Path) -> None:
    torch.save({"a": torch.zeros(3)}, file)


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def tamper_with_header(file: Path) -> None:
    file.write_bytes(file.read_bytes().replace(b'"F16"', b'"F64"', 1))


def claim_a_huge_header(file: Path) -> None:
    file.write_bytes(b"\xff" * 8 + file.read_bytes()[8:])


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (Path.unlink, "is missing"),
        (lambda file: file.write_bytes(b""), "is empty"),
        (lambda file: file.write_bytes(b"<html>Not found</html>"), "damaged"),
        (truncate, "damaged"),
        (tamper_with_header, "damaged"),
        (claim_a_huge_header, "damaged"),
        (write_pickle, "pickle"),
        (write_torch_file, "pickle"),
    ],
)
def test_a_damaged_file_is_refused(model: Path, damage: Callable[[Path], object], words: str) -> None:
    file = model / "ckpts" / "structure_flow.safetensors"
    damage(file)
    with pytest.raises(CheckpointError, match=words) as caught:
        load_flow(model)
    assert str(file) in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize(
    "config",
    [
        "{",
        "[]",
        '{"name": "SparseStructureFlowModel"}',
        '{"name": "os.system", "args": {}}',
        '{"name": "SparseStructureDecoder", "args": {}}',
        '{"name": "SparseStructureFlowModel", "args": {"resolution": 4}}',
        '{"name": ["SparseStructureFlowModel"], "args": {}}',
    ],
)
def test_a_wrong_network_config_is_refused(model: Path, config: str) -> None:
    file = model / "ckpts" / "structure_flow.json"
    file.write_text(config)
    with pytest.raises(CheckpointError) as caught:
        load_flow(model)
    assert str(file) in str(caught.value)


def test_a_network_of_another_kind_is_refused(model: Path) -> None:
    with pytest.raises(CheckpointError, match="SparseStructureDecoder"):
        load_network(model / "ckpts" / "structure_flow", StructureDecoder, CPU)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("models.slat_flow_model", None, '"args.models.slat_flow_model" is missing'),
        ("models.slat_flow_model", "../../etc/passwd", "inside the model's folder"),
        ("models.slat_flow_model", "/etc/passwd", "inside the model's folder"),
        ("slat_sampler.params.steps", 0, "whole number"),
        ("slat_sampler.params.cfg_strength", "strong", "must be a number"),
        ("slat_sampler.name", "Magic", "must be one of"),
        ("slat_normalization.std", [1.0] * 7 + [0.0], "positive"),
        ("slat_normalization", None, "is missing"),
        ("seal_leaks", "yes", "must be true or false"),
    ],
)
def test_a_wrong_pipeline_names_the_key(model: Path, path: str, value: object, words: str) -> None:
    file = model / "pipeline.json"
    pipeline = json.loads(file.read_text())
    *parents, key = path.split(".")
    place = pipeline["args"]
    for parent in parents:
        place = place[parent]
    if value is None:
        del place[key]
    else:
        place[key] = value
    file.write_text(json.dumps(pipeline))
    with pytest.raises(CheckpointError, match=words) as caught:
        PipelineConfig.read(model)
    assert str(file) in str(caught.value)


def test_a_published_pipeline_is_read(tmp_path: Path) -> None:
    """As TRELLIS-image-large has it: no structure normalisation, networks that Espalier does not use, a hub encoder."""
    sampler = {
        "name": "FlowEulerGuidanceIntervalSampler",
        "args": {"sigma_min": 1e-5},
        "params": {"steps": 25, "cfg_strength": 5.0, "cfg_interval": [0.5, 1.0], "rescale_t": 3.0},
    }
    pipeline = {
        "name": "TrellisImageTo3DPipeline",
        "args": {
            "models": {
                "sparse_structure_decoder": "ckpts/ss_dec_conv3d_16l8_fp16",
                "sparse_structure_flow_model": "ckpts/ss_flow_img_dit_L_16l8_fp16",
                "slat_decoder_gs": "ckpts/slat_dec_gs_swin8_B_64l8gs32_fp16",
                "slat_decoder_mesh": "ckpts/slat_dec_mesh_swin8_B_64l8m256c_fp16",
                "slat_flow_model": "ckpts/slat_flow_img_dit_L_64l8p2_fp16",
            },
            "sparse_structure_sampler": sampler,
            "slat_sampler": sampler,
            "slat_normalization": {"mean": [0.0] * 8, "std": [1.0] * 8},
            "image_cond_model": "dinov2_vitl14_reg",
        },
    }
    (tmp_path / "pipeline.json").write_text(json.dumps(pipeline))
    config = PipelineConfig.read(tmp_path)
    assert config.image_encoder == "ckpts/dinov2_vitl14_reg"
    assert config.structure_normalization is None
    assert not config.seal_leaks
    assert config.latent_sampler.interval == (0.5, 1.0)
    assert config.latent_sampler.overridden(Settings(steps=2)).steps == 2
    assert config.latent_sampler.overridden(Settings(guidance=0)).guidance == 0


@pytest.mark.parametrize("name", ["", "no-such-model", "..", "/nowhere"])
def test_an_unknown_model_is_refused(name: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        find_model(name)
    assert caught.value.code == "model_unknown"
    assert caught.value.hint


def test_a_model_is_found_by_its_folder(model: Path) -> None:
    assert find_model(str(model)) == model.resolve()


def kept(model: Path) -> Checkpoint[StructureFlow]:
    return Checkpoint(NetworkFiles.at(model / "ckpts" / "structure_flow"), StructureFlow, CPU, keep=True)


def test_kept_weights_are_read_once(model: Path) -> None:
    flow = kept(model)
    with flow.filled() as network:
        first = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    assert all(tensor.is_meta for tensor in flow.network.state_dict().values())
    (model / "ckpts" / "structure_flow.safetensors").unlink()
    for _ in range(2):
        with flow.filled() as network:
            for key, tensor in network.state_dict().items():
                assert torch.equal(tensor, first[key])
                tensor.zero_()  # what is kept is a copy


def test_weights_that_cannot_be_kept_are_read_again(
    model: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As on a computer with less memory than the card."""
    like = checkpoints._Block.like

    def no_room(*given: Any, pinned: bool | None = None) -> Any:
        if pinned is not None:
            raise RuntimeError("CUDA error: out of memory")
        return like(*given)

    monkeypatch.setattr(checkpoints._Block, "like", no_room)
    flow = kept(model)
    for _ in range(2):
        with flow.filled() as network:
            assert not any(tensor.is_meta for tensor in network.state_dict().values())
    assert [record.message.count("read again for each object") for record in caplog.records] == [1]
