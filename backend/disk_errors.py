"""What a disk says, in words: which folder it is about, and what to do.

Standard library only: both sides import this module. ``str(OSError)`` is for programmers: *[Errno 30] Read-only file
system*. It often does not even say which folder is meant, so whoever writes says where.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .files import FULL, CutOff

READ_ONLY = (errno.EROFS,)
FORBIDDEN = (errno.EACCES, errno.EPERM)
MISSING = (errno.ENOENT, errno.ENOTDIR, errno.EEXIST)
#: A cable that was pulled, a server that does not answer.
UNREACHABLE = tuple(
    getattr(errno, name)
    for name in (
        "EIO",
        "ENXIO",
        "ENODEV",
        "ESTALE",
        "ETIMEDOUT",
        "EHOSTDOWN",
        "EHOSTUNREACH",
        "ENETDOWN",
        "ENETUNREACH",
    )
    if hasattr(errno, name)
)
#: Windows: another program has the file open.
IN_USE = (32, 33)

MAKE_ROOM = "Free some space and try again."
CHOOSE_ANOTHER = "Choose another folder, or make this one writable."

FULL_WORDS = "The disk of the folder {folder} is full."
CUT_OFF_WORDS = "The disk is full: {reason}."
READ_ONLY_WORDS = "The folder {folder} is on a disk that can only be read."
FORBIDDEN_WORDS = "The folder {folder} may not be written to."
MISSING_WORDS = "The folder {folder} does not exist."
IN_THE_WAY_WORDS = "The file {file} lies where a folder should be."
UNREACHABLE_WORDS = "The disk of the folder {folder} cannot be reached: {reason}."
IN_USE_WORDS = "The file {file} is open in another program."
OTHER_WORDS = "A file could not be used: {reason}."

#: The sentences, and what to do about each, as they are translated.
SENTENCES = {
    FULL_WORDS: MAKE_ROOM,
    READ_ONLY_WORDS: CHOOSE_ANOTHER,
    FORBIDDEN_WORDS: CHOOSE_ANOTHER,
    MISSING_WORDS: "Create it, or choose another folder.",
    IN_THE_WAY_WORDS: "Choose another folder, or give that file another name.",
    UNREACHABLE_WORDS: "Connect it and try again.",
    IN_USE_WORDS: "Close it there and try again.",
    OTHER_WORDS: "Check the folder and its permissions.",
}


@dataclass(frozen=True)
class DiskError:
    """An error of a disk: a short stable ``code``, one of ``SENTENCES`` with its ``values``, and what to do."""

    code: str
    words: str
    values: dict[str, str]
    hint: str

    @property
    def message(self) -> str:
        """The sentence, in English."""
        return self.words.format(**self.values)


def explain(error: OSError, folder: str | Path = "", hint: str = "") -> DiskError:
    """An error of the file system in words. ``folder`` is where something was being written, if the caller knows it.

    ``hint`` says what to do, if the usual advice does not hold there. A file elsewhere that may not be used may have
    been one to read, so of that the system's own words are said.
    """
    place = _folder_in(error) or str(folder)  # what the error names: code may be kept elsewhere than results
    if getattr(error, "winerror", None) in IN_USE and error.filename:
        return _made("file_in_use", IN_USE_WORDS, hint, file=str(error.filename))
    if isinstance(error, CutOff):
        return DiskError("disk_full", CUT_OFF_WORDS, {"reason": str(error.strerror)}, hint or MAKE_ROOM)
    if error.errno in FULL:
        if not place:
            return DiskError("disk_full", "The disk is full.", {}, hint or MAKE_ROOM)
        return _made("disk_full", FULL_WORDS, hint, folder=place)
    if error.errno in READ_ONLY and place:
        return _made("folder_read_only", READ_ONLY_WORDS, hint, folder=place)
    is_there = bool(folder) and (Path(folder) in (Path(place), *Path(place).parents) or _file_in_the_way(Path(folder)))
    if error.errno in FORBIDDEN and is_there:
        return _made("folder_forbidden", FORBIDDEN_WORDS, hint, folder=place)
    if error.errno in MISSING and is_there and (file := _file_in_the_way(Path(folder))):
        return _made("folder_missing", IN_THE_WAY_WORDS, hint, file=file)
    if error.errno in MISSING and is_there and not os.path.isdir(place):
        return _made("folder_missing", MISSING_WORDS, hint, folder=place)
    if error.errno in UNREACHABLE and place:
        return _made("disk_unreachable", UNREACHABLE_WORDS, hint, folder=place, reason=str(error.strerror))
    return _made("file_error", OTHER_WORDS, hint, reason=_plain(error))


def in_chain(error: BaseException) -> OSError | None:
    """What a disk said that led to this error: the error itself, or one that it was raised during; None if nothing.

    Who closes a half-written archive, for example, gets another error than the disk's. Only a disk that is full or
    read-only counts, unless it is the error itself: what else was caught on the way may have nothing to do with it.
    """
    if isinstance(error, OSError):
        return error
    return next((one for one in _chain(error) if isinstance(one, OSError) and one.errno in (*FULL, *READ_ONLY)), None)


def _chain(error: BaseException) -> Iterator[BaseException]:
    known: set[int] = set()
    found: BaseException | None = error
    while found is not None and id(found) not in known:
        known.add(id(found))
        yield found
        found = found.__cause__ or found.__context__


def _folder_in(error: OSError) -> str:
    """The folder of the file that the error names; empty if it names none."""
    named = error.filename2 or error.filename
    return str(Path(named).parent) if isinstance(named, str) and named else ""


def _file_in_the_way(folder: Path) -> str:
    """What keeps a folder from being there: it, or one above it, is a file. Empty if none is."""
    # os.path, not Path: a name that is too long, or a folder that may not be read, is simply not there
    there = next((path for path in (folder, *folder.parents) if os.path.exists(path)), folder)
    return "" if os.path.isdir(there) or not os.path.exists(there) else str(there)


def _plain(error: OSError) -> str:
    """What the system says, without its number."""
    if error.strerror is None:
        return str(error).rstrip(".")
    return f"{error.strerror} ({error.filename})" if error.filename else str(error.strerror)


def _made(code: str, words: str, hint: str, **values: str) -> DiskError:
    return DiskError(code, words, values, hint or SENTENCES[words])
