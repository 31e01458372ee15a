"""Files are looked at from a thread, and used when nobody writes them any more."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from espalier.blender_addon.request.file_watch import SETTLED, FileWatch

Until = Callable[..., None]


@pytest.fixture
def watch() -> Iterator[FileWatch]:
    watch = FileWatch()
    yield watch
    watch.close()


def test_a_change_is_seen_when_the_file_has_settled(watch: FileWatch, tmp_path: Path, until: Until) -> None:
    file = tmp_path / "mug.png"
    file.write_bytes(b"one")
    os.utime(file, (1e9, 1e9))
    assert watch.stamp(str(file)) is None
    watch.watch((str(file),))
    until(lambda: watch.stamp(str(file)) is not None)
    first = watch.stamp(str(file))
    assert first == (10**18, 3)
    began = time.monotonic()
    with file.open("wb") as stream:  # saved bit by bit
        while time.monotonic() < began + 4 * SETTLED:
            stream.write(b"a part")
            stream.flush()
            time.sleep(SETTLED / 5)
            assert watch.stamp(str(file)) == first, "while it is written, it is as before"
    until(lambda: watch.stamp(str(file)) != first)
    assert watch.stamp(str(file)) == (file.stat().st_mtime_ns, file.stat().st_size)


def test_a_file_that_is_replaced_is_never_missing(watch: FileWatch, tmp_path: Path, until: Until) -> None:
    file = tmp_path / "mug.png"
    watch.watch((str(file), str(tmp_path / "none.png")))
    file.write_bytes(b"one")
    until(lambda: watch.stamp(str(file)) is not None)
    first = watch.stamp(str(file))
    file.unlink()
    time.sleep(3 * SETTLED)
    assert watch.stamp(str(file)) == first
    (tmp_path / "new").write_bytes(b"another")
    (tmp_path / "new").rename(file)
    until(lambda: watch.stamp(str(file)) != first)
    assert watch.stamp(str(tmp_path / "none.png")) is None
