"""Finishes objects in threads of their own, while the main thread makes the next one with the model.

Finishing needs no model, and its loops release Python's lock: on a GPU the two hardly meet.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

#: Seconds between two looks at whether a job that waits for its turn was cancelled.
LOOK = 0.02
#: At most so many objects are finished at once: each keeps its raw mesh in memory, a hundred megabytes.
MOST = 4


def places() -> int:
    """How many objects are finished at once: each keeps more than one core busy, and the model needs one."""
    return min(MOST, max(1, ((os.cpu_count() or 1) - 1) // 2))


class Finisher:
    """Threads that finish one object each, at most ``places`` at once, so that at most one more is in memory."""

    def __init__(self, places: int) -> None:
        self._places = places
        self._threads: list[threading.Thread] = []

    def take(self, work: Callable[[], None], check: Callable[[], None]) -> None:
        """Begin ``work`` as soon as there is a place. ``check()`` may end the waiting for that by raising."""
        self._wait(self._places - 1, check)
        self._threads.append(threading.Thread(target=work, daemon=True, name="finisher"))
        self._threads[-1].start()

    def wait(self, check: Callable[[], None] = lambda: None) -> None:
        """Wait until nothing is being finished. ``check()`` may end that by raising."""
        self._wait(0, check)

    def _wait(self, left: int, check: Callable[[], None]) -> None:
        while True:
            self._threads = [thread for thread in self._threads if thread.is_alive()]
            if len(self._threads) <= left:
                return
            self._threads[0].join(LOOK)
            check()
