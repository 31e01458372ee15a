"""Registration, operators and what the panel shows."""

from __future__ import annotations

import dataclasses
import errno
import importlib
import pkgutil
import re
import sys
import types
from collections.abc import Iterator
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
from espalier.blender_addon.request import cutouts, generate, properties, shipped_presets
from espalier.blender_addon.scene import history
from espalier.blender_addon.scene.made import ENTRY, remember
from espalier.blender_addon.scene.mesh_import import NOTE
from espalier.blender_addon.ui import card, image_operators, job_list, panels, preferences, presets, result_panels
from espalier.blender_addon.ui.texts import wrap

from tests.fakes.fake_backend import paint, write_png


@pytest.fixture
def registered() -> Iterator[None]:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    blender_addon.register()
    yield
    blender_addon.unregister()


class Layout:
    """Takes down what is drawn. Knows only what UILayout knows, so that a misspelt call fails."""

    known = {f.identifier for f in bpy.types.UILayout.bl_rna.functions} | set(
        bpy.types.UILayout.bl_rna.properties.keys()
    )
    containers = ("row", "column", "box", "grid_flow", "split")
    unfolded = False  # whether what can be folded is drawn

    def __init__(self, drawn: list[tuple[str, Any]]) -> None:
        object.__setattr__(self, "drawn", drawn)

    def __setattr__(self, name: str, value: Any) -> None:
        assert name in self.known, name

    def __getattr__(self, name: str) -> Any:
        assert name in self.known, name

        def call(*arguments: Any, **keywords: Any) -> Any:
            if name in self.containers:
                return Layout(self.drawn)
            if name == "panel":
                return Layout(self.drawn), Layout(self.drawn) if self.unfolded else None
            text = keywords.get("text") or (arguments[-1] if arguments else "")
            self.drawn.append((name, text))
            return types.SimpleNamespace()

        return call


def draw(width: int = 280) -> list[tuple[str, Any]]:
    context = types.SimpleNamespace(
        scene=bpy.context.scene,
        preferences=types.SimpleNamespace(
            system=types.SimpleNamespace(ui_scale=1.0),  # 0 in background
            addons=bpy.context.preferences.addons,
        ),
        region=types.SimpleNamespace(width=width),
        active_object=bpy.context.active_object,
        selected_objects=bpy.context.selected_objects,
        space_data=types.SimpleNamespace(shading=types.SimpleNamespace(type="SOLID", color_type="MATERIAL")),
    )
    drawn: list[tuple[str, Any]] = []
    panel: Any = types.SimpleNamespace(layout=Layout(drawn))
    for cls in (
        panels.EspalierPanel,
        panels.EspalierObjectPanel,
        panels.EspalierAdvancedPanel,
        result_panels.EspalierIteratePanel,
        result_panels.EspalierHistoryPanel,
    ):
        cls.draw(panel, context)
    return drawn


def texts(drawn: list[tuple[str, Any]]) -> str:
    return "\n".join(str(text) for _, text in drawn)


@pytest.fixture
def job(registered: None, tmp_path: Path) -> Iterator[Job]:
    request = protocol.Generate("a", (str(tmp_path / "mug.png"),), str(tmp_path / "out"))
    job = Job(request, pump.target(bpy.context, (0, 0, 0), 1.0))
    pump.jobs.jobs.append(job)
    yield job
    pump.jobs.jobs.clear()


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


def new_request() -> protocol.Generate:
    (job,) = generate.new_jobs(bpy.context)
    Path(job.request.out).rmdir()
    return job.request


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
    assert card[:5] == ["mug", "espalier.restore_settings", "Seed 4321", "Mini", "2 Steps"]
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


def test_panel_of_a_failure(job: Job) -> None:
    job.fail(protocol.Error("a", "image_unreadable", "mug.png is not an image. " * 4, "Choose a PNG or JPEG file."))
    drawn = draw()
    lines = [text for kind, text in drawn if kind == "label"]
    assert "mug.png is not an image. " * 4 in " ".join(lines) + " "
    assert max(len(line) for line in lines) < 45
    assert "espalier.preferences_show" not in texts(drawn)
    assert "Choose Another Image..." in texts(drawn)
    job.fail(protocol.Error("a", "backend_unavailable", "The backend is not installed.", "Choose a Python."))
    assert "espalier.preferences_show" in texts(draw())
    job.fail(protocol.Error(None, "backend_ended", "The backend was ended by SIGKILL.", "The next job starts it anew."))
    assert "Open Log" not in texts(draw())  # there is none to open
    pump.log_path().touch()
    for code in ("backend_ended", "internal", protocol.DEVICE_LOST):
        job.fail(protocol.Error("a", code, "It went wrong."))
        assert "Open Log" in texts(draw())
    job.fail(protocol.Error("a", "image_missing", "The image mug.png does not exist."))
    assert "Open Log" not in texts(draw())


@pytest.mark.parametrize(
    ("code", "button"),
    [
        ("backend_unavailable", "espalier.preferences_show"),
        ("model_missing", "espalier.preferences_show"),
        ("background_unclear", "Choose Another Image..."),
        ("out_of_memory", "Try Again with Less Memory"),
        ("structure_empty", "Try Another Seed"),
        ("disk_full", "Try Again"),
        ("folder_read_only", "Try Again"),
        ("image_missing", "Try Again"),
        ("image_missing", "Choose Another Image..."),
        ("image_changed", "Try Again"),
        ("backend_damaged", "espalier.preferences_show"),
    ],
)
def test_each_error_has_the_button_that_mends_it(job: Job, code: str, button: str) -> None:
    job.fail(protocol.Error("a", code, "It went wrong."))
    assert button in [text for _, text in draw()]


def test_try_again(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pump, "step", lambda: None)
    assert bpy.ops.espalier.retry(job="a") == {"CANCELLED"}  # it has not failed
    job.fail(protocol.Error("a", "out_of_memory", "There is not enough memory."))
    assert bpy.ops.espalier.retry(job="a", low_memory=True, new_seed=True) == {"FINISHED"}
    (again,) = pump.jobs.jobs
    assert again.target == job.target
    assert again.request.out == job.request.out
    assert again.request.low_memory
    assert again.id != job.id
    assert again.request.seed != job.request.seed


def three(job: Job) -> list[Job]:
    """Three jobs: two fail because the disk is full, each naming its own folder, one for another reason."""
    out = Path(job.request.out)
    jobs = [job]
    for name in ("b", "c"):
        (out.parent / name).mkdir()
        jobs.append(Job(dataclasses.replace(job.request, job=name, out=str(out.parent / name)), job.target))
    pump.jobs.jobs[1:] = jobs[1:]
    for one in jobs[:2]:
        one.fail(
            protocol.Error(one.id, "disk_full", f"The disk of the folder {one.request.out} is full.", "Free some.")
        )
    jobs[2].fail(protocol.Error("c", "structure_empty", "Nothing came of it."))
    return jobs


def test_jobs_that_failed_for_one_reason_have_one_message(job: Job) -> None:
    three(job)
    shown = texts(draw())
    assert "2 objects: mug" in shown
    assert shown.count("The disk of the folder") == 1
    assert shown.count("Try Again") == 1
    assert shown.count("Try Another Seed") == 1


def test_one_press_tries_all_of_them_again_and_leaves_the_others(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pump, "step", lambda: None)
    first, second, other = three(job)
    assert bpy.ops.espalier.retry(job="a", alike=True) == {"FINISHED"}
    assert pump.jobs.jobs[0] is other
    assert [again.request.out for again in pump.jobs.jobs[1:]] == [first.request.out, second.request.out]
    assert all(Path(again.request.out).is_dir() for again in pump.jobs.jobs)


def test_one_press_dismisses_all_of_them(job: Job) -> None:
    *_, other = three(job)
    assert bpy.ops.espalier.dismiss(job="a", alike=True) == {"FINISHED"}
    assert pump.jobs.jobs == [other]


def test_a_retry_reads_the_image_that_is_there_again(job: Job, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It was gone at the press, so that the job has only its path."""
    monkeypatch.setattr(pump, "step", lambda: None)
    image = Path(job.request.images[0])
    job.fail(protocol.Error("a", "image_missing", "The image mug.png does not exist."))
    image.write_bytes(b"an image")
    assert bpy.ops.espalier.retry(job="a") == {"FINISHED"}
    (again,) = pump.jobs.jobs
    assert again.writer is not None
    again.writer.join()
    assert Path(again.request.images[0]) != image
    assert Path(again.request.images[0]).read_bytes() == b"an image"


def test_a_sentence_without_a_job_is_shown_until_it_is_dismissed(registered: None) -> None:
    for _ in range(2):
        pump.give_notice("The history is full.")
    assert texts(draw()).count("The history is full.") == 1
    assert bpy.ops.espalier.dismiss_notice(index=0) == {"FINISHED"}
    assert "The history is full." not in texts(draw())


def test_a_folder_that_may_not_be_written_to_is_named_at_the_press(
    registered: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_png(tmp_path / "mug.png", 16, paint)
    bpy.ops.espalier.add_images("EXEC_DEFAULT", directory=str(tmp_path), files=[{"name": "mug.png"}])

    def refuse(self: Path, *arguments: Any, **more: Any) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(self))

    monkeypatch.setattr(generate, "obstacle", lambda context: "")
    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(RuntimeError, match="on a disk that can only be read") as caught:
        bpy.ops.espalier.generate()
    assert "Errno" not in str(caught.value)
    assert "Traceback" not in str(caught.value)
    assert pump.jobs.jobs == []


@pytest.mark.parametrize("folder", ["/home/artist/.config/blender/5.2/jobs", r"C:\Users\artist\AppData\Roaming\jobs"])
def test_a_path_is_broken_at_its_folders(folder: str) -> None:
    lines = wrap(f"The disk of the folder {folder} is full.", 24)
    assert max(map(len, lines)) <= 24
    assert re.split(r"[/\\\s]+", " ".join(lines)) == re.split(r"[/\\\s]+", f"The disk of the folder {folder} is full.")


def test_a_home_that_may_not_be_written_to_is_left_alone(
    registered: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Jobs then lie in the temporary folder, for this session only."""
    pump.unregister()
    monkeypatch.setattr(pump, "kept_folder", lambda: tmp_path / "kept")
    monkeypatch.setattr(pump.os, "access", lambda folder, how: folder != tmp_path / "kept")
    pump.register()
    assert "nothing can be kept for the next session" in capsys.readouterr().out
    assert pump.jobs.journal is not None
    assert pump.jobs.journal.root == Path(bpy.app.tempdir, "espalier", "jobs")


def test_a_cut_out_without_room_fails_in_words_and_can_be_tried_again(
    registered: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_png(tmp_path / "mug.png", 16, paint)
    bpy.ops.espalier.add_images("EXEC_DEFAULT", directory=str(tmp_path), files=[{"name": "mug.png"}])
    scene = bpy.context.scene

    def full(self: Path, *arguments: Any, **more: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(self))

    monkeypatch.setattr(cutouts.installation, "is_installed", lambda context: True)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", full)
        cutouts.ask(scene)
    (error,) = cutouts.errors(scene)
    assert error.message.startswith(f"The disk of the folder {Path(bpy.app.tempdir)}")
    assert error.hint == pump.FOR_THE_TEMPORARY_FOLDER
    assert pump.jobs.cutouts.pending == []
    shown = texts(draw())
    assert error.message.split()[0] in shown
    assert "espalier.retry_cutouts" in shown
    assert "espalier.temporary_folder" in shown
    assert bpy.ops.espalier.retry_cutouts() == {"FINISHED"}
    assert cutouts.errors(scene) == []


def another(job: Job, name: str) -> Job:
    """A job like another one, at the end of the queue."""
    added = Job(dataclasses.replace(job.request, job=name, out=job.request.out + name), job.target)
    pump.jobs.jobs.append(added)
    return added


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
