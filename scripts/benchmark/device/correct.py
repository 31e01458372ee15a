"""Correct on this device: half precision, the CPU's values, the tests that need a GPU, the reference's figures."""

from __future__ import annotations

import platform
import subprocess
import sys
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from backend.mesh.extract.flexicubes import extract_mesh
from backend.models.image_encoder import ImageEncoder
from backend.models.latent_flow import LatentFlow
from backend.models.structure_flow import StructureFlow
from backend.models.structure_vae import StructureDecoder
from backend.sparse.tensor import SparseTensor

from ..meter import rates
from ..objects import cube_features, ellipsoid, nearest_voxels
from .setup import Networks, Say, Scale, relative

#: How far half precision may be from single, and one device from another in single: norms of the difference, relative.
HALF_BOUND, DEVICE_BOUND = 5e-3, 1e-5


def machine(scale: Scale, say: Say) -> None:
    """Versions, and how fast the device multiplies and copies."""
    values: dict[str, Any] = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": str(scale.device),
    }
    if scale.device.type == "cuda":
        about = torch.cuda.get_device_properties(scale.device)
        values |= {"name": about.name, "capability": f"{about.major}.{about.minor}", "memory": about.total_memory}
        query = ["nvidia-smi", "--query-gpu=driver_version,compute_cap,clocks.sm,memory.used", "--format=csv,noheader"]
        values["nvidia_smi"] = subprocess.run(query, capture_output=True, text=True, check=False).stdout.strip()
    say(values)
    say({"rates": rates(scale.device)})


@torch.inference_mode()
def correct(scale: Scale, say: Say) -> None:
    """Every network: half precision beside single, the device beside the CPU, and the same bytes twice."""
    cpu = replace(scale, device=torch.device("cpu"), changes=scale.changes | {"num_blocks": 2, "depth": 2})
    few = replace(cpu, device=scale.device)
    for name in ("encoder", "structure_flow", "structure_decoder", "latent_flow", "mesh_decoder"):
        found: dict[str, Any] = {"network": name}
        half, whole = (_output(Networks(scale), name, half=half) for half in (True, False))
        found["half_error"] = relative(half, whole)
        found["same_bytes_twice"] = bool(torch.equal(half, _output(Networks(scale), name, half=True)))
        shallow = _output(Networks(few), name, half=False)
        on_cpu = Networks(cpu)
        moved = Networks(few)
        found["device_error"] = relative(shallow, _output(on_cpu, name, half=False, weights_of=moved))
        found["right"] = found["half_error"] <= HALF_BOUND and found["device_error"] <= DEVICE_BOUND
        say(found)
    _surfaces(scale, say)


def _output(networks: Networks, name: str, *, half: bool, weights_of: Networks | None = None) -> Tensor:
    """What a network makes of the same inputs; optionally with the weights that another device drew."""
    network: nn.Module = getattr(networks, name)(half=half)
    if weights_of is not None:
        network.load_state_dict(getattr(weights_of, name)(half=half).state_dict())
    count = min(2000, networks.scale.voxels)
    t = torch.tensor([700.0], device=networks.device)
    if isinstance(network, ImageEncoder):
        return network(networks.noise(1, 3, 518, 518))
    if isinstance(network, StructureFlow):
        return network(networks.noise(1, 8, 16, 16, 16), t, networks.tokens())
    if isinstance(network, StructureDecoder):
        return network(networks.noise(1, 8, 16, 16, 16))
    latents = SparseTensor(networks.noise(count, 8), networks.coords(count))
    out = network(latents, t, networks.tokens()) if isinstance(network, LatentFlow) else network(latents)
    assert isinstance(out, SparseTensor)
    return out.feats


def _surfaces(scale: Scale, say: Say) -> None:
    """The extracted surface, on the device and on the CPU."""
    cubes, features = cube_features(ellipsoid, nearest_voxels(ellipsoid, scale.voxels, 64), 64)
    ours, plain = (
        extract_mesh(cubes.to(device), features.to(device), 256) for device in (scale.device, torch.device("cpu"))
    )
    same = ours.faces.shape == plain.faces.shape and torch.equal(ours.faces.cpu(), plain.faces)
    farthest = float((ours.vertices.cpu() - plain.vertices).abs().max()) if same else float("nan")
    say({"network": "extraction", "faces": len(ours.faces), "same_faces": same, "farthest": farthest, "right": same})


def tests(scale: Scale, say: Say) -> None:
    """The tests that need a GPU, and the reference's figures."""
    chosen = ["tests/backend/goldens", "tests/backend/sparse", "tests/backend/mesh/extract", "tests/backend/models"]
    gpu = ["--gpu", "-m", "gpu"] if scale.device.type == "cuda" else []
    lines([sys.executable, "-m", "pytest", "-q", "-rf", "-p", "no:cacheprovider", *gpu, *chosen], say)
    if scale.device.type == "cuda":
        for _ in range(2):  # the same lines twice: nothing is summed in an order of its own
            lines([sys.executable, "-m", "tests.backend.sparse.kernel_cases", "cuda"], say)
    goldens = [sys.executable, "-m", "backend", "check-goldens", "tests/golden", "--device", scale.device.type]
    lines(goldens, say)


def lines(command: list[str], say: Say) -> None:
    """Run a command, and say each line that it prints."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            say({"line": line.rstrip()[:1500]})
    say({"command": command[1:], "exit_code": process.returncode})
