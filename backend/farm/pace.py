"""How fast a farm is: one line with what is done and failed, objects a minute, and the time left."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable

from .report import Line

#: Objects whose pace counts, and seconds between two lines: in a terminal, where each replaces the one before, and not.
RECENT, OFTEN, SELDOM = 200, 1.0, 30.0


class Pace:
    """The pace of the last objects."""

    def __init__(self, total: int, now: Callable[[], float]) -> None:
        """``now`` tells the time in seconds."""
        self._total, self._now = total, now
        self._done = self._failed = 0
        self._ends: deque[float] = deque([now()], maxlen=RECENT + 1)
        self._said = now()

    def take(self, line: Line) -> None:
        """Count a line, and print the pace if it is time."""
        self._ends.append(self._now())
        if line.status == "failed":
            self._failed += 1
        else:
            self._done += 1
        on_terminal = sys.stdout.isatty()
        if self._now() - self._said >= (OFTEN if on_terminal else SELDOM):
            self._said = self._now()
            print(f"\r\x1b[K{self.text()}" if on_terminal else self.text(), end="" if on_terminal else "\n", flush=True)

    def text(self) -> str:
        """The line."""
        counted = f"{self._done} done, {self._failed} failed of {self._total}"
        seconds = self._ends[-1] - self._ends[0]
        if not seconds:
            return counted
        each = seconds / (len(self._ends) - 1)
        left = each * (self._total - self._done - self._failed)
        return f"{counted}, {60 / each:.0f} objects a minute, {_in_words(left)} left"


def _in_words(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
