"""Makes the pictures of docs/using.md: the extension in a real window, with the real backend and the bundled model.

    python3.11 tests/real_blender/rig.py run sid --python tests/real_blender/pictures.py -- OUT SET EXAMPLES

SET is ``first`` for a Blender in which the backend is not installed yet, else ``panel``, ``selected`` or ``history``:
Blender remembers which sub-panels are open, so each that is to be seen open has a Blender of its own. Pictures are cut
to what they show. Run it in a Blender that has the extension installed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import bpy

sys.path.insert(0, str(Path(__file__).parents[2]))  # Blender runs this file alone

from tests.real_blender import driver
from tests.real_blender.driver import (
    OUT,
    Steps,
    add_images,
    call,
    empty_scene,
    history,
    open_sidebar,
    pump,
    region,
    running,
    select,
    unfold,
    until,
    view,
)

EXAMPLES = Path(driver.ARGUMENTS[2])
JOB = 400.0
cutouts = sys.modules[f"{driver.ROOT}.blender_addon.request.cutouts"]


def cut(name: str, x: int, top: int, width: int, height: int) -> None:
    """A part of the screen, from its upper left corner."""
    part = f"{width}x{height}+{x}+{top}"
    command = ["import", "-silent", "-window", "root", "-crop", part, "+repage", f"png:{OUT / name}.png"]
    subprocess.run(command, check=True)


def sidebar(name: str, height: int) -> None:
    """The first ``height`` pixels of the sidebar."""
    window, bar = view()[0], region("UI")
    cut(name, bar.x, window.height - bar.y - bar.height, bar.width, height)


def end_of_sidebar(name: str, height: int) -> Steps:
    """The last ``height`` pixels of the sidebar."""
    yield from driver.scroll(bpy.ops.view2d.scroll_down)
    window, bar = view()[0], region("UI")
    cut(name, bar.x, window.height - bar.y - height, bar.width, height)


def whole(name: str) -> None:
    """The viewport with the sidebar."""
    window, area = view()
    cut(name, area.x, window.height - area.y - area.height, area.width, area.height)


def wide() -> Steps:
    """A sidebar that is wide enough for its words."""
    yield from open_sidebar()
    bpy.context.preferences.view.ui_scale = 1.0
    yield 1.0


def made(words: str) -> Steps:
    yield from until(lambda: not any(job.active for job in pump.jobs.jobs), words, JOB)
    yield 1.0


def cut_out() -> Steps:
    """The cut-outs of all images are there, and drawn."""
    listed = bpy.context.scene.espalier.images
    yield from until(lambda: all(cutouts.answer(item) for item in listed), "the cut-outs are there", JOB)
    yield 4.0


def first() -> Steps:
    empty_scene()
    yield from wide()
    yield 8.0  # what an installation takes is found out in the background
    sidebar("using-install", 450)


def panel() -> Steps:
    empty_scene()
    yield from wide()
    settings = bpy.context.scene.espalier
    settings.lock_seed = True
    add_images(EXAMPLES / "mushroom.png")
    for name in ("Camera", "Light"):
        bpy.data.objects.remove(bpy.data.objects[name])
    yield from cut_out()
    sidebar("using-pictures", 262)
    call(bpy.ops.espalier.generate)
    yield from made("an object is made")
    yield from framed()
    whole("object")
    yield from views_and_queue()
    yield from painted()


def views_and_queue() -> Steps:
    settings = bpy.context.scene.espalier
    settings.images.clear()
    add_images(*(EXAMPLES / f"{name}.png" for name in ("house", "car", "chair")))
    settings.variants = 3
    yield from cut_out()
    call(bpy.ops.espalier.generate)
    yield from until(running(0.25), "a queue of three", JOB)
    os.kill(pump.jobs.backend.pid, signal.SIGSTOP)
    yield 1.0
    sidebar("panel", 540)
    yield from driver.find("bpy.ops.espalier.cancel_all(")
    line = driver.last_found()
    driver.mouse(region("UI").x + 30, line)
    yield 0.3
    subprocess.run(["xdotool", "click", "1"], check=True)
    yield 1.0
    bar = region("UI")
    cut("using-queue", bar.x, line - 16, bar.width, 170)
    os.kill(pump.jobs.backend.pid, signal.SIGCONT)
    call(bpy.ops.espalier.cancel_all)
    yield from made("the queue is cancelled")
    settings.variants = 1


def painted() -> Steps:
    bpy.data.objects.remove(bpy.data.objects["mushroom"])
    call(bpy.ops.mesh.primitive_cube_add, location=(0, -0.7, 0.5), size=1.0)
    bpy.context.active_object.name = "cube, painted"
    settings = bpy.context.scene.espalier
    settings.images.clear()
    add_images(EXAMPLES / "mushroom.png")
    yield 3.0
    call(bpy.ops.espalier.retexture)
    yield from made("the cube is painted")
    call(bpy.ops.mesh.primitive_cube_add, location=(0, 0.7, 0.5), size=1.0)
    yield from framed()
    whole("using-retexture")


def framed() -> Steps:
    """All objects fill the view, none of them selected, in their textures."""
    view()[1].spaces.active.shading.color_type = "TEXTURE"
    call(bpy.ops.object.select_all, action="DESELECT")
    bpy.context.preferences.view.smooth_view = 0  # else the view moves on after the next line
    call(bpy.ops.view3d.view_all)
    view()[1].spaces.active.region_3d.view_distance *= 1.5  # the sidebar covers a part of the view
    yield 2.0


def selected() -> Steps:
    empty_scene()
    yield from wide()
    add_images(EXAMPLES / "mushroom.png")
    call(bpy.ops.espalier.generate)
    yield from made("an object is made")
    select("mushroom")
    yield from until(lambda: all(entry.picture is not None for entry in history.entries), "its picture is drawn")
    yield 1.5
    sidebar("using-selected", 205)


def past() -> Steps:
    unfold("ESPALIER_PT_history")
    empty_scene()
    yield from wide()
    settings = bpy.context.scene.espalier
    for name in ("house", "car", "chair", "lamp", "rocket"):
        settings.images.clear()
        add_images(EXAMPLES / f"{name}.png")
        call(bpy.ops.espalier.generate)
        yield from made(f"the {name} is made")
    yield from until(lambda: all(entry.picture is not None for entry in history.entries), "pictures are drawn")
    yield 1.5
    history.set_favorite(history.entries[-1], True)
    yield from end_of_sidebar("using-history", 478)


driver.drive({"first": first, "panel": panel, "selected": selected, "history": past}[driver.ARGUMENTS[1]]())
