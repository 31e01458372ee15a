"""What the tests of the installer share: an installer, and waiting for it."""

from __future__ import annotations

import time
from pathlib import Path

from espalier.blender_addon.server.environment import Packages
from espalier.blender_addon.server.install import Installer, State
from espalier.blender_addon.server.plan import Options


def make_installer(folder: Path, extension: Path) -> Installer:
    packages = Packages.read(extension)
    assert packages is not None
    return Installer(folder, extension, packages)


def finish(installer: Installer) -> State:
    end = time.monotonic() + 120
    while installer.working:
        assert time.monotonic() < end, installer.status()
        time.sleep(0.01)
    return installer.status().state


def install(installer: Installer, options: Options, repair: bool = False) -> State:
    installer.start(options, repair)
    return finish(installer)
