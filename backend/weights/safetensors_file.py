"""Weights files: safetensors, read tensor by tensor, and pickled state dicts, converted to safetensors once.

A safetensors file (https://huggingface.co/docs/safetensors) is eight bytes with the length of the header, the header
(a JSON object: key -> dtype, shape, offsets), and the bytes of all tensors without gap or overlap. Here a file is read
with plain reads through a small buffer. The safetensors library maps it instead. A mapped file's pages would count as
this process's memory in addition to the tensors made from them, the file would be locked on Windows, and the process
would crash if the file were cut short meanwhile.

``.pt`` and ``.pth`` files are pickles. They are opened with ``weights_only=True``, which runs no code from them, and
written as safetensors beside the original. Every later load reads that file.
"""

from __future__ import annotations

import json
import math
import os
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from types import TracebackType
from typing import Any, BinaryIO, TypeGuard

import torch
from torch import Tensor

from ..errors import CheckpointError
from ..files import written_whole
from ..store.integrity import check_file
from .pickles import require_bounded, require_own_memory
from .suffixes import SAFETENSORS, pickle_at, with_suffix

#: Name in a safetensors header -> dtype, for the dtypes that weights have.
_DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
_DTYPE_NAMES = {dtype: name for name, dtype in _DTYPES.items()}

#: Size in bytes of the buffer through which a tensor is read, and of the pinned one for a GPU, where each piece waits.
_BUFFER, _PINNED_BUFFER = 1 << 20, 1 << 24

#: The largest header that is read, in bytes: of some 50,000 tensors. The safetensors library reads ten times as much,
#: which could become gigabytes of Python's objects.
_MAX_HEADER = 8 << 20

#: The most axes of a tensor, and one more than the longest one.
_MAX_AXES, _MAX_LENGTH = 16, 1 << 48

#: Metadata of a converted file: the original's name, size and time of change.
_ORIGIN = ("converted_from", "original_size", "original_changed")


@dataclass(frozen=True)
class Stored:
    """Where a tensor is in a file: the offsets of its first byte and of the byte after its last."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int
    end: int


class SafetensorsFile:
    """A safetensors file opened for reading. Raises CheckpointError for anything that is wrong with it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._stream: BinaryIO = path.open("rb", buffering=0)
        except FileNotFoundError as error:
            raise CheckpointError(f"{path} is missing.") from error
        except OSError as error:
            raise CheckpointError(f"{path} cannot be read: {error}.") from error
        try:
            self.tensors, self.metadata = self._read_header()
        except BaseException:  # Ctrl-C too: nobody else can close the stream yet
            self._stream.close()
            raise
        self._buffer = torch.empty(0, dtype=torch.uint8)

    def __enter__(self) -> SafetensorsFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stream.close()

    def read(self, key: str, out: Tensor) -> None:
        """Copy a tensor into ``out`` (contiguous, of the same shape, on any device), converted to its dtype."""
        for piece, part in self._pieces(key, out):
            piece.copy_(part)

    def holds(self, key: str, tensor: Tensor) -> bool:
        """Whether a stored tensor equals a contiguous ``tensor`` on the CPU, bit for bit."""
        return self.tensors[key].dtype == tensor.dtype and all(
            torch.equal(piece.view(torch.uint8), part.view(torch.uint8)) for piece, part in self._pieces(key, tensor)
        )

    def _pieces(self, key: str, tensor: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Pieces of a contiguous ``tensor``, each with the file's content for it, valid until the next piece."""
        stored, flat = self.tensors[key], tensor.view(-1)
        if not len(self._buffer):
            size = _PINNED_BUFFER if tensor.is_cuda else _BUFFER
            self._buffer = torch.empty(size, dtype=torch.uint8, pin_memory=tensor.is_cuda)
        self._stream.seek(stored.start)
        for piece in flat.split(len(self._buffer) // stored.dtype.itemsize):
            part = self._buffer[: len(piece) * stored.dtype.itemsize]
            self._fill(part.numpy().data)
            yield piece, part.view(stored.dtype)

    def _fill(self, target: memoryview) -> None:
        while target:
            try:
                count = self._stream.readinto(target)  # type: ignore[attr-defined]  # typeshed: only RawIOBase has it
            except OSError as error:
                raise CheckpointError(f"{self.path} cannot be read: {error}.") from error
            if not count:
                raise self._damaged("it ends too early")
            target = target[count:]

    def _damaged(self, what: str) -> CheckpointError:
        return CheckpointError(f"{self.path} is damaged or incomplete: {what}.")

    # --- header ---

    def _read_header(self) -> tuple[dict[str, Stored], dict[str, str]]:
        size = os.fstat(self._stream.fileno()).st_size
        if size == 0:
            raise CheckpointError(f"{self.path} is empty.")
        start = bytearray(min(size, 8))
        self._fill(memoryview(start))
        _refuse_pickle(self.path, bytes(start))
        length = int.from_bytes(start, "little")
        if size < 8 or length > min(size - 8, _MAX_HEADER):
            raise self._damaged("it has no safetensors header")
        header = bytearray(length)
        self._fill(memoryview(header))
        try:
            entries = json.loads(header.decode("utf-8"), object_pairs_hook=_without_duplicates)
        except (ValueError, RecursionError) as error:
            raise self._damaged(f"its header is not JSON ({error})") from error
        if not isinstance(entries, dict):
            raise self._damaged("its header is not a JSON object")
        metadata = entries.pop("__metadata__", {})
        if not isinstance(metadata, dict):
            raise self._damaged("its metadata is not a JSON object")
        tensors = {key: self._entry(key, entry, 8 + length) for key, entry in entries.items()}
        self._require_whole(tensors, 8 + length, size)
        return tensors, metadata

    def _entry(self, key: str, entry: Any, base: int) -> Stored:
        """A checked entry of the header. ``base`` is the offset in the file at which the tensors' bytes begin."""
        if not isinstance(entry, dict):
            raise self._damaged(f"the header's entry of {key} is not an object")
        dtype, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
        if not isinstance(dtype, str) or dtype not in _DTYPES:
            raise self._damaged(f"{key} has the type {dtype!r}, not one of {', '.join(_DTYPES)}")
        if not _are_sizes(shape):
            raise self._damaged(f"{key} has the shape {shape!r:.80}")
        if not _are_sizes(offsets) or len(offsets) != 2:
            raise self._damaged(f"{key} has the offsets {offsets!r:.80}")
        if offsets[1] - offsets[0] != math.prod(shape) * _DTYPES[dtype].itemsize:
            raise self._damaged(f"{key} has {offsets[1] - offsets[0]} bytes, which is not {shape} of {dtype}")
        return Stored(_DTYPES[dtype], tuple(shape), base + offsets[0], base + offsets[1])

    def _require_whole(self, tensors: dict[str, Stored], position: int, size: int) -> None:
        """Raise CheckpointError unless the tensors fill the file from ``position`` to its end, one after another."""
        for key, stored in sorted(tensors.items(), key=lambda item: (item[1].start, item[1].end)):
            if stored.start != position:
                what = (
                    "overlaps the tensor before it"
                    if stored.start < position
                    else "does not directly follow the tensor before it"
                )
                raise self._damaged(f"{key} {what}")
            position = stored.end
        if position != size:
            raise self._damaged(f"its header describes {position} bytes, but it has {size}")


def _are_sizes(values: Any) -> TypeGuard[list[int]]:
    sizes = isinstance(values, list) and len(values) <= _MAX_AXES
    return sizes and all(type(value) is int and 0 <= value < _MAX_LENGTH for value in values)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a key occurs twice")
    return values


def _refuse_pickle(path: Path, start: bytes) -> None:
    """Raise CheckpointError if a file is a pickle, or a zip file of pickles as torch writes it, whatever its name."""
    if start[:4] == b"PK\x03\x04" or (start[:1] == b"\x80" and start[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")):
        hint = "Such files can run code when they are opened. Get the .safetensors file instead."
        raise CheckpointError(f"{path} is a Python pickle, not a safetensors file.", hint)


# --- finding and converting ------------------------------------------------------------------------------------------


def safetensors_at(path: Path, *, verify: bool = False) -> Path:
    """The safetensors file at a path without suffix, converted from a pickle there if needed. Raises CheckpointError.

    Files that a lock names must have the size that it records, and with ``verify`` also the SHA-256. A converted file
    is converted again if its pickle has changed since, and with ``verify`` always.
    """
    file, pickle = with_suffix(path, SAFETENSORS), pickle_at(path)
    if pickle is None or (file.exists() and not _is_converted(file)):
        check_file(file, content=verify)
        return file
    check_file(pickle, content=verify)
    if verify or not file.exists() or _origin_of(file) != _origin(pickle):
        convert(pickle, file)
    return file


def convert(pickle: Path, file: Path) -> None:
    """Write a pickled state dict (key -> tensor) as safetensors, bit for bit, and check it. Raises CheckpointError."""
    tensors = _unpickle(pickle)
    origin = dict(zip(_ORIGIN, _origin(pickle), strict=True))
    try:
        with written_whole(file, durable=True) as part:
            with part.open("wb") as stream:
                stream.writelines(serialised(tensors, tensors.values(), origin))
            with SafetensorsFile(part) as written:
                for key, tensor in tensors.items():
                    if not written.holds(key, tensor.contiguous()):
                        raise CheckpointError(f"{pickle} was not converted correctly: {key} differs.", "Try again.")
    except OSError as error:
        hint = f"Make {file.parent} writable, with room for {pickle.stat().st_size >> 20} MB more."
        raise CheckpointError(f"{pickle} cannot be converted to safetensors: {error}.", hint) from error


def _unpickle(pickle: Path) -> dict[str, Tensor]:
    require_bounded(pickle)
    try:
        zipped = zipfile.is_zipfile(pickle)  # as torch has written them since 1.6; only such files can be mapped
        state = torch.load(pickle, map_location="cpu", weights_only=True, mmap=zipped)
    except UnpicklingError as error:
        hint = "Such a file could run code, so it was not loaded. Get the weights from where they are published."
        raise CheckpointError(f"{pickle} contains something other than weights, or is damaged.", hint) from error
    except Exception as error:  # for a damaged file, the restricted unpickler raises almost anything
        raise CheckpointError(f"{pickle} is damaged or incomplete: {error}.") from error
    if not isinstance(state, Mapping) or not state:
        raise CheckpointError(f"{pickle} does not contain a state dict.")
    for key, tensor in state.items():
        if not isinstance(key, str) or not isinstance(tensor, Tensor) or tensor.dtype not in _DTYPE_NAMES:
            raise CheckpointError(f"{pickle} is not a plain state dict: {key!r} is not a tensor of weights.")
    require_own_memory(pickle, state)
    return dict(state)


def serialised(
    like: Mapping[str, Tensor], values: Iterable[Tensor], metadata: Mapping[str, str]
) -> Iterator[bytes | memoryview]:
    """The bytes of a safetensors file, tensor by tensor.

    ``like`` has the keys, shapes and dtypes, and may be on the meta device. ``values`` yields the tensors in the same
    order. Each is taken only when its turn comes.
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt", **metadata}}
    position = 0
    for key, tensor in like.items():
        end = position + tensor.numel() * tensor.element_size()
        offsets = [position, end]
        header[key] = {"dtype": _DTYPE_NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": offsets}
        position = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # the format asks for tensors that begin at a multiple of eight bytes
    yield len(text).to_bytes(8, "little") + text
    for tensor in values:
        yield _bytes(tensor).numpy().data


def _bytes(tensor: Tensor) -> Tensor:
    return tensor.detach().contiguous().view(-1).view(torch.uint8)


def _origin(pickle: Path) -> tuple[str, str, str]:
    status = pickle.stat()
    return pickle.name, str(status.st_size), str(status.st_mtime_ns)


def _is_converted(file: Path) -> bool:
    with SafetensorsFile(file) as tensors:
        return _ORIGIN[0] in tensors.metadata


def _origin_of(file: Path) -> tuple[str | None, ...]:
    with SafetensorsFile(file) as tensors:
        return tuple(tensors.metadata.get(key) for key in _ORIGIN)
