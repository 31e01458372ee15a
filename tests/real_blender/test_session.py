"""Runs ``session.py`` in a real Blender with a window."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.real_blender.conftest import Blender

pytestmark = pytest.mark.real_blender
WINDOW = ("--window-geometry", "0", "0", "1280", "800")


@pytest.mark.skipif(sys.platform == "win32", reason="the fake backend's Python is a shell script")
def test_session(installed: Blender) -> None:
    folder = installed.folder
    gate = folder / "gate"
    gate.mkdir(exist_ok=True)
    (folder / "session.json").unlink(missing_ok=True)
    session = str(Path(__file__).with_name("session.py"))
    python = installed.fake_python("held", str(gate))
    installed.run(*WINDOW, "--python", session, "--", str(folder), str(gate), environment=python)
    report = json.loads((folder / "session.json").read_text())
    print(f"pictures in {folder}; longest steps of the pump, in ms: {report['step_ms'][:5]}")
    assert report["error"] is None
    assert [words for truth, words in report["checks"] if not truth] == []
    assert len(report["checks"]) >= 25
    assert not Path("/proc", str(report["backend_pid"])).exists(), "the backend outlived Blender"
