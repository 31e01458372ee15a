"""Installs the backend in a daemon thread, and tells its state at any time. No bpy."""

from __future__ import annotations

import enum
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..jobs.file_lock import Busy, FileLock
from . import environment
from .computer import Computer, this_computer
from .environment import Folders, Packages, python_in
from .plan import Options, Plan, make_plan
from .steps import Cancelled, Installation, Problem, disk_problem, forget


class State(enum.Enum):
    """The states of the installation."""

    ABSENT = "not installed"
    INSTALLING = "installing"
    ELSEWHERE = "being installed by another Blender"
    READY = "ready"
    OUTDATED = "to be updated"
    FAILED = "failed"


@dataclass(frozen=True)
class Status:
    """The state of the installation, in words. ``remedy`` is the label of the button that helps, if there is one."""

    state: State
    text: str
    hint: str = ""
    remedy: str = ""
    fraction: float = 0.0


class Installer:
    """Installs, repairs and removes the environment in a folder. Only ``close`` waits."""

    def __init__(
        self, root: Path, extension: Path, packages: Packages, environ: Mapping[str, str] = os.environ
    ) -> None:
        self.folders = Folders(root)
        self.packages = packages
        self.plan: Plan | None = None  # set by ``survey``
        self.surveyed: Options | None = None  # what the plan is for
        self._extension = extension
        self._environ = environ
        self._lock = FileLock(self.folders.lock)
        self._thread: threading.Thread | None = None
        self._surveyor: threading.Thread | None = None
        self._cancel = threading.Event()
        self._now = Status(State.INSTALLING, "Starting")  # while the thread works
        self._failure: Problem | None = None
        self._known: tuple[float, Status] | None = None
        self._found: Computer | None = None  # by the environment when it was tested
        self._expected: Computer | None = None  # by the survey

    # --- what others ask ---

    @property
    def working(self) -> bool:
        """Whether something is being installed or removed."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def python(self) -> Path | None:
        """The environment's Python; None unless it is ready."""
        return python_in(self.folders.environment) if self.status().state is State.READY else None

    def status(self) -> Status:
        """The present state. Looks at the disk at most once a second."""
        if self.working:
            return self._now
        if self._known is None or time.monotonic() - self._known[0] > 1.0:
            self._known = time.monotonic(), self._look()
        return self._known[1]

    @property
    def surveying(self) -> bool:
        """Whether ``survey`` is still at work."""
        return self._surveyor is not None and self._surveyor.is_alive()

    @property
    def computer(self) -> Computer | None:
        """What the networks run on: as the environment found it, else as ``plan`` expects it; None if neither is known.

        ``status`` and ``survey`` bring it up to date.
        """
        return self._found or self._expected

    def survey(self, options: Options) -> None:
        """Find out what an installation will take. The answer is in ``plan`` after a moment."""
        if not self.surveying:
            self.surveyed = options
            self._surveyor = threading.Thread(target=self._survey, args=(options,), name="espalier survey", daemon=True)
            self._surveyor.start()

    def start(self, options: Options, repair: bool = False) -> None:
        """Install. With ``repair``, make the environment again from scratch; the old one is not used from now on."""
        self._run(lambda: self._installation(options).install(repair))

    def remove(self) -> None:
        """Delete the environment, its Python and the downloads."""
        self._run(self._remove, "Removing")

    def cancel(self) -> None:
        """Cancel what is being done. Downloads are kept."""
        self._cancel.set()

    def close(self, timeout: float = 2.0) -> None:
        """Cancel, and wait for the thread to end: Blender is closing, or the extension is being disabled."""
        self.cancel()
        if self._thread is not None:
            self._thread.join(timeout)

    # --- the thread ---

    def _report(self, text: str, fraction: float) -> None:
        self._now = Status(State.INSTALLING, text, fraction=max(fraction, self._now.fraction))

    def _check(self) -> None:
        if self._cancel.is_set():
            raise Cancelled

    def _run(self, work: Callable[[], None], text: str = "Starting") -> None:
        if self.working:
            return
        self._cancel.clear()
        self._failure = None
        self._now = Status(State.INSTALLING, text)
        self._thread = threading.Thread(target=self._locked, args=(work,), name="espalier install", daemon=True)
        self._thread.start()

    def _locked(self, work: Callable[[], None]) -> None:
        """Do ``work``, unless another Blender is installing. If it fails, keep the reason in words."""
        try:
            self._lock.acquire()
            try:
                work()
            finally:
                self._lock.release()
        except Cancelled:
            pass  # the files on the disk tell the state
        except Busy:
            pass  # the status says which process has the lock
        except Problem as problem:
            self._failure = problem
        except OSError as error:
            self._failure = disk_problem(error, self.folders.root)
        finally:
            self._known = self.plan = self.surveyed = None  # what failed changes what the next attempt takes

    def _remove(self) -> None:
        forget(self.folders.environment)
        folders = self.folders
        for folder in (folders.environment, *folders.parts(), folders.downloads, folders.interpreters, folders.working):
            environment.remove_tree(folder)
        for file in (folders.hashes, folders.failures):
            file.unlink(missing_ok=True)

    def _installation(self, options: Options) -> Installation:
        return Installation(
            self.folders, self.packages, self._extension, options, self._environ, self._report, self._check
        )

    def _survey(self, options: Options) -> None:
        self.plan = make_plan(self.folders, self.packages, options, self._environ)
        gpu = self.plan.choice.gpu
        self._expected = this_computer() if gpu is None else this_computer(gpu.name, gpu.memory)

    def _look(self) -> Status:
        if self._failure is not None:
            return Status(State.FAILED, str(self._failure), self._failure.hint, self._failure.remedy)
        holder = self._lock.holder()
        if holder is not None:
            return Status(State.ELSEWHERE, f"Another Blender (process {holder}) is installing the backend.")
        marker = environment.read_marker(self.folders.environment)
        self._found = None
        if marker is None:
            return self._look_at_leftovers()
        self._found = this_computer("" if marker.device == "cpu" else marker.device, marker.memory)
        if marker.build not in self.packages.builds or marker.digest != self.packages.digest(marker.build):
            return Status(State.OUTDATED, "This version of the extension needs different packages.", remedy="Update")
        if not python_in(self.folders.environment).exists():
            return Status(
                State.FAILED,
                "The backend's environment cannot be started.",
                "The Python it was created with is gone. Repair the backend.",
                remedy="Repair",
            )
        return Status(
            State.READY,
            marker.title,
            f"torch {marker.torch}. {marker.note}" if marker.note else f"torch {marker.torch}",
        )

    def _look_at_leftovers(self) -> Status:
        arrived = environment.bytes_in(self.folders.downloads)
        hint = (
            f"{arrived / 1e6:.0f} MB are already downloaded. The installation continues from there." if arrived else ""
        )
        if self._lock.interrupted():
            return Status(State.ABSENT, "The installation was interrupted.", hint, "Resume")
        return Status(State.ABSENT, "Not installed.", hint, "Resume" if arrived else "Install")
