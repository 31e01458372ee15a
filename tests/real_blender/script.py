"""A script in a real, windowed Blender with Espalier installed: what it asks for never holds the window up.

    blender --python tests/real_blender/script.py -- OUT_DIR

With the fake backend, which is started by the first call. ``driver`` says where pictures lie.
"""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bpy

sys.path.insert(0, str(Path(__file__).parents[2]))  # Blender runs this file alone

from tests.fakes import fake_backend
from tests.real_blender import driver
from tests.real_blender.driver import (
    OUT,
    Steps,
    call,
    check,
    empty_scene,
    objects,
    open_sidebar,
    picture,
    pump,
    until,
    view,
)

api = importlib.import_module(driver.ROOT).api
FRAME = 16.0  # milliseconds


def timed(what: str, function: Callable[..., Any], *arguments: object, **named: object) -> Any:
    """Call a function of ``api`` and check that it took less than a frame of the main thread."""
    started = time.thread_time()
    found = function(*arguments, **named)
    spent = 1000 * (time.thread_time() - started)
    driver.report.setdefault("api_ms", {})[what] = round(spent, 2)
    check(spent < FRAME, f"{what} takes less than a frame ({spent:.1f} ms)")
    return found


def an_object() -> Steps:
    empty_scene()
    yield from open_sidebar()
    view()[1].spaces.active.shading.color_type = "TEXTURE"
    fake_backend.write_png(OUT / "donut.png", 128, fake_backend.paint)
    told: list[Any] = []
    check(pump.jobs.backend is None, "no backend runs")
    making = timed("the first call", api.generate, OUT / "donut.png", seed=1, when_done=told.append)
    check(not making.done and making.object is None, "the call returns before there is an object")
    yield from until(lambda: pump.jobs.backend is not None, "the backend is started")
    yield from until(lambda: making.done, "the object is made meanwhile")
    check(told == [making], "the script is told once")
    check(making.result().name == "donut", "the handle gives the object")
    yield 0.5
    picture("1_object")
    call(bpy.ops.ed.undo)
    yield 0.2
    check("donut" not in objects(), "one undo takes it away")
    call(bpy.ops.ed.redo)
    yield 0.2
    check("donut" in objects() and making.object == bpy.data.objects["donut"], "and the handle finds what redo brings")


def more() -> Steps:
    call(bpy.ops.mesh.primitive_monkey_add, size=0.8, location=(0, -1.3, 0.4))
    call(bpy.ops.ed.undo_push, message="Suzanne")
    suzanne = bpy.context.object
    making = timed("a second call", api.retexture, suzanne, OUT / "donut.png")
    yield from until(lambda: making.done, "a mesh is painted")
    check(making.object == suzanne and suzanne.active_material is not None, "in place")
    found = timed("models", api.models)
    yield from until(lambda: api.models() or found, "the models become known")
    for words, refused in (
        ("a setting that is wrong", lambda: api.generate(OUT / "donut.png", faces=1)),
        ("waiting", api.wait),
    ):
        try:
            timed(words, refused)
        except api.EspalierError as error:
            check(str(error), f"{words}: {error}")
        else:
            check(False, f"{words} is refused")
    making = timed("an image that is not there", api.generate, OUT / "gone.png")
    making.cancel()
    yield from until(lambda: making.done, "it can be cancelled")
    check(making.error.code == "cancelled" and not pump.jobs.jobs, "and leaves nothing in the queue")
    yield 0.5
    picture("2_painted")


def steps() -> Steps:
    yield from an_object()
    yield from more()


driver.drive(steps())
