"""A disk that was full leaves no module that cannot be loaded when it is not full any more."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
resource = pytest.importorskip("resource", reason="this system has no limit on the size of files")


@pytest.mark.parametrize("room", [0, 100, 3000, 60_000])
def test_modules_that_did_not_fit_are_compiled_again(room: int, tmp_path: Path) -> None:
    ignored = shutil.ignore_patterns("__pycache__", "pretrained", "*.onnx")
    shutil.copytree(ROOT / "backend", tmp_path / "backend", ignore=ignored)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-c", "import backend.protocol, backend.store.catalog, backend.names"]

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))

    subprocess.run(command, cwd=tmp_path, env=environment, check=True, preexec_fn=limit)
    subprocess.run(command, cwd=tmp_path, env=environment, check=True)
    assert list(tmp_path.rglob("*.pyc")), "with room they are kept"
