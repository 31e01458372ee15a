"""A session in a real, windowed Blender with the bundled model: an object over a blockout, and a part of it made anew.

    blender --python tests/real_blender/guide.py -- OUT_DIR

``driver`` says how buttons are pressed and where pictures lie.
"""

from __future__ import annotations

import sys
from pathlib import Path

import bpy
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))  # Blender runs this file alone

from tests.real_blender import driver
from tests.real_blender.driver import (
    END,
    Steps,
    add_images,
    call,
    check,
    empty_scene,
    open_sidebar,
    picture,
    press,
    pump,
    select,
    until,
)

EXAMPLES = Path(__file__).parents[2] / "examples"
JOB = 400.0  # seconds that jobs may take on a machine that has other things to do
#: The middles and the sizes of the blocks of a chair: a seat, a back, four legs.
BLOCKS = [((0.0, 0.0, 1.0), (1.1, 1.0, 0.16)), ((0.0, 0.44, 1.6), (1.1, 0.14, 1.2))]
BLOCKS += [((x, y, 0.48), (0.14, 0.14, 0.96)) for x in (-0.46, 0.46) for y in (-0.4, 0.4)]
PLACE = np.array((-1.4, 0.0, 0.0))


def positions(name: str) -> np.ndarray:
    mesh = bpy.data.objects[name].data
    values = np.empty((len(mesh.vertices), 3), np.float32)
    mesh.vertices.foreach_get("co", values.ravel())
    return values


def made(words: str) -> Steps:
    yield from until(lambda: not any(job.active for job in pump.jobs.jobs), words, JOB)
    yield 0.5
    check([job.error for job in pump.jobs.jobs] == [], "without an error")


def blockout() -> bpy.types.Object:
    """Cubes on the left, all children of the seat."""
    cubes = []
    for number, (middle, size) in enumerate(BLOCKS):
        call(bpy.ops.mesh.primitive_cube_add, size=1, location=tuple(PLACE + middle), scale=size)
        cubes.append(bpy.context.active_object)
        cubes[-1].name = f"Block {number}"
    bpy.context.view_layer.update()
    for cube in cubes[1:]:
        cube.parent = cubes[0]
        cube.matrix_parent_inverse = cubes[0].matrix_world.inverted()
    call(bpy.ops.ed.undo_push, message="Blockout")
    return cubes[0]


def over_the_blockout() -> Steps:
    empty_scene()
    yield from open_sidebar()
    add_images(EXAMPLES / "chair.png")
    settings = bpy.context.scene.espalier
    settings.guide, settings.shape_strength, settings.lock_seed = blockout(), 0.7, True
    call(bpy.ops.view3d.view_all)
    yield 3.0
    picture("01_blockout")
    yield from press("espalier.generate")
    yield from made("an object is made over the blockout")
    check({each.display_type for each in (settings.guide, *settings.guide.children)} == {"WIRE"}, "which is wire now")
    chair = bpy.data.objects["chair"]
    low, high = positions("chair").min(axis=0), positions("chair").max(axis=0)
    check(abs(chair.location[0] - PLACE[0]) < 0.01 and abs(chair.location[2]) < 0.01, "in its place")
    check(abs((high - low).max() - 2.2) < 0.05, f"in its size: {np.round(high - low, 2)}")
    check(not bpy.data.objects["Block 0"].hide_get(), "and the blockout is still there")
    check(bool(chair["espalier_voxels"]), "whose voxels the object remembers")
    chair.location.x = 0.6  # beside it, to be seen
    call(bpy.ops.ed.undo_push, message="Move")
    call(bpy.ops.view3d.view_all)
    yield 2.0
    picture("02_over_the_blockout")


def inside_a_box() -> Steps:
    chair = bpy.data.objects["chair"]
    chair.rotation_euler.z = 0.5
    call(bpy.ops.object.empty_add, type="CUBE", radius=0.8, location=(0.6, 0.0, 2.05), rotation=(0, 0, 0.5))
    box = bpy.context.active_object
    select("chair")
    box.select_set(True)
    call(bpy.ops.ed.undo_push, message="Box")
    call(bpy.ops.view3d.view_selected)
    yield 1.5
    picture("03_box")
    placed, before = chair.matrix_basis.copy(), positions("chair")
    yield from press("espalier.again_in_box", below=END)
    yield from made("what is in the box is made anew")
    chair = bpy.data.objects["chair"]
    yield 1.5
    picture("04_made_anew")
    after = positions("chair")
    check(chair.matrix_basis == placed, "in its place")
    check(after.shape != before.shape or not np.allclose(after, before), "it is another one")
    feet = [points[points[:, 2] < 0.15] for points in (before, after)]
    moved = [np.abs(feet[0].min(axis=0) - feet[1].min(axis=0)).max(), np.abs(feet[0].max(0) - feet[1].max(0)).max()]
    check(max(moved[0], moved[1]) < 0.06, f"its feet stand where they stood, within {max(moved):.3f} m of 2.2")
    call(bpy.ops.ed.undo)
    yield 1.0
    check(np.array_equal(positions("chair"), before), "one undo brings the old one back")
    call(bpy.ops.ed.redo)
    yield 1.0
    select("chair")
    bpy.data.objects["Empty"].select_set(True)  # not ``box``: undo has made it another one
    call(bpy.ops.view3d.view_selected)
    yield from press("espalier.again_in_box", below=END)
    yield from made("and again")
    check(len(bpy.data.objects["chair"]["espalier_edits"]) > 100, "it remembers both")
    yield 1.5
    picture("05_again")


def whole() -> Steps:
    driver.unfold("ESPALIER_PT_iterate")
    yield from over_the_blockout()
    yield from inside_a_box()


driver.drive(whole())
