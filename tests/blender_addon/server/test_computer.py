"""What this computer is, and which model fits it."""

from __future__ import annotations

import pytest
from espalier.blender_addon.server import computer
from espalier.blender_addon.server.computer import FITS, FITS_LOW_MEMORY, GB, SLOW, TOO_SMALL, Computer


@pytest.mark.parametrize(
    ("machine", "fit"),
    [
        (Computer(8, 32 * GB), SLOW),
        (Computer(8, int(7.7 * GB)), SLOW),  # of 8, the system keeps some
        (Computer(2, 4 * GB), TOO_SMALL),
        (Computer(2, None), ""),
        (Computer(8, 16 * GB, "NVIDIA GeForce RTX 4090", 24 * GB), FITS),
        (Computer(8, 16 * GB, "NVIDIA GeForce RTX 2060", int(5.8 * GB)), FITS),
        (Computer(8, 16 * GB, "NVIDIA GeForce GTX 1650", int(3.9 * GB)), FITS_LOW_MEMORY),
        (Computer(8, 16 * GB, "NVIDIA GeForce GT 1030", 2 * GB), TOO_SMALL),
        (Computer(8, 16 * GB, "NVIDIA GPU"), ""),
    ],
)
def test_which_model_fits(machine: Computer, fit: str) -> None:
    assert machine.fit == fit


def test_this_computer() -> None:
    here = computer.this_computer("A GPU", 4 * GB)
    assert here.cores >= 1
    assert here.memory is not None
    assert 256 << 20 < here.memory < 1 << 50
    assert (here.gpu, here.gpu_memory) == ("A GPU", 4 * GB)


def test_a_system_that_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(name: str) -> int:
        raise ValueError("unrecognized configuration name")

    if hasattr(computer.os, "sysconf"):
        monkeypatch.setattr(computer.os, "sysconf", unknown)
        assert computer.memory_size() is None
