"""A session in a real, windowed Blender about cut-outs: shown in the panel, painted by hand, picked by a click.

    blender --python tests/real_blender/cutout.py -- OUT_DIR [PHOTOGRAPH]

With the fake backend or the real one. Without a photograph, one is made of an example over a pattern. The brush and the
click need xdotool; without it, pixels are changed instead. ``driver`` says how buttons are pressed and where pictures
lie.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import bpy
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))  # Blender runs this file alone

from tests.real_blender import driver
from tests.real_blender.driver import (
    OUT,
    Steps,
    add_images,
    call,
    check,
    empty_scene,
    open_sidebar,
    picture,
    press,
    pump,
    until,
    view,
)

EXAMPLE = Path(__file__).parents[2] / "examples" / "mushroom.png"
JOB = 400.0  # seconds that a job may take on a machine that has other things to do
cutouts = sys.modules[f"{driver.ROOT}.blender_addon.request.cutouts"]
painted = sys.modules[f"{driver.ROOT}.blender_addon.request.painted"]
with_mouse = shutil.which("xdotool") is not None


def photograph() -> Path:
    """The one that was given, else an example over a pattern."""
    if len(driver.ARGUMENTS) > 1:
        return Path(driver.ARGUMENTS[1]).resolve()
    image = bpy.data.images.load(str(EXAMPLE))
    width, height = image.size
    values = np.array(image.pixels[:], np.float32).reshape(height, width, 4)
    rows, columns = np.indices((height, width))
    pattern = 0.5 + 0.2 * np.sin(rows / 17)[..., None] * np.cos(columns / 11)[..., None] * (1, 0.6, 0.3)
    values[..., :3] = values[..., 3:] * values[..., :3] + (1 - values[..., 3:]) * pattern
    values[..., 3] = 1
    image.pixels.foreach_set(values.ravel())
    image.filepath_raw, image.file_format = str(OUT / "photograph.png"), "PNG"
    image.save()
    bpy.data.images.remove(image)
    return OUT / "photograph.png"


def item() -> bpy.types.PropertyGroup:
    return bpy.context.scene.espalier.images[0]


def pixels(image: bpy.types.Image) -> np.ndarray:
    values = np.empty(len(image.pixels), np.float32)
    image.pixels.foreach_get(values)
    return values.reshape(image.size[1], image.size[0], 4)


def alpha(image: bpy.types.Image) -> np.ndarray:
    return pixels(image)[..., 3]


def shown_images() -> list[bpy.types.Image]:
    """The images that image editors show."""
    areas = [area for window in bpy.context.window_manager.windows for area in window.screen.areas]
    return [area.spaces.active.image for area in areas if area.type == "IMAGE_EDITOR"]


def editor() -> tuple[bpy.types.Window, bpy.types.Area, bpy.types.Region]:
    window, area = next(
        (window, area)
        for window in bpy.context.window_manager.windows
        for area in window.screen.areas
        if area.type == "IMAGE_EDITOR"
    )
    return window, area, next(region for region in area.regions if region.type == "WINDOW")


def place(across: float, up: float) -> tuple[int, int]:
    """Where a point of the image is on the screen."""
    window, _, region = editor()
    x, y = region.view2d.view_to_region(across, up, clip=False)
    bottom = int(subprocess.run(["xdotool", "getdisplaygeometry"], capture_output=True, text=True).stdout.split()[1])
    return window.x + region.x + x, bottom - (window.y + region.y + y)


def stroke() -> Steps:
    """A stroke of the brush down the image, right of its middle."""
    if not with_mouse:
        image = item().cutout
        values = np.empty(len(image.pixels), np.float32)
        image.pixels.foreach_get(values)
        values.reshape(image.size[1], image.size[0], 4)[:, image.size[0] // 2 :, 3] = 0
        image.pixels.foreach_set(values)
        return
    driver.mouse(*place(0.7, 0.84))
    yield 0.3
    subprocess.run(["xdotool", "mousedown", "1"], check=True)
    for along in np.linspace(0.05, 1, 10):
        driver.mouse(*place(0.7 - 0.1 * float(along), 0.84 - 0.6 * float(along)))
        yield 0.1
    subprocess.run(["xdotool", "mouseup", "1"], check=True)
    yield 0.3


def shown() -> Steps:
    empty_scene()
    yield from open_sidebar()
    bpy.context.scene.espalier.lock_seed = True
    add_images(photograph())
    yield from until(lambda: cutouts.answer(item()) is not None, "the cut-out is there without a button", JOB)
    yield 2.0
    picture("1_cutout")
    answer = cutouts.answer(item())
    check(answer.removed, "the background is removed")
    check(cutouts.icon(item()) != 0, "its thumbnail is shown")


def edited() -> Steps:
    yield from press("espalier.edit_cutout")
    yield from until(lambda: item().cutout, "the cut-out is an image of the file")
    yield from until(lambda: item().cutout in shown_images(), "the image editor shows it")
    yield from until(
        lambda: (brush := bpy.context.scene.tool_settings.image_paint.brush) and brush.blend == "ERASE_ALPHA",
        "with the brush that erases",
    )
    check(editor()[1].spaces.active.ui_mode == "PAINT", "in paint mode")
    yield 1.0
    picture("2_editor")
    before = pixels(item().cutout)
    yield from until(lambda: painted.has_thumbnail(item().cutout), "it has a thumbnail")
    key = str(item().cutout.session_uid)
    thumbnail = np.array(painted._icons[key].image_pixels_float[:])
    yield from stroke()
    after = pixels(item().cutout)
    check(after[..., 3].sum() < before[..., 3].sum(), "a stroke takes alpha away")
    check(np.abs(after - before)[..., :3].max() < 0.01, "and no color, so that it can be restored")
    picture("3_painted")
    if with_mouse:
        yield from until(
            lambda: np.abs(np.array(painted._icons[key].image_pixels_float[:]) - thumbnail).max() > 0.1,
            "the thumbnail follows",
        )


def undone_and_saved() -> Steps:
    after = alpha(item().cutout)
    if with_mouse:
        call(bpy.ops.ed.undo)
        yield 0.5
        check(item().cutout and alpha(item().cutout).sum() > after.sum(), "undo takes the stroke back, and it alone")
        call(bpy.ops.ed.redo)
        yield 0.5
        check(np.array_equal(alpha(item().cutout), after), "redo puts it back")
    window = editor()[0]
    if window != view()[0]:
        with bpy.context.temp_override(window=window):
            bpy.ops.wm.window_close()
        yield 0.5
    bpy.ops.wm.save_as_mainfile(filepath=str(OUT / "saved.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(OUT / "saved.blend"), load_ui=False)
    yield 1.0
    check(np.abs(alpha(item().cutout) - after).max() < 0.01, "what was painted is saved and opened again")
    yield from open_sidebar()
    yield 1.0
    picture("4_opened_again")


def generated() -> Steps:
    name = Path(item().path).stem
    yield from press("espalier.generate")
    yield from until(lambda: pump.jobs.jobs or name in bpy.data.objects, "a job is there")
    for job in pump.jobs.jobs:
        check(job.request.painted == (True,), "the request says that the image was painted")
    yield from until(lambda: not any(job.active for job in pump.jobs.jobs), "it ends", JOB)
    yield 1.0
    picture("5_generated")
    check([job.error for job in pump.jobs.jobs] == [], "without an error")
    check(name in bpy.data.objects, "the object is there")


def picked() -> Steps:
    yield from press("espalier.reset_cutout")
    check(not item().cutout, "the automatic cut-out is used again")
    yield from until(lambda: cutouts.answer(item()) is not None, "it is there", JOB)
    if not with_mouse:
        call(bpy.ops.espalier.pick_object, "EXEC_DEFAULT", True, index=0, point=(0.3, 0.4))
    else:
        yield from driver.find("bpy.ops.espalier.pick_object(")
        subprocess.run(["xdotool", "click", "1"], check=True)
        yield from until(shown_images, "the image editor waits for a click")
        yield 2.0
        picture("6_click")
        windows = len(bpy.context.window_manager.windows)
        driver.mouse(*place(0.3, 0.6))
        yield 0.3
        subprocess.run(["xdotool", "click", "1"], check=True)
        yield from until(lambda: item().use_point, "a click picks the object")
        yield 1.0
        check(len(bpy.context.window_manager.windows) < windows, "the window is closed again")
    found = tuple(round(value, 3) for value in item().point)
    check(np.abs(np.array(found) - (0.3, 0.4)).max() < 0.02, f"{found} is the point of the click, from the top left")
    yield from until(lambda: cutouts.answer(item()) is not None, "its cut-out is there", JOB)
    check(cutouts.of(item()).request.point is not None, "of the object at that point")
    yield 2.0
    picture("7_picked")


def whole() -> Steps:
    for part in (shown, edited, undone_and_saved, generated, picked):
        yield from part()


driver.drive(whole())
