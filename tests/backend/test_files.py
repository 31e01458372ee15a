"""Files are written whole or not at all."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from backend.files import put_in_place, sha256, write_whole, written_whole


@pytest.mark.parametrize("durable", [False, True])
def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path, durable: bool) -> None:
    file = tmp_path / "mesh.npz"
    file.write_text("old")

    def write_half() -> None:
        with written_whole(file, durable=durable) as part:
            assert (part.parent, part.suffix) == (tmp_path, ".npz")
            part.write_text("half")
            raise RuntimeError("disk")

    with pytest.raises(RuntimeError, match="disk"):
        write_half()
    assert file.read_text() == "old"
    with written_whole(file, durable=durable) as part:
        part.write_text("new")
    assert file.read_text() == "new"
    assert list(tmp_path.iterdir()) == [file]


def test_text_keeps_its_line_ends_and_bytes_are_bytes(tmp_path: Path) -> None:
    write_whole(tmp_path / "a.txt", "ä\nb\r\n")
    assert (tmp_path / "a.txt").read_bytes() == "ä\nb\r\n".encode()
    write_whole(tmp_path / "a.txt", b"\0", durable=True)
    assert (tmp_path / "a.txt").read_bytes() == b"\0"
    assert sha256(tmp_path / "a.txt") == hashlib.sha256(b"\0").hexdigest()


def test_what_is_complete_gets_its_name(tmp_path: Path) -> None:
    (tmp_path / "part").write_text("all")
    put_in_place(tmp_path / "part", tmp_path / "name", durable=True)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("name", "all")]
