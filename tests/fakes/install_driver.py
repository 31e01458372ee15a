"""A process that installs a backend and may be killed: ``install_driver.py REPOSITORY EXTENSION FOLDER INDEX``.

Stands for Blender in tests. Prints the state at the end.
"""

from __future__ import annotations

import sys
import time
import types
from pathlib import Path

repository, extension, folder, index = sys.argv[1:]
package = types.ModuleType("espalier")
package.__path__ = [repository]
sys.modules["espalier"] = package

from espalier.blender_addon.server.environment import Packages  # noqa: E402
from espalier.blender_addon.server.install import Installer  # noqa: E402
from espalier.blender_addon.server.plan import Options  # noqa: E402

packages = Packages.read(Path(extension))
assert packages is not None
installer = Installer(Path(folder), Path(extension), packages)
installer.start(Options(python=sys.executable, index=index))
print("started", flush=True)
while installer.working:
    time.sleep(0.01)
print(installer.status().state.value, flush=True)
