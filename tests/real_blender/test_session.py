"""Runs ``session.py`` in a real Blender with a window."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.real_blender.conftest import Blender

pytestmark = [
    pytest.mark.real_blender,
    pytest.mark.skipif(sys.platform == "win32", reason="the fake backend's Python is a shell script"),
]
FRAME = 16.0  # milliseconds of the main thread that a call of the add-on may take
#: Import, with its undo step, may take longer; what a driver does at the first draw of a mesh is its own.
EXEMPT = ("pump.insert", "viewport._draw")
WINDOW = ("--window-geometry", "0", "0", "1280", "800")
KILLED = (-9, 137)  # as the system says it, and as a shell in between does


def session(
    installed: Blender,
    script: str,
    *arguments: str,
    python: dict[str, str],
    codes: tuple[int, ...] = (0,),
    timeout: float = 600,
) -> dict[str, Any]:
    """What a session reports, all of it true, with no backend left behind."""
    folder = installed.folder
    (folder / "session.json").unlink(missing_ok=True)
    script = str(Path(__file__).with_name(script))
    command = (*WINDOW, "--python", script, "--", str(folder), *arguments)
    installed.run(*command, environment=python, codes=codes, timeout=timeout)
    report: dict[str, Any] = json.loads((folder / "session.json").read_text())
    print(f"pictures in {folder}; frames, in ms: {report['frame_ms']}")
    print(json.dumps(report["main_thread"], indent=1))
    assert report["error"] is None
    assert [words for truth, words in report["checks"] if not truth] == []
    assert not Path("/proc", str(report["backend_pid"])).exists(), "the backend outlived Blender"
    return report


def with_fake_backend(installed: Blender, name: str, codes: tuple[int, ...] = (0,)) -> dict[str, Any]:
    gate = installed.folder / "gate"
    gate.mkdir(exist_ok=True)
    python = installed.fake_python("held", str(gate))
    return session(installed, "session.py", str(gate), name, python=python, codes=codes)


def test_session(installed: Blender) -> None:
    report = with_fake_backend(installed, "whole")
    assert len(report["checks"]) >= 29
    longest = {name: ms["cpu"] for name, ms in report["main_thread"]["longest_ms"].items() if name not in EXEMPT}
    assert {name: ms for name, ms in longest.items() if ms > FRAME} == {}


def test_blender_killed_in_mid_job(installed: Blender) -> None:
    with_fake_backend(installed, "killed", KILLED)
    assert len(with_fake_backend(installed, "restarted")["checks"]) >= 5


def test_the_bundled_model(installed: Blender) -> None:
    """With the real backend, which runs in the Python of these tests."""
    look = f"import subprocess; print('found', subprocess.run([{sys.executable!r}, '-c', 'import torch']).returncode)"
    if "found 0" not in installed.run("--background", "--python-expr", look):
        pytest.skip(f"this Blender sees another system, without {sys.executable}")
    report = session(installed, "bundled.py", python={"ESPALIER_PYTHON": sys.executable}, timeout=1800)
    assert len(report["checks"]) >= 40
