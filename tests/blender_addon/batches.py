"""What the tests of scripts/batch.py share: images in a folder, backends that are counted, the report read back."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from espalier.blender_addon import batch
from espalier.blender_addon.jobs.client import Backend

from tests.fakes import fake_backend

# Not in a test's own file: one that is skipped half-way would leave half a module to those that import it.
Image = pytest.importorskip("PIL.Image", reason="images are drawn with Pillow, which this Python lacks")
BACKEND = [sys.executable, str(Path(__file__).parents[1] / "fakes" / "fussy_backend.py")]


class Launcher:
    """Starts fake backends and counts them."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, log: Path) -> Backend:
        self.count += 1
        backend = Backend(BACKEND, log)
        backend.start()
        return backend


@pytest.fixture
def launch() -> Launcher:
    return Launcher()


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    """``folder("mug", "lamp")`` holds images with these names."""

    def make(*names: str, where: str = "images") -> Path:
        (tmp_path / where).mkdir()
        for number, name in enumerate(names):
            Image.new("RGBA", (8, 8), (40 * number, 90, 20, 255)).save(tmp_path / where / f"{name}.png")
        return tmp_path / where

    return make


def list_models() -> dict[str, Any]:
    return {model.name: model for model in fake_backend.MODELS.models}


def run(launch: Launcher, out: Path, *arguments: object) -> int:
    return batch.main([*(str(argument) for argument in arguments), "--out", str(out)], launch, list_models)


def report(out: Path) -> dict[str, dict[str, Any]]:
    return {asset["name"]: asset for asset in json.loads((out / "report.json").read_text("utf-8"))["assets"]}


def statuses(out: Path) -> dict[str, str]:
    return {name: asset["status"] for name, asset in report(out).items()}
