"""A session in a real, windowed Blender about the live preview, with the real backend and the bundled model.

    blender --python tests/real_blender/live.py -- OUT_DIR

The preview follows the seed, a file that another program saves, and a brush in the image editor; then it is kept.
``driver`` says how buttons are pressed and where pictures lie.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import bpy
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))  # Blender runs this file alone

from tests.real_blender import driver
from tests.real_blender.driver import (
    OUT,
    Steps,
    add_images,
    call,
    check,
    empty_scene,
    objects,
    open_sidebar,
    picture,
    press,
    pump,
    report,
    until,
    viewport,
)

EXAMPLES = Path(__file__).parents[2] / "examples"
JOB = 400.0  # seconds that a job may take on a machine that has other things to do
CHANGES, DRAG = 9, 4.0  # of the seed; seconds
live = sys.modules[f"{driver.ROOT}.blender_addon.request.live"]
image_editor = sys.modules[f"{driver.ROOT}.blender_addon.ui.image_editor"]
with_mouse = shutil.which("xdotool") is not None


def shown() -> Any:
    """The request whose preview has been drawn; None if there is none."""
    overlay = viewport._overlays.get(live.PREVIEW)
    drawn = overlay is not None and overlay.batch is not None
    return live._live.shown.request if drawn and live._live and live._live.shown else None


def is_settled() -> bool:
    wanted = live._wanted(live._live, bpy.context.scene)
    return shown() is not None and live._live.job is None and live._live.answered == live._live.asked == wanted


def turned_on() -> Steps:
    empty_scene()
    yield from open_sidebar()
    shutil.copy(EXAMPLES / "mushroom.png", OUT / "saved.png")
    add_images(OUT / "saved.png")
    bpy.context.scene.espalier.seed = 7
    yield 1.0
    yield from press("espalier.live")
    yield from until(is_settled, "the preview is there", JOB)
    yield 1.0
    check(objects() == ["Camera", "Light"], "and is no object")
    picture("1_on")


def followed(change: Callable[[], object]) -> Steps:
    """Change something, wait for the preview, and note how long it took."""
    before, began = shown(), time.monotonic()
    change()
    while shown() in (None, before):
        if time.monotonic() > began + JOB:
            raise AssertionError("the preview does not follow")
        yield 0.01
    report.setdefault("live_s", []).append(round(time.monotonic() - began, 3))


def seeds() -> Steps:
    settings = bpy.context.scene.espalier
    for number in range(CHANGES):
        yield from followed(partial(setattr, settings, "seed", 20 + number))
        yield from until(is_settled, f"seed {20 + number} is shown", JOB)
    report["live_median_s"] = statistics.median(report["live_s"])
    check(True, f"the preview follows the seed within {report['live_median_s']} s in the median")
    drawn, began = set(), time.monotonic()
    while time.monotonic() < began + DRAG:
        settings.seed += 1
        yield 0.03
        drawn.add(shown())
    report["live_updates_per_s"] = round(len(drawn - {None}) / DRAG, 2)
    # On a machine that needs longer for an update than Live waits for one, a drag cancels all but the last.
    fast = report["live_median_s"] < live.PATIENCE
    check(len(drawn) > 4 or not fast, f"in a drag, {report['live_updates_per_s']} previews a second are drawn")
    yield from until(lambda: is_settled() and shown().seeds == (settings.seed,), "the last one stays", JOB)
    picture("2_dragged")


def saved() -> Steps:
    yield from followed(lambda: shutil.copy(EXAMPLES / "mug.png", OUT / "saved.png"))
    yield from until(is_settled, "the preview follows a file that is saved", JOB)
    check(live._live.problem is None, "without an error")
    yield 1.0
    picture("3_saved")


def open_editor() -> Any:
    window = bpy.context.window_manager.windows[0]
    area = max((area for area in window.screen.areas if area.type != "VIEW_3D"), key=lambda area: area.height)
    area.type = area.ui_type = "IMAGE_EDITOR"
    return image_editor.Editor(window, area, own=False)


def place(editor: Any, across: float, up: float) -> tuple[int, int]:
    x, y = editor.region.view2d.view_to_region(across, up, clip=False)
    return editor.region.x + x, editor.window.height - (editor.region.y + y)


def painted() -> Steps:
    settings = bpy.context.scene.espalier
    image = bpy.data.images.load(str(EXAMPLES / "mushroom.png"))
    image.pack()
    settings.images.clear()
    settings.images.add().image = image
    editor = open_editor()
    yield 0.5
    space = editor.area.spaces.active
    space.image, space.ui_mode = image, "PAINT"
    yield 0.5
    with bpy.context.temp_override(**editor.override()):
        bpy.ops.image.view_all(fit_view=True)
    yield from until(is_settled, "an image of the .blend is shown", JOB)
    image_editor.ready_brush(editor, add=False)
    bpy.context.scene.tool_settings.image_paint.brush.size = 60
    call(bpy.ops.ed.undo_push, message="Before the stroke")
    before = np.empty(len(image.pixels), np.float32)
    image.pixels.foreach_get(before)
    if with_mouse:
        driver.mouse(*place(editor, 0.3, 0.75))
        yield 0.5
        first = shown()
        subprocess.run(["xdotool", "mousedown", "1"], check=True)
        for along in np.linspace(0.3, 0.7, 8):
            driver.mouse(*place(editor, float(along), 0.75))
            yield 0.1
        yield from until(lambda: shown() is not first, "the preview follows the brush before it is lifted", JOB)
        picture("4_brush")
        subprocess.run(["xdotool", "mouseup", "1"], check=True)
    else:
        changed = before.reshape(-1, 4).copy()
        changed[: len(changed) // 2, 3] = 0
        yield from followed(lambda: (image.pixels.foreach_set(changed.ravel()), image.update()))
    yield 0.5
    yield from until(is_settled, "the whole stroke is shown", JOB)
    after = np.empty(len(image.pixels), np.float32)
    image.pixels.foreach_get(after)
    check(not np.array_equal(before, after), "the image has changed")
    yield 1.0
    picture("5_painted")


def kept() -> Steps:
    yield from until(is_settled, "what is to be kept is shown", JOB)
    seed = shown().seeds[0]
    yield from press("espalier.keep_live")
    yield from until(lambda: not pump.jobs.jobs, "what is shown is finished", JOB)
    yield 1.0
    (name,) = set(objects()) - {"Camera", "Light"}
    check(bpy.data.objects[name]["espalier_seed"] == seed, "with its seed")
    check(live.is_on(), "Live goes on")
    picture("6_kept")
    yield from press("espalier.live")
    yield 0.5
    check(not live.is_on() and viewport._overlays == {} and not pump.jobs.active, "off leaves nothing")
    picture("7_off")


def whole() -> Steps:
    for part in (turned_on, seeds, saved, painted, kept):
        yield from part()


driver.drive(whole())
