"""A batch as a whole program, on the fake backend that takes a minute for each object."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from scripts.batch import load_checkout
from tests.fakes import fake_backend

FAKE = Path(__file__).with_name("fake_backend.py")


def main() -> int:
    load_checkout()
    import bpy  # noqa: F401  # as in Blender: its own temporary folder must go, too
    from espalier.blender_addon import batch
    from espalier.blender_addon.jobs.client import Backend

    def launch(log: Path) -> Backend:
        backend = Backend([sys.executable, str(FAKE), "slow", "60"], log)
        backend.start()
        return backend

    models: Any = {model.name: model for model in fake_backend.MODELS.models}
    return batch.program(sys.argv[1:], launch, lambda: models, name="batch")


if __name__ == "__main__":
    sys.exit(main())
