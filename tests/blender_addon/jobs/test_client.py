"""The client against a backend that behaves, and against those that do not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from espalier.backend import protocol
from espalier.blender_addon.jobs import client
from espalier.blender_addon.jobs.client import Backend, BackendUnavailable

Start = Callable[..., Backend]


def collect(backend: Backend, last: type, timeout: float = 60.0) -> list[Any]:
    """All messages up to the first of a type."""
    messages: list[Any] = []
    end = time.monotonic() + timeout
    while not any(isinstance(message, last) for message in messages):
        assert time.monotonic() < end, f"no {last.__name__} among {messages}"
        messages += backend.poll()
        time.sleep(0.005)
    return messages


def generate(tmp_path: Path, job: str = "a") -> protocol.Generate:
    (tmp_path / job).mkdir()
    return protocol.Generate(job, (str(tmp_path / "mug.png"),), str(tmp_path / job))


def test_a_job(start: Start, tmp_path: Path) -> None:
    backend = start("ok")
    (ready,) = collect(backend, protocol.Ready)
    assert backend.ready == ready
    backend.send(generate(tmp_path))
    *progress, result = [m for m in collect(backend, protocol.Result) if not isinstance(m, protocol.Preview)]
    assert [p.fraction for p in progress] == sorted(p.fraction for p in progress)
    assert {p.stage for p in progress} == set(protocol.STAGES)
    assert all(Path(path).is_file() for path in (result.arrays, result.texture, result.glb))
    assert result.settings["seed"] == 0


def test_starting_and_sending_do_not_wait(start: Start, tmp_path: Path) -> None:
    backend = start("never_ready")
    for index in range(2000):  # far more than a pipe holds: what waited for this backend would never end
        backend.send(protocol.Cancel(f"{index:0100}"))
    assert backend.poll() == []


def test_never_ready(start: Start) -> None:
    backend = start("never_ready", timeout=0.2)
    (error,) = collect(backend, protocol.Error)
    assert (error.job, error.code) == (None, "backend_not_ready")
    backend.close()
    assert backend.poll() == []
    assert not backend.alive()


@pytest.mark.parametrize(
    ("mode", "code", "words"),
    [
        ("stillborn", "backend_ended", "No module named 'torch'"),
        ("crash", "backend_ended", "exit code 139. Its last words: Segmentation fault"),
        ("bad_json", "backend_protocol", "Downloading: 100%"),
        ("old", "backend_protocol", "version 2, not 1"),
    ],
)
def test_a_backend_that_fails(start: Start, tmp_path: Path, mode: str, code: str, words: str) -> None:
    backend = start(mode, "0.1")
    backend.send(generate(tmp_path))
    error = collect(backend, protocol.Error)[-1]
    assert (error.job, error.code) == (None, code)
    assert words in error.message
    assert backend.log_path.name in error.hint


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals")
def test_killed_from_outside(start: Start, tmp_path: Path) -> None:
    backend = start("slow")
    collect(backend, protocol.Ready)
    with backend.log_path.open("ab") as log:
        log.write(b"job 0: image_unreadable: of an earlier job, and no reason for what comes now\n")
    backend.send(generate(tmp_path))
    collect(backend, protocol.Progress)
    assert backend.pid is not None
    os.kill(backend.pid, signal.SIGKILL)
    assert collect(backend, protocol.Error)[-1].message == "The backend was ended from outside (SIGKILL)."
    assert not backend.alive()


@pytest.mark.parametrize("mode", ["ok", "slow", "never_ready"])
def test_close_ends_the_process_and_says_nothing(start: Start, tmp_path: Path, mode: str) -> None:
    backend = start(mode)
    if mode == "slow":
        backend.send(generate(tmp_path))
        collect(backend, protocol.Progress)
    backend.close(timeout=120.0)
    assert backend._process is not None
    assert backend._process.returncode == 0, "it goes by itself"
    assert not backend.alive()
    assert not any(isinstance(message, protocol.Error) for message in backend.poll())


def test_a_command_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BackendUnavailable, match="could not be started") as raised:
        Backend([str(tmp_path / "no-python")], tmp_path / "log").start()
    assert "preferences" in raised.value.hint


def test_a_log_that_cannot_be_written_is_not_said_to_be_a_matter_of_python(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    backend = Backend([sys.executable, "-c", ""], tmp_path / "file" / "backend.log", advice="Choose another folder.")
    with pytest.raises(BackendUnavailable, match="cannot write its log") as caught:
        backend.start()
    assert str(tmp_path / "file") in str(caught.value)
    assert "Errno" not in str(caught.value)
    assert caught.value.hint == "Choose another folder."


@pytest.mark.parametrize(("code", "free"), [(120, 1 << 40), (1, 0)])
def test_an_end_on_a_full_disk_is_said_to_be_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, free: int
) -> None:
    """Python ends with 120 if it cannot write its last words: then the log has none."""
    monkeypatch.setattr(client.shutil, "disk_usage", lambda path: types.SimpleNamespace(free=free))
    backend = Backend([sys.executable, "-c", f"raise SystemExit({code})"], tmp_path / "backend.log")
    backend.start()
    (error,) = collect(backend, protocol.Error)
    assert f"The disk of the folder {tmp_path} is full." in error.message
    assert "120" not in error.message
    assert error.hint == "Free some space and try again."


def test_its_threads_do_not_hold_up_the_end_of_blender(start: Start) -> None:
    before = set(threading.enumerate())
    start("never_ready")
    threads = set(threading.enumerate()) - before
    assert len(threads) == 2
    assert all(thread.daemon for thread in threads)


def test_neither_client_nor_jobs_nor_server_import_bpy(root: Path) -> None:
    code = (
        "import sys, types; p = types.ModuleType('espalier'); p.__path__ = [sys.argv[1]]; sys.modules['espalier'] = p\n"
        "sys.modules['bpy'] = None  # importing it raises\n"
        "import espalier.blender_addon.jobs, espalier.blender_addon.server.process\n"
        "import espalier.blender_addon.server.models, espalier.blender_addon.server.install\n"
    )
    subprocess.run([sys.executable, "-c", code, str(root)], check=True)
