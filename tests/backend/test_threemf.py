"""3MF as lib3mf, the consortium's own reader, and trimesh read it."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import lib3mf
import numpy as np
import pytest
import trimesh
from PIL import Image

from backend.mesh.extract.flexicubes import extract_mesh
from backend.mesh.finish import FinishedMesh, finish
from backend.threemf import Colors, write_3mf
from tests.backend.shells import chair, features_of


@pytest.fixture(scope="module")
def made() -> FinishedMesh:
    return finish(extract_mesh(*features_of(chair, 32), 32), faces=3000, texture_size=64)


NAME = "Stuhl <1> & 杯"


def write(path: Path, made: FinishedMesh, closed: bool = True, colored: bool = True, name: str = NAME) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(made.texture).save(buffer, "PNG")
    uvs, corners = np.unique(made.uvs.reshape(-1, 2), axis=0, return_inverse=True)
    colors = Colors(buffer.getvalue(), uvs, corners.reshape(-1, 3)) if colored else None
    write_3mf(path, made.vertices * 100, made.faces, name=name, closed=closed, colors=colors)
    return buffer.getvalue()


def read(path: Path) -> tuple[Any, Any]:
    """The model, strictly read, and its one object."""
    model = lib3mf.get_wrapper().CreateModel()
    reader = model.QueryReader("3mf")
    reader.SetStrictModeActive(True)
    reader.ReadFromFile(str(path))
    assert reader.GetWarningCount() == 0
    objects = model.GetMeshObjects()
    assert objects.MoveNext()
    return model, objects.GetCurrentMeshObject()


def test_lib3mf_reads_it(made: FinishedMesh, tmp_path: Path) -> None:
    png = write(tmp_path / "a.3mf", made)
    model, target = read(tmp_path / "a.3mf")
    assert model.GetUnit() == lib3mf.ModelUnit.MilliMeter
    assert target.GetName() == NAME
    assert target.IsManifoldAndOriented()
    assert (target.GetVertexCount(), target.GetTriangleCount()) == (len(made.vertices), len(made.faces))
    vertices = np.array([list(each.Coordinates) for each in target.GetVertices()])
    np.testing.assert_allclose(vertices, made.vertices * 100, atol=1e-4)
    np.testing.assert_array_equal([list(each.Indices) for each in target.GetTriangleIndices()], made.faces)
    textures = model.GetTexture2Ds()
    assert textures.MoveNext()
    assert bytes(textures.GetCurrentTexture2D().GetAttachment().WriteToBuffer()) == png
    groups = model.GetTexture2DGroups()
    assert groups.MoveNext()
    group = groups.GetCurrentTexture2DGroup()
    for face in (0, 7, len(made.faces) - 1):
        numbers = target.GetTriangleProperties(face).PropertyIDs
        found = [group.GetTex2Coord(number) for number in numbers]
        np.testing.assert_allclose([(each.U, each.V) for each in found], made.uvs[face], atol=1e-6)
    items = model.GetBuildItems()
    assert items.MoveNext()
    moved = np.array(items.GetCurrent().GetObjectTransform().Fields)[3]
    np.testing.assert_allclose(moved, -100 * made.vertices.min(axis=0), atol=1e-4)  # where printers print


def test_trimesh_reads_it(made: FinishedMesh, tmp_path: Path) -> None:
    write(tmp_path / "a.3mf", made)
    mesh = trimesh.load_mesh(tmp_path / "a.3mf")
    assert mesh.units == "millimeter"
    assert mesh.is_watertight
    assert len(mesh.faces) == len(made.faces)
    np.testing.assert_allclose(mesh.extents, 100 * np.ptp(made.vertices, axis=0), atol=1e-3)
    np.testing.assert_allclose(mesh.bounds[0], 0, atol=1e-4)


def test_an_open_mesh_is_no_solid(made: FinishedMesh, tmp_path: Path) -> None:
    write(tmp_path / "a.3mf", made, closed=False, colored=False)
    model, target = read(tmp_path / "a.3mf")
    assert target.GetType() == lib3mf.ObjectType.Surface
    assert not model.GetTexture2Ds().MoveNext()


def test_the_same_input_gives_the_same_bytes(made: FinishedMesh, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path / f"{name}.3mf", made)
    assert (tmp_path / "a.3mf").read_bytes() == (tmp_path / "b.3mf").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.3mf") as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_lists_and_arrays_give_the_same(made: FinishedMesh, tmp_path: Path) -> None:
    vertices = made.vertices.astype(np.float64)
    write_3mf(tmp_path / "a.3mf", vertices, made.faces, name="a", closed=True)
    write_3mf(tmp_path / "b.3mf", vertices.tolist(), made.faces.tolist(), name="a", closed=True)
    assert (tmp_path / "a.3mf").read_bytes() == (tmp_path / "b.3mf").read_bytes()


def test_a_name_that_xml_cannot_have_is_written(made: FinishedMesh, tmp_path: Path) -> None:
    write(tmp_path / "a.3mf", made, name='a\x01"\ud800')
    assert read(tmp_path / "a.3mf")[1].GetName() == 'a\ufffd"\ufffd'


def test_a_check_ends_it(made: FinishedMesh, tmp_path: Path) -> None:
    def check() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_3mf(tmp_path / "a.3mf", made.vertices.tolist(), [], name="a", closed=True, check=check)
