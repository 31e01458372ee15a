"""Runs the sessions beside this file in a real Blender with a window."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.tiny_trellis2 import write_tiny_trellis2
from tests.machine import needs_quick_memory, page_cost
from tests.real_blender.conftest import Blender

pytestmark = [
    pytest.mark.real_blender,
    pytest.mark.skipif(sys.platform == "win32", reason="the fake backend's Python is a shell script"),
]
FRAME = 16.0  # milliseconds of the main thread that a call of the add-on may take
#: Import, with its undo step, may take longer; what a driver does at the first draw of a mesh is its own; and Blender's
#: exporters hold its window until the file is written; and it opens a window for the preferences.
EXEMPT = ("pump.insert", "viewport._draw", "EspalierExport.execute", "EspalierPreferencesShow.execute")
WINDOW = ("--window-geometry", "0", "0", "1280", "800")
LIMIT = 3600.0  # seconds that a session may take on a machine that has other things to do
KILLED = (-9, 137)  # as the system says it, and as a shell in between does


def session(
    blender: Blender,
    script: str,
    name: str,
    *arguments: str,
    python: dict[str, str],
    codes: tuple[int, ...] = (0,),
) -> dict[str, Any]:
    """What a session reports, all of it true, with no backend left behind. Its pictures lie in a folder ``name``."""
    folder = blender.folder / name
    folder.mkdir()
    script = str(Path(__file__).with_name(script))
    command = (*WINDOW, "--python", script, "--", str(folder), *arguments)
    before = page_cost()
    blender.run(*command, environment=python, codes=codes, timeout=LIMIT)
    report: dict[str, Any] = json.loads((folder / "session.json").read_text())
    report["page_costs"] = (before, page_cost())
    print(f"pictures in {folder}; frames, in ms: {report['frame_ms']}")
    print(json.dumps(report["main_thread"], indent=1))
    assert report["error"] is None
    assert [words for truth, words in report["checks"] if not truth] == []
    deadline = time.monotonic() + 30
    while left := backends(blender):
        assert time.monotonic() < deadline, f"the backend outlived Blender: {left}"
        time.sleep(0.1)
    return report


def backends(blender: Blender) -> list[int]:
    """Processes that have the environment of this Blender. Their ids as seen from here: Blender may be in a process
    namespace of its own, and what it calls a backend's id may be another process's here. Empty where there is no /proc.
    """
    told = f"BLENDER_USER_RESOURCES={blender.folder / 'user'}".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if told in (process / "environ").read_bytes().split(b"\0"):
                found.append(int(process.name))
        except (PermissionError, FileNotFoundError, ProcessLookupError):
            continue  # somebody else's, or it has ended
    return found


def with_fake_backend(
    blender: Blender, name: str, codes: tuple[int, ...] = (0,), script: str = "session.py"
) -> dict[str, Any]:
    gate = blender.folder / "gate"
    gate.mkdir(exist_ok=True)
    python = blender.fake_python("held", str(gate))
    return session(blender, script, name, str(gate), name, python=python, codes=codes)


def hold_to_a_frame(report: dict[str, Any]) -> None:
    """No function usually holds Blender's main thread for longer than a frame. It is the last thing a test asks: where
    one did, and fresh memory is slow, the test is skipped, since the machine may be what took the time."""
    times = report["main_thread"]["longest_ms"]
    longer = {name: ms for name, ms in times.items() if name not in EXEMPT and ms["usual"] > FRAME}
    if longer:
        needs_quick_memory(*report["page_costs"])
    assert longer == {}


def test_session(blender: Blender) -> None:
    report = with_fake_backend(blender, "whole")
    assert len(report["checks"]) >= 29
    hold_to_a_frame(report)


def test_the_history_outlives_the_add_on(blender: Blender) -> None:
    assert len(with_fake_backend(blender, "outlived")["checks"]) >= 9


def test_blender_killed_in_mid_job(blender: Blender) -> None:
    with_fake_backend(blender, "killed", KILLED)
    assert len(with_fake_backend(blender, "restarted")["checks"]) >= 5


def test_nothing_is_lost_from_sight(blender: Blender) -> None:
    blender.shown.unlink()
    gate = blender.folder / "gate"
    gate.mkdir(exist_ok=True)
    report = session(blender, "sight.py", "sight", str(gate), python=blender.fake_python("held", str(gate)))
    assert len(report["checks"]) >= 26


def test_the_panel(blender: Blender) -> None:
    report = with_fake_backend(blender, "card", script="card.py")
    assert len(report["checks"]) >= 20
    hold_to_a_frame(report)


def test_cut_outs(blender: Blender) -> None:
    """With the fake backend, which cuts a disc out of any image."""
    report = session(blender, "cutout.py", "cutout", python=blender.fake_python("ok"))
    assert len(report["checks"]) >= 20


def test_a_project_is_kept_and_can_be_moved(blender: Blender) -> None:
    python = blender.fake_python("ok")
    session(blender, "project.py", "saved", "saved", python=python)
    (blender.folder / "project").rename(blender.folder / "elsewhere")
    assert len(session(blender, "project.py", "moved", "moved", python=python)["checks"]) >= 9


def test_a_full_temporary_folder(blender: Blender) -> None:
    report = session(blender, "project.py", "full", "full", python=blender.fake_python("ok"))
    if "skipped" in report:
        pytest.skip(report["skipped"])
    assert len(report["checks"]) >= 9


def test_a_script_in_a_window(blender: Blender) -> None:
    report = session(blender, "script.py", "script", python=blender.fake_python("ok"))
    assert len(report["checks"]) >= 18
    assert report["main_thread"]["longest_ms"]["pump._tick"]["cpu"] < FRAME, "the backend is started there, too"


def test_what_goes_wrong_is_said_once_and_can_be_answered(blender: Blender) -> None:
    report = session(blender, "errors.py", "errors", python=blender.fake_python("ok"))
    if "skipped" in report:
        pytest.skip(report["skipped"])
    assert len(report["checks"]) >= 25


def test_files_of_strangers(blender: Blender) -> None:
    report = session(blender, "project.py", "hostile", "hostile", python=blender.fake_python("ok"))
    assert len(report["checks"]) >= 30


def needs_the_backend(blender: Blender) -> None:
    """Skip unless this Blender can run the Python of these tests."""
    look = f"import subprocess; print('found', subprocess.run([{sys.executable!r}, '-c', 'import torch']).returncode)"
    if "found 0" not in blender.run("--background", "--python-expr", look):
        pytest.skip(f"this Blender sees another system, without {sys.executable}")


#: Sessions with the real backend and the bundled model, and the least number of their checks.
WITH_THE_MODEL = {"bundled": 40, "explore": 18, "live": 15, "guide": 18}


@pytest.mark.parametrize("name", WITH_THE_MODEL)
def test_with_the_bundled_model(blender: Blender, name: str) -> None:
    """The real backend runs in the Python of these tests."""
    needs_the_backend(blender)
    report = session(blender, f"{name}.py", name, python={"ESPALIER_PYTHON": sys.executable})
    assert len(report["checks"]) >= WITH_THE_MODEL[name]
    if name != "bundled":
        hold_to_a_frame(report)


def test_materials(blender: Blender) -> None:
    """The real backend, and a tiny model of TRELLIS.2's family."""
    needs_the_backend(blender)
    write_tiny_trellis2(blender.folder / "models" / "tiny")
    models, python = str(blender.folder / "models"), {"ESPALIER_PYTHON": sys.executable}
    assert len(session(blender, "materials.py", "materials", models, python=python)["checks"]) >= 12
