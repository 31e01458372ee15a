"""How much memory loading takes: measured in a process of its own, for a peak belongs to a whole process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from backend.config import DESCRIPTIONS
from backend.weights.checkpoints import NETWORKS
from tests.backend.golden import keymap
from tests.backend.models.test_published_keys import TRELLIS2
from tests.backend.weights.test_dinov3_layout import as_timm

ROOT = Path(__file__).parents[3]

#: A flow of the published kind, smaller: 83 million parameters, 166 MB on disk in fp16, 333 MB in memory in fp32.
KIND = "SparseStructureFlowModel"
ARGS = {
    "resolution": 16,
    "in_channels": 8,
    "out_channels": 8,
    "model_channels": 768,
    "cond_channels": 1024,
    "num_blocks": 6,
    "num_heads": 12,
    "mlp_ratio": 4,
    "patch_size": 1,
    "qk_rms_norm": True,
    "use_fp16": True,
}

#: What a process measures about itself. Growth is over what importing torch and starting the device have taken.
MEASURE = """
import json, sys
from pathlib import Path

import torch

from backend.weights.checkpoints import Checkpoint
from backend.weights.folders import NetworkFiles
from torch import nn

def memory(line):
    status = Path("/proc/self/status").read_text()
    return int(status.split(line + ":")[1].split()[0]) * 1024

device = torch.device(sys.argv[1])
torch.zeros(1, device=device)
before = memory("VmRSS")
Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
figures = {"loads": []}
networks = [Checkpoint(NetworkFiles.at(Path(path)), nn.Module, device) for path in sys.argv[2:]]
figures["built"] = memory("VmRSS") - before
for network in networks:
    network.fill()
    resident = sum(tensor.nbytes for tensor in network.network.state_dict().values())
    load = {"resident": resident, "peak": memory("VmHWM") - before}
    network.empty()
    figures["loads"].append(load | {"after": memory("VmRSS") - before})
print(json.dumps(figures))
"""


def write_flow(path: Path, *, form: str = ".safetensors") -> Path:
    """Write a description and weights, fp16 as published, at a path without suffix."""
    with torch.device("meta"):
        network = NETWORKS[KIND](**ARGS)
    weights = {key: torch.full(t.shape, 0.1, dtype=t.dtype) for key, t in network.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_name(path.name + ".json").write_text(json.dumps({"name": KIND, "args": ARGS}))
    file = path.with_name(path.name + form)
    if form == ".safetensors":
        save_file(weights, file)
    else:
        torch.save(weights, file)
    return path


def measure(device: str, *paths: Path) -> dict[str, Any]:
    command = [sys.executable, "-c", MEASURE, device, *map(str, paths)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    figures: dict[str, Any] = json.loads(run.stdout)
    return figures


@pytest.fixture(scope="module")
def flow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_flow(tmp_path_factory.mktemp("memory") / "flow")


needs_proc = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="measures with Linux's /proc")


@needs_proc
@pytest.mark.parametrize("form", [".safetensors", pytest.param(".pt", marks=pytest.mark.slow)])
def test_on_the_cpu_the_peak_is_the_weights_themselves(tmp_path: Path, flow: Path, form: str) -> None:
    path = flow if form == ".safetensors" else write_flow(tmp_path / "flow", form=form)
    (load,) = measure("cpu", path)["loads"]
    assert load["resident"] > 300e6
    assert load["peak"] <= 1.1 * load["resident"], load


#: Networks of TRELLIS.2, smaller, in one type on disk as published: 250 to 330 MB in memory.
SECOND: dict[str, tuple[str, dict[str, Any], torch.dtype]] = {
    "flow": (
        KIND,
        ARGS
        | {"pe_mode": "rope", "share_mod": True, "initialization": "scaled", "dtype": "bfloat16", "use_fp16": False}
        | {"mlp_ratio": 5.3334, "qk_rms_norm_cross": True},
        torch.bfloat16,
    ),
    "decoder": (
        "FlexiDualGridVaeDecoder",
        {"resolution": 512, "model_channels": [512, 256, 128], "latent_channels": 32, "num_blocks": [4, 8, 0]}
        | {"block_args": [{"use_checkpoint": True}] * 3, "use_fp16": True},
        torch.float16,
    ),
    "encoder": ("DINOv3ViTModel", {"num_hidden_layers": 5}, torch.float32),
}


@needs_proc
@pytest.mark.parametrize("name", SECOND)
def test_networks_of_the_second_family_take_no_more(tmp_path: Path, name: str) -> None:
    kind, args, dtype = SECOND[name]
    with torch.device("meta"):
        shapes = {key: tensor.shape for key, tensor in NETWORKS[kind](**args).state_dict().items()}
    weights = {key: torch.full(shape, 0.1, dtype=dtype) for key, shape in shapes.items()}
    if name == "encoder":  # as timm stores it
        weights = as_timm(weights)
    (tmp_path / "network.json").write_text(json.dumps({"name": kind, "args": args}))
    save_file(weights, tmp_path / "network.safetensors")
    (load,) = measure("cpu", tmp_path / "network")["loads"]
    assert load["resident"] > 200e6
    assert load["peak"] <= 1.1 * load["resident"], load


@needs_proc
@pytest.mark.slow
@pytest.mark.parametrize("name", TRELLIS2)
def test_published_networks_of_the_second_family_take_no_more(tmp_path: Path, name: str) -> None:
    """Files of full size with the published keys, up to 2.6 GB, load strictly."""
    published = keymap(f"trellis2/{name}")
    description = DESCRIPTIONS / "trellis2-4b" / "ckpts" / f"{name}.json"
    (tmp_path / f"{name}.json").write_bytes(description.read_bytes())
    dtype = torch.bfloat16 if name.endswith("bf16") else torch.float16
    weights = {key: torch.full(shape, 0.1, dtype=dtype) for key, (shape, _) in published["keys"].items()}
    save_file(weights, tmp_path / f"{name}.safetensors")
    del weights
    (load,) = measure("cpu", tmp_path / name)["loads"]
    print(f"{name}: {load['resident'] / 1e9:.3f} GB resident, peak {load['peak'] / load['resident']:.3f} times that")
    assert load["peak"] <= 1.1 * load["resident"], load


@needs_proc
@pytest.mark.slow
def test_released_weights_go_back_to_the_system(flow: Path) -> None:
    """Three networks one after another take no more than one, over what building all three of them has left behind."""
    figures = measure("cpu", flow, flow, flow)
    for load in figures["loads"]:
        assert load["peak"] - figures["built"] <= 1.1 * load["resident"], figures
        assert load["after"] - figures["built"] <= 0.05 * load["resident"], figures


@needs_proc
@pytest.mark.gpu
def test_on_cuda_the_host_never_holds_the_weights(flow: Path) -> None:
    (load,) = measure("cuda", flow)["loads"]
    size = flow.with_name(flow.name + ".safetensors").stat().st_size
    assert load["peak"] <= 1.3 * size, load
