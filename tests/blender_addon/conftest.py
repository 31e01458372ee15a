"""Fake backends, jobs and a way to wait for them. (tests/conftest.py makes the checkout the package ``espalier``.)"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import bpy
    from espalier.blender_addon.jobs.client import Backend
    from espalier.blender_addon.jobs.queue import Job

ROOT = Path(__file__).parents[2]
FAKE_BACKEND = ROOT / "tests" / "fakes" / "fake_backend.py"


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def fake_command() -> Callable[..., list[str]]:
    """``fake_command("slow", "1")`` is the command line of that fake backend."""
    return lambda *arguments: [sys.executable, str(FAKE_BACKEND), *arguments]


@pytest.fixture
def start(tmp_path: Path, fake_command: Callable[..., list[str]]) -> Iterator[Callable[..., Backend]]:
    """``start("slow")`` starts that fake backend; afterwards none is left."""
    from espalier.blender_addon.jobs.client import Backend

    started: list[Backend] = []

    def start(*arguments: str, timeout: float = 120.0) -> Backend:
        started.append(Backend(fake_command(*arguments), tmp_path / "logs" / "backend.log"))
        started[-1].start(timeout)
        return started[-1]

    yield start
    for backend in started:
        backend.close(timeout=0.0)


@pytest.fixture
def make_job(tmp_path: Path) -> Callable[..., Job]:
    """``make_job("mug")`` is a job with a folder of its own, below that of the test or ``within`` another."""
    from espalier.backend import protocol
    from espalier.blender_addon.jobs.queue import Job

    def make(name: str, within: Path | None = None, **settings: Any) -> Job:
        out = within or tmp_path / f"job-{name}"
        out.mkdir(exist_ok=True)
        request = protocol.Generate(job=name, images=(str(tmp_path / f"{name}.png"),), out=str(out), **settings)
        return Job(request)

    return make


@pytest.fixture(scope="session")
def until() -> Callable[..., None]:
    """``until(condition, step)`` calls ``step`` until the condition holds."""

    def wait(condition: Callable[[], object], step: Callable[[], object] = lambda: None) -> None:
        end = time.monotonic() + 120  # seconds: an idle machine needs less than one
        while not condition():
            assert time.monotonic() < end, "nothing came of it in time"
            step()
            time.sleep(0.005)

    return wait


@pytest.fixture
def mode(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fake_command: Callable[..., list[str]]
) -> Iterator[list[str]]:
    """The add-on, an image, and the fake backend in the mode that the list names."""
    import bpy
    from espalier import blender_addon
    from espalier.blender_addon.server import process

    bpy.ops.wm.read_factory_settings(use_empty=True)
    monkeypatch.setenv(process.PYTHON_VARIABLE, sys.executable)
    mode = ["ok"]
    monkeypatch.setattr(
        process,
        "backend_command",
        lambda python, command, *more: fake_command(*mode) if command == "serve" else fake_command(command),
    )
    blender_addon.register()
    bpy.ops.espalier.add_images("EXEC_DEFAULT", directory=str(tmp_path), files=[{"name": "mug.png"}])
    bpy.context.scene.espalier.lock_seed = True
    yield mode
    blender_addon.unregister()


@pytest.fixture
def mug(mode: list[str], until: Callable[..., None]) -> bpy.types.Object:
    """A generated object, with its undo step."""
    import bpy
    from espalier.blender_addon import pump

    bpy.context.scene.espalier.seed = 7
    bpy.ops.ed.undo_push(message="An image is chosen")
    assert bpy.ops.espalier.generate() == {"FINISHED"}
    until(lambda: not pump.jobs.jobs, pump.step)
    return bpy.data.objects["mug"]
