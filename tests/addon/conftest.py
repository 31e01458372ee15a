"""Loads the checkout as the package ``espalier``, as Blender would see it once installed."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FAKE_BACKEND = ROOT / "tests" / "fakes" / "fake_backend.py"

if "espalier" not in sys.modules:
    # No __init__.py lies at the root (pytest could not collect beside one); a package is a module with a __path__.
    package = types.ModuleType("espalier")
    package.__path__ = [str(ROOT)]
    sys.modules["espalier"] = package


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[Callable[..., object]]:
    """``backend("slow")`` starts a fake backend; all of them are ended afterwards."""
    from espalier.blender_addon.client import Backend

    started: list[Backend] = []

    def start(mode: str, timeout: float = 20.0) -> Backend:
        started.append(Backend([sys.executable, str(FAKE_BACKEND), mode], tmp_path / "backend.log"))
        started[-1].start(timeout)
        return started[-1]

    yield start
    for one in started:
        one.close(timeout=0.0)
