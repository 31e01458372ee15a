"""Pickled checkpoints, looked through before torch opens them: that their memory is bounded by their size on disk.

``torch.load(weights_only=True)`` runs no code from a file. But a kilobyte can ask it for gigabytes, by a number in the
pickle or by a packed one. Nothing here unpickles: ``pickletools`` only reads the operations.
"""

from __future__ import annotations

import pickletools
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from torch import Tensor

from ..errors import CheckpointError

#: The largest pickle in a checkpoint, in bytes. It has names, shapes and places; the weights are beside it.
MOST_BYTES = 8 << 20
#: Files in a checkpoint: one for each tensor, and a few.
MOST_FILES = 100_000
#: Numbers up to this one say nothing about memory.
SMALL = 1 << 16
#: The first number in checkpoints as torch wrote them before 1.6, and how many pickles these begin with.
_MAGIC, _PICKLES = 0x1950A86A20F9469CFC6C, 5


def require_bounded(path: Path) -> None:
    """Raise CheckpointError if a checkpoint is packed, or holds a number that is larger than its size in bytes."""
    size = path.stat().st_size
    try:
        with path.open("rb") as stream:
            if zipfile.is_zipfile(stream):
                _look_through_zip(path, stream, size)
                return
            stream.seek(0)
            for _ in range(_PICKLES):
                _look_through(path, stream, size)
    except CheckpointError:
        raise
    except Exception as error:  # for a damaged file, zipfile and pickletools raise almost anything
        raise CheckpointError(f"{path} is damaged or incomplete: {error!s:.200}.") from error


def require_own_memory(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Raise CheckpointError if the tensors of a checkpoint are larger than it: copies of a few numbers."""
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    if size > 2 * path.stat().st_size + SMALL:
        raise _refused(path, f"its tensors would take {size >> 20} MB")


def _look_through_zip(path: Path, stream: IO[bytes], size: int) -> None:
    with zipfile.ZipFile(stream) as archive:
        infos = archive.infolist()
        if len(infos) > MOST_FILES:
            raise _refused(path, f"it holds {len(infos)} files")
        for info in infos:
            if info.compress_type != zipfile.ZIP_STORED or info.file_size > size:
                raise _refused(path, f"{info.filename:.80} in it is packed")
            if info.filename.endswith(".pkl"):
                if info.file_size > MOST_BYTES:
                    raise _refused(path, f"{info.filename:.80} in it has {info.file_size >> 20} MB")
                with archive.open(info) as pickle:
                    _look_through(path, pickle, size)


def _look_through(path: Path, stream: IO[bytes], size: int) -> None:
    """Read the operations of one pickle, up to its end."""
    begin = stream.tell()
    for _, argument, _ in pickletools.genops(stream):
        if isinstance(argument, int) and abs(argument) > max(size, SMALL) and argument != _MAGIC:
            raise _refused(path, "it speaks of more numbers than it can hold")
        if stream.tell() - begin > MOST_BYTES:
            raise _refused(path, f"its description has more than {MOST_BYTES >> 20} MB")


def _refused(path: Path, why: str) -> CheckpointError:
    hint = "Get the weights from where they are published, as .safetensors if there are such."
    return CheckpointError(f"{path} is no plain checkpoint: {why}.", hint)
