"""What is seen of a new object: its colours, what is said of it, and where its buttons are found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bpy
import pytest
from espalier.backend import protocol
from espalier.blender_addon import choices, pump
from espalier.blender_addon.scene import news, shading
from espalier.blender_addon.ui import menus, sidebar

Until = Callable[..., None]


def viewport() -> bpy.types.Area:
    screen = bpy.context.window_manager.windows[0].screen
    return next(area for area in screen.areas if area.type == "VIEW_3D")


@pytest.fixture
def solid(mode: list[str]) -> Iterator[bpy.types.View3DShading]:
    """The shading of the viewport in which buttons are pressed: as Blender comes."""
    found = viewport().spaces.active.shading
    found.type, found.color_type = "SOLID", "MATERIAL"
    window = bpy.context.window_manager.windows[0]
    bpy.ops.ed.undo_push(message="Before")
    with bpy.context.temp_override(window=window, screen=window.screen, area=viewport()):
        yield found


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bool]]:
    """What is said, and whether it is a warning."""
    said: list[tuple[str, bool]] = []
    monkeypatch.setattr(news, "tell", lambda text, *, warning=False: said.append((text, warning)))
    return said


def generate(until: Until) -> None:
    assert bpy.ops.espalier.generate() == {"FINISHED"}
    until(lambda: not any(job.active for job in pump.jobs.jobs), pump.step)


# --- colours ---


def test_the_viewport_that_was_used_shows_the_colors(solid: bpy.types.View3DShading, until: Until) -> None:
    generate(until)
    assert (solid.type, solid.color_type) == ("SOLID", "TEXTURE")
    bpy.ops.ed.undo()
    assert "mug" not in bpy.data.objects
    assert solid.color_type == "MATERIAL"
    bpy.ops.ed.redo()
    assert "mug" in bpy.data.objects
    assert solid.color_type == "TEXTURE"


def test_a_second_object_does_not_change_what_undo_does(solid: bpy.types.View3DShading, until: Until) -> None:
    generate(until)
    generate(until)
    bpy.ops.ed.undo()
    assert solid.color_type == "TEXTURE", "the first object is still there"
    bpy.ops.ed.undo()
    assert solid.color_type == "MATERIAL"


def test_what_is_changed_by_hand_afterwards_stays(solid: bpy.types.View3DShading, until: Until) -> None:
    generate(until)
    solid.color_type = "RANDOM"
    bpy.ops.ed.undo()
    assert solid.color_type == "RANDOM"
    bpy.ops.ed.redo()
    assert solid.color_type == "RANDOM"


@pytest.mark.parametrize(
    ("kind", "colors"), [("WIREFRAME", "MATERIAL"), ("MATERIAL", "MATERIAL"), ("SOLID", "RANDOM"), ("SOLID", "SINGLE")]
)
def test_what_was_chosen_stays(solid: bpy.types.View3DShading, until: Until, kind: str, colors: str) -> None:
    solid.type, solid.color_type = kind, colors
    generate(until)
    bpy.ops.ed.undo()
    bpy.ops.ed.redo()
    assert (solid.type, solid.color_type) == (kind, colors)


def test_only_if_it_is_wanted(solid: bpy.types.View3DShading, until: Until, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choices, "show_colors", lambda context: False)
    generate(until)
    assert solid.color_type == "MATERIAL"


def test_a_painted_mesh_shows_its_colors_too(solid: bpy.types.View3DShading, until: Until) -> None:
    bpy.ops.mesh.primitive_cube_add()
    bpy.ops.ed.undo_push(message="A cube")
    assert bpy.ops.espalier.retexture() == {"FINISHED"}
    until(lambda: not pump.jobs.jobs, pump.step)
    assert solid.color_type == "TEXTURE"
    bpy.ops.ed.undo()
    assert "Cube" in bpy.data.objects
    assert solid.color_type == "MATERIAL"


def test_the_viewport_may_be_gone(solid: bpy.types.View3DShading, until: Until) -> None:
    bpy.ops.espalier.generate()
    area = viewport()
    area.type = "TEXT_EDITOR"
    until(lambda: not pump.jobs.jobs, pump.step)
    area.type = "VIEW_3D"
    assert "mug" in bpy.data.objects


def test_the_largest_viewport_stands_for_one_if_none_was_used(solid: bpy.types.View3DShading) -> None:
    window = bpy.context.window_manager.windows[0]
    other = next(area for area in window.screen.areas if area.type != "VIEW_3D")
    with bpy.context.temp_override(window=window, screen=window.screen, area=other):
        assert shading.viewport_of(bpy.context) == viewport().as_pointer()


# --- news ---


def test_what_is_ready_is_said(mode: list[str], until: Until, told: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    generate(until)
    assert told == [("mug is ready.", False)]
    news.ready("mug", "200,000 faces were asked for.")
    assert told[-1] == ("mug is ready. 200,000 faces were asked for.", False)


def test_what_failed_is_said_once_for_each_reason(mode: list[str], until: Until, told: list[Any]) -> None:
    mode[:] = ["error"]
    generate(until)
    ((words, warning),) = told
    assert words.startswith("mug failed: ")
    assert warning
    (job,) = pump.jobs.jobs
    assert job.error is not None
    assert job.error.message in words
    assert job.error.hint in words
    told.clear()
    error = protocol.Error("a", "x", "The disk is full.", "Free some.")
    news.failed([("mug", error), ("cup", error), ("cup", protocol.Error("b", "y", "No."))])
    assert [words for words, _ in told] == ["mug, cup failed: The disk is full. Free some.", "cup failed: No."]


def test_a_damaged_result_is_said(mode: list[str], until: Until, told: list[Any]) -> None:
    mode[:] = ["damaged"]
    generate(until)
    ((words, warning),) = told
    assert words.startswith("mug failed: The result cannot be used")
    assert warning


def test_what_can_only_be_offered_is_said(mode: list[str], until: Until, told: list[Any], tmp_path: Path) -> None:
    bpy.ops.espalier.generate()
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "x.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "x.blend"))
    until(lambda: not any(job.active for job in pump.jobs.jobs), pump.step)
    for _ in range(3):
        pump.step()
    assert told == [("mug is ready. Insert it from the Espalier tab of the sidebar.", False)]


# --- menus and sidebar ---


class Layout:
    """Notes what is drawn."""

    def __init__(self) -> None:
        self.drawn: list[str] = []

    def operator(self, name: str, **more: object) -> Any:
        getattr(getattr(bpy.ops, name.split(".")[0]), name.split(".")[1]).get_rna_type()  # there is such an operator
        self.drawn.append(str(more.get("text", name)))
        return type("Properties", (), {})()

    def menu(self, name: str, **more: object) -> None:
        self.drawn.append(name)

    def separator(self) -> None:
        pass


def drawn(draw: Callable[..., None], context: Any = None) -> list[str]:
    this = type("Menu", (), {"layout": Layout()})()
    draw(this, context or bpy.context)
    return this.layout.drawn


def test_menus_have_entries(mode: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert drawn(menus._add_mesh) == ["espalier.generate"]
    bpy.context.scene.espalier.images.clear()
    assert drawn(menus._add_mesh) == ["Generate 3D from Images..."]
    monkeypatch.setattr(menus.installation, "is_installed", lambda context: False)
    assert drawn(menus._add_mesh) == ["Generate 3D (Install First)..."]
    assert drawn(menus._object) == ["VIEW3D_MT_espalier"]
    assert "Regenerate with New Seed" in drawn(menus.VIEW3D_MT_espalier.draw)
    assert drawn(menus._image) == ["espalier.generate_from_shown", "espalier.add_shown"]


def test_blenders_menus_are_as_they_were_without_the_add_on() -> None:
    from espalier import blender_addon

    bpy.ops.wm.read_factory_settings(use_empty=True)

    def ours() -> int:
        listed = [getattr(bpy.types, name).draw._draw_funcs for name, _ in menus._ENTRIES]
        return sum(function.__module__ == menus.__name__ for functions in listed for function in functions)

    blender_addon.register()
    assert ours() == len(menus._ENTRIES)
    blender_addon.unregister()
    assert ours() == 0


def test_an_image_of_the_editor_is_generated(mode: list[str], until: Until) -> None:
    image = bpy.data.images.new("lamp", 64, 64)
    window = bpy.context.window_manager.windows[0]
    area = viewport()
    area.type = "IMAGE_EDITOR"
    with bpy.context.temp_override(window=window, screen=window.screen, area=area):
        assert not bpy.ops.espalier.add_shown.poll()
        area.spaces.active.image = image
        assert bpy.ops.espalier.add_shown() == {"FINISHED"}
        listed = bpy.context.scene.espalier.images
        assert [item.image.name if item.image else "" for item in listed] == ["", "lamp"]
        assert bpy.ops.espalier.generate_from_shown() == {"FINISHED"}
        assert [item.image.name for item in listed] == ["lamp"]
    area.type = "VIEW_3D"
    until(lambda: not pump.jobs.jobs, pump.step)
    assert "lamp" in bpy.data.objects


def test_the_tab_is_opened_once(
    mode: list[str], monkeypatch: pytest.MonkeyPatch, told: list[Any], tmp_path: Path
) -> None:
    monkeypatch.setattr(pump, "kept_folder", lambda: tmp_path)
    monkeypatch.setattr(sidebar, "show", lambda area: area is not None)
    assert not sidebar._marker().exists()
    sidebar._first_time()
    assert sidebar._marker().exists()
    assert "its tab is open" in told[-1][0]
    monkeypatch.setattr(sidebar, "_areas", list)
    sidebar._first_time()
    assert "press N" in told[-1][0], "where no viewport can be seen"
