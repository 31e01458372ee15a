"""A backend process that tests share, with a tiny model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from backend import protocol
from tests.backend.images.test_images import disc
from tests.backend.serving.served import TIMEOUT, Server, start
from tests.fakes.tiny_model import write_tiny_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, and an image to make something of."""
    folder = tmp_path_factory.mktemp("serve")
    write_tiny_model(folder / "tiny")
    disc().save(folder / "disc.png")
    return folder


@pytest.fixture(scope="module")
def shared(folder: Path) -> Iterator[Server]:
    server = start(folder)
    yield server
    server.send(protocol.Shutdown())
    assert server.process.wait(TIMEOUT) == 0


@pytest.fixture
def server(shared: Server) -> Iterator[Server]:
    """The shared server, which every test has to leave alive and idle."""
    yield shared
    assert shared.process.poll() is None
    shared.send(protocol.Unload())
    assert shared.wait_for(lambda message: True) == [protocol.Unloaded()]


@pytest.fixture
def make(folder: Path, tmp_path: Path) -> Callable[..., protocol.Generate]:
    def make(job: str = "a", **changes: Any) -> protocol.Generate:
        out = tmp_path / f"out {job}"
        out.mkdir(exist_ok=True)
        values: dict[str, Any] = {"images": (str(folder / "disc.png"),), "model": str(folder / "tiny"), "out": str(out)}
        values |= {"texture_size": 64, "faces": 300, "steps": 2}
        return protocol.Generate(job=job, **(values | changes))

    return make
