"""The builds of torch that did not work on this machine, and why. No bpy.

They are left out of the choice, so that the next attempt takes the next best build. Another GPU or driver, another
version of the extension, or a folder of wheels where only a hash was missing, gives a build its chance again.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...backend.files import write_whole
from .devices import Gpu


@dataclass(frozen=True)
class Failure:
    """Why a build did not work, in a sentence, and on what. ``gpu`` and ``driver`` are empty if only files failed."""

    why: str
    digest: str  # of the packages, see ``Packages.digest``
    gpu: str = ""
    driver: int | None = None

    def stands(self, digest: str, gpu: Gpu | None, from_folder: bool) -> bool:
        """Whether it would fail again."""
        if self.digest != digest:
            return False
        if not self.gpu:
            return not from_folder
        return gpu is not None and (self.gpu, self.driver) == (gpu.name, gpu.driver)


def read_failures(path: Path) -> dict[str, Failure]:
    """The failures by build; none if the file is missing or unreadable: then every build is tried again."""
    try:
        values: Any = json.loads(path.read_text(encoding="utf-8"))
        return {build: Failure(**failure) for build, failure in values.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def add_failure(path: Path, build: str, failure: Failure) -> None:
    """Remember that a build did not work."""
    known = {**read_failures(path), build: failure}
    write_whole(path, json.dumps({name: asdict(one) for name, one in known.items()}, indent=1))
