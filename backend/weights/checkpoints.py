"""Loading networks: built from their JSON descriptions, then filled key by key.

A network's description is ``{"name": class, "args": {...}}`` (``folders`` says where it and the weights are). The
network is built from it on the meta device, where tensors have no storage. Then the weights are read tensor by tensor
into memory that is allocated once, on the target device and in the network's dtypes. So they are never in memory twice:
the host buffers a few MB of them at a time. Only where networks take turns on a GPU, the host keeps their weights in
the meantime, in pinned memory, which a GPU reads several times as fast as a file. Nothing here runs code from a file:
classes come from the registry below, weights from safetensors or from pickles that are opened with
``weights_only=True`` (``safetensors_file``).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar, cast

import torch
from torch import Tensor, nn

from ..config import read_json
from ..errors import CheckpointError
from ..models.dual_grid_vae import DualGridDecoder, DualGridEncoder
from ..models.image_encoder import ImageEncoder, RotaryImageEncoder
from ..models.latent_flow import LatentFlow
from ..models.latent_vae import LatentEncoder, LatentGaussianDecoder, LatentMeshDecoder, LatentRadianceFieldDecoder
from ..models.sparse_unet import SparseUnetDecoder, SparseUnetEncoder
from ..models.structure_flow import StructureFlow
from ..models.structure_vae import StructureDecoder, StructureEncoder, VolumeNetwork
from . import dinov2_layout, dinov3_layout
from .folders import NetworkFiles
from .safetensors_file import SafetensorsFile, safetensors_at

#: Published class names -> ours. TRELLIS's ``Elastic`` classes differ in training only and have the same keys.
NETWORKS: dict[str, type[nn.Module]] = {
    "DINOv3ViTModel": RotaryImageEncoder,
    "DinoVisionTransformer": ImageEncoder,
    "FlexiDualGridVaeDecoder": DualGridDecoder,
    "FlexiDualGridVaeEncoder": DualGridEncoder,
    "SparseUnetVaeDecoder": SparseUnetDecoder,
    "SparseUnetVaeEncoder": SparseUnetEncoder,
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
log = logging.getLogger(__name__)

#: What a description may ask for: numbers of layers under these names, lists of levels, voxels along a side, and any
#: other number. TRELLIS has at most 24 layers, 3 levels, 64 voxels and 1024 channels; TRELLIS.2 30, 5, 512 and 1536.
_LAYERS = {
    "depth",
    "num_blocks",
    "num_hidden_layers",
    "num_res_blocks",
    "num_res_blocks_middle",
    "num_io_res_blocks",
}
_MOST_LAYERS, _MOST_LEVELS, _MOST_VOXELS, _MOST_CHANNELS = 100, 16, 512, 1 << 14

#: How many keys an error names. It only counts the others.
_NAMED_KEYS = 8

#: Every tensor begins at a multiple of this many bytes, as torch allocates them.
_ALIGNMENT = 64


class Checkpoint(Generic[Network]):
    """A network, and the file that its weights come from.

    ``network`` is built from its description on the meta device: it has shapes and keys, but no weights until ``fill``
    reads them. ``empty`` frees their memory. The network itself stays, and can be filled again.
    """

    network: Network

    def __init__(
        self,
        files: NetworkFiles,
        kind: type[Network],
        device: torch.device,
        *,
        verify: bool = False,
        keep: bool = False,
    ) -> None:
        """Build the network, a ``kind``, and compare its keys with the file's.

        On the CPU everything is fp32, because half precision is far slower there. The structure's networks are there,
        too, where the device is Apple's GPU, whose convolutions of volumes are wrong (pytorch issue 197114).

        ``verify`` compares the SHA-256 of files that a lock names. ``keep``: the host keeps the weights after they were
        read once, and ``fill`` copies them. Raises CheckpointError.
        """
        self._device = device = _home_of(kind, device)
        self.network = build_network(files.description, kind, half=device.type != "cpu")
        self._keep = keep
        self._kept: _Block | None = None
        self._unfilled = self.network.state_dict()
        self._file = safetensors_at(files.weights, verify=verify)
        with SafetensorsFile(self._file) as stored:
            self._parts(stored)

    def fill(self) -> None:
        """Read the weights, each straight to the device and to its parameter's dtype. Raises CheckpointError."""
        if self._keep and self._kept is None:
            self._kept = self._read_to_keep()
        block = _Block.like(self._unfilled, self._device)
        if self._kept is None:
            self._read(block.weights)
        else:
            block.all.copy_(self._kept.all, non_blocking=True)  # what uses it is queued behind it
        self.network.load_state_dict(block.weights, assign=True)

    def _read_to_keep(self) -> _Block | None:
        """The weights in the host's memory; None if it has no room for them. Raises CheckpointError."""
        try:
            block = _Block.like(self._unfilled, torch.device("cpu"), pinned=self._device.type == "cuda")
        except RuntimeError as error:  # that is what torch raises for it
            log.warning("%s is read again for each object: no memory to keep it in: %s", self._file, error)
            self._keep = False
            return None
        self._read(block.weights)
        return block

    def _read(self, weights: Mapping[str, Tensor]) -> None:
        with SafetensorsFile(self._file) as stored:
            pieces: dict[str, Tensor] = {}
            for key, names in self._parts(stored).items():
                if names:
                    pieces |= dict(zip(names, _split(weights[key], len(names)), strict=True))
                else:
                    weights[key].zero_()
            for name in sorted(pieces, key=lambda name: stored.tensors[name].start):
                stored.read(name, pieces[name])
        _require_finite(self._file, weights)

    def empty(self) -> None:
        """Return the weights' memory to the system."""
        self.network.load_state_dict(self._unfilled, assign=True)
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    @contextmanager
    def filled(self) -> Iterator[Network]:
        """The network with its weights in memory, until the block ends."""
        try:
            self.fill()
            yield self.network
        finally:
            self.empty()

    def _parts(self, stored: SafetensorsFile) -> dict[str, tuple[str, ...]]:
        """For each key of the network, the keys in the file that make it; none if the file leaves it out as zero.

        Raises CheckpointError if they do not fit.
        """
        shapes = {key: tuple(tensor.shape) for key, tensor in self._unfilled.items()}
        if isinstance(self.network, ImageEncoder):
            parts = dinov2_layout.sources(shapes, stored.tensors)
        elif isinstance(self.network, RotaryImageEncoder):
            parts = dinov3_layout.sources(shapes, stored.tensors)
        else:
            parts = {key: (key,) for key in shapes}
        expected = {
            name: (shapes[key][0] // len(names), *shapes[key][1:]) if len(names) > 1 else shapes[key]
            for key, names in parts.items()
            for name in names
        }
        _require_keys(stored.path, expected, {key: tensor.shape for key, tensor in stored.tensors.items()})
        return parts


def _home_of(kind: type[nn.Module], device: torch.device) -> torch.device:
    """The device that a network is on if the others are on ``device``."""
    if device.type == "mps" and issubclass(kind, VolumeNetwork):
        log.info("%s runs on the processor: on this GPU, torch's convolutions of volumes are wrong", kind.__name__)
        return torch.device("cpu")
    return device


def load_network(
    files: NetworkFiles | Path, kind: type[Network], device: torch.device, *, verify: bool = False
) -> Network:
    """A network with its weights, in eval mode, without gradients: see ``Checkpoint``. Raises CheckpointError.

    A path without suffix stands for a description and weights beside each other.
    """
    checkpoint = Checkpoint(NetworkFiles.at(files) if isinstance(files, Path) else files, kind, device, verify=verify)
    checkpoint.fill()
    return checkpoint.network


def build_network(config: Path, kind: type[Network], half: bool) -> Network:
    """The network, a ``kind``, that a JSON file describes: on the meta device, in eval mode, without gradients.

    ``half`` allows the half precision that the file may ask for. Raises CheckpointError.
    """
    values = read_json(config)
    name, args = values.get("name"), values.get("args")
    if not isinstance(name, str) or name not in NETWORKS or not issubclass(NETWORKS[name], kind):
        known = ", ".join(known for known, network in NETWORKS.items() if issubclass(network, kind))
        raise CheckpointError(f"{config} names the class {name!r}. It must be one of: {known}.")
    if not isinstance(args, dict):
        raise CheckpointError(f'{config}: "args" must be an object.')
    _require_modest(config, args)
    if not half:
        args = {key: value for key, value in args.items() if key not in ("use_fp16", "dtype")}
    elif NETWORKS[name] is ImageEncoder:  # its published description, unlike the flows', says nothing of precision
        args = {"use_fp16": True} | args
    try:
        with torch.device("meta"):
            return cast(Network, NETWORKS[name](**args).eval().requires_grad_(False))
    except (TypeError, ValueError, ArithmeticError, RuntimeError, AssertionError, AttributeError, LookupError) as error:
        raise CheckpointError(f"{config} does not describe a {name}: {error}.") from error


def _require_modest(config: Path, args: Mapping[str, Any]) -> None:
    """Raise CheckpointError if a network would have far more layers or channels than any of those that are known.

    Building it would take minutes and much memory, before its weights could be compared with the file's.
    """
    for key, value in args.items():
        values = value if isinstance(value, list) else [value]
        nested = list if key == "block_args" else list | dict  # those are objects, one for each level
        if len(values) > _MOST_LEVELS or any(isinstance(one, nested) for one in values if values is value):
            raise CheckpointError(f'{config}: "{key}" must be at most {_MOST_LEVELS} numbers.')
        most = _MOST_LAYERS if key in _LAYERS else _MOST_VOXELS if key == "resolution" else _MOST_CHANNELS
        for one in values:
            if isinstance(one, int | float) and not -1 <= one <= most:
                raise CheckpointError(f'{config}: "{key}" must be at most {most}, not {one!r:.40}.')


class _Block(NamedTuple):
    """Uninitialised tensors in one piece of memory.

    One piece goes back to the system as a whole when the network is freed. Hundreds of small ones would stay on the C
    library's heap, and a second network would add to them. And it is copied to a GPU at once.
    """

    all: Tensor  # [bytes] uint8
    weights: dict[str, Tensor]

    @classmethod
    def like(cls, tensors: Mapping[str, Tensor], device: torch.device, *, pinned: bool = False) -> _Block:
        """With the keys, shapes and dtypes of ``tensors``. ``pinned``: on the host, where a GPU can read it."""
        starts, size = {}, 0
        for key, tensor in tensors.items():
            starts[key] = size
            size += -(-tensor.nbytes // _ALIGNMENT) * _ALIGNMENT
        memory = torch.empty(size, dtype=torch.uint8, device=device, pin_memory=pinned)
        storage = memory.untyped_storage()
        weights = {
            key: torch.empty(0, dtype=tensor.dtype, device=device).set_(
                storage, starts[key] // tensor.itemsize, tensor.shape, _strides(tensor.shape)
            )
            for key, tensor in tensors.items()
        }
        return cls(memory, weights)


def _strides(shape: torch.Size) -> tuple[int, ...]:
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


def _split(tensor: Tensor, count: int) -> tuple[Tensor, ...]:
    return tensor.chunk(count) if count > 1 else (tensor,)


def _require_finite(file: Path, weights: Mapping[str, Tensor]) -> None:
    """Raise CheckpointError if a weight is infinite or not a number. Needs no memory besides the weights."""
    extremes = {key: torch.stack(tensor.aminmax()).float() for key, tensor in weights.items() if tensor.numel()}
    finite = torch.stack(list(extremes.values())).isfinite().all(1).tolist()  # one wait for the device, not hundreds
    broken = [key for key, is_finite in zip(extremes, finite, strict=True) if not is_finite]
    if broken:
        raise CheckpointError(f"{file} is damaged: weights are not finite in {_listed(broken)}.")


def _require_keys(file: Path, shapes: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]]) -> None:
    """Raise one CheckpointError that names all keys that are missing, unexpected, or of another shape."""
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
        raise CheckpointError(f"{file} does not fit its network: {'; '.join(words)}.")


def _listed(keys: list[str]) -> str:
    rest = len(keys) - _NAMED_KEYS
    return ", ".join(keys[:_NAMED_KEYS]) + (f" and {rest} more" if rest > 0 else "")
