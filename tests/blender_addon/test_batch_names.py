"""What a batch calls its assets, over several runs and for names of every kind, and that it follows no link."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from espalier.blender_addon import batch
from espalier.blender_addon.jobs.file_lock import FileLock

from tests.blender_addon.batches import Image, Launcher, folder, launch, report, run, statuses

__all__ = ["folder", "launch"]  # fixtures


def names(out: Path) -> list[str]:
    return sorted(path.name for path in out.glob("*.glb"))


def made_from(out: Path) -> dict[str, str]:
    return {name: Path(asset["images"][0]).parent.name for name, asset in report(out).items()}


def test_another_picture_of_the_same_name_gets_a_number_in_a_later_run(
    folder: Callable[..., Path], launch: Launcher, tmp_path: Path
) -> None:
    first, second, out = folder("item", where="a"), folder("x", "ITEM", where="b"), tmp_path / "out"
    for images in (first, second, first, second):
        assert run(launch, out, images, "--format", "glb") == 0
    assert names(out) == ["ITEM-2.glb", "item.glb", "x.glb"]
    assert made_from(out) == {"item": "a", "ITEM-2": "b", "x": "b"}
    assert run(launch, out, first, "--format", "glb", "--seed", "3") == 0
    assert run(launch, out, second, first, "--format", "glb", "--seed", "3") == 0
    assert made_from(out) == {"item": "a", "ITEM-2": "b", "x": "b"}, "each keeps its name, in whatever order"


def test_a_picture_keeps_its_name_when_it_is_moved_and_when_it_is_changed(
    folder: Callable[..., Path], launch: Launcher, tmp_path: Path
) -> None:
    first, out = folder("item", where="a"), tmp_path / "out"
    folder("x", "item", where="b")
    assert run(launch, out, first, tmp_path / "b", "--format", "glb") == 0
    shutil.move(first, tmp_path / "c")
    assert run(launch, out, tmp_path / "c", "--format", "glb") == 0
    assert statuses(out)["item"] == "skipped"
    Image.new("RGB", (5, 5), (9, 9, 9)).save(tmp_path / "b" / "item.png")
    assert run(launch, out, tmp_path / "b", "--format", "glb") == 0
    assert statuses(out)["item-2"] == "done"
    assert names(out) == ["item-2.glb", "item.glb", "x.glb"]


def test_a_file_that_is_no_asset_is_not_replaced(folder: Callable[..., Path], launch: Launcher, tmp_path: Path) -> None:
    images, out = folder("mug", "lamp"), tmp_path / "out"
    out.mkdir()
    (out / "mug.blend").write_text("my own work")
    (out / "lamp.glb").symlink_to(out / "mug.blend")
    assert run(launch, out, images, "--format", "glb,blend") == 0
    assert (out / "mug.blend").read_text() == "my own work"
    assert set(statuses(out)) == {"mug-2", "lamp-2"}


def test_an_interrupted_first_run_has_given_its_names(
    folder: Callable[..., Path], launch: Launcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, out = folder("mug"), tmp_path / "out"
    write_report, written = batch.write_report, 0

    def write_once(*arguments: Any) -> None:
        nonlocal written
        written += 1
        if written > 1:
            raise KeyboardInterrupt  # between the asset and its entry
        write_report(*arguments)

    monkeypatch.setattr(batch, "write_report", write_once)
    with pytest.raises(KeyboardInterrupt):
        run(launch, out, images, "--format", "glb")
    assert names(out) == ["mug.glb"]
    (out / ".espalier-12ab.part.glb").write_text("left by a kill")
    monkeypatch.setattr(batch, "write_report", write_report)
    assert run(launch, out, images, "--format", "glb") == 0
    assert names(out) == ["mug.glb"]
    assert not list(out.glob(".espalier-*"))


@pytest.mark.skipif(os.name != "posix", reason="names as bytes")
def test_names_of_every_kind_are_made_and_valid(folder: Callable[..., Path], launch: Launcher, tmp_path: Path) -> None:
    images, out = folder("z_good"), tmp_path / "out"
    picture = (images / "z_good.png").read_bytes()
    odd = [b"caf\xe9", b"caf\xe8", b"a" * 247, "\U0001f600".encode() * 62, "杯".encode(), b"con", b"new\nline"]
    for number, name in enumerate(odd):
        Path(os.fsdecode(os.fsencode(images) + b"/" + name + b".png")).write_bytes(picture + bytes(number))
    for expected in ("done", "skipped"):
        assert run(launch, out, images, "--format", "glb,blend") == 0
        found = statuses(out)
        assert set(found.values()) == {expected}
    assert {"caf\ufffd", "caf\ufffd-2", "杯", "_con", "new_line", "z_good", "a" * 231} < set(found)
    json.loads((out / "report.json").read_text("utf-8")).__repr__().encode()  # no lone surrogates anywhere
    for name in os.listdir(os.fsencode(out)):
        name.decode("utf-8")


def test_reports_of_strange_content_are_told_and_nothing_is_lost(
    folder: Callable[..., Path], launch: Launcher, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images, out = folder("mug"), tmp_path / "out"
    assert run(launch, out, images, "--format", "glb") == 0
    good = json.loads((out / "report.json").read_text())
    for strange in (
        "[" * 100_000,
        "[]",
        '{"assets": {}}',
        '{"assets": [3]}',
        json.dumps(good | {"assets": [good["assets"][0] | {"images": [[]]}]}),
        json.dumps(good | {"assets": [good["assets"][0] | {"name": {}}]}),
        json.dumps(good | {"assets": [good["assets"][0] | {"error": 3}]}),
    ):
        (out / "report.json").write_text(strange)
        assert run(launch, out, images, "--format", "glb") == 0
        assert "cannot be read" in capsys.readouterr().err
        assert statuses(out) == {"mug": "done"}


def test_nothing_is_written_through_a_link(folder: Callable[..., Path], launch: Launcher, tmp_path: Path) -> None:
    images, out, precious = folder("mug"), tmp_path / "out", tmp_path / "precious"
    out.mkdir()
    precious.write_text("precious")
    for name in ("backend.log", "report.json"):
        (out / name).symlink_to(precious)
    assert run(launch, out, images, "--format", "glb") == 0
    assert precious.read_text() == "precious"


@pytest.mark.parametrize("make", [Path.symlink_to, Path.hardlink_to], ids=["symlink", "hardlink"])
def test_a_lock_that_is_a_link_is_refused_and_its_target_kept(
    folder: Callable[..., Path],
    launch: Launcher,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    make: Callable[[Path, Path], None],
) -> None:
    out, precious = tmp_path / "out", tmp_path / "precious"
    out.mkdir()
    precious.write_text("precious")
    make(out / batch.LOCK, precious)
    assert run(launch, out, folder("mug")) == 1
    assert precious.read_text() == "precious"
    assert "cannot be written to" in capsys.readouterr().err


@pytest.mark.skipif(os.name != "posix", reason="named pipes")
def test_a_lock_that_is_no_lock_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "text").write_text("the diary of somebody, far longer than any number")
    for name in ("pipe", "text"):
        lock = FileLock(tmp_path / name)
        with pytest.raises(OSError, match="it is no lock"):
            lock.acquire()
        assert not lock.interrupted()
    assert (tmp_path / "text").read_text().startswith("the diary")
