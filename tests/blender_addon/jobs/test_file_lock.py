"""One installation at a time, over processes that die."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
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


class Full:
    """A file on a disk that is full."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def write(self, content: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def test_a_lock_that_could_not_be_written_can_be_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It must not be held by a file that nobody has any more: then the next try would find it busy."""
    lock, really = FileLock(tmp_path / "lock"), FileLock._try
    with monkeypatch.context() as patch:
        patch.setattr(FileLock, "_try", lambda self: Full(really(self)))
        with pytest.raises(OSError, match="No space left"):
            lock.acquire()
    lock.acquire()
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
