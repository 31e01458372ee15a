"""The part of Espalier that runs inside Blender. It uses ``bpy`` and Blender's own numpy, and nothing else.

``register()`` imports the modules that need ``bpy``, so that ``jobs`` and ``server`` can be used without Blender.
"""

from __future__ import annotations

from types import ModuleType


def _modules() -> tuple[ModuleType, ...]:
    from . import command, pump, translations
    from .request import cutouts, live, opened, painted, properties, thumbnails
    from .scene import candidates, history, news, shading, travel, undo_step
    from .ui import (
        cutout_operators,
        editor_operators,
        explore_operators,
        export_operators,
        guide_operators,
        history_operators,
        image_operators,
        menus,
        object_operators,
        operators,
        panels,
        preferences,
        presets,
        result_panels,
        setup_operators,
        sidebar,
    )

    return (
        translations,
        preferences,
        properties,
        thumbnails,
        opened,
        cutouts,
        painted,
        setup_operators,
        image_operators,
        cutout_operators,
        explore_operators,
        operators,
        object_operators,
        guide_operators,
        history_operators,
        export_operators,
        editor_operators,
        presets,
        panels,
        result_panels,
        travel,
        news,
        shading,
        history,
        candidates,
        undo_step,
        pump,
        live,
        sidebar,
        menus,
        command,
    )


def register() -> None:
    """Register everything with Blender: this is called when the extension is enabled."""
    for module in _modules():
        module.register()


def unregister() -> None:
    """Undo ``register``: this is called when the extension is disabled."""
    for module in reversed(_modules()):
        module.unregister()
