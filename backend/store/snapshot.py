"""A folder that holds a model as the hub lays it out, for machines without a network.

The hashes come from where such folders keep them: ``models.lock.json`` in a folder that Espalier installed,
``.cache/huggingface/download`` in one that ``hf download --local-dir`` made, or, in the hub's own cache, the names of
the files that its links lead to. If a file has no hash, only its size can be compared.
"""

from __future__ import annotations

import re
from pathlib import Path

from ..errors import StoreError
from .catalog import HashLock, PublishedModel
from .hub import Offer
from .transfer import Expected, OnBytes, copy

_SHA256 = re.compile(r"[0-9a-f]{64}")
_SHA1 = re.compile(r"[0-9a-f]{40}")


class Snapshot:
    """A source of models: a folder with the files of one model. Every method raises StoreError."""

    action = "copy"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if not folder.is_dir():
            raise StoreError("folder_missing", f"There is no folder {folder}.", "Choose the folder that has the files.")

    def offer(self, model: PublishedModel) -> Offer:
        """What the folder has of a model's files, with their hashes if known."""
        missing = [wanted.path for wanted in model.files if not (self.folder / wanted.path).is_file()]
        if missing:
            hint = f"It must be laid out as {model.page}/tree/main shows."
            raise StoreError("files_missing", f"{self.folder} does not contain {', '.join(missing)}.", hint)
        lock = HashLock.read(self.folder)
        hashes = {wanted.path: self._hash(wanted.path, lock) for wanted in model.files}
        commits = {commit for _, commit in hashes.values() if commit}
        return Offer(
            commits.pop() if len(commits) == 1 else None,
            tuple(_known(path, (self.folder / path).stat().st_size, digest) for path, (digest, _) in hashes.items()),
        )

    def bring(self, model: PublishedModel, revision: str | None, file: Expected, part: Path, on_bytes: OnBytes) -> None:
        """Copy a file to ``part``. ``on_bytes`` gets how many bytes there are."""
        copy(self.folder / file.name, part, on_bytes)

    def _hash(self, path: str, lock: HashLock | None) -> tuple[str, str | None]:
        """The folder's hash of a file, as hexadecimal digits or empty, and the commit that it belongs to."""
        if lock is not None and path in lock.files:
            return lock.files[path].sha256, lock.revision
        noted = self.folder / ".cache" / "huggingface" / "download" / f"{path}.metadata"
        if noted.is_file():
            commit, digest, *_ = [*noted.read_text("utf-8").splitlines(), "", ""]
            return digest, commit
        target = (self.folder / path).resolve()
        if target.parent.name == "blobs":
            return target.name, self.folder.resolve().name
        return "", None


def _known(path: str, size: int, digest: str) -> Expected:
    return Expected(
        path,
        size,
        digest if _SHA256.fullmatch(digest) else None,
        digest if _SHA1.fullmatch(digest) else None,
    )
