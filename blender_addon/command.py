"""``blender --command espalier``: batch without a window and without a checkout."""

from __future__ import annotations

from functools import partial
from typing import Any

import bpy

from . import batch, installation, pump

NAME = "espalier"

_command: Any = None


def run(arguments: list[str]) -> int:
    """Run the command in the Blender that was started for it. Returns the exit code."""
    launch = partial(pump.launch, overlap=True)
    return batch.program(
        arguments, launch, lambda: installation.usable_models(bpy.context), name=f"blender --command {NAME}"
    )


def register() -> None:
    """Register the command with Blender."""
    global _command
    _command = bpy.utils.register_cli_command(NAME, run)


def unregister() -> None:
    """Undo ``register``."""
    global _command
    bpy.utils.unregister_cli_command(_command)
    _command = None
