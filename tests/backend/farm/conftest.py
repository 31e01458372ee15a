"""Pictures, farms and clusters that end with the test."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.backend.farm.farms import EXAMPLES, Farm, Nodes, environment


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
def nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], Nodes]]:
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    made: list[Nodes] = []

    def make(count: int) -> Nodes:
        made.append(Nodes(count))
        return made[-1]

    yield make
    for each in made:
        each.cluster.shutdown()
