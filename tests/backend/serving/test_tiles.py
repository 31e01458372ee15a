"""UDIM tiles: the files that the backend writes, and what Blender makes of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import bpy
import numpy as np
import pytest
from espalier.backend.formats import TEXTURES, TILES, UDIM
from espalier.blender_addon.scene.mesh_import import create_object
from PIL import Image

from backend import protocol
from backend.generated import Generated
from backend.mesh.extract.flexicubes import extract_mesh
from backend.mesh.finish import finish
from backend.protocol import Settings
from backend.serving.outputs import TILE_ENDINGS, Place, write_asset
from tests.backend.shells import chair, features_of

SETTINGS = Settings(udim=True, lods=True, ambient_occlusion=True, texture_size=128)


@pytest.fixture(scope="module")
def generated() -> Generated:
    raw = extract_mesh(*features_of(chair, 32), 32)
    mesh = finish(raw, faces=800, texture_size=128, ambient_occlusion=True, lods=True, udim=True)
    ramp = np.stack([*np.meshgrid(np.arange(128), np.arange(128), indexing="ij"), np.zeros((128, 128))], axis=-1)
    return Generated(raw=raw, mesh=replace(mesh, texture=ramp.astype(np.uint8)), gaussians=None, counts={}, timings={})


def written(generated: Generated, folder: Path, settings: Settings = SETTINGS) -> dict[str, Path]:
    return write_asset(Place.find(folder, "chair", ["chair.png"]), generated, settings, durable=False)


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def test_tiles_are_the_quarters_of_the_whole_from_the_lower_left(generated: Generated, tmp_path: Path) -> None:
    files = written(generated, tmp_path)
    for kind in TEXTURES:
        whole = pixels(files[kind])
        for tile, (top, left) in {1001: (64, 0), 1002: (64, 64), 1011: (0, 0), 1012: (0, 64)}.items():
            path = files[f"{kind}_{tile}"]
            assert path.name == f"chair.{kind}.{tile}.png"
            np.testing.assert_array_equal(pixels(path), whole[top : top + 64, left : left + 64])


def test_without_them_the_files_are_the_same_but_for_the_tiles(generated: Generated, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    tiled = written(generated, tmp_path / "one")
    plain = written(generated, tmp_path / "other", replace(SETTINGS, udim=False))
    assert tiled.keys() - plain.keys() == set(TILE_ENDINGS)
    assert all(path.read_bytes() == tiled[kind].read_bytes() for kind, path in plain.items() if kind != "arrays")


def test_no_level_of_detail_has_a_face_in_two_tiles(generated: Generated) -> None:
    assert len(generated.mesh.lods) == 3
    for level in (generated.mesh, *generated.mesh.lods):
        tile = np.floor(2 * level.uvs.astype(float))
        assert (tile == tile[:, :1]).all()
        assert len(np.unique(tile[:, 0], axis=0)) == 4


def test_blender_shows_each_face_in_its_place(generated: Generated, tmp_path: Path) -> None:
    """What Blender finds at a UV in its tiles is what the whole image has at half of it."""
    files = written(generated, tmp_path)
    tiles = {kind: str(tmp_path / f"chair.{kind}.{UDIM}.png") for kind in TEXTURES}
    result = protocol.Result("a", str(files["arrays"]), str(files["texture"]), "", tiles=tiles)
    bpy.ops.wm.read_factory_settings(use_empty=True)
    made = create_object(result, name="chair", collection=bpy.context.scene.collection, settings={})  # type: ignore[arg-type]
    image = next(each for each in bpy.data.images if each.name == "chair")
    shown = {}
    for tile in image.packed_files:
        (tmp_path / "one.png").write_bytes(bytes(tile.packed_file.data))
        shown[tile.tile_number] = pixels(tmp_path / "one.png")
    assert tuple(shown) == TILES
    whole = pixels(files["texture"])
    for each in (made, *made.children):
        uvs = np.array([corner.uv for corner in each.data.uv_layers.active.data])
        for u, v in uvs[:: max(len(uvs) // 500, 1)]:
            tile = shown[1001 + int(u) + 10 * int(v)]
            here = tile[63 - int(v % 1 * 64), int(u % 1 * 64)]
            np.testing.assert_array_equal(here, whole[127 - int(v * 64), int(u * 64)])


def test_tiles_need_an_even_size() -> None:
    with pytest.raises(protocol.InvalidSetting, match="must be even for UDIM tiles, not 17"):
        Settings(udim=True, texture_size=17)
    assert Settings(texture_size=17).texture_size == 17
