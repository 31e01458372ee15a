"""The Blender that these tests run, and the extension as it is packed, installed into it."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from scripts.build_extension import PLATFORMS, pack

ROOT = Path(__file__).parents[2]
FAKE_BACKEND = ROOT / "tests" / "fakes" / "fake_backend.py"
WHEEL = {"name": "uv", "version": "0", "file": "uv.whl", "sha256": "0" * 64, "size": 1, "unpacked": 1}
SHARE = "ESPALIER_SHARE"
PACKAGES: dict[str, object] = {
    "uv": WHEEL,
    "carried": [],
    "torch": {"apple" if sys.platform == "darwin" else "cpu": []},
}


@dataclass(frozen=True)
class Blender:
    """A command of Blender with user folders of its own, below a folder that it can see."""

    command: list[str]
    folder: Path

    @property
    def shown(self) -> Path:
        """The extension's mark of having opened its panel after the installation."""
        return self.folder / "user" / "extensions" / ".user" / "user_default" / "espalier" / "panel shown"

    def run(
        self,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        codes: Sequence[int] = (0,),
        timeout: float = 600,
    ) -> str:
        """Run it, with no Python of the backend but the one in ``environment``, to one of these exit codes.

        Returns what it wrote to stdout.
        """
        kept = {"BLENDER_USER_RESOURCES": str(self.folder / "user"), "ESPALIER_PYTHON": "", **(environment or {})}
        done = subprocess.run(
            [*self.command, *arguments],
            env={**os.environ, **kept},
            cwd=self.folder,
            timeout=timeout,
            text=True,
            capture_output=True,
        )
        print(done.stdout[-6000:], done.stderr[-6000:], sep="\n")
        assert done.returncode in codes
        return done.stdout

    def fake_python(self, *mode: str) -> dict[str, str]:
        """The environment in which the fake backend of this mode takes the place of the backend's Python."""
        script = self.folder / f"python-{mode[0]}"
        script.write_text(f'#!/bin/sh\nexec python3 "{FAKE_BACKEND}" {shlex.join(mode)} "$@"\n')
        script.chmod(0o755)
        return {"ESPALIER_PYTHON": str(script)}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where several Blenders share the sessions (``SHARE``, such as 0/2), leave those of the others out."""
    number, _, count = os.environ.get(SHARE, "0/1").partition("/")
    sessions = [item for item in items if item.path.name == "test_session.py"]
    others = [item for place, item in enumerate(sessions) if place % int(count) != int(number)]
    config.hook.pytest_deselected(items=others)
    items[:] = [item for item in items if item not in others]


def folder_for(command: list[str], base: Path) -> Path:
    """An empty folder for this Blender's runs, named by its version, so that several leave their pictures beside each
    other and none finds what an earlier run left."""
    said = subprocess.run([*command, "--version"], text=True, capture_output=True, check=True).stdout
    version = re.search(r"^Blender (\S+)", said, re.MULTILINE)
    assert version is not None, f"not a Blender: {said}"
    folder = base / version[1]
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Blender:
    """Blender with the extension installed and enabled, packed without its wheels."""
    command = shlex.split(os.environ.get("ESPALIER_BLENDER", "blender"))
    if shutil.which(command[0]) is None:
        pytest.fail(f"no Blender: {command[0]!r} is not a command (set ESPALIER_BLENDER)")
    chosen = os.environ.get("ESPALIER_PICTURES")  # one in a container may not see the system's temporary folder
    folder = folder_for(command, Path(chosen).resolve() if chosen else tmp_path_factory.mktemp("real_blender"))
    system = {"linux": "linux-x64", "win32": "windows-x64", "darwin": "macos-arm64"}[sys.platform]
    platform = next(platform for platform in PLATFORMS if platform.name == system)
    archive = folder / "espalier.zip"
    pack(platform, PACKAGES, [], archive)
    blender = Blender(command, folder)
    blender.run("--background", "--command", "extension", "validate", str(archive))
    install = ("install-file", "-r", "user_default", "--enable", str(archive))
    blender.run("--background", "--command", "extension", *install)
    return blender


@pytest.fixture
def blender(installed: Blender) -> Blender:
    """As it was right after the installation: of jobs that an earlier test left nothing is there.

    But the panel does not open by itself: Blender would remember how its sub-panels were when a session unfolds them.
    """
    shutil.rmtree(installed.folder / "user" / "extensions" / ".user", ignore_errors=True)
    installed.shown.parent.mkdir(parents=True)
    installed.shown.touch()
    return installed
