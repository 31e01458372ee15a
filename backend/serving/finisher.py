"""Finishes objects in a thread of their own, while the main thread makes the next one with the model.

Finishing needs no model, and its loops release Python's lock: on a GPU the two hardly meet.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

#: Seconds between two looks at whether a job that waits for its turn was cancelled.
LOOK = 0.02


class Finisher:
    """A thread that finishes one object at a time, so that at most one more is in memory."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None

    def take(self, work: Callable[[], None], check: Callable[[], None]) -> None:
        """Begin ``work`` when the one before has ended. ``check()`` may end the waiting for that by raising."""
        self.wait(check)
        self._thread = threading.Thread(target=work, daemon=True, name="finisher")
        self._thread.start()

    def wait(self, check: Callable[[], None] = lambda: None) -> None:
        """Wait until nothing is being finished. ``check()`` may end that by raising."""
        while self._thread is not None and self._thread.is_alive():
            self._thread.join(LOOK)
            check()
