"""What only Blender writes, such as .blend files: by ``scripts/batch.py`` in a process of its own, for the backend
itself never has bpy.

The process stays for many objects. It gets a request as a line of JSON, and answers with one.
"""

from __future__ import annotations

import atexit
import functools
import importlib.util
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from ..errors import BackendError, SettingsError
from ..formats import FORMATS
from ..protocol import Result

SCRIPT = Path(__file__).parents[2] / "scripts" / "batch.py"
OPTION = "--made"
HINT = "Give --blender the path of a Blender, or install pip's bpy beside the backend, on every machine."


def command(formats: Sequence[str], program: str | None) -> tuple[str, ...]:
    """The command that writes these formats; empty if the backend does. ``program`` is a Blender, else pip's bpy is
    used. Raises SettingsError."""
    if not any(FORMATS[name].by_blender for name in formats):
        return ()
    if not SCRIPT.is_file():
        raise SettingsError("no_blender", f"{SCRIPT} is missing, which writes these formats.", "Use a whole checkout.")
    if program:
        return (program, "-b", "--python-exit-code", "1", "--python", str(SCRIPT), "--", OPTION)
    if importlib.util.find_spec("bpy") is None:
        raise SettingsError("no_blender", "There is no Blender to write these formats.", HINT)
    return (sys.executable, str(SCRIPT), OPTION)


class Blender:
    """A process with bpy. It ends with the one that started it, since its stdin closes."""

    def __init__(self, command: Sequence[str]) -> None:
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8")
        atexit.register(self._process.kill)

    @staticmethod
    @functools.lru_cache(maxsize=1)
    def of(command: tuple[str, ...]) -> Blender:
        """The process of this worker."""
        return Blender(command)

    def write(self, result: Result, name: str, folder: Path, formats: Sequence[str]) -> None:
        """Write the formats that are Blender's to a folder. Raises BackendError."""
        request = {"result": asdict(result), "name": name, "folder": str(folder), "formats": list(formats)}
        try:
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except OSError:
            answer = ""
        if not answer:
            Blender.of.cache_clear()  # the next object gets another process
            raise BackendError("blender_ended", "Blender ended while it wrote the object.", HINT)
        if error := json.loads(answer)["error"]:
            raise BackendError("output_failed", f"Blender could not write the object: {error}")
