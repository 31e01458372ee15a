"""scripts/batch.py: what it leaves behind, what it does again, and what it returns."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bpy
import pytest
from espalier.backend import files, protocol
from espalier.blender_addon import batch
from espalier.blender_addon.jobs.file_lock import FileLock
from espalier.blender_addon.jobs.queue import Job, JobQueue, State
from espalier.blender_addon.scene import render_preview

from tests.blender_addon.batches import Image, Launcher, folder, launch, list_models, report, run, statuses

__all__ = ["folder", "launch"]  # fixtures

ROOT = Path(__file__).parents[2]


def test_an_image_becomes_its_files(
    folder: Callable[..., Path], launch: Launcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "PREVIEW_SIZE", 48)
    monkeypatch.setattr(render_preview, "SAMPLES", 1)
    out = tmp_path / "out"
    assert run(launch, out, folder("mug"), "--render") == 0
    assert {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()} == {
        "mug.glb",
        "mug.blend",
        "previews/mug.png",
        "report.json",
        "backend.log",
        ".batch.lock",
    }
    with Image.open(out / "previews" / "mug.png") as preview:
        assert preview.size == (48, 48)
        assert len(preview.convert("RGB").getcolors(48 * 48) or []) > 50, "an empty picture"
    asset = report(out)["mug"]
    assert asset["status"] == "done"
    assert asset["counts"]["faces"] > 0
    assert asset["seconds"]["total"] >= asset["seconds"]["render"] > 0


def test_the_blend_opens_with_the_object_its_material_and_a_packed_image(
    folder: Callable[..., Path], launch: Launcher, tmp_path: Path
) -> None:
    assert run(launch, tmp_path / "out", folder("mug"), "--seed", 7, "--format", "blend") == 0
    assert not (tmp_path / "out" / "mug.glb").exists()
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "out" / "mug.blend"))
    (made,) = bpy.context.scene.objects
    assert (made.name, made.type) == ("mug", "MESH")
    assert made.select_get()
    assert bpy.context.view_layer.objects.active == made
    images = [node.image for node in made.active_material.node_tree.nodes if node.type == "TEX_IMAGE"]
    assert sorted(image.colorspace_settings.name for image in images) == ["Non-Color", "sRGB"]
    assert all(image.packed_file is not None for image in images)
    assert made["espalier_seed"] == 7
    spaces = [a.spaces.active for screen in bpy.data.screens for a in screen.areas if a.type == "VIEW_3D"]
    assert {space.shading.color_type for space in spaces} == {"TEXTURE"}


def test_the_raw_mesh_is_kept_on_request(folder: Callable[..., Path], launch: Launcher, tmp_path: Path) -> None:
    images = folder("mug")
    assert run(launch, tmp_path / "out", images, "--format", "glb", "--keep-raw") == 0
    assert (tmp_path / "out" / "mug.raw.ply").read_bytes().startswith(b"ply\n")
    assert run(launch, tmp_path / "out", images, "--format", "glb", "--keep-raw") == 0
    (asset,) = json.loads((tmp_path / "out" / "report.json").read_text())["assets"]
    assert asset["status"] == "skipped"


def test_the_glb_is_the_backends_own(folder: Callable[..., Path], launch: Launcher, tmp_path: Path) -> None:
    assert run(launch, tmp_path / "out", folder("mug"), "--format", "glb") == 0
    content = (tmp_path / "out" / "mug.glb").read_bytes()
    assert content[20:] == b'{"asset":{"version":"2.0"}} '


def test_a_bad_image_does_not_stop_the_others(folder: Callable[..., Path], launch: Launcher, tmp_path: Path) -> None:
    images = folder("chair", "damaged_lamp", "error_mug", "table")
    assert run(launch, tmp_path / "out", images) == 1
    expected = {"chair": "done", "damaged_lamp": "failed", "error_mug": "failed", "table": "done"}
    assert statuses(tmp_path / "out") == expected
    errors = {name: asset["error"] for name, asset in report(tmp_path / "out").items() if asset["error"]}
    assert errors["error_mug"]["code"] == "image_unreadable"
    assert errors["error_mug"]["hint"]
    assert "vertex that does not exist" in errors["damaged_lamp"]["message"]
    assert not (tmp_path / "out" / "error_mug.blend").exists()
    assert launch.count == 1


def test_a_folder_gives_every_image_that_is_read_and_what_is_passed_over_is_named(
    folder: Callable[..., Path], launch: Launcher, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = folder("mug")
    kinds = ["lamp.gif", "car.jfif", "fish.avif", "cup.HEIC", "chair.webp", "boat.tiff"]
    for name in kinds:
        (images / name).write_bytes((images / "mug.png").read_bytes())
    (images / "._mug.png").write_bytes(b"\0\5\x16\7" + bytes(100))  # what a Mac writes beside it
    (images / ".hidden.png").touch()
    (images / "notes.txt").touch()
    (images / "layers.psd").touch()
    (images / "d.png").mkdir()
    assert run(launch, tmp_path / "out", images, "--format", "glb") == 0
    assert set(statuses(tmp_path / "out")) == {Path(name).stem for name in [*kinds, "mug.png"]}
    assert "passed over in" in (said := capsys.readouterr().err)
    assert said.strip().endswith(": d.png, layers.psd, notes.txt")


def test_an_image_that_may_not_be_read_fails_alone(
    folder: Callable[..., Path], launch: Launcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = folder("error_mug", "lamp")

    def refuse(file: Path) -> str:
        raise PermissionError(13, "Permission denied", str(file))

    monkeypatch.setattr(files, "sha256", refuse)  # as root, everything may be read
    assert run(launch, tmp_path / "out", images, "--format", "glb") == 1
    assert statuses(tmp_path / "out") == {"error_mug": "failed", "lamp": "done"}


def test_a_folder_that_may_not_be_written_is_named(
    folder: Callable[..., Path],
    launch: Launcher,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refuse(lock: FileLock) -> None:
        raise PermissionError(13, "Permission denied", str(lock.path))

    monkeypatch.setattr(batch.FileLock, "acquire", refuse)
    assert run(launch, tmp_path / "out", folder("mug")) == 1
    assert "out cannot be written to: Permission denied. Choose another --out." in capsys.readouterr().err


def test_what_is_done_is_skipped_and_what_failed_is_tried_again(
    folder: Callable[..., Path], launch: Launcher, tmp_path: Path
) -> None:
    images, out = folder("chair", "error_mug"), tmp_path / "out"
    assert run(launch, out, images) == 1
    before = (out / "chair.blend").stat().st_mtime_ns
    assert run(launch, out, images) == 1
    assert statuses(out) == {"chair": "skipped", "error_mug": "failed"}
    assert (out / "chair.blend").stat().st_mtime_ns == before
    assert launch.count == 2
    assert run(launch, out, images / "chair.png") == 0
    assert launch.count == 2, "a backend was started though nothing was to do"
    assert statuses(out) == {"chair": "skipped", "error_mug": "failed"}, "the other image was forgotten"


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


@pytest.mark.parametrize(
    ("change", "arguments"),
    [
        (lambda images, out: Image.new("RGB", (9, 9)).save(images / "mug.png"), ()),
        (lambda images, out: (out / "mug.glb").unlink(), ()),
        (lambda images, out: cut_off(out / "mug.glb"), ()),
        (lambda images, out: cut_off(out / "mug.blend"), ()),
        (lambda images, out: cut_off(out / "report.json"), ()),
        (lambda images, out: None, ("--seed", "1")),
        (lambda images, out: None, ("--steps", "2")),
    ],
    ids=["image", "no glb", "half a glb", "half a blend", "half a report", "seed", "steps"],
)
def test_what_is_not_the_same_is_made_again(
    folder: Callable[..., Path],
    launch: Launcher,
    tmp_path: Path,
    change: Callable[[Path, Path], None],
    arguments: tuple[str, ...],
) -> None:
    images, out = folder("mug"), tmp_path / "out"
    assert run(launch, out, images) == 0
    change(images, out)
    assert run(launch, out, images, *arguments) == 0
    assert statuses(out) == {"mug": "done"}


def test_a_blend_that_was_edited_is_kept(folder: Callable[..., Path], launch: Launcher, tmp_path: Path) -> None:
    images, out = folder("mug"), tmp_path / "out"
    assert run(launch, out, images) == 0
    for compressed in (True, False):
        bpy.ops.wm.open_mainfile(filepath=str(out / "mug.blend"))
        bpy.context.object.location.x += 1
        bpy.ops.wm.save_as_mainfile(filepath=str(out / "mug.blend"), compress=compressed)
        assert run(launch, out, images) == 0
        assert statuses(out) == {"mug": "skipped"}


def test_a_dead_backend_costs_one_image(folder: Callable[..., Path], launch: Launcher, tmp_path: Path) -> None:
    assert run(launch, tmp_path / "out", folder("chair", "crash_mug", "table"), "--format", "glb") == 1
    assert statuses(tmp_path / "out") == {"chair": "done", "crash_mug": "failed", "table": "done"}
    assert report(tmp_path / "out")["crash_mug"]["error"]["code"] == "backend_ended"
    assert launch.count == 2


def test_a_backend_that_keeps_dying_ends_the_batch(
    folder: Callable[..., Path], launch: Launcher, tmp_path: Path
) -> None:
    assert run(launch, tmp_path / "out", folder("crash_a", "crash_b", "lamp"), "--format", "glb") == 1
    codes = [asset["error"]["code"] for asset in report(tmp_path / "out").values()]
    assert codes == ["backend_ended", "backend_ended", "backend_lost"]
    assert launch.count == 2


def test_the_next_is_made_while_one_is_written(
    folder: Callable[..., Path], launch: Launcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is there already, and what fails, is no obstacle. The report keeps the order."""
    images, out = folder("a", "b", "c", "error_d", "e"), tmp_path / "out"
    assert run(launch, out, images / "b.png", "--format", "glb") == 0
    queues: list[JobQueue] = []

    class Queue(JobQueue):
        def __init__(self, *more: Any) -> None:
            super().__init__(*more)
            queues.append(self)

    monkeypatch.setattr(batch, "JobQueue", Queue)
    seen: dict[str, list[str]] = {}
    write = batch.write_files

    def watch(asset: batch.Asset, *more: Any) -> None:
        seen[asset.name] = [job.name for job in queues[0].jobs if job.state is State.RUNNING]
        write(asset, *more)

    monkeypatch.setattr(batch, "write_files", watch)
    assert run(launch, out, images, "--format", "glb") == 1
    assert seen == {"a": ["c"], "c": ["e"], "e": ["error_d"]}
    assert statuses(out) == {"a": "done", "b": "skipped", "c": "done", "error_d": "failed", "e": "done"}
    assert launch.count == 2


def test_an_interrupted_batch_goes_on_where_it_was(
    folder: Callable[..., Path], launch: Launcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, out = folder("chair", "mug"), tmp_path / "out"
    make = batch.make

    def interrupted(asset: batch.Asset, *others: Any) -> None:
        if asset.name == "mug":
            raise KeyboardInterrupt
        make(asset, *others)

    monkeypatch.setattr(batch, "make", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(launch, out, images, "--format", "glb")
    assert statuses(out) == {"chair": "done", "mug": "pending"}
    monkeypatch.setattr(batch, "make", make)
    assert run(launch, out, images, "--format", "glb") == 0
    assert statuses(out) == {"chair": "skipped", "mug": "done"}


def test_two_batches_do_not_write_to_one_folder(
    folder: Callable[..., Path], launch: Launcher, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images, out = folder("mug"), tmp_path / "out"
    other = FileLock(out / batch.LOCK)
    other.acquire()
    assert run(launch, out, images) == 1
    assert "Another batch is writing to" in capsys.readouterr().err
    assert not (out / "report.json").exists()
    other.release()
    assert run(launch, out, images, "--format", "glb") == 0


def test_images_of_the_same_name_stay_apart(folder: Callable[..., Path], launch: Launcher, tmp_path: Path) -> None:
    images, more = folder("mug"), folder("MUG", where="more")
    assert run(launch, tmp_path / "out", images / "mug.png", more, "--format", "glb") == 0
    assert {path.name for path in (tmp_path / "out").glob("*.glb")} == {"mug.glb", "MUG-2.glb"}


def test_views_of_one_object_make_one_asset(folder: Callable[..., Path], launch: Launcher, tmp_path: Path) -> None:
    images, out = folder("mug_back", "mug_front", "lamp_front", "table"), tmp_path / "out"
    assert run(launch, out, images, "--format", "glb") == 0
    views = {name: [Path(image).stem for image in asset["images"]] for name, asset in report(out).items()}
    assert views == {"lamp_front": ["lamp_front"], "mug": ["mug_front", "mug_back"], "table": ["table"]}
    assert (out / "mug.glb").is_file()
    Image.new("RGB", (9, 9)).save(images / "mug_back.png")
    assert run(launch, out, images, "--format", "glb") == 0
    assert statuses(out) == {"lamp_front": "skipped", "mug": "done", "table": "skipped"}


def test_views_may_be_objects_of_their_own(folder: Callable[..., Path], launch: Launcher, tmp_path: Path) -> None:
    assert run(launch, tmp_path / "out", folder("mug_back", "mug_front"), "--format", "glb", "--no-views") == 0
    assert statuses(tmp_path / "out") == {"mug_back": "done", "mug_front": "done"}


def test_a_view_that_is_there_twice_is_another_object() -> None:
    images = [Path("a/mug_front.jpg"), Path("a/mug_front.png"), Path("a/MUG-Back.png"), Path("b/mug_back.png")]
    found = [(name, [path.as_posix() for path in views]) for name, views in batch.objects(images, views=True)]
    assert found == [
        ("mug_front", ["a/mug_front.jpg"]),
        ("mug_front", ["a/mug_front.png"]),
        ("MUG-Back", ["a/MUG-Back.png"]),
        ("mug_back", ["b/mug_back.png"]),
    ]


def test_the_progress_line_tells_the_time_left() -> None:
    job = Job(protocol.Generate("a", ("mug.png",), "out"), stage="latents", fraction=0.5)
    pace = batch.Pace(total=10, number=3, name="mug")
    assert pace.line(job) == "[3/10] mug: latents 50%"
    pace.made = [20.0, 40.0]
    assert pace.line(job) == "[3/10] mug: latents 50%, about 4 min left"
    pace.number = 10
    assert pace.line(job) == "[10/10] mug: latents 50%, about 15 s left"


def test_a_model_folder_may_be_relative_and_new_weights_make_new_assets(
    folder: Callable[..., Path], launch: Launcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, out = folder("mug"), tmp_path / "out"
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_bytes(b"old")
    monkeypatch.chdir(tmp_path)
    assert run(launch, out, images, "--model", "model", "--format", "glb") == 0
    settings = json.loads((out / "report.json").read_text("utf-8"))["settings"]
    assert settings["model"] == "../model"
    assert str(tmp_path) not in (out / "report.json").read_text("utf-8"), "it tells nobody's folders"
    assert run(launch, out, images, "--model", "model", "--format", "glb") == 0
    assert statuses(out) == {"mug": "skipped"}
    (tmp_path / "model" / "weights").write_bytes(b"newer")
    assert run(launch, out, images, "--model", "model", "--format", "glb") == 0
    assert statuses(out) == {"mug": "done"}


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["IMAGES"], "--out"),
        (["IMAGES", "--out", "out", "--format", "gif"], "choose from glb, blend"),
        (["EMPTY", "--out", "out"], "no images"),
        (["IMAGES", "--out", "IMAGES/mug.png"], "is a file"),
        (["IMAGES", "--out", "out", "--model", "gone"], "choose one of the models (mini, mini-mdt)"),
        (["IMAGES", "--out", "out", "--steps", "0"], "Steps must be a whole number from 1 to 1000"),
    ],
)
def test_wrong_usage_says_why(
    folder: Callable[..., Path],
    launch: Launcher,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
    arguments: list[str],
    why: str,
) -> None:
    folder("mug", where="IMAGES")
    folder(where="EMPTY")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        batch.main(arguments, launch, list_models)
    assert ended.value.code == 2
    assert why in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_script_itself_with_a_model(folder: Callable[..., Path], tmp_path: Path) -> None:
    """A process of its own, with the checkout's own backend and a tiny model."""
    from tests.fakes.tiny_model import write_tiny_model  # needs torch

    model, images = write_tiny_model(tmp_path / "tiny"), folder()
    (images / "broken.png").write_text("This is no image.")
    picture = Image.new("RGBA", (64, 64))
    picture.paste((200, 40, 40, 255), (16, 16, 48, 48))
    picture.save(images / "cube.png")
    script = [sys.executable, str(ROOT / "scripts" / "batch.py")]
    options = ["--out", str(tmp_path / "out"), "--model", str(model), "--texture-size", "64", "--faces", "500"]
    done = subprocess.run([*script, "--", str(images), *options], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (1, "")
    broken, cube, tally = done.stdout.splitlines()
    assert broken.startswith("[1/2] broken: failed: ")
    assert cube.startswith("[2/2] cube: done in ")
    assert tally.startswith("1 done, 0 skipped, 1 failed: ")
    assert report(tmp_path / "out")["broken"]["error"]["code"] == "image_unreadable"
    assert batch.is_whole(tmp_path / "out" / "cube.glb")
    assert batch.is_whole(tmp_path / "out" / "cube.blend")


@pytest.mark.parametrize(("arguments", "code"), [(["--"], 2), (["--help"], 0)])
def test_the_script_itself_without_work(arguments: list[str], code: int) -> None:
    script = [sys.executable, str(ROOT / "scripts" / "batch.py")]
    assert subprocess.run([*script, *arguments], capture_output=True, timeout=60).returncode == code
