"""Machine code is found again where the sources are the same, wherever they lie."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest
from numba.core import caching

from backend.mesh.base import compiled

ROOT = Path(__file__).parents[3]
PROGRAM = """
from backend.mesh.base import topology
import numpy as np
topology.connected(np.array([0]), np.array([1]), 2)
print(sum(topology.connected.stats.cache_hits.values()))
"""


@pytest.mark.skipif(compiled._kept_in is None, reason="this environment cannot keep machine code")
def test_a_copy_of_the_package_compiles_nothing_again(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "backend", tmp_path / "backend", ignore=shutil.ignore_patterns("pretrained", "__pycache__"))
    for place in (ROOT, tmp_path):
        hits = subprocess.run([sys.executable, "-c", PROGRAM], cwd=place, stdout=subprocess.PIPE, check=True, text=True)
    assert hits.stdout == "1\n"


def test_functions_of_other_folders_have_their_own_place(tmp_path: Path) -> None:
    folders = {compiled.Locator.get_suitable_cache_subpath(str(tmp_path / name / "a.py")) for name in ("one", "other")}
    assert len(folders) == 2
    assert compiled.Locator.get_suitable_cache_subpath(compiled.__file__) == "mesh-base"


def test_the_code_of_sources_that_nobody_uses_is_removed(tmp_path: Path) -> None:
    for name, age in (("ours", 2.0), ("old", 1.1), ("other", 0.9)):
        (tmp_path / name / "mesh-base").mkdir(parents=True)
        long_ago = time.time() - age * compiled.UNUSED
        os.utime(tmp_path / name, (long_ago, long_ago))
    compiled._forget_others(tmp_path / "ours")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "ours"]


@pytest.mark.skipif(compiled._kept_in is None, reason="this environment cannot keep machine code")
def test_code_that_cannot_be_kept_is_used_all_the_same(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A disk may fill up after the process has started, and a job must not fail because of it."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(caching.Cache, "save_overload", full)

    @compiled.compiled
    def double(x: int) -> int:
        return 2 * x

    assert double(4) == 8
    assert "cannot keep machine code" in caplog.text


def test_strips_cover_a_range_once() -> None:
    for count in (0, 1, 7, 8, 1000):
        seen: list[tuple[int, int]] = []
        compiled.in_strips(partial(lambda seen, *strip: seen.append(strip), seen), count, 4)
        assert sorted(seen) == [(first, min(first + 4, count)) for first in range(0, count, 4)]


def test_no_strip_is_begun_after_one_that_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cancelling raises in whichever thread asks. No thread goes on after ``in_strips`` has raised."""
    monkeypatch.setattr(compiled, "THREADS", 3)
    begun: list[int] = []
    lock = threading.Lock()

    def loop(first: int, _: int) -> None:
        with lock:
            begun.append(first)
            number = len(begun)
        if number == 20:
            raise InterruptedError
        time.sleep(0.001)

    with pytest.raises(InterruptedError):
        compiled.in_strips(loop, 10_000, 1)
    count = len(begun)
    assert count < 40
    time.sleep(0.05)
    assert len(begun) == count


def test_loops_within_loops_do_not_wait_for_each_other() -> None:
    """Each of many threads asks for more than there are, three levels deep."""

    def nested(depth: int) -> int:
        if not depth:
            return 1
        return sum(compiled.together(*[lambda: nested(depth - 1)] * 6))

    results: list[int] = []
    threads = [threading.Thread(target=lambda: results.append(nested(3)), daemon=True) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert results == [216] * 10


def test_what_runs_together_has_ended_when_one_has_raised() -> None:
    begun, ended = threading.Event(), threading.Event()

    def fail() -> None:
        begun.wait(30)
        raise InterruptedError

    def slow() -> None:
        begun.set()
        time.sleep(0.05)
        ended.set()

    with pytest.raises(InterruptedError):
        compiled.together(fail, slow)
    assert ended.is_set()
