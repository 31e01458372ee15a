"""A session in a real, windowed Blender with Espalier installed and the fake backend behind it.

    blender --python tests/real_blender/session.py -- OUT_DIR GATE whole|killed|restarted

*whole* goes the whole way once, *killed* ends with SIGKILL for Blender in mid-job, *restarted* takes up what that left.
The backend is the fake one in its mode *held* and GATE is the folder of its gates, so that nothing here depends on how
fast this machine is. ``driver`` says how buttons are pressed and where pictures lie.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
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
    frames,
    objects,
    open_sidebar,
    picture,
    press,
    pump,
    running,
    select,
    until,
    view,
    viewport,
    write_report,
)

GATE = Path(driver.ARGUMENTS[1]).resolve()


def gates(until_before: str) -> None:
    """Let the backend go on until it stands before this stage; "" lets it go to the end."""
    stages = list(protocol.STAGES)
    opened = stages[: stages.index(until_before)] if until_before else stages
    for stage in stages:
        (GATE / stage).unlink(missing_ok=True)
    for stage in opened:
        (GATE / stage).touch()


def add_images(*names: str) -> None:
    for name in names:
        fake_backend.write_png(OUT / name, 128, fake_backend.paint)
    driver.add_images(*(OUT / name for name in names))


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
    yield from press("espalier.generate", below=8)  # below the card, the error and two views
    yield from until(
        lambda: [job.active for job in pump.jobs.jobs] == [True], "the next job takes the place of the failed one"
    )
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
    yield from until(lambda: "cup.001" in bpy.data.objects, "and inserted on a press")


def again_in_place() -> Steps:
    select("donut")
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


def exported() -> Steps:
    """The object for another program; the scene, its faces included, stays as it was."""
    select("donut")
    before, faces = objects(), len(bpy.data.objects["donut"].data.polygons)
    (OUT / "exports").mkdir(exist_ok=True)
    call(bpy.ops.espalier.export, directory=str(OUT / "exports"), format="glb", replace=True)
    check((OUT / "exports" / "donut.glb").is_file(), "it is exported")
    check(objects() == before and len(bpy.data.objects["donut"].data.polygons) == faces, "and the scene is as it was")
    yield 0.1


def whole() -> Steps:
    yield from the_way_once()
    yield from cancel_and_kill()
    yield from results_wait()
    yield from other_file()
    yield from again_in_place()
    yield from exported()


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


def kept_history() -> list[str]:
    """What the history holds now, of the add-on as it is loaded now."""
    return [entry.id for entry in sys.modules[f"{driver.ROOT}.blender_addon.scene.history"].entries]


def outlived() -> Steps:
    """The history outlives the add-on being switched off and on, reloaded, and updated in place."""
    empty_scene()
    add_images("donut.png")
    gates("")
    call(bpy.ops.espalier.generate)
    yield from until(lambda: "donut" in bpy.data.objects and not pump.jobs.jobs, "an object is made")
    before = kept_history()
    check(len(before) == 1, "the history has it")
    file = str(OUT / "history.blend")
    for words, change in (
        ("off and on", switch),
        ("scripts reloaded", bpy.ops.script.reload),
        ("updated in place", update),
    ):
        change()
        yield from until(lambda: kept_history() == before, f"{words}: the history is there")
        bpy.ops.wm.save_as_mainfile(filepath=file)
        bpy.ops.wm.open_mainfile(filepath=file, load_ui=False)
        yield 1.0
        check(kept_history() == before, f"{words}, saved and opened: the history is there")
    switch()
    bpy.ops.wm.save_mainfile()  # before any timer has run
    bpy.ops.wm.open_mainfile(filepath=file, load_ui=False)
    yield 1.0
    check(kept_history() == before, "saved at once after it was switched on: nothing is written over")


def enable() -> None:
    bpy.ops.preferences.addon_enable(module=driver.ROOT)


def switch() -> None:
    bpy.ops.preferences.addon_disable(module=driver.ROOT)
    enable()


def update() -> None:
    """Install the very zip again, over the extension that is running."""
    repository = next(repo for repo in bpy.context.preferences.extensions.repos if repo.module == "user_default")
    archive = str(OUT.parent / "espalier.zip")
    bpy.ops.extensions.package_install_files(
        filepath=archive, repo=repository.module, enable_on_install=True, overwrite=True
    )


SESSIONS = {"whole": whole, "killed": killed, "restarted": restarted, "outlived": outlived}

driver.drive(SESSIONS[driver.ARGUMENTS[2]]())
