"""A batch on disks that are full or cannot be written: a sentence, an exit code, and the earlier files as they were."""

from __future__ import annotations

import errno
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bpy
import pytest
from espalier.blender_addon import batch

from tests.blender_addon.batches import Launcher, folder, launch, report, run, statuses

__all__ = ["folder", "launch"]  # fixtures


def contents(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.rglob("*") if path.suffix in (".glb", ".blend", ".png")}


@pytest.mark.skipif(sys.platform == "win32", reason="limits of processes")
@pytest.mark.parametrize("limit", [1 << 12, 1 << 15, 1 << 17])
def test_a_blend_that_is_cut_off_fails_and_the_earlier_one_stays(
    folder: Callable[..., Path], launch: Launcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    """Blender says of such a file that it was saved."""
    import resource

    images, out = folder("chair", "mug"), tmp_path / "out"
    assert run(launch, out, images) == 0
    before = contents(out)
    assert max(map(len, before.values())) > limit
    write = batch.write_with_blender

    def limited(*arguments: Any) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            write(*arguments)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    monkeypatch.setattr(batch, "write_with_blender", limited)
    assert run(launch, out, images, "--seed", "2") == 1
    assert contents(out) == before, "the .glb of a failed asset does not change either"
    assert not list(out.glob(".*part*"))
    for asset in report(out).values():
        assert asset["status"] == "failed"
        assert "disk is full" in asset["error"]["message"] or "could not be written" in asset["error"]["message"]
    bpy.ops.wm.open_mainfile(filepath=str(out / "mug.blend"))
    monkeypatch.setattr(batch, "write_with_blender", write)
    assert run(launch, out, images, "--seed", "2") == 0


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EIO])
def test_whatever_the_disk_says_is_that_assets_failure(
    folder: Callable[..., Path], launch: Launcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    images, out, copy = folder("chair", "mug"), tmp_path / "out", shutil.copyfile

    def refuse(source: str, target: Path) -> None:
        if Path(source).stem == "asset" and not hasattr(refuse, "called"):
            refuse.called = True  # type: ignore[attr-defined]
            raise OSError(code, "the disk's own words", str(target))
        copy(source, target)

    monkeypatch.setattr(batch.shutil, "copyfile", refuse)
    assert run(launch, out, images, "--format", "glb") == 1
    assert statuses(out) == {"chair": "failed", "mug": "done"}
    error = report(out)["chair"]["error"]
    assert error["code"] == ("disk_full" if code in (errno.ENOSPC, errno.EDQUOT) else "output_failed")
    assert str(out) in error["message"]
    assert "Errno" not in error["message"]
    assert error["hint"].endswith("Its earlier files are as they were.")


def test_a_report_that_cannot_be_written_costs_no_asset(
    folder: Callable[..., Path],
    launch: Launcher,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    images, out = folder("chair", "mug"), tmp_path / "out"

    def refuse(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(batch, "write_report", refuse)
    assert run(launch, out, images, "--format", "glb") == 1
    assert sorted(contents(out)) == ["chair.glb", "mug.glb"]
    assert "report.json cannot be written: No space left on device." in capsys.readouterr().err


def test_a_full_temporary_folder_fails_each_asset_and_leaves_nothing(
    folder: Callable[..., Path], launch: Launcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, out, make = folder("chair", "mug"), tmp_path / "out", Path.mkdir
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(batch.tempfile, "tempdir", str(tmp_path / "temporary"))

    def refuse(path: Path, *arguments: Any, **more: Any) -> None:
        if path.parent.parent == tmp_path / "temporary":
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        make(path, *arguments, **more)

    monkeypatch.setattr(Path, "mkdir", refuse)
    assert run(launch, out, images, "--format", "glb") == 1
    assert statuses(out) == {"chair": "failed", "mug": "failed"}
    assert report(out)["mug"]["error"]["code"] == "disk_full"
    assert list((tmp_path / "temporary").iterdir()) == []


def test_the_temporary_folder_that_cannot_be_made_is_named(
    folder: Callable[..., Path],
    launch: Launcher,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(batch.tempfile, "tempdir", str(tmp_path / "gone"))
    assert run(launch, tmp_path / "out", folder("mug"), "--format", "glb") == 1
    assert "temporary folder" in capsys.readouterr().err
