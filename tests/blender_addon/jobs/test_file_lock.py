"""One installation at a time, over processes that die."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from espalier.blender_addon.jobs import file_lock
from espalier.blender_addon.jobs.file_lock import Busy, FileLock

HOLD = """
import sys, types
package = types.ModuleType("espalier"); package.__path__ = [sys.argv[1]]; sys.modules["espalier"] = package
from pathlib import Path
from espalier.blender_addon.jobs.file_lock import FileLock
lock = FileLock(Path(sys.argv[2])); lock.acquire(); print("held", flush=True); sys.stdin.read()
"""


def test_another_process_is_named_and_its_death_noticed(tmp_path: Path, root: Path) -> None:
    path = tmp_path / "install.lock"
    command = [sys.executable, "-c", HOLD, str(root), str(path)]
    other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    assert other.stdout.readline() == "held\n"
    lock = FileLock(path)
    assert lock.holder() == other.pid
    assert not lock.interrupted()
    with pytest.raises(Busy) as caught:
        lock.acquire()
    assert caught.value.pid == other.pid
    other.kill()
    other.communicate()
    assert lock.holder() is None
    assert lock.interrupted(), "the number that it left tells of it"
    lock.acquire()
    assert path.read_text() == str(os.getpid())
    lock.release()
    assert not lock.interrupted()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is always full")
def test_a_lock_that_could_not_be_written_can_be_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It must not be held by a file that nobody has any more: then the next try would find it busy."""
    lock = FileLock(tmp_path / "lock")
    with monkeypatch.context() as patch:
        patch.setattr(FileLock, "_try", lambda self: Path("/dev/full").open("r+b", buffering=0))
        patch.setattr(file_lock.os, "getpid", lambda: 1)
        with pytest.raises(OSError, match="No space left|Invalid argument"):
            lock.acquire()
    begin = time.monotonic()
    lock.acquire()
    assert time.monotonic() - begin < file_lock.PATIENCE
    lock.release()


def test_twice_in_one_process(tmp_path: Path) -> None:
    first, second = (FileLock(tmp_path / "install.lock") for _ in range(2))
    first.acquire()
    with pytest.raises(Busy):
        second.acquire()
    assert first.holder() is None, "that is this one"
    first.release()
    second.acquire()
    second.release()
