"""Nobody gets out of the allowed folders: by names, links, hard links, other kinds of files, or by being quick."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from backend.errors import BackendError
from backend.serving import allowed
from backend.serving.allowed import Folders, NotAllowed

links = pytest.mark.skipif(sys.platform == "win32", reason="Windows lets only administrators make links")


@pytest.fixture
def inside(tmp_path: Path) -> Path:
    """An allowed folder with a file, beside a folder that is not allowed, which has a secret."""
    (tmp_path / "allowed" / "images").mkdir(parents=True)
    (tmp_path / "allowed" / "images" / "mug.png").write_bytes(b"a mug")
    for name in ("outside", "allowed-not"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mug.png").write_bytes(b"a secret")
    return tmp_path / "allowed"


@pytest.fixture
def folders(inside: Path) -> Folders:
    return Folders([inside])


def refused(call: Callable[[], object], code: str = "path_not_allowed") -> str:
    before = os.getcwd()
    with pytest.raises(BackendError) as told:
        call()
    assert told.value.code == code
    assert os.getcwd() == before
    return str(told.value)


def enter(folders: Folders, path: object) -> None:
    with folders.entered(str(path)):
        Path("made.txt").write_text("made")


def test_what_is_inside_is_read_and_written(folders: Folders, inside: Path, tmp_path: Path) -> None:
    for number, path in enumerate(("images/mug.png", str(inside / "images" / "mug.png"), "images/../images/mug.png")):
        assert folders.copy(path, tmp_path / f"copy{number}") == inside / "images" / "mug.png"
        assert (tmp_path / f"copy{number}").read_bytes() == b"a mug"
    before = os.getcwd()
    with folders.entered("new/deep") as folder:
        assert folder == inside / "new" / "deep"
        Path("made.txt").write_text("made")
    assert (inside / "new" / "deep" / "made.txt").read_text() == "made"
    assert os.getcwd() == before
    with folders.entered(str(inside)) as folder:
        assert folder == inside


@pytest.mark.parametrize(
    "path", ["../outside/mug.png", "images/../../outside/mug.png", "/etc/passwd", "../allowed-not/mug.png", "..", "/"]
)
def test_names_that_lead_out(folders: Folders, tmp_path: Path, path: str) -> None:
    assert "not in a folder that this server may use" in refused(lambda: folders.copy(path, tmp_path / "copy"))
    refused(lambda: enter(folders, path))
    assert not (tmp_path / "copy").exists()
    assert not list(tmp_path.rglob("made.txt"))


def test_nobody_learns_what_is_outside(folders: Folders, tmp_path: Path) -> None:
    there, missing = (
        refused(lambda name=name: folders.copy(f"../outside/{name}", tmp_path / "copy"))  # type: ignore[misc]
        for name in ("mug.png", "nothing")
    )
    assert there.replace("mug.png", "") == missing.replace("nothing", "")
    assert not (tmp_path / "outside" / "nothing").exists()


def test_what_is_no_file(folders: Folders, inside: Path, tmp_path: Path) -> None:
    assert "There is no file" in refused(lambda: folders.copy("images/cup.png", tmp_path / "copy"), "file_missing")
    refused(lambda: folders.copy("nothing/cup.png", tmp_path / "copy"), "file_missing")
    assert not (inside / "nothing").exists(), "reading makes no folder"
    refused(lambda: folders.copy("a\0b", tmp_path / "copy"))
    refused(lambda: enter(folders, "images/mug.png"))
    refused(lambda: enter(folders, "images/mug.png/deeper"))
    with pytest.raises(BackendError):
        folders.copy("images", tmp_path / "copy")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
def test_a_pipe_does_not_hold_anybody_up(folders: Folders, inside: Path, tmp_path: Path) -> None:
    os.mkfifo(inside / "pipe.png")
    assert "is no file" in refused(lambda: folders.copy("pipe.png", tmp_path / "copy"))


def test_a_file_that_is_too_large(folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allowed, "MAX_PICTURE", 4)
    assert "larger" in refused(lambda: folders.copy("images/mug.png", tmp_path / "copy"))
    monkeypatch.setattr(allowed, "MAX_PICTURE", 5)
    folders.copy("images/mug.png", tmp_path / "whole")


@links
def test_links_that_lead_out(folders: Folders, inside: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (inside / "file.png").symlink_to(outside / "mug.png")
    (inside / "folder").symlink_to(outside, target_is_directory=True)
    (inside / "nowhere").symlink_to(outside / "new", target_is_directory=True)
    (inside / "loop").symlink_to(inside / "loop")
    for path in ("file.png", "folder/mug.png", "nowhere/mug.png", "folder/../mug.png"):
        refused(lambda path=path: folders.copy(path, tmp_path / "copy"))  # type: ignore[misc]
    for path in ("folder", "folder/new", "nowhere"):
        refused(lambda path=path: enter(folders, path))  # type: ignore[misc]
    with pytest.raises((BackendError, OSError)):
        folders.copy("loop", tmp_path / "copy")
    assert [path.name for path in outside.iterdir()] == ["mug.png"]


@links
def test_links_that_stay_inside(folders: Folders, inside: Path, tmp_path: Path) -> None:
    (inside / "link").symlink_to(inside / "images", target_is_directory=True)
    (inside / "latest.png").symlink_to("images/mug.png")
    assert folders.copy("link/mug.png", tmp_path / "a") == inside / "images" / "mug.png"
    assert folders.copy("latest.png", tmp_path / "b") == inside / "images" / "mug.png"
    enter(folders, "link")
    assert (inside / "images" / "made.txt").is_file()


def test_an_allowed_folder_that_is_itself_a_link(inside: Path, tmp_path: Path) -> None:
    if sys.platform != "win32":
        (tmp_path / "link").symlink_to(inside, target_is_directory=True)
        assert Folders([tmp_path / "link"]).roots == [inside]
    for name in ("nothing", "allowed/images/mug.png"):
        refused(lambda name=name: Folders([tmp_path / name]))  # type: ignore[misc]


def test_a_hard_link_to_a_file_outside(folders: Folders, inside: Path, tmp_path: Path) -> None:
    (inside / "hard.png").hardlink_to(tmp_path / "outside" / "mug.png")
    assert "several names" in refused(lambda: folders.copy("hard.png", tmp_path / "copy"))
    assert not (tmp_path / "copy").exists()


def test_names_that_differ_in_case_alone(folders: Folders, inside: Path, tmp_path: Path) -> None:
    """Where they name the same folder they are allowed, elsewhere they are another one."""
    other = str(inside / "images" / "mug.png").replace("allowed", "ALLOWED")
    if Path(other).exists():
        folders.copy(other, tmp_path / "copy")
    else:
        (tmp_path / "ALLOWED").mkdir()
        refused(lambda: folders.copy(other, tmp_path / "copy"))


def test_a_second_folder(inside: Path, tmp_path: Path) -> None:
    both = Folders([inside, tmp_path / "outside"])
    assert both.copy(str(tmp_path / "outside" / "mug.png"), tmp_path / "copy") == tmp_path / "outside" / "mug.png"
    refused(lambda: both.copy(str(tmp_path / "allowed-not" / "mug.png"), tmp_path / "another"))


@pytest.fixture
def quick(folders: Folders, monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """``quick(change)``: as soon as a path has been looked at, somebody changes what is there."""

    def prepare(change: Callable[[], object]) -> None:
        real = folders._real

        def judged(path: str) -> Path:
            found = real(path)
            change()
            return found

        monkeypatch.setattr(folders, "_real", judged)

    return prepare


@links
def test_a_folder_that_is_exchanged_for_a_link(
    folders: Folders, inside: Path, tmp_path: Path, quick: Callable[..., None]
) -> None:
    def exchange() -> None:
        if not (inside / "images").is_symlink():
            (inside / "images").rename(inside / "moved")
            (inside / "images").symlink_to(tmp_path / "outside", target_is_directory=True)

    quick(exchange)
    refused(lambda: folders.copy("images/mug.png", tmp_path / "copy"))
    (inside / "images").unlink()
    (inside / "moved").rename(inside / "images")
    refused(lambda: enter(folders, "images"))
    assert not (tmp_path / "outside" / "made.txt").exists()
    assert not (tmp_path / "copy").exists()


@links
def test_a_file_that_is_exchanged_for_a_link(
    folders: Folders, inside: Path, tmp_path: Path, quick: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    mug = inside / "images" / "mug.png"

    def exchange() -> None:
        mug.unlink()
        mug.symlink_to(tmp_path / "outside" / "mug.png")

    quick(exchange)
    refused(lambda: folders.copy("images/mug.png", tmp_path / "copy"), "file_forbidden")
    # And where the system cannot be told to follow no link:
    mug.unlink()
    mug.write_bytes(b"a mug")
    monkeypatch.setattr(allowed, "_FLAGS", allowed._FLAGS & ~os.O_NOFOLLOW)
    refused(lambda: folders.copy("images/mug.png", tmp_path / "copy"))
    assert not (tmp_path / "copy").exists()


@links
def test_a_folder_that_somebody_else_makes_first(
    folders: Folders, inside: Path, tmp_path: Path, quick: Callable[..., None]
) -> None:
    quick(lambda: (inside / "new").symlink_to(tmp_path / "outside", target_is_directory=True))
    refused(lambda: enter(folders, "new"))
    assert [path.name for path in (tmp_path / "outside").iterdir()] == ["mug.png"]


@links
def test_a_folder_that_is_exchanged_while_it_is_written_to(folders: Folders, inside: Path, tmp_path: Path) -> None:
    with folders.entered("images"):
        (inside / "images").rename(inside / "moved")
        (inside / "images").symlink_to(tmp_path / "outside", target_is_directory=True)
        Path("made.txt").write_text("made")
    assert (inside / "moved" / "made.txt").is_file()
    assert not (tmp_path / "outside" / "made.txt").exists()


def test_it_is_an_error_that_people_can_read(folders: Folders) -> None:
    with pytest.raises(NotAllowed) as told:
        folders._real("../outside")
    assert str(folders.roots[0]) in told.value.hint
