"""The backend's own Python environment: where it lies, what it is made of, whether it may be used. No bpy.

Everything is in one folder that belongs to the extension and survives its updates. An environment is made beside its
final place, gets its marker last, and is then moved in one step. An environment without a marker, or with a marker that
names other packages, is not used.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ...backend.files import write_whole
from ...backend.protocol import Unlocked, Wheel

MARKER = "espalier.json"
PYTHON_VERSION = "3.11"


@dataclass(frozen=True)
class Packages:
    """The content of ``packages.json``: uv, the wheels that the extension carries, and torch's builds.

    ``torch`` has those whose wheels are known, with their hashes. Of those in ``unlocked`` only the version is known:
    their hashes are the ones that torch's own index publishes.
    """

    uv: Wheel
    carried: tuple[Wheel, ...]
    torch: dict[str, tuple[Wheel, ...]]
    unlocked: dict[str, Unlocked] = field(default_factory=dict)

    @classmethod
    def read(cls, extension: Path) -> Packages | None:
        """Read the extension's ``packages.json``. None in a checkout, which has no such file."""
        path = extension / "packages.json"
        if not path.exists():
            return None
        values = json.loads(path.read_text(encoding="utf-8"))
        return cls(
            Wheel(**values["uv"]),
            tuple(Wheel(**wheel) for wheel in values["carried"]),
            {build: tuple(Wheel(**wheel) for wheel in wheels) for build, wheels in values["torch"].items()},
            {build: Unlocked(**unlocked) for build, unlocked in values.get("unlocked", {}).items()},
        )

    @property
    def builds(self) -> tuple[str, ...]:
        """The names of all builds of torch that can be installed."""
        return (*self.torch, *self.unlocked)

    def digest(self, build: str) -> str:
        """A digest of the packages in an environment of this build: 64 hexadecimal digits."""
        torch = [wheel.sha256 for wheel in self.torch[build]] if build in self.torch else [self.unlocked[build].version]
        hashes = sorted([*(wheel.sha256 for wheel in self.carried), *torch])
        return hashlib.sha256("\n".join([PYTHON_VERSION, *hashes]).encode()).hexdigest()

    def size(self, build: str) -> int:
        """How many bytes a build's wheels have; of an unlocked one an estimate."""
        return sum(wheel.size for wheel in self.torch[build]) if build in self.torch else self.unlocked[build].size

    def unpacked(self, build: str) -> int:
        """How many bytes a build's wheels have when installed; of an unlocked one an estimate."""
        locked = self.torch.get(build)
        return self.unlocked[build].unpacked if locked is None else sum(wheel.unpacked for wheel in locked)


@dataclass(frozen=True)
class Installed:
    """The marker of an environment: what is in it, and the device that its torch found when it was tested.

    ``note`` says what torch's hash is and who stated it, if no lock of the extension has it.
    """

    build: str
    digest: str
    device: str
    memory: int | None  # bytes, of a GPU
    torch: str
    note: str = ""

    @property
    def title(self) -> str:
        """The device as people read it: *NVIDIA GeForce RTX 4070, 12 GB*."""
        name = {"cpu": "CPU", "mps": "Apple GPU"}.get(self.device, self.device)
        return f"{name}, {self.memory / 2**30:.0f} GB" if self.memory else name


@dataclass(frozen=True)
class Folders:
    """The folders and files below the extension's user folder."""

    root: Path

    @property
    def environment(self) -> Path:
        """The environment, when it is finished."""
        return self.root / "env"  # short: Windows allows 260 characters, and torch has long paths

    @property
    def downloads(self) -> Path:
        """The wheels of torch, until they are installed."""
        return self.root / "downloads"

    @property
    def interpreters(self) -> Path:
        """The Pythons that uv has downloaded."""
        return self.root / "python"

    @property
    def working(self) -> Path:
        """uv and its cache. It exists only during an installation."""
        return self.root / "working"

    @property
    def log(self) -> Path:
        """The log of the last installation."""
        return self.root / "install.log"

    @property
    def hashes(self) -> Path:
        """The SHA-256 of each installed file that no lock of the extension names: ``{file: sha256}``."""
        return self.root / "torch-hashes.json"

    @property
    def failures(self) -> Path:
        """The builds of torch that did not work on this machine, and why: see ``failures.py``."""
        return self.root / "failed-builds.json"

    @property
    def lock(self) -> Path:
        """The lock that allows one installation at a time."""
        return self.root / "install.lock"

    def part(self) -> Path:
        """A new folder to make an environment in. Never an old one: uv of a killed Blender may still write there."""
        return self.root / f"env.part-{os.getpid()}-{os.urandom(3).hex()}"

    def parts(self) -> list[Path]:
        """The unfinished environments."""
        return sorted(self.root.glob("env.part-*"))


def python_in(environment: Path) -> Path:
    """The Python of an environment."""
    return environment / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def read_marker(environment: Path) -> Installed | None:
    """The marker of a finished environment; None if there is none or it cannot be read."""
    try:
        values: Any = json.loads((environment / MARKER).read_text(encoding="utf-8"))
        return Installed(**values)
    except (OSError, ValueError, TypeError):
        return None


def write_marker(environment: Path, installed: Installed) -> None:
    """Write the marker whole or not at all, and make sure that it reaches the disk."""
    write_whole(environment / MARKER, json.dumps(asdict(installed)), durable=True)


def record_hashes(path: Path, wheels: Iterable[Wheel]) -> None:
    """Add the hashes of these wheels to those that earlier installations recorded: ``{file: sha256}``."""
    try:
        known: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        known = {}
    write_whole(path, json.dumps({**known, **{wheel.file: wheel.sha256 for wheel in wheels}}, indent=1), durable=True)


def remove_tree(folder: Path) -> None:
    """Delete a folder and everything in it, on Windows also files with long paths. Raises OSError."""
    if folder.exists():
        path = os.path.abspath(folder)
        shutil.rmtree(rf"\\?\{path}" if sys.platform == "win32" else path)


def bytes_in(folder: Path) -> int:
    """The size of the files in a folder; 0 if there is no such folder."""
    return sum(path.stat().st_size for path in folder.glob("*") if path.is_file()) if folder.exists() else 0
