"""Formats of a batch: the backend's are copied, Blender's are exported, and each finds its textures."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bpy
import pytest
from espalier.backend.formats import FORMATS, Offer, offered
from espalier.backend.whole import is_whole
from espalier.blender_addon import batch
from espalier.blender_addon.jobs.queue import Job, JobQueue
from espalier.blender_addon.scene import export

from tests.blender_addon.batches import Launcher, report, run, statuses
from tests.blender_addon.batches import folder as folder
from tests.blender_addon.batches import launch as launch
from tests.blender_addon.scene.test_export import base_color, opened

NEEDS_USD = pytest.mark.skipif(bool(export.obstacle("usd")), reason="this Blender was built without USD")
IMAGES = {"texture": ".texture.png", "normal_map": ".normal_map.png"}


@NEEDS_USD
def test_every_format_is_written_once_and_skipped_then(
    folder: Callable[..., Path], launch: Launcher, tmp_path: Path
) -> None:
    names, out, images = offered(Offer.BATCH), tmp_path / "out", folder("mug", "lamp")
    assert run(launch, out, images, "--format", ",".join(names), "--ambient-occlusion") == 0
    asset = report(out)["mug"]
    expected = {FORMATS[name].ending for name in names} | set(IMAGES.values()) | {".occlusion.png", ".mtl"}
    assert set(asset["files"].values()) == {f"mug{ending}" for ending in expected}
    assert {path.name for path in out.iterdir() if path.name.startswith("mug")} == set(asset["files"].values())
    assert all(is_whole(out / file) for file in asset["files"].values())
    before = {path.name: path.read_bytes() for path in out.iterdir() if "report" not in path.name}
    assert run(launch, out, images, "--format", ",".join(names), "--ambient-occlusion") == 0
    assert statuses(out) == {"mug": "skipped", "lamp": "skipped"}
    assert before == {path.name: path.read_bytes() for path in out.iterdir() if "report" not in path.name}
    (out / "mug.texture.png").unlink()
    assert run(launch, out, images, "--format", ",".join(names), "--ambient-occlusion") == 0
    assert statuses(out) == {"mug": "done", "lamp": "skipped"}


@pytest.mark.parametrize("format", [name for name in ("fbx", "usd", "usdz") if not export.obstacle(name)])
def test_what_blender_exports_finds_its_textures(
    folder: Callable[..., Path], launch: Launcher, tmp_path: Path, format: str
) -> None:
    out = tmp_path / "out"
    assert run(launch, out, folder("mug"), "--format", format) == 0
    assert set(report(out)["mug"]["files"]) == {format} | ({*IMAGES} if FORMATS[format].textures else set())
    back = opened(out / f"mug{FORMATS[format].ending}")
    assert back.name == "mug"
    assert len(back.data.polygons) == 2304
    image = base_color(back)
    assert min(image.size) > 0
    if FORMATS[format].textures:
        assert Path(bpy.path.abspath(image.filepath)).resolve() == out / "mug.texture.png"
    assert not list(out.glob(".espalier-*"))
    content = (out / f"mug{FORMATS[format].ending}").read_bytes()
    assert str(tmp_path).encode() not in content


def test_a_target_chooses_format_and_names(folder: Callable[..., Path], launch: Launcher, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(launch, out, folder("mug"), "--target", "unreal", "--ambient-occlusion") == 0
    assert set(report(out)["mug"]["files"].values()) == {"mug.fbx", "mug_BC.png", "mug_N.png", "mug_ORM.png"}
    assert run(launch, tmp_path / "print", tmp_path / "images", "--target", "print") == 0
    assert set(report(tmp_path / "print")["mug"]["files"].values()) == {"mug.3mf"}


def test_levels_and_hulls_are_files_or_in_the_file(
    folder: Callable[..., Path], launch: Launcher, tmp_path: Path
) -> None:
    images, more = folder("mug"), ("--lods", "--collision", "--seed", "3")
    assert run(launch, tmp_path / "unreal", images, "--target", "unreal", *more) == 0
    assert set(report(tmp_path / "unreal")["mug"]["files"].values()) == {"mug.fbx", "mug_BC.png", "mug_N.png"}
    assert b"LodGroup" in (tmp_path / "unreal" / "mug.fbx").read_bytes()
    assert b"UCX_mug_LOD0_04" in (tmp_path / "unreal" / "mug.fbx").read_bytes()
    out = tmp_path / "any"
    assert run(launch, out, images, "--format", "glb,obj,fbx", *more) == 0
    files = set(report(out)["mug"]["files"].values())
    levels = {f"mug_LOD{number}{ending}" for number in (1, 2, 3) for ending in (".obj", ".fbx")}
    assert files == {"mug.glb", "mug.obj", "mug.mtl", "mug.fbx", *(f"mug{ending}" for ending in IMAGES.values())} | {
        *levels,
        "mug.hulls.glb",
        "mug.hulls.obj",
        "mug.hulls.fbx",
    }
    assert {path.name for path in out.iterdir() if path.name.startswith("mug")} == files
    assert run(launch, out, images, "--format", "glb,obj,fbx", *more) == 0
    assert statuses(out) == {"mug": "skipped"}
    assert run(launch, tmp_path / "godot", images, "--target", "godot", *more) == 0
    assert set(report(tmp_path / "godot")["mug"]["files"].values()) == {"mug.glb"}
    settings = json.loads((tmp_path / "godot" / "report.json").read_text())["settings"]
    assert settings["collision_nodes"]


def test_tiles_are_what_blender_writes(folder: Callable[..., Path], launch: Launcher, tmp_path: Path) -> None:
    images, out = folder("mug"), tmp_path / "out"
    assert run(launch, out, images, "--format", "glb,obj,fbx", "--udim") == 0
    kinds, tiles = ("texture", "normal_map"), (1001, 1002, 1011, 1012)
    files = set(report(out)["mug"]["files"].values())
    assert files == {"mug.glb", "mug.obj", "mug.mtl", "mug.fbx", *(f"mug.{kind}.png" for kind in kinds)} | {
        f"mug.{kind}.{tile}.png" for kind in kinds for tile in tiles
    }
    assert {path.name for path in out.iterdir() if path.name.startswith("mug")} == files
    assert b"mug.texture.<UDIM>.png" in (out / "mug.fbx").read_bytes()
    assert run(launch, out, images, "--format", "glb,obj,fbx", "--udim") == 0
    assert statuses(out) == {"mug": "skipped"}


def test_an_asset_without_hulls_is_an_asset(
    folder: Callable[..., Path], launch: Launcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If none could be made, as its note says, no file is missed, and the next run tries again."""
    wait_for = batch.Line.wait_for

    def without(line: batch.Line, *more: Any) -> Job:
        job = wait_for(line, *more)
        assert job.result is not None
        files = {kind: file for kind, file in job.result.files.items() if not kind.endswith("_hulls")}
        job.result = dataclasses.replace(job.result, files=files)
        return job

    monkeypatch.setattr(batch.Line, "wait_for", without)
    out, images = tmp_path / "out", folder("mug")
    for _ in range(2):
        assert run(launch, out, images, "--format", "glb", "--collision") == 0
        assert statuses(out) == {"mug": "done"}
        assert set(report(out)["mug"]["files"].values()) == {"mug.glb"}


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--format", "obj,gaussians"], "choose from glb, blend, obj, fbx, usd, usdz, stl, 3mf, ply"),
        (["--target", "unity", "--format", "usdz"], "--target unity --format usdz: choose from glb, blend, fbx"),
        (["--target", "threejs", "--texture-size", "8192"], "--texture-size 8192: three.js takes at most 4096"),
        (
            ["--target", "threejs", "--udim", "--texture-size", "8192"],
            "--texture-size 8192: three.js takes at most 4096",
        ),
        (["--udim", "--texture-size", "17"], "Texture size must be even for UDIM tiles, not 17"),
        (["--target", "gimp"], "invalid choice: 'gimp'"),
    ],
)
def test_what_does_not_fit_is_refused_at_once(
    folder: Callable[..., Path],
    launch: Launcher,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    why: str,
) -> None:
    with pytest.raises(SystemExit) as ended:
        run(launch, tmp_path / "out", folder("mug"), *arguments)
    assert ended.value.code == 2
    assert why in capsys.readouterr().err
    assert launch.count == 0


def test_a_blender_without_a_format_says_so(
    folder: Callable[..., Path],
    launch: Launcher,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(export._OPERATORS, "usd", lambda: bpy.ops.wm.of_no_blender)
    with pytest.raises(SystemExit):
        run(launch, tmp_path / "out", folder("mug"), "--format", "usd")
    assert "--format usd: This Blender cannot write USD" in capsys.readouterr().err


def test_an_export_that_fails_leaves_the_earlier_asset(
    folder: Callable[..., Path], launch: Launcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, images = tmp_path / "out", folder("mug")
    assert run(launch, out, images, "--format", "glb,fbx") == 0
    before = {path.name: path.read_bytes() for path in out.iterdir() if path.name.startswith("mug")}

    def cut_off(path: str, options: object) -> set[str]:
        Path(path).write_bytes(before["mug.fbx"][:-100])  # a full disk of which Blender says nothing
        return {"FINISHED"}

    monkeypatch.setattr(export, "_WRITERS", {"fbx": cut_off})
    assert run(launch, out, images, "--format", "glb,fbx", "--seed", "3") == 1
    assert report(out)["mug"]["error"]["code"] == "disk_full"
    assert before == {path.name: path.read_bytes() for path in out.iterdir() if path.name.startswith("mug")}
    assert not list(out.glob(".espalier-*"))


def test_what_a_killed_export_left_is_removed(folder: Callable[..., Path], launch: Launcher, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / ".espalier-0123456789abcdef.staged").mkdir(parents=True)
    (out / ".espalier-0123456789abcdef.staged" / "mug.fbx").write_text("half of it")
    assert run(launch, out, folder("mug"), "--format", "glb") == 0
    assert not list(out.glob(".espalier-*"))


def test_somebody_elses_texture_gives_the_asset_a_number(
    folder: Callable[..., Path], launch: Launcher, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mug.texture.png").write_text("somebody else's")
    assert run(launch, out, folder("mug"), "--format", "obj") == 0
    assert (out / "mug.texture.png").read_text() == "somebody else's"
    assert set(report(out)) == {"mug-2"}
    assert (out / "mug-2.texture.png").is_file()


def test_the_backend_is_asked_for_its_own_formats_alone(
    folder: Callable[..., Path], tmp_path: Path, launch: Launcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    submit = JobQueue.submit

    def listen(queue: JobQueue, job: Job) -> None:
        asked.append(job.request)
        submit(queue, job)

    monkeypatch.setattr(JobQueue, "submit", listen)
    line = ["--format", "stl,glb,fbx,3mf", "--print-size", "42", "--draco"]
    assert run(launch, tmp_path / "out", folder("mug"), *line) == 0
    (request,) = asked
    assert (request.formats, request.print_size, request.draco) == (("stl", "3mf"), 42.0, True)
    settings = json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))["settings"]
    assert settings["print_size"] == 42.0


@NEEDS_USD
def test_the_maps_of_a_model_that_makes_materials_are_in_every_format(
    folder: Callable[..., Path], launch: Launcher, tmp_path: Path
) -> None:
    names, out, images = offered(Offer.BATCH), tmp_path / "out", folder("materials_mug")
    assert run(launch, out, images, "--format", ",".join(names)) == 0
    files = set(report(out)["materials_mug"]["files"].values())
    assert {"materials_mug.occlusion.png", "materials_mug.metallic.png"} <= files
    assert files == {path.name for path in out.iterdir() if path.name.startswith("materials_mug")}
    assert run(launch, out, images, "--format", ",".join(names)) == 0
    assert statuses(out) == {"materials_mug": "skipped"}
    (out / "materials_mug.occlusion.png").unlink()  # no option has asked for it
    assert run(launch, out, images, "--format", ",".join(names)) == 0
    assert statuses(out) == {"materials_mug": "done"}


def test_a_targets_textures_have_the_map_too(folder: Callable[..., Path], launch: Launcher, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(launch, out, folder("materials_mug"), "--target", "unreal", "--udim") == 0
    found = {path.name for path in out.iterdir() if path.name.startswith("materials_mug")}
    assert {f"materials_mug_ORM.{tile}.png" for tile in (1001, 1002, 1011, 1012)} < found
