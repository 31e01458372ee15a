"""Objects written for other programs, and read again: by Blender's importers, and by others that only read."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import struct
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bpy
import numpy as np
import pytest
from espalier.backend import protocol
from espalier.backend.files import CutOff
from espalier.backend.formats import FORMATS, TARGETS, Offer, offered
from espalier.blender_addon.jobs.client import Backend
from espalier.blender_addon.jobs.queue import Job, JobQueue
from espalier.blender_addon.scene import export, mesh_import, print_check

from tests.blender_addon.scene.export_cases import facts, points, read, state

#: Formats that this Blender can write. After a glTF export pip's bpy 4.2 crashes at its own exit, and 4.5 may hang.
GLTF = bool(bpy.app.binary_path) or bpy.app.version >= (5, 0)
ALL = [name for name in offered(Offer.BUTTON) if not export.obstacle(name) and (name != "glb" or GLTF)]
MESHES = [name for name in ALL if not FORMATS[name].print_size]
NEEDS_USD = pytest.mark.skipif("usd" not in ALL, reason="this Blender was built without USD")
NEEDS_PIP = pytest.mark.skipif(bool(bpy.app.binary_path), reason="the reader is installed beside pip's bpy")
NEEDS_GLTF = pytest.mark.skipif(not GLTF, reason="in real Blenders and pip's bpy 5.0: see GLTF")
PLACE = (1.0, -2.0, 0.5)


@pytest.fixture
def result(start: Callable[..., Backend], make_job: Callable[..., Job], until: Callable[..., None]) -> protocol.Result:
    queue = JobQueue(lambda: start("ok"))
    queue.submit(job := make_job("mug", ambient_occlusion=True))
    until(lambda: not queue.active, queue.step)
    assert job.result is not None
    return job.result


@pytest.fixture
def mug(result: protocol.Result) -> bpy.types.Object:
    """A torus of 1,152 vertices, turned, scaled and moved, beside another object that is selected and active."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    collection = bpy.context.scene.collection
    made = mesh_import.create_object(result, name="mug", collection=collection, settings=result.settings)
    made.rotation_euler, made.scale, made.location = (0.4, 0.2, 1.0), (1.0, 1.0, 2.0), PLACE
    other = bpy.data.objects.new("other", bpy.data.meshes.new("other"))
    collection.objects.link(other)
    other.select_set(True)
    bpy.context.view_layer.objects.active = other
    bpy.context.view_layer.update()
    return made


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def run(what: bpy.types.Object, out: Path, format: str, **more: Any) -> list[Path]:
    with contextlib.redirect_stdout(io.StringIO()):
        return list(export.export(bpy.context, what, out, export.Wanted(format, **more)).files)


def agree(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found["faces"] == expected["faces"]
    np.testing.assert_allclose(found["bounds"], expected["bounds"], atol=2e-5)
    np.testing.assert_allclose(found["area"], expected["area"], rtol=1e-4)
    np.testing.assert_allclose(found["volume"], expected["volume"], rtol=1e-4)  # and so the sides that faces look to
    np.testing.assert_allclose(found["uvs"], expected["uvs"], atol=1e-4)


def opened(path: Path) -> bpy.types.Object:
    """The one mesh in a file, as Blender imports it into an empty scene."""
    read(path)
    (target,) = (one for one in bpy.data.objects if one.type == "MESH")
    return target


def base_color(target: bpy.types.Object) -> bpy.types.Image:
    nodes = target.active_material.node_tree.nodes
    shader = next(node for node in nodes if node.type == "BSDF_PRINCIPLED")
    return shader.inputs["Base Color"].links[0].from_node.image


def pixels(image: bpy.types.Image) -> np.ndarray:
    values = np.empty(image.size[0] * image.size[1] * 4, np.float32)
    image.pixels.foreach_get(values)
    return np.rint(values.reshape(-1, 4)[:, :3] * 255)


# --- every format ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", ALL)
def test_the_scene_stays_as_it_was(mug: bpy.types.Object, out: Path, format: str) -> None:
    before = state()
    files = run(mug, out, format)
    assert state() == before
    assert files[0] == out / f"mug{FORMATS[format].ending}"
    assert sorted(out.iterdir()) == sorted(files)


@pytest.mark.parametrize("format", MESHES)
def test_blender_reads_what_was_in_the_scene(mug: bpy.types.Object, out: Path, format: str) -> None:
    expected, colors = facts(mug), pixels(base_color(mug))
    (path, *_) = run(mug, out, format, at_origin=False)
    back = opened(path)
    agree(facts(back), expected)
    assert back.name == "mug"
    assert back.active_material.name.split(".")[0] == "mug"
    np.testing.assert_array_equal(pixels(base_color(back)), colors)


@pytest.mark.parametrize("format", MESHES)
def test_the_origin_of_the_object_is_that_of_the_file(mug: bpy.types.Object, out: Path, format: str) -> None:
    expected = facts(mug)["bounds"] - PLACE
    (path, *_) = run(mug, out, format)
    np.testing.assert_allclose(facts(opened(path))["bounds"], expected, atol=2e-5)


@pytest.mark.parametrize("format", [name for name in ALL if FORMATS[name].textures])
def test_several_objects_share_a_folder(mug: bpy.types.Object, out: Path, format: str) -> None:
    """Nothing of another object's is replaced, and each finds its own textures."""
    first = run(mug, out, format)
    assert run(mug, out, format, replace=True) == first
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    image = base_color(mug)
    values = np.empty(image.size[0] * image.size[1] * 4, np.float32)
    image.pixels.foreach_get(values)
    image.pixels.foreach_set(1 - values)  # painted on
    second = run(mug, out, format)
    assert {path.name.split(".")[0] for path in second} == {"mug-2"}
    assert before == {name: (out / name).read_bytes() for name in before}
    painted = pixels(image)
    np.testing.assert_array_equal(pixels(base_color(opened(second[0]))), painted)
    assert not np.array_equal(pixels(base_color(opened(first[0]))), painted)


def test_formats_share_the_textures_that_are_the_same(mug: bpy.types.Object, out: Path) -> None:
    names = [name for name in ("obj", "fbx", "usd") if name in ALL]
    assert [run(mug, out, name)[0].stem for name in names] == ["mug"] * len(names)
    assert len(list(out.glob("*.png"))) == 3


@pytest.mark.parametrize("format", [name for name in ALL if name != "fbx"])  # that has the time, and random numbers
def test_the_same_object_gives_the_same_bytes(mug: bpy.types.Object, out: Path, tmp_path: Path, format: str) -> None:
    (tmp_path / "again").mkdir()
    first = run(mug, out, format)
    time.sleep(2.1)  # the times in a zip are in steps of two seconds
    again = run(mug, tmp_path / "again", format)
    assert [path.name for path in first] == [path.name for path in again]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in again]


@pytest.mark.parametrize("format", ALL)
def test_no_file_tells_where_it_was_made(mug: bpy.types.Object, out: Path, format: str) -> None:
    for path in run(mug, out / ".." / out.name, format):
        content = path.read_bytes()
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                content += b"".join(archive.read(name) for name in archive.namelist())
        for told in (str(out.parent), ".espalier-", "mug.png", "espalier_"):
            assert told.encode() not in content, (path.name, told)


def test_modifiers_and_mirrored_objects_are_written_as_they_look(mug: bpy.types.Object, out: Path) -> None:
    mug.modifiers.new("Array", "ARRAY").count = 2
    mug.scale.x = -1
    bpy.context.view_layer.update()
    once = facts(mug)
    (path, *_) = run(mug, out, "obj", at_origin=False)
    found = facts(opened(path))
    assert found["faces"] == 2 * once["faces"]
    assert found["volume"] > 0
    np.testing.assert_allclose(found["volume"], -2 * once["volume"], rtol=1e-3)


def test_an_exporter_that_fails_leaves_nothing(
    mug: bpy.types.Object, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(mug, out, "obj")
    content, before = {path.name: path.read_bytes() for path in out.iterdir()}, state()

    def fails(path: str, _: object) -> set[str]:
        Path(path).write_text("half of it")
        raise RuntimeError("Error: no")

    def cut_off(path: str, options: Any) -> set[str]:
        done = whole(path, options)
        text = Path(path).read_text()
        Path(path).write_text(text[: text.rindex("\nf ") + 1])  # a full disk
        return done

    whole = export._obj
    for writer, error in ((fails, RuntimeError), (cut_off, CutOff), (lambda path, _: {"CANCELLED"}, RuntimeError)):
        with monkeypatch.context() as patch:
            patch.setattr(export, "_WRITERS", {"obj": writer})
            with pytest.raises(error):
                run(mug, out, "obj", replace=True)
        assert {path.name: path.read_bytes() for path in out.iterdir()} == content
        assert state() == before


def test_an_object_without_faces_is_refused(mug: bpy.types.Object, out: Path) -> None:
    for format in ALL:
        with pytest.raises(ValueError, match="other has no faces"):
            run(bpy.data.objects["other"], out, format)
    assert list(out.iterdir()) == []


# --- glTF ------------------------------------------------------------------------------------------------------------


@NEEDS_GLTF
def test_a_gltf_export_leaves_a_mesh_that_is_not_valid(mug: bpy.types.Object, out: Path) -> None:
    """Blender's exporter validates the mesh that it is given, which takes the second of two equal faces away."""
    mesh = mug.data
    corners = np.array([list(polygon.vertices) for polygon in mesh.polygons])
    double = mesh_import.create_mesh("double", points(mug).astype(np.float32), np.concatenate([corners, corners[:1]]))
    double.materials.append(mesh.materials[0])
    mug.data = double
    before = state()
    (path,) = run(mug, out, "glb")
    assert state() == before
    assert len(mug.data.polygons) == len(corners) + 1
    assert len(opened(path).data.polygons) == len(corners)


@NEEDS_GLTF
def test_a_gltf_has_tangents_and_occlusion(mug: bpy.types.Object, out: Path) -> None:
    (path,) = run(mug, out, "glb")
    content = path.read_bytes()
    assert b'"TANGENT"' in content
    assert b'"occlusionTexture"' in content
    assert content.count(b'"mimeType":"image/png"') == 3


@NEEDS_GLTF
def test_a_gltf_can_be_compressed(mug: bpy.types.Object, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (plain,) = run(mug, out, "glb")
    whole = export._WRITERS["glb"]
    with monkeypatch.context() as patched:  # as where the library is missing: the exporter writes on without it
        patched.setitem(export._WRITERS, "glb", lambda path, _: whole(path, {}))
        with pytest.raises(RuntimeError, match="without Draco"):
            run(mug, out, "glb", draco=True)
    assert list(out.iterdir()) == [plain]
    try:
        (small,) = run(mug, out, "glb", draco=True)
    except RuntimeError:
        pytest.skip("this Blender was built without Draco")
    assert small.stat().st_size < plain.stat().st_size
    expected = facts(opened(plain))
    found = facts(opened(small))
    assert found["faces"] == expected["faces"]
    np.testing.assert_allclose(found["bounds"], expected["bounds"], atol=1e-3)
    np.testing.assert_allclose(found["area"], expected["area"], rtol=0.01)


# --- programs --------------------------------------------------------------------------------------------------------


def test_unreal_gets_centimetres_and_green_down(mug: bpy.types.Object, out: Path) -> None:
    normals = bpy.data.images["mug normal"]
    before = pixels(normals)
    before[0] = (128, 200, 255)
    values = np.ones((len(before), 4), np.float32)
    values[:, :3] = before / 255
    normals.pixels.foreach_set(values.ravel())
    bounds = facts(mug)["bounds"] - PLACE
    files = run(mug, out, "fbx", target="unreal")
    assert [path.name for path in files] == ["mug.fbx", "mug_BC.png", "mug_N.png", "mug_ORM.png"]
    assert numbers_of(files[0], b"UnitScaleFactor") == [1.0]  # the unit is a centimetre: Unreal's
    written = bpy.data.images.load(str(files[2]))
    written.colorspace_settings.name = "Non-Color"
    np.testing.assert_array_equal(pixels(written), before * [1, -1, 1] + [0, 255, 0])
    np.testing.assert_allclose(facts(opened(files[0]))["bounds"], bounds, atol=2e-5)


def test_unity_gets_an_object_without_scale_and_rotation(mug: bpy.types.Object, out: Path) -> None:
    bounds = facts(mug)["bounds"] - PLACE
    files = run(mug, out, "fbx", target="unity")
    assert [path.name for path in files][1:] == ["mug_BaseMap.png", "mug_NormalMap.png", "mug_OcclusionMap.png"]
    assert numbers_of(files[0], b"UnitScaleFactor") == [100.0]
    assert numbers_of(files[0], b"Lcl Scaling") == pytest.approx([1, 1, 1])
    assert numbers_of(files[0], b"Lcl Rotation") == pytest.approx([0, 0, 0], abs=1e-4)
    np.testing.assert_allclose(facts(opened(files[0]))["bounds"], bounds, atol=2e-5)


def numbers_of(path: Path, name: bytes) -> list[float]:
    """The numbers of a property in a binary FBX; those of the last object that has it."""
    content = path.read_bytes()
    at = content.rindex(struct.pack("<cI", b"S", len(name)) + name)
    while content[at : at + 1] == b"S":  # its name, its types and its flags
        at += 5 + struct.unpack_from("<I", content, at + 1)[0]
    found: list[float] = []
    while content[at : at + 1] == b"D":
        found += struct.unpack_from("<d", content, at + 1)
        at += 9
    return found


@NEEDS_GLTF
def test_textures_are_as_large_as_a_program_takes(
    mug: bpy.types.Object, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert TARGETS["threejs"].most_pixels == 4096
    before = state()
    monkeypatch.setitem(export.TARGETS, "threejs", dataclasses.replace(TARGETS["threejs"], most_pixels=100))
    (path,) = run(mug, out, "glb", target="threejs")
    assert state() == before
    assert max(base_color(opened(path)).size) == 100


# --- printing --------------------------------------------------------------------------------------------------------


def test_prints_are_in_millimetres(mug: bpy.types.Object, out: Path) -> None:
    shape = np.ptp(facts(mug)["bounds"], axis=0)
    (path,) = run(mug, out, "stl", print_size=80.0)
    (count,) = struct.unpack_from("<I", path.read_bytes(), 80)
    assert count == 2304
    found = facts(opened(path))
    np.testing.assert_allclose(np.ptp(found["bounds"], axis=0), 80 * shape / shape.max(), rtol=1e-4)
    assert found["volume"] > 0


def test_walls_are_as_thick_as_they_are() -> None:
    corners = np.array([[x, y, z] for x in (0, 40) for y in (0, 40) for z in (0, 0.5)], np.float32)
    sides = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    faces = np.array([each for a, b, c, d in sides for each in ((a, b, c), (a, c, d))], np.int32)
    thickness = print_check.wall_thickness(corners, faces, 40)
    assert np.isclose(thickness, 0.5, atol=1e-3).mean() > 0.95
    found = print_check.checked(corners, faces, 40)
    assert found.closed
    assert [values["wall"] for _, values in found.said()] == ["1"]
    assert print_check.checked(corners, faces[1:], 40).open_edges == 3


def test_what_a_printer_cannot_do_is_said(mug: bpy.types.Object, out: Path) -> None:
    large = export.export(bpy.context, mug, out, export.Wanted("3mf"))
    assert large.notes == ()
    small = export.export(bpy.context, mug, out, export.Wanted("3mf", print_size=3.0))
    assert [note.split(",")[0] for note in small.notes] == ["Printed 3 mm large"]
    keep = [list(polygon.vertices) for polygon in mug.data.polygons][1:]
    mug.data = mesh_import.create_mesh("open", points(mug).astype(np.float32), np.array(keep))
    (note,) = export.export(bpy.context, mug, out, export.Wanted("3mf")).notes
    assert note.startswith("At 3 edges the mesh is not closed")


# --- readers that only read ------------------------------------------------------------------------------------------


@NEEDS_PIP
def test_lib3mf_reads_the_print(mug: bpy.types.Object, out: Path) -> None:
    import lib3mf

    expected = facts(mug)
    (path,) = run(mug, out, "3mf", print_size=80.0)
    model = lib3mf.get_wrapper().CreateModel()
    reader = model.QueryReader("3mf")
    reader.SetStrictModeActive(True)
    reader.ReadFromFile(str(path))
    objects = model.GetMeshObjects()
    assert objects.MoveNext()
    target = objects.GetCurrentMeshObject()
    assert target.IsManifoldAndOriented()
    assert target.GetName() == "mug"
    assert (target.GetVertexCount(), target.GetTriangleCount()) == (1152, expected["faces"])
    textures = model.GetTexture2Ds()
    assert textures.MoveNext()
    assert bytes(textures.GetCurrentTexture2D().GetAttachment().WriteToBuffer()) == bytes(
        bpy.data.images["mug"].packed_file.data
    )


@NEEDS_PIP
@pytest.mark.parametrize("format", ["obj", "stl"])
def test_trimesh_reads_it(mug: bpy.types.Object, out: Path, format: str) -> None:
    import trimesh

    expected, texture = facts(mug), bytes(bpy.data.images["mug"].packed_file.data)
    (path, *_) = run(mug, out, format, print_size=100.0)
    mesh: Any = trimesh.load_mesh(path)
    assert len(mesh.faces) == expected["faces"]
    factor = mesh.extents.max() / np.ptp(expected["bounds"], axis=0).max()
    np.testing.assert_allclose(mesh.area, expected["area"] * factor**2, rtol=1e-3)
    np.testing.assert_allclose(mesh.volume, expected["volume"] * factor**3, rtol=1e-3)
    if format == "stl":
        assert mesh.is_watertight
        return
    picture = io.BytesIO()
    from PIL import Image

    np.testing.assert_array_equal(
        np.asarray(mesh.visual.material.image.convert("RGB")),
        np.asarray(Image.open(io.BytesIO(texture)).convert("RGB")),
    )
    assert picture is not None


@NEEDS_PIP
@NEEDS_USD
@pytest.mark.parametrize("format", ["usd", "usdz"])
def test_usd_itself_reads_it(mug: bpy.types.Object, out: Path, usd: Any, format: str) -> None:
    expected, texture = facts(mug), bytes(bpy.data.images["mug"].packed_file.data)
    (path, *_) = run(mug, out, format, at_origin=False)
    stage = usd.Usd.Stage.Open(str(path))
    assert usd.UsdGeom.GetStageMetersPerUnit(stage) == 1.0
    assert usd.UsdGeom.GetStageUpAxis(stage) == ("Y" if format == "usdz" else "Z")
    (mesh,) = (usd.UsdGeom.Mesh(prim) for prim in stage.Traverse() if prim.IsA(usd.UsdGeom.Mesh))
    assert len(mesh.GetPointsAttr().Get()) == 1152
    assert len(mesh.GetFaceVertexCountsAttr().Get()) == expected["faces"]
    uvs = usd.UsdGeom.PrimvarsAPI(mesh).GetPrimvar("st").ComputeFlattened()
    np.testing.assert_allclose(np.sort(np.array(uvs).sum(axis=1)), expected["uvs"], atol=1e-5)
    box = usd.UsdGeom.BBoxCache(usd.Usd.TimeCode.Default(), ["default", "render"]).ComputeWorldBound(mesh.GetPrim())
    found = np.array([list(box.ComputeAlignedRange().GetMin()), list(box.ComputeAlignedRange().GetMax())])
    if format == "usdz":  # y is up there
        found = np.sort(found[:, [0, 2, 1]] * [1, -1, 1], axis=0)
    np.testing.assert_allclose(found, expected["bounds"], atol=1e-4)
    files = [prim.GetAttribute("inputs:file").Get() for prim in stage.Traverse() if prim.GetAttribute("inputs:file")]
    contents = [
        bytes(usd.Ar.GetResolver().OpenAsset(usd.Ar.ResolvedPath(each.resolvedPath)).GetBuffer()) for each in files
    ]
    assert texture in contents
    assert len(contents) == 2
    checker = usd.UsdUtils.ComplianceChecker(arkit=format == "usdz")
    checker.CheckCompliance(str(path))
    assert checker.GetErrors() + checker.GetFailedChecks() == []


@pytest.fixture
def usd() -> Iterator[Any]:
    """Pixar's own library, which pip's bpy brings for scripts: it shares no code with Blender's importer."""
    folder = os.path.join(bpy.utils.system_resource("PYTHON"), "lib", "python3.11", "site-packages")
    sys.path.append(folder)
    try:
        import pxr
        from pxr import Ar, Usd, UsdGeom, UsdUtils  # noqa: F401

        yield pxr
    finally:
        sys.path.remove(folder)
