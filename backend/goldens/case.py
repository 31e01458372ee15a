"""Golden cases on disk: folders with a configuration, inputs, outputs and, where networks are involved, weights."""

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

#: In an ``inputs_rule``: "feats = randn(600,8) with generator seed 10401".
_DRAW = re.compile(r"(\w+) = randn\(([\d, ]+)\) with generator seed (\d+)")

#: In ``config.json``: the dtypes that went through each module of a half-precision network.
TRACE = "module_dtype_trace_in_out"


@dataclass(frozen=True)
class GoldenCase:
    """One stored run. A file that the case does not have reads as an empty dictionary."""

    folder: Path
    config: dict[str, Any]
    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]
    weights: dict[str, Tensor]

    @property
    def voxels(self) -> SparseTensor:
        """The inputs ``feats`` on ``coords``."""
        return SparseTensor(self.inputs["feats"], self.inputs["coords"])

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The weights of one of several modules, whose keys begin with ``prefix``, which is taken off."""
        return {key.removeprefix(prefix): value for key, value in self.weights.items() if key.startswith(prefix)}


def find_cases(folder: Path) -> Iterator[Path]:
    """The case folders in and below ``folder``, in order."""
    for file in sorted(folder.rglob("config.json")):
        # A case that is about dtypes alone has no outputs.
        if file.with_name("outputs.safetensors").exists() or f'"{TRACE}"' in file.read_text("utf-8", "replace"):
            yield file.parent


def family_of(folder: Path) -> str:
    """The family of a case: what its configuration says, else the name of the folder around it.

    Raises ValueError if the configuration is no JSON object.
    """
    return str(_config(folder).get("family", folder.parent.name))


def _config(folder: Path) -> dict[str, Any]:
    config = json.loads((folder / "config.json").read_text("utf-8"))
    if not isinstance(config, dict):
        raise ValueError("config.json holds no JSON object")
    return config


def load_case(folder: Path) -> GoldenCase:
    """Read a case; inputs that are not stored are drawn as the configuration's ``inputs_rule`` says."""
    config = _config(folder)
    tensors = {}
    for name in ("inputs", "outputs", "weights"):
        path = folder / f"{name}.safetensors"
        tensors[name] = load_file(path) if path.exists() else {}
    for name, shape, seed in _DRAW.findall(config.get("inputs_rule", "")):
        generator = torch.Generator().manual_seed(int(seed))
        tensors["inputs"][name] = torch.randn([int(size) for size in shape.split(",")], generator=generator)
    return GoldenCase(folder, config, **tensors)


def filled(network: Network, weights: dict[str, Tensor]) -> Network:
    """The network with these weights, for inference.

    Raises RuntimeError if the keys or shapes differ, and ValueError if a stored buffer is not what the network computes
    for itself.
    """
    for name, computed in network.named_buffers():
        if name in weights and not torch.allclose(computed, weights[name], rtol=1e-4, atol=1e-6):
            raise ValueError(f"the network computes another {name} than is stored")
    network.load_state_dict(weights)
    return network.eval().requires_grad_(False)


def filled_for(case: GoldenCase, network: Network) -> Network:
    """The network with the case's weights: those stored, else those that follow from its keys by ``rule_tensor``."""
    if case.weights:
        return filled(network, case.weights)
    if case.config.get("rule_s_t_embedder", TIME_SCALE) != TIME_SCALE:
        raise ValueError(f"only weights with rule_s_t_embedder {TIME_SCALE} can be made again")
    fill_by_rule(network, case.config["rule_salt"], case.config["rule_s"])
    return network.eval().requires_grad_(False)
