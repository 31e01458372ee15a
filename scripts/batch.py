"""Images to textured meshes, without a window, from a checkout: one asset for each object.

    blender -b --python scripts/batch.py -- IMAGES_OR_FOLDERS... --out DIR [options]
    python scripts/batch.py IMAGES_OR_FOLDERS... --out DIR [options]        (with pip's bpy)

With ``--made`` alone it writes what only Blender writes of objects that a farm made, see ``blender_addon.batch_made``.

``blender_addon.batch`` explains the options. With the extension installed, ``blender --command espalier`` does the
same.
"""

from __future__ import annotations

import os
import sys
import types
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def load_checkout() -> None:
    """Make this checkout importable as the package ``espalier``, the name that Blender gives the installed extension.

    There is no ``__init__.py`` at the root (pytest could not collect tests beside one), so the package is made by hand.
    """
    if "espalier" not in sys.modules:
        package = types.ModuleType("espalier")
        package.__path__ = [str(ROOT)]
        sys.modules["espalier"] = package


def in_blender() -> bool:
    """Whether this is Blender's own Python. pip's bpy has no Blender program."""
    return "bpy" in sys.modules and bool(sys.modules["bpy"].app.binary_path)


def own_arguments() -> list[str]:
    """The arguments for this script, without Blender's."""
    if "--" in sys.argv:
        return sys.argv[sys.argv.index("--") + 1 :]
    return [] if in_blender() else sys.argv[1:]


def main() -> int:
    """Run a batch on the checkout's backend: with this Python, or inside Blender with the one that the add-on uses."""
    load_checkout()
    from espalier.backend import protocol
    from espalier.blender_addon import batch, batch_made
    from espalier.blender_addon.jobs.client import Backend
    from espalier.blender_addon.server import models, process

    if own_arguments() == ["--made"]:
        return batch_made.serve()

    def backend() -> models.BackendAt:
        chosen = "" if in_blender() or process.PYTHON_VARIABLE in os.environ else sys.executable
        return models.BackendAt(process.find_python(chosen, ROOT), ROOT, str(protocol.models_folder()))

    def launch(log: Path) -> Backend:
        here = backend()
        return process.launch(here.python, here.extension, log, models_folder=here.folder, overlap=True)

    return batch.program(own_arguments(), launch, lambda: models.usable(backend()), name="batch.py")


if __name__ == "__main__":
    sys.exit(main())
