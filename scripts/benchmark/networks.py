"""The networks to measure: with a model folder's weights, or with weights made by rule."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from backend.config import DESCRIPTIONS, read_json
from backend.weights.checkpoints import NETWORKS, build_network, load_network
from backend.weights.folders import ModelFolder
from backend.weights.random_weights import rule_tensor

#: The published model's pipeline.json and its networks' descriptions, without weights.
LARGE = DESCRIPTIONS / "trellis-image-large"

Network = TypeVar("Network", bound=nn.Module)


def description_of(folder: Path, name: str) -> Path:
    """The JSON file of the network ``name`` of pipeline.json.

    A published encoder's comes with the backend, and so does TRELLIS's for a path into its repository.
    """
    file = folder / f"{name}.json"
    if file.is_file():
        return file
    shared = LARGE / "ckpts" / file.name
    return shared if shared.is_file() else DESCRIPTIONS / file.name


def load(folder: Path, name: str, kind: type[Network], device: torch.device, by_rule: bool) -> Network:
    """A network of a folder, with its own weights or, without reading any, with weights by rule.

    Raises CheckpointError.
    """
    if by_rule:
        return network_by_rule(description_of(folder, name), kind, device)
    return load_network(ModelFolder.read(folder).network(name), kind, device)


def describe(folder: Path, name: str, kind: type[Network], device: torch.device) -> Network:
    """A network without weights, on the meta device, in the dtypes that the device computes in."""
    return build_network(description_of(folder, name), kind, half=device.type != "cpu")


def network_by_rule(description: Path, kind: type[Network], device: torch.device) -> Network:
    """A network with weights by rule, in the dtypes that the device computes in. No weight is in memory twice."""
    network = build_network(description, kind, half=device.type != "cpu")
    weight = weights_by_rule(description, network)
    network.load_state_dict({key: weight(key).to(device) for key in network.state_dict()}, assign=True)
    return network.requires_grad_(False)


def weights_by_rule(description: Path, network: nn.Module) -> Callable[[str], Tensor]:
    """A function that makes each tensor, by key, of a network on the meta device: parameters by rule, buffers as the
    network computes them.

    The tensors are on the CPU, in the network's dtypes.
    """
    state = network.state_dict()
    buffers = _buffers(description) if any(True for _ in network.buffers()) else {}

    def weight(key: str) -> Tensor:
        return buffers[key] if key in buffers else rule_tensor(key, state[key].shape).to(state[key].dtype)

    return weight


def _buffers(description: Path) -> dict[str, Tensor]:
    """The buffers that a network computes. It is built without blocks, which do not change them."""
    values = read_json(description)
    return dict(NETWORKS[values["name"]](**{**values["args"], "num_blocks": 0}).named_buffers())
