"""A batch as a whole program, on a fake backend: ``python batch_program.py fussy|slow OPTIONS``.

``fussy`` fails as the names of images say, ``slow`` takes a minute for each object.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from scripts.batch import load_checkout
from tests.fakes import fake_backend

BACKENDS = {"fussy": ["fussy_backend.py"], "slow": ["fake_backend.py", "slow", "60"]}


def main() -> int:
    load_checkout()
    import bpy  # noqa: F401  # as in Blender: its own temporary folder must go, too
    from espalier.blender_addon import batch
    from espalier.blender_addon.jobs.client import Backend

    script, *arguments = BACKENDS[sys.argv[1]]

    def launch(log: Path) -> Backend:
        backend = Backend([sys.executable, str(Path(__file__).with_name(script)), *arguments], log)
        backend.start()
        return backend

    models: Any = {model.name: model for model in fake_backend.MODELS.models}
    return batch.program(sys.argv[2:], launch, lambda: models, name="batch")


if __name__ == "__main__":
    sys.exit(main())
