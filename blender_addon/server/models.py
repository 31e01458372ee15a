"""The models that the backend knows, and what is done with them: download, verify, delete. No bpy.

The backend's own commands do the work (``python -m backend models`` and so on), one at a time, each in a process of its
own that ends with Blender; this reads what they report. Nothing here looks into a model's folder: which models there
are, and which of them can be used, is the backend's answer.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ...backend import protocol
from ...backend.protocol import ModelInfo
from ..jobs.client import BackendUnavailable
from . import process
from .child import Child, read_report

#: Seconds between two looks at a silent process.
INTERVAL = 0.1

#: Seconds for which the models folder is believed to be what it was: panels draw often.
FRESH = 2.0

#: The longest that ``ask`` waits, in seconds. The answer takes a fifth of one, on a cold disk a few.
PATIENCE = 60.0

REPAIR = "Repair the backend."

DOING = {"download": "Downloading", "copy": "Copying", "verify": "Verifying", "delete": "Deleting", "models": "Looking"}


@dataclass(frozen=True)
class BackendAt:
    """Which backend is asked, and about which folder of models (empty: its own choice)."""

    python: Path
    extension: Path
    folder: str = ""


class ModelStore:
    """What was last heard of the models. No method waits, but ``ask``."""

    def __init__(self) -> None:
        self.known: dict[str, ModelInfo] = {}
        self.folder = ""
        self.free = 0  # bytes, on the folder's disk
        self.text = ""  # what is being done
        self.fraction = 0.0
        self.busy_with = ""  # a model's name
        self.problem: tuple[str, str] | None = None  # what went wrong, and what to do about it
        self._asked: BackendAt | None = None
        self._seen: tuple[object, ...] = ()  # what the folder was like when the backend was asked
        self._looked = 0.0  # when the folder was looked at
        self._changed = False  # and whether it was another one then
        self._thread: threading.Thread | None = None
        self._cancel = threading.Event()

    @property
    def working(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def missing(self, name: str) -> list[ModelInfo]:
        """What has to come for a model to work, itself last."""
        model = self.known[name]
        needed = [one for need in model.needs for one in self.missing(need)]
        return list(dict.fromkeys(needed if model.state == "installed" else [*needed, model]))

    def refresh(self, backend: BackendAt, anew: bool = False) -> None:
        """Ask the backend, unless it was asked before about the same backend and nothing has changed there."""
        if not self.working and (anew or not self.knows(backend)):
            self._run("", lambda: None, backend)

    def knows(self, backend: BackendAt) -> bool:
        """Whether what was last heard is what this backend would say now."""
        return backend == self._asked and not self.stale()

    def stale(self) -> bool:
        """Whether models have come, gone or changed since the backend was asked. It costs little: what is looked at is
        when the models folder, the folders in it and what lies in these were changed, and that every ``FRESH`` seconds.
        """
        now = time.monotonic()
        if self._asked is None or self._changed:
            return True
        if now >= self._looked + FRESH:
            self._looked, self._changed = now, _times(self._asked) != self._seen
        return self._changed

    def ask(self, backend: BackendAt, timeout: float = PATIENCE) -> None:
        """Ask the backend and wait for its answer: for who has no frames to draw. Raises BackendUnavailable."""
        end = time.monotonic() + timeout

        def check() -> None:
            if time.monotonic() > end:
                message = f"The backend did not say within {timeout:g} seconds which models there are."
                raise BackendUnavailable(message, f"Try again. If it happens again: {REPAIR}")

        self._list(backend, check)

    def carry_out(self, command: str, name: str, backend: BackendAt) -> None:
        """``download`` (the person has agreed), ``verify`` or ``delete`` a model."""
        arguments = [command, name, "--json", "--attached", *(["--yes"] if command == "download" else [])]
        if not self.working:
            self.problem = None
            self._run(name, lambda: self._command(arguments, backend, self._check), backend, DOING[command])

    def cancel(self) -> None:
        """End what is being done; what has arrived is kept."""
        self._cancel.set()

    def close(self, timeout: float = 2.0) -> None:
        self.cancel()
        if self._thread is not None:
            self._thread.join(timeout)

    # --- the thread ---

    def _run(self, name: str, work: Callable[[], object], backend: BackendAt, text: str = "") -> None:
        self._cancel.clear()
        self._asked, self._changed = backend, False
        self.busy_with, self.text, self.fraction = name, text, 0.0

        def attempt(step: Callable[[], object]) -> None:
            try:
                step()
            except _Stopped:
                self._cancel.clear()
            except BackendUnavailable as error:
                self.problem = (str(error), error.hint)

        def run() -> None:
            try:
                attempt(work)
                attempt(lambda: self._list(backend, self._check))
            finally:
                self.busy_with = ""

        self._thread = threading.Thread(target=run, name="espalier models", daemon=True)
        self._thread.start()

    def _check(self) -> None:
        if self._cancel.is_set():
            raise _Stopped

    def _list(self, backend: BackendAt, check: Callable[[], None]) -> None:
        """Ask which models there are. Raises BackendUnavailable, and what ``check`` raises."""
        self._asked, self._seen = backend, _times(backend)  # before: what changes meanwhile is noticed later
        self._looked, self._changed = time.monotonic(), False
        answer = self._command(["models", "--json"], backend, check)
        if not isinstance(answer, protocol.ModelList):
            raise BackendUnavailable("The backend did not say which models there are.", REPAIR)
        self.known = {model.name: model for model in answer.models}
        self.folder, self.free = answer.models_folder, answer.free

    def _command(self, arguments: list[str], backend: BackendAt, check: Callable[[], None]) -> protocol.Report | None:
        """Run a command to its end and return its last report. Raises BackendUnavailable if it fails, in the words that
        it gave; ``check`` is called often, and what it raises ends the command."""
        env = process.backend_environment(backend.extension, models_folder=backend.folder)
        command = process.backend_command(backend.python, *arguments)
        try:
            child = Child(command, env, backend.python.parent, "--attached" in arguments)
        except OSError as error:
            raise BackendUnavailable(f"The backend cannot be started: {error.strerror or error}.", REPAIR) from error
        last, final = "", None
        try:
            for line in child.lines(INTERVAL):
                check()
                last, report = line or last, read_report(line)
                if isinstance(report, protocol.Transfer):
                    self._progress(report)
                final = report or final
        except BaseException:
            child.kill()
            child.wait()
            raise
        if child.wait() != 0:
            told = (final.message, final.hint) if isinstance(final, protocol.Error) else None
            raise BackendUnavailable(*(told or (f"The backend failed: {last}", REPAIR)))
        return final

    def _progress(self, now: protocol.Transfer) -> None:
        title = self.known[now.model].title if now.model in self.known else now.model
        self.text = f"{DOING.get(now.action, now.action)} {title}"
        self.fraction = now.done / max(now.total, 1)


def usable(backend: BackendAt) -> dict[str, ModelInfo]:
    """The models that can be used now, by name. Waits for the backend's answer. Raises BackendUnavailable."""
    store = ModelStore()
    store.ask(backend)
    return {name: model for name, model in store.known.items() if model.usable}


class _Stopped(Exception):
    """The person cancelled."""


def _times(backend: BackendAt) -> tuple[object, ...]:
    """When the models folder, the folders in it and what lies in these were last changed."""
    folder = Path(backend.folder) if backend.folder else protocol.models_folder()
    return tuple(sorted(_changes(folder, 2)))


def _changes(folder: Path, depth: int) -> Iterator[tuple[str, int]]:
    """(path, time of change) of a folder and what is in it. What may not be read, or goes meanwhile, is left out."""
    try:
        yield str(folder), folder.stat().st_mtime_ns
        entries = list(os.scandir(folder)) if depth and folder.is_dir() else []
    except OSError:
        return
    for entry in entries:
        yield from _changes(Path(entry.path), depth - 1)
