"""A session in a real, windowed Blender with Espalier installed and the fake backend behind it.

    blender --python tests/real_blender/session.py -- OUT_DIR GATE whole|killed|restarted

*whole* goes the whole way once, *killed* ends with SIGKILL for Blender in mid-job, *restarted* takes up what that left.
The backend is the fake one in its mode *held* and GATE is the folder of its gates, so that nothing here depends on how
fast this machine is. Buttons are pressed with the mouse where xdotool is there, else through their operators; pictures
are taken with ImageMagick's ``import``. What was checked is written to ``OUT_DIR/session.json``, pictures beside it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bpy

ARGUMENTS = sys.argv[sys.argv.index("--") + 1 :]
OUT, GATE = (Path(argument).resolve() for argument in ARGUMENTS[:2])
REPOSITORY = Path(__file__).parents[2]
sys.path.insert(0, str(REPOSITORY))

from backend import protocol  # noqa: E402
from tests.fakes import fake_backend  # noqa: E402 - Blender runs this file alone, without the repository on its path
from tests.real_blender.stopwatch import Stopwatch  # noqa: E402

ROOT = next(addon.module for addon in bpy.context.preferences.addons if addon.module.endswith(".espalier"))
pump = sys.modules[f"{ROOT}.blender_addon.pump"]
viewport = sys.modules[f"{ROOT}.blender_addon.viewport"]
report: dict[str, Any] = {"blender": bpy.app.version_string, "checks": [], "frame_ms": {}, "error": None}
stopwatch = Stopwatch()
Steps = Iterator[float]  # seconds until the next step: Blender draws meanwhile


def check(truth: object, words: str) -> None:
    report["checks"].append([bool(truth), words])
    print("ok" if truth else "NOT OK", words, flush=True)


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


def until(condition: Callable[[], object], words: str, timeout: float = 60.0) -> Steps:
    begin = time.monotonic()
    while not condition():
        if time.monotonic() > begin + timeout:
            raise AssertionError(f"{words}: not within {timeout:.0f} s")
        yield 0.02
    check(True, f"{words} ({time.monotonic() - begin:.2f} s)")


def gates(until_before: str) -> None:
    """Let the backend go on until it stands before this stage; "" lets it go to the end."""
    stages = list(protocol.STAGES)
    opened = stages[: stages.index(until_before)] if until_before else stages
    for stage in stages:
        (GATE / stage).unlink(missing_ok=True)
    for stage in opened:
        (GATE / stage).touch()


def mouse(x: int, y: int, *actions: str) -> None:
    subprocess.run(["xdotool", "mousemove", str(x), str(y), "sleep", "0.1", *actions], check=True)


def under_mouse() -> str:
    """The Python command of the button under the mouse."""
    window, area = view()
    bpy.context.window_manager.clipboard = ""
    with bpy.context.temp_override(window=window, screen=window.screen, area=area, region=region("UI")):
        if bpy.ops.ui.copy_python_command_button.poll():
            bpy.ops.ui.copy_python_command_button()
    return bpy.context.window_manager.clipboard


def press(name: str) -> Steps:
    """Find an operator's button in the sidebar by hovering over it, and click it."""
    if not shutil.which("xdotool"):
        module, function = name.split(".")
        call(getattr(getattr(bpy.ops, module), function), "INVOKE_DEFAULT")
        return
    window, sidebar = view()[0], region("UI")
    mouse(sidebar.x - 300, window.height // 2)
    yield 0.3
    top = window.height - (sidebar.y + sidebar.height)
    for across in (0.5, 0.82):  # the small buttons are at the right
        x = int(sidebar.x + across * sidebar.width)
        for y in range(top + 8, top + sidebar.height, 10):
            mouse(x, y)
            yield 0.05
            if not under_mouse().startswith(f"bpy.ops.{name}("):
                continue
            yield 0.3  # on a slow machine that may still have been the button before
            if under_mouse().startswith(f"bpy.ops.{name}("):
                mouse(x, y, "click", "1")
                yield 0.3
                return
    check(False, f"a button for {name}")


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


def add_images(*names: str) -> None:
    for name in names:
        fake_backend.write_png(OUT / name, 128, fake_backend.paint)
    files = [{"name": name} for name in names]
    call(bpy.ops.espalier.add_images, "EXEC_DEFAULT", True, directory=str(OUT), files=files)  # True: with an undo step


def open_sidebar() -> Steps:
    view()[1].spaces.active.show_region_ui = True
    yield 0.5
    region("UI").active_panel_category = "Espalier"
    view()[1].tag_redraw()
    yield 0.5


def empty_scene() -> None:
    bpy.data.objects.remove(bpy.data.objects["Cube"])
    view()[1].spaces.active.region_3d.view_distance = 4
    call(bpy.ops.ed.undo_push, message="Empty scene")


def running(fraction: float) -> Callable[[], bool]:
    return lambda: pump.jobs.running is not None and pump.jobs.running.fraction >= fraction


def the_way_once() -> Steps:
    empty_scene()
    yield from open_sidebar()
    check(not bpy.ops.espalier.generate.poll(), "without an image the button is off")
    picture("1_empty")
    add_images("donut.png")
    yield 6.0
    picture("2_image")
    frames("idle")
    before = objects()
    gates("latents")
    yield from press("espalier.generate")
    yield from until(running(0.3), "progress arrives")
    for _ in range(4):
        call(bpy.ops.view3d.view_orbit, angle=0.1, type="ORBITLEFT")
        yield 0.1
    frames("job")
    picture("3_progress")
    gates("finish")
    yield from until(lambda: any(o.batch for o in viewport._overlays.values()), "the preview is drawn")
    check(objects() == before, "and is no object")
    yield 0.5
    picture("4_preview")
    gates("")
    yield from until(lambda: "donut" in bpy.data.objects, "the object is there")
    view()[1].spaces.active.shading.color_type = "TEXTURE"
    yield 0.5
    picture("5_object")
    check(not viewport._overlays and not pump.jobs.jobs, "preview and job are gone")
    check(bpy.context.view_layer.objects.active.name == "donut", "it is the active object")
    call(bpy.ops.ed.undo)
    yield 0.2
    check(objects() == before and len(bpy.context.scene.espalier.images) == 1, "one undo takes it away, and it alone")
    call(bpy.ops.ed.redo)
    yield 0.2
    check("donut" in bpy.data.objects and bpy.data.images["donut"].packed_file, "redo brings it back")


def cancel_and_kill() -> Steps:
    before = objects()
    gates("latents")
    yield from press("espalier.generate")
    yield from until(running(0.3), "a second job runs")
    pid = pump.jobs.backend.pid
    yield from press("espalier.cancel")
    yield from until(lambda: not pump.jobs.jobs, "it is cancelled")
    yield from press("espalier.generate")
    yield from until(running(0.3), "a third job runs")
    check(pump.jobs.backend.pid == pid, "on the same backend")
    os.kill(pid, signal.SIGTERM)
    yield from until(lambda: pump.jobs.jobs[0].error, "a killed backend is noticed")
    yield 0.5
    picture("6_error")
    check(objects() == before, "the scene is as it was")


def results_wait() -> Steps:
    before = objects()
    add_images("cup.png", "cup_back.png")
    bpy.context.scene.espalier.images.remove(0)
    gates("finish")
    yield from press("espalier.generate")
    check([job.active for job in pump.jobs.jobs] == [True], "the next job takes the place of the failed one")
    yield from until(running(0.8), "a new backend works")
    call(bpy.ops.transform.translate, "INVOKE_DEFAULT")
    gates("")
    yield from until(lambda: pump.jobs.jobs[0].result, "it finishes while an object is being moved")
    yield 1.0
    picture("7_waiting")
    check(objects() == before, "its object waits")
    if not shutil.which("xdotool"):
        call(bpy.ops.espalier.insert, job=pump.jobs.jobs[0].id)
        return
    subprocess.run(["xdotool", "key", "Escape"], check=True)
    yield from until(lambda: "cup" in bpy.data.objects, "and stands there when that is over")


def other_file() -> Steps:
    bpy.ops.wm.save_as_mainfile(filepath=str(OUT / "saved.blend"))
    gates("finish")
    yield from press("espalier.generate")
    yield from until(running(0.8), "a job runs")
    bpy.ops.wm.open_mainfile(filepath=str(OUT / "saved.blend"), load_ui=False)
    yield 0.3
    image = bpy.data.images["donut"]
    check(image.packed_file and tuple(image.size) == (256, 256), "the saved file holds the texture")
    gates("")
    yield from until(lambda: pump.jobs.jobs[0].result, "the job outlives the loading of a file")
    yield from open_sidebar()
    picture("8_offered")
    check("cup.001" not in bpy.data.objects, "its object is only offered")
    yield from press("espalier.insert")
    check("cup.001" in bpy.data.objects, "and inserted on a press")
    report["backend_pid"] = pump.jobs.backend.pid


def again_in_place() -> Steps:
    made = bpy.data.objects["donut"]
    made.location.x, made.rotation_euler.z = 0.3, 0.5
    placed, seed = made.matrix_basis.copy(), made["espalier_seed"]
    others = objects()
    gates("")
    call(bpy.ops.espalier.regenerate, how="SEED")
    yield from until(lambda: not pump.jobs.jobs, "the object is made again")
    made = bpy.data.objects["donut"]
    check(made.matrix_basis == placed and objects() == others, "in its place")
    check(made["espalier_seed"] != seed, "with another seed")
    call(bpy.ops.espalier.variants, count=2)
    yield from until(lambda: len(objects()) == len(others) + 2 and not pump.jobs.jobs, "two variants stand beside it")
    yield 0.5
    picture("9_variants")


def whole() -> Steps:
    yield from the_way_once()
    yield from cancel_and_kill()
    yield from results_wait()
    yield from other_file()
    yield from again_in_place()


def killed() -> Steps:
    """One object waits to be inserted and another is being made when Blender dies."""
    yield from open_sidebar()
    add_images("donut.png")
    gates("finish")
    call(bpy.ops.espalier.generate)
    yield from until(running(0.8), "a job runs")
    call(bpy.ops.transform.translate, "INVOKE_DEFAULT")
    gates("")
    yield from until(lambda: pump.jobs.jobs[0].result, "its object waits")
    gates("latents")
    call(bpy.ops.espalier.generate)
    yield from until(running(0.3), "another one runs")
    report["backend_pid"] = pump.jobs.backend.pid
    write_report()
    os.kill(os.getpid(), signal.SIGKILL)


def restarted() -> Steps:
    empty_scene()
    yield from open_sidebar()
    yield from until(lambda: len(pump.jobs.jobs) == 2, "both jobs are found again")
    picture("10_recovered")
    check("donut" not in bpy.data.objects, "and only offered")
    yield from press("espalier.insert")
    yield from until(lambda: "donut" in bpy.data.objects, "the finished one is inserted on a press")
    gates("")
    yield from press("espalier.retry")
    yield from until(lambda: "donut.001" in bpy.data.objects, "the other one is made on a press")
    picture("11_made_again")
    check(not pump.jobs.jobs, "nothing is left over")
    report["backend_pid"] = pump.jobs.backend.pid


SESSIONS = {"whole": whole, "killed": killed, "restarted": restarted}


def write_report() -> None:
    report["main_thread"] = stopwatch.report()
    (OUT / "session.json").write_text(json.dumps(report, indent=1))


def tick(steps: Steps) -> float | None:
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


def main() -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    bpy.context.preferences.view.show_splash = False
    bpy.context.preferences.use_preferences_save = False
    stopwatch.watch(f"{ROOT}.")
    steps = SESSIONS[ARGUMENTS[2]]()
    bpy.app.timers.register(lambda: tick(steps), first_interval=2.0, persistent=True)


main()
