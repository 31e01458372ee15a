"""Candidates: made, drawn, taken, put away and brought back, with the fake backend."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import bpy
import pytest
from espalier.backend import protocol
from espalier.backend.portrait_facts import SIZE
from espalier.blender_addon import pump
from espalier.blender_addon.jobs.queue import State
from espalier.blender_addon.request import explore, placement
from espalier.blender_addon.scene import candidates, viewport

Until = Callable[..., None]


@pytest.fixture
def panel(mode: list[str], tmp_path: Path) -> bpy.types.PropertyGroup:
    (tmp_path / "mug.png").write_bytes(b"a picture")
    settings = bpy.context.scene.espalier
    settings.seed, settings.candidates = 41, 4
    return settings


def explored(until: Until) -> None:
    assert bpy.ops.espalier.explore() == {"FINISHED"}
    until(lambda: not pump.jobs.active, pump.step)
    assert pump.jobs.jobs == [], "a job that has made its candidates is not in the list"


def idle(until: Until) -> None:
    until(lambda: not pump.jobs.jobs, pump.step)


def made() -> list[str]:
    return [obj.name for obj in bpy.context.scene.objects]


def test_candidates_stand_in_a_grid_with_numbers_and_pictures(
    panel: bpy.types.PropertyGroup, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_news, told = candidates.take_news, [False]

    def noted() -> bool:
        told.append(take_news())
        return told[-1]

    monkeypatch.setattr(candidates, "take_news", noted)  # a step of the pump may ask, too
    panel.candidates, panel.size = 6, 2.0
    bpy.context.scene.cursor.location = (1.0, 2.0, 3.0)
    explored(until)
    shown = candidates.shown()
    assert [candidate.number for candidate in shown] == [1, 2, 3, 4, 5, 6]
    assert [candidate.seed for candidate in shown] == [41, 42, 43, 44, 45, 46], "counted on from the locked seed"
    overlays = [viewport._overlays[candidate.key] for candidate in shown]
    assert [overlay.label for overlay in overlays] == ["1", "2", "3", "4", "5", "6"]
    side = placement.SPACING * 2.0
    assert overlays[0].location == (1.0, 2.0, 3.0)
    assert overlays[3].location == (1.0 + 3 * side, 2.0, 3.0)
    assert overlays[4].location == (1.0, 2.0 + side, 3.0), "the fifth begins the second row"
    until(lambda: all(candidate.picture is not None for candidate in shown))
    candidates.take_news()
    assert any(told)
    assert not candidates.take_news()
    assert all(candidate.picture is not None and candidate.picture.shape == (SIZE, SIZE, 4) for candidate in shown)
    assert made() == [], "no candidate is an object"


def test_seeds_are_random_unless_locked(panel: bpy.types.PropertyGroup, until: Until) -> None:
    panel.lock_seed = False
    explored(until)
    first = [candidate.seed for candidate in candidates.shown()]
    assert len(set(first)) == 4
    assert first[0] != 41
    explored(until)
    assert not {*first} & {candidate.seed for candidate in candidates.shown()}
    assert panel.seed == 41, "the seed of the panel stays"


def test_a_taken_candidate_becomes_the_object_of_its_seed_in_its_place(
    panel: bpy.types.PropertyGroup, until: Until
) -> None:
    explored(until)
    place = viewport._overlays[candidates.shown()[2].key].location
    panel.seed, panel.faces, panel.size = 7, 200, 9.0  # changed afterwards: they do not matter
    panel.images.clear()
    assert bpy.ops.espalier.take_candidate(number=3) == {"FINISHED"}
    (job,) = pump.jobs.jobs
    assert (job.request.seed, job.request.seeds, job.request.faces) == (43, (), protocol.default("faces"))
    assert viewport.shown(job.id), "its mesh is drawn until the object is there"
    assert list(viewport._overlays) == [job.id], "and the others are not any more"
    assert candidates.shown() == []
    idle(until)
    mug = bpy.data.objects["mug"]
    assert tuple(mug.location) == pytest.approx(place)
    assert mug["espalier_seed"] == 43
    assert max(mug.dimensions) == pytest.approx(1.0)
    assert viewport._overlays == {}


def test_the_images_of_a_taken_one_are_those_of_the_press(
    panel: bpy.types.PropertyGroup, until: Until, tmp_path: Path
) -> None:
    explored(until)
    (tmp_path / "mug.png").unlink()
    bpy.ops.espalier.take_candidate(number=1)
    (job,) = pump.jobs.jobs
    until(lambda: job.writer is None or not job.writer.is_alive())
    assert Path(job.request.images[0]).read_bytes() == b"a picture"
    assert Path(job.request.images[0]).is_relative_to(job.request.out), "it survives Blender with the job"
    assert job.sources == (str(tmp_path / "mug.png"),)


def test_several_are_taken_and_what_was_put_away_comes_back(panel: bpy.types.PropertyGroup, until: Until) -> None:
    explored(until)
    for number in (1, 4):
        assert bpy.ops.espalier.take_candidate(number=number, keep_choosing=True) == {"FINISHED"}
    assert [candidate.taken for candidate in candidates.shown()] == [True, False, False, True]
    idle(until)
    assert len(made()) == 2
    assert len(viewport._overlays) == 2
    assert bpy.ops.espalier.put_away_candidates() == {"FINISHED"}
    assert (candidates.shown(), viewport._overlays) == ([], {})
    assert not bpy.ops.espalier.take_candidate.poll()
    assert bpy.ops.espalier.bring_back_candidates() == {"FINISHED"}
    assert len(viewport._overlays) == 2, "those that were not taken"
    assert bpy.ops.espalier.take_all_candidates() == {"FINISHED"}
    idle(until)
    assert sorted(obj["espalier_seed"] for obj in bpy.context.scene.objects) == [41, 42, 43, 44]


def test_more_are_added_and_all_again_replaces(panel: bpy.types.PropertyGroup, until: Until) -> None:
    explored(until)
    old = [candidate.key for candidate in candidates.listed()]
    folders = {Path(job.request.out) for job in candidates.jobs()}
    bpy.ops.espalier.explore(how="MORE")
    until(lambda: not pump.jobs.active, pump.step)
    shown = candidates.shown()
    assert [candidate.seed for candidate in shown] == list(range(41, 49))
    assert [candidate.number for candidate in shown] == list(range(1, 9))
    locations = [viewport._overlays[candidate.key].location for candidate in shown]
    assert len(set(locations)) == 8
    assert bpy.ops.espalier.explore(how="AGAIN") == {"FINISHED"}
    until(lambda: not pump.jobs.active, pump.step)
    shown = candidates.shown()
    assert [candidate.seed for candidate in shown] == [49, 50, 51, 52]
    assert [viewport._overlays[candidate.key].location for candidate in shown] == locations[:4]
    assert not {*old} & {*viewport._overlays}
    assert not any(folder.exists() for folder in folders), "files of candidates that are gone are deleted"


def test_one_image_each_in_turn(panel: bpy.types.PropertyGroup, until: Until, tmp_path: Path) -> None:
    (tmp_path / "cup.png").write_bytes(b"another picture")
    bpy.ops.espalier.add_images("EXEC_DEFAULT", directory=str(tmp_path), files=[{"name": "cup.png"}])
    explored(until)
    assert candidates.jobs()[0].request.views == (), "all images for each"
    panel.candidate_views = "TURNS"
    explored(until)
    assert candidates.jobs()[0].request.views == ((0,), (1,), (0,), (1,))
    bpy.ops.espalier.take_candidate(number=2)
    (job,) = pump.jobs.jobs
    assert [Path(path).name for path in job.request.images] == ["cup.png"]
    assert job.sources == (str(tmp_path / "cup.png"),)
    idle(until)
    assert made() == ["cup"]


def test_a_cancel_keeps_what_arrived(panel: bpy.types.PropertyGroup, mode: list[str], until: Until) -> None:
    mode[:] = ["slow", "4"]
    bpy.ops.espalier.explore()
    assert [candidate.answer for candidate in candidates.shown()] == [None] * 4
    until(lambda: any(candidate.is_made for candidate in candidates.shown()), pump.step)
    bpy.ops.espalier.cancel_explore()
    idle(until)
    shown = candidates.shown()
    assert 1 <= len(shown) < 4
    assert all(candidate.is_made for candidate in shown)


def test_a_click_ends_exploring_and_is_next(panel: bpy.types.PropertyGroup, mode: list[str], until: Until) -> None:
    mode[:] = ["slow", "4"]
    bpy.ops.espalier.explore()
    until(lambda: any(candidate.is_made for candidate in candidates.shown()), pump.step)
    bpy.ops.espalier.take_candidate(number=1)
    until(lambda: [job.state for job in pump.jobs.jobs] == [State.RUNNING], pump.step)
    assert pump.jobs.jobs[0].request.seeds == ()


def test_a_candidate_that_failed_says_why(panel: bpy.types.PropertyGroup, until: Until) -> None:
    panel.seed = 98  # the fake backend makes no object of seed 100
    explored(until)
    shown = candidates.shown()
    assert [candidate.is_made for candidate in shown] == [True, True, False, True]
    assert shown[2].answer is not None
    assert "no object" in shown[2].answer.problem
    assert bpy.ops.espalier.take_candidate(number=3) == {"CANCELLED"}
    assert bpy.ops.espalier.take_candidate(number=99) == {"CANCELLED"}


def test_a_backend_that_died_is_started_again(panel: bpy.types.PropertyGroup, mode: list[str], until: Until) -> None:
    mode[:] = ["crash", "0.2"]
    bpy.ops.espalier.explore()
    until(lambda: not pump.jobs.active, pump.step)
    (job,) = pump.jobs.jobs
    assert job.state is State.FAILED
    assert [candidate.number for candidate in candidates.shown()] == [1], "what had arrived stays"
    mode[:] = ["ok"]
    assert bpy.ops.espalier.retry(job=job.id) == {"FINISHED"}
    idle(until)
    assert [candidate.seed for candidate in candidates.shown()] == [41, 42, 43, 44]
    locations = {viewport._overlays[candidate.key].location for candidate in candidates.shown()}
    assert len(locations) == 4
    bpy.ops.espalier.take_candidate(number=1)
    idle(until)
    assert bpy.data.objects["mug"]["espalier_seed"] == 41


def test_candidates_outlive_undo_another_scene_and_another_file(panel: bpy.types.PropertyGroup, until: Until) -> None:
    bpy.ops.ed.undo_push(message="Before")
    explored(until)
    bpy.ops.mesh.primitive_cube_add()
    bpy.ops.ed.undo_push(message="Cube")
    bpy.ops.ed.undo()
    assert len(candidates.shown()) == len(viewport._overlays) == 4
    bpy.ops.scene.new(type="EMPTY")
    bpy.ops.espalier.take_candidate(number=1, keep_choosing=True)
    idle(until)
    assert made() == [], "it stands in its own scene"
    assert len(bpy.data.objects) == 1
    bpy.ops.wm.read_homefile(use_empty=True)
    assert viewport._overlays == {}
    assert len(candidates.shown()) == 4
    bpy.context.scene.cursor.location = (5.0, 0.0, 0.0)
    bpy.ops.espalier.take_candidate(number=2)
    idle(until)
    assert tuple(bpy.data.objects["mug"].location) == (5.0, 0.0, 0.0), "the place of new objects in this file"


def test_taken_in_edit_mode(panel: bpy.types.PropertyGroup, until: Until) -> None:
    explored(until)
    bpy.ops.mesh.primitive_cube_add()
    cube = bpy.context.active_object
    bpy.ops.object.mode_set(mode="EDIT")
    bpy.ops.espalier.take_candidate(number=1)
    idle(until)
    assert "mug" in bpy.data.objects
    assert cube.mode == "EDIT"
    bpy.ops.object.mode_set(mode="OBJECT")


def test_a_taken_one_survives_blender_and_candidates_do_not(
    panel: bpy.types.PropertyGroup, mode: list[str], until: Until
) -> None:
    explored(until)
    assert pump.jobs.journal is not None
    session = pump.jobs.journal._session
    assert not session.exists() or not list(session.glob("*/asked.json"))
    mode[:] = ["slow", "9"]
    bpy.ops.espalier.take_candidate(number=1)
    assert len(list(session.glob("*/asked.json"))) == 1


def test_nothing_is_left_when_the_add_on_is_disabled(panel: bpy.types.PropertyGroup, until: Until) -> None:
    explored(until)
    folder = Path(bpy.app.tempdir, explore.FOLDER)
    assert list(folder.iterdir())
    candidates.clear()
    assert list(folder.iterdir()) == []
    assert (candidates.listed(), candidates.jobs()) == ([], [])


def test_an_object_is_explored_with_what_it_remembers(panel: bpy.types.PropertyGroup, until: Until) -> None:
    panel.use_guidance, panel.guidance, panel.size = True, 4.0, 2.0
    bpy.ops.espalier.generate()
    idle(until)
    mug = bpy.context.scene.objects[made()[0]]
    bpy.context.view_layer.objects.active = mug
    panel.guidance, panel.size = 9.0, 5.0
    panel.images.clear()
    assert bpy.ops.espalier.explore_object() == {"FINISHED"}
    until(lambda: not pump.jobs.active, pump.step)
    first = candidates.listed()
    assert len(first) == 4
    job = first[0].job
    assert job.target is not None
    assert job.request.guidance == 4.0
    assert job.target.size == pytest.approx(2.0)
    assert not {candidate.seed for candidate in first} & {mug["espalier_seed"]}
    assert all(abs(place[0] - mug.location.x) + abs(place[1] - mug.location.y) > 1.0 for place in job.places)
    assert bpy.ops.espalier.explore(how="MORE") == {"FINISHED"}
    until(lambda: not pump.jobs.active, pump.step)
    assert [candidate.job.request.guidance for candidate in candidates.listed()] == [4.0] * 8
    assert len({candidate.seed for candidate in candidates.listed()}) == 8
