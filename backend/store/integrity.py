"""Whether downloaded files still match their lock, ``models.lock.json``."""

from __future__ import annotations

from pathlib import Path

from ..errors import CheckpointError
from ..files import sha256
from .catalog import LOCK_NAME, HashLock


def check_file(file: Path, *, content: bool) -> None:
    """Raise CheckpointError if a file differs from its lock: in size, and with ``content`` also in SHA-256.

    The lock is in the file's folder or in the one above (the model's, if the file is in ``ckpts``). A file that no lock
    names passes, because nothing is known about it.
    """
    for folder in (file.parent, file.parent.parent):
        if (folder / LOCK_NAME).exists():
            break
    else:
        return
    lock = HashLock.read(folder)
    if lock is None:
        raise CheckpointError(f"{folder / LOCK_NAME} cannot be read.")
    expected = lock.files.get(file.relative_to(folder).as_posix())
    if expected is None or not file.exists():  # a missing file is reported by the code that reads it
        return
    size = file.stat().st_size
    if size != expected.size:
        raise CheckpointError(f"{file} has {size} bytes instead of the {expected.size} that were downloaded.")
    if content and sha256(file) != expected.sha256:
        raise CheckpointError(f"{file} was changed or damaged since it was downloaded: its SHA-256 differs.")
