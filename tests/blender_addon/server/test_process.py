"""Which Python runs the backend, and with what."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest
from espalier.blender_addon.jobs.client import BackendUnavailable
from espalier.blender_addon.server import process


def python_in(folder: Path) -> Path:
    path = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    path.parent.mkdir(parents=True)
    path.touch()
    return path


def test_the_order_of_choice(tmp_path: Path) -> None:
    preferred, given, own = (python_in(tmp_path / name) for name in ("preferred", "given", ".venv"))
    environ = {"ESPALIER_PYTHON": str(given)}
    assert process.find_python(str(preferred), tmp_path, environ) == preferred
    assert process.find_python("", tmp_path, environ) == given
    assert process.find_python("", tmp_path, {}) == own


def test_a_choice_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    python_in(tmp_path / ".venv")
    with pytest.raises(BackendUnavailable, match="no-such-python") as raised:
        process.find_python(str(tmp_path / "no-such-python"), tmp_path, {})
    assert "preferences" in raised.value.hint
    with pytest.raises(BackendUnavailable) as raised:
        process.find_python("", tmp_path, {"ESPALIER_PYTHON": str(tmp_path / "no-such-python")})
    assert "ESPALIER_PYTHON" in raised.value.hint


def test_nothing_installed(tmp_path: Path) -> None:
    with pytest.raises(BackendUnavailable, match="not installed"):
        process.find_python("", tmp_path, {})


def test_the_environment_is_cleared_of_other_pythons(tmp_path: Path) -> None:
    environ = {"PATH": "p", "PYTHONHOME": "h", "PYTHONPATH": "x", "VIRTUAL_ENV": "v"}
    assert process.backend_environment(tmp_path, environ) == {"PATH": "p", "PYTHONPATH": str(tmp_path)}
    other = process.backend_environment(tmp_path, environ, python=tmp_path / "python")
    assert other["PYTHONPATH"] == str(tmp_path)


def test_a_python_that_runs_both_keeps_its_path(tmp_path: Path) -> None:
    environ = {"PYTHONPATH": "/packages", "PYTHONHOME": "/elsewhere"}
    ours = process.backend_environment(tmp_path, environ, python=Path(sys.executable))
    assert ours == {"PYTHONPATH": os.pathsep.join([str(tmp_path), "/packages"])}


@pytest.mark.parametrize("options", [[], ["--overlap"]])
def test_launch(tmp_path: Path, options: list[str]) -> None:
    """The command finds ``backend`` in the extension's folder, and imports nothing from the current folder."""
    package, logs = tmp_path / "extension" / "backend", tmp_path / "logs"
    package.mkdir(parents=True)
    logs.mkdir()
    (package / "__init__.py").touch()
    (logs / "json.py").write_text("raise SystemExit('a file in the current folder was imported')")
    (package / "__main__.py").write_text(
        "import json, sys, backend\n"
        f"assert sys.argv[1:] == {['serve', *options]}, sys.argv\n"
        "print(json.dumps({'type': 'ready', 'protocol': 1, 'version': '', 'python': '', 'torch': '', 'device': '',"
        " 'models': []}), flush=True)\n"
        "sys.stdin.read()\n"
    )
    backend = process.launch(Path(sys.executable), tmp_path / "extension", logs / "backend.log", overlap=bool(options))
    try:
        while not (messages := backend.poll()):
            time.sleep(0.005)
        assert messages == [backend.ready], (logs / "backend.log").read_text()
    finally:
        backend.close()
    assert [path.name for path in package.iterdir() if path.is_dir()] == []  # no __pycache__
