"""A child process whose output is read line by line. No bpy."""

from __future__ import annotations

import queue
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

from ...backend import protocol

if sys.platform == "win32":
    NO_WINDOW = subprocess.CREATE_NO_WINDOW
else:
    NO_WINDOW = 0


class Child:
    """A started process. With ``attached`` its stdin stays open until Blender ends, so that it can end then too."""

    def __init__(self, command: list[str], env: Mapping[str, str], cwd: Path, attached: bool = False) -> None:
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE if attached else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(env),
            cwd=cwd,  # never the extension's folder: Windows could not update it
            encoding="utf-8",
            errors="replace",
            creationflags=NO_WINDOW,
        )
        threading.Thread(target=self._read, name="espalier child", daemon=True).start()

    def lines(self, interval: float) -> Iterator[str]:
        """The lines that the process writes, until it ends; "" whenever it is silent for ``interval`` seconds."""
        while True:
            try:
                line = self._lines.get(timeout=interval)
            except queue.Empty:
                yield ""
                continue
            if line is None:
                return
            yield line

    def wait(self) -> int:
        """Wait until the process ends. Returns its exit code."""
        return self._process.wait()

    def kill(self) -> None:
        """Kill the process."""
        self._process.kill()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.strip():
                self._lines.put(line.strip())
        self._lines.put(None)


def read_report(line: str) -> protocol.Report | None:
    """The report in a line that a command of the backend wrote. None if it is no report: libraries print too."""
    try:
        return protocol.decode_report(line)
    except protocol.ProtocolError:
        return None
