"""What an artist sees: where objects stand, their colours, and what is said of them, in a real, windowed Blender.

    blender --python tests/real_blender/sight.py -- OUT_DIR GATE

The extension has just been installed, the scene is Blender's own with its cube, the fake backend is *held*, and GATE is
the folder of its gates. The sidebar is closed most of the time: nothing may depend on it.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import bpy
import numpy as np
from mathutils import Vector

sys.path.insert(0, str(Path(__file__).parents[2]))  # Blender runs this file alone

from backend import protocol
from tests.fakes import fake_backend
from tests.real_blender import driver
from tests.real_blender.driver import OUT, Steps, call, check, picture, pump, region, report, running, until, view

GATE = Path(driver.ARGUMENTS[1]).resolve()


def gates(until_before: str = "") -> None:
    """Let the backend go on until it stands before this stage; "" lets it go to the end."""
    for stage in protocol.STAGES:
        (GATE / stage).unlink(missing_ok=True)
    for stage in protocol.STAGES:
        if stage == until_before:
            return
        (GATE / stage).touch()


def shading() -> bpy.types.View3DShading:
    return view()[1].spaces.active.shading


def sidebar(shown: bool) -> None:
    view()[1].spaces.active.show_region_ui = shown


def tab() -> str:
    """The tab of the open sidebar; empty if it is closed or has none yet."""
    if not view()[1].spaces.active.show_region_ui or region("UI").is_property_readonly("active_panel_category"):
        return ""
    return str(region("UI").active_panel_category)


def other_area() -> bpy.types.Area:
    """The largest area but the viewport."""
    others = [area for area in view()[0].screen.areas if area.type != "VIEW_3D"]
    return max(others, key=lambda area: area.width * area.height)


def call_in(area: bpy.types.Area, operator: Callable[..., set[str]], **properties: object) -> set[str]:
    window, main = view()[0], next(region for region in area.regions if region.type == "WINDOW")
    with bpy.context.temp_override(window=window, screen=window.screen, area=area, region=main):
        return operator(**properties)


def log() -> str:
    """What the Info log holds."""
    area = other_area()
    before, area.type = area.type, "INFO"
    call_in(area, bpy.ops.info.select_all, action="SELECT")
    call_in(area, bpy.ops.info.report_copy)
    call_in(area, bpy.ops.info.select_all, action="DESELECT")
    area.type = before
    return str(bpy.context.window_manager.clipboard)


def apart(*names: str) -> bool:
    """Whether the bounding boxes of these objects do not overlap."""
    boxes = []
    for name in names:
        there = bpy.data.objects[name]
        corners = np.array([there.matrix_world @ Vector(corner) for corner in there.bound_box])
        boxes.append((corners.min(axis=0), corners.max(axis=0)))
    return all(
        (low >= other_high - 1e-4).any() or (high <= other_low + 1e-4).any()
        for number, (low, high) in enumerate(boxes)
        for other_low, other_high in boxes[:number]
    )


def key(*keys: str) -> None:
    subprocess.run(["xdotool", "key", *keys], check=True)


def executed(operator: str, before: int) -> Callable[[], bool]:
    """Whether an operator was executed since it had been executed so often."""
    return lambda: driver.calls_of(operator) > before


def after_installation() -> Steps:
    yield from until(lambda: tab() == "Espalier", "after the installation its tab is open", 20)
    yield 1.0
    picture("1_installed")
    check("Espalier is installed" in log(), "and a report says so")
    sidebar(False)
    yield 0.3
    fake_backend.write_png(OUT / "donut.png", 128, fake_backend.paint)
    driver.add_images(OUT / "donut.png")
    yield from until(lambda: tab() == "Espalier", "images that are dropped open it, too", 20)
    sidebar(False)
    yield 0.3


def beside_the_cube() -> Steps:
    check(shading().type == "SOLID" and shading().color_type == "MATERIAL", "the viewport is grey, as Blender comes")
    gates()
    call(bpy.ops.espalier.generate)
    yield from until(lambda: "donut" in bpy.data.objects and not pump.jobs.jobs, "the object is there")
    yield 0.6
    picture("2_ready")
    check(apart("Cube", "donut"), "it stands beside the cube")
    check(shading().color_type == "TEXTURE", "with its colors")
    check("donut is ready." in log(), "the log says that it is ready")
    last = bpy.context.window_manager.operators[-1].bl_idname
    check(last == "ESPALIER_OT_generated", "no operator from before can be adjusted, which would undo it")
    call(bpy.ops.ed.undo)
    yield 0.3
    check("donut" not in bpy.data.objects and shading().color_type == "MATERIAL", "undo takes object and colors away")
    call(bpy.ops.ed.redo)
    yield 0.3
    check("donut" in bpy.data.objects and shading().color_type == "TEXTURE", "redo brings both back")


def many() -> Steps:
    bpy.context.scene.espalier.variants = 3
    for _ in range(2):
        call(bpy.ops.espalier.generate)
    yield from until(lambda: not pump.jobs.jobs, "two presses make three variants each")
    bpy.context.scene.espalier.variants = 1
    names = [name for name in driver.objects() if name.startswith(("Cube", "donut"))]
    check(len(names) >= 8, "in all")
    check(apart(*names), "all of them stand beside each other")
    for name in names[1:]:
        bpy.data.objects[name].select_set(True)
    call(bpy.ops.view3d.view_selected)
    yield 1.0
    picture("3_many")


def chosen_viewports_stay() -> Steps:
    for kind, colors in (("WIREFRAME", "MATERIAL"), ("SOLID", "RANDOM")):
        shading().type, shading().color_type = kind, colors
        call(bpy.ops.espalier.generate)
        yield from until(lambda: not pump.jobs.jobs, f"one more in {kind} {colors}")
        check((shading().type, shading().color_type) == (kind, colors), "which stays")
    shading().color_type = "TEXTURE"


def failing() -> Steps:
    gates("latents")
    call(bpy.ops.espalier.generate)
    yield from until(running(0.3), "a job runs")
    os.kill(pump.jobs.backend.pid, signal.SIGTERM)
    yield from until(lambda: pump.jobs.jobs[0].error, "and its backend is killed")
    yield 0.6
    picture("4_failed")
    check("donut failed:" in log(), "the log says what failed, with the sidebar closed")
    gates()


def found_in_menus() -> Steps:
    area = other_area()
    kind, area.type = area.type, "IMAGE_EDITOR"
    area.spaces.active.image = bpy.data.images.load(str(OUT / "donut.png"))
    call_in(area, bpy.ops.wm.call_menu, name="IMAGE_MT_image")
    yield 1.0
    picture("5_image_menu")
    if shutil.which("xdotool"):
        key("Escape")
        yield 0.3
    before = driver.objects()
    done = call_in(area, bpy.ops.espalier.generate_from_shown)
    check(done == {"FINISHED"}, "the image editor's image is generated")
    area.type = kind
    yield from until(lambda: len(driver.objects()) == len(before) + 1, "and there")
    check(bpy.context.scene.espalier.images[0].image.name == "donut.png", "from that image")
    window, area = view()
    driver.mouse(area.x + area.width // 3, window.height - area.y - area.height // 2)
    yield 0.5
    call(bpy.ops.wm.call_menu, name="VIEW3D_MT_mesh_add")
    yield 1.0
    picture("6_add_menu")
    key("Escape")
    yield 0.5
    call(bpy.ops.wm.call_menu, name="VIEW3D_MT_espalier")
    yield 1.0
    picture("7_object_menu")
    key("Escape")
    yield 0.5


def found_by_search() -> Steps:
    if not shutil.which("xdotool"):
        return
    window, area = view()
    driver.mouse(area.x + area.width // 3, window.height - area.y - area.height // 2)
    yield 0.5
    for words, operator in (("Generate 3D", "espalier.generate"), ("Regenerate", "espalier.regenerate")):
        driver.select("donut")
        yield 0.5
        calls = driver.calls_of(operator)
        call(bpy.ops.wm.search_menu, "INVOKE_DEFAULT")  # as F3 does, which the rig's display has for Blender 4 alone
        yield 1.5
        subprocess.run(["xdotool", "type", "--delay", "60", words], check=True)
        yield 2.0
        picture(f"search_{words.split()[0].lower()}")
        key("Return")
        yield from until(executed(operator, calls), f"F3 finds {words}", 20)
        yield from until(lambda: not pump.jobs.jobs, "and it is done")


def crowded() -> Steps:
    """What the search for a free place costs in a scene of 3,000 objects."""
    mesh = bpy.data.objects["Cube"].data
    for number in range(3000):
        added = bpy.data.objects.new("crowd", mesh)
        added.location = (3.0 * (number % 60) - 90, 3.0 * (number // 60) - 75, 0)
        bpy.context.scene.collection.objects.link(added)
    yield 3.0
    placement = sys.modules[f"{driver.ROOT}.blender_addon.request.placement"]
    spent = []
    for _ in range(5):
        start = time.thread_time()  # of a busy machine the time on the clock says little
        call(lambda: {str(placement.find_place(bpy.context))})
        spent.append(1000 * (time.thread_time() - start))
    report["place_ms"] = spent
    print("a free place among 3,000 objects, in ms:", [round(each, 1) for each in spent], flush=True)
    check(min(spent) < 16, "a free place among 3,000 objects is found within a frame")


def session() -> Steps:
    yield from after_installation()
    yield from beside_the_cube()
    yield from found_by_search()
    yield from many()
    yield from chosen_viewports_stay()
    yield from failing()
    yield from found_in_menus()
    yield from crowded()


driver.drive(session())
