"""A session in a real, windowed Blender about candidates, with the real backend and the bundled model.

    blender --python tests/real_blender/explore.py -- OUT_DIR

Eight candidates arrive, some are taken by button and by number key, more are made, and what was put away comes back.
``driver`` says how buttons are pressed and where pictures lie.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

import bpy

sys.path.insert(0, str(Path(__file__).parents[2]))  # Blender runs this file alone

from tests.real_blender import driver
from tests.real_blender.driver import (
    Steps,
    add_images,
    call,
    check,
    empty_scene,
    objects,
    open_sidebar,
    picture,
    press,
    pump,
    region,
    report,
    until,
    view,
    viewport,
)

EXAMPLES = Path(__file__).parents[2] / "examples"
JOB = 400.0  # seconds that jobs may take on a machine that has other things to do
candidates = sys.modules[f"{driver.ROOT}.blender_addon.scene.candidates"]
with_mouse = shutil.which("xdotool") is not None


def drawn() -> int:
    """How many candidates have been drawn in the viewport."""
    keys = [candidate.key for candidate in candidates.shown()]
    return sum(key in viewport._overlays and viewport._overlays[key].batch is not None for key in keys)


def warm() -> Steps:
    """A backend that has the model in memory, as after the first object."""
    empty_scene()
    yield from open_sidebar()
    add_images(EXAMPLES / "mushroom.png")
    settings = bpy.context.scene.espalier
    settings.lock_seed, settings.seed = True, 7
    yield 1.0
    call(bpy.ops.espalier.generate)
    yield from until(lambda: not pump.jobs.jobs, "a first object is made", JOB)
    bpy.data.objects.remove(bpy.data.objects["mushroom"])
    space = view()[1].spaces.active
    space.region_3d.view_distance, space.region_3d.view_location = 9, (1.6, 0.6, 0.4)
    yield 1.5


def arriving() -> Steps:
    picture("1_before")
    check(not candidates.shown(), "there are no candidates")
    began = time.monotonic()
    if with_mouse:
        yield from press("espalier.explore", how="NEW")
        began = time.monotonic()  # the button is pressed just before: what is said of seconds leaves a hundredth out
    else:
        call(bpy.ops.espalier.explore)
    times: dict[str, float] = {}
    while drawn() < 8:
        if drawn() >= 1 and "first" not in times:
            times["first"] = time.monotonic() - began
        if drawn() >= 3 and "3" not in times:
            times["3"] = time.monotonic() - began
            picture("2_arriving")
        if time.monotonic() > began + JOB:
            raise AssertionError("eight candidates: not in time")
        yield 0.02
    times["eight"] = time.monotonic() - began
    report["explore_s"] = {name: round(seconds, 3) for name, seconds in times.items()}
    check(True, f"eight candidates are drawn: {report['explore_s']}")
    check(objects() == ["Camera", "Light"], "and none of them is an object")
    yield from until(lambda: all(one.picture is not None for one in candidates.shown()), "they have pictures")
    yield 1.0
    picture("3_eight")


def taken() -> Steps:
    third, second = candidates.find(3), candidates.find(2)
    place = third.job.places[third.index]
    if with_mouse:
        canvas = region("WINDOW")
        driver.mouse(canvas.x + canvas.width // 3, view()[0].height - canvas.y - canvas.height // 4)
        yield 0.5
        layers = bpy.context.view_layer.layer_collection.children
        hidden = [one.hide_viewport for one in layers]
        subprocess.run(["xdotool", "key", "shift+3"], check=True)
        yield 0.5
        check(hidden == [one.hide_viewport for one in layers], "the key does nothing else")
    else:
        call(bpy.ops.espalier.take_candidate, number=3, keep_choosing=True)
    check(third.taken, "the number key takes the third, and Shift goes on choosing")
    picture("4_taking")
    yield from until(lambda: not pump.jobs.jobs, "it is finished", JOB)
    yield 1.0
    made = bpy.data.objects["mushroom"]
    check(made["espalier_seed"] == third.seed, "it has the seed of the candidate")
    check(tuple(made.location) == place, "and stands in its place")
    check(len(candidates.shown()) == 8, "the others are still there")
    picture("5_taken")
    if with_mouse:
        yield from pressed(2)
    else:
        call(bpy.ops.espalier.take_candidate, number=2)
    check(second.taken and not candidates.shown(), "a click takes the second and puts the others away")
    yield from until(lambda: not pump.jobs.jobs, "it is finished, too", JOB)
    yield 1.0
    picture("6_put_away")
    check(viewport._overlays == {}, "nothing but objects is drawn")


def pressed(number: int) -> Steps:
    yield from driver.find(f"bpy.ops.espalier.take_candidate(number={number}")
    before = driver.calls_of("espalier.take_candidate")
    subprocess.run(["xdotool", "click", "1"], check=True)
    yield from until(lambda: driver.calls_of("espalier.take_candidate") > before, f"button {number} is pressed")


def more() -> Steps:
    yield from press("espalier.bring_back_candidates")
    yield 0.5
    check(len(candidates.shown()) == 8, "they come back")
    call(bpy.ops.espalier.explore, how="MORE")  # the button is below the edge of this small window
    yield from until(lambda: not pump.jobs.active and drawn() >= 14, "eight more are made", JOB)
    yield 1.0
    check(len(candidates.shown()) == 16, "beside those that were there")
    view()[1].spaces.active.region_3d.view_distance = 12
    yield 1.0
    picture("7_more")
    yield from press("espalier.put_away_candidates")
    yield 0.5
    check(not candidates.shown() and viewport._overlays == {}, "none of them is taken")
    picture("8_none")


def whole() -> Steps:
    for part in (warm, arriving, taken, more):
        yield from part()


driver.drive(whole())
