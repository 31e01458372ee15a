"""The part of Espalier that runs inside Blender: ``bpy`` and Blender's own numpy, nothing else.

The extension is the package above this one (``bl_ext.<repository>.espalier`` when installed, ``espalier`` in a
checkout); preferences and user folders go by its name, never by a sub-package's. The modules that need ``bpy`` are
imported by ``register()``, so that ``client``, ``jobs`` and ``server`` can be used without Blender.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

ROOT = __package__.rpartition(".")[0]
FOLDER = Path(__file__).parents[1]  # the extension's own: replaced at every update, never written to


def _modules() -> tuple[ModuleType, ...]:
    from . import command, pump, translations
    from .request import properties, thumbnails
    from .scene import history
    from .ui import (
        image_operators,
        object_operators,
        object_panels,
        operators,
        panels,
        preferences,
        presets,
        setup_operators,
    )

    return (
        translations,
        preferences,
        properties,
        thumbnails,
        setup_operators,
        image_operators,
        operators,
        object_operators,
        presets,
        panels,
        object_panels,
        history,
        pump,
        command,
    )


def register() -> None:
    for module in _modules():
        module.register()


def unregister() -> None:
    for module in reversed(_modules()):
        module.unregister()
