"""One process at a time: at an installation, a session's journal, a folder of assets. No bpy.

The operating system holds the lock and takes it from a process that has died. The file says who has it; a number in a
file that nobody holds is what an interrupted installation leaves behind.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import IO

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

#: The byte that Windows locks: one beyond the text, which others must be able to read.
LOCKED_BYTE = 1 << 20

#: How long to try: another Blender may just be looking who holds the lock.
PATIENCE = 0.5


class Busy(Exception):
    """Another process has the lock. ``pid`` is 0 if it has not written its number yet."""

    def __init__(self, pid: int) -> None:
        super().__init__(f"process {pid} has the lock")
        self.pid = pid


class FileLock:
    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[bytes] | None = None

    def acquire(self) -> None:
        """Take the lock and write this process's number. Raises Busy, and OSError if the disk is read-only or full."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        end = time.monotonic() + PATIENCE
        while (file := self._try()) is None:
            if time.monotonic() > end:
                raise Busy(self._written())
            time.sleep(0.05)
        self._file = file
        file.truncate(0)
        file.write(str(os.getpid()).encode())
        file.flush()

    def release(self) -> None:
        """Give the lock back. The work is over, whether done or failed in words: nothing is left to be found."""
        assert self._file is not None
        self._file.truncate(0)
        self._file.close()
        self._file = None

    def holder(self) -> int | None:
        """The number of the other process that has the lock now; None if none has."""
        if self._file is not None or not self.path.exists():
            return None
        file = self._try()
        if file is None:
            return self._written()
        file.close()
        return None

    def interrupted(self) -> bool:
        """Whether the last holder died while it had the lock."""
        return self._file is None and self._written() != 0 and self.holder() is None

    def _try(self) -> IO[bytes] | None:
        file = open(self.path, "r+b" if self.path.exists() else "w+b")  # noqa: SIM115 - it is the lock: closed by release
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

    def _written(self) -> int:
        try:
            return int(self.path.read_bytes() or b"0")
        except (OSError, ValueError):
            return 0
