"""A built zip in a real Blender: it validates, installs, enables, and finds its preferences and folders."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.build_extension import PLATFORMS, pack

pytestmark = pytest.mark.real_blender
WHEEL = {"name": "uv", "version": "0", "file": "uv.whl", "sha256": "0" * 64, "size": 1, "unpacked": 1}
PACKAGES: dict[str, object] = {
    "uv": WHEEL,
    "carried": [],
    "torch": {"apple" if sys.platform == "darwin" else "cpu": []},
}

LOOK = """
import json, sys, bpy
name = next(addon.module for addon in bpy.context.preferences.addons if addon.module.endswith(".espalier"))
setup = sys.modules[name + ".blender_addon.setup"]
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
        "folder": str(installer.layout.root),
        "state": installer.status().state.value,
        "refusal": refusal,
    }, report)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where Blender can see it: one in a container may not see the system's temporary folder."""
    chosen = os.environ.get("ESPALIER_PICTURES")
    made = Path(chosen).resolve() / "package" if chosen else tmp_path
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(parents=True, exist_ok=True)
    return made


def test_the_zip(folder: Path) -> None:
    blender = shlex.split(os.environ.get("ESPALIER_BLENDER", "blender"))
    if shutil.which(blender[0]) is None:
        pytest.fail(f"no Blender: {blender[0]!r} is not a command (set ESPALIER_BLENDER)")
    environment = {name: value for name, value in os.environ.items() if name != "ESPALIER_PYTHON"}
    environment |= {"BLENDER_USER_RESOURCES": str(folder / "user"), "ESPALIER_PYTHON": ""}

    def run(*arguments: str) -> None:
        subprocess.run([*blender, "--background", *arguments], env=environment, cwd=folder, timeout=300, check=True)

    system = {"linux": "linux-x64", "win32": "windows-x64", "darwin": "macos-arm64"}[sys.platform]
    platform = next(platform for platform in PLATFORMS if platform.name == system)
    pack(platform, PACKAGES, [], folder / "espalier.zip")
    (folder / "look.py").write_text(LOOK)
    run("--command", "extension", "validate", str(folder / "espalier.zip"))
    run("--command", "extension", "install-file", "-r", "user_default", "--enable", str(folder / "espalier.zip"))
    run("--offline-mode", "--python", str(folder / "look.py"), "--", str(folder / "report.json"))
    report = json.loads((folder / "report.json").read_text())
    assert report["module"] == "bl_ext.user_default.espalier"
    assert report["preferences"], "preferences go by the extension's name"
    assert Path(report["folder"]) == folder / "user" / "extensions" / ".user" / "user_default" / "espalier"
    assert report["state"] == "not installed"
    assert "offline mode" in report["refusal"]
