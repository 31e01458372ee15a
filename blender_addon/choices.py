"""What the user chose in the preferences. ``ui.preferences`` declares them; everything else reads them here."""

from __future__ import annotations

from typing import Any

import bpy

from .extension import ROOT


def preferences(context: bpy.types.Context) -> Any:
    """The extension's preferences; None in a checkout, which is registered but not installed as an extension."""
    addon = context.preferences.addons.get(ROOT)
    return None if addon is None else addon.preferences


def folders(context: bpy.types.Context) -> tuple[str, str]:
    """The backend's Python and the models folder, absolute; empty where none was chosen."""
    found = preferences(context)
    if found is None:
        return "", ""
    return bpy.path.abspath(found.backend_python), bpy.path.abspath(found.models_folder)


def idle_minutes(context: bpy.types.Context) -> int:
    """After how many minutes without a job the backend ends; 0: never. In a checkout it stays."""
    found = preferences(context)
    return 0 if found is None else int(found.idle_minutes)
