"""How the commands report what they do: reports of ``protocol`` as lines of JSON, or words for a person."""

from __future__ import annotations

import sys
import time
from typing import TextIO

from .. import protocol
from .amounts import in_words

#: Seconds between two reports of progress.
INTERVAL = 0.2


class Reports:
    """Prints reports on stdout: as JSON, or in words, with a progress line on stderr if that is a terminal."""

    def __init__(self, as_json: bool) -> None:
        self._json = as_json
        self._line = not as_json and sys.stderr.isatty()
        self._last: tuple[float, protocol.Transfer] | None = None
        self._speed = 0.0

    def tell(self, report: protocol.Report, words: str = "", stream: TextIO | None = None) -> None:
        """Print a report now: as JSON, or for a person ``words`` on ``stream`` (default: stdout)."""
        if self._json:
            print(protocol.encode(report), end="", flush=True)
            return
        if self._line:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
        print(words, file=stream or sys.stdout, flush=True)

    def progress(self, now: protocol.Transfer) -> None:
        """Print progress at most once every ``INTERVAL`` seconds, and always at a new file or action and at the end."""
        if not self._due(now):
            return
        if self._json:
            self.tell(now)
        elif self._line:
            print(f"\r\x1b[K{self._words(now)}", end="", file=sys.stderr, flush=True)

    def failed(self, code: str, message: str, hint: str) -> None:
        """Print what ended a command."""
        self.tell(protocol.Error(None, code, message, hint), f"{message} {hint}".strip(), sys.stderr)

    def _due(self, now: protocol.Transfer) -> bool:
        moment = time.monotonic()
        if self._last is not None:
            before, last = self._last
            same = (last.model, last.action, last.file) == (now.model, now.action, now.file)
            if same and moment - before < INTERVAL and now.done < now.total:
                return False
            if same and now.done > last.done and moment > before:
                speed = (now.done - last.done) / (moment - before)
                self._speed = 0.8 * self._speed + 0.2 * speed if self._speed else speed
        self._last = moment, now
        return True

    def _words(self, now: protocol.Transfer) -> str:
        words = f"{now.model}: {now.action} {100 * now.done // max(now.total, 1)} % of {in_words(now.total)}"
        if now.action == "verify" or not self._speed:
            return words
        minutes, seconds = divmod(int((now.total - now.done) / self._speed), 60)
        return f"{words}, {in_words(int(self._speed))}/s, {minutes}:{seconds:02} left"
