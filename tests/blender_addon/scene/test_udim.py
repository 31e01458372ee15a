"""Objects whose texture is in UDIM tiles: made, kept, saved and exported."""

from __future__ import annotations

import dataclasses
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import bpy
import numpy as np
import pytest
from espalier.backend import protocol
from espalier.backend.formats import FORMATS, TARGETS, TEXTURES, TILES, UDIM
from espalier.blender_addon.jobs.client import Backend
from espalier.blender_addon.jobs.queue import Job, JobQueue
from espalier.blender_addon.scene import export, history, mesh_import, save_textures
from espalier.blender_addon.scene.mesh_arrays import active_uvs

from tests.blender_addon.scene.export_cases import state
from tests.blender_addon.scene.test_export import ALL, base_color, opened, out, run

__all__ = ["out"]
KEPT = [name for name in ALL if FORMATS[name].tiles]
Pixels = np.ndarray


@pytest.fixture
def result(start: Callable[..., Backend], make_job: Callable[..., Job], until: Callable[..., None]) -> protocol.Result:
    queue = JobQueue(lambda: start("ok"))
    queue.submit(job := make_job("mug", udim=True, ambient_occlusion=True, lods=True, texture_size=128))
    until(lambda: not queue.active, queue.step)
    assert job.result is not None
    return job.result


@pytest.fixture
def whole(result: protocol.Result) -> Pixels:
    """The texture in one, as the backend wrote it."""
    return pixels_of(result.texture)


@pytest.fixture
def mug(result: protocol.Result, whole: Pixels) -> bpy.types.Object:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    collection = bpy.context.scene.collection
    made = mesh_import.create_object(result, name="mug", collection=collection, settings=result.settings)
    bpy.context.view_layer.update()
    shutil.rmtree(Path(result.arrays).parent)  # a job's files go when the object is there
    return made


def pixels_of(path: str | Path) -> Pixels:
    """[H, W, 3] float32 of an image file, row 0 at the bottom."""
    return read(bpy.data.images.load(str(path)))


def read(image: bpy.types.Image) -> Pixels:
    width, height = image.size
    found = np.empty((height, width, 4), np.float32)
    image.pixels.foreach_get(found.ravel())
    return found[..., :3]


def packed(image: bpy.types.Image) -> dict[int, bytes]:
    return {tile.tile_number: bytes(tile.packed_file.data) for tile in image.packed_files}


def joined(tiles: dict[int, Pixels]) -> Pixels:
    rows = [np.concatenate([tiles[first], tiles[first + 1]], axis=1) for first in (1001, 1011)]
    return np.concatenate(rows)


def images() -> dict[str, bpy.types.Image]:
    return dict(zip(TEXTURES, (bpy.data.images[name] for name in ("mug", "mug normal", "mug occlusion")), strict=True))


def test_an_object_has_four_packed_tiles_and_uvs_of_two_widths(
    mug: bpy.types.Object, whole: Pixels, tmp_path: Path
) -> None:
    assert not [each for each in bpy.data.images if each.source not in ("TILED", "VIEWER")]
    for image in images().values():
        assert [tile.number for tile in image.tiles] == list(TILES)
        assert list(packed(image)) == list(TILES)
        assert image.filepath_raw.startswith("//textures/mug")
        assert [tile.filepath for tile in image.packed_files] == [
            image.filepath_raw.replace(UDIM, str(tile)) for tile in TILES
        ]
    for each in (mug, *mug.children):
        uvs = active_uvs(each.data)
        assert uvs.max() > 1
        assert uvs.max() <= 2
    assert len(mug.children) == 3
    tiles = {}
    for tile, png in packed(images()["texture"]).items():
        (tmp_path / "one.png").write_bytes(png)
        tiles[tile] = pixels_of(tmp_path / "one.png")
    np.testing.assert_array_equal(joined(tiles), whole)


def test_tiles_are_in_the_blend(mug: bpy.types.Object, tmp_path: Path) -> None:
    before = {kind: packed(image) for kind, image in images().items()}
    path = tmp_path / "scene.blend"
    bpy.ops.wm.save_as_mainfile(filepath=str(path), compress=False)
    assert b".texture.1001" not in path.read_bytes()  # where the job's files were
    bpy.ops.wm.open_mainfile(filepath=str(path))
    assert {kind: packed(image) for kind, image in images().items()} == before
    assert all(min(image.size) > 0 for image in images().values())


def test_a_damaged_tile_makes_nothing(result: protocol.Result) -> None:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    Path(result.tiles["normal_map"].replace(UDIM, "1011")).write_bytes(b"no picture")
    with pytest.raises(ValueError, match="not a PNG"):
        mesh_import.create_object(result, name="mug", collection=bpy.context.scene.collection, settings={})
    assert not bpy.data.objects
    assert not bpy.data.images
    assert not bpy.data.meshes


@pytest.mark.parametrize("format", KEPT)
def test_tiles_are_exported_as_files(mug: bpy.types.Object, out: Path, format: str) -> None:
    expected, before = {kind: packed(image) for kind, image in images().items()}, state()
    uvs = active_uvs(mug.data)
    files = run(mug, out, format)
    assert state() == before
    names = {f"mug.{kind}.{tile}.png": png for kind, tiles in expected.items() for tile, png in tiles.items()}
    if format == "usdz":
        with zipfile.ZipFile(files[0]) as archive:
            found = {Path(name).name: archive.read(name) for name in archive.namelist() if name.endswith(".png")}
        del names["mug.occlusion.1001.png"], names["mug.occlusion.1002.png"]  # USD's material has no such input
        del names["mug.occlusion.1011.png"], names["mug.occlusion.1012.png"]
    else:
        found = {path.name: path.read_bytes() for path in files if path.suffix == ".png"}
        content = b"".join(path.read_bytes() for path in files if path.suffix in (".mtl", ".fbx"))
        assert b"mug.texture.<UDIM>.png" in content
        assert sorted(path.name for path in out.iterdir()) == sorted(path.name for path in files)
    assert found == names
    target = opened(files[0])
    again = active_uvs(target.data)
    if format == "usdz":
        assert base_color(target).source == "TILED"
        assert Path(base_color(target).filepath).name == f"mug.texture.{UDIM}.png"
    np.testing.assert_allclose(np.sort(again, axis=0)[[0, -1]], np.sort(uvs, axis=0)[[0, -1]], atol=1e-5)


def test_formats_share_the_tiles_that_are_the_same(mug: bpy.types.Object, out: Path) -> None:
    names = ["obj", "fbx"]
    assert [run(mug, out, name)[0].stem for name in names] == ["mug"] * len(names)
    assert len(list(out.glob("*.png"))) == len(TILES) * len(TEXTURES)


@pytest.mark.parametrize("format", [name for name in ALL if name in ("glb", "usd")])
def test_other_formats_get_the_texture_whole(mug: bpy.types.Object, whole: Pixels, out: Path, format: str) -> None:
    uvs, before = active_uvs(mug.data), state()
    path, *more = run(mug, out, format)
    assert state() == before
    levels = [each for each in more if each.suffix == path.suffix]
    assert len(levels) == 3
    for each in (path, *levels):
        target = opened(each)
        np.testing.assert_array_equal(read(base_color(target)), whole)
        assert active_uvs(target.data).max() <= 1 + 1e-6
    half = active_uvs(opened(path).data)
    np.testing.assert_allclose(np.unique(half.round(4), axis=0), np.unique((uvs / 2).round(4), axis=0), atol=2e-4)


def test_a_print_gets_the_texture_whole(mug: bpy.types.Object, whole: Pixels, out: Path, tmp_path: Path) -> None:
    uvs, before = active_uvs(mug.data), state()
    (path,) = run(mug, out, "3mf")
    assert state() == before
    with zipfile.ZipFile(path) as archive:
        (name,) = (each for each in archive.namelist() if each.endswith(".png"))
        (tmp_path / "texture.png").write_bytes(archive.read(name))
        model = next(archive.read(each) for each in archive.namelist() if each.endswith(".model")).decode()
    np.testing.assert_array_equal(pixels_of(tmp_path / "texture.png"), whole)
    found = np.array(re.findall(r'<m:tex2coord u="([^"]+)" v="([^"]+)"', model), np.float32)
    np.testing.assert_allclose(np.sort(found, axis=0), np.sort(np.unique(uvs / 2, axis=0), axis=0), atol=1e-4)


def test_limits_and_the_direction_of_green_hold_for_each_tile(
    mug: bpy.types.Object, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unreal = dataclasses.replace(TARGETS["unreal"], most_pixels=64)  # that is what each tile has
    monkeypatch.setitem(export.TARGETS, "unreal", unreal)
    run(mug, out, "fbx", target="unreal")
    for tile, png in packed(images()["texture"]).items():
        assert (out / f"mug_BC.{tile}.png").read_bytes() == png
    assert read(images()["normal_map"])[0, 0] == pytest.approx([128 / 255, 128 / 255, 1])
    for tile in TILES:
        np.testing.assert_allclose(pixels_of(out / f"mug_N.{tile}.png")[..., 1], 127 / 255, atol=1e-6)
    monkeypatch.setitem(export.TARGETS, "unreal", dataclasses.replace(unreal, most_pixels=32))
    run(mug, out, "fbx", target="unreal", replace=True)
    assert [pixels_of(out / f"mug_BC.{tile}.png").shape[0] for tile in TILES] == [32] * 4


def test_what_was_painted_is_exported(mug: bpy.types.Object, whole: Pixels, out: Path, tmp_path: Path) -> None:
    image = images()["texture"]
    width, height = image.size
    image.pixels.foreach_set(np.full(width * height * 4, 1.0, np.float32))
    assert image.is_dirty
    before = state()
    if "save_copy" not in image.bl_rna.functions["save"].parameters:  # in 4.2 and 4.3
        with pytest.raises(RuntimeError, match="mug was painted on"):
            run(mug, out, "obj")
        assert state() == before
        assert list(out.iterdir()) == []
        return
    run(mug, out, "obj")
    (path,) = run(mug, out, "3mf")
    assert state() == before
    assert image.is_dirty
    assert set(packed(image)) == set(TILES)
    expected = whole.copy()
    expected[:height, :width] = 1
    tiles = {tile: pixels_of(out / f"mug.texture.{tile}.png") for tile in TILES}
    np.testing.assert_array_equal(joined(tiles), expected)
    with zipfile.ZipFile(path) as archive:
        (name,) = (each for each in archive.namelist() if each.endswith(".png"))
        (tmp_path / "texture.png").write_bytes(archive.read(name))
    np.testing.assert_array_equal(pixels_of(tmp_path / "texture.png"), expected)


def test_what_cannot_be_one_image_is_refused(mug: bpy.types.Object, out: Path) -> None:
    nodes = mug.active_material.node_tree.nodes
    image = images()["texture"]
    image.tiles.new(1003)
    with pytest.raises(ValueError, match="mug has other UDIM tiles"):
        run(mug, out, "3mf")
    image.tiles.remove(next(tile for tile in image.tiles if tile.number == 1003))
    nodes.new("ShaderNodeTexImage").image = bpy.data.images.new("sticker", 8, 8)
    with pytest.raises(ValueError, match="sticker has no UDIM tiles"):
        run(mug, out, "3mf")
    assert list(out.iterdir()) == []
    assert {path.name for path in run(mug, out, "obj")} >= {"mug.3.png", "mug.texture.1012.png"}


def test_textures_are_saved_as_tiles(mug: bpy.types.Object, tmp_path: Path) -> None:
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "scene.blend"))
    mug = bpy.data.objects["mug"]
    expected = {kind: packed(image) for kind, image in images().items()}
    saved = save_textures.save(save_textures.packed_images([mug]))
    names = dict(zip(TEXTURES, ("mug", "mug_normal", "mug_occlusion"), strict=True))
    files = {f"{names[kind]}.{tile}.png": png for kind, tiles in expected.items() for tile, png in tiles.items()}
    assert {path.name: path.read_bytes() for path in saved} == files
    assert not save_textures.packed_images([mug])
    bpy.ops.wm.save_mainfile()
    bpy.ops.wm.open_mainfile(filepath=bpy.data.filepath)
    for kind, image in images().items():
        assert image.source == "TILED"
        assert image.filepath_raw == f"//textures/{names[kind]}.{UDIM}.png"
        assert [tile.number for tile in image.tiles] == list(TILES)
        assert min(image.size) > 0
    folder = tmp_path / "exported"
    folder.mkdir()
    run(bpy.data.objects["mug"], folder, "obj")
    assert {path.name: path.read_bytes() for path in folder.glob("*texture.*.png")} == {
        f"mug.texture.{tile}.png": png for tile, png in expected["texture"].items()
    }


def test_saving_replaces_no_file(mug: bpy.types.Object, tmp_path: Path) -> None:
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "scene.blend"))
    folder = tmp_path / "textures"
    folder.mkdir()
    (folder / "mug.1012.png").write_bytes(b"another")
    saved = save_textures.save([images()["texture"]])
    assert [path.name for path in saved] == [f"mug-2.{tile}.png" for tile in TILES]
    assert (folder / "mug.1012.png").read_bytes() == b"another"


def test_the_history_inserts_it_again(result: protocol.Result, tmp_path: Path) -> None:
    """Its tiles go with its other files: the job's folder is deleted."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    job = Job(protocol.Generate("udim", ("/mug.png",), str(Path(result.arrays).parent)), result=result)
    try:
        history.keep(job, {"images": ("/mug.png",)})
        job.remove_files()
        kept = history.entries[0].result
        assert kept is not None
        made = mesh_import.create_object(
            kept, name="mug", collection=bpy.context.scene.collection, settings=result.settings
        )
        assert len(made.data.polygons)
    finally:
        history.clear()
