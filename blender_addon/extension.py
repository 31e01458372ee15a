"""The extension as Blender knows it: its name and its folder.

The extension is the package above this one (``bl_ext.<repository>.espalier`` when installed, ``espalier`` in a
checkout). Preferences and user folders go by its name, never by a sub-package's.
"""

from __future__ import annotations

from pathlib import Path

ROOT = __package__.rpartition(".")[0]
FOLDER = Path(__file__).parents[1]  # the extension's own: replaced at every update, never written to


def is_checkout() -> bool:
    """Whether this is a checkout of the repository, not an installed extension."""
    return not ROOT.startswith("bl_ext.")
