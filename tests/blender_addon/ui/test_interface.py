"""Registration, operators and what the panel shows."""

from __future__ import annotations

import importlib
import pkgutil
import sys
import types
from pathlib import Path
from typing import Any

import bpy
import numpy as np
import pytest
from espalier import blender_addon
from espalier.backend import protocol
from espalier.blender_addon import choices, pump, ui
from espalier.blender_addon.extension import ROOT
from espalier.blender_addon.jobs.queue import Job, State
from espalier.blender_addon.jobs.timings import Timings
from espalier.blender_addon.request import generate, properties, shipped_presets
from espalier.blender_addon.scene import history
from espalier.blender_addon.scene.made import ENTRY, remember
from espalier.blender_addon.scene.mesh_import import NOTE
from espalier.blender_addon.ui import card, image_operators, job_list, preferences, presets

from tests.blender_addon.ui.drawing import Layout, another, draw, new_request, texts


def test_register_twice() -> None:
    bpy.ops.wm.read_factory_settings(use_empty=True)  # an earlier test's scene keeps its settings
    for _ in range(2):
        blender_addon.register()
        assert bpy.context.scene.espalier.model == "mini-mdt"
        assert bpy.types.ESPALIER_PT_generate
        blender_addon.unregister()
        assert not hasattr(bpy.types.Scene, "espalier")
        assert not hasattr(bpy.types, "ESPALIER_PT_generate")
        assert pump._loaded_file not in bpy.app.handlers.load_post


def test_everything_with_a_label_is_registered() -> None:
    found = []
    for module in pkgutil.iter_modules(ui.__path__, f"{ui.__name__}."):
        for name, one in vars(importlib.import_module(module.name)).items():
            if isinstance(one, type) and one.__module__ == module.name and "bl_label" in vars(one):
                found.append(name)
                assert one in sys.modules[module.name]._classes, name
    assert len(found) > 20


def test_the_preferences_go_by_the_extensions_name(registered: None) -> None:
    assert preferences.EspalierPreferences.bl_idname == ROOT == "espalier"
    assert choices.folders(bpy.context) == ("", "")
    addon = bpy.context.preferences.addons.new()
    try:
        addon.module = ROOT
        assert isinstance(addon.preferences, preferences.EspalierPreferences)
        addon.preferences.backend_python = "/somewhere/python"
        addon.preferences.models_folder = "/somewhere/models"
        assert choices.folders(bpy.context) == ("/somewhere/python", "/somewhere/models")
    finally:
        bpy.context.preferences.addons.remove(addon)


def test_a_job_from_the_settings(registered: None, tmp_path: Path) -> None:
    assert not bpy.ops.espalier.generate.poll()
    settings = bpy.context.scene.espalier
    settings.images.add().path = str(tmp_path / "mug.png")
    assert bpy.ops.espalier.generate.poll()
    request = new_request()
    assert (request.steps, request.guidance, request.low_memory) == (None, None, False)
    settings.steps, settings.seed, settings.texture_size, settings.faces = 4, 7, "2048", 5000
    settings.use_steps = settings.use_guidance = settings.low_memory = True
    settings.guidance, settings.multi_image = 2.5, "stochastic"
    request = new_request()
    assert (request.steps, request.seed, request.texture_size, request.faces) == (4, 7, 2048, 5000)
    assert (request.guidance, request.multi_image, request.low_memory) == (2.5, "stochastic", True)
    assert (request.model, request.images) == ("mini-mdt", (str(tmp_path / "mug.png"),))


def test_a_model_of_the_users_own_goes_by_its_path(registered: None, tmp_path: Path) -> None:
    settings = bpy.context.scene.espalier
    settings.images.add().path = str(tmp_path / "mug.png")
    settings.model = str(tmp_path / "large")
    assert generate.obstacle(bpy.context) == "The model large is missing. Download it or choose another one"
    assert "espalier.preferences_show" in texts(draw())
    (tmp_path / "large").mkdir()
    (tmp_path / "large" / "pipeline.json").touch()
    assert generate.obstacle(bpy.context) == ""
    assert new_request().model == str(tmp_path / "large")
    assert (settings.family, settings.quality) == (settings.model, "Custom")


def test_why_the_button_is_off(registered: None, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = bpy.context.scene.espalier
    assert generate.obstacle(bpy.context) == "Add an image first"
    settings.images.add().path = "/images/mug.png"
    settings.place = "ACTIVE"
    assert "no active object" in generate.obstacle(bpy.context)
    assert "no active object" in texts(draw())
    monkeypatch.setattr("espalier.blender_addon.installation.is_installed", lambda context: False)
    assert generate.obstacle(bpy.context) == "Install the backend first"


def test_variants_have_consecutive_seeds_and_stand_side_by_side(registered: None) -> None:
    settings = bpy.context.scene.espalier
    settings.images.add().path = "/images/mug.png"
    settings.seed, settings.variants, settings.size = 2**31 - 2, 3, 2.0
    bpy.context.scene.cursor.location = (1, 2, 3)
    jobs = generate.new_jobs(bpy.context)
    assert [job.request.seed for job in jobs] == [2**31 - 2, 2**31 - 1, 0]
    targets = [job.target for job in jobs]
    assert [target.location for target in targets if target] == [(1, 2, 3), (3.5, 2, 3), (6, 2, 3)]
    assert {target.size for target in targets if target} == {2.0}
    assert len({job.request.out for job in jobs}) == 3
    for job in jobs:
        Path(job.request.out).rmdir()


def test_a_new_seed_for_each_press_unless_it_is_locked(registered: None, monkeypatch: pytest.MonkeyPatch) -> None:
    pressed: list[int] = []
    monkeypatch.setattr(pump, "submit", lambda job: pressed.append(job.request.seed))
    settings = bpy.context.scene.espalier
    settings.images.add().path = "/images/mug.png"
    for _ in range(3):
        bpy.ops.espalier.generate()
        assert pressed[-1] == settings.seed
    assert len(set(pressed)) == 3
    assert max(pressed) < 10**6, "below a picture of the history there is room for six digits"
    settings.lock_seed = True
    bpy.ops.espalier.generate()
    assert pressed[3] == pressed[2]
    bpy.ops.espalier.new_seed()
    assert settings.seed != pressed[3]


def test_dropping_files(registered: None) -> None:
    handler = image_operators.ESPALIER_FH_images
    assert handler.bl_import_operator == "espalier.add_images"
    assert {".png", ".jpg", ".jfif", ".gif", ".avif", ".heic"} <= set(handler.bl_file_extensions.split(";"))
    area = types.SimpleNamespace(type="VIEW_3D")
    assert handler.poll_drop(types.SimpleNamespace(area=area))
    assert not handler.poll_drop(types.SimpleNamespace(area=None))


def test_the_browser_opens_where_the_last_image_was(
    registered: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, gone = tmp_path / "a", tmp_path / "b", tmp_path / "gone"
    first.mkdir()
    second.mkdir()
    remembered: list[str] = []
    monkeypatch.setattr(choices, "set_image_folder", lambda context, folder: remembered.append(folder))
    monkeypatch.setattr(choices, "image_folder", lambda context: remembered[-1] if remembered else "")
    assert image_operators.last_folder(bpy.context) == ""
    bpy.ops.espalier.add_images("EXEC_DEFAULT", directory=str(first), files=[{"name": "mug.png"}])
    bpy.ops.espalier.add_images("EXEC_DEFAULT", directory=str(second), files=[{"name": "cup.png"}])
    assert image_operators.last_folder(bpy.context) == str(second)
    bpy.context.scene.espalier.images.add().path = str(gone / "lamp.png")
    assert image_operators.last_folder(bpy.context) == str(second)
    bpy.context.scene.espalier.images.clear()
    assert image_operators.last_folder(bpy.context) == str(second), "also of an earlier scene or session"
    second.rmdir()
    assert image_operators.last_folder(bpy.context) == ""
    kind = bpy.ops.espalier.add_images.get_rna_type().properties["display_type"]
    assert kind.default == "FILE_IMGDISPLAY"
    assert kind.enum_items[kind.default].value == 3, "as in Blender's own operators"


def test_a_note_on_the_active_object_is_shown(registered: None) -> None:
    made = bpy.data.objects.new("Mug", None)
    bpy.context.collection.objects.link(made)
    bpy.context.view_layer.objects.active = made
    assert "came out" not in texts(draw())
    made[NOTE] = "At first the object came out empty."
    assert f"{made.name}: At first" in texts(draw()).replace("\n", " ")


def select_made(name: str, **settings: Any) -> bpy.types.Object:
    """An object that remembers how it was made, active and selected."""
    made = bpy.data.objects.new(name, bpy.data.meshes.new(name))
    bpy.context.scene.collection.objects.link(made)
    bpy.context.view_layer.objects.active = made
    made.select_set(True)
    if settings:
        remember(made, {"images": ("/images/mug.png",), **settings}, 1.0)
    return made


def test_the_selected_object_is_first(registered: None) -> None:
    select_made("cube")
    assert "espalier.restore_settings" not in texts(draw()), "it is not one of Espalier's"
    mug = select_made("mug", seed=4321, model="mini-mdt", steps=2)
    drawn = [text for _, text in draw()]
    card = drawn[: drawn.index("Add Images...")]
    assert card[:4] == ["mug", "espalier.restore_settings", "Seed 4321", "Mini  ·  2 Steps"]
    assert {"Regenerate", "espalier.variants", "espalier.retexture", "Asset", "Export..."} <= set(card)
    assert drawn.count("espalier.retexture") == 1
    other = select_made("cup", seed=1)
    assert "and 1 more selected" in texts(draw())
    other.select_set(False)
    assert "espalier.restore_settings" not in texts(draw()), "buttons act on what is selected"
    assert mug.select_get()


def test_the_card_shows_the_best_picture_that_is_there(registered: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "icon", lambda entry: 77)  # in the background there are no icons
    mug = select_made("mug", seed=4321)
    assert card.picture(mug) == 0
    assert "template_icon" not in [call for call, _ in draw()]
    picture = np.full((history.SIZE, history.SIZE, 4), 255, np.uint8)
    history.entries.insert(0, history.Entry("a", "mug", {"seed": 4321}, picture=picture))
    mug[ENTRY] = "a"
    assert card.picture(mug) == 77
    assert "template_icon" in [call for call, _ in draw()]
    for stranger in ("b", 3, [1, 2]):
        mug[ENTRY] = stranger
        assert card.picture(mug) == 0


def test_in_a_narrow_sidebar_words_are_above_their_values(registered: None) -> None:
    select_made("mug", seed=4321, model="mini-mdt", steps=2)
    settings = bpy.context.scene.espalier
    settings.use_max_error = True
    wide, narrow = draw(320), draw(180)
    for name, title in (("faces", "Faces"), ("place", "Placement"), ("seed", "Seed"), ("multi_image", "Views")):
        assert ("label", title) not in wide
        at = narrow.index(("label", title))
        assert ("prop", name) in narrow[at : at + 3]
    assert ("prop", "max_error") in narrow
    assert ("prop", "guidance") not in narrow, "only its checkbox, which has its name"
    assert ("prop", "Guidance") in narrow
    assert ("prop", "quality") in narrow
    assert max(len(str(text)) for call, text in narrow if call == "label") <= 20


def test_panel_without_and_with_images(registered: None) -> None:
    assert "Drop images" in texts(draw())
    for name in ("front.png", "back.png"):
        bpy.context.scene.espalier.images.add().path = f"/images/{name}"
    drawn = draw()
    assert [kind for kind, _ in drawn].count("template_icon") == 2
    assert "front.png" in texts(drawn)
    assert "espalier.generate" in texts(drawn)


def test_panels_with_results(registered: None) -> None:
    assert "Generated objects are listed here" in texts(draw())
    history.entries.insert(
        0, history.Entry("a", "mug", {"seed": 4321}, picture=np.zeros((history.SIZE, history.SIZE, 4), np.uint8))
    )
    shown = texts(draw())
    assert "mug\n4321" in shown
    for operator in ("insert_again", "restore_entry", "favorite", "forget"):
        assert f"espalier.{operator}" in shown
    assert "Generated objects are listed here" not in shown
    assert "Removed" not in shown
    bpy.ops.espalier.forget(entry="a")
    assert "Removed mug" in texts(draw())
    assert "espalier.put_back" in texts(draw())


def test_panel_of_a_job(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ("progress", "Starting the backend") in draw()
    job.state = State.RUNNING
    job.fraction = 0.25
    for stage in protocol.STAGES:
        job.stage, job.step, job.steps = stage, 2, 25
        assert ("progress", f"{job_list.STAGES[stage]} 2/25  ·  25%") in draw()
    job.started = 90.0
    monkeypatch.setattr(pump.jobs, "timings", Timings())  # as in the first job: earlier tests may have left theirs
    monkeypatch.setattr(job_list, "time", types.SimpleNamespace(monotonic=lambda: 100.0))
    assert "Texture 2/25  ·  25%  ·  0:30 left" in texts(draw())
    job.cancelling = True
    assert ("progress", "Canceling") in draw()
    job.state = State.DONE
    assert "espalier.insert" in texts(draw())
    job.state = State.CANCELLED
    assert "mug" not in texts(draw())


def test_the_queue_is_one_line_that_unfolds(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "espalier.cancel_all" not in texts(draw()), "one job is no queue"
    for name in "bc":
        another(job, name)
    monkeypatch.setattr(pump.jobs, "timings", Timings())
    assert ("progress", "3 jobs") in draw()
    pump.jobs.timings.note("mini-mdt", None, {"total": 30.0}, "cpu")
    drawn = draw()
    assert ("progress", "3 jobs  ·  1:30 left") in drawn
    assert "mug" not in texts(drawn)
    monkeypatch.setattr(Layout, "unfolded", True)
    drawn = draw()
    assert [text for call, text in drawn if call == "label"].count("mug  ·  0") == 3
    assert "espalier.move_job" in texts(drawn)
    monkeypatch.setattr(Layout, "unfolded", False)
    pump.jobs.jobs[1].fail(protocol.Error("b", "disk_full", "The disk is full."))
    drawn = draw()
    assert "The disk is full." in texts(drawn), "an error is never folded away"
    assert texts(drawn).index("The disk is full.") < texts(drawn).index("Add Images..."), "nor below what is tall"
    assert texts(drawn).index("espalier.generate") < texts(drawn).index("2 jobs"), "the button stays where it is"
    assert ("progress", "2 jobs  ·  1:00 left") in drawn


def test_a_job_is_moved(job: Job) -> None:
    later, last = another(job, "b"), another(job, "c")
    assert bpy.ops.espalier.move_job(job="c", by=-1) == {"FINISHED"}
    assert pump.jobs.jobs == [job, last, later]
    assert bpy.ops.espalier.move_job(job="b", by=1) == {"CANCELLED"}
    assert bpy.ops.espalier.move_job(job="none", by=1) == {"CANCELLED"}


def test_cancel_all(job: Job) -> None:
    another(job, "b")
    assert "espalier.cancel_all" in texts(draw())
    bpy.ops.espalier.cancel_all()
    assert pump.jobs.jobs == []


def test_presets_hold_what_they_say(registered: None) -> None:
    settings = bpy.context.scene.espalier
    for name in presets.saved():
        assert hasattr(settings, name), name
    commands = "\n".join(f"{value} = {eval(value, {'settings': settings})!r}" for value in presets_values())
    settings.faces, settings.model = 77_777, "other"
    exec(commands, {"settings": settings})
    assert (settings.faces, settings.model) == (10_000, "mini-mdt")


@pytest.mark.parametrize("name", shipped_presets.SHIPPED)
def test_presets_that_ship_set_how_objects_are_finished(registered: None, name: str) -> None:
    settings, values = bpy.context.scene.espalier, shipped_presets.SHIPPED[name].values
    assert set(values) == set(shipped_presets.FINISHING) <= set(protocol.names(protocol.Door.PRESET))
    settings.use_max_error = settings.udim = True
    settings.model, settings.use_steps, settings.steps, settings.background = "other", True, 7, "never"
    before = properties.chosen_settings(settings)
    assert bpy.ops.espalier.preset_apply(name=name) == {"FINISHED"}
    assert properties.chosen_settings(settings) == before | values
    assert shipped_presets.chosen(settings) == name
    protocol.Settings(**properties.chosen_settings(settings))
    settings.faces += 1
    assert shipped_presets.chosen(settings) == ""


def test_presets_that_ship_are_not_files_that_can_be_overwritten(registered: None) -> None:
    drawn: list[tuple[str, Any]] = []
    presets.draw_shipped(Layout(drawn), bpy.context)
    assert [text for call, text in drawn if call == "operator"] == ["Prop", "Game", "Print", "Film"]
    assert bpy.ops.espalier.preset_apply(name="other") == {"CANCELLED"}
    operator: Any = types.SimpleNamespace(name="film")
    assert "quads" in presets.EspalierApplyPreset.description(bpy.context, operator)


def presets_values() -> list[str]:
    return presets.EspalierAddPreset.preset_values


def test_every_stage_has_a_name() -> None:
    assert set(job_list.STAGES) == set(protocol.STAGES)
