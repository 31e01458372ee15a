"""Reads the preferences. ``ui.preferences`` declares them; everything else reads them here."""

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
