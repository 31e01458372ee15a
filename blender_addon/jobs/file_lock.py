"""A lock that one process can hold at a time: for an installation, a session's journal, a folder of assets. No bpy.

The operating system holds the lock, and releases it when the process dies. The file contains the number of the process
that holds the lock. If there is a number but nobody holds the lock, the last holder was interrupted.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
import time
from pathlib import Path
from typing import IO

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

#: The byte that Windows locks. It lies beyond the text, so that other processes can read that.
LOCKED_BYTE = 1 << 20

#: The longest content of a lock: a number.
MOST_BYTES = 32

#: Flags to open a file with without waiting for the other end of a pipe.
SAFELY = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
#: The same for a lock, which is never opened through a link.
_NO_LINK = SAFELY | getattr(os, "O_NOFOLLOW", 0)

#: How many seconds to try: another Blender may hold the lock for a moment, to see whether it is free.
PATIENCE = 0.5


class Busy(Exception):
    """Another process holds the lock. ``pid`` is 0 if it has not written its number yet."""

    def __init__(self, pid: int) -> None:
        super().__init__(f"process {pid} holds the lock")
        self.pid = pid


class FileLock:
    """A lock on the file ``path``. ``acquire`` takes it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[bytes] | None = None

    def acquire(self) -> None:
        """Take the lock and write this process's number.

        Raises Busy, and OSError if the disk is read-only or full, or if there is something else than a lock.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        end = time.monotonic() + PATIENCE
        while (file := self._try()) is None:
            if time.monotonic() > end:
                raise Busy(self._written())
            time.sleep(0.05)
        try:
            file.truncate(0)
            file.write(str(os.getpid()).encode())
            file.flush()
        except OSError:  # a lock that is kept by a file that nobody can reach would be busy for ever
            _drop(file)
            raise
        self._file = file

    def release(self) -> None:
        """Release the lock and remove the number: the work has ended, done or failed, and was not interrupted."""
        assert self._file is not None
        self._file.truncate(0)
        self._file.close()
        self._file = None

    def holder(self) -> int | None:
        """The number of the other process that holds the lock now; None if there is none."""
        if self._file is not None or not self.path.exists():
            return None
        file = self._try()
        if file is None:
            return self._written()
        file.close()
        return None

    def interrupted(self) -> bool:
        """Whether the last holder died while it held the lock."""
        return self._file is None and self._written() != 0 and self.holder() is None

    def _try(self) -> IO[bytes] | None:
        file = self._opened()
        try:
            if sys.platform == "win32":
                file.seek(LOCKED_BYTE)
                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
                file.seek(0)
            else:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            file.close()
            return None
        except BaseException:
            file.close()
            raise
        return file

    def _opened(self, flags: int = os.O_RDWR | os.O_CREAT) -> IO[bytes]:
        """The file, opened, and nothing changed in it. Raises OSError if it is a link, or holds what no lock holds."""
        if self.path.is_symlink():  # Windows has no O_NOFOLLOW
            raise OSError(errno.ELOOP, "it is a link", str(self.path))
        handle = os.open(self.path, flags | _NO_LINK, 0o666)
        try:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1 or status.st_size > MOST_BYTES:
                raise OSError(errno.EEXIST, "it is no lock", str(self.path))
            return os.fdopen(handle, "r+b" if flags & os.O_RDWR else "rb")
        except BaseException:
            os.close(handle)
            raise

    def _written(self) -> int:
        try:
            with self._opened(os.O_RDONLY) as file:
                return int(file.read(MOST_BYTES) or b"0")
        except (OSError, ValueError):
            return 0


def _drop(file: IO[bytes]) -> None:
    """Close a file of which not everything could be written."""
    try:
        file.close()  # writes the rest, and closes it in any case
    except OSError as error:
        print(f"Espalier: {error}")
