"""Folders that somebody else may have read from and written to: nothing outside of them is opened, made or changed.

Who asks may be misled, and may be able to change the folders meanwhile, such as with another tool. So a path is not
judged by its name and used later. Its folder becomes the current one of this process, step by step, and at each step
the system says where that is. Then nobody can put another folder in its place, and files are opened and written by
their bare names. What is read must be no link, and have one name only: a file with several (hard links) may be one of
another folder. What is written replaces whatever has its name, and is never written into it (``files``).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from ..errors import BackendError
from ..files import MAX_PICTURE

BLOCK = 1 << 20  # bytes of a file that is copied
#: Not as text, not for child processes, not a link; and a pipe must not hold up its opening.
_FLAGS = sum(getattr(os, name, 0) for name in ("O_BINARY", "O_NOINHERIT", "O_CLOEXEC", "O_NOFOLLOW", "O_NONBLOCK"))


class NotAllowed(BackendError):
    """A path leads out of the folders, or to something that is no file or folder."""


class Folders:
    """The folders that were allowed, each with all that is in it. Raises NotAllowed if one of them is none."""

    def __init__(self, named: Sequence[Path]) -> None:
        self.roots: list[Path] = []
        for folder in named:
            try:
                root = Path(os.path.realpath(folder, strict=True))
            except OSError as error:
                raise _refused(f"The folder {folder} cannot be used: {error.strerror}.") from error
            if not root.is_dir():
                raise _refused(f"{folder} is no folder.")
            self.roots.append(root)
        self._known = {identity for root in self.roots if (identity := _identity(root)) is not None}

    def copy(self, path: str, to: Path) -> Path:
        """Copy the content of a file into a file that does not exist yet, and return the file's real path.

        ``to`` is absolute. Raises BackendError, and OSError if the copy cannot be written.
        """
        real = self._real(path)
        if not os.path.lexists(real):
            raise BackendError("file_missing", f"There is no file {path}.", "Check its name and its folder.")
        with self._entered(real.parent, path), _opened(real.name, path) as stream, to.open("xb") as copy:
            left = MAX_PICTURE
            while block := stream.read(min(BLOCK, left + 1)):
                left -= len(block)
                if left < 0:
                    raise _refused(f"The file {path} is larger than {MAX_PICTURE // 1_000_000} MB.")
                copy.write(block)
        return real

    @contextmanager
    def entered(self, path: str) -> Iterator[Path]:
        """Make a folder the current one for the time of the block, and create it if it is missing. Gives its path.

        In the block, files are to be named without a folder. Raises NotAllowed, and OSError.
        """
        with self._entered(self._real(path), path) as folder:
            yield folder

    @contextmanager
    def _entered(self, real: Path, asked: str) -> Iterator[Path]:
        there = next(folder for folder in (real, *real.parents) if os.path.lexists(folder))
        before = os.getcwd()
        try:
            self._enter(there, asked)
            for name in real.relative_to(there).parts:
                with suppress(FileExistsError):  # somebody was faster: whatever it is, it is looked at now
                    os.mkdir(name)
                self._enter(Path(name), asked)
            yield Path(os.getcwd())
        finally:
            os.chdir(before)

    def _enter(self, folder: Path, asked: str) -> None:
        try:
            os.chdir(folder)
        except NotADirectoryError as error:
            raise _refused(f"{asked} is no folder.") from error
        if not self._contain(Path(os.getcwd())):  # the system's own word, whatever led here
            raise self._outside(asked)

    def _real(self, path: str) -> Path:
        """The path without links and dots, which may not exist. One that is relative begins in the first folder."""
        try:
            real = Path(os.path.realpath(self.roots[0] / path))
        except (OSError, ValueError) as error:  # such as a name with a null character
            raise _refused(f"{path!r} is no path.") from error
        if not self._contain(real):
            raise self._outside(path)
        return real

    def _contain(self, real: Path) -> bool:
        """Whether a path without links is in one of the folders. Names that differ only in case may be the same."""
        return any(folder in self.roots or _identity(folder) in self._known for folder in (real, *real.parents))

    def _outside(self, path: str) -> NotAllowed:
        allowed = ", ".join(map(str, self.roots))
        words = f"{path} is not in a folder that this server may use."
        return NotAllowed("path_not_allowed", words, f"Use a path in {allowed}, or start the server with --allow.")


@contextmanager
def _opened(name: str, asked: str) -> Iterator[BinaryIO]:
    """A file of the current folder. Raises NotAllowed if it is none, or a link, or has other names; and OSError."""
    try:
        descriptor = os.open(name, os.O_RDONLY | _FLAGS)
    except OSError as error:
        words = f"The file {asked} cannot be read: {error.strerror}."
        raise BackendError("file_forbidden", words, "Change its permissions, or copy it.") from error
    try:
        facts = os.fstat(descriptor)
        # Where the system cannot be told to follow no link, the name must still be that of the open file.
        if not stat.S_ISREG(facts.st_mode) or not os.path.samestat(facts, os.lstat(name)):
            raise _refused(f"{asked} is no file.")
        if facts.st_nlink > 1:
            words = f"The file {asked} has several names (hard links), so it may belong to another folder."
            raise NotAllowed("path_not_allowed", words, "Copy it, and use the copy.")
    except BaseException:
        os.close(descriptor)
        raise
    with os.fdopen(descriptor, "rb") as stream:
        yield stream


def _identity(folder: Path) -> tuple[int, int] | None:
    """What the system knows a folder by; None if there is none, or if its file system does not number its files."""
    try:
        facts = os.stat(folder, follow_symlinks=False)
    except OSError:
        return None
    return (facts.st_dev, facts.st_ino) if facts.st_ino and stat.S_ISDIR(facts.st_mode) else None


def _refused(words: str) -> NotAllowed:
    return NotAllowed("path_not_allowed", words)
