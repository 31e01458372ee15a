"""The models that the backend knows, and the operations on them: download, verify, delete. No bpy.

The backend's own commands do the work (``python -m backend models`` and so on). They run one at a time, each in its own
process, which ends with Blender; this module reads their reports. Nothing here looks into a model's folder: the backend
says which models there are, and which of them can be used.
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

#: How often a silent process is looked at, in seconds.
INTERVAL = 0.1

#: Seconds for which the models folder is assumed to be unchanged, because panels are drawn often.
FRESH = 2.0

#: The longest that ``ask`` waits, in seconds. The answer takes 0.2 s, on a cold disk a few seconds.
PATIENCE = 60.0

REPAIR = "Repair the backend in the preferences."

DOING = {"download": "Downloading", "copy": "Copying", "verify": "Verifying", "delete": "Deleting", "models": "Listing"}


@dataclass(frozen=True)
class BackendAt:
    """Which backend is asked, and about which models folder (empty: the backend's own choice)."""

    python: Path
    extension: Path
    folder: str = ""


class ModelStore:
    """The last answer of the backend about the models. Only ``ask`` and ``close`` wait."""

    def __init__(self) -> None:
        self.known: dict[str, ModelInfo] = {}
        self.folder = ""
        self.free = 0  # bytes, on the folder's disk
        self.text = ""  # what is being done
        self.fraction = 0.0
        self.busy_with = ""  # a model's name
        self.problem: tuple[str, str] | None = None  # what went wrong, and what to do
        self._asked: BackendAt | None = None
        self._seen: tuple[object, ...] = ()  # the state of the folder when the backend was asked
        self._looked = 0.0  # when the folder was last looked at
        self._changed = False  # whether it had changed by then
        self._thread: threading.Thread | None = None
        self._cancel = threading.Event()

    @property
    def working(self) -> bool:
        """Whether a command of the backend is running."""
        return self._thread is not None and self._thread.is_alive()

    def missing(self, name: str) -> list[ModelInfo]:
        """The models that must be downloaded for a model to work, itself last."""
        model = self.known[name]
        needed = [one for need in model.needs for one in self.missing(need)]
        return list(dict.fromkeys(needed if model.state == "installed" else [*needed, model]))

    def refresh(self, backend: BackendAt, anew: bool = False) -> None:
        """Ask the backend for its models, unless its last answer still holds. ``anew``: ask in any case."""
        if not self.working and (anew or not self.knows(backend)):
            self._run("", lambda: None, backend)

    def knows(self, backend: BackendAt) -> bool:
        """Whether the last answer is what this backend would say now."""
        return backend == self._asked and not self.stale()

    def stale(self) -> bool:
        """Whether models were added, removed or changed since the backend was asked.

        This is cheap: it compares times of change, of the models folder and two levels below it, at most every
        ``FRESH`` seconds.
        """
        now = time.monotonic()
        if self._asked is None or self._changed:
            return True
        if now >= self._looked + FRESH:
            self._looked, self._changed = now, _times(self._asked) != self._seen
        return self._changed

    def ask(self, backend: BackendAt, timeout: float = PATIENCE) -> None:
        """Ask the backend and wait for its answer. Not for a window, which would freeze. Raises BackendUnavailable."""
        end = time.monotonic() + timeout

        def check() -> None:
            if time.monotonic() > end:
                message = f"The backend did not list its models within {timeout:g} seconds."
                raise BackendUnavailable(
                    message, "Try again. If this does not help, repair the backend in the preferences."
                )

        self._list(backend, check)

    def carry_out(self, command: str, name: str, backend: BackendAt) -> None:
        """Start to ``download`` (after the user has agreed), ``verify`` or ``delete`` a model."""
        arguments = [command, name, "--json", "--attached", *(["--yes"] if command == "download" else [])]
        if not self.working:
            self.problem = None
            self._run(name, lambda: self._command(arguments, backend, self._check), backend, DOING[command])

    def cancel(self) -> None:
        """Cancel what is being done. Downloaded data is kept."""
        self._cancel.set()

    def close(self, timeout: float = 2.0) -> None:
        """Cancel, and wait for the thread to end."""
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
        """Ask which models there are. Raises BackendUnavailable, and whatever ``check`` raises."""
        self._asked, self._seen = backend, _times(backend)  # before the question: changes during it are noticed later
        self._looked, self._changed = time.monotonic(), False
        answer = self._command(["models", "--json"], backend, check)
        if not isinstance(answer, protocol.ModelList):
            raise BackendUnavailable("The backend did not list its models.", REPAIR)
        self.known = {model.name: model for model in answer.models}
        self.folder, self.free = answer.models_folder, answer.free

    def _command(self, arguments: list[str], backend: BackendAt, check: Callable[[], None]) -> protocol.Report | None:
        """Run a command to its end and return its last report.

        Raises BackendUnavailable with the command's own message if it fails. ``check`` is called often; if it raises,
        the command is killed.
        """
        env = process.backend_environment(backend.extension, models_folder=backend.folder, python=backend.python)
        command = process.backend_command(backend.python, *arguments)
        try:
            child = Child(command, env, backend.python.parent, "--attached" in arguments)
        except OSError as error:
            raise BackendUnavailable(f"The backend could not be started: {error.strerror or error}.", REPAIR) from error
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
    """The user has cancelled."""


def _times(backend: BackendAt) -> tuple[object, ...]:
    """The times of change of the models folder and of everything up to two levels below it."""
    folder = Path(backend.folder) if backend.folder else protocol.models_folder()
    return tuple(sorted(_changes(folder, 2)))


def _changes(folder: Path, depth: int) -> Iterator[tuple[str, int]]:
    """(path, time of change) of a folder and its contents. What cannot be read, or vanishes meanwhile, is left out."""
    try:
        yield str(folder), folder.stat().st_mtime_ns
        entries = list(os.scandir(folder)) if depth and folder.is_dir() else []
    except OSError:
        return
    for entry in entries:
        yield from _changes(Path(entry.path), depth - 1)
