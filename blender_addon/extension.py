"""The extension's name and folder, as Blender knows them.

The extension is the package above this one: ``bl_ext.<repository>.espalier`` when installed, ``espalier`` in a
checkout. Preferences and user folders are found by its name, never by that of a subpackage.
"""

from __future__ import annotations

from pathlib import Path

ROOT = __package__.rpartition(".")[0]
FOLDER = Path(__file__).parents[1]  # each update replaces it, so nothing is written to it


def is_checkout() -> bool:
    """Whether this is a checkout of the repository rather than an installed extension."""
    return not ROOT.startswith("bl_ext.")
