"""Whatever happens to one item of a batch, the others are made."""

from __future__ import annotations

import dataclasses
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from espalier.backend import protocol
from espalier.blender_addon import batch
from espalier.blender_addon.jobs.queue import JobQueue

from tests.blender_addon.batches import Launcher, folder, launch, report, run, statuses

__all__ = ["folder", "launch"]  # fixtures


@pytest.mark.skipif(sys.platform == "win32", reason="pipes of POSIX")
def test_a_pipe_in_the_folder_is_passed_over_and_one_that_is_named_fails(
    folder: Callable[..., Path], launch: Launcher, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = folder("mug")
    os.mkfifo(images / "pipe.png")
    assert run(launch, tmp_path / "out", images, "--format", "glb") == 0
    assert statuses(tmp_path / "out") == {"mug": "done"}
    assert "pipe.png" in capsys.readouterr().err


@pytest.mark.parametrize(
    "error", [TypeError("odd"), KeyError("odd"), UnicodeEncodeError("utf-8", "\udce9", 0, 1, "odd"), RecursionError()]
)
@pytest.mark.parametrize("where", ["write_files", "step"])
def test_whatever_is_raised_for_one_is_that_ones_failure(
    folder: Callable[..., Path],
    launch: Launcher,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    where: str,
) -> None:
    images, out = folder("chair", "lamp", "mug"), tmp_path / "out"
    work = batch.write_files if where == "write_files" else JobQueue.step
    calls = 0

    def fail(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 1 + (where == "step") * 2:
            raise error
        return work(*arguments)

    monkeypatch.setattr(batch if where == "write_files" else JobQueue, where, fail)
    assert run(launch, out, images, "--format", "glb") == 1
    found = statuses(out)
    assert sorted(found.values()) == ["done", "done", "failed"]
    (failed,) = (asset for asset in report(out).values() if asset["status"] == "failed")
    assert failed["error"]["message"].startswith("The asset could not be written: ")
    assert "Traceback" in capsys.readouterr().err


class Log(io.StringIO):
    """An output that can show only some letters, or that fails."""

    def __init__(self, encoding: str = "ascii", error: Exception | None = None) -> None:
        super().__init__()
        self._encoding, self._error = encoding, error

    def write(self, text: str) -> int:
        if self._error is not None:
            raise self._error
        text.encode(self._encoding)
        return super().write(text)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "cp437"])
def test_names_that_the_output_cannot_show_are_printed_with_escapes(
    folder: Callable[..., Path], launch: Launcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    monkeypatch.setattr(sys, "stdout", log := Log(encoding))
    assert run(launch, tmp_path / "out", folder("杯", "车"), "--format", "glb") == 0
    assert "\\u676f: done" in log.getvalue()
    assert "2 done, 0 skipped, 0 failed" in log.getvalue()


@pytest.mark.parametrize("error", [BrokenPipeError(), OSError(28, "No space left on device"), ValueError("closed")])
def test_a_batch_goes_on_when_nobody_reads_what_it_says(
    folder: Callable[..., Path],
    launch: Launcher,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
) -> None:
    monkeypatch.setattr(sys, "stdout", Log(error=error))
    assert run(launch, tmp_path / "out", folder("chair", "mug"), "--format", "glb") == 0
    assert statuses(tmp_path / "out") == {"chair": "done", "mug": "done"}
    assert capsys.readouterr().err.count("The batch goes on.") == 1


def test_a_cleared_folder_does_not_hang_the_batch(
    folder: Callable[..., Path], launch: Launcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody deletes the log while it is written, and then the backend dies."""
    images, out, make = folder("chair", "crash_mug", "table"), tmp_path / "out", batch.make

    def clear(*arguments: Any) -> None:
        (out / "backend.log").unlink(missing_ok=True)
        make(*arguments)

    monkeypatch.setattr(batch, "make", clear)
    assert run(launch, out, images, "--format", "glb") == 1
    assert statuses(out) == {"chair": "done", "crash_mug": "failed", "table": "done"}


def test_a_model_without_gaussians_is_told_before_the_first(
    folder: Callable[..., Path], launch: Launcher, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(launch, tmp_path / "out", folder("mug"), "--texture-source", "gaussians") == 2
    assert "the model mini-mdt has none" in capsys.readouterr().err
    assert launch.count == 0


SECOND = protocol.ModelInfo("second", "second", "own", 1, 1, "", "", (), usable=True, materials=True, guides=False)
SECOND = dataclasses.replace(SECOND, gaussians=False, resolutions=(512, 1024), own_resolution=512)
FIRST = protocol.ModelInfo("first", "first", "own", 1, 1, "", "", (), usable=True)


@pytest.mark.parametrize(
    ("model", "options", "words"),
    [
        ("second", ["--resolution", "1536"], "the model second makes shapes at 512 or 1024 only"),
        ("first", ["--resolution", "512"], "the model first has no choice of resolutions"),
        ("second", ["--roughness", "estimated"], "the model second makes the roughness itself"),
        ("second", ["--resolution", "1024"], ""),
        ("first", ["--roughness", "estimated"], ""),
    ],
)
def test_what_a_model_cannot_do_is_told_before_the_first(
    folder: Callable[..., Path], tmp_path: Path, model: str, options: list[str], words: str
) -> None:
    line = [str(folder("mug")), "--out", str(tmp_path / "out"), "--model", model, *options]
    read = batch.parse(line, lambda: {"first": FIRST, "second": SECOND}, "batch.py")
    said = batch.problem_with_model(read.settings, read.known)
    assert words in said
    assert bool(words) == bool(said)


def test_the_texture_source_is_the_models_unless_one_is_named(folder: Callable[..., Path], tmp_path: Path) -> None:
    images = folder("mug")

    def source(model: str, *options: str) -> Any:
        line = [str(images), "--out", str(tmp_path / "out"), "--model", model, *options]
        return batch.parse(line, lambda: {"first": FIRST, "second": SECOND}, "batch.py").settings["texture_source"]

    assert (source("first"), source("second")) == ("picture", "colors")
    assert source("second", "--texture-source", "picture") == "picture"
    assert source(str(tmp_path)) == "automatic", "what a folder holds the backend says"
