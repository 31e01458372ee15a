"""Machine code is found again where the sources are the same, wherever they lie."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import time
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
