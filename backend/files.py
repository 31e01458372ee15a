"""Files that are written whole or not at all, and their hashes.

Standard library only: both sides import this module, like ``protocol``.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from .whole import flaw

#: How the name of a file begins while it is being written. The names of assets never begin with a dot.
PART = ".espalier-"
#: How the name of a folder ends in which files are written under their own names.
STAGED = ".staged"

#: The most bytes of an image file; larger ones are not read.
MAX_PICTURE = 400_000_000

#: What the system says when a disk, a quota or a process's limit is full.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class CutOff(OSError):
    """A file was written without an error, but it is not complete. Usually the disk is full."""

    def __init__(self, path: Path, flaw: str) -> None:
        super().__init__(errno.ENOSPC, f"{path.name} was cut off while it was written ({flaw})")


@contextmanager
def written_together(*paths: Path, named: Sequence[Path] = (), durable: bool = False) -> Iterator[tuple[Path, ...]]:
    """Give a path for each of several files that belong together, in its folder and with its suffix, to write to.

    Those of ``named`` follow. They already have the names that the files will have, in a folder of their own: for files
    that name each other, such as a .fbx and its textures.

    If the block succeeds and every file is complete by the marks of its format (``whole``), they replace ``paths``, and
    never what a link there leads to. Whatever happens, each of ``paths`` holds either its old content or all of the
    new, and nothing else is left behind. Only a killed process leaves its partial files: see ``left_behind``. With
    ``durable`` the content is on the disk before it gets its name, so that a power cut cannot leave the name without
    the content. Raises OSError, CutOff among them.
    """
    paths += tuple(named)
    folders = {path.parent: _part(path.parent / "x", STAGED) for path in named}
    parts = tuple(_part(path) for path in paths[: len(paths) - len(named)])
    parts += tuple(folders[path.parent] / path.name for path in named)
    try:
        for folder in folders.values():
            folder.mkdir()
        yield parts
        for part, path in zip(parts, paths, strict=True):
            if wrong := flaw(part):
                raise CutOff(path, wrong)
            if durable:
                _flush(part)
        for part, path in zip(parts, paths, strict=True):
            os.replace(part, path)
    finally:
        for part in parts[: len(paths) - len(named)]:
            part.unlink(missing_ok=True)
        for folder in folders.values():
            shutil.rmtree(folder, ignore_errors=True)  # on Windows, something may still have a file of it open


@contextmanager
def written_whole(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """As ``written_together``, for one file."""
    with written_together(path, durable=durable) as (part,):
        yield part


def put_in_place(part: Path, path: Path, *, durable: bool = False) -> None:
    """Give a complete file its name, in one step. ``durable`` is as in ``written_together``. Raises OSError."""
    if durable:
        _flush(part)
    os.replace(part, path)


def write_whole(path: Path, content: str | bytes, *, durable: bool = False) -> None:
    """Write a file whole or not at all; text as UTF-8, with its line ends unchanged. Raises OSError."""
    data = content.encode("utf-8") if isinstance(content, str) else content
    part = _part(path)
    try:
        with part.open("xb") as stream:
            stream.write(data)
        put_in_place(part, path, durable=durable)
    finally:
        part.unlink(missing_ok=True)


def left_behind(folder: Path) -> list[Path]:
    """The partial files in a folder, and folders of them, that processes left which were killed."""
    folders = (path for path in folder.glob(f"{PART}*{STAGED}") if path.is_dir() and not path.is_symlink())
    files = (path for path in folder.glob(f"{PART}*.part*") if path.is_symlink() or path.is_file())
    return sorted({*folders, *files})


def remove_left_behind(folder: Path) -> None:
    """Delete what killed processes left in a folder. Whoever calls this must be alone there. Raises OSError."""
    for path in left_behind(folder):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _part(path: Path, ending: str = "") -> Path:
    """Where a file is while it is written: beside it, under a name that is nobody's."""
    return path.with_name(f"{PART}{os.urandom(8).hex()}{ending or f'.part{path.suffix}'}")


def _flush(file: Path) -> None:
    with file.open("rb+") as stream:
        os.fsync(stream.fileno())


def picture_digest(file: Path) -> str:
    """The SHA-256 of an image file; empty if it may not be read, or is none: a pipe or a device would have no end."""
    try:
        known = os.stat(file)
        return sha256(file) if stat.S_ISREG(known.st_mode) and known.st_size <= MAX_PICTURE else ""
    except (OSError, ValueError):
        return ""


def sha256(file: Path) -> str:
    """The SHA-256 of a file's content, as 64 hexadecimal digits. Raises OSError."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
