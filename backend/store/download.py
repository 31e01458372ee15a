"""Installing a published model: fetched, verified, and only then moved to where models are found.

A model is put together in ``MODELS_FOLDER/.partial/NAME``. Files that are complete and verified have their own names
there. The file being fetched has the expected hash in its name, so that it is never completed with the bytes of another
version. When all files are there, the lock is written and the folder moves to its place in one step. If anything stops
this earlier, only ``.partial`` is left, and the next attempt resumes from it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from ..disk_errors import explain
from ..errors import StoreError
from ..files import FULL, sha256
from ..protocol import Transfer, models_folder
from .amounts import require_space
from .catalog import (
    LOCK_NAME,
    PUBLISHED,
    HashLock,
    LockedFile,
    PublishedFile,
    PublishedModel,
    installed_lock,
    partial_folder,
)
from .hub import Offer
from .transfer import Expected, OnBytes, complete, wrong_hash, wrong_size

#: Bytes that must stay free on the disk after the model is installed.
SPARE = 256 << 20


OnProgress = Callable[[Transfer], None]
Report = Callable[[str, int], None]  # action, bytes of the current file


class Source(Protocol):
    """Where a model's files come from: the hub, or a folder."""

    action: str  # of ``Transfer``: download or copy

    def offer(self, model: PublishedModel) -> Offer:
        """What the source has of a model's files, in the order of ``model.files``. Raises StoreError."""
        ...

    def bring(self, model: PublishedModel, revision: str | None, file: Expected, part: Path, on_bytes: OnBytes) -> None:
        """Complete ``part``, which may hold the first bytes of a file. ``on_bytes`` gets how many bytes there are.

        ``revision`` is that of the offer. Raises StoreError, and OSError if the disk is full or fails.
        """
        ...


def missing_models(name: str) -> list[PublishedModel]:
    """What must be installed for a published model to work, the model itself last."""
    model = PUBLISHED[name]
    needed = [missing for need in model.needs for missing in missing_models(need)]
    return needed if installed_lock(model) else [*needed, model]


def download_model(model: PublishedModel, source: Source, on_progress: OnProgress) -> Path:
    """Install a model and return its folder. Raises StoreError, and OSError if the disk is full or fails."""
    folder = models_folder() / model.name
    with _alone(model):
        if installed_lock(model) is not None:
            return folder
        offer = source.offer(model)
        files = [_agreed(published, offered) for published, offered in zip(model.files, offer.files, strict=True)]
        partial = _prepared(model, folder)
        _require_space(partial, files)
        total, done, locked = sum(file.size for file in files), 0, {}
        for file in files:
            report = _reporter(on_progress, model, file, done, total)
            digest = _completed(model, source, offer, file, partial / file.name, report)
            locked[file.name] = LockedFile(file.size, digest)
            done += file.size
        for leftover in partial.rglob("*.part"):
            leftover.unlink()
        HashLock(model.repository, offer.revision, locked).write(partial)
        partial.rename(folder)
    return folder


def verify_model(model: PublishedModel, on_progress: OnProgress) -> None:
    """Compare an installed model's files with their hashes. Files that differ are deleted, and StoreError is raised:
    the model is not used until a download has fetched them again."""
    folder = models_folder() / model.name
    lock = HashLock.read(folder)
    if lock is None:
        raise StoreError("not_installed", f"{model.title} is not installed.", "Download it.")
    total, done, damaged = sum(file.size for file in lock.files.values()), 0, []
    for path, file in lock.files.items():
        on_progress(Transfer(model.name, "verify", path, done, total))
        if not (folder / path).is_file() or sha256(folder / path) != file.sha256:
            if (folder / path).parent.resolve().is_relative_to(folder.resolve()):  # no link leads to another folder
                (folder / path).unlink(missing_ok=True)
            damaged.append(path)
        done += file.size
    if damaged:
        words = f"Files of {model.title} are missing, damaged or changed: {', '.join(damaged)}."
        raise StoreError("damaged", words, "Download the model again. Its good files are kept.")


def delete_model(model: PublishedModel) -> None:
    """Remove a model, or what has been downloaded of it. Raises StoreError if it is being installed, and OSError."""
    folder = models_folder() / model.name
    with _alone(model):
        (folder / LOCK_NAME).unlink(missing_ok=True)  # first: if this is interrupted, the rest is not installed
        for leftover in (folder, partial_folder(model)):
            if leftover.exists():
                shutil.rmtree(leftover)


def _reporter(on_progress: OnProgress, model: PublishedModel, file: Expected, before: int, total: int) -> Report:
    return lambda action, arrived: on_progress(Transfer(model.name, action, file.name, before + arrived, total))


@contextmanager
def _alone(model: PublishedModel) -> Iterator[None]:
    """Let no other process install the same model. The system releases the lock of a process that has died."""
    from filelock import FileLock, Timeout

    partial = partial_folder(model)
    try:
        partial.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(partial.with_name(f"{model.name}.lock"), timeout=0)
        lock.acquire()
    except Timeout as error:
        hint = "Wait until it has finished."
        raise StoreError("busy", f"Another program is installing {model.title}.", hint) from error
    except OSError as error:
        hint = "Choose another models folder: in the preferences, or with --models-folder."
        found = explain(error, models_folder(), "" if error.errno in FULL else hint)
        raise StoreError(found.code, found.message, found.hint) from error
    try:
        yield
    finally:
        lock.release()


def _agreed(published: PublishedFile, offered: Expected) -> Expected:
    """A file with all that the catalogue and the source say about it. Raises StoreError if the two disagree."""
    if published.size is not None and published.size != offered.size:
        raise wrong_size(published.path)
    if published.sha256 and offered.sha256 and published.sha256 != offered.sha256:
        raise wrong_hash(published.path)
    return Expected(published.path, offered.size, published.sha256 or offered.sha256, offered.git_sha1)


def _prepared(model: PublishedModel, folder: Path) -> Path:
    """The folder to put a model together in. A damaged model moves there: its good files need not be fetched again."""
    partial = partial_folder(model)
    if folder.exists():
        if partial.exists():
            raise StoreError("folder_in_the_way", f"{folder} is in the way.", "Move it away, or delete it.")
        folder.rename(partial)
    partial.mkdir(exist_ok=True)
    return partial


def _require_space(partial: Path, files: list[Expected]) -> None:
    there = sum(path.stat().st_size for file in files for path in partial.glob(f"{file.name}*"))
    needed = sum(file.size for file in files) - there
    if needed > 0:
        hint = "Free some space, or choose another folder with --models-folder."
        require_space(partial.parent.parent, needed + SPARE, hint)


def _completed(
    model: PublishedModel, source: Source, offer: Offer, file: Expected, target: Path, report: Report
) -> str:
    """Make sure that a verified file is at ``target``: from an earlier attempt, else from the source.

    Returns its SHA-256.
    """

    def bring(part: Path) -> None:
        report(source.action, part.stat().st_size)
        source.bring(model, offer.revision, file, part, lambda arrived: report(source.action, arrived))
        report("verify", file.size)

    if target.is_file():
        report("verify", file.size)
    return complete(file, target, bring)
