"""Sessions in a real, windowed Blender about the .blend: kept, moved, written with no room, and from a stranger.

    blender --python tests/real_blender/project.py -- OUT_DIR saved|moved|full|hostile

*saved* writes a project below OUT_DIR/../project: every setting changed, and an object made of an image beside it.
*moved* finds the project at OUT_DIR/../elsewhere, and makes the object again. In *full* the temporary folder has no
room left. *hostile* opens files as nobody should send them. With the fake backend. ``driver`` says where pictures lie.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

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
    pump,
    select,
    until,
)

PROJECT, ELSEWHERE = OUT.parent / "project", OUT.parent / "elsewhere"
SETTINGS = OUT.parent / "settings.json"
cutouts = sys.modules[f"{driver.ROOT}.blender_addon.request.cutouts"]
#: What the panel shows of other settings, by names that depend on the models of this machine.
SHOWN = ("family", "quality", "fineness")
MOST_MEGABYTES = 50  # that a stranger's file may take, above an empty one


def changed(settings: Any) -> None:
    """Give each setting that is saved another value than its default."""
    for entry in settings.bl_rna.properties:
        if entry.identifier in ("rna_type", "name", *SHOWN) or entry.is_readonly:
            continue
        if entry.type == "BOOLEAN":
            value: object = not entry.default
        elif entry.type == "ENUM":
            value = next(item.identifier for item in entry.enum_items if item.identifier != entry.default)
        elif entry.type in ("INT", "FLOAT"):
            value = entry.default + 1 if entry.default + 1 <= entry.hard_max else entry.default / 2
        elif entry.type in ("STRING", "POINTER"):
            continue  # the model: what is not there cannot be chosen; the guide: an object
        else:
            raise AssertionError(f"a setting of another kind: {entry.identifier}")
        setattr(settings, entry.identifier, value)


def values(settings: Any) -> dict[str, Any]:
    """All settings that are saved."""
    kinds = ("BOOLEAN", "ENUM", "INT", "FLOAT", "STRING")
    saved = [entry for entry in settings.bl_rna.properties if entry.type in kinds and entry.identifier not in SHOWN]
    return {entry.identifier: getattr(settings, entry.identifier) for entry in saved}


def ended(words: str) -> Steps:
    yield from until(lambda: not any(job.active for job in pump.jobs.jobs), words)
    yield 0.5
    check([job.error for job in pump.jobs.jobs] == [], "without an error")


def saved() -> Steps:
    empty_scene()
    (PROJECT / "pictures").mkdir(parents=True)
    fake_backend.write_png(PROJECT / "pictures" / "donut.png", 128, fake_backend.paint)
    yield from open_sidebar()
    add_images(PROJECT / "pictures" / "donut.png")
    call(bpy.ops.espalier.generate)
    yield from ended("an object is made")
    settings = bpy.context.scene.espalier
    before = values(settings)
    changed(settings)
    kept = values(settings)
    same = [name for name, value in before.items() if kept[name] == value]
    check(len(kept) - len(same) >= 20, f"{len(kept) - len(same)} settings are changed, all but {', '.join(same)}")
    SETTINGS.write_text(json.dumps(kept))
    bpy.ops.wm.save_as_mainfile(filepath=str(PROJECT / "scene.blend"))


def moved() -> Steps:
    bpy.ops.wm.open_mainfile(filepath=str(ELSEWHERE / "scene.blend"), load_ui=False)
    yield 1.0
    settings = bpy.context.scene.espalier
    expected = json.loads(SETTINGS.read_text())
    found = json.loads(json.dumps(values(settings)))
    other = {name: (value, expected[name]) for name, value in found.items() if value != expected[name]}
    check(not other, f"all {len(found)} settings are as they were saved, but {other}")
    yield from open_sidebar()
    yield 2.0
    picture("1_moved")
    check(pump.jobs.backend is None, "opening the file started nothing")
    path = Path(bpy.path.abspath(settings.images[0].path)).resolve()
    check(path == ELSEWHERE / "pictures" / "donut.png", "the list's image is found in the moved project")
    check(len(history.entries) == 1, "the history is there")
    others = objects()
    select("donut")
    call(bpy.ops.espalier.regenerate, how="SEED")
    yield from ended("the object is made again from the moved image")
    check(objects() == others, "in its place")
    for name in list(settings.bl_rna.properties.keys()):
        if not settings.bl_rna.properties[name].is_readonly and name not in ("family", "quality", "name"):
            settings.property_unset(name)
    bpy.ops.espalier.show_cutouts()
    yield from until(lambda: cutouts.answer(settings.images[0]), "its cut-out is shown on a press")
    yield 1.0
    picture("2_cutout")
    bpy.ops.wm.save_mainfile()
    text = json.dumps([dict(bpy.data.objects["donut"].items()), bpy.context.scene.espalier_history], default=str)
    check(str(PROJECT) not in text and str(ELSEWHERE) not in text, "what it keeps tells nobody's folders")


def room(size: str) -> bool:
    """Give the temporary folder so much room, where it is a disk of its own that we may change."""
    mount = ["mount", "-o", f"remount,size={size}", "/tmp"]
    return os.path.ismount("/tmp") and subprocess.run(mount, capture_output=True).returncode == 0


def full() -> Steps:
    empty_scene()
    fake_backend.write_png(OUT / "donut.png", 128, fake_backend.paint)
    yield from open_sidebar()
    if not Path(bpy.app.tempdir).is_relative_to("/tmp") or not room("64k"):
        driver.report["skipped"] = "the temporary folder is no disk of its own that this user may change"
        return
    try:
        Path(bpy.app.tempdir, "filler").write_bytes(bytes(1 << 17))
        check(False, "the temporary folder is full")
    except OSError as error:
        check(True, f"the temporary folder is full: {error.strerror}")
    before = objects()
    add_images(OUT / "donut.png")
    yield 3.0
    picture("3_full")
    call(bpy.ops.espalier.generate)
    yield from until(lambda: not any(job.active for job in pump.jobs.jobs), "a job ends, one way or the other")
    yield 0.5
    picture("4_full_after_a_job")
    failed = [job.error.message for job in pump.jobs.jobs if job.error]
    check(failed or "donut" in objects(), f"with an object or in words: {failed or objects()}")
    check(failed == [] or objects() == before, "and nothing half in the scene")
    bpy.ops.wm.save_as_mainfile(filepath=str(OUT / "full.blend"))
    check((OUT / "full.blend").stat().st_size > 10_000, "the scene can be saved")
    check(room("1g"), "there is room again")
    for job in list(pump.jobs.jobs):
        pump.jobs.forget(job)
    bpy.context.scene.espalier.images.clear()
    fake_backend.write_png(OUT / "cup.png", 128, fake_backend.paint)
    add_images(OUT / "cup.png")
    call(bpy.ops.espalier.generate)
    yield from ended("the next job works")
    check("cup" in objects(), "and makes its object")


def children() -> set[int]:
    """The processes that this Blender has started, and their children."""
    parents = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(process.name)] = int((process / "stat").read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended
    found, new = {os.getpid()}, {os.getpid()}
    while new:
        new = {pid for pid, parent in parents.items() if parent in new} - found
        found |= new
    return found - {os.getpid()}


def peak() -> float:
    """The most memory that Blender has had since ``forget_peak``, in megabytes."""
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024


def forget_peak() -> float:
    """Start to measure; the memory now."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak()


def entry(number: int, **more: object) -> dict[str, object]:
    settings = {"images": ["//a.png"], "seed": number}
    return {"id": str(number), "name": f"mug {number}", "size": 1.0, "picture": "", "settings": settings} | more


def strangers() -> dict[str, Any]:
    """What strangers' files have in the history, by name."""
    import base64
    import zlib

    bomb = base64.b64encode(zlib.compress(zlib.compress(bytes(1 << 28), 9), 9)).decode()
    large = base64.b64encode(zlib.compress(bytes(1 << 26), 9)).decode()
    return {
        "bombs": json.dumps([entry(n, picture=large if n % 2 else bomb) for n in range(60)]),
        "many": json.dumps([entry(n) for n in range(60_000)])[: 7 << 20],
        "deep": "[" * 1_000_000,
        "wrong": json.dumps([entry(n, name=n, settings={"images": [[n]], "seed": 10**30}) for n in range(5000)]),
        "long": json.dumps([entry(n, name="x" * 100_000) for n in range(60)]),
        "paths": json.dumps([entry(n, settings={"images": ["/dev/zero", "//../../../etc/passwd"]}) for n in range(60)]),
    }


def write_stranger(path: Path, text: str, listed: list[str]) -> None:
    """A file with this history and this list of images, and with objects whose properties hold anything."""
    bpy.ops.wm.read_homefile(use_factory_startup=True, load_ui=False)
    scene = bpy.context.scene
    for named in listed:
        scene.espalier.images.add().path = named
    for number in range(200):
        target = bpy.data.objects.new(f"stranger {number}", None)
        scene.collection.objects.link(target)
        for name, value in (("images", "[" * 5000), ("seed", "9" * 4000), ("size", -1.0), ("cameras", "{}" * 5000)):
            target[f"espalier_{name}"] = value
    scene.espalier_history = text
    handlers = bpy.app.handlers.save_pre[:]
    bpy.app.handlers.save_pre.clear()  # ours would write the history that it knows
    bpy.ops.wm.save_as_mainfile(filepath=str(path), compress=True)
    bpy.app.handlers.save_pre.extend(handlers)


def hostile() -> Steps:
    pipe = OUT / "pipe.png"
    os.mkfifo(pipe)
    real = OUT / "real.png"
    fake_backend.write_png(real, 64, fake_backend.paint)
    listed = ["/dev/zero", str(pipe), str(real), "/proc/self/mem", "//../../../etc/passwd", *map(str, range(2000))]
    names = strangers()
    files = {name: OUT / f"{name}.blend" for name in ("empty", *names)}
    for name, path in files.items():
        write_stranger(path, names.get(name, ""), listed if name != "empty" else [])
    driver.unfold("ESPALIER_PT_history", "ESPALIER_PT_iterate")
    bpy.ops.wm.open_mainfile(filepath=str(files["empty"]), load_ui=False)
    yield 1.0
    yield from open_sidebar()
    yield 1.0
    before, windows = children(), len(bpy.context.window_manager.windows)
    for name in ("empty", *names):  # the empty one first: what opening any file takes
        start = forget_peak()
        bpy.ops.wm.open_mainfile(filepath=str(files[name]), load_ui=False)
        yield 1.0
        select("stranger 7")
        yield from open_sidebar()
        yield 2.0
        driver.frames(name)
        took = peak() - start
        if name == "empty":
            usual = took
            continue
        picture(f"5_{name}")
        check(took - usual < MOST_MEGABYTES, f"{name}: {took - usual:.0f} MB more than an empty file")
        check(
            frame(name) < 4 * frame("empty"),
            f"a frame takes {frame(name):.0f} ms ({frame('empty'):.0f} of an empty file)",
        )
        check(children() == before and pump.jobs.backend is None, "no process is started")
        check(len(bpy.context.window_manager.windows) == windows, "no window opens")
        check(len(history.entries) <= 60, f"{len(history.entries)} entries of its history are shown")
        call(bpy.ops.ed.undo_push, message="A step")
        bpy.ops.wm.save_as_mainfile(filepath=str(OUT / "again.blend"))
    check(not pump.jobs.jobs, "no job is there")


def frame(name: str) -> float:
    """Milliseconds that a frame of the window took with this file."""
    return float(driver.report["frame_ms"][name])


SESSIONS = {"saved": saved, "moved": moved, "full": full, "hostile": hostile}

driver.drive(SESSIONS[driver.ARGUMENTS[1]]())
