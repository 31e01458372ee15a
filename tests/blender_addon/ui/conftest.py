"""The extension, registered, and a job in its list."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import bpy
import pytest
from espalier import blender_addon
from espalier.backend import protocol
from espalier.blender_addon import pump
from espalier.blender_addon.jobs.queue import Job


@pytest.fixture
def registered() -> Iterator[None]:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    blender_addon.register()
    yield
    blender_addon.unregister()


@pytest.fixture
def job(registered: None, tmp_path: Path) -> Iterator[Job]:
    request = protocol.Generate("a", (str(tmp_path / "mug.png"),), str(tmp_path / "out"))
    job = Job(request, pump.target(bpy.context, (0, 0, 0), 1.0))
    pump.jobs.jobs.append(job)
    yield job
    pump.jobs.jobs.clear()
