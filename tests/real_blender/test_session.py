"""Installs the add-on into a real Blender with a window and runs ``session.py`` there."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

pytestmark = pytest.mark.real_blender
ROOT = Path(__file__).parents[2]
FAKE_BACKEND = ROOT / "tests" / "fakes" / "fake_backend.py"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    chosen = os.environ.get("ESPALIER_PICTURES")
    return Path(chosen).resolve() if chosen else tmp_path_factory.mktemp("real_blender")


@pytest.fixture(scope="module")
def blender(folder: Path) -> Sequence[str]:
    command = os.environ.get("ESPALIER_BLENDER", "blender")
    if shutil.which(shlex.split(command)[0]) is None:
        pytest.fail(f"no Blender: {command!r} is not a command (set ESPALIER_BLENDER)")
    return shlex.split(command)


def run(blender: Sequence[str], folder: Path, *arguments: str) -> str:
    fake_python = folder / "python"
    fake_python.write_text(f'#!/bin/sh\nexec python3 "{FAKE_BACKEND}" held "{folder / "gate"}"\n')
    fake_python.chmod(0o755)
    environment = {**os.environ, "BLENDER_USER_RESOURCES": str(folder / "user"), "ESPALIER_PYTHON": str(fake_python)}
    done = subprocess.run(
        [*blender, *arguments], env=environment, cwd=ROOT, timeout=600, text=True, capture_output=True
    )
    print(done.stdout[-6000:], done.stderr[-6000:], sep="\n")
    assert done.returncode == 0
    return done.stdout


def stage(folder: Path) -> None:
    """The extension as it is packed: code, manifest, and an ``__init__.py`` that hands on register and unregister."""
    ignored = shutil.ignore_patterns("__pycache__", "pretrained", "training")
    for part in ("blender_addon", "backend"):
        shutil.copytree(ROOT / part, folder / part, ignore=ignored)
    shutil.copy(ROOT / "blender_manifest.toml", folder)
    (folder / "__init__.py").write_text("from .blender_addon import register, unregister\n")


@pytest.mark.skipif(sys.platform == "win32", reason="the fake backend's Python is a shell script")
def test_session(blender: Sequence[str], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in ("staged", "user", "session.json"):
        path = folder / leftover
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    (folder / "staged").mkdir()
    (folder / "gate").mkdir(exist_ok=True)
    stage(folder / "staged")
    build = ("--source-dir", str(folder / "staged"), "--output-filepath", str(folder / "espalier.zip"))
    run(blender, folder, "--background", "--command", "extension", "build", *build)
    install = ("-r", "user_default", "--enable", str(folder / "espalier.zip"))
    run(blender, folder, "--background", "--command", "extension", "install-file", *install)
    window = ("--window-geometry", "0", "0", "1280", "800")
    session = str(Path(__file__).with_name("session.py"))
    run(blender, folder, *window, "--python", session, "--", str(folder), str(folder / "gate"))
    report = json.loads((folder / "session.json").read_text())
    print(f"pictures in {folder}; longest steps of the pump, in ms: {report['step_ms'][:5]}")
    assert report["error"] is None
    assert [words for truth, words in report["checks"] if not truth] == []
    assert len(report["checks"]) >= 25
    assert not Path("/proc", str(report["backend_pid"])).exists(), "the backend outlived Blender"
