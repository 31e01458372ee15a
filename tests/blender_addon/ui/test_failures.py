"""What the panel says of failures, and the buttons that mend them."""

from __future__ import annotations

import dataclasses
import errno
import re
from pathlib import Path
from typing import Any

import bpy
import pytest
from espalier.backend import protocol
from espalier.blender_addon import pump
from espalier.blender_addon.jobs.queue import Job
from espalier.blender_addon.request import cutouts, generate
from espalier.blender_addon.ui.texts import wrap

from tests.blender_addon.ui.drawing import draw, texts
from tests.fakes.fake_backend import paint, write_png


def test_panel_of_a_failure(job: Job) -> None:
    job.fail(protocol.Error("a", "image_unreadable", "mug.png is not an image. " * 4, "Choose a PNG or JPEG file."))
    drawn = draw()
    lines = [text for kind, text in drawn if kind == "label"]
    assert "mug.png is not an image. " * 4 in " ".join(lines) + " "
    assert max(len(line) for line in lines) < 45
    assert "espalier.preferences_show" not in texts(drawn)
    assert "Choose Another Image..." in texts(drawn)
    job.fail(protocol.Error("a", "backend_unavailable", "The backend is not installed.", "Choose a Python."))
    assert "espalier.preferences_show" in texts(draw())
    job.fail(
        protocol.Error(
            None, "backend_ended", "The backend was ended from outside (SIGKILL).", "The next job starts it anew."
        )
    )
    assert "Open Log" not in texts(draw())  # there is none to open
    pump.log_path().touch()
    for code in ("backend_ended", "internal", protocol.DEVICE_LOST):
        job.fail(protocol.Error("a", code, "It went wrong."))
        assert "Open Log" in texts(draw())
    job.fail(protocol.Error("a", "image_missing", "The image mug.png does not exist."))
    assert "Open Log" not in texts(draw())


@pytest.mark.parametrize(
    ("code", "button"),
    [
        ("backend_unavailable", "espalier.preferences_show"),
        ("model_missing", "espalier.preferences_show"),
        ("background_unclear", "Choose Another Image..."),
        ("out_of_memory", "Try Again with Less Memory"),
        ("structure_empty", "Try Another Seed"),
        ("disk_full", "Try Again"),
        ("folder_read_only", "Try Again"),
        ("image_missing", "Try Again"),
        ("image_missing", "Choose Another Image..."),
        ("image_changed", "Try Again"),
        ("backend_damaged", "espalier.preferences_show"),
    ],
)
def test_each_error_has_the_button_that_mends_it(job: Job, code: str, button: str) -> None:
    job.fail(protocol.Error("a", code, "It went wrong."))
    assert button in [text for _, text in draw()]


def test_try_again(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pump, "step", lambda: None)
    assert bpy.ops.espalier.retry(job="a") == {"CANCELLED"}  # it has not failed
    job.fail(protocol.Error("a", "out_of_memory", "There is not enough memory."))
    assert bpy.ops.espalier.retry(job="a", low_memory=True, new_seed=True) == {"FINISHED"}
    (again,) = pump.jobs.jobs
    assert again.target == job.target
    assert again.request.out == job.request.out
    assert again.request.low_memory
    assert again.id != job.id
    assert again.request.seed != job.request.seed


def three(job: Job) -> list[Job]:
    """Three jobs: two fail because the disk is full, each naming its own folder, one for another reason."""
    out = Path(job.request.out)
    jobs = [job]
    for name in ("b", "c"):
        (out.parent / name).mkdir()
        jobs.append(Job(dataclasses.replace(job.request, job=name, out=str(out.parent / name)), job.target))
    pump.jobs.jobs[1:] = jobs[1:]
    for one in jobs[:2]:
        one.fail(
            protocol.Error(one.id, "disk_full", f"The disk of the folder {one.request.out} is full.", "Free some.")
        )
    jobs[2].fail(protocol.Error("c", "structure_empty", "Nothing came of it."))
    return jobs


def test_jobs_that_failed_for_one_reason_have_one_message(job: Job) -> None:
    three(job)
    shown = texts(draw())
    assert "2 objects: mug" in shown
    assert shown.count("The disk of the folder") == 1
    assert shown.count("Try Again") == 1
    assert shown.count("Try Another Seed") == 1


def test_one_press_tries_all_of_them_again_and_leaves_the_others(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pump, "step", lambda: None)
    first, second, other = three(job)
    assert bpy.ops.espalier.retry(job="a", alike=True) == {"FINISHED"}
    assert pump.jobs.jobs[0] is other
    assert [again.request.out for again in pump.jobs.jobs[1:]] == [first.request.out, second.request.out]
    assert all(Path(again.request.out).is_dir() for again in pump.jobs.jobs)


def test_one_press_dismisses_all_of_them(job: Job) -> None:
    *_, other = three(job)
    assert bpy.ops.espalier.dismiss(job="a", alike=True) == {"FINISHED"}
    assert pump.jobs.jobs == [other]


def test_a_retry_reads_the_image_that_is_there_again(job: Job, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It was gone at the press, so that the job has only its path."""
    monkeypatch.setattr(pump, "step", lambda: None)
    image = Path(job.request.images[0])
    job.fail(protocol.Error("a", "image_missing", "The image mug.png does not exist."))
    image.write_bytes(b"an image")
    assert bpy.ops.espalier.retry(job="a") == {"FINISHED"}
    (again,) = pump.jobs.jobs
    assert again.writer is not None
    again.writer.join()
    assert Path(again.request.images[0]) != image
    assert Path(again.request.images[0]).read_bytes() == b"an image"


def test_a_sentence_without_a_job_is_shown_until_it_is_dismissed(registered: None) -> None:
    for _ in range(2):
        pump.give_notice("The history is full.")
    assert texts(draw()).count("The history is full.") == 1
    assert bpy.ops.espalier.dismiss_notice(index=0) == {"FINISHED"}
    assert "The history is full." not in texts(draw())


def test_a_folder_that_may_not_be_written_to_is_named_at_the_press(
    registered: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_png(tmp_path / "mug.png", 16, paint)
    bpy.ops.espalier.add_images("EXEC_DEFAULT", directory=str(tmp_path), files=[{"name": "mug.png"}])

    def refuse(self: Path, *arguments: Any, **more: Any) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(self))

    monkeypatch.setattr(generate, "obstacle", lambda context: "")
    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(RuntimeError, match="on a disk that can only be read") as caught:
        bpy.ops.espalier.generate()
    assert "Errno" not in str(caught.value)
    assert "Traceback" not in str(caught.value)
    assert pump.jobs.jobs == []


@pytest.mark.parametrize("folder", ["/home/artist/.config/blender/5.2/jobs", r"C:\Users\artist\AppData\Roaming\jobs"])
def test_a_path_is_broken_at_its_folders(folder: str) -> None:
    lines = wrap(f"The disk of the folder {folder} is full.", 24)
    assert max(map(len, lines)) <= 24
    assert re.split(r"[/\\\s]+", " ".join(lines)) == re.split(r"[/\\\s]+", f"The disk of the folder {folder} is full.")


def test_a_home_that_may_not_be_written_to_is_left_alone(
    registered: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Jobs then lie in the temporary folder, for this session only."""
    pump.unregister()
    monkeypatch.setattr(pump, "kept_folder", lambda: tmp_path / "kept")
    monkeypatch.setattr(pump.os, "access", lambda folder, how: folder != tmp_path / "kept")
    pump.register()
    assert "nothing can be kept for the next session" in capsys.readouterr().out
    assert pump.jobs.journal is not None
    assert pump.jobs.journal.root == Path(bpy.app.tempdir, "espalier", "jobs")


def test_a_cut_out_without_room_fails_in_words_and_can_be_tried_again(
    registered: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_png(tmp_path / "mug.png", 16, paint)
    bpy.ops.espalier.add_images("EXEC_DEFAULT", directory=str(tmp_path), files=[{"name": "mug.png"}])
    scene = bpy.context.scene

    def full(self: Path, *arguments: Any, **more: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(self))

    monkeypatch.setattr(cutouts.installation, "is_installed", lambda context: True)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", full)
        cutouts.ask(scene)
    (error,) = cutouts.errors(scene)
    assert error.message.startswith(f"The disk of the folder {Path(bpy.app.tempdir)}")
    assert error.hint == pump.FOR_THE_TEMPORARY_FOLDER
    assert pump.jobs.cutouts.pending == []
    shown = texts(draw())
    assert error.message.split()[0] in shown
    assert "espalier.retry_cutouts" in shown
    assert "espalier.temporary_folder" in shown
    assert bpy.ops.espalier.retry_cutouts() == {"FINISHED"}
    assert cutouts.errors(scene) == []
