"""Painting a given mesh: its voxels, its layout, and the whole way with a tiny model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from backend import protocol
from backend.errors import JobCancelled, SettingsError
from backend.mesh import Mesh, given
from backend.mesh.bake.bake import Source, bake
from backend.mesh.given import GivenMesh, GivenMeshError, judged, read_mesh
from backend.mesh.voxelize import surface_voxels
from backend.serving import job
from backend.serving.warm_models import WarmModels
from tests.fakes.tiny_model import write_tiny_model

CUBE = np.array([(x, y, z) for x in (0, 1) for y in (0, 1) for z in (0, 1)], np.float32)
QUADS = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
FACES = np.array([t for a, b, c, d in QUADS for t in ((a, b, c), (a, c, d))], np.int32)


def crossed(vertices: np.ndarray, faces: np.ndarray, resolution: int) -> set[tuple[int, ...]]:
    """The plain reference: clip each triangle with the six sides of each voxel near it; what is left crosses it."""
    found = set()
    for triangle in (vertices[faces].astype(float) + 0.5) * resolution:
        low, high = np.floor(triangle.min(axis=0)).astype(int), np.ceil(triangle.max(axis=0)).astype(int)
        for offset in np.ndindex(*(high - low + 1)):
            box = low + np.array(offset)
            polygon = list(triangle)
            for axis in range(3):
                polygon = clip(polygon, axis, box[axis], 1)
                polygon = clip(polygon, axis, box[axis] + 1, -1)
            if polygon and (box >= 0).all() and (box < resolution).all():
                found.add(tuple(int(value) for value in box))
    return found


def clip(polygon: list[np.ndarray], axis: int, value: float, side: int) -> list[np.ndarray]:
    kept: list[np.ndarray] = []
    for a, b in zip(polygon, polygon[1:] + polygon[:1], strict=True):
        da, db = side * (a[axis] - value), side * (b[axis] - value)
        if da >= 0:
            kept.append(a)
        if da * db < 0:
            kept.append(a + da / (da - db) * (b - a))
    return kept


@pytest.mark.parametrize("resolution", [3, 8, 16])
@pytest.mark.parametrize("seed", [0, 1])
def test_voxels_are_those_of_the_reference(resolution: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    vertices = rng.uniform(-0.5, 0.5, (30, 3))
    faces = rng.permuted(np.tile(np.arange(30), (12, 1)), axis=1)[:, :3]
    found = surface_voxels(vertices, faces, resolution)
    assert found.dtype == np.int32
    assert set(map(tuple, found.tolist())) == crossed(vertices, faces, resolution)
    assert len(np.unique(found, axis=0)) == len(found)


def test_small_and_degenerate_triangles_are_found_too() -> None:
    point = np.full((3, 3), 0.1)
    assert surface_voxels(point, np.array([[0, 1, 2]]), 10).tolist() == [[6, 6, 6]]
    line = np.array([(-0.37, 0.05, 0.05), (0.37, 0.05, 0.05), (0.0, 0.05, 0.05)])
    assert surface_voxels(line, np.array([[0, 1, 2]]), 10).tolist() == [[x, 5, 5] for x in range(1, 9)]


def test_a_cube_that_fills_the_grid_has_one_layer_of_voxels() -> None:
    voxels = surface_voxels(CUBE - 0.5, FACES, 8)
    assert len(voxels) == 8**3 - 6**3


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    vertices, faces = rng.uniform(-0.5, 0.5, (60, 3)), np.arange(60).reshape(-1, 3)
    whole = surface_voxels(vertices, faces, 16)
    monkeypatch.setattr("backend.mesh.voxelize.CHUNK", 100)
    np.testing.assert_array_equal(surface_voxels(vertices, faces, 16), whole)


def grid(side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A flat square of quads cut along their diagonals, and its UVs."""
    x, y = np.meshgrid(np.arange(side + 1), np.arange(side + 1), indexing="ij")
    vertices = np.stack([x, y, 0 * x], axis=-1).reshape(-1, 3).astype(np.float32) / side
    a = (np.arange(side)[:, None] * (side + 1) + np.arange(side)).reshape(-1)
    b, c, d = a + side + 1, a + side + 2, a + 1
    faces = np.concatenate([np.stack([a, b, c], axis=1), np.stack([a, c, d], axis=1)])
    return vertices, faces, vertices[faces][..., :2]


def usable(vertices: np.ndarray, faces: np.ndarray, uvs: np.ndarray) -> bool:
    return not judged(vertices, faces, uvs).fault


def test_uvs_that_do_not_overlap_are_usable() -> None:
    vertices, faces, uvs = grid(16)
    assert judged(vertices, faces, uvs)[1:] == ("", ())
    assert usable(vertices, faces, np.stack([1 - uvs[..., 0], uvs[..., 1]], axis=-1))  # mirrored, but nothing shared


def cases() -> dict[str, tuple[np.ndarray, str]]:
    """UVs of a ``grid(16)`` that cannot be used, and what is said of them."""
    _, _, uvs = grid(16)
    right = uvs.mean(axis=1, keepdims=True)[..., :1] > 0.5
    stacked = np.where(right, uvs - [0.5, 0], uvs)
    without = np.where(np.arange(len(uvs))[:, None, None] < len(uvs) // 2, 0, uvs)
    return {
        "repeated": (uvs * 1.9, "reach out of the texture (U from 0 to 1.9, V from 0 to 1.9)"),
        "slightly outside": (uvs * 1.01, "reach out of the texture (U from 0 to 1.01, V from 0 to 1.01)"),
        "negative": (uvs - 0.3, "reach out of the texture (U from -0.3 to 0.7, V from -0.3 to 0.7)"),
        "across tiles": (uvs + 0.47, "reach out of the texture (U from 0.47 to 1.47"),
        "four tiles": (uvs * 2, "lie in 4 UDIM tiles"),
        "several tiles": (np.where(right, uvs * 0.9 + [1.05, 0], uvs * 0.9), "lie in 2 UDIM tiles"),
        "mirrored": (np.where(uvs > 0.5, 1 - uvs, uvs), "faces share 100.0 % of the area"),
        "stacked": (stacked, "of the area of its UVs, as mirrored or stacked ones do"),
        "one point": (uvs * 0, "100.0 % of its surface has no area"),
        "half in a point": (without, "50.0 % of its surface has no area"),
        "next to no area": (np.where(right, uvs, uvs * 1e-3), "of its surface has no area"),
        "a corner": (uvs * 1e-3, "fill less than 1.0 % of the texture"),
        "no numbers": (np.full_like(uvs, np.nan), "are not numbers"),
        "infinite": (np.where(uvs == 1, np.inf, uvs), "are not numbers"),
    }


@pytest.mark.parametrize("kind", cases())
def test_uvs_that_cannot_be_used_and_why(kind: str) -> None:
    vertices, faces, _ = grid(16)
    uvs, words = cases()[kind]
    uvs = uvs.astype(np.float32)
    assert words in judged(vertices, faces, uvs).fault
    made, told = GivenMesh(vertices, faces, uvs).unwrapped(64)
    assert made.charts > 0
    assert told.startswith("New UVs were made: ")
    assert words in told
    assert usable(vertices, faces, made.uvs)


def test_uvs_that_are_not_perfect_are_used_and_it_is_said() -> None:
    vertices, faces, uvs = grid(32)
    few = uvs.copy()
    few[-20:] = 0
    assert judged(vertices, faces, few).remarks == ("1.0 % of the surface has no area in them.",)
    shared = uvs.copy()
    shared[-20:] = uvs[-40:-20]
    assert judged(vertices, faces, shared).remarks == ("Faces share 1.0 % of their area.",)
    small = (uvs * 0.2).astype(np.float32)
    assert judged(vertices, faces, small).remarks == ("They fill only 4.0 % of the texture.",)
    _, told = GivenMesh(vertices, faces, small).unwrapped(64)
    assert told == "The mesh's own UVs are used. They fill only 4.0 % of the texture."
    almost = np.where(uvs == 1, np.float32(1.00005), uvs)
    assert judged(vertices, faces, almost)[1:] == ("", ())
    assert GivenMesh(vertices, faces, almost).unwrapped(64)[0].charts == 0


@pytest.mark.parametrize(("tile", "name"), [((1, 0), "1002"), ((3, 2), "1024"), ((-1, 0), "(-1, 0)")])
def test_uvs_in_another_tile_are_used_where_the_texture_repeats(tile: tuple[int, int], name: str) -> None:
    vertices, faces, uvs = grid(4)
    made, told = GivenMesh(vertices, faces, uvs + np.array(tile, np.float32)).unwrapped(64)
    assert made.charts == 0
    np.testing.assert_allclose(made.uvs, uvs, atol=1e-6)
    assert told == f"The mesh's own UVs are used. They lie in tile {name}, where the texture repeats."


def test_faces_without_area_on_the_surface_do_not_count() -> None:
    vertices, faces, uvs = grid(4)
    faces = np.concatenate([faces, np.repeat(faces[:8, :1], 3, axis=1)])
    made, told = GivenMesh(vertices, faces, np.concatenate([uvs, np.zeros((8, 3, 2), np.float32)])).unwrapped(64)
    assert told == "The mesh's own UVs are used."
    assert (made.chart == -1).sum() == 8


def test_mirrored_uvs_take_the_right_colours() -> None:
    """A face that is turned over in the texture shows what lies on it, not on its mirror image."""
    vertices, faces, uvs = grid(8)
    colors = np.column_stack([vertices[:, :2], 0 * vertices[:, 0]]).astype(np.float32)
    mirrored = np.stack([1 - uvs[..., 0], uvs[..., 1]], axis=-1)
    source = Source(Mesh(vertices, faces, colors))
    plain = bake(GivenMesh(vertices, faces, uvs).unwrapped(64)[0], source, 64, normal_map=False).color
    turned = bake(GivenMesh(vertices, faces, mirrored).unwrapped(64)[0], source, 64, normal_map=False).color
    assert np.abs(turned[:, ::-1].astype(int) - plain).max() <= 1
    assert len(np.unique(plain[0, :, 0])) > 50


def test_layout_keeps_usable_uvs_and_makes_new_ones_for_the_cage() -> None:
    vertices, faces, uvs = grid(4)
    own, told = GivenMesh(vertices, faces, uvs).unwrapped(64)
    assert (own.charts, told) == (0, "The mesh's own UVs are used.")
    np.testing.assert_array_equal(own.uvs, uvs)
    cage = GivenMesh(CUBE, FACES.astype(np.int64))
    new, told = GivenMesh(vertices, faces, uvs * 0, cage).unwrapped(64)
    assert told.startswith("New UVs were made for the mesh without its modifiers: ")
    assert new.charts > 0
    assert new.uvs.shape == (12, 3, 2)
    assert usable(CUBE, FACES, new.uvs)
    assert GivenMesh(vertices, faces).unwrapped(64)[1] == "New UVs were made: the mesh had none."


def test_in_cube_moves_the_cage_along() -> None:
    shape = GivenMesh(CUBE * 4 + 7, FACES, None, GivenMesh(CUBE * 8 + 5, FACES)).in_cube(1)
    assert (shape.vertices.min(), shape.vertices.max()) == (-0.5, 0.5)
    assert shape.cage is not None
    assert (shape.cage.vertices.min(), shape.cage.vertices.max()) == (-1, 1)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"faces": None}, "no vertices or no faces"),
        ({"faces": FACES[:, :2]}, "triangles"),
        ({"faces": FACES[:0]}, "has 0 faces"),
        ({"faces": FACES + 1}, "does not exist"),
        ({"faces": FACES - 1}, "does not exist"),
        ({"faces": FACES.astype(float)}, "not numbers"),
        ({"vertices": CUBE * np.nan}, "not numbers"),
        ({"vertices": CUBE * 0}, "no extent"),
        ({"uvs": np.zeros((1, 3, 2))}, "do not match"),
        ({"cage_vertices": CUBE}, "no vertices or no faces"),
    ],
)
def test_a_file_that_is_no_mesh_is_refused(tmp_path: Path, arrays: dict[str, np.ndarray | None], words: str) -> None:
    values = {"vertices": CUBE, "faces": FACES} | arrays
    np.savez(tmp_path / "mesh.npz", **{name: array for name, array in values.items() if array is not None})
    with pytest.raises(GivenMeshError, match=words):
        read_mesh(tmp_path / "mesh.npz")


def test_pickles_and_other_files_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "pickle.npz", vertices=np.array([{}], dtype=object), faces=FACES)
    (tmp_path / "text.npz").write_text("no mesh")
    for name in ("pickle.npz", "text.npz"):
        with pytest.raises(GivenMeshError, match="cannot be read"):
            read_mesh(tmp_path / name)


def test_damaged_and_endless_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez_compressed(tmp_path / "whole.npz", vertices=CUBE, faces=FACES, zeros=np.zeros(1_000_000))
    content = bytearray((tmp_path / "whole.npz").read_bytes())
    start = content.index(b"zeros.npy") + 60
    content[start : start + 20] = b"\xff" * 20
    (tmp_path / "damaged.npz").write_bytes(content)
    encrypted = bytearray((tmp_path / "whole.npz").read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = encrypted.index(mark)
        encrypted[place + offset] |= 1
    (tmp_path / "encrypted.npz").write_bytes(encrypted)
    for name in ("damaged.npz", "encrypted.npz"):
        with pytest.raises(GivenMeshError, match="cannot be read"):
            read_mesh(tmp_path / name)
    read_mesh(tmp_path / "whole.npz")
    monkeypatch.setattr(given, "MAX_BYTES", 1_000_000)
    with pytest.raises(GivenMeshError, match="takes more than 1 MB"):
        read_mesh(tmp_path / "whole.npz")


# --- the whole way ---


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def request_(tmp_path: Path, model: Path) -> protocol.Generate:
    image = Image.new("RGBA", (64, 64))
    ImageDraw.Draw(image).ellipse((8, 8, 56, 56), fill=(200, 30, 30, 255))
    image.save(tmp_path / "ball.png")
    np.savez(tmp_path / "cube.npz", vertices=CUBE * 10, faces=FACES)
    return protocol.Generate(
        "a",
        (str(tmp_path / "ball.png"),),
        str(tmp_path),
        model=str(model),
        texture_size=64,
        mesh=str(tmp_path / "cube.npz"),
    )


def run(request: protocol.Generate, check: object = None) -> protocol.Result:
    models = WarmModels(torch.device("cpu"))
    stages: list[str] = []
    result = job.run(
        request,
        models,
        on_progress=lambda stage, step, steps: stages.append(stage),
        on_preview=lambda path: None,
        check=check if callable(check) else lambda: None,
    )
    assert list(dict.fromkeys(stages)) == [s for s in protocol.STAGES if s != "structure"]
    return result


def test_retexture_keeps_the_faces_and_makes_a_texture(request_: protocol.Generate) -> None:
    result = run(request_)
    with np.load(result.arrays) as arrays:
        np.testing.assert_array_equal(arrays["faces"], FACES)
        np.testing.assert_allclose(arrays["vertices"], (CUBE - 0.5) * 0.75)
        assert usable(CUBE, FACES, arrays["uvs"])
        assert arrays["portrait"].shape == (96, 96, 4)
    assert result.counts["charts"] > 0
    assert result.note.startswith("New UVs were made: the mesh had none.")
    assert result.counts["voxels"] == len(surface_voxels((CUBE - 0.5) * 0.75, FACES, 8))
    assert result.normal_map == ""
    texture = np.asarray(Image.open(result.texture))
    assert texture.shape == (64, 64, 3)
    assert len(np.unique(texture.reshape(-1, 3), axis=0)) > 10  # it is painted
    assert json.loads((Path(request_.out) / "ball.json").read_text())["settings"]["mesh"] == request_.mesh
    again = run(request_)
    assert np.array_equal(texture, np.asarray(Image.open(again.texture)))


def test_a_mesh_that_is_not_there_or_wrong_is_told(request_: protocol.Generate) -> None:
    Path(request_.mesh).write_text("nothing")
    with pytest.raises(SettingsError) as caught:
        run(request_)
    assert caught.value.code == "mesh_unusable"
    assert str(caught.value).startswith("The mesh cannot be read")


def test_retexture_can_be_cancelled(request_: protocol.Generate) -> None:
    calls = 0

    def check() -> None:
        nonlocal calls
        calls += 1
        if calls > 6:
            raise JobCancelled

    with pytest.raises(JobCancelled):
        run(request_, check)
    assert not (Path(request_.out) / "ball.npz").exists()
