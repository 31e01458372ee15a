"""The live preview follows what changes, with the fake backend."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import bpy
import numpy as np
import pytest
from espalier.blender_addon import pump
from espalier.blender_addon.jobs.inputs import Pixels
from espalier.blender_addon.jobs.queue import State
from espalier.blender_addon.request import brush_watch, images, live, placement
from espalier.blender_addon.scene import viewport

Until = Callable[..., None]


@pytest.fixture
def panel(mode: list[str], tmp_path: Path) -> bpy.types.PropertyGroup:
    (tmp_path / "mug.png").write_bytes(b"a picture")
    bpy.context.scene.espalier.seed = 1
    return bpy.context.scene.espalier


def step() -> None:
    pump.step()
    live.step()


def shown() -> Any:
    """The request of the preview; None if there is none."""
    job = live._live.shown if live._live is not None else None
    return None if job is None else job.request


def settle(until: Until) -> None:
    """Until what is wanted is shown, or known to be impossible, and nothing runs."""

    def is_settled() -> bool:
        state = live._live
        if state is None or state.answered is None or state.job is not None:
            return False
        return state.answered == state.asked == live._wanted(state, bpy.context.scene)

    step()
    until(is_settled, step)
    assert not pump.jobs.active


def turn_on(until: Until) -> None:
    assert bpy.ops.espalier.live() == {"FINISHED"}
    settle(until)


def test_the_preview_is_there_and_follows_the_settings(panel: bpy.types.PropertyGroup, until: Until) -> None:
    turn_on(until)
    assert shown().seeds == (1,)
    assert viewport.shown(live.PREVIEW)
    before = viewport._overlays[live.PREVIEW]
    until(lambda: before.mesh is not None)
    for name, value in {
        "seed": 2,
        "use_guidance": True,
        "guidance": 7.0,
        "background": "never",
        "model": "mini",
    }.items():
        setattr(panel, name, value)
        settle(until)
    request = shown()
    assert (request.seeds, request.guidance, request.background, request.model) == ((2,), 7.0, "never", "mini")
    assert list(bpy.context.scene.objects) == []
    assert pump.jobs.jobs == [], "it is not in the queue"


def test_a_preview_is_drawn_until_the_next_one_has_been_read(panel: bpy.types.PropertyGroup, until: Until) -> None:
    turn_on(until)
    until(lambda: viewport._overlays[live.PREVIEW].mesh is not None)
    first = viewport._overlays[live.PREVIEW]
    panel.seed = 2
    settle(until)
    second = viewport._overlays[live.PREVIEW]
    assert second is not first
    assert list(viewport._here()) in ([first], [second])
    until(lambda: second.mesh is not None)
    assert list(viewport._here()) == [second]


def test_off_leaves_nothing(panel: bpy.types.PropertyGroup, mode: list[str], until: Until) -> None:
    turn_on(until)
    folder = live._live.folder if live._live is not None else None
    assert bpy.ops.espalier.live() == {"FINISHED"}
    assert viewport._overlays == {}
    assert not pump.jobs.active
    live.stop()
    assert folder is not None
    assert not folder.exists()
    assert not live.is_on()


def test_off_in_the_middle_of_an_update(panel: bpy.types.PropertyGroup, mode: list[str], until: Until) -> None:
    mode[:] = ["slow", "1"]
    bpy.ops.espalier.live()
    until(lambda: pump.jobs.running is not None, step)
    bpy.ops.espalier.live()
    until(lambda: pump.jobs.live is None, step)
    assert (pump.jobs.active, viewport._overlays) == (False, {})
    mode[:] = ["ok"]
    bpy.ops.espalier.live()
    until(lambda: shown() is not None, step)


def test_what_is_kept_is_a_job_of_its_own(panel: bpy.types.PropertyGroup, until: Until) -> None:
    turn_on(until)
    panel.seed = 5
    settle(until)
    assert bpy.ops.espalier.keep_live() == {"FINISHED"}
    assert not bpy.ops.espalier.keep_live.poll()
    (job,) = pump.jobs.jobs
    assert (job.request.seed, job.request.seeds) == (5, ())
    assert viewport.shown(job.id), "its preview is drawn until the object is there"
    until(lambda: not pump.jobs.jobs, step)
    assert bpy.data.objects["mug"]["espalier_seed"] == 5
    assert viewport._overlays == {}
    panel.seed = 6
    settle(until)
    place = viewport._overlays[live.PREVIEW].location
    assert place[0] == pytest.approx(placement.SPACING), "the next one stands beside it"


def test_an_image_whose_copy_is_not_there_is_copied_again(panel: bpy.types.PropertyGroup, until: Until) -> None:
    """A job that is cancelled at once may not have written it yet when the next one is asked for."""
    turn_on(until)
    Path(shown().images[0]).unlink()
    panel.seed = 9
    settle(until)
    assert shown().seeds == (9,)
    assert Path(shown().images[0]).read_bytes() == b"a picture"


def test_the_preview_makes_room_for_another_object(panel: bpy.types.PropertyGroup, until: Until) -> None:
    """At once when Generate is pressed, and what is kept afterwards does not stand in that object."""
    turn_on(until)
    bpy.ops.espalier.generate()
    step()
    place = viewport._overlays[live.PREVIEW].location
    assert place[0] == pytest.approx(placement.SPACING)
    until(lambda: not pump.jobs.jobs, step)
    settle(until)
    bpy.ops.espalier.keep_live()
    until(lambda: not pump.jobs.jobs, step)
    places = sorted(tuple(made.location) for made in bpy.data.objects)
    assert len(places) == 2
    assert places[1][0] - places[0][0] == pytest.approx(placement.SPACING)


def test_others_go_first(panel: bpy.types.PropertyGroup, mode: list[str], until: Until) -> None:
    mode[:] = ["slow", "1"]
    bpy.ops.espalier.live()
    until(lambda: pump.jobs.running is not None, step)
    bpy.ops.espalier.generate()
    (job,) = pump.jobs.jobs
    until(lambda: job.state is State.RUNNING, step)
    assert live.is_waiting()
    assert shown() is None
    until(lambda: not pump.jobs.jobs, step)
    settle(until)
    assert shown().seeds == (panel.seed,)


def test_work_for_something_older_is_cancelled(panel: bpy.types.PropertyGroup, mode: list[str], until: Until) -> None:
    mode[:] = ["slow", "60"]
    bpy.ops.espalier.live()
    until(lambda: pump.jobs.running is not None, step)
    old = pump.jobs.running
    assert old is not None
    panel.seed = 2
    until(lambda: pump.jobs.running not in (None, old), step)
    assert old.state is State.CANCELLED
    assert pump.jobs.running is not None
    assert pump.jobs.running.request.seeds == (2,)


def test_something_is_seen_while_a_slider_is_dragged(
    panel: bpy.types.PropertyGroup, mode: list[str], until: Until
) -> None:
    mode[:] = ["slow", "0.2"]
    turn_on(until)
    seen = set()
    end = time.monotonic() + 2
    while time.monotonic() < end:
        panel.seed += 1
        step()
        seen.add(shown().seeds)
        time.sleep(0.01)
    assert len(seen) >= 4, "two updates a second"


def test_a_file_that_another_program_saves(panel: bpy.types.PropertyGroup, tmp_path: Path, until: Until) -> None:
    turn_on(until)
    (tmp_path / "mug.png").write_bytes(b"another picture")
    until(lambda: Path(shown().images[0]).read_bytes() == b"another picture", step)
    copy = shown().images
    panel.seed = 9
    settle(until)
    assert shown().seeds == (9,)
    assert shown().images == copy, "what has not changed is not copied again"


def paint(image: bpy.types.Image, value: float) -> None:
    image.pixels.foreach_set(np.full(len(image.pixels), value, np.float32))
    image.update()


def pixel(path: str) -> int:
    return Path(path).read_bytes()[-4]


def use_image(panel: bpy.types.PropertyGroup) -> bpy.types.Image:
    image = bpy.data.images.new("painted", 8, 8, alpha=True)
    panel.images.clear()
    panel.images.add().image = image
    return image


def test_what_is_painted_on_an_image(panel: bpy.types.PropertyGroup, until: Until) -> None:
    image = use_image(panel)
    turn_on(until)
    before = shown().images
    paint(image, 0.25)
    assert image.is_dirty
    settle(until)
    assert pixel(shown().images[0]) == 64
    paint(image, 0.5)
    assert live._live is not None
    live._live.brush._changed(None, FakeDepsgraph("OBJECT"))
    settle(until)
    assert pixel(shown().images[0]) == 64, "something else has changed"
    live._live.brush._changed(None, FakeDepsgraph("IMAGE"))
    settle(until)
    assert pixel(shown().images[0]) == 128
    assert shown().images != before


class FakeDepsgraph:
    """Blender tells of a stroke in a window only."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def id_type_updated(self, kind: str) -> bool:
        return kind == self.kind


def test_the_brush_is_followed_during_a_stroke(
    panel: bpy.types.PropertyGroup, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = use_image(panel)
    turn_on(until)
    monkeypatch.setattr(brush_watch, "_is_painting", lambda: True)
    monkeypatch.setattr(brush_watch, "INTERVAL", 0.0)
    reads: list[str] = []
    real = images.read_pixels

    def read_pixels(image: bpy.types.Image) -> Pixels:
        reads.append(image.name)
        return real(image)

    monkeypatch.setattr(images, "read_pixels", read_pixels)

    def shows(value: float) -> bool:
        return pixel(shown().images[0]) == round(255 * value)

    for value in (0.25, 0.5):
        paint(image, value)
        until(partial(shows, value), step)
    settle(until)
    monkeypatch.setattr(brush_watch, "INTERVAL", 60.0)
    count = len(reads)
    for _ in range(20):
        step()
    assert len(reads) <= count + 1, "no more often than that"
    monkeypatch.setattr(brush_watch, "MOST_PIXELS", 8)
    monkeypatch.setattr(brush_watch, "INTERVAL", 0.0)
    paint(image, 0.75)
    for _ in range(20):
        step()
    assert len(reads) <= count + 1, "a large image is read when the stroke has ended"


def test_a_picked_object_and_a_painted_cut_out(panel: bpy.types.PropertyGroup, until: Until) -> None:
    turn_on(until)
    panel.images[0].use_point, panel.images[0].point = True, (0.25, 0.5)
    settle(until)
    assert shown().points == ((0.25, 0.5),)
    panel.images[0].cutout = bpy.data.images.new("mug cut-out", 8, 8, alpha=True)
    settle(until)
    assert (shown().points, shown().painted) == ((), (True,))
    assert Path(shown().images[0]).stem == "mug"


def test_without_an_image_there_is_no_preview(panel: bpy.types.PropertyGroup, until: Until, tmp_path: Path) -> None:
    turn_on(until)
    panel.images.clear()
    until(lambda: not viewport._overlays, step)
    assert shown() is None
    assert live.is_on()
    bpy.ops.espalier.add_images("EXEC_DEFAULT", directory=str(tmp_path), files=[{"name": "mug.png"}])
    settle(until)
    assert shown() is not None


def test_a_problem_is_told_when_it_lasts(
    panel: bpy.types.PropertyGroup, mode: list[str], until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    mode[:] = ["stillborn"]
    bpy.ops.espalier.live()
    until(lambda: live._live is not None and live._live.problem, step)
    assert live.problem() is None, "it may be over in a moment"
    monkeypatch.setattr(live, "LASTING", 0.0)
    problem = live.problem()
    assert problem is not None
    assert "torch" in problem.message
    assert pump.jobs.backend is None, "and it is not tried again and again"
    for _ in range(10):
        step()
    assert pump.jobs.live is None
    mode[:] = ["ok"]
    panel.seed = 3
    settle(until)
    assert live.problem() is None
    assert shown().seeds == (3,)


def test_a_seed_that_gives_no_object(panel: bpy.types.PropertyGroup, until: Until) -> None:
    turn_on(until)
    panel.seed = 100
    settle(until)
    assert shown().seeds == (1,), "the last preview stays"
    assert live._live is not None
    assert live._live.problem is not None
    assert "no object" in live._live.problem.message
    panel.seed = 2
    settle(until)
    assert live._live.problem is None


def test_another_file_turns_it_off(panel: bpy.types.PropertyGroup, until: Until) -> None:
    turn_on(until)
    bpy.ops.wm.read_homefile(use_empty=True)
    assert not live.is_on()
    until(lambda: pump.jobs.live is None, step)


def test_the_preview_goes_where_new_objects_go(panel: bpy.types.PropertyGroup, until: Until) -> None:
    turn_on(until)
    bpy.context.scene.cursor.location, panel.size = (3.0, 0.0, 0.0), 2.0
    step()
    overlay = viewport._overlays[live.PREVIEW]
    assert (overlay.location, overlay.size) == ((3.0, 0.0, 0.0), 2.0)
    bpy.ops.espalier.keep_live()
    until(lambda: not pump.jobs.jobs, step)
    assert tuple(bpy.data.objects["mug"].location) == (3.0, 0.0, 0.0)


def test_after_500_random_changes_the_last_one_is_shown_and_nothing_runs(
    panel: bpy.types.PropertyGroup, mode: list[str], until: Until, tmp_path: Path
) -> None:
    mode[:] = ["slow", "0.03"]
    rolled = random.Random(20)
    image = bpy.data.images.new("painted", 8, 8, alpha=True)
    turn_on(until)
    for number in range(500):
        match rolled.randrange(7):
            case 0:
                panel.images.clear()
                panel.images.add().path = str(tmp_path / "mug.png")
            case 1:
                (tmp_path / "mug.png").write_bytes(b"picture %d" % number)
            case 2:
                panel.images.add().image = image
            case 3:
                paint(image, rolled.random())
                assert live._live is not None
                live._live.brush._changed(None, FakeDepsgraph("IMAGE"))
            case 4:
                panel.use_guidance, panel.guidance = True, rolled.uniform(0, 10)
            case 5:
                panel.background = rolled.choice(("automatic", "always", "never"))
            case 6:
                panel.seed = rolled.randrange(1, 100)
        if len(panel.images) > 3:
            panel.images.remove(0)
        for _ in range(rolled.randrange(4)):
            step()
        if number % 50 == 0:
            time.sleep(0.05)
    (tmp_path / "mug.png").write_bytes(b"the last picture")
    panel.images.clear()
    panel.images.add().path = str(tmp_path / "mug.png")
    panel.seed, panel.guidance = 77, 3.5
    until(lambda: shown() is not None and Path(shown().images[0]).read_bytes() == b"the last picture", step)
    settle(until)
    assert (shown().seeds, shown().guidance) == ((77,), 3.5)
    assert pump.jobs.live is None
    assert pump.jobs.jobs == []
    assert live._live is not None
    folders = [path for path in live._live.folder.iterdir() if not path.name.startswith("images")]
    assert folders == [Path(shown().out)], "nothing of older previews is left"
