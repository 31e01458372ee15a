"""Makes the pictures of docs/using.md: the extension in a real window, with the real backend and the bundled model.

    python3.11 tests/real_blender/rig.py run sid --python tests/real_blender/pictures.py -- OUT SET EXAMPLES

SET is ``first`` for a Blender in which the backend is not installed yet, else ``all``. Pictures are cut to what they
show. Run it in a Blender that has the extension installed.
"""

from __future__ import annotations

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
    until,
    view,
)

EXAMPLES = Path(driver.ARGUMENTS[2])
JOB = 400.0
SUBPANELS = ("ESPALIER_PT_object", "ESPALIER_PT_advanced", "ESPALIER_PT_iterate", "ESPALIER_PT_history")


def cut(name: str, x: int, top: int, width: int, height: int) -> None:
    """A part of the screen, from its upper left corner."""
    part = f"{width}x{height}+{x}+{top}"
    command = ["import", "-silent", "-window", "root", "-crop", part, "+repage", f"png:{OUT / name}.png"]
    subprocess.run(command, check=True)


def sidebar(name: str, height: int = 0) -> None:
    """The sidebar, from its top down to ``height`` pixels."""
    window, bar = view()[0], region("UI")
    cut(name, bar.x, window.height - bar.y - bar.height, bar.width, height or bar.height)


def whole(name: str) -> None:
    """The viewport with the sidebar."""
    window, area = view()
    cut(name, area.x, window.height - area.y - area.height, area.width, area.height)


def folded(*but: str) -> None:
    """Fold all sub-panels in, and unfold these."""
    for name in SUBPANELS:
        panel = getattr(bpy.types, name)
        bpy.utils.unregister_class(panel)
        panel.bl_options = set() if name in but else {"DEFAULT_CLOSED"}
        bpy.utils.register_class(panel)


def wide() -> Steps:
    """A sidebar that is wide enough for its words."""
    yield from open_sidebar()
    bpy.context.preferences.view.ui_scale = 1.0
    yield 1.0


def made(words: str) -> Steps:
    yield from until(lambda: not any(job.active for job in pump.jobs.jobs), words, JOB)
    yield 1.0


def first() -> Steps:
    empty_scene()
    yield from wide()
    yield 8.0  # what an installation takes is found out in the background
    sidebar("using-install", 330)


def all_pictures() -> Steps:
    folded()
    empty_scene()
    yield from wide()
    settings = bpy.context.scene.espalier
    settings.lock_seed = True
    add_images(EXAMPLES / "mushroom.png")
    yield 4.0
    sidebar("using-pictures", 420)
    call(bpy.ops.espalier.generate)
    yield from made("an object is made")
    call(bpy.ops.espalier.show_texture)
    yield 1.5
    whole("object")
    folded("ESPALIER_PT_iterate")
    select("mushroom")
    yield 1.5
    yield from driver.scroll(bpy.ops.view2d.scroll_down)
    sidebar("using-selected")
    yield from driver.scroll(bpy.ops.view2d.scroll_up)
    yield from views_and_queue()
    yield from painted()
    yield from past()
    yield from preferences()


def views_and_queue() -> Steps:
    folded()
    settings = bpy.context.scene.espalier
    settings.images.clear()
    add_images(*(EXAMPLES / f"{name}.png" for name in ("house", "car", "chair")))
    settings.variants = 3
    settings.use_steps, settings.steps = True, 400
    yield 4.0
    call(bpy.ops.espalier.generate)
    yield from until(running(0.25), "a queue of three", JOB)
    yield 1.0
    sidebar("panel")
    call(bpy.ops.espalier.cancel_all)
    yield from made("the queue is cancelled")
    settings.variants, settings.use_steps = 1, False


def painted() -> Steps:
    call(bpy.ops.mesh.primitive_cube_add, location=(1.6, 0, 0.5), size=1.0)
    settings = bpy.context.scene.espalier
    settings.images.clear()
    add_images(EXAMPLES / "mushroom.png")
    yield 3.0
    whole("before")
    select(bpy.context.active_object.name)
    call(bpy.ops.espalier.retexture)
    yield from made("the cube is painted")
    whole("using-retexture")


def past() -> Steps:
    settings = bpy.context.scene.espalier
    settings.place = "ORIGIN"
    for number, name in enumerate(("house", "car", "chair", "lamp", "rocket")):
        settings.images.clear()
        add_images(EXAMPLES / f"{name}.png")
        settings.seed = 11 + number
        call(bpy.ops.espalier.generate)
        yield from made(f"the {name} is made")
    yield from until(lambda: all(entry.picture is not None for entry in history.entries), "pictures are drawn")
    folded("ESPALIER_PT_history")
    yield 1.5
    yield from driver.scroll(bpy.ops.view2d.scroll_down)
    sidebar("using-history")


def preferences() -> Steps:
    call(bpy.ops.espalier.preferences_show)
    yield 4.0
    window = bpy.context.window_manager.windows[-1]
    subprocess.run(["import", "-silent", "-window", "root", f"png:{OUT / 'using-preferences'}.png"], check=True)
    print(window.width, window.height, flush=True)
    yield 0.2


driver.drive({"first": first, "all": all_pictures}[driver.ARGUMENTS[1]]())
