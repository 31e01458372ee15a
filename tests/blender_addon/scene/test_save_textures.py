"""Textures that are saved beside the .blend, and the operators *Export* and *Save Textures*."""

from __future__ import annotations

import contextlib
import io
import types
from pathlib import Path
from typing import Any

import bpy
import pytest
from espalier.backend.formats import FORMATS, TARGETS
from espalier.blender_addon.scene import export, save_textures
from espalier.blender_addon.ui import export_operators

from tests.blender_addon.ui.drawing import Layout


@pytest.fixture
def saved(mug: bpy.types.Object, tmp_path: Path) -> bpy.types.Object:
    """A generated object in a file that was saved."""
    (tmp_path / "project").mkdir()
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "project" / "scene.blend"))
    made = bpy.data.objects["mug"]
    made.select_set(True)
    return made


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_textures_are_unpacked_beside_the_blend(saved: bpy.types.Object, tmp_path: Path) -> None:
    images = save_textures.packed_images([saved])
    packed = {image.name: bytes(image.packed_file.data) for image in images}
    assert bpy.ops.espalier.save_textures() == {"FINISHED"}
    folder = tmp_path / "project" / "textures"
    assert contents(folder) == {"mug.png": packed["mug"], "mug_normal.png": packed["mug normal"]}
    for image in images:
        assert image.packed_file is None
        assert image.filepath_raw.startswith("//textures/")
        assert min(image.size) > 0
    assert not bpy.ops.espalier.save_textures.poll()  # nothing is left to save
    bpy.ops.wm.save_mainfile()
    bpy.ops.wm.open_mainfile(filepath=bpy.data.filepath)
    assert min(bpy.data.images["mug"].size) > 0


def test_saving_textures_is_one_undo_step(saved: bpy.types.Object) -> None:
    bpy.ops.ed.undo_push(message="before")
    before = bytes(bpy.data.images["mug"].packed_file.data)
    assert bpy.ops.espalier.save_textures("EXEC_DEFAULT", True) == {"FINISHED"}
    assert not save_textures.packed_images([bpy.data.objects["mug"]])
    bpy.ops.ed.undo()
    image = bpy.data.images["mug"]
    assert image.packed_file is not None
    assert bytes(image.packed_file.data) == before
    assert bpy.data.images["mug"].filepath_raw == "//textures/mug.png"


def test_no_file_is_replaced(saved: bpy.types.Object, tmp_path: Path) -> None:
    folder = tmp_path / "project" / "textures"
    folder.mkdir()
    (folder / "MUG.png").write_text("somebody else's")
    same = bytes(bpy.data.images["mug normal"].packed_file.data)
    (folder / "mug_normal.png").write_bytes(same)
    paths = save_textures.save(save_textures.packed_images([saved]))
    assert [path.name for path in paths] == ["mug-2.png", "mug_normal.png"]
    assert (folder / "MUG.png").read_text() == "somebody else's"
    assert len(contents(folder)) == 3
    assert bpy.data.images["mug"].filepath_raw == "//textures/mug-2.png"


def test_what_was_painted_is_saved(saved: bpy.types.Object, tmp_path: Path) -> None:
    image = bpy.data.images["mug"]
    image.pixels[0] = 1.0 - image.pixels[0]
    image.update()
    assert image.is_dirty
    values = list(image.pixels[:4])
    (path, _) = save_textures.save(save_textures.packed_images([saved]))
    assert not image.is_dirty
    assert image.packed_file is None
    read = bpy.data.images.load(str(path))
    assert list(read.pixels[:4]) == pytest.approx(values, abs=1 / 255)


def test_a_disk_that_is_full_is_reported(saved: bpy.types.Object, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(save_textures, "write_whole", full)
    with pytest.raises(RuntimeError, match=r"The disk of the folder .*textures\S* is full"):
        bpy.ops.espalier.save_textures()
    assert bpy.data.images["mug"].packed_file is not None


def test_a_file_without_a_place_says_so(mug: bpy.types.Object) -> None:
    mug.select_set(True)
    assert not bpy.ops.espalier.save_textures.poll()


# --- the button Export -----------------------------------------------------------------------------------------------


def press(**options: Any) -> set[str]:
    with contextlib.redirect_stdout(io.StringIO()):
        found: set[str] = bpy.ops.espalier.export(**options)
    return found


def test_the_button_writes_each_selected_object(saved: bpy.types.Object, tmp_path: Path) -> None:
    second = saved.copy()
    second.name = "jug"
    bpy.context.scene.collection.objects.link(second)
    second.select_set(True)
    bpy.context.view_layer.update()
    assert press(directory=str(tmp_path), format="obj") == {"FINISHED"}
    assert (tmp_path / "mug.obj").is_file()
    assert (tmp_path / "jug.obj").is_file()
    assert press(directory=str(tmp_path), format="obj") == {"FINISHED"}
    assert (tmp_path / "mug-2.obj").is_file()
    before = len(list(tmp_path.iterdir()))
    assert press(directory=str(tmp_path), format="obj", replace=True) == {"FINISHED"}
    assert len(list(tmp_path.iterdir())) == before


def test_two_names_that_become_one_are_two_files(saved: bpy.types.Object, tmp_path: Path) -> None:
    second = saved.copy()
    saved.name, second.name = "a/b", "a_b"
    bpy.context.scene.collection.objects.link(second)
    second.select_set(True)
    bpy.context.view_layer.update()
    for _ in range(2):
        assert press(directory=str(tmp_path), format="stl", replace=True) == {"FINISHED"}
        assert sorted(path.name for path in tmp_path.glob("*.stl")) == ["a_b-2.stl", "a_b.stl"]


def test_the_options_are_drawn(saved: bpy.types.Object) -> None:
    drawn: list[tuple[str, Any]] = []
    for chosen in ("fbx", "3mf"):
        operator: Any = types.SimpleNamespace(layout=Layout(drawn), chosen=chosen)
        export_operators.EspalierExport.draw(operator, bpy.context)
    options = ("target", "format", "print_size", "draco", "at_origin", "replace")
    assert drawn == 2 * [("prop", name) for name in options]
    known = bpy.ops.espalier.export.get_rna_type().properties.keys()
    assert set(options) <= set(known)


def test_the_best_format_of_a_program(saved: bpy.types.Object, tmp_path: Path) -> None:
    assert press(directory="//", target="print", print_size=50) == {"FINISHED"}
    assert (tmp_path / "project" / "mug.3mf").is_file()
    with pytest.raises(RuntimeError, match=r"Formats for 3D Print: 3MF, STL"):
        press(directory=str(tmp_path), target="print", format="fbx")
    for program in TARGETS.values():
        assert set(program.formats) <= FORMATS.keys()


def test_errors_are_reported(saved: bpy.types.Object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError, match="Choose a folder"):
        press(format="obj")
    with pytest.raises(RuntimeError, match="Choose a folder"):
        press(format="obj", directory=str(tmp_path / "gone"))

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(export, "write", full)
        with pytest.raises(RuntimeError, match=r"mug: The disk of the folder .* is full"):
            press(format="obj", directory=str(tmp_path))
    monkeypatch.setitem(export._OPERATORS, "usd", lambda: bpy.ops.wm.of_no_blender)
    with pytest.raises(RuntimeError, match="This Blender cannot write USD"):
        press(format="usd", directory=str(tmp_path))


def test_thin_walls_are_a_warning(saved: bpy.types.Object, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert bpy.ops.espalier.export(directory=str(tmp_path), format="stl", print_size=3) == {"FINISHED"}
    assert "mug: Printed 3 mm large" in capfd.readouterr().out


def test_it_takes_a_selected_object_and_object_mode(saved: bpy.types.Object) -> None:
    assert bpy.ops.espalier.export.poll()
    bpy.context.view_layer.objects.active = saved
    bpy.ops.object.mode_set(mode="EDIT")
    assert not bpy.ops.espalier.export.poll()
    bpy.ops.object.mode_set(mode="OBJECT")
    saved.select_set(False)
    assert not bpy.ops.espalier.export.poll()
    assert export_operators.exportable(bpy.context) == []


def test_exporting_is_no_undo_step(saved: bpy.types.Object, tmp_path: Path) -> None:
    bpy.ops.ed.undo_push(message="before")
    saved.location.x = 3
    bpy.ops.ed.undo_push(message="moved")
    press(directory=str(tmp_path), format="obj")
    bpy.ops.ed.undo()
    assert bpy.data.objects["mug"].location.x == 0
    assert [each.name for each in bpy.data.meshes] == ["mug"]
