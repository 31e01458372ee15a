"""Pictures, farms and clusters that end with the test."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.backend.farm.farms import EXAMPLES, Farm, Nodes, environment

TOKEN = secrets.token_hex(32)


@pytest.fixture
def ray_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """What Ray in this process needs. It keeps the first token that it reads, so all tests have the same."""
    for name, value in environment(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=TOKEN).items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def pictures(tmp_path: Path) -> Callable[[int], Path]:
    """Makes a folder of so many images."""

    def make(count: int) -> Path:
        folder = tmp_path / "pictures"
        folder.mkdir()
        for number in range(count):
            example = EXAMPLES[number % len(EXAMPLES)]
            shutil.copy(example, folder / f"{example.stem}{number:02}.png")
        return folder

    return make


@pytest.fixture
def farm() -> Iterator[Callable[..., Farm]]:
    farms: list[Farm] = []

    def make(source: str | Path, out: str | Path, address: str | None = None, *more: str, **variables: str) -> Farm:
        farms.append(Farm(str(source), str(out), address, environment(**variables), more))
        return farms[-1]

    yield make
    for process in (process for each in farms for process in each.started):
        process.kill()
        process.communicate()


@pytest.fixture
def nodes(ray_here: None) -> Iterator[Callable[[int], Nodes]]:
    made: list[Nodes] = []

    def make(count: int) -> Nodes:
        made.append(Nodes(count))
        return made[-1]

    yield make
    for each in made:
        each.cluster.shutdown()
