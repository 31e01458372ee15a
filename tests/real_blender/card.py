"""A session about the panel in a real, windowed Blender with the fake backend: what an artist works on is first.

    blender --python tests/real_blender/card.py -- OUT_DIR GATE

The card of the selected object, the queue folded and unfolded and in another order, the history with favorites and
what was removed put back, sidebars of 180, 240 and 320 pixels, the presets that ship, the image browser, the
preferences. The backend is the fake one in its mode *held*, and GATE is the folder of its gates.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import bpy

sys.path.insert(0, str(Path(__file__).parents[2]))  # Blender runs this file alone

from backend import protocol
from tests.fakes import fake_backend
from tests.real_blender import driver
from tests.real_blender.driver import (
    OUT,
    Steps,
    call,
    check,
    empty_scene,
    history,
    open_sidebar,
    picture,
    press,
    pump,
    region,
    running,
    view,
)

WAIT = 60.0  # seconds for what the fake backend does at once
GATE = Path(driver.ARGUMENTS[1]).resolve()
WIDTHS = (180, 240, 320)
EDGE = (1, 6)  # how far inside the sidebar its edge is, in pixels: that differs between versions


def until(condition: Callable[[], object], words: str) -> Steps:
    yield from driver.until(condition, words, WAIT)


def gates(is_open: bool) -> None:
    """Let the backend go on to the end, or stand before the second stage of sampling."""
    stages = list(protocol.STAGES)
    for stage in stages:
        (GATE / stage).unlink(missing_ok=True)
        if is_open or stages.index(stage) < stages.index("latents"):
            (GATE / stage).touch()


def add_image(name: str) -> None:
    colors = {"cup": (90, 150, 210), "donut": (232, 120, 160), "lamp": (230, 190, 80)}
    fake_backend.write_png(OUT / f"{name}.png", 128, lambda u, v: colors[name])
    bpy.context.scene.espalier.images.clear()
    driver.add_images(OUT / f"{name}.png")


def click(x: int, y: int) -> Steps:
    driver.mouse(x, y)
    yield 0.2
    subprocess.run(["xdotool", "click", "1"], check=True)
    yield 0.5


def widen(width: int) -> Steps:
    """Drag the sidebar's edge until it is as wide as this."""
    window = view()[0]
    for inside in EDGE * 3:  # the first pixels of a drag do not count
        bar = region("UI")
        if abs(bar.width - width) <= 2:
            break
        start, y = bar.x + inside, window.height - bar.y - bar.height // 2
        driver.mouse(start, y)
        yield 0.4
        subprocess.run(["xdotool", "mousedown", "1"], check=True)
        yield 0.2
        away = bar.width - width
        for share in (0.2, 0.6, 1.0):
            driver.mouse(start + round(away * share), y)
            yield 0.2
        subprocess.run(["xdotool", "mouseup", "1"], check=True)
        yield 0.4
    check(abs(region("UI").width - width) <= 12, f"a sidebar of {region('UI').width} pixels instead of {width}")


def make(name: str, words: str) -> Steps:
    add_image(name)
    call(bpy.ops.espalier.generate)
    yield from until(lambda: name in bpy.data.objects and not pump.jobs.jobs, words)


def card() -> Steps:
    empty_scene()
    for name in ("Camera", "Light"):
        bpy.data.objects.remove(bpy.data.objects[name])
    yield from open_sidebar()
    bpy.context.preferences.view.ui_scale = 1.0
    gates(True)
    for name in ("cup", "lamp", "donut"):
        yield from make(name, f"{name} is made")
    pump.jobs.timings.note("mini-mdt", None, {"structure": 9.0, "finish": 3.0}, "cpu")
    yield from until(lambda: all(entry.picture is not None for entry in history.entries), "portraits are drawn")
    yield 0.5
    picture("1_card")
    seed = bpy.data.objects["donut"]["espalier_seed"]
    yield from press("espalier.regenerate", how="SEED")
    yield from until(lambda: not pump.jobs.jobs, "the card's button makes it again")
    check(bpy.data.objects["donut"]["espalier_seed"] != seed, "with another seed")


def queue() -> Steps:
    settings = bpy.context.scene.espalier
    settings.variants = 4
    gates(False)
    yield from press("espalier.generate")
    yield from until(running(0.2), "four jobs, of which one runs")
    yield 0.5
    picture("2_folded")
    if shutil.which("xdotool"):
        yield from driver.find("bpy.ops.espalier.cancel_all(")
        yield from click(region("UI").x + 30, driver.last_found())
    yield from driver.scroll(bpy.ops.view2d.scroll_down, 6)
    picture("3_unfolded")
    waiting = [job.id for job in pump.jobs.queued]
    call(bpy.ops.espalier.move_job, job=waiting[-1], by=-2)
    check([job.id for job in pump.jobs.queued] == [waiting[-1], *waiting[:-1]], "the last one is next")
    yield 0.3
    picture("4_reordered")
    yield from driver.scroll(bpy.ops.view2d.scroll_up)
    call(bpy.ops.espalier.cancel_all)
    yield from until(lambda: not pump.jobs.jobs, "all are cancelled")
    settings.variants = 1


def past() -> Steps:
    before = [entry.id for entry in history.entries]
    call(bpy.ops.espalier.favorite, entry=before[-1])
    check(history.listed()[0].id == before[-1], "a favorite is first")
    yield from driver.scroll(bpy.ops.view2d.scroll_down)
    call(bpy.ops.espalier.forget, entry=before[1])
    yield 0.5
    picture("5_removed")
    check(len(history.entries) == len(before) - 1, "an entry is removed")
    yield from press("espalier.put_back")
    check([entry.id for entry in history.entries] == before, "and put back into its place")
    yield 0.5
    picture("6_history")
    yield from driver.scroll(bpy.ops.view2d.scroll_up)


def narrow() -> Steps:
    gates(False)
    call(bpy.ops.espalier.generate)
    call(bpy.ops.espalier.generate)
    yield from until(running(0.2), "two jobs")
    bpy.context.scene.espalier.quality = "Custom"
    for width in WIDTHS:
        yield from widen(width)
        picture(f"7_{width}")
        for part in "abc":
            yield from driver.scroll(bpy.ops.view2d.scroll_down, 13)
            picture(f"7_{width}_{part}")
        yield from driver.scroll(bpy.ops.view2d.scroll_up)
    bpy.context.scene.espalier.quality = "Standard"
    call(bpy.ops.espalier.cancel_all)
    yield from until(lambda: not pump.jobs.jobs, "both are cancelled")


def presets() -> Steps:
    settings = bpy.context.scene.espalier
    call(bpy.ops.espalier.preset_apply, name="game")
    check((settings.lods, settings.texture_size) == (True, "2048"), "a preset that ships is applied")
    window, area = view()
    driver.mouse(window.width // 3, window.height // 2)
    yield 0.3
    with bpy.context.temp_override(window=window, screen=window.screen, area=area, region=region("UI")):
        bpy.ops.wm.call_panel(name="ESPALIER_PT_presets")
    yield 0.8
    picture("11_presets")


def browser() -> Steps:
    call(bpy.ops.espalier.add_images, "INVOKE_DEFAULT")
    yield 1.5
    window = bpy.context.window_manager.windows[-1]
    space = window.screen.areas[0].spaces.active
    picture("8_browser")
    check(space.type == "FILE_BROWSER" and space.params.display_type == "THUMBNAIL", "images are shown as thumbnails")
    check(Path(space.params.directory.decode()).resolve() == OUT, "of the folder of the last one")
    with bpy.context.temp_override(window=window, area=window.screen.areas[0]):
        bpy.ops.file.cancel()
    yield 0.5


def preferences() -> Steps:
    call(bpy.ops.espalier.preferences_show)
    yield 2.0
    window = bpy.context.window_manager.windows[-1]
    area = window.screen.areas[0]
    page = next(region for region in area.regions if region.type == "WINDOW")
    picture("9_preferences")
    bpy.context.preferences.addons[driver.ROOT].preferences.show_installer = True
    area.tag_redraw()
    yield 0.5
    with bpy.context.temp_override(window=window, area=area, region=page):
        for _ in range(driver.END):
            bpy.ops.view2d.scroll_down()
    yield 1.0
    picture("10_installer")
    with bpy.context.temp_override(window=window, area=area):
        bpy.ops.wm.window_close()
    yield 0.5


def whole() -> Steps:
    driver.unfold("ESPALIER_PT_history", "ESPALIER_PT_iterate", "ESPALIER_PT_advanced")
    yield from card()
    yield from queue()
    yield from past()
    yield from narrow()
    yield from browser()
    yield from preferences()
    yield from presets()  # last: what pops up stays open until the mouse has been on it


driver.drive(whole())
