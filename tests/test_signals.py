"""Ending by a signal is like Ctrl-C, and nothing is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.signals import NAMES, heeded

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")

PROGRAM = """
import sys, time
from pathlib import Path
from backend.signals import end_as_interrupted
end_as_interrupted()
folder = Path(sys.argv[1])
folder.mkdir()
try:
    print("ready", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    sys.exit(130)
finally:
    time.sleep(0.3)  # a second signal comes here
    folder.rmdir()
"""


@pytest.mark.parametrize("name", NAMES[:2])
def test_a_second_signal_does_not_disturb_clearing_up(name: str, tmp_path: Path) -> None:
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "work")],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=heeded(),
    )
    assert program.stdout is not None
    assert program.stdout.readline() == "ready\n"
    program.send_signal(getattr(signal, name))
    time.sleep(0.1)
    program.send_signal(getattr(signal, name))
    assert program.wait(30) == 130
    assert list(tmp_path.iterdir()) == []


def test_a_program_that_ignores_the_end_of_its_terminal_goes_on(tmp_path: Path) -> None:
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "work")],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=heeded(ignored=("SIGHUP",)),  # as under nohup
    )
    assert program.stdout is not None
    assert program.stdout.readline() == "ready\n"
    program.send_signal(signal.SIGHUP)
    time.sleep(0.2)
    assert program.poll() is None
    program.terminate()
    assert program.wait(30) == 130


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_that_is_ended_leaves_nothing_in_the_temporary_folder(name: str, tmp_path: Path) -> None:
    pytest.importorskip("bpy")
    image = pytest.importorskip("PIL.Image")
    images, work, out = tmp_path / "images", tmp_path / "temporary", tmp_path / "out"
    images.mkdir()
    work.mkdir()
    image.new("RGBA", (8, 8), (200, 90, 20, 255)).save(images / "mug.png")
    script = ROOT / "tests" / "fakes" / "batch_program.py"
    command = [sys.executable, str(script), "slow", str(images), "--out", str(out)]
    environment = {**os.environ, "TMPDIR": str(work)}
    program = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, preexec_fn=heeded())
    end = time.monotonic() + 60
    while not list(work.glob("espalier-*/*")):
        assert time.monotonic() < end
        assert program.poll() is None
        time.sleep(0.05)
    program.send_signal(getattr(signal, name))
    assert program.wait(30) == 130
    assert program.stderr is not None
    assert program.stderr.read() == ""
    assert list(work.iterdir()) == []
    assert not list(out.glob("*.glb"))
