"""New objects stand beside what is there, and beside each other."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

import bpy
import numpy as np
import pytest
from espalier.blender_addon import pump
from espalier.blender_addon.request import free_ground, placement
from mathutils import Vector

from tests.machine import needs_quick_memory

Until = Callable[..., None]


@pytest.fixture
def settings(mode: list[str]) -> Any:
    return bpy.context.scene.espalier


def place(count: int = 1) -> list[placement.Location]:
    bpy.context.view_layer.update()
    return placement.find_row(bpy.context, count)[0]


def at(location: tuple[float, ...], size: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """The room that an object may take."""
    middle, half = np.array(location), np.array((size / 2, size / 2, 0))
    return middle - half, middle + half + np.array((0, 0, size))


def box(target: bpy.types.Object) -> tuple[np.ndarray, np.ndarray]:
    corners = np.array([target.matrix_world @ Vector(corner) for corner in target.bound_box])
    return corners.min(axis=0), corners.max(axis=0)


def overlap(one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]) -> bool:
    return bool((one[0] < other[1] - 1e-4).all() and (other[0] < one[1] - 1e-4).all())


def test_an_empty_scene_has_room_in_its_middle(settings: Any) -> None:
    assert place() == [(0, 0, 0)]
    bpy.ops.object.camera_add()  # neither camera nor light is in the way
    bpy.ops.object.light_add()
    bpy.ops.object.empty_add()
    assert place() == [(0, 0, 0)]


def test_beside_the_default_cube_to_the_right(settings: Any) -> None:
    bpy.ops.mesh.primitive_cube_add()
    assert place() == [(1.75, 0, 0)]
    assert place(3) == [(1.75, 0, 0), (3, 0, 0), (4.25, 0, 0)]
    settings.size = 0.1
    assert 1.07 < place()[0][0] < 1.3  # farther away it is looked for in larger steps
    settings.size = 3
    ((x, _, _),) = place()
    assert x == pytest.approx(1 + 1.5 + 0.75, abs=3 * free_ground.STEP)
    assert not overlap(box(bpy.context.object), at((x, 0, 0), 3))


def test_a_cursor_that_was_moved_is_kept(settings: Any, until: Until) -> None:
    bpy.ops.mesh.primitive_cube_add()
    bpy.context.scene.cursor.location = (0.5, 0, 0.25)
    assert place() == [(0.5, 0, 0.25)]
    bpy.ops.espalier.generate()
    assert place() == [(1.75, 0, 0.25)], "but not inside what is being made there"
    until(lambda: not pump.jobs.jobs, pump.step)
    assert place() == [(1.75, 0, 0.25)], "nor inside what was made there"


def test_what_is_being_made_takes_room(settings: Any, until: Until) -> None:
    settings.variants = 2
    bpy.ops.espalier.generate()
    bpy.ops.espalier.generate()
    waiting = [job.target.location for job in pump.jobs.jobs if job.target]
    assert len(waiting) == 4
    assert not any(overlap(at(one), at(other)) for one, other in itertools.combinations(waiting, 2))
    until(lambda: not pump.jobs.jobs, pump.step)
    made = [each for each in bpy.context.scene.objects if each.type == "MESH"]
    assert not any(overlap(box(one), box(other)) for one, other in itertools.combinations(made, 2))
    another = bpy.data.scenes.new("another")
    assert free_ground.expected(bpy.context) == []
    bpy.ops.espalier.generate()
    with bpy.context.temp_override(scene=another):
        assert free_ground.expected(bpy.context) == [], "jobs of another scene take none here"


def test_hidden_objects_take_no_room_and_shown_ones_as_modifiers_make_them(settings: Any) -> None:
    bpy.ops.mesh.primitive_cube_add()
    cube = bpy.context.object
    cube.hide_set(True)
    assert place() == [(0, 0, 0)]
    cube.hide_set(False)
    cube.hide_viewport = True
    assert place() == [(0, 0, 0)]
    cube.hide_viewport = False
    array = cube.modifiers.new("Array", "ARRAY")
    array.count = 3  # to the right, from -1 to 5
    ((x, y, _),) = place()
    assert not overlap((np.array((-1, -1, -1)), np.array((5, 1, 1))), at((x, y, 0)))


def test_collections_that_are_instanced_take_room(settings: Any) -> None:
    source = bpy.data.collections.new("source")
    mesh = bpy.data.meshes.new("block")
    mesh.from_pydata([(-1, -1, 0), (1, -1, 0), (1, 1, 0), (-1, 1, 0), (0, 0, 2)], [], [(0, 1, 2, 3), (0, 1, 4)])
    source.objects.link(bpy.data.objects.new("block", mesh))
    empty = bpy.data.objects.new("instance", None)
    empty.instance_type, empty.instance_collection = "COLLECTION", source
    empty.location.x = 0.5
    bpy.context.scene.collection.objects.link(empty)
    ((x, y, _),) = place()
    assert not overlap((np.array((-0.5, -1, 0)), np.array((1.5, 1, 2))), at((x, y, 0)))


def test_a_turned_object_takes_the_room_that_it_fills(settings: Any) -> None:
    bpy.ops.mesh.primitive_cube_add(size=2, rotation=(0, 0, 0.7), scale=(3, 0.2, 1), location=(0.4, 0, 0))
    found = free_ground.visible(bpy.context)
    low, high = box(bpy.context.object)
    np.testing.assert_allclose(found.low[0], low, atol=1e-5)
    np.testing.assert_allclose(found.high[0], high, atol=1e-5)


def test_on_a_floor_and_not_beside_it(settings: Any) -> None:
    bpy.ops.mesh.primitive_plane_add(size=10)
    assert place() == [(0, 0, 0)]
    bpy.context.object.location.z = -1  # the default cube stands on it
    bpy.ops.mesh.primitive_cube_add()
    ((x, y, z),) = place()
    assert (x, y, z) == pytest.approx((1.75, 0, -1))
    bpy.ops.mesh.primitive_cube_add(size=12, location=(0, 0, 0.1), scale=(1, 1, 0.0125))
    ((x, y, z),) = place()
    assert z == pytest.approx(0.175)  # on the slab
    assert abs(x) < 6


def test_a_sky_is_no_obstacle(settings: Any) -> None:
    bpy.ops.mesh.primitive_uv_sphere_add(radius=100)
    assert place() == [(0, 0, 0)]


def test_nothing_free_near_by(settings: Any) -> None:
    """Blocks without a gap between them, and further out room enough."""
    mesh = bpy.data.meshes.new("block")
    corners = list(itertools.product((-0.6, 0.6), (-0.6, 0.6), (0.0, 1.0)))
    mesh.from_pydata(corners, [], [(0, 1, 3, 2), (4, 5, 7, 6)])
    for column, row in itertools.product(range(-12, 13), repeat=2):
        block = bpy.data.objects.new("block", mesh)
        block.location = (column, row, 0)
        bpy.context.scene.collection.objects.link(block)
    ((x, y, _),) = place()
    assert max(abs(x), abs(y)) >= 12.6 + 0.5


def test_against_a_plain_search() -> None:
    """Random boxes: the place is in none of them, and no cheaper place of the grid is free."""
    draw = np.random.default_rng(3)
    for _ in range(20):
        low = draw.uniform(-6, 6, (30, 3))
        boxes = free_ground.Boxes(low, low + draw.uniform(0.1, 4, (30, 3)))
        x, y = free_ground.free_place(boxes, (0.0, 0.0), 1.0, 1.0, 1.0)

        def free(x: float, y: float, boxes: free_ground.Boxes = boxes) -> bool:
            reach = 0.5 + free_ground.GAP - 1e-3
            low, high = boxes.low[:, :2] - reach, boxes.high[:, :2] + reach
            return not ((low < (x, y)) & (high > (x, y))).all(axis=1).any()

        def cost(x: float, y: float) -> float:
            return max(free_ground.RIGHT * x, -free_ground.LEFT * x) + max(free_ground.BACK * y, -free_ground.FRONT * y)

        assert free(x, y)
        grid = np.arange(-64, 65) * free_ground.STEP
        cheaper = [(a, b) for a in grid for b in grid if cost(a, b) < cost(x, y) - 1e-6]
        assert not any(free(a, b) for a, b in cheaper[::7])


def test_a_scene_of_3000_objects(settings: Any) -> None:
    mesh = bpy.data.meshes.new("block")
    mesh.from_pydata([(-1, -1, 0), (1, -1, 0), (1, 1, 1)], [], [(0, 1, 2)])
    for number in range(3000):
        block = bpy.data.objects.new("block", mesh)
        block.location = (3 * (number % 60) - 90, 3 * (number // 60) - 75, 0)
        bpy.context.scene.collection.objects.link(block)
    place()
    spent = []
    for _ in range(5):
        start = time.thread_time()
        placement.find_place(bpy.context)
        spent.append(time.thread_time() - start)
    needs_quick_memory()
    assert min(spent) < 0.016, "a frame"


def test_variants_of_an_object_stand_beside_it_and_each_other(mug: bpy.types.Object, until: Until) -> None:
    mug.select_set(True)
    bpy.context.view_layer.objects.active = mug
    for _ in range(2):
        for other in bpy.context.selected_objects:
            other.select_set(other == mug)
        mug.select_set(True)
        assert bpy.ops.espalier.variants(count=2) == {"FINISHED"}
    until(lambda: not pump.jobs.jobs, pump.step)
    made = [each for each in bpy.context.scene.objects if each.type == "MESH"]
    assert len(made) == 5
    assert not any(overlap(box(one), box(other)) for one, other in itertools.combinations(made, 2))


def test_what_is_inserted_again_stands_beside_it(mug: bpy.types.Object) -> None:
    from espalier.blender_addon.scene import history

    (entry,) = history.entries
    assert bpy.ops.espalier.insert_again(entry=entry.id) == {"FINISHED"}
    bpy.context.view_layer.update()
    assert not overlap(box(mug), box(bpy.context.view_layer.objects.active))


def test_a_grid_of_candidates_has_room(settings: Any) -> None:
    """Rows stand behind each other, also where something is behind the first."""
    bpy.ops.mesh.primitive_cube_add(size=2, location=(3, 3, 1))
    block = box(bpy.context.object)
    bpy.context.view_layer.update()
    first, size = placement.find_grid(bpy.context, 8)
    places = [placement.in_grid(first, size, number) for number in range(8)]
    assert not any(overlap(block, at(each)) for each in places)
    assert not any(overlap(at(one), at(other)) for one, other in itertools.combinations(places, 2))
    settings.place = "ORIGIN"
    assert placement.find_grid(bpy.context, 8) == ((0, 0, 0), 1.0)
