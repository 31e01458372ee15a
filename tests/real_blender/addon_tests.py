"""Runs the add-on's tests inside a real Blender, with pytest as it lies in the checkout's environment.

    blender -b --factory-startup --python tests/real_blender/addon_tests.py -- [ARGS for pytest]

Of the environment only pytest is used, which is plain Python: what is compiled there is for another Python.
"""

from __future__ import annotations

import importlib.machinery
import importlib.metadata
import os
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("Lib/site-packages", "lib/python3.11/site-packages")  # of an environment, by platform
PYTEST = ("_pytest", "iniconfig", "packaging", "pluggy", "py", "pygments", "pytest")
Context = importlib.metadata.DistributionFinder.Context
EVERYTHING = Context()


class OnlyPytest(importlib.metadata.DistributionFinder):
    """Finds pytest and what it needs in the checkout's environment, and their versions."""

    places = [str(ROOT / ".venv" / folder) for folder in PACKAGES]

    def find_spec(self, name: str, path: object, target: object = None) -> importlib.machinery.ModuleSpec | None:
        return importlib.machinery.PathFinder.find_spec(name, self.places) if name in PYTEST else None

    def find_distributions(self, context: Context = EVERYTHING) -> Iterable[importlib.metadata.Distribution]:
        if context.name not in PYTEST:
            return ()
        return importlib.metadata.MetadataPathFinder.find_distributions(Context(name=context.name, path=self.places))


def main(arguments: list[str]) -> int:
    sys.path.append(str(ROOT))
    sys.meta_path.append(OnlyPytest())
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # plugins may be compiled for another Python
    os.chdir(ROOT)
    import pytest

    return int(pytest.main(["tests/blender_addon", "-p", "no:cacheprovider", *arguments]))


try:
    code = main(sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else [])
except BaseException:  # Blender would end with 0
    traceback.print_exc()
    code = 1
sys.stdout.flush()
sys.stderr.flush()
os._exit(code)  # Blender's own way out asks, and some versions of it crash once timers were registered
