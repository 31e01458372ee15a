"""The models that the backend knows, and what is done with them: download, verify, delete. No bpy.

The backend's own commands do the work (``python -m backend models`` and so on), one at a time, each in a process of its
own that ends with Blender; this reads what they say.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import process
from .child import Child, parse_message

#: Seconds between two looks at a silent process.
INTERVAL = 0.1

DOING = {"download": "Downloading", "copy": "Copying", "verify": "Verifying", "delete": "Deleting", "models": "Looking"}


@dataclass(frozen=True)
class Model:
    """An entry of the backend's list. ``state`` is its word for it; sizes are in bytes."""

    name: str
    title: str
    state: str  # bundled, own, installed, damaged, partial, not installed
    size: int
    present: int
    licence: str
    source: str
    needs: tuple[str, ...]

    @property
    def published(self) -> bool:
        return bool(self.source)


@dataclass(frozen=True)
class Place:
    """Which backend is asked, and about which folder of models (empty: its own choice)."""

    python: Path
    extension: Path
    folder: str = ""


class Models:
    """What was last heard of the models. No method waits."""

    def __init__(self) -> None:
        self.known: dict[str, Model] = {}
        self.folder = ""
        self.free = 0  # bytes, on the folder's disk
        self.text = ""  # what is being done
        self.fraction = 0.0
        self.busy_with = ""  # a model's name
        self.problem: tuple[str, str] | None = None  # what went wrong, and what to do about it
        self._asked: Place | None = None
        self._thread: threading.Thread | None = None
        self._cancel = threading.Event()

    @property
    def working(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def missing(self, name: str) -> list[Model]:
        """What has to come for a model to work, itself last."""
        model = self.known[name]
        needed = [one for need in model.needs for one in self.missing(need)]
        return list(dict.fromkeys(needed if model.state == "installed" else [*needed, model]))

    def refresh(self, place: Place, anew: bool = False) -> None:
        """Ask the backend, unless it was asked before about the same place."""
        if not self.working and (anew or place != self._asked):
            self._run("", lambda: None, place)

    def carry_out(self, command: str, name: str, place: Place) -> None:
        """``download`` (the person has agreed), ``verify`` or ``delete`` a model."""
        arguments = [command, name, "--json", "--attached", *(["--yes"] if command == "download" else [])]
        if not self.working:
            self.problem = None
            self._run(name, lambda: self._command(arguments, place), place, DOING[command])

    def cancel(self) -> None:
        """End what is being done; what has arrived is kept."""
        self._cancel.set()

    def close(self, timeout: float = 2.0) -> None:
        self.cancel()
        if self._thread is not None:
            self._thread.join(timeout)

    # --- the thread ---

    def _run(self, name: str, work: Callable[[], None], place: Place, text: str = "") -> None:
        self._cancel.clear()
        self._asked = place
        self.busy_with, self.text, self.fraction = name, text, 0.0

        def run() -> None:
            try:
                work()
                self._cancel.clear()
                self._command(["models", "--json"], place)
            except OSError as error:
                self.problem = (f"The backend cannot be started: {error.strerror or error}.", "Repair the backend.")
            finally:
                self.busy_with = ""

        self._thread = threading.Thread(target=run, name="espalier models", daemon=True)
        self._thread.start()

    def _command(self, arguments: list[str], place: Place) -> None:
        env = process.backend_environment(place.extension, models_folder=place.folder)
        child = Child(
            process.backend_command(place.python, *arguments), env, place.python.parent, "--attached" in arguments
        )
        last = ""
        for line in child.lines(INTERVAL):
            if self._cancel.is_set():
                child.kill()
                child.wait()
                return
            last = line or last
            message = parse_message(line)
            if "models_folder" in message or "type" in message:
                self._receive(message)
        if child.wait() != 0 and self.problem is None:
            self.problem = (f"The backend failed: {last}", "Repair the backend.")

    def _receive(self, message: dict[str, Any]) -> None:
        if "models_folder" in message:
            fields = Model.__dataclass_fields__
            entries = [{key: value for key, value in entry.items() if key in fields} for entry in message["models"]]
            self.known = {entry["name"]: Model(**{**entry, "needs": tuple(entry["needs"])}) for entry in entries}
            self.folder, self.free = message["models_folder"], message["free"]
        elif message["type"] == "progress":
            title = self.known[message["model"]].title if message["model"] in self.known else message["model"]
            self.text = f"{DOING[message['action']]} {title}"
            self.fraction = message["done"] / max(message["total"], 1)
        elif message["type"] == "error":
            self.problem = (message["message"], message["hint"])
