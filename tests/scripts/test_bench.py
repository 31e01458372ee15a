"""The benchmark: what it counts, what it measures with, and that it goes on where it was interrupted."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from backend.config import DESCRIPTIONS, PipelineConfig, SamplerSettings
from backend.models import operations
from backend.models.latent_vae import LatentMeshDecoder
from backend.models.structure_flow import StructureFlow
from backend.pipeline import Pipeline
from backend.protocol import Settings
from backend.sparse.tensor import SparseTensor, VoxelSet
from backend.stages import sample_structure
from backend.weights.checkpoints import NETWORKS, load_network
from backend.weights.folders import ModelFolder
from backend.weights.random_weights import rule_tensor
from scripts import bench
from scripts.benchmark import extraction
from scripts.benchmark.meter import Meter, rates
from scripts.benchmark.networks import LARGE, description_of, network_by_rule
from scripts.benchmark.results import Results, table
from scripts.benchmark.stages import GROUPS, Case, Setup, Stages
from scripts.make_random_model import write_random_model
from tests.fakes.tiny_model import (
    CONFIGS,
    IMAGE_SIZE,
    LATENT_CHANNELS,
    RESOLUTION,
    TOKEN_CHANNELS,
    write_tiny_model,
)
from tests.fakes.tiny_trellis2 import write_tiny_trellis2

CPU = torch.device("cpu")
CONTEXT = 7
GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


# --- counting --------------------------------------------------------------------------------------------------------


def network(name: str, **changes: Any) -> Any:
    kind, args = CONFIGS[name]
    return NETWORKS[kind](**{**args, "use_fp16": False, **changes} if name != "image_encoder" else args).eval()


def some_voxels() -> VoxelSet:
    cells = torch.randperm(RESOLUTION**3, generator=torch.Generator().manual_seed(0))[:60]
    places = [cells // RESOLUTION**2, cells // RESOLUTION % RESOLUTION, cells % RESOLUTION]
    return VoxelSet(torch.stack([torch.zeros_like(cells), *places], dim=1))


def cond() -> torch.Tensor:
    return torch.randn(1, CONTEXT, TOKEN_CHANNELS)


def call_image_encoder() -> tuple[nn.Module, operations.Work, Callable[[], Any]]:
    encoder = network("image_encoder")
    return encoder, operations.image_encoder(encoder), lambda: encoder(torch.randn(1, 3, IMAGE_SIZE, IMAGE_SIZE))


def call_structure_flow() -> tuple[nn.Module, operations.Work, Callable[[], Any]]:
    flow, side = network("structure_flow"), RESOLUTION // 2
    work = operations.structure_flow(flow, CONTEXT)
    return flow, work, lambda: flow(torch.randn(1, LATENT_CHANNELS, side, side, side), torch.tensor([500.0]), cond())


def call_structure_decoder() -> tuple[nn.Module, operations.Work, Callable[[], Any]]:
    decoder, side = network("structure_decoder"), RESOLUTION // 2
    work = operations.structure_decoder(decoder, side)
    return decoder, work, lambda: decoder(torch.randn(1, LATENT_CHANNELS, side, side, side))


def call_latent_flow(**changes: Any) -> tuple[nn.Module, operations.Work, Callable[[], Any]]:
    flow, voxels = network("latent_flow", **changes), some_voxels()
    noise = SparseTensor(torch.randn(len(voxels), LATENT_CHANNELS), voxels)
    work = operations.latent_flow(flow, len(voxels), operations.cells_of(flow, voxels), CONTEXT)
    return flow, work, lambda: flow(noise, torch.tensor([500.0]), cond())


def call_latent_flow_without_levels() -> tuple[nn.Module, operations.Work, Callable[[], Any]]:
    return call_latent_flow(io_block_channels=None, patch_size=1)


def call_mesh_decoder() -> tuple[nn.Module, operations.Work, Callable[[], Any]]:
    decoder, voxels = network("mesh_decoder", attn_mode="full"), some_voxels()
    latents = SparseTensor(torch.randn(len(voxels), LATENT_CHANNELS), voxels)
    return decoder, operations.mesh_decoder(decoder, voxels), lambda: decoder(latents)


@pytest.mark.parametrize(
    "call",
    [
        call_image_encoder,
        call_structure_flow,
        call_structure_decoder,
        call_latent_flow,
        call_latent_flow_without_levels,
        call_mesh_decoder,
    ],
)
def test_the_operations_are_those_that_torch_counts(
    call: Callable[[], tuple[nn.Module, operations.Work, Callable[[], Any]]],
) -> None:
    module, work, run = call()
    # The counter knows attention as plain products, and not as the CPU's kernel.
    with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        run()
    counted = counter.get_total_flops()
    if isinstance(module, LatentMeshDecoder):  # adds up the weights of taps that meet in one voxel: no part of the work
        blocks: Any = module.upsample
        counted -= sum(2 * 8 * 8 * block.out_layers[0].conv.weight.numel() for block in blocks)
    assert work.operations == pytest.approx(counted)
    assert work.bytes == sum(4 * weights.numel() for weights in module.parameters())


def test_attention_in_windows_counts_what_they_hold() -> None:
    """Two voxels in one window and one in another; the shifted windows hold them apart."""
    voxels = VoxelSet(torch.tensor([[0, 0, 0, 0], [0, 3, 3, 3], [0, 4, 4, 4]]))
    assert sorted(operations._group_sizes(voxels, 4, 0)) == [1, 2]
    assert sorted(operations._group_sizes(voxels, 4, 2)) == [1, 2]
    assert operations._group_sizes(voxels, 1, 0) == [1, 1, 1]
    assert operations._group_sizes(voxels, None, 0) == [3]


def test_guidance_calls_the_flow_twice_inside_its_interval() -> None:
    guided = SamplerSettings(steps=4, guidance=5.0, interval=(0.5, 1.0), rescale_t=1.0, sigma_min=0.0)
    flow = network("structure_flow")
    assert operations.network_calls(flow, guided) == 4 + 3  # at 1, 0.75 and 0.5; not at 0.25
    assert operations.network_calls(flow, replace(guided, guidance=0.0)) == 4


@pytest.mark.parametrize("flow_map", [False, True])
@pytest.mark.parametrize("strength", [0.0, 5.0, -1.0])
def test_calls_are_counted_as_they_are_made(strength: float, flow_map: bool) -> None:
    """A flow map is called once in a step: guidance is one of its inputs."""
    flow, sampler = network("structure_flow", flow_map=flow_map), SamplerSettings(4, strength, (0.5, 1.0), 1.0, 0.0)
    calls: list[Any] = []
    flow.register_forward_hook(lambda *call: calls.append(call))
    noise = torch.randn(1, LATENT_CHANNELS, *[RESOLUTION // 2] * 3)
    sample_structure(flow, noise, cond(), sampler, None)
    assert len(calls) == operations.network_calls(flow, sampler) == (7 if strength > 0 and not flow_map else 4)


# --- networks --------------------------------------------------------------------------------------------------------


def test_descriptions_of_the_large_model_are_the_published_ones() -> None:
    keymaps = {file.stem: json.loads(file.read_text()) for file in (GOLDEN / "keymaps").glob("*_fp16.json")}
    described = {file.stem: json.loads(file.read_text()) for file in (LARGE / "ckpts").glob("*.json")}
    assert described == {
        name: {"name": published["config_class"], "args": published["args"]} for name, published in keymaps.items()
    }
    config = PipelineConfig.read(LARGE)
    for name in (config.structure_flow, config.structure_decoder, config.latent_flow, config.mesh_decoder):
        assert description_of(LARGE, name).is_file()
    encoder = json.loads(description_of(LARGE, config.image_encoder).read_text())
    assert encoder["args"] == json.loads((GOLDEN / "keymaps/dinov2_vitl14_reg.json").read_text())["args"]
    assert len(config.latent_normalization.mean) == 8


def test_a_model_of_the_second_family_made_by_rule_is_loaded(tmp_path: Path) -> None:
    """Its structure decoder, which another repository has, and its encoder come with it."""
    like = write_tiny_trellis2(tmp_path / "tiny")
    values = json.loads((like / "pipeline.json").read_text())
    models = values["args"]["models"]
    models["sparse_structure_decoder"] = "microsoft/TRELLIS-image-large/" + models["sparse_structure_decoder"]
    (like / "pipeline.json").write_text(json.dumps(values))
    write_random_model(tmp_path / "random", like=like)
    made = Pipeline.load(ModelFolder.read(tmp_path / "random"), CPU)
    assert made.materials is not None
    weight = made.materials.flow.out_layer.weight
    assert torch.equal(weight, rule_tensor("out_layer.weight", weight.shape))


def test_descriptions_of_the_second_family_are_found() -> None:
    config = PipelineConfig.read(DESCRIPTIONS / "trellis2-4b")
    assert config.materials is not None
    fine = config.materials.fine_latent_flow, config.materials.fine_texture_flow
    names = [config.structure_flow, config.structure_decoder, config.latent_flow, config.mesh_decoder]
    names += [config.materials.texture_flow, config.materials.texture_decoder, config.image_encoder]
    for name in (*names, *(name for name in fine if name)):
        assert description_of(DESCRIPTIONS / "trellis2-4b", name).is_file(), name


def test_a_model_made_by_rule_is_loaded_as_it_is_made_in_memory(tmp_path: Path, tiny: Path) -> None:
    write_random_model(tmp_path / "random", like=tiny)
    folder = ModelFolder.read(tmp_path / "random")
    for name, kind in (("structure_flow", StructureFlow), ("mesh_decoder", LatentMeshDecoder)):
        file = tmp_path / "random" / "ckpts" / f"{name}.safetensors"
        stored = load_file(file)
        loaded = load_network(folder.network(f"ckpts/{name}"), kind, CPU).state_dict()
        made = network_by_rule(tiny / "ckpts" / f"{name}.json", kind, CPU).state_dict()
        assert loaded.keys() == made.keys() == stored.keys()
        for key, tensor in made.items():
            assert torch.equal(loaded[key], tensor.to(stored[key].dtype).float())
    assert torch.equal(made["out_layer.weight"], rule_tensor("out_layer.weight", made["out_layer.weight"].shape))
    flow = load_file(tmp_path / "random" / "ckpts" / "structure_flow.safetensors")
    assert flow["blocks.0.mlp.mlp.0.weight"].dtype == torch.float16  # as its description asks for
    assert flow["pos_emb"].dtype == torch.float32
    assert torch.equal(flow["pos_emb"], network("structure_flow").pos_emb)


# --- measuring -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("by_rule", [True, False], ids=["by rule", "own weights"])
def test_every_network_is_measured(tiny: Path, by_rule: bool, device: str) -> None:
    stages = Stages(Setup(tiny, by_rule, device, repeats=1))
    for case in bench.stage_cases(["encode", "structure", "latents", "decode"], voxels=[80], steps=[2]):
        measured = stages.measure(case)
        assert measured["stage"] == case.stage
        assert measured["cold_s"] > 0
        assert measured["warm_s"] > 0
        assert measured["bytes"] > 1e4
        assert measured["load_s"] > 0
        half = device == "cuda" and case.stage == "structure"  # the only one whose description asks for it
        assert measured["dtype"] == ("float16" if half else "float32")
        assert measured["operations"] == Stages(stages.setup, loads=False).prepare(case).work.operations > 1e5


def test_every_step_after_the_networks_is_measured(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scripts.benchmark.stages.DEFAULTS", Settings(faces=500, texture_size=64))
    stages = Stages(Setup(tiny, True, "cpu", repeats=0))
    measured = {case.stage: stages.measure(case) for case in bench.stage_cases(GROUPS["finish"], voxels=[80], steps=[])}
    assert measured["extract"]["cubes"] == 64 * 80
    assert measured["extract"]["faces"] > 1000
    assert 0 < measured["simplify"]["faces"] <= 500
    assert measured["unwrap"]["charts"] > 0
    assert measured["bake"]["texels"] == 64**2


def test_a_process_takes_its_peak_memory_and_gives_it_back() -> None:
    meter = Meter(CPU)
    large = meter.measure(lambda: torch.ones(1 << 26), repeats=0)
    small = meter.measure(lambda: torch.ones(1 << 10), repeats=2)
    if large.peak is None or small.peak is None:
        pytest.skip("this system does not tell how much memory a process has taken")
    assert large.peak == pytest.approx(1 << 28, rel=0.1)
    assert small.peak < 1 << 26
    assert (large.warm, small.runs) == (None, 2)


def test_rates_are_those_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scripts.benchmark.meter.MATMUL_SIDE", {"cpu": 256})
    found = rates(CPU)
    assert found.keys() == {"float32", "copy"}
    assert all(rate > 1e8 for rate in found.values())


# --- keeping ---------------------------------------------------------------------------------------------------------


@contextmanager
def thread(target: Callable[..., None], *arguments: Any) -> Iterator[Connection]:
    """Stands in for ``bench.process``: the same conversation, without a process to wait for."""
    here, there = Pipe()
    worker = Thread(target=target, args=(there, *arguments))
    worker.start()
    try:
        yield here
    finally:
        here.send(None)
        worker.join()


def test_a_second_run_goes_on_where_the_first_one_ended(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["bench.py", "--preset", "mini", "--model", str(tiny), "--device", "cpu", "--once", "--voxels", "30"]
    command += ["--stage", "encode", "decode", "--commit", "abc", "--out", str(tmp_path), "--minutes"]
    monkeypatch.setattr(bench, "process", thread)
    monkeypatch.setattr("scripts.benchmark.meter.MATMUL_SIDE", {"cpu": 256})
    monkeypatch.setattr("sys.argv", [*command, "0"])  # no room but for the measurement that a run begins with
    assert bench.main() == 75
    assert "1 measurements are left" in capsys.readouterr().out
    assert bench.main() == 0
    out = capsys.readouterr().out
    assert "1 measurements to make" in out
    assert "encode:" not in out  # made before
    stored = json.loads(next(tmp_path.glob("mini-*.json")).read_text())
    assert [m["stage"] for m in stored["measurements"]] == ["encode", "decode"]
    assert all(m["floor_s"] > 0 for m in stored["measurements"])
    assert stored["commit"] == "abc"
    assert stored["device"]
    assert stored["commands"] == [" ".join(["python -m scripts.bench", *command[1:], "0"])]


def test_what_was_measured_of_another_commit_is_replaced(tmp_path: Path) -> None:
    header = {"commit": "a", "device": "Some CPU", "torch": "2"}
    results = Results(tmp_path, "mini", header)
    results.add({"stage": "decode", "voxels": 5, "cold_s": 1.5})
    assert results.file.name == "mini-some-cpu.json"
    assert Results(tmp_path, "mini", header).has(Case("decode", voxels=5))
    assert not Results(tmp_path, "mini", header).has(Case("decode", voxels=6))
    assert not Results(tmp_path, "mini", header | {"commit": "b"}).has(Case("decode", voxels=5))


def test_the_table_has_the_columns_that_hold_something() -> None:
    lines = table(
        [{"stage": "a", "cold_s": 0.0021}, {"stage": "longer", "cold_s": 12.0, "peak_bytes": 5e6}]
    ).splitlines()
    assert [line.split() for line in lines] == [
        ["stage", "cold", "peak"],
        ["a", "2.1", "ms"],
        ["longer", "12.00", "s", "5", "MB"],
    ]


def test_stages_whose_packages_are_missing_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "fast_simplification" else object())
    assert bench.without_missing(["decode", "extract", "simplify", "unwrap"]) == ["decode", "extract"]
    assert "without fast_simplification" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [[], ["--stage", "decode"], ["--preset", "mini", "--stage", "start"], ["--stage", "start", "flexicubes"]],
)
def test_a_command_that_says_not_what_to_measure_is_refused(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["bench.py", *arguments])
    with pytest.raises(SystemExit):
        bench.main()
    assert "--preset" in capsys.readouterr().err


def test_both_extractors_are_measured_and_make_the_same_mesh(tmp_path: Path) -> None:
    extraction.write_features(tmp_path / "features.pt", 32)
    results = []
    for stage, run in zip(extraction.METHODS, (bench.process, thread), strict=True):
        with run(extraction.worker, tmp_path / "features.pt", "cpu", 0) as connection:
            connection.send(Case(stage, resolution=32))
            results.append(connection.recv())
    sparse, dense = results
    assert sparse["faces"] == dense["faces"] > 1000
    assert dense["same_mesh"]


def end(connection: Connection) -> None:
    sys.exit(3)


def test_a_process_that_dies_is_reported() -> None:
    with pytest.raises(SystemExit, match="exit code 3"), bench.process(end) as connection:
        connection.recv()


def test_it_needs_only_torch_and_numpy() -> None:
    packages = [
        "PIL",
        "fast_simplification",
        "filelock",
        "huggingface_hub",
        "safetensors",
        "scipy",
        "trimesh",
        "xatlas",
    ]
    hidden = "; ".join(f"sys.modules['{package}'] = None" for package in packages)
    code = f"import sys; {hidden}; import scripts.bench, scripts.make_random_model"
    subprocess.run([sys.executable, "-c", code], cwd=bench.ROOT, check=True)
