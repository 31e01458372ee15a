"""Speaks the protocol with one backend process. No bpy. Only ``close`` waits for the process.

One daemon thread reads the process's stdout, another one writes to its stdin. So Blender does not block if the process
writes nothing or reads nothing. Threads that are not daemons would keep Blender from quitting.
"""

from __future__ import annotations

import dataclasses
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from ...backend import protocol
from ...backend.disk_errors import MAKE_ROOM, explain

READY_TIMEOUT = 120.0  # seconds: torch alone can take a minute to import from a cold, virus-scanned disk
LITTLE = 1 << 16  # bytes: with less free, a disk is full
UNWRITTEN = 120  # Python's exit code if it could not write the last of its output

if sys.platform == "win32":
    _CREATION_FLAGS = subprocess.CREATE_NO_WINDOW
else:
    _CREATION_FLAGS = 0


class BackendUnavailable(Exception):
    """There is no backend that can be used. ``hint`` says what to do."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class Backend:
    """A backend process. If it ends by itself, the last message that ``poll`` gives is an Error whose job is None.

    ``advice`` says what to do if the log's folder is full or read-only.
    """

    def __init__(
        self, command: list[str], log_path: Path, env: Mapping[str, str] | None = None, advice: str = ""
    ) -> None:
        self.command = command
        self.log_path = Path(log_path)
        self.ready: protocol.Ready | None = None
        self._env = env
        self._advice = advice
        self._messages: queue.SimpleQueue[protocol.Message] = queue.SimpleQueue()
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._process: subprocess.Popen[str] | None = None
        self._deadline = float("inf")
        self._closing = False
        self._told = 0  # bytes of the log from before the last request: they are no last words

    def start(self, timeout: float = READY_TIMEOUT) -> None:
        """Start the process and return at once. ``poll`` gives Ready, or an Error after ``timeout`` seconds without it.

        Raises BackendUnavailable if the process cannot be started at all.
        """
        try:
            self.log_path.parent.mkdir(parents=True, exist_ok=True)
            self.log_path.unlink(missing_ok=True)  # if it is a link, only the link
            log = open(self.log_path, "xb")  # noqa: SIM115 (closed below: another error has another cause)
        except OSError as error:
            found = explain(error, self.log_path.parent, self._advice)
            raise BackendUnavailable(f"The backend cannot write its log. {found.message}", found.hint) from error
        try:
            with log:
                self._process = subprocess.Popen(
                    self.command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    env=None if self._env is None else dict(self._env),
                    cwd=self.log_path.parent,  # never the extension's folder: Windows could not update it
                    encoding="utf-8",
                    errors="replace",
                    creationflags=_CREATION_FLAGS,
                )
        except OSError as error:
            raise BackendUnavailable(
                f"The backend could not be started: {error.strerror or error} ({self.command[0]})",
                "Check the backend's Python in the preferences.",
            ) from error
        self._deadline = time.monotonic() + timeout
        for target in (self._read, self._write):
            threading.Thread(target=target, args=(self._process,), name="espalier", daemon=True).start()

    def send(self, request: protocol.Request) -> None:
        """Send a request. Returns at once."""
        self._told = self._log_size() if self.ready else 0
        self._lines.put(protocol.encode(request))

    def poll(self) -> list[protocol.Message]:
        """The messages that have arrived since the last call."""
        messages: list[protocol.Message] = []
        while not self._messages.empty():
            messages.append(self._messages.get())
        if self.ready is None:
            self.ready = next((m for m in messages if isinstance(m, protocol.Ready)), None)
            if self.ready is None and self.alive() and time.monotonic() > self._deadline:
                self.kill()
                messages.append(self._error("backend_not_ready", "The backend did not start in time."))
        return messages

    def alive(self) -> bool:
        """Whether the process is running."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """The process's id; None before ``start``."""
        return None if self._process is None else self._process.pid

    def kill(self) -> None:
        """Kill the process. No Error is reported for this."""
        self._closing = True
        self._lines.put(None)
        if self._process is not None:
            self._process.kill()

    def close(self, timeout: float = 1.0) -> None:
        """End the process by closing its stdin, and wait for it. After ``timeout`` seconds, kill it."""
        self._closing = True
        self._lines.put(None)
        if self._process is None:
            return
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _write(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        if sys.platform != "win32":  # in some Blenders, writing to a broken pipe would end Blender itself
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGPIPE})
        try:
            with process.stdin:
                while (line := self._lines.get()) is not None:
                    process.stdin.write(line)
                    process.stdin.flush()
        except OSError:
            return  # the process has ended; the reader reports that, with its exit code

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                message = protocol.decode_message(line)
                if isinstance(message, protocol.Ready) and message.protocol != protocol.PROTOCOL_VERSION:
                    raise protocol.ProtocolError(
                        f"it uses protocol version {message.protocol}, not {protocol.PROTOCOL_VERSION}"
                    )
                self._messages.put(message)
        except protocol.ProtocolError as error:
            self.kill()
            self._messages.put(
                self._error("backend_protocol", f"The backend's answer could not be understood: {error}")
            )
        code = process.wait()
        if not self._closing:
            ended = self._error("backend_ended", _describe_end(code, self._last_log_line()))
            if code == UNWRITTEN or self._is_full():  # then its log does not say why it ended either
                words = f"{ended.message} The disk of the folder {self.log_path.parent} is full."
                ended = dataclasses.replace(ended, message=words, hint=self._advice or MAKE_ROOM)
            self._messages.put(ended)

    def _error(self, code: str, message: str) -> protocol.Error:
        hint = f"The next job starts a new backend. See {self.log_path.name} for details."
        return protocol.Error(job=None, code=code, message=message, hint=hint)

    def _is_full(self) -> bool:
        """Whether the disk of the log has no room left."""
        try:
            return shutil.disk_usage(self.log_path.parent).free < LITTLE
        except OSError:  # somebody has deleted the folder
            return False

    def _log_size(self) -> int:
        try:
            return self.log_path.stat().st_size
        except OSError:  # somebody has cleared the folder
            return 0

    def _last_log_line(self) -> str:
        try:
            with open(self.log_path, "rb") as log:
                log.seek(max(self._told, log.seek(0, 2) - 4096))
                lines = log.read().decode("utf-8", "replace").split("\n")
        except OSError as error:
            return f"its log cannot be read ({error.strerror})"
        return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _describe_end(code: int, last_line: str) -> str:
    try:
        how = f"was ended from outside ({signal.Signals(-code).name})" if code < 0 else f"ended with exit code {code}"
        how = "could not write its log" if code == UNWRITTEN else how
    except ValueError:  # a real-time signal has no name
        how = f"was ended from outside (signal {-code})"
    return f"The backend {how}." + (f" Its last words: {last_line}" if last_line else "")
