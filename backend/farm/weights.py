"""The model on each machine: in its own models folder, the same on all of them, fetched once.

A model is known by what is in its files, not by when they were written: that differs from machine to machine.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from ..errors import CheckpointError, StoreError
from ..files import sha256
from ..protocol import models_folder
from ..store.catalog import PUBLISHED, HashLock, find_model
from ..weights.folders import ModelFolder

LOCK = ".farm.lock"
#: Seconds that a worker waits for another one that fetches the model: 4 GB at 10 Mbit/s.
PATIENCE = 3600


def identity(name: str) -> str:
    """What a model is known by: a digest of the weights of its folder, and of its base's. Raises CheckpointError."""
    folder: ModelFolder | None = ModelFolder.find(name)
    digest = hashlib.sha256()
    while folder is not None:
        digest.update(json.dumps(_contents(folder.path), sort_keys=True).encode())
        folder = folder.base
    return digest.hexdigest()


def _contents(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file that a model's folder was published with. An installed one has them in its lock."""
    if (lock := HashLock.read(folder)) is not None:
        return {path: file.sha256 for path, file in lock.files.items()}
    described = (path for path in folder.rglob("*") if path.suffix in (".json", ".safetensors", ".pt", ".pth"))
    return {path.relative_to(folder).as_posix(): sha256(path) for path in described}


def require(name: str, expected: str, *, fetch: bool) -> None:
    """Make sure that this machine has a model, and the same one as the driver: ``expected`` is its identity.

    With ``fetch``, one that is missing is downloaded and verified, by one worker while the others of this machine wait.
    Raises CheckpointError, StoreError, and OSError if the disk is full or fails.
    """
    from filelock import FileLock, Timeout

    try:
        find_model(name)
    except CheckpointError as error:
        if not fetch or name not in PUBLISHED:
            raise
        folder = models_folder()
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(folder / LOCK, timeout=PATIENCE):
                _fetch(name)
        except Timeout:
            words = f"Another worker has been fetching {name} for an hour."
            raise StoreError("busy", words, "Look at this machine's network.") from error
    if expected and identity(name) != expected:
        words = f"The model {name} on this machine is another one than the driver's."
        raise CheckpointError(words, "Install the same model on all machines.", code="model_differs")


def _fetch(name: str) -> None:
    from ..store.download import download_model, missing_models
    from ..store.hub import Hub

    for model in missing_models(name):
        download_model(model, Hub(), lambda transfer: None)
