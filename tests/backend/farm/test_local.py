"""The command on one machine, with the bundled model: the bytes of a batch, formats of Blender's, Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.backend.farm.farms import ROOT, SMALL, Farm, assert_agree, environment, needs_ray, wait_until

pytestmark = [needs_ray, pytest.mark.slow]


def test_objects_have_the_bytes_of_a_batch(
    pictures: Callable[[int], Path], farm: Callable[..., Farm], tmp_path: Path
) -> None:
    source, out, batched = pictures(3), tmp_path / "out", tmp_path / "batched"
    (source / "broken.png").write_bytes(b"no picture")
    said = farm(source, out, None, "--format", "glb,obj,blend").run(code=1)
    assert "broken: failed: " in said
    assert "3 done, 0 skipped, 1 failed" in said
    batch = [sys.executable, "scripts/batch.py", str(source), "--out", str(batched), "--format", "glb,obj,blend"]
    assert subprocess.run([*batch, *SMALL], cwd=ROOT, env=environment()).returncode == 1
    made = {path.name for path in batched.iterdir() if path.suffix in (".glb", ".obj", ".mtl", ".png")}
    assert len(made) == 3 * 4
    assert {name: (out / name).read_bytes() for name in made} == {name: (batched / name).read_bytes() for name in made}
    assert len(list(out.glob("*.blend"))) == 3  # their own writer looked at them

    (source / "broken.png").unlink()
    (out / f"{min(path.stem for path in source.iterdir())}.glb").unlink()
    assert "1 done, 2 skipped, 0 failed" in farm(source, out, None, "--format", "glb,obj,blend").run()


def test_ctrl_c_leaves_what_is_done_and_the_command_goes_on(
    pictures: Callable[[int], Path], farm: Callable[..., Farm], tmp_path: Path
) -> None:
    source, out = pictures(12), tmp_path / "out"
    command = farm(source, out)
    process = command.start()
    wait_until(lambda: len(list(out.glob("*.glb"))) >= 3, process)
    process.send_signal(signal.SIGINT)
    said, errors = process.communicate()
    assert process.returncode == 130, said + errors
    assert "Run the same command again to go on." in said
    assert "12 done" not in command.run()
    files = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    assert_agree({path.stem for path in source.iterdir()}, files, os.listdir(out / ".farm"))
    assert json.loads((out / "report.json").read_text())["settings"]["model"] == "mini-mdt"
