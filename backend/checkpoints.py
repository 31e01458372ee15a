"""Networks in: built as their JSON files say, filled key for key.

A folder is laid out as TRELLIS publishes it: ``pipeline.json``, and for each network ``ckpts/NAME.json``
(``{"name": class, "args": {...}}``) beside ``ckpts/NAME.safetensors``. Nothing here can run code from a file: classes
come from the registry below, weights from safetensors only.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from .conditioning import ImageEncoder
from .config import read_json
from .errors import CheckpointError
from .models.latent_flow import LatentFlow
from .models.latent_vae import LatentEncoder, LatentGaussianDecoder, LatentMeshDecoder, LatentRadianceFieldDecoder
from .models.structure_flow import StructureFlow
from .models.structure_vae import StructureDecoder, StructureEncoder

#: Published class names -> ours. TRELLIS's ``Elastic`` classes differ in training only and have the same keys.
NETWORKS: dict[str, type[nn.Module]] = {
    "DinoVisionTransformer": ImageEncoder,
    "SparseStructureEncoder": StructureEncoder,
    "SparseStructureDecoder": StructureDecoder,
    "SparseStructureFlowModel": StructureFlow,
    "SLatEncoder": LatentEncoder,
    "SLatMeshDecoder": LatentMeshDecoder,
    "SLatGaussianDecoder": LatentGaussianDecoder,
    "SLatRadianceFieldDecoder": LatentRadianceFieldDecoder,
    "SLatFlowModel": LatentFlow,
    "ElasticSLatEncoder": LatentEncoder,
    "ElasticSLatMeshDecoder": LatentMeshDecoder,
    "ElasticSLatGaussianDecoder": LatentGaussianDecoder,
    "ElasticSLatRadianceFieldDecoder": LatentRadianceFieldDecoder,
    "ElasticSLatFlowModel": LatentFlow,
}

Network = TypeVar("Network", bound=nn.Module)

#: How many keys an error names before it only counts.
_NAMED_KEYS = 8


def load_network(path: Path, kind: type[Network], device: torch.device) -> Network:
    """The network of ``path.json`` with the weights of ``path.safetensors``, in eval mode, without gradients.

    It must be a ``kind``.

    It is built on the meta device, then each tensor goes straight to ``device`` and to its parameter's dtype, so that
    the weights are never twice in memory. On the CPU everything is fp32: half precision is far slower there. Raises
    CheckpointError.
    """
    config, weights = path.with_name(path.name + ".json"), path.with_name(path.name + ".safetensors")
    network = _build(config, kind, half=device.type != "cpu")
    network.load_state_dict(_read(weights, network.state_dict(), device), assign=True)
    return network.eval().requires_grad_(False)


def _build(config: Path, kind: type[Network], half: bool) -> Network:
    """The network that a JSON file describes, without storage. ``half`` permits the precision the file asks for."""
    values = read_json(config)
    name, args = values.get("name"), values.get("args")
    if not isinstance(name, str) or name not in NETWORKS or not issubclass(NETWORKS[name], kind):
        known = ", ".join(known for known, network in NETWORKS.items() if issubclass(network, kind))
        raise CheckpointError(f"{config} names {name!r} where one of these belongs: {known}.")
    if not isinstance(args, dict):
        raise CheckpointError(f'{config}: "args" must be an object.')
    if not half:
        args = {key: value for key, value in args.items() if key != "use_fp16"}
    try:
        with torch.device("meta"):
            return cast(Network, NETWORKS[name](**args))
    except (TypeError, ValueError, ArithmeticError, RuntimeError, AssertionError) as error:
        raise CheckpointError(f"{config} does not describe a {name}: {error}.") from error


def _read(file: Path, expected: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """The tensors of a safetensors file on ``device``, with the keys, shapes and dtypes of ``expected``."""
    _refuse_other_formats(file)
    try:
        with safe_open(file, framework="pt", device=str(device)) as tensors:
            shapes = {key: tuple(tensors.get_slice(key).get_shape()) for key in tensors.keys()}  # noqa: SIM118 (no dict)
            _require_keys(file, expected, shapes)
            # A tensor that kept the file mapped would lock it, and crash the process if the file were changed.
            copy = device.type == "cpu"
            loaded = {key: tensors.get_tensor(key).to(device, like.dtype, copy=copy) for key, like in expected.items()}
    except SafetensorError as error:
        raise CheckpointError(f"{file} is damaged or incomplete: {error}.") from error
    except OSError as error:
        raise CheckpointError(f"{file} cannot be read: {error}.") from error
    broken = [key for key, tensor in loaded.items() if not tensor.isfinite().all()]
    if broken:
        raise CheckpointError(f"{file} is damaged: weights that are not finite in {_listed(broken)}.")
    return loaded


def _refuse_other_formats(file: Path) -> None:
    """Say plainly that a file is missing, empty or a pickle, whatever it is called."""
    try:
        with file.open("rb") as stream:
            start = stream.read(4)
    except FileNotFoundError as error:
        raise CheckpointError(f"{file} is missing.") from error
    except OSError as error:
        raise CheckpointError(f"{file} cannot be read: {error}.") from error
    if not start:
        raise CheckpointError(f"{file} is empty.")
    if start == b"PK\x03\x04" or (start[0] == 0x80 and 2 <= start[1] <= 5):
        hint = "Such files can run code when they are opened. Get the .safetensors file instead."
        raise CheckpointError(f"{file} is a Python pickle, not a safetensors file.", hint)


def _require_keys(file: Path, expected: Mapping[str, Tensor], found: dict[str, tuple[int, ...]]) -> None:
    """Raise one CheckpointError that names all keys which are missing, unexpected, or of another shape."""
    shapes = {key: tuple(tensor.shape) for key, tensor in expected.items()}
    problems: dict[str, list[Any]] = {
        "missing": sorted(shapes.keys() - found.keys()),
        "unexpected": sorted(found.keys() - shapes.keys()),
        "of another shape": [
            f"{key} {list(found[key])} instead of {list(shape)}"
            for key, shape in sorted(shapes.items())
            if key in found and found[key] != shape
        ],
    }
    words = [f"{what}: {_listed(keys)}" for what, keys in problems.items() if keys]
    if words:
        raise CheckpointError(f"{file} does not fit its network; {'; '.join(words)}.")


def _listed(keys: list[str]) -> str:
    rest = len(keys) - _NAMED_KEYS
    return ", ".join(keys[:_NAMED_KEYS]) + (f" and {rest} more" if rest > 0 else "")
