"""A session in a real, windowed Blender about what goes wrong: full and read-only disks, images that are gone.

    blender --python tests/real_blender/errors.py -- OUT_DIR

With the fake backend. The folder of the jobs becomes a small disk of its own, which takes a machine where this user may
mount one; ``driver`` says how buttons are pressed and where pictures lie.
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

from tests.fakes import fake_backend
from tests.real_blender import driver
from tests.real_blender.driver import (
    OUT,
    Steps,
    add_images,
    call,
    check,
    empty_scene,
    history,
    objects,
    open_sidebar,
    picture,
    press,
    pump,
    running,
    until,
)

JOBS = pump.jobs.journal.root
SMALL = "160k"  # less than the files of an object
cutouts = sys.modules[f"{driver.ROOT}.blender_addon.request.cutouts"]


def mounted(*options: str) -> bool:
    """Mount the small disk, or change it."""
    return subprocess.run(["mount", *options, str(JOBS)], capture_output=True).returncode == 0


def temporary(room: int) -> bool:
    """Give the temporary folder so much more room, where it is a disk of its own that we may change."""
    if not os.path.ismount("/tmp") or not Path(bpy.app.tempdir).is_relative_to("/tmp"):
        return False
    mount = ["mount", "-o", f"remount,size={shutil.disk_usage('/tmp').used + room}", "/tmp"]
    return subprocess.run(mount, capture_output=True).returncode == 0


def image(name: str) -> Path:
    """A new image, alone in the list."""
    fake_backend.write_png(OUT / name, 128, fake_backend.paint)
    bpy.context.scene.espalier.images.clear()
    add_images(OUT / name)
    return OUT / name


def ended(words: str) -> Steps:
    yield from until(lambda: not pump.jobs.active, words)
    yield 0.5


def failures() -> list[str]:
    return [job.error.message for job in pump.jobs.jobs if job.error]


def full_and_tried_again() -> Steps:
    image("donut.png")
    settings = bpy.context.scene.espalier
    settings.variants = 3
    yield 2.0
    call(bpy.ops.espalier.generate)
    yield from ended("three variants fail on a full disk")
    picture("1_failed")
    check(set(failures()) == {f"The disk of the folder {JOBS} is full."} and len(failures()) == 3, str(failures()))
    before = objects()
    check(mounted("-o", "remount,size=64m"), "there is room again")
    yield from press("espalier.retry")
    yield from ended("one press tries them all again")
    yield from until(lambda: not pump.jobs.jobs, "and all come")
    yield 0.5
    picture("2_tried_again")
    check(len(objects()) - len(before) == 3, "three objects")


def image_renamed_at_once() -> Steps:
    path, before = image("cup.png"), objects()
    yield 1.5
    call(bpy.ops.espalier.generate)
    path.rename(OUT / "renamed.png")
    yield from ended("the image is renamed right after the press")
    check(failures() == [] and len(objects()) - len(before) == 3, "no variant fails")


def read_only() -> Steps:
    image("plate.png")
    bpy.context.scene.espalier.variants = 1
    mounted("--bind", str(JOBS))  # a second one over it: of the first, a file is open
    check(mounted("-o", "remount,bind,ro"), "the folder of the jobs can only be read")
    yield 1.5
    try:
        call(bpy.ops.espalier.generate)
        check(False, "the press is refused")
    except RuntimeError as error:
        check("can only be read" in str(error) and str(JOBS) in str(error), f"the press is refused: {error}")
        check("Errno" not in str(error) and "Traceback" not in str(error), "in words")
    yield from press("espalier.generate")
    yield 1.0
    picture("3_read_only")
    if shutil.which("xdotool"):
        subprocess.run(["xdotool", "key", "Escape"], check=True)  # else the pop-up stays
    yield 0.5
    check(mounted("-o", "remount,bind,rw"), "it can be written again")


def no_room_for_the_history() -> Steps:
    image("bowl.png")
    yield from until(lambda: cutouts.answer(bpy.context.scene.espalier.images[0]), "its cut-out is there")
    entries, before = len(history.entries), objects()
    if not temporary(0):
        driver.report["skipped"] = "the temporary folder is no disk of its own that this user may change"
        return
    call(bpy.ops.espalier.generate)
    yield from ended("an object is made while the temporary folder is full")
    yield from until(lambda: len(history.entries) > entries, "the history has it")
    yield 1.0
    picture("4_history")
    check(len(objects()) - len(before) == 1, "it is in the scene")
    check(history.entries[0].result is None and len(pump.notices) == 1, f"without files, and said: {pump.notices}")
    yield from until(lambda: history.entries[0].picture is not None, "it has a picture")
    image("jug.png")
    yield from until(lambda: cutouts.errors(bpy.context.scene), "a cut-out fails for the same reason")
    yield 1.0
    picture("5_cutout")
    said = cutouts.errors(bpy.context.scene)[0]
    check(said.code == "disk_full" and "Errno" not in said.message, said.message)
    check(temporary(1 << 30), "there is room again")
    call(bpy.ops.espalier.retry_cutouts)
    yield from until(lambda: cutouts.answer(bpy.context.scene.espalier.images[0]), "the next try makes it")
    call(bpy.ops.espalier.dismiss_notice, index=0)


def killed() -> Steps:
    os.kill(pump.jobs.backend.pid, signal.SIGSTOP)
    call(bpy.ops.espalier.generate)
    yield from until(running(0.0), "a job runs")
    os.kill(pump.jobs.backend.pid, signal.SIGKILL)
    yield from until(failures, "a killed backend is noticed")
    yield 0.5
    picture("6_killed")
    call(bpy.ops.espalier.retry, job=pump.jobs.jobs[0].id, alike=True)
    yield from ended("the next try works")
    check(failures() == [], "without an error")


def whole() -> Steps:
    empty_scene()
    yield from open_sidebar()
    JOBS.mkdir(parents=True, exist_ok=True)
    if not mounted("-t", "tmpfs", "-o", f"size={SMALL}", "tmpfs"):
        driver.report["skipped"] = "this user may not mount a disk"
        return
    yield from full_and_tried_again()
    yield from image_renamed_at_once()
    yield from read_only()
    yield from no_room_for_the_history()
    yield from killed()
    picture("7_end")


driver.drive(whole())
