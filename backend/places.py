"""Where things lie on this computer that both sides must find. Standard library only; ``protocol`` exports it."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

#: Environment variable with the folder that published models are installed in.
MODELS_VARIABLE = "ESPALIER_MODELS"


def models_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Where published models are installed: ``ESPALIER_MODELS``, else ``espalier/models`` in the user's data folder."""
    chosen = environ.get(MODELS_VARIABLE)
    return Path(chosen).expanduser().absolute() if chosen else _user_data(environ) / "espalier" / "models"


def _user_data(environ: Mapping[str, str]) -> Path:
    if sys.platform == "win32":
        local = environ.get("LOCALAPPDATA")
        return Path(local) if local else Path.home() / "AppData" / "Local"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support"
    chosen = Path(environ.get("XDG_DATA_HOME", ""))
    return chosen if chosen.is_absolute() else Path.home() / ".local" / "share"  # relative ones count as unset (XDG)
