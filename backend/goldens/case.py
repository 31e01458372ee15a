"""Golden cases on disk: folders with a configuration, inputs, outputs and, for networks, weights."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ..sparse.tensor import SparseTensor
from ..weights.random_weights import TIME_SCALE, fill_by_rule

Network = TypeVar("Network", bound=nn.Module)

#: Matches in an ``inputs_rule``: "feats = randn(600,8) with generator seed 10401".
_DRAW = re.compile(r"(\w+) = randn\(([\d, ]+)\) with (?:generator )?seed (\d+)")

#: Key in ``config.json``: the dtypes that each module of a half-precision network takes and returns.
TRACE = "module_dtype_trace_in_out"


@dataclass(frozen=True)
class GoldenCase:
    """One stored run. Where the case lacks a file, its tensors are an empty dictionary."""

    folder: Path
    config: dict[str, Any]
    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]  # on the CPU, where everything is compared
    weights: dict[str, Tensor]
    device: torch.device  # of inputs and weights

    @property
    def voxels(self) -> SparseTensor:
        """The inputs ``feats`` on ``coords``."""
        return SparseTensor(self.inputs["feats"], self.inputs["coords"])

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The weights of one of several modules: those whose keys begin with ``prefix``, which is removed."""
        return {key.removeprefix(prefix): value for key, value in self.weights.items() if key.startswith(prefix)}


def find_cases(folder: Path) -> Iterator[Path]:
    """The case folders in and below ``folder``, sorted."""
    for file in sorted(folder.rglob("config.json")):
        # A case with dtypes only has no outputs.
        if file.with_name("outputs.safetensors").exists() or f'"{TRACE}"' in file.read_text("utf-8", "replace"):
            yield file.parent


def family_of(folder: Path) -> str:
    """The family of a case, from its configuration or else the name of the folder above it.

    Raises ValueError if the configuration is not a JSON object.
    """
    return str(_config(folder).get("family", folder.parent.name))


def _config(folder: Path) -> dict[str, Any]:
    config = json.loads((folder / "config.json").read_text("utf-8"))
    if not isinstance(config, dict):
        raise ValueError("config.json does not hold a JSON object")
    return config


def load_case(folder: Path, device: torch.device | str = "cpu") -> GoldenCase:
    """Read a case that is to run on ``device``; inputs that are not stored are drawn by its ``inputs_rule``."""
    config = _config(folder)
    tensors = {}
    for name in ("inputs", "outputs", "weights"):
        path = folder / f"{name}.safetensors"
        if name == "weights" and not path.exists():
            path = _shared_weights(folder, config)
        tensors[name] = load_file(path) if path.exists() else {}
    for name, shape, seed in _DRAW.findall(config.get("inputs_rule", "")):
        generator = torch.Generator().manual_seed(int(seed))
        tensors["inputs"][name] = torch.randn([int(size) for size in shape.split(",")], generator=generator)
    for name in ("inputs", "weights"):
        tensors[name] = {key: value.to(device) for key, value in tensors[name].items()}
    return GoldenCase(folder, config, **tensors, device=torch.device(device))


def _shared_weights(folder: Path, config: dict[str, Any]) -> Path:
    """Where weights of several cases are: beside these, or at the path that ``weights`` begins with, further up."""
    named = str(config.get("weights", "")).split(" ")[0]
    places = [above / named for above in folder.parents] if named else []
    return next((place for place in places if place.is_file()), folder.parent / "weights.safetensors")


def filled(network: Network, weights: dict[str, Tensor]) -> Network:
    """The network with these weights, on their device, for inference.

    Raises RuntimeError if the keys or shapes differ, and ValueError if a stored buffer differs from the one that the
    network computes.
    """
    for name, computed in network.named_buffers():
        if name in weights and not torch.allclose(computed, weights[name].to(computed), rtol=1e-4, atol=1e-6):
            raise ValueError(f"the stored {name} differs from the one that the network computes")
    network.load_state_dict(weights)
    for weight in weights.values():
        network.to(weight.device)
        break
    return network.eval().requires_grad_(False)


def filled_for(case: GoldenCase, network: Network) -> Network:
    """The network with the case's weights: the stored ones, or else those that ``rule_tensor`` makes from its keys.

    Raises as ``filled`` does, and ValueError if the rule of the case is not the one that ``rule_tensor`` follows.
    """
    if case.weights:
        return filled(network, case.weights)
    if case.config.get("rule_s_t_embedder", TIME_SCALE) != TIME_SCALE:
        raise ValueError(f"only weights with rule_s_t_embedder {TIME_SCALE} can be reproduced")
    fill_by_rule(network, case.config["rule_salt"], case.config["rule_s"])
    return network.to(case.device).eval().requires_grad_(False)
