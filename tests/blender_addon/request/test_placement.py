"""Where new objects stand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import bpy
import numpy as np
import pytest
from espalier import blender_addon
from espalier.backend import protocol
from espalier.blender_addon.jobs.progress import clock, duration, seconds_left
from espalier.blender_addon.jobs.queue import Job
from espalier.blender_addon.request import placement
from espalier.blender_addon.scene.mesh_import import stand


@pytest.fixture
def settings() -> Iterator[Any]:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    blender_addon.register()
    bpy.context.scene.cursor.location = (1, 2, 3)
    yield bpy.context.scene.espalier
    blender_addon.unregister()


def test_at_the_cursor_and_at_the_origin(settings: Any) -> None:
    settings.size = 2.5
    assert placement.find_place(bpy.context) == ((1, 2, 3), 2.5)
    settings.place = "ORIGIN"
    assert placement.find_place(bpy.context) == ((0, 0, 0), 2.5)


def test_on_what_lies_below_the_cursor(settings: Any) -> None:
    settings.place = "GROUND"
    assert placement.find_place(bpy.context)[0] == (1, 2, 0)
    bpy.ops.mesh.primitive_cube_add(size=1, location=(1, 2, 1))
    assert placement.find_place(bpy.context)[0] == pytest.approx((1, 2, 1.5))
    bpy.context.scene.cursor.location = (1, 2, 1.5)  # snapped onto it
    assert placement.find_place(bpy.context)[0] == pytest.approx((1, 2, 1.5))
    bpy.context.scene.cursor.location = (5, 5, -1)
    assert placement.find_place(bpy.context)[0] == (5, 5, 0)


def test_at_the_active_objects_place_and_size(settings: Any) -> None:
    settings.place = "ACTIVE"
    bpy.ops.mesh.primitive_cube_add(size=1, location=(5, 6, 7), scale=(1, 3, 2))
    location, size = placement.find_place(bpy.context)
    assert location == pytest.approx((5, 6, 6))
    assert size == pytest.approx(3)
    bpy.ops.object.empty_add(location=(4, 4, 4))
    location, size = placement.find_place(bpy.context)
    assert location == pytest.approx((4, 4, 4))
    assert size == settings.size


def test_an_object_stands_on_its_origin() -> None:
    vertices = np.random.default_rng(0).random((100, 3)).astype(np.float32) * (0.2, 0.9, 0.4) - 0.3
    factor, shift = stand(vertices.astype(np.float32), 3.0)
    placed = vertices * factor + shift
    low, high = placed.min(axis=0), placed.max(axis=0)
    assert (high - low).max() == pytest.approx(3.0, rel=1e-5)
    assert low[2] == pytest.approx(0, abs=1e-5)
    np.testing.assert_allclose((low + high)[:2], 0, atol=1e-5)


def test_the_time_left() -> None:
    job = Job(protocol.Generate("a", ("mug.png",), "out"))
    assert seconds_left(job, None, 5.0) is None
    job.started = 1.0
    assert seconds_left(job, None, 5.0) is None  # too early to say
    job.fraction = 0.25
    assert seconds_left(job, None, 5.0) == 12.0
    timings = {"structure": 4.0, "latents": 2.0, "finish": 10.0, "total": 99.0}
    job.fraction = 0.05 + 0.02 + 0.03 + 0.15  # in the middle of the structure
    assert seconds_left(job, timings, 5.0) == pytest.approx(2 + 2 + 10)
    job.fraction = 1.0
    assert seconds_left(job, timings, 5.0) == pytest.approx(0)


@pytest.mark.parametrize(("seconds", "words"), [(0.2, "0:01"), (7, "0:07"), (150, "2:30"), (3900, "1:05:00")])
def test_clock(seconds: float, words: str) -> None:
    assert clock(seconds) == words


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.02, "0.1 s"), (0.63, "0.6 s"), (9.97, "10 s"), (42, "42 s"), (150, "2:30 min")]
)
def test_duration(seconds: float, words: str) -> None:
    assert duration(seconds) == words
