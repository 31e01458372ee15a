"""``python -m backend generate``."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from backend import protocol
from backend.__main__ import main
from tests.backend.images.test_background import SCENE
from tests.backend.serving.served import (
    ROOT,
    TIMEOUT,
)


def test_the_command_line_prints_one_line_of_json(folder: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "backend", "generate", str(folder / "disc.png"), "--model", str(folder / "tiny")]
    command += ["--faces", "300", "--texture-size", "64", "--device", "cpu", "--out", str(tmp_path / "new"), "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    summary = json.loads(done.stdout)
    assert all(Path(file).is_file() for file in summary["files"].values())
    assert set(protocol.STAGES) <= summary["timings"].keys()
    assert summary["settings"]["steps"] == 3


@pytest.mark.parametrize("options", [[], ["--seed", "-1"], ["--model", "no-such-model"], ["--steps", "0"]])
def test_the_command_line_says_what_is_wrong_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    assert main(["generate", "missing.png", "--out", str(tmp_path), "--device", "cpu", *options]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.strip().endswith(".")


def test_the_command_line_takes_the_object_at_a_point(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The points reach the request, one for each image: one too few is said, and nothing lies at the corner."""
    SCENE.save(tmp_path / "scene.png")
    command = ["generate", str(tmp_path / "scene.png"), "--model", str(folder / "tiny"), "--out", str(tmp_path / "out")]
    assert main([*command, "--point", "0.5", "0.5", "--point", "0.5", "0.5"]) == 1
    assert "one for each image" in capsys.readouterr().err
    assert main([*command, "--point", "0.01", "0.01"]) == 1
    assert "at the chosen point" in capsys.readouterr().err
