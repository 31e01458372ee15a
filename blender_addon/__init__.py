"""The part of Espalier that runs inside Blender: ``bpy`` and Blender's own numpy, nothing else.

The extension is the package above this one (``bl_ext.<repository>.espalier`` when installed, ``espalier`` in a
checkout); preferences and user folders go by its name, never by a sub-package's. The modules that need ``bpy`` are
imported by ``register()``, so that ``client``, ``jobs`` and ``server`` can be used without Blender.
"""

from __future__ import annotations

from pathlib import Path

ROOT = __package__.rpartition(".")[0]
FOLDER = Path(__file__).parents[1]  # the extension's own: replaced at every update, never written to


def register() -> None:
    from . import command, operators, panels, preferences, properties, pump, setup_operators, thumbnails

    for module in (preferences, properties, thumbnails, setup_operators, operators, panels, pump, command):
        module.register()


def unregister() -> None:
    from . import command, operators, panels, preferences, properties, pump, setup_operators, thumbnails

    for module in (command, pump, panels, operators, setup_operators, thumbnails, properties, preferences):
        module.unregister()
