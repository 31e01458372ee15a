"""A session in a real, windowed Blender with Espalier installed and the real backend with the bundled model behind it.

    blender --python tests/real_blender/bundled.py -- OUT_DIR

From an image to an object and on: undo, redo, cancel, made again in place, variants, history, a mesh of one's own
painted, an asset, saved and opened again; then an image that is none, and a backend that is killed in mid-job.
``driver`` says how buttons are pressed and where pictures lie.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import bpy
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))  # Blender runs this file alone

from tests.real_blender import driver
from tests.real_blender.driver import (
    END,
    OUT,
    Steps,
    add_images,
    call,
    check,
    empty_scene,
    frames,
    history,
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
)

EXAMPLES = Path(__file__).parents[2] / "examples"
JOB = 400.0  # seconds that jobs may take on a machine that has other things to do
LONG = 1000  # sampling steps that are not over before a session has looked: the usual two take half a second


def made(words: str) -> Steps:
    """Wait until nothing is being made any more, and all of it has come."""
    yield from until(lambda: not any(job.active for job in pump.jobs.jobs), words, JOB)
    yield 0.5
    check([job.error for job in pump.jobs.jobs] == [], "without an error")


@contextmanager
def standing_still() -> Iterator[None]:
    """Have the backend stand still, which is otherwise done before anybody has looked."""
    pid = pump.jobs.backend.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def positions(name: str) -> np.ndarray:
    mesh = bpy.data.objects[name].data
    values = np.empty((len(mesh.vertices), 3), np.float32)
    mesh.vertices.foreach_get("co", values.ravel())
    return values


def is_textured(name: str) -> bool:
    """Whether an object has UVs and a packed texture of more than one color."""
    mesh = bpy.data.objects[name].data
    nodes = mesh.materials[0].node_tree.nodes
    image = nodes["Principled BSDF"].inputs["Base Color"].links[0].from_node.image
    values = np.empty(len(image.pixels), np.float32)
    image.pixels.foreach_get(values)
    return bool(mesh.uv_layers) and image.packed_file is not None and values.reshape(-1, 4)[:, :3].std(0).max() > 0.02


def image_to_object() -> Steps:
    empty_scene()
    yield from open_sidebar()
    check(not bpy.ops.espalier.generate.poll(), "without an image the button is off")
    picture("01_empty")
    add_images(EXAMPLES / "mushroom.png")
    yield 4.0
    picture("02_image")
    frames("idle")
    before, seen, shares = objects(), [], [0.0]
    yield from press("espalier.generate")
    yield from until(running(0.01), "the backend starts and works", JOB)
    while (job := pump.jobs.running) is not None:
        shares.append(job.fraction)
        if job.preview is not None and "preview" not in seen:
            seen.append("preview")
            with standing_still():
                yield from until(lambda: any(o.batch for o in viewport._overlays.values()), "the preview is drawn")
                check(objects() == before, "and is no object")
                picture("04_preview")
        elif job.stage not in seen:
            seen.append(job.stage)
            with standing_still():
                picture(f"03_{len(seen)}_{job.stage}")
        call(bpy.ops.view3d.view_orbit, angle=0.03, type="ORBITLEFT")
        yield 0.02
    yield from made("the object is there")
    check("preview" in seen, "it had a preview")
    check(shares == sorted(shares) and shares[-1] > 0.8, f"progress only grows, over {', '.join(seen)}")
    shading = view()[1].spaces.active.shading
    check((shading.type, shading.color_type) == ("SOLID", "TEXTURE"), "its colors are shown, with nothing pressed")
    yield 1.0
    picture("05_object")
    size = np.ptp(positions("mushroom"), axis=0).max()
    check(abs(size - 1) < 1e-3 and is_textured("mushroom"), "one meter, with a texture")
    faces = len(bpy.data.objects["mushroom"].data.polygons)
    check(0.9 * bpy.context.scene.espalier.faces < faces, f"with the faces asked for: {faces}")
    call(bpy.ops.ed.undo)
    yield 0.5
    picture("06_undone")
    check(objects() == before and len(bpy.context.scene.espalier.images) == 1, "one undo takes it away, and it alone")
    call(bpy.ops.ed.redo)
    yield 0.5
    picture("07_redone")
    check(is_textured("mushroom"), "redo brings it back")


def cancelled() -> Steps:
    before, pid, settings = objects(), pump.jobs.backend.pid, bpy.context.scene.espalier
    settings.use_steps, settings.steps = True, LONG
    yield from press("espalier.generate")
    yield from until(running(0.1), "a second job runs", JOB)
    frames("job")
    picture("08_second")
    yield from press("espalier.cancel")
    yield from until(lambda: not pump.jobs.jobs, "it is cancelled")
    yield 0.5
    picture("09_cancelled")
    check(objects() == before and pump.jobs.backend.pid == pid, "with no trace, and the backend goes on")
    settings.use_steps = False


def again() -> Steps:
    made_before = bpy.data.objects["mushroom"]
    made_before.location.x, made_before.rotation_euler.z = -0.4, 0.6
    call(bpy.ops.ed.undo_push, message="Move")
    placed, seed, shape = made_before.matrix_basis.copy(), made_before["espalier_seed"], positions("mushroom")
    others = objects()
    with standing_still():
        yield from press("espalier.regenerate", how="SEED")
        check(pump.jobs.active, "it is being made again")
        picture("10_regenerating")
    yield from made("and stands there")
    now = bpy.data.objects["mushroom"]
    picture("11_regenerated")
    check(now.matrix_basis == placed and objects() == others, "in its place")
    seeds = (seed, bpy.context.scene.espalier.seed)
    check(now["espalier_seed"] not in seeds, "of another seed, not the panel's either")
    made_now = positions("mushroom")  # closed surfaces of as many faces often have as many vertices
    check(made_now.shape != shape.shape or not np.allclose(made_now, shape), "and of another shape")
    yield from press("espalier.variants")
    yield 0.5
    picture("12_variants_asked")
    yield from made("three variants")
    call(bpy.ops.view3d.view_all)
    yield 1.0
    picture("13_variants")
    check(len(set(objects()) - set(others)) == 3, "stand beside it")


def from_the_history() -> Steps:
    yield from until(lambda: all(entry.picture is not None for entry in history.entries), "portraits are drawn")
    check(len(history.entries) == 5, "the history has all five")
    before = objects()
    bpy.context.scene.cursor.location = (0.0, -1.5, 0.0)
    yield from driver.scroll(bpy.ops.view2d.scroll_down)
    picture("14_history")
    yield from press("espalier.insert_again", below=END)
    yield 1.0
    picture("15_inserted_again")
    check(len(objects()) == len(before) + 1, "one of them is inserted again")


def painted() -> Steps:
    call(bpy.ops.mesh.primitive_cube_add, size=0.9, location=(-1.6, -1.2, 0.45))
    bpy.context.active_object.name = "Block"
    call(bpy.ops.ed.undo_push, message="Block")
    shape = positions("Block")
    bpy.context.scene.espalier.images.clear()
    add_images(EXAMPLES / "house.png")
    yield 1.0
    yield from press("espalier.retexture", below=END)
    yield from made("a mesh of one's own is painted")
    yield 1.0
    picture("16_retextured")
    check(np.array_equal(positions("Block"), shape) and is_textured("Block"), "and keeps its shape")


def kept() -> Steps:
    select("mushroom")
    yield 0.5
    yield from press("espalier.mark_asset")
    asset = bpy.data.objects["mushroom"]
    check(asset.asset_data is not None, "it is an asset")
    yield from until(lambda: any(bpy.data.objects["mushroom"].preview.image_size), "with a preview")
    before, entries = objects(), [entry.id for entry in history.entries]
    bpy.ops.wm.save_as_mainfile(filepath=str(OUT / "bundled.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(OUT / "bundled.blend"), load_ui=False)
    yield 2.0
    yield from open_sidebar()
    picture("17_reopened")
    yield from driver.scroll(bpy.ops.view2d.scroll_down)
    picture("18_history_reopened")
    yield from driver.scroll(bpy.ops.view2d.scroll_up)
    check(objects() == before and is_textured("mushroom") and is_textured("Block"), "the file holds all, textures too")
    check(bpy.data.objects["mushroom"].asset_data is not None, "and the asset")
    check([entry.id for entry in history.entries] == entries, "and the history")
    check(all(entry.picture is not None for entry in history.entries), "with its pictures")


def no_image() -> Steps:
    (OUT / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"no picture" * 100)
    bpy.context.scene.espalier.images.clear()
    add_images(OUT / "broken.png")
    yield 1.0
    before = objects()
    yield from press("espalier.generate")
    yield from until(lambda: pump.jobs.jobs[0].error, "an image that is none is noticed", JOB)
    yield 0.5
    picture("19_no_image")
    error = pump.jobs.jobs[0].error
    check(error.code.startswith("image_") and "broken.png" in error.message, f"and said: {error.message} {error.hint}")
    check(objects() == before, "the scene is as it was")


def killed() -> Steps:
    bpy.context.scene.espalier.images.clear()
    add_images(EXAMPLES / "mug.png")
    bpy.context.scene.cursor.location = (1.3, -1.5, 0.0)  # not where another object stands
    yield 0.5
    before, settings = objects(), bpy.context.scene.espalier
    settings.use_steps, settings.steps = True, 100  # Try Again takes as many
    settings.retry_seconds = 0.0  # and does not look for a better structure
    yield from press("espalier.generate", below=6)  # below the card and what the last press came to
    yield from until(running(0.1), "a job runs", JOB)
    os.kill(pump.jobs.backend.pid, signal.SIGKILL)
    yield from until(lambda: pump.jobs.jobs[0].error, "a killed backend is noticed")
    yield 0.5
    picture("20_killed")
    check(objects() == before, "the scene is as it was")
    yield from press("espalier.retry")
    yield from made("the next try works")
    picture("21_next")
    check("mug" in bpy.data.objects and is_textured("mug"), "and makes the object")


def quads_with_levels() -> Steps:
    settings, before = bpy.context.scene.espalier, set(objects())
    settings.use_steps, settings.quads, settings.lods = False, True, True
    bpy.context.scene.cursor.location = (2.9, -1.5, 0.0)
    yield from press("espalier.generate")
    yield from made("an object of quads")
    (name,) = (name for name in set(objects()) - before if "_LOD" not in name)
    target = bpy.data.objects[name]
    sizes = np.array([polygon.loop_total for polygon in target.data.polygons])
    check(
        (sizes == 4).mean() > 0.9 and set(sizes) <= {3, 4}, f"{(sizes == 4).mean():.0%} of {len(sizes)} faces are quads"
    )
    triangles = (sizes - 2).sum()
    shares = [len(child.data.polygons) / triangles for child in sorted(target.children, key=lambda one: one.name)]
    fewer = np.allclose(shares[:2], (0.5, 0.25), atol=0.02) and 0.1 < shares[2] < 0.2  # with 600 faces not all can go
    check(fewer, f"its levels of detail have {np.round(shares, 2)} of them")
    check(all(child.hide_viewport for child in target.children), "and are hidden")
    select(name)
    call(bpy.ops.view3d.view_selected)
    driver.view()[1].spaces.active.overlay.show_wireframes = True
    yield 2.0
    picture("22_quads")


def whole() -> Steps:
    driver.unfold("ESPALIER_PT_iterate", "ESPALIER_PT_history")
    yield from image_to_object()
    yield from cancelled()
    yield from again()
    yield from from_the_history()
    yield from painted()
    yield from kept()
    yield from no_image()
    yield from killed()
    yield from quads_with_levels()


driver.drive(whole())
