"""A built zip in a real Blender: it validates, installs, enables, finds its folders, and has its command."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from tests.fakes import fake_backend
from tests.real_blender.conftest import Blender

pytestmark = pytest.mark.real_blender

LOOK = """
import json, sys, bpy
name = next(addon.module for addon in bpy.context.preferences.addons if addon.module.endswith(".espalier"))
setup = sys.modules[name + ".blender_addon.installation"]
installer = setup.installer()
refusal = ""
try:
    bpy.ops.espalier.install_backend()
except RuntimeError as error:
    refusal = str(error)
with open(sys.argv[-1], "w") as report:
    json.dump({
        "module": name,
        "preferences": bpy.context.preferences.addons[name].preferences is not None,
        "folder": str(installer.folders.root),
        "state": installer.status().state.value,
        "refusal": refusal,
    }, report)
"""


def test_the_zip(installed: Blender) -> None:
    folder = installed.folder
    (folder / "look.py").write_text(LOOK)
    look = ("--python", str(folder / "look.py"), "--", str(folder / "report.json"))
    installed.run("--background", "--offline-mode", *look)
    report = json.loads((folder / "report.json").read_text())
    assert report["module"] == "bl_ext.user_default.espalier"
    assert report["preferences"], "preferences go by the extension's name"
    assert Path(report["folder"]) == folder / "user" / "extensions" / ".user" / "user_default" / "espalier"
    assert report["state"] == "not installed"
    assert "offline mode" in report["refusal"]


PIPELINE = """
import sys
from pathlib import Path
found = {}
exec(compile(FINDER, "docs/automation.md", "exec"), found)
from bl_ext.user_default.espalier import api
assert found["api"] is api, "both ways lead to the same module"
import bpy
folder = Path(sys.argv[-1])
mug = api.generate(folder / "mug.png", seed=3, size=0.25)
assert abs(max(mug.dimensions) - 0.25) < 1e-6, mug.dimensions
api.retexture(mug, folder / "mug.png")
print("models:", sorted(api.models()))
bpy.ops.wm.save_as_mainfile(filepath=str(folder / "made.blend"))
try:
    api.generate(folder / "mug.png", faces=1)
except api.EspalierError as error:
    print("refused:", error)
api.generate(folder / "mug.png", colour="red")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="the fake backend's Python is a shell script")
def test_a_script_finds_its_module(installed: Blender) -> None:
    """By both ways of docs/automation.md, in the background; what it does not catch is Blender's exit code."""
    page = (Path(__file__).parents[2] / "docs" / "automation.md").read_text("utf-8")
    (finder,) = re.findall(r"^<!-- example: installed -->\n```python\n(.*?)^```", page, re.M | re.S)
    folder = installed.folder / "pipeline"
    folder.mkdir()
    fake_backend.write_png(folder / "mug.png", 16, fake_backend.paint)
    (folder / "script.py").write_text(f"FINDER = {finder!r}\n{PIPELINE}")
    script = ("--python-exit-code", "7", "--python", str(folder / "script.py"), "--", str(folder))
    said = installed.run("--background", *script, environment=installed.fake_python("ok"), codes=(7,))
    assert "models: [" in said
    assert "refused: Faces must be" in said
    assert (folder / "made.blend").is_file()


@pytest.mark.skipif(sys.platform == "win32", reason="the fake backend's Python is a shell script")
def test_the_command(installed: Blender) -> None:
    """Folders to assets: views of one object, again without doing anything, and what was called wrongly."""
    images, out = installed.folder / "images", installed.folder / "assets"
    images.mkdir()
    for name in ("mug_front", "mug_back", "table"):
        fake_backend.write_png(images / f"{name}.png", 16, fake_backend.paint)
    python = installed.fake_python("ok")

    def command(*arguments: str, code: int = 0) -> list[str]:
        # What Blender itself has to say stands before and after.
        lines = installed.run("--command", "espalier", *arguments, environment=python, codes=(code,)).splitlines()
        return [line for line in lines if line.startswith("[") or "skipped" in line or "usage" in line]

    assert command("--help")[0].startswith("usage: blender --command espalier")
    mug, table, tally = command(str(images), "--out", str(out))
    assert mug.startswith("[1/2] mug: done in ")
    assert table.startswith("[2/2] table: done in ")
    assert tally == f"2 done, 0 skipped, 0 failed: {out / 'report.json'}"
    assert {path.name for path in out.iterdir()} == {
        *("mug.glb", "mug.blend", "table.glb", "table.blend"),
        *("report.json", "backend.log", ".batch.lock"),
    }
    assert command(str(images), "--out", str(out))[-1].startswith("0 done, 2 skipped, 0 failed")
    (images / "table.png").write_bytes(b"another")
    assert command(str(images), "--out", str(out))[-1].startswith("1 done, 1 skipped, 0 failed")
    python |= installed.fake_python("error")
    (images / "table.png").write_bytes(b"yet another")
    assert command(str(images), "--out", str(out), code=1)[-1].startswith("0 done, 1 skipped, 1 failed")
    command(str(images), code=2)
