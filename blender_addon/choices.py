"""Reads and changes the preferences. ``ui.preferences`` declares them; everything else reaches them here."""

from __future__ import annotations

from typing import Any

import bpy

from .extension import ROOT


def preferences(context: bpy.types.Context) -> Any:
    """The extension's preferences; None in a checkout, which is registered but not installed as an extension."""
    addon = context.preferences.addons.get(ROOT)
    return None if addon is None else addon.preferences


def folders(context: bpy.types.Context) -> tuple[str, str]:
    """The backend's Python and the models folder, as absolute paths; empty if not set."""
    found = preferences(context)
    if found is None:
        return "", ""
    return bpy.path.abspath(found.backend_python), bpy.path.abspath(found.models_folder)


def idle_minutes(context: bpy.types.Context) -> int:
    """After how many minutes without a job the backend is stopped; 0 is never. In a checkout it is never stopped."""
    found = preferences(context)
    return 0 if found is None else int(found.idle_minutes)


def show_colors(context: bpy.types.Context) -> bool:
    """Whether the viewport that was used is made to show a new object's colours."""
    found = preferences(context)
    return found is None or bool(found.show_colors)


def shows_demonstration(context: bpy.types.Context) -> bool:
    """Whether the panel says that the bundled model is a demonstration."""
    found = preferences(context)
    return found is None or bool(found.show_demonstration)


def hide_demonstration(context: bpy.types.Context) -> bool:
    """Have the panel no longer say that. False in a checkout, which has no preferences."""
    found = preferences(context)
    if found is None:
        return False
    found.show_demonstration = False
    return True


def image_folder(context: bpy.types.Context) -> str:
    """The folder that images were last added from, also in earlier sessions; empty if it is not known."""
    found = preferences(context)
    return "" if found is None else str(found.image_folder)


def set_image_folder(context: bpy.types.Context, folder: str) -> None:
    """Remember the folder that images were added from, as long as there are preferences to remember it in."""
    found = preferences(context)
    if found is not None:
        found.image_folder = folder
