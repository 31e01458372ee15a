"""Drives a real, windowed Blender with Espalier installed: mouse, pictures, and what was checked.

A session is a generator: it yields the seconds until its next step, and Blender draws meanwhile. ``drive`` runs it,
writes what was checked to ``OUT/session.json``, pictures beside it, and quits. Buttons are pressed with the mouse where
xdotool is there, else through their operators; pictures are taken with ImageMagick's ``import``.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bpy

from tests.real_blender.stopwatch import Stopwatch

ARGUMENTS = sys.argv[sys.argv.index("--") + 1 :]
OUT = Path(ARGUMENTS[0]).resolve()
ROOT = next(addon.module for addon in bpy.context.preferences.addons if addon.module.endswith(".espalier"))
pump = sys.modules[f"{ROOT}.blender_addon.pump"]
viewport = sys.modules[f"{ROOT}.blender_addon.scene.viewport"]
history = sys.modules[f"{ROOT}.blender_addon.scene.history"]
report: dict[str, Any] = {"blender": bpy.app.version_string, "checks": [], "frame_ms": {}, "error": None}
stopwatch = Stopwatch()
END = 60  # lines that a sidebar never has
_begin = time.monotonic()
_last = 0  # how far down the last button was found
Steps = Iterator[float]  # seconds until the next step: Blender draws meanwhile


def check(truth: object, words: str) -> None:
    report["checks"].append([bool(truth), words])
    print(f"{time.monotonic() - _begin:5.0f} s", "ok" if truth else "NOT OK", words, flush=True)


def view() -> tuple[bpy.types.Window, bpy.types.Area]:
    window = bpy.context.window_manager.windows[0]
    return window, next(area for area in window.screen.areas if area.type == "VIEW_3D")


def region(kind: str) -> bpy.types.Region:
    return next(region for region in view()[1].regions if region.type == kind)


def call(operator: Callable[..., set[str]], *arguments: str | bool, **properties: object) -> set[str]:
    window, area = view()
    with bpy.context.temp_override(window=window, screen=window.screen, area=area, region=region("WINDOW")):
        return operator(*arguments, **properties)


def picture(name: str) -> None:
    if shutil.which("import"):
        subprocess.run(["import", "-silent", "-window", "root", f"png:{OUT / name}.png"], check=True)


def until(condition: Callable[[], object], words: str, timeout: float = 300.0) -> Steps:
    begin = time.monotonic()
    while not condition():
        if time.monotonic() > begin + timeout:
            raise AssertionError(f"{words}: not within {timeout:.0f} s")
        yield 0.02
    check(True, f"{words} ({time.monotonic() - begin:.2f} s)")


def mouse(x: int, y: int) -> None:
    """Move the mouse; returns when the display's server has moved it. To where it is already it takes 15 seconds."""
    subprocess.run(["xdotool", "mousemove", "--sync", str(x), str(y)], check=True)


def scroll(operator: Callable[..., set[str]], lines: int = END) -> Steps:
    """Scroll the sidebar down or up, to its end or by so many lines of 40 pixels."""
    window, area = view()
    with bpy.context.temp_override(window=window, screen=window.screen, area=area, region=region("UI")):
        for _ in range(lines):
            operator()
    yield 0.5


def is_under_mouse(command: str) -> bool:
    """Whether Blender takes the mouse to be over a button whose Python command begins so."""
    window, area = view()
    bpy.context.window_manager.clipboard = ""
    with bpy.context.temp_override(window=window, screen=window.screen, area=area, region=region("UI")):
        if bpy.ops.ui.copy_python_command_button.poll():
            bpy.ops.ui.copy_python_command_button()
    return bpy.context.window_manager.clipboard.startswith(command)


#: Where buttons are looked for, as shares of the sidebar's width: the last is for small ones.
COLUMNS = (0.55, 0.2, 0.82, 0.38)


def find(command: str) -> Steps:
    """Have the mouse over a button with this command in the sidebar, found by hovering, nearest to the last one first.

    If it is not found the search is done again, with more time for Blender to see where the mouse is.
    """
    global _last
    window, sidebar = view()[0], region("UI")
    mouse(sidebar.x - 300, window.height // 2)
    yield 0.3
    top = window.height - (sidebar.y + sidebar.height)
    rows = range(top + 8, top + sidebar.height, 16)  # buttons are 20 pixels high
    columns = [int(sidebar.x + share * sidebar.width) for share in COLUMNS]
    places = sorted(
        ((x, y) for x in columns for y in rows), key=lambda p: abs(p[1] - _last) + 100 * columns.index(p[0])
    )
    for patience in (0.02, 0.1, 0.4):
        for place in places:
            mouse(*place)
            yield patience
            yield 0.02  # in each turn of its loop Blender calls timers first and sees where the mouse is afterwards
            if is_under_mouse(command):
                yield 0.3  # or it was the button before
                if is_under_mouse(command):
                    _last = place[1]
                    return
    raise AssertionError(f"no button for {command}")


def last_found() -> int:
    """How far down the screen the button is that ``find`` found last, in pixels."""
    return _last


def calls_of(name: str) -> int:
    """How often an operator of the add-on was executed so far."""
    module, function = name.split(".")
    operator = bpy.types.Operator.bl_rna_get_subclass_py(f"{module.upper()}_OT_{function}")
    return sum(len(stopwatch.calls.get(f"{cls.__name__}.execute", ())) for cls in operator.__mro__)


def press(name: str, below: int = 0, **properties: str) -> Steps:
    """Click the button in the sidebar of an operator with, first of all, these properties.

    ``below``: lines that the sidebar must be scrolled down for it to be seen.
    """
    if not shutil.which("xdotool"):
        module, function = name.split(".")
        call(getattr(getattr(bpy.ops, module), function), "INVOKE_DEFAULT", **properties)
        return
    if below:
        yield from scroll(bpy.ops.view2d.scroll_down, below)
    before = calls_of(name)
    command = f"bpy.ops.{name}(" + ", ".join(f"{key}={value!r}" for key, value in properties.items())
    yield from find(command)
    subprocess.run(["xdotool", "click", "1"], check=True)
    yield from until(lambda: calls_of(name) > before, f"{name} is pressed")
    if below:
        yield from scroll(bpy.ops.view2d.scroll_up)


def frames(when: str) -> None:
    """Note how long a frame of the whole window takes, the median of nine."""
    times = []
    for _ in range(9):
        start = time.perf_counter()
        bpy.ops.wm.redraw_timer(type="DRAW_WIN", iterations=1)
        times.append(1000 * (time.perf_counter() - start))
    report["frame_ms"][when] = sorted(times)[4]


def objects() -> list[str]:
    return sorted(bpy.data.objects.keys())


def select(name: str) -> None:
    for other in list(bpy.context.view_layer.objects.selected):
        other.select_set(False)
    bpy.data.objects[name].select_set(True)
    bpy.context.view_layer.objects.active = bpy.data.objects[name]


def add_images(*paths: Path) -> None:
    files = [{"name": path.name} for path in paths]
    call(bpy.ops.espalier.add_images, "EXEC_DEFAULT", True, directory=str(paths[0].parent), files=files)  # True: undo


def unfold(*panels: str) -> None:
    """Have sub-panels open; of use before they are first drawn, for later Blender remembers how they were."""
    for name in panels:
        panel = getattr(bpy.types, name)
        bpy.utils.unregister_class(panel)
        panel.bl_options = set()
        bpy.utils.register_class(panel)


def open_sidebar() -> Steps:
    view()[1].spaces.active.show_region_ui = True
    tab = "active_panel_category"  # there are none before it is drawn
    yield from until(lambda: not region("UI").is_property_readonly(tab), "the sidebar is open")
    region("UI").active_panel_category = "Espalier"
    view()[1].tag_redraw()
    yield 0.5


def empty_scene() -> None:
    bpy.data.objects.remove(bpy.data.objects["Cube"])
    view()[1].spaces.active.region_3d.view_distance = 4
    call(bpy.ops.ed.undo_push, message="Empty scene")


def running(fraction: float) -> Callable[[], bool]:
    return lambda: pump.jobs.running is not None and pump.jobs.running.fraction >= fraction


def write_report() -> None:
    report["main_thread"] = stopwatch.report()
    (OUT / "session.json").write_text(json.dumps(report, indent=1))


def drive(steps: Steps) -> None:
    """Run a session from the first frame on, then quit Blender."""
    OUT.mkdir(parents=True, exist_ok=True)
    bpy.context.preferences.view.show_splash = False
    bpy.context.preferences.use_preferences_save = False
    stopwatch.watch(f"{ROOT}.")
    bpy.app.timers.register(lambda: _tick(steps), first_interval=2.0, persistent=True)


def _tick(steps: Steps) -> float | None:
    try:
        return max(0.01, next(steps))
    except StopIteration:
        pass
    except BaseException:
        report["error"] = traceback.format_exc()
        print(report["error"], flush=True)
        picture("failed")
    write_report()
    bpy.ops.wm.quit_blender()
    return None
