"""Notices when files change, from a thread: on a network a look at a file can take seconds. No bpy."""

from __future__ import annotations

import os
import threading
import time
from typing import TypeAlias

LOOK = 0.05  # seconds between two looks at a file
SETTLED = 0.1  # seconds without a change after which nobody is writing the file any more, as it seems

Stamp: TypeAlias = tuple[int, int]  # time of the last change in nanoseconds, and size in bytes


class FileWatch:
    """Looks at some files again and again, until ``close``."""

    def __init__(self) -> None:
        self._paths: tuple[str, ...] = ()
        self._seen: dict[str, tuple[Stamp, float]] = {}  # with the moment when it was first seen so
        self._settled: dict[str, Stamp] = {}
        self._closed = threading.Event()
        threading.Thread(target=self._look, name="espalier files", daemon=True).start()

    def watch(self, paths: tuple[str, ...]) -> None:
        """Look at these files from now on. Returns at once."""
        self._paths = paths

    def stamp(self, path: str) -> Stamp | None:
        """A file as it was when it was last complete; None if it was never seen. While it is written, it is as before.

        A file that is gone is as before, too: many programs save by putting another file in its place.
        """
        return self._settled.get(path)

    def close(self) -> None:
        """Look no more."""
        self._closed.set()

    def _look(self) -> None:
        while not self._closed.wait(LOOK):
            for path in self._paths:
                self._look_at(path)

    def _look_at(self, path: str) -> None:
        try:
            found = os.stat(path)
        except OSError:
            return
        stamp, now = (found.st_mtime_ns, found.st_size), time.monotonic()
        before = self._seen.get(path)
        if before is None or before[0] != stamp:
            is_old = before is None and time.time() - found.st_mtime > SETTLED
            before = self._seen[path] = stamp, now - SETTLED if is_old else now
        if now - before[1] >= SETTLED:
            self._settled[path] = stamp
