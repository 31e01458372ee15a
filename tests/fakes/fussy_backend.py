"""The fake backend with a mode for each image, given by how the image's name begins: ``error_mug.png`` fails."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from backend import protocol
from tests.fakes.fake_backend import Fake

MODES = ("error", "crash", "damaged", "materials")


class FussyBackend(Fake):
    def spoil(self, request: protocol.Generate) -> bool:
        self.mode = next((mode for mode in MODES if Path(request.images[0]).stem.startswith(mode)), "ok")
        return super().spoil(request)


if __name__ == "__main__":
    FussyBackend("ok").serve()
