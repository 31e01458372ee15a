"""Names of assets: accepted everywhere, short enough in bytes, and valid UTF-8."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest

from backend.names import ADDED, asset_name, copy_name, key, longest_in, numbered, printable, seen_from

MOST = 255 - ADDED


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("mug.front", "mug.front"),
        ("Stuhl grün", "Stuhl grün"),
        ('a<b>:"|?*\x7f', "a_b_______"),
        ("..", "object"),
        (".hidden ", "hidden"),
        ("a/../b", "a_.._b"),
        ("nul", "_nul"),
        ("COM1.front", "_COM1.front"),
        ("console", "console"),
        (os.fsdecode(b"caf\xe9"), "caf\ufffd"),
        ("\ud83d lone", "\ufffd lone"),
        ("x" * 300, "x" * MOST),
        ("\U0001f600" * 62, "\U0001f600" * (MOST // 4)),
        ("é" * 200, "é" * (MOST // 2)),
    ],
)
def test_a_name_is_accepted_by_every_system(text: str, name: str, tmp_path: Path) -> None:
    assert asset_name(text) == name
    assert len(f"{name}-99.normal_map.png".encode()) <= 255
    (tmp_path / f"{name}.gaussians.ply").touch()
    (tmp_path / f"{name}-99.normal_map.png").touch()


@pytest.mark.parametrize(
    ("name", "copied"),
    [
        ("notes.txt", "notes.txt"),
        ("mug.PNG", "mug.PNG"),
        ("mug", "mug"),
        ("con.txt", "_con.txt"),
        ("mug.v 2", "mug"),
        ("mug.a-very-long-ending", "mug"),
        ("a" * 100 + ".jpeg", "a" * 80 + ".jpeg"),
    ],
)
def test_a_copy_has_the_name_that_people_know(name: str, copied: str) -> None:
    assert copy_name(Path("folder", name)) == copied


def test_the_file_system_says_how_long_a_name_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert longest_in(tmp_path) == 255
    monkeypatch.setattr(os, "pathconf", lambda path, name: 143, raising=False)  # as of an encrypted home folder
    assert len(asset_name("y" * 300, longest_in(tmp_path))) == 143 - ADDED


def test_names_that_a_file_system_takes_for_one_have_one_key() -> None:
    assert key("MUG") == key("mug")
    assert key("Stuhl grün") == key(unicodedata.normalize("NFD", "STUHL GRÜN"))
    assert key("mug") != key("mug-2")
    assert numbered("mug", {"mug-3"}.__contains__) == "mug-3"
    assert printable(os.fsdecode(b"\xff.png")) == "\ufffd.png"


def test_paths_are_told_as_seen_from_the_file_that_names_them(tmp_path: Path) -> None:
    assert seen_from(tmp_path / "out", str(tmp_path / "in" / "mug.png")) == "../in/mug.png"
    assert seen_from(tmp_path, str(tmp_path / "mug.png")) == "mug.png"
    assert seen_from(tmp_path, "mini") == "mini"


def test_a_path_on_another_drive_is_told_by_its_last_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def other_drive(path: str, start: object) -> str:
        raise ValueError("path is on mount 'D:', start on mount 'C:'")

    monkeypatch.setattr(os.path, "relpath", other_drive)
    monkeypatch.setattr(os.path, "isabs", lambda path: True)
    assert seen_from(tmp_path, "D:\\anna\\mug.png") == "mug.png"
    assert seen_from(tmp_path, "/anna/my model/") == "my model"


def test_names_that_are_no_utf8_are_told(tmp_path: Path) -> None:
    assert seen_from(tmp_path, str(tmp_path / os.fsdecode(b"\xff.png"))) == "\ufffd.png"
