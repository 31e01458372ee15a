"""Keeps jobs and their results on disk, so that they survive a crash or the end of Blender. No bpy.

Each session of Blender has a folder, which is locked while Blender runs. In it each job has a folder, in which the
backend works:

    SESSION/lock
    SESSION/JOB/asked.json    written when the job is submitted
    SESSION/JOB/result.json   written when the result arrives, kept until it is in the scene

A session folder that nobody locks was left behind by a Blender that closed during a job. The next Blender takes over
the lock and offers the jobs it finds; two Blenders never offer the same job. The number, age and size of kept jobs are
limited.
"""

from __future__ import annotations

import json
import shutil
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ...backend import protocol
from ...backend.files import write_whole
from .file_lock import Busy, FileLock

LOCK = "lock"
ASKED = "asked.json"
RESULT = "result.json"
MOST_JOBS = 20
MOST_BYTES = 1 << 30
MOST_TEXT = 1 << 20  # bytes of a request or a result
MOST_SECONDS = 30 * 24 * 3600.0


@dataclass(frozen=True)
class SavedObject:
    """An object, described so that a later session can find it."""

    file: str  # path of the .blend
    name: str


@dataclass(frozen=True)
class Left:
    """A job that an earlier session left behind. ``result`` is None if it was not finished."""

    request: protocol.Generate
    sources: tuple[str, ...]
    replaces: SavedObject | None
    digests: tuple[str, str]
    result: protocol.Result | None
    moment: float  # when it was asked for, in seconds since the epoch
    size: int  # bytes


class Journal:
    """The journal of this session, below ``root``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._session = root / uuid.uuid4().hex
        self._locks: dict[Path, FileLock] = {}  # session -> its lock: this session's, and those of sessions taken over

    def new_folder(self) -> Path:
        """Make the folder of a new job. Raises OSError."""
        if self._session in self._locks and not self._session.is_dir():  # somebody has cleared the folder
            self._session = self.root / uuid.uuid4().hex
        if self._session not in self._locks:
            self._take(self._session)
        folder = self._session / uuid.uuid4().hex
        folder.mkdir()
        return folder

    def asked(
        self,
        request: protocol.Generate,
        sources: tuple[str, ...],
        replaces: SavedObject | None,
        digests: tuple[str, str] = ("", ""),
    ) -> None:
        """Note a submitted job. Its folder is the request's. Raises OSError."""
        replaced = None if replaces is None else [replaces.file, replaces.name]
        noted = {"request": protocol.encode(request), "sources": sources, "replaces": replaced, "layout": digests}
        write_whole(Path(request.out, ASKED), json.dumps(noted))

    def finished(self, request: protocol.Generate, result: protocol.Result) -> None:
        """Note the result of a job. Raises OSError."""
        write_whole(Path(request.out, RESULT), protocol.encode(result))

    def take_over(self) -> list[Left]:
        """Take over the jobs that earlier sessions left behind, the newest first. They belong to this session now."""
        found: list[Left] = []
        for session in sorted(self.root.iterdir()) if self.root.is_dir() else []:
            try:
                is_free = session not in self._locks and session.is_dir() and not session.is_symlink()
                if not is_free or FileLock(session / LOCK).holder() is not None:
                    continue
                self._take(session)
                found += _left(session)
            except Busy:  # another Blender was faster
                continue
            except OSError as error:  # the others are offered all the same
                print(f"Espalier: the jobs in {session} cannot be taken over: {error}")
        found.sort(key=lambda left: -left.moment)
        kept: list[Left] = []
        size = 0
        for left in found:
            size += left.size
            if len(kept) < MOST_JOBS and size <= MOST_BYTES and time.time() - left.moment < MOST_SECONDS:
                kept.append(left)
            else:
                shutil.rmtree(left.request.out, ignore_errors=True)
        return kept

    def close(self) -> None:
        """Release the folders, and delete those without a job."""
        for session, lock in self._locks.items():
            try:
                lock.release()
                if session.is_dir() and not any(path.is_dir() for path in session.iterdir()):
                    shutil.rmtree(session, ignore_errors=True)
            except OSError as error:  # its disk is gone: the others are released all the same
                print(f"Espalier: {session} cannot be released: {error}")
        self._locks.clear()
        self._session = self.root / uuid.uuid4().hex

    def _take(self, session: Path) -> None:
        lock = FileLock(session / LOCK)
        lock.acquire()
        self._locks[session] = lock


def _left(session: Path) -> Iterator[Left]:
    """The jobs in a session's folder. Those that cannot be read are deleted. Links are left alone."""
    for folder in [path for path in session.iterdir() if path.is_dir() and not path.is_symlink()]:
        try:
            yield _read(folder)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            print(f"Espalier: the job in {folder} cannot be read and is deleted: {error!s:.300}")
            shutil.rmtree(folder, ignore_errors=True)


def _read(folder: Path) -> Left:
    """The job in a folder. Raises ValueError and others if it is none."""
    noted = json.loads(_text(folder / ASKED))
    request = protocol.decode_request(noted["request"])
    if not isinstance(request, protocol.Generate) or Path(request.out) != folder:
        raise ValueError("it is not the folder of this job")
    if not isinstance(request.job, str) or not isinstance(request.images, tuple) or not request.images:
        raise ValueError("its request is none")
    if not all(map(_is_text, request.images)):
        raise ValueError("its images are no paths")
    request.settings()  # raises InvalidSetting, a ValueError
    sources, replaced, digests = noted["sources"], noted["replaces"], noted["layout"]
    if not isinstance(sources, list) or not all(map(_is_text, [*sources, *(replaced or ()), *digests])):
        raise ValueError("its sources are no paths")
    replaces = None if replaced is None else SavedObject(*replaced)
    first, second = digests
    moment = (folder / ASKED).stat().st_mtime
    return Left(request, tuple(sources), replaces, (first, second), _result(folder), moment, _size(folder))


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _text(file: Path) -> str:
    """The content of a file of the journal. Raises OSError, and ValueError if it is longer than any can be."""
    if file.stat().st_size > MOST_TEXT:
        raise ValueError(f"{file.name} is too large")
    return file.read_text("utf-8")


def _result(folder: Path) -> protocol.Result | None:
    """The job's result; None if there is none, or if some of its files are missing.

    Raises ValueError if what is there is no result, or names files outside the job's folder: they would be moved.
    """
    if not (folder / RESULT).is_file():
        return None
    try:
        result = protocol.decode_message(_text(folder / RESULT))
    except protocol.ProtocolError as error:  # of another version, or damaged: the job can be made again
        print(f"Espalier: the result in {folder} cannot be read, so its job is offered again: {error!s:.300}")
        return None
    if not isinstance(result, protocol.Result):
        raise ValueError(f"{RESULT} is no result")
    inside = folder.resolve()
    needed = [path for path in (result.arrays, result.texture, result.normal_map, result.occlusion, result.raw) if path]
    if not all(Path(path).resolve().is_relative_to(inside) for path in needed):
        raise ValueError(f"{RESULT} names files outside of its folder")
    return result if all(Path(path).is_file() for path in needed) else None


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
