"""The backend's own Python environment: where it lies, what it is made of, whether it may be used. No bpy.

Everything is below one folder that belongs to the extension and outlives its updates. An environment is made beside its
place, gets its marker last and takes its place in one step: what has no marker, or one of other packages, is not used.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...backend.files import write_whole
from ...backend.protocol import Wheel

MARKER = "espalier.json"
PYTHON_VERSION = "3.11"


@dataclass(frozen=True)
class Packages:
    """What ``packages.json`` says: uv, the wheels that the extension carries, and those of torch's builds."""

    uv: Wheel
    carried: tuple[Wheel, ...]
    torch: dict[str, tuple[Wheel, ...]]

    @classmethod
    def read(cls, extension: Path) -> Packages | None:
        """None in a checkout, which has no such file."""
        path = extension / "packages.json"
        if not path.exists():
            return None
        values = json.loads(path.read_text(encoding="utf-8"))
        return cls(
            Wheel(**values["uv"]),
            tuple(Wheel(**wheel) for wheel in values["carried"]),
            {build: tuple(Wheel(**wheel) for wheel in wheels) for build, wheels in values["torch"].items()},
        )

    def digest(self, build: str) -> str:
        """What an environment of this build is made of, as 64 hexadecimal digits."""
        hashes = sorted(wheel.sha256 for wheel in (*self.carried, *self.torch[build]))
        return hashlib.sha256("\n".join([PYTHON_VERSION, *hashes]).encode()).hexdigest()


@dataclass(frozen=True)
class Installed:
    """The marker of an environment: what is in it, and what its torch found when it was tried."""

    build: str
    digest: str
    device: str
    memory: int | None  # bytes, of a GPU
    torch: str

    @property
    def title(self) -> str:
        """As people say it: NVIDIA GeForce RTX 4070, 12 GB."""
        name = {"cpu": "processor", "mps": "Apple GPU"}.get(self.device, self.device)
        return f"{name}, {self.memory / 2**30:.0f} GB" if self.memory else name


@dataclass(frozen=True)
class Folders:
    """Where things lie below the extension's user folder."""

    root: Path

    @property
    def environment(self) -> Path:
        return self.root / "env"  # short, for Windows allows 260 characters and torch has long paths

    @property
    def downloads(self) -> Path:
        return self.root / "downloads"

    @property
    def interpreters(self) -> Path:
        return self.root / "python"

    @property
    def working(self) -> Path:
        """uv and its cache: only while something is installed."""
        return self.root / "working"

    @property
    def log(self) -> Path:
        return self.root / "install.log"

    @property
    def lock(self) -> Path:
        return self.root / "install.lock"

    def part(self) -> Path:
        """A new place to make an environment in, never the same: a killed Blender's uv may still write to the last."""
        return self.root / f"env.part-{os.getpid()}-{os.urandom(3).hex()}"

    def parts(self) -> list[Path]:
        return sorted(self.root.glob("env.part-*"))


def python_in(environment: Path) -> Path:
    return environment / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def read_marker(environment: Path) -> Installed | None:
    """The marker of a finished environment; None where there is none or it makes no sense."""
    try:
        values: Any = json.loads((environment / MARKER).read_text(encoding="utf-8"))
        return Installed(**values)
    except (OSError, ValueError, TypeError):
        return None


def write_marker(environment: Path, installed: Installed) -> None:
    """Write it whole or not at all, and after everything else has reached the disk."""
    write_whole(environment / MARKER, json.dumps(asdict(installed)), durable=True)


def remove_tree(folder: Path) -> None:
    """Delete a folder with all that is in it, on Windows also what has a long path. Raises OSError."""
    if folder.exists():
        path = os.path.abspath(folder)
        shutil.rmtree(rf"\\?\{path}" if sys.platform == "win32" else path)


def bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*") if path.is_file()) if folder.exists() else 0
