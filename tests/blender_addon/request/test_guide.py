"""Guides, and boxes in which an object is made anew, with the fake backend."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import bpy
import numpy as np
import pytest
from espalier.backend import protocol
from espalier.blender_addon import installation, pump
from espalier.blender_addon.jobs.journal import Journal
from espalier.blender_addon.jobs.queue import Job
from espalier.blender_addon.request import again, box, explore, generate, guide, live, retry
from espalier.blender_addon.scene import candidates, history, made, news

from tests.blender_addon.request.test_again import Until, idle, positions, select
from tests.fakes.fake_backend import VOXELS

EDIT = ((-0.5, -0.5, 0.0), (0.5, 0.5, 0.5), 7)


def blockout() -> bpy.types.Object:
    """A cube of 2 m and a smaller one on it, as its child."""
    bpy.ops.mesh.primitive_cube_add(size=2, location=(5, 1, 1))
    parent = bpy.context.object
    bpy.ops.mesh.primitive_cube_add(size=1, location=(5, 1, 2.5))
    child = bpy.context.object
    child.parent = parent
    child.matrix_parent_inverse = parent.matrix_world.inverted()
    bpy.context.view_layer.update()
    return parent


def sent_guide(job: Job) -> dict[str, np.ndarray]:
    assert job.writer is not None
    job.writer.join()
    with np.load(job.request.guide) as arrays:
        return dict(arrays)


def test_the_object_takes_the_place_of_its_guide_and_remembers_it(mode: list[str], until: Until) -> None:
    panel, block = bpy.context.scene.espalier, blockout()
    panel.guide, panel.shape_strength = block, 0.5
    (job,) = generate.new_jobs(bpy.context)
    sent = sent_guide(job)
    assert len(sent["faces"]) == 24
    assert np.ptp(sent["vertices"], axis=0) == pytest.approx((2, 2, 3))
    pump.submit(job)
    until(idle, pump.step)
    mug = bpy.data.objects["mug"]
    assert tuple(mug.location) == pytest.approx((5, 1, 0))
    assert np.ptp(positions(mug), axis=0).max() == pytest.approx(3)
    assert not block.hide_viewport
    assert not block.hide_get()
    assert made.recall(mug)["voxels"] == VOXELS
    assert made.recall(mug)["shape_strength"] == 0.5
    # In place, with another seed: it still has its guide, without the mesh.
    bpy.data.objects.remove(block)
    bpy.context.view_layer.update()
    select(mug)
    assert bpy.ops.espalier.regenerate(how="SEED") == {"FINISHED"}
    assert pump.jobs.jobs[0].request.voxels == VOXELS
    until(idle, pump.step)
    # Restored: the panel has it, and says so, until it is forgotten.
    assert again.restore(made.recall(mug), panel) == []
    (job,) = generate.new_jobs(bpy.context)
    assert (job.request.voxels, job.request.guide) == (VOXELS, "")
    job.remove_files()
    bpy.ops.espalier.forget_guide()
    (job,) = generate.new_jobs(bpy.context)
    assert job.request.voxels == ""
    job.remove_files()
    # And the history, once it was saved.
    history.load(history.dump())
    assert history.entries[0].settings["voxels"] == VOXELS


def test_a_killed_blender_finds_the_guide_again(mode: list[str]) -> None:
    bpy.context.scene.espalier.guide = blockout()
    (job,) = generate.new_jobs(bpy.context)
    assert pump.jobs.journal is not None
    sent_guide(job)
    pump.jobs.journal.asked(job.request, job.sources, job.replaces)
    root = pump.jobs.journal.root
    pump.jobs.journal.close()
    (left,) = Journal(root).take_over()
    assert left.request == job.request
    with np.load(left.request.guide) as arrays:
        assert len(arrays["faces"]) == 24


def test_a_guide_without_effect_is_none(mode: list[str]) -> None:
    panel = bpy.context.scene.espalier
    panel.guide, panel.shape_strength = blockout(), 0.0
    assert guide.fields(bpy.context) == {}
    assert guide.place(bpy.context) is None
    panel.shape_strength = 1.0
    assert guide.place(bpy.context) is not None
    bpy.context.scene.collection.objects.unlink(panel.guide)  # deleted in the viewport, but the panel still names it
    assert guide.fields(bpy.context) == {}


def test_a_guide_without_faces_is_refused_in_words(mode: list[str]) -> None:
    lines = bpy.data.objects.new("Lines", bpy.data.meshes.new("Lines"))
    lines.data.from_pydata([(0, 0, 0), (0, 0, 1)], [(0, 1)], [])
    bpy.context.scene.collection.objects.link(lines)
    bpy.context.scene.espalier.guide = lines
    with pytest.raises(ValueError, match="Lines has no faces"):
        generate.new_jobs(bpy.context)


def add_box(target: bpy.types.Object, corner: float) -> bpy.types.Object:
    """An empty around what is right of ``corner`` (along x) of an object, turned as it is."""
    empty = bpy.data.objects.new("Box", None)
    bpy.context.scene.collection.objects.link(empty)
    empty.empty_display_type, empty.empty_display_size = "CUBE", 2.0
    bpy.context.view_layer.update()
    empty.matrix_world = target.matrix_world.copy()
    empty.location = target.matrix_world @ type(target.location)((2.0 + corner, 0, 0))
    bpy.context.view_layer.update()
    return empty


def test_a_part_is_made_anew_in_its_place(mug: bpy.types.Object, until: Until) -> None:
    mug.location, mug.rotation_euler.z, mug.scale = (3, -2, 1), 0.8, (2, 2, 2)
    bpy.context.view_layer.update()
    empty = add_box(mug, 0.25)
    select(mug, empty)
    placed, before, seed = mug.matrix_world.copy(), positions(mug), made.recall(mug).get("seed", 0)
    bpy.ops.ed.undo_push(message="Box")
    assert bpy.ops.espalier.again_in_box() == {"FINISHED"}
    request = pump.jobs.jobs[0].request
    ((low, high, new_seed),) = request.edits
    assert request.seed == seed
    assert new_seed != seed
    # The fake's torus is 0.96 wide, and the object 1: 0.25 of it is 0.24 in its own space.
    assert (*low, *high) == pytest.approx((0.24, -0.5, -0.5, 0.5, 0.5, 0.5), abs=1e-4)
    until(idle, pump.step)
    mug = bpy.data.objects["mug"]
    assert mug.matrix_world == placed
    np.testing.assert_allclose(positions(mug), before, atol=1e-6)  # the same torus
    assert made.recall(mug)["edits"] == request.edits
    # Again on the result: the list grows, and the place does not drift.
    select(mug, bpy.data.objects["Box"])
    bpy.ops.espalier.again_in_box()
    assert pump.jobs.jobs[0].request.edits[:1] == request.edits
    until(idle, pump.step)
    np.testing.assert_allclose(positions(bpy.data.objects["mug"]), before, atol=1e-6)
    assert len(made.recall(bpy.data.objects["mug"])["edits"]) == 2
    bpy.ops.ed.undo()
    assert len(made.recall(bpy.data.objects["mug"])["edits"]) == 1


def test_the_rest_stays_where_it_is_when_the_part_reaches_farther(
    mug: bpy.types.Object, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A result whose vertices are the old ones but for one that is farther out: the others do not move."""
    job = box.new_job(bpy.context, mug, add_box(mug, 0.1), seed=5)
    before = positions(mug)

    def grown(arrays: Any) -> dict[str, np.ndarray]:
        changed = {name: arrays[name] for name in arrays.files}
        changed["vertices"] = changed["vertices"].copy()
        changed["vertices"][0] = (0.5, 0.0, 0.3)
        return changed

    insert = pump.insert

    def grow_first(done: Job, *place: Any) -> None:
        assert done.result is not None
        with np.load(done.result.arrays) as arrays:
            changed = grown(arrays)
        np.savez(done.result.arrays, **changed)
        insert(done, *place)

    monkeypatch.setattr(pump, "insert", grow_first)
    pump.submit(job)
    until(idle, pump.step)
    after = positions(bpy.data.objects["mug"])
    np.testing.assert_allclose(after[1:], before[1:], atol=1e-6)
    assert after[0, 0] > before[:, 0].max()


def test_what_is_no_box_is_refused_in_words(mug: bpy.types.Object) -> None:
    select(mug)
    assert not bpy.ops.espalier.again_in_box.poll()
    with pytest.raises(ValueError, match="Box does not enclose any part of mug"):
        box.new_job(bpy.context, mug, add_box(mug, 3.0), seed=1)
    mug[made.EDITS] = json.dumps([EDIT] * protocol.MOST_EDITS)
    with pytest.raises(ValueError, match="16 boxes already"):
        box.new_job(bpy.context, mug, add_box(mug, 0.1), seed=1)
    del mug[made.EDITS], mug[made.CUBE]
    with pytest.raises(ValueError, match="earlier version"):
        box.new_job(bpy.context, mug, add_box(mug, 0.1), seed=1)


def test_another_seed_has_no_boxes_and_the_same_seed_has(mug: bpy.types.Object) -> None:
    mug[made.EDITS] = json.dumps([EDIT])
    settings = made.recall(mug)
    other = again.new_job(bpy.context, settings, seed=99, location=(0, 0, 0), size=1.0)
    same = again.new_job(bpy.context, settings, seed=settings.get("seed", 0), location=(0, 0, 0), size=1.0)
    assert (other.request.edits, same.request.edits) == ((), (EDIT,))
    assert again.restore(settings, bpy.context.scene.espalier) == ["what was made anew in boxes"]
    for job in (other, same):
        job.remove_files()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (made.VOXELS, 5),
        (made.VOXELS, "x" * (protocol.MOST_VOXELS_TEXT + 1)),
        (made.EDITS, json.dumps([EDIT] * (protocol.MOST_EDITS + 1))),
        (made.EDITS, json.dumps([[[0, 0, 0], [1, 1, "1"], 3]])),
        (made.EDITS, json.dumps([[[0, 0, 0], [-1, 1, 1], 3]])),
        (made.EDITS, "[[[0, 0, 0], [1, NaN, 1], 3]]"),
        (made.EDITS, json.dumps([[[0, 0, 0], [1, 1, 1], -3]])),
        (made.EDITS, json.dumps({"a": 1})),
    ],
)
def test_what_a_stranger_wrote_is_refused_in_words(mug: bpy.types.Object, name: str, value: object) -> None:
    mug[name] = value
    with pytest.raises(made.Unreadable, match=r"it says of its (guide|boxes)"):
        made.recall(mug)


@pytest.mark.parametrize("text", ["[]", "{", '{"bottom": [0, 0], "side": 1}', '{"bottom": [0, 0, NaN], "side": 1}', 4])
def test_a_cube_that_a_stranger_wrote_is_none(mug: bpy.types.Object, text: object) -> None:
    mug[made.CUBE] = text
    assert made.cube(mug) is None


def test_candidates_and_what_is_made_of_them_have_the_guide(mode: list[str], until: Until) -> None:
    panel = bpy.context.scene.espalier
    panel.guide, panel.candidates = blockout(), 4
    bpy.ops.espalier.explore()
    until(idle, pump.step)
    first = candidates.listed()[0]
    asked = sent_guide(first.job)
    assert first.job.places[0] == pytest.approx((5, 1, 0))
    explore.take(bpy.context, first)
    (taken,) = pump.jobs.jobs
    assert Path(taken.request.guide).parent == Path(taken.request.out)
    explore.forget()
    np.testing.assert_array_equal(sent_guide(taken)["vertices"], asked["vertices"])
    until(idle, pump.step)


def test_the_live_preview_follows_the_guide(mode: list[str], tmp_path: Path, until: Until) -> None:
    (tmp_path / "mug.png").write_bytes(b"a picture")
    panel, block = bpy.context.scene.espalier, blockout()
    panel.guide = block

    def step() -> None:
        pump.step()
        live.step()

    def preview() -> Any:
        return live._live.shown if live._live is not None else None

    live.start(bpy.context)
    until(preview, step)
    first = preview()
    assert len(sent_guide(first)["faces"]) == 24
    block.children[0].location.z += 1
    bpy.context.view_layer.update()
    until(lambda: preview() is not first, step)
    assert np.ptp(sent_guide(preview())["vertices"], axis=0)[2] == pytest.approx(4)
    panel.shape_strength = 0.0
    until(lambda: preview().request.guide == "", step)
    live.stop()


def test_another_seed_for_a_box_that_failed_is_the_seed_of_that_box(mode: list[str], until: Until) -> None:
    (job,) = generate.new_jobs(bpy.context)
    edits = (EDIT, ((0.0, 0.0, 0.0), (0.5, 0.5, 0.5), 8))
    job.request = dataclasses.replace(job.request, edits=edits)
    same = retry.retried(bpy.context, job, seed=job.request.seed, low_memory=False)
    assert same.request.edits == edits
    other = retry.retried(bpy.context, job, seed=99, low_memory=False)
    assert (other.request.seed, other.request.edits) == (job.request.seed, (EDIT, (*edits[1][:2], 99)))


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the status bar says."""
    words: list[str] = []
    monkeypatch.setattr(news, "tell", lambda text, **_: words.append(text))
    return words


def drawn_as(block: bpy.types.Object) -> list[str]:
    return [each.display_type for each in (block, *block.children)]


def test_a_guide_becomes_wire_with_the_object_in_it_and_one_undo_step(
    mode: list[str], until: Until, said: list[str]
) -> None:
    panel, block = bpy.context.scene.espalier, blockout()
    block.children[0].display_type = "BOUNDS"
    panel.guide, panel.variants = block, 2
    bpy.ops.ed.undo_push(message="Guide")
    bpy.ops.espalier.generate()
    assert drawn_as(block) == ["TEXTURED", "BOUNDS"], "only when there is something to see"
    until(idle, pump.step)
    assert drawn_as(block) == ["WIRE", "BOUNDS"]
    words = f"{block.name} is shown as wire, to see inside."
    assert [words in each for each in said] == [True, False], "the second one stands beside it"
    bpy.ops.ed.undo()
    bpy.ops.ed.undo()
    assert "mug" not in bpy.data.objects
    assert drawn_as(bpy.context.scene.espalier.guide) == ["TEXTURED", "BOUNDS"]


@pytest.mark.parametrize("how", ["moved", "hidden", "deleted", "solid again"])
def test_a_guide_that_hides_nothing_stays_as_it_is(mode: list[str], until: Until, said: list[str], how: str) -> None:
    block = blockout()
    bpy.context.scene.espalier.guide = block
    bpy.ops.espalier.generate()
    match how:
        case "moved":
            block.location.x += 10
        case "hidden":
            for each in (block, *block.children):
                each.hide_set(True)
        case "deleted":
            bpy.context.scene.collection.objects.unlink(block)
            bpy.context.scene.collection.objects.unlink(block.children[0])
    bpy.context.view_layer.update()
    until(idle, pump.step)
    if how == "solid again":  # another object, elsewhere, is not made in it
        block.display_type = "SOLID"
        bpy.context.scene.espalier.guide = None
        bpy.ops.espalier.generate()
        until(idle, pump.step)
        assert block.display_type == "SOLID"
        return
    assert drawn_as(block) == ["TEXTURED", "TEXTURED"]
    assert not any("wire" in each for each in said)


def test_explore_shows_the_guide_as_wire_at_once(mode: list[str], until: Until, said: list[str]) -> None:
    panel, block = bpy.context.scene.espalier, blockout()
    panel.guide = block
    bpy.ops.ed.undo_push(message="Guide")
    bpy.ops.espalier.explore()
    assert drawn_as(block) == ["WIRE", "WIRE"]
    assert said == [f"{block.name} is shown as wire, to see inside."]
    until(idle, pump.step)
    bpy.ops.ed.undo()
    block = bpy.context.scene.espalier.guide
    assert drawn_as(block) == ["TEXTURED", "TEXTURED"]
    explore.take(bpy.context, candidates.listed()[0])
    until(idle, pump.step)
    assert drawn_as(block) == ["WIRE", "WIRE"], "what is made of a candidate knows the guide, too"


def test_live_shows_each_guide_as_wire_once(mode: list[str], until: Until, said: list[str]) -> None:
    panel, block = bpy.context.scene.espalier, blockout()
    live.start(bpy.context)
    panel.guide = block
    live.step()
    assert drawn_as(block) == ["WIRE", "WIRE"]
    block.display_type = "SOLID"  # the user wants it so
    live.step()
    assert block.display_type == "SOLID"
    live.stop()
    live.start(bpy.context)
    assert block.display_type == "WIRE"
    live.stop()
    assert len(said) == 2


def test_an_object_of_a_model_without_boxes_says_so(mug: bpy.types.Object, monkeypatch: pytest.MonkeyPatch) -> None:
    select(mug, add_box(mug, 0.25))
    assert bpy.ops.espalier.again_in_box.poll()
    name = made.recall(mug)["model"]
    without = protocol.ModelInfo(name, name, "own", 1, 1, "", "", (), usable=True, guides=False)
    monkeypatch.setattr(installation.models, "knows", lambda backend: True)
    monkeypatch.setattr(installation.models, "known", {name: without})
    assert not bpy.ops.espalier.again_in_box.poll()
    assert box.obstacle(mug) == f"mug was made by {name}, which makes nothing anew inside a box"
    with pytest.raises(ValueError, match="makes nothing anew inside a box"):
        box.new_job(bpy.context, mug, bpy.data.objects["Box"], seed=1)
