"""What a disk says, in words."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from backend.disk_errors import explain, in_chain
from backend.errors import describe
from backend.files import CutOff


def error(code: int, *named: str) -> OSError:
    return OSError(code, os.strerror(code), *named)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (errno.ENOSPC, "disk_full"),
        (errno.EDQUOT, "disk_full"),
        (errno.EFBIG, "disk_full"),
        (errno.EROFS, "folder_read_only"),
        (errno.EACCES, "folder_forbidden"),
        (errno.EPERM, "folder_forbidden"),
        (errno.EIO, "disk_unreachable"),
        (errno.ESTALE, "disk_unreachable"),
    ],
)
def test_the_folder_is_named_and_no_number_is(code: int, expected: str, tmp_path: Path) -> None:
    """Whether the error names its file, as ``open`` does, or not, as writing to an opened file does not."""
    for found in (explain(error(code), tmp_path), explain(error(code, str(tmp_path / "a.png")), tmp_path)):
        assert found.code == expected
        assert str(tmp_path) in found.message
        assert found.message.endswith(".")
        assert "Errno" not in found.message + found.hint
        assert found.hint


def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    found = explain(error(errno.ENOENT, str(tmp_path / "gone" / "a.png")), tmp_path / "gone")
    assert (found.code, found.message) == ("folder_missing", f"The folder {tmp_path / 'gone'} does not exist.")
    assert explain(error(errno.ENOENT, str(tmp_path / "a.png")), tmp_path).code == "file_error"  # it is there


def test_a_file_where_a_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "models").touch()
    with pytest.raises(OSError, match="models") as caught:
        (tmp_path / "models" / ".partial").mkdir(parents=True)
    found = explain(caught.value, tmp_path / "models")
    assert found.message == f"The file {tmp_path / 'models'} lies where a folder should be."


@pytest.mark.parametrize(
    "out", ["x" * 5000, "/nowhere/" + "x" * 5000, "a\0b", "\ud800"], ids=["long", "deep", "null", "half"]
)
@pytest.mark.parametrize("code", [errno.ENOENT, errno.EACCES, errno.ENAMETOOLONG, errno.EEXIST])
def test_a_folder_that_no_system_can_have_is_spoken_of_too(code: int, out: str) -> None:
    """Looking whether it is there must not raise in its turn: that once ended the backend."""
    assert explain(error(code, f"{out}/a.png"), out).message
    assert explain(error(code, "/a.png"), out).message


def test_a_file_elsewhere_that_may_not_be_read_is_not_said_to_be_written(tmp_path: Path) -> None:
    found = explain(error(errno.EACCES, "/models/weights"), tmp_path)
    assert found.code == "file_error"
    assert "/models/weights" in found.message


def test_the_disk_of_the_file_that_failed_is_named(tmp_path: Path) -> None:
    found = explain(error(errno.ENOSPC, "/elsewhere/compiled/a.nbi"), tmp_path)
    assert found.message == f"The disk of the folder {Path('/elsewhere/compiled')} is full."


def test_advice_that_holds_at_one_place() -> None:
    assert explain(error(errno.EROFS), "/a", "Choose another models folder.").hint == "Choose another models folder."
    assert explain(CutOff(Path("a.glb"), "its end is missing"), "/a").message.count("a.glb") == 1


def test_a_file_that_another_program_has_open() -> None:
    held = error(errno.EACCES, "C:/a.png")
    held.winerror = 32  # type: ignore[attr-defined]
    assert explain(held, "C:/").code == "file_in_use"


def test_what_the_disk_said_is_found_behind_what_it_led_to() -> None:
    def write() -> None:
        try:
            raise error(errno.ENOSPC)
        finally:
            raise ValueError("Can't close the ZIP file while there is an open writing handle on it.")

    with pytest.raises(ValueError, match="ZIP") as caught:
        write()
    assert in_chain(caught.value) is not None
    assert describe(caught.value, "/out")[:2] == ("disk_full", "The disk of the folder /out is full.")


def test_an_error_that_came_after_another_one_is_not_the_disks() -> None:
    def work() -> None:
        try:
            raise error(errno.ENOENT, "/cache")
        except OSError:
            raise ValueError("a shape that does not fit") from None

    with pytest.raises(ValueError, match="shape") as caught:
        work()
    assert in_chain(caught.value) is None
    assert describe(caught.value)[0] == "internal"
