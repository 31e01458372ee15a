"""Registration, operators and what the panel shows."""

from __future__ import annotations

import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bpy
import pytest
from espalier import blender_addon
from espalier.backend import protocol
from espalier.blender_addon import operators, panels, preferences, properties, pump
from espalier.blender_addon.jobs import Job, State
from espalier.blender_addon.mesh_import import NOTE


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

    def __init__(self, drawn: list[tuple[str, Any]]) -> None:
        object.__setattr__(self, "drawn", drawn)

    def __setattr__(self, name: str, value: Any) -> None:
        assert name in self.known, name

    def __getattr__(self, name: str) -> Any:
        assert name in self.known, name

        def call(*arguments: Any, **keywords: Any) -> Any:
            if name in self.containers:
                return Layout(self.drawn)
            text = keywords.get("text") or (arguments[-1] if arguments else "")
            self.drawn.append((name, text))
            return types.SimpleNamespace()

        return call


def draw() -> list[tuple[str, Any]]:
    context = types.SimpleNamespace(
        scene=bpy.context.scene,
        preferences=types.SimpleNamespace(
            system=types.SimpleNamespace(ui_scale=1.0),  # 0 in background
            addons=bpy.context.preferences.addons,
        ),
        region=types.SimpleNamespace(width=280),
        active_object=bpy.context.active_object,
    )
    drawn: list[tuple[str, Any]] = []
    panel: Any = types.SimpleNamespace(layout=Layout(drawn))
    panels.EspalierPanel.draw(panel, context)
    return drawn


def texts(drawn: list[tuple[str, Any]]) -> str:
    return "\n".join(str(text) for _, text in drawn)


@pytest.fixture
def job(registered: None, tmp_path: Path) -> Iterator[Job]:
    job = Job(protocol.Generate("a", ("/images/mug.png",), str(tmp_path / "out")), pump.target(bpy.context))
    pump.jobs.jobs.append(job)
    yield job
    pump.jobs.jobs.clear()


def test_register_twice() -> None:
    for _ in range(2):
        blender_addon.register()
        assert bpy.context.scene.espalier.model == "mini"
        assert bpy.types.ESPALIER_PT_generate
        blender_addon.unregister()
        assert not hasattr(bpy.types.Scene, "espalier")
        assert not hasattr(bpy.types, "ESPALIER_PT_generate")
        assert pump._loaded_file not in bpy.app.handlers.load_post


def test_the_preferences_go_by_the_extensions_name(registered: None) -> None:
    assert preferences.EspalierPreferences.bl_idname == blender_addon.ROOT == "espalier"
    assert preferences.folders(bpy.context) == ("", "")
    addon = bpy.context.preferences.addons.new()
    try:
        addon.module = blender_addon.ROOT
        assert isinstance(addon.preferences, preferences.EspalierPreferences)
        addon.preferences.backend_python = "/somewhere/python"
        addon.preferences.models_folder = "/somewhere/models"
        assert preferences.folders(bpy.context) == ("/somewhere/python", "/somewhere/models")
    finally:
        bpy.context.preferences.addons.remove(addon)


def test_images(registered: None, tmp_path: Path) -> None:
    images = bpy.context.scene.espalier.images
    files = [{"name": name} for name in ("front.png", "back.jpg")]
    for _ in range(2):  # a second time they are already there
        bpy.ops.espalier.add_images("EXEC_DEFAULT", directory=str(tmp_path), files=files)
    assert [image.path for image in images] == [str(tmp_path / "front.png"), str(tmp_path / "back.jpg")]
    bpy.ops.espalier.remove_image(index=0)
    assert [Path(image.path).name for image in images] == ["back.jpg"]
    assert bpy.ops.espalier.remove_image(index=3) == {"CANCELLED"}


def test_a_job_from_the_settings(registered: None, tmp_path: Path) -> None:
    assert not bpy.ops.espalier.generate.poll()
    settings = bpy.context.scene.espalier
    settings.images.add().path = str(tmp_path / "mug.png")
    assert bpy.ops.espalier.generate.poll()
    settings.steps, settings.seed, settings.texture_size, settings.faces = 4, 7, "2048", 5000
    settings.use_steps = True
    request = operators.new_job(bpy.context).request
    assert (request.steps, request.seed, request.texture_size, request.faces) == (4, 7, 2048, 5000)
    assert (request.model, request.images) == ("mini", (str(tmp_path / "mug.png"),))
    assert Path(request.out).is_dir()
    Path(request.out).rmdir()


def test_a_model_of_the_users_own_goes_by_its_path(
    registered: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "large").mkdir()
    (tmp_path / "large" / "pipeline.json").touch()
    monkeypatch.setattr(preferences, "folders", lambda context: ("", str(tmp_path)))
    settings = bpy.context.scene.espalier
    assert "large" in properties._model_names(settings, bpy.context, "")
    settings.images.add().path = str(tmp_path / "mug.png")
    settings.model = "large"
    request = operators.new_job(bpy.context).request
    assert request.model == str(tmp_path / "large")
    Path(request.out).rmdir()


def test_dropping_files(registered: None) -> None:
    handler = operators.ESPALIER_FH_images
    assert handler.bl_import_operator == "espalier.add_images"
    assert handler.bl_file_extensions.split(";")[:3] == [".png", ".jpg", ".jpeg"]
    area = types.SimpleNamespace(type="VIEW_3D")
    assert handler.poll_drop(types.SimpleNamespace(area=area))
    assert not handler.poll_drop(types.SimpleNamespace(area=None))


def test_a_note_on_the_active_object_is_shown(registered: None) -> None:
    made = bpy.data.objects.new("Mug", None)
    bpy.context.collection.objects.link(made)
    bpy.context.view_layer.objects.active = made
    assert "came out" not in texts(draw())
    made[NOTE] = "At first the object came out empty."
    assert f"{made.name}: At first" in texts(draw()).replace("\n", " ")


def test_panel_without_and_with_images(registered: None) -> None:
    assert "Drop an image" in texts(draw())
    for name in ("front.png", "back.png"):
        bpy.context.scene.espalier.images.add().path = f"/images/{name}"
    drawn = draw()
    assert [kind for kind, _ in drawn].count("template_icon") == 2
    assert "front.png" in texts(drawn)
    assert "espalier.generate" in texts(drawn)


def test_panel_of_a_job(job: Job) -> None:
    assert ("progress", "Starting the backend") in draw()
    job.state = State.RUNNING
    for stage in protocol.STAGES:
        job.stage, job.step, job.steps = stage, 2, 25
        assert ("progress", f"{panels.STAGES[stage]}, step 2 of 25") in draw()
    job.cancelling = True
    assert ("progress", "Cancelling") in draw()
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
    job.fail(protocol.Error("a", "backend_unavailable", "The backend is not installed.", "Choose a Python."))
    assert "espalier.preferences_show" in texts(draw())
    job.fail(protocol.Error(None, "backend_ended", "The backend was ended by SIGKILL.", "The next job starts it anew."))
    assert "Open Log" in texts(draw())


def test_every_stage_has_a_name() -> None:
    assert set(panels.STAGES) == set(protocol.STAGES)
