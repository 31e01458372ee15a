"""What is left of jobs when Blender closes, and who is offered it."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from espalier.backend import protocol
from espalier.blender_addon.jobs import failures, journal
from espalier.blender_addon.jobs.client import Backend
from espalier.blender_addon.jobs.journal import Journal
from espalier.blender_addon.jobs.queue import Job, JobQueue, State

Start = Callable[..., Backend]
MakeJob = Callable[..., Job]
Until = Callable[..., None]


def queue(root: Path, start: Start, *mode: str) -> JobQueue:
    return JobQueue(lambda: start(*mode), Journal(root))


def submit(jobs: JobQueue, make_job: MakeJob, name: str) -> Job:
    assert jobs.journal is not None
    jobs.submit(job := make_job(name, within=jobs.journal.new_folder()))
    return job


def test_a_result_that_was_not_used_is_there_in_the_next_session(
    tmp_path: Path, start: Start, make_job: MakeJob, until: Until
) -> None:
    first = queue(tmp_path / "jobs", start, "ok")
    job = submit(first, make_job, "mug")
    until(lambda: not first.active, first.step)
    first.close()
    second = queue(tmp_path / "jobs", start, "ok")
    second.recover()
    (found,) = second.jobs
    assert (found.name, found.state, found.recovered, found.target) == ("mug", State.DONE, True, None)
    assert found.result == job.result
    assert found.result is not None
    assert Path(found.result.arrays).is_file()
    second.forget(found)
    second.close()
    assert list((tmp_path / "jobs").iterdir()) == []


def test_a_session_whose_folder_was_cleared_goes_on_in_another(tmp_path: Path) -> None:
    """As by a program that tidies temporary files. The end of Blender does not stumble over it either."""
    kept = Journal(tmp_path / "jobs")
    first = kept.new_folder()
    shutil.rmtree(tmp_path / "jobs")
    second = kept.new_folder()
    assert second.is_dir()
    assert second.parent != first.parent
    assert (second.parent / "lock").is_file()
    second.rmdir()
    kept.close()
    assert list((tmp_path / "jobs").iterdir()) == []


def test_a_job_that_cannot_be_noted_fails_in_words(
    tmp_path: Path, start: Start, make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of them say the same, though each has a folder of its own."""

    def full(path: Path, *_: object, **more: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    jobs = queue(tmp_path / "jobs", start, "ok")
    monkeypatch.setattr(journal, "write_whole", full)
    for name in ("mug", "chair"):
        submit(jobs, make_job, name)
    assert [job.state for job in jobs.jobs] == [State.FAILED, State.FAILED]
    (both,) = failures.grouped(jobs.jobs)
    assert len(both) == 2
    assert both[0].error is not None
    assert both[0].error.message == f"The disk of the folder {tmp_path / 'jobs'} is full."
    jobs.close()


def test_what_was_not_finished_can_be_run_again(tmp_path: Path, start: Start, make_job: MakeJob, until: Until) -> None:
    first = queue(tmp_path / "jobs", start, "slow")
    running, waiting = submit(first, make_job, "mug"), submit(first, make_job, "chair")
    until(lambda: running.fraction > 0.2, first.step)
    first.close()
    second = queue(tmp_path / "jobs", start, "ok")
    second.recover()
    assert sorted(job.name for job in second.jobs) == ["chair", "mug"]
    assert {job.state for job in second.jobs} == {State.INTERRUPTED}
    assert {job.request for job in second.jobs} == {running.request, waiting.request}
    assert not second.active
    found = second.jobs[0]
    second.jobs.remove(found)
    second.submit(again := Job(found.request))
    until(lambda: not again.active, second.step)
    assert again.state is State.DONE
    second.close()


def test_a_failed_or_cancelled_job_leaves_nothing(
    tmp_path: Path, start: Start, make_job: MakeJob, until: Until
) -> None:
    first = queue(tmp_path / "jobs", start, "error")
    failed, cancelled = submit(first, make_job, "mug"), submit(first, make_job, "chair")
    first.cancel(cancelled)
    until(lambda: not first.active, first.step)
    assert failed.state is State.FAILED
    first.forget(cancelled)
    first.close()
    assert list((tmp_path / "jobs").iterdir()) == []


KILLED = """
import sys, time, types
package = types.ModuleType("espalier"); package.__path__ = [sys.argv[1]]; sys.modules["espalier"] = package
from pathlib import Path
from espalier.backend import protocol
from espalier.blender_addon.jobs.journal import Journal
journal = Journal(Path(sys.argv[2]))
folder = journal.new_folder()
journal.asked(protocol.Generate("a", ("mug.png",), str(folder)), (), None)
print("noted", flush=True)
time.sleep(600)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals")
def test_two_blenders_and_one_that_was_killed(root: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(root), str(tmp_path / "jobs")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "noted\n"
        here, third = Journal(tmp_path / "jobs"), Journal(tmp_path / "jobs")
        assert here.take_over() == [], "the other Blender still works on it"
        os.kill(other.pid, signal.SIGKILL)
        other.wait()
    assert [left.request.images for left in here.take_over()] == [("mug.png",)]
    assert third.take_over() == [], "this one offers it"
    assert here.take_over() == []


def leave(root: Path, make_job: MakeJob, name: str, size: int = 0, age: float = 0.0) -> Path:
    """A session that has ended with one job left."""
    ended = Journal(root)
    folder = ended.new_folder()
    ended.asked(make_job(name, within=folder).request, (), None)
    (folder / "arrays").write_bytes(bytes(size))
    os.utime(folder / journal.ASKED, (time.time() - age,) * 2)
    ended.close()
    return folder


def test_what_is_left_is_bounded(tmp_path: Path, make_job: MakeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "MOST_JOBS", 3)
    monkeypatch.setattr(journal, "MOST_BYTES", 50_000)
    folders = {
        name: leave(tmp_path / "jobs", make_job, name, size, age)
        for name, size, age in [
            ("new", 0, 10),
            ("large", 60_000, 30),
            ("ancient", 0, 40 * 24 * 3600),
            ("older", 0, 20),
        ]
    }
    next_one = Journal(tmp_path / "jobs")
    assert [Path(left.request.images[0]).stem for left in next_one.take_over()] == ["new", "older"]
    assert {name for name, folder in folders.items() if folder.exists()} == {"new", "older"}
    next_one.close()
    for number in range(3):
        leave(tmp_path / "jobs", make_job, f"newest-{number}")
    names = [Path(left.request.images[0]).stem for left in Journal(tmp_path / "jobs").take_over()]
    assert sorted(names) == ["newest-0", "newest-1", "newest-2"]


@pytest.mark.parametrize("text", ["", "{", '{"request": "{}", "sources": []}', '{"sources": []}', "[]"])
def test_what_cannot_be_read_is_removed(tmp_path: Path, make_job: MakeJob, text: str) -> None:
    folder = leave(tmp_path / "jobs", make_job, "mug")
    (folder / journal.ASKED).write_text(text)
    next_one = Journal(tmp_path / "jobs")
    assert next_one.take_over() == []
    next_one.close()
    assert list((tmp_path / "jobs").iterdir()) == []


def test_a_result_whose_files_are_gone_is_unfinished(
    tmp_path: Path, start: Start, make_job: MakeJob, until: Until
) -> None:
    first = queue(tmp_path / "jobs", start, "ok")
    job = submit(first, make_job, "mug")
    until(lambda: not first.active, first.step)
    assert job.result is not None
    Path(job.result.texture).unlink()
    first.close()
    (left,) = Journal(tmp_path / "jobs").take_over()
    assert left.result is None


STRANGE: list[tuple[str, str]] = [
    ("result.json", '{"type":"progress","job":"j","stage":"x","fraction":1}'),
    ("result.json", '{"type":"error","job":"j","code":"x","message":"y"}'),
    ("result.json", '{"type":"result","job":"j","arrays":"/etc/passwd","texture":"/etc/passwd","glb":""}'),
    ("result.json", '{"type":"result","job":"j","arrays":"JOB/../../x","texture":"JOB/asked.json","glb":""}'),
    ("result.json", " " * (2 << 20)),
    ("asked.json", "[" * 100_000),
    ("asked.json", "[]"),
    ("asked.json", "3"),
    ("asked.json", '{"request": 3}'),
    ("asked.json", '{"request": "{}"}'),
    ("asked.json", " " * (2 << 20)),
    ("asked.json", "\0\0\0"),
]
FIELDS: list[tuple[str, object]] = [
    ("images", ()),
    ("images", ([],)),
    ("images", "a.png"),
    ("job", ["j"]),
    ("job", {}),
    ("out", ["x"]),
    ("steps", "many"),
    ("model", None),
    ("seed", [1]),
]


def left_job(root: Path, **changes: object) -> Path:
    """A job as a Blender left it that died, changed."""
    folder = root / "session" / "job"
    folder.mkdir(parents=True)
    request = protocol.Generate("j", ("a.png",), str(folder))
    line = json.loads(protocol.encode(request)) | changes
    noted = {"request": json.dumps(line), "sources": ["a"], "replaces": None, "layout": ["", ""]}
    (folder / "asked.json").write_text(json.dumps(noted))
    return folder


def beside(root: Path) -> Path:
    """Another session's job that is as it should be."""
    folder = root / "session 2" / "job"
    folder.mkdir(parents=True)
    request = protocol.encode(protocol.Generate("k", ("b.png",), str(folder)))
    noted = {"request": request, "sources": ["b"], "replaces": None, "layout": ["", ""]}
    (folder / "asked.json").write_text(json.dumps(noted))
    return folder


@pytest.mark.parametrize(("name", "content"), STRANGE, ids=range(len(STRANGE)))
def test_a_job_of_strange_content_is_dropped_and_said(
    tmp_path: Path, name: str, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = left_job(tmp_path)
    (folder / name).write_text(content.replace("JOB", str(folder)))
    beside(tmp_path)
    assert [left.request.job for left in Journal(tmp_path).take_over()] == ["k"]
    assert "cannot be read and is deleted" in capsys.readouterr().out
    assert not folder.exists()


@pytest.mark.parametrize(("name", "value"), FIELDS, ids=range(len(FIELDS)))
def test_a_request_of_strange_fields_is_dropped_and_said(
    tmp_path: Path, name: str, value: object, capsys: pytest.CaptureFixture[str]
) -> None:
    left_job(tmp_path, **{name: value})
    beside(tmp_path)
    assert [left.request.job for left in Journal(tmp_path).take_over()] == ["k"]
    assert "cannot be read and is deleted" in capsys.readouterr().out


def test_links_in_the_journal_are_left_alone(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("precious")
    root = tmp_path / "jobs"
    (root / "session").mkdir(parents=True)
    (root / "session" / "job").symlink_to(precious)
    (root / "linked session").symlink_to(precious)
    (root / "locked").mkdir()
    (root / "locked" / "lock").symlink_to(precious / "file")
    beside(root)
    assert [left.request.job for left in Journal(root).take_over()] == ["k"]
    assert (precious / "file").read_text() == "precious"


@pytest.mark.parametrize("content", ["", "[1, 2]", "null", "[" * 100_000, "{"])
def test_a_job_whose_result_is_damaged_is_offered_again_and_that_is_said(
    tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = left_job(tmp_path)
    (folder / "result.json").write_text(content)
    (left,) = Journal(tmp_path).take_over()
    assert left.result is None
    assert "is offered again" in capsys.readouterr().out
