"""The job queue: order, cancel, failure, and a backend that is started anew."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from espalier.backend import protocol
from espalier.blender_addon.jobs.client import Backend, BackendUnavailable
from espalier.blender_addon.jobs.queue import Job, JobQueue, State

Until = Callable[..., None]
MakeJob = Callable[..., Job]


class Launcher:
    """Starts the fake backends it was told, one after the other, the last one again and again."""

    def __init__(self, start: Callable[..., Backend]) -> None:
        self.modes: list[list[str]] = [["ok"]]
        self.started: list[Backend] = []
        self._start = start

    def __call__(self) -> Backend:
        mode = self.modes.pop(0) if len(self.modes) > 1 else self.modes[0]
        self.started.append(self._start(*mode))
        return self.started[-1]


@pytest.fixture
def launcher(start: Callable[..., Backend]) -> Launcher:
    return Launcher(start)


@pytest.fixture
def queue(launcher: Launcher) -> Iterator[JobQueue]:
    queue = JobQueue(launcher)
    yield queue
    queue.close()


def test_jobs_run_in_order_on_one_backend(queue: JobQueue, launcher: Launcher, make_job: MakeJob, until: Until) -> None:
    first, second = make_job("mug"), make_job("chair")
    queue.submit(first)
    queue.submit(second)
    ended: list[Job] = []

    def step() -> None:
        ended.extend(job for job in queue.step() if not job.active)
        assert sum(job.state is State.RUNNING for job in queue.jobs) <= 1

    until(lambda: not queue.active, step)
    assert ended == [first, second]
    assert len(launcher.started) == 1
    assert queue.timings.measured() == {("mini-mdt", None, None): 0.0}
    assert queue.timings.device == "cpu"
    for job in (first, second):
        assert (job.state, job.fraction) == (State.DONE, 1.0)
        assert job.result is not None
        assert job.result.job == job.id
        assert job.preview is not None
        assert job.preview.is_file()


def test_a_failed_job_does_not_stop_the_next(
    queue: JobQueue, launcher: Launcher, make_job: MakeJob, until: Until
) -> None:
    launcher.modes = [["error"]]
    jobs = make_job("mug"), make_job("chair")
    for job in jobs:
        queue.submit(job)
    until(lambda: not queue.active, queue.step)
    assert [job.state for job in jobs] == [State.FAILED, State.FAILED]
    assert jobs[0].error is not None
    assert jobs[0].error.hint == "Choose a PNG or JPEG file."
    assert launcher.started[0].alive()


@pytest.mark.parametrize("mode", [["crash", "0.1"], ["bad_json"], ["lost"]])
def test_a_lost_backend_is_replaced(
    queue: JobQueue, launcher: Launcher, make_job: MakeJob, until: Until, mode: list[str]
) -> None:
    launcher.modes = [mode, ["ok"]]
    lost, waiting = make_job("mug"), make_job("chair")
    queue.submit(lost)
    queue.submit(waiting)
    until(lambda: not queue.active, queue.step)
    assert lost.state is State.FAILED
    assert lost.error is not None
    assert lost.error.message
    assert waiting.state is State.DONE
    assert [backend.alive() for backend in launcher.started] == [False, True]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals")
@pytest.mark.parametrize("after", ["ready", "progress", "preview", "done"])
def test_killed_at_any_moment(queue: JobQueue, launcher: Launcher, make_job: MakeJob, until: Until, after: str) -> None:
    launcher.modes = [["slow", "0.6"], ["ok"]]
    job = make_job("mug")
    queue.submit(job)
    reached = {
        "ready": lambda: queue.backend is not None,
        "progress": lambda: job.fraction > 0.2,
        "preview": lambda: job.preview is not None,
        "done": lambda: not job.active,
    }[after]
    until(reached, queue.step)
    pid = launcher.started[0].pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    until(lambda: queue.backend is None, queue.step)
    assert job.state is (State.DONE if after == "done" else State.FAILED)
    again = make_job("chair")
    queue.submit(again)
    until(lambda: not again.active, queue.step)
    assert again.state is State.DONE


def test_one_that_never_was_ready_is_not_started_again_and_again(
    queue: JobQueue, launcher: Launcher, make_job: MakeJob, until: Until
) -> None:
    launcher.modes = [["stillborn"]]
    for name in ("mug", "chair", "lamp"):
        queue.submit(make_job(name))
    until(lambda: not queue.active, queue.step)
    assert len(launcher.started) == 1
    assert all(job.error is not None and "torch" in job.error.message for job in queue.jobs)


def test_no_backend_at_all(make_job: MakeJob) -> None:
    def launch() -> Backend:
        raise BackendUnavailable("The backend is not installed.", "Install it.")

    queue = JobQueue(launch)
    job = make_job("mug")
    queue.submit(job)
    assert queue.step() == [job]
    assert job.error == protocol.Error(job.id, "backend_unavailable", "The backend is not installed.", "Install it.")


def test_cancel(queue: JobQueue, launcher: Launcher, make_job: MakeJob, until: Until) -> None:
    launcher.modes = [["slow"]]
    running, queued, last = make_job("mug"), make_job("chair"), make_job("lamp")
    for job in (running, queued, last):
        queue.submit(job)
    until(lambda: running.fraction > 0.2, queue.step)
    queue.cancel(queued)
    assert queued.state is State.CANCELLED
    queue.cancel(running)
    assert running.active
    assert running.cancelling
    until(lambda: not running.active, queue.step)
    assert running.state is State.CANCELLED
    assert running.result is None
    until(lambda: last.state is State.RUNNING, queue.step)
    assert len(launcher.started) == 1  # and its models are still loaded
    queue.cancel(queued)
    assert queued.state is State.CANCELLED


def test_cancel_while_the_backend_starts(queue: JobQueue, launcher: Launcher, make_job: MakeJob, until: Until) -> None:
    job = make_job("mug")
    queue.submit(job)
    queue.step()
    queue.cancel(job)
    until(lambda: queue.backend is not None and queue.backend.ready, queue.step)
    assert job.state is State.CANCELLED
    assert job.fraction == 0.0


def test_a_backend_that_does_not_answer_a_cancel_is_ended(
    queue: JobQueue, launcher: Launcher, make_job: MakeJob, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("espalier.blender_addon.jobs.queue.CANCEL_GRACE", 0.2)
    launcher.modes = [["deaf"], ["ok"]]
    job, following = make_job("mug"), make_job("chair")
    queue.submit(job)
    queue.submit(following)
    until(lambda: job.fraction > 0.1, queue.step)
    queue.cancel(job)
    until(lambda: not job.active, queue.step)
    assert job.state is State.CANCELLED
    until(lambda: not following.active, queue.step)
    assert following.state is State.DONE


def test_a_result_that_crosses_a_cancel_is_not_used(
    queue: JobQueue, launcher: Launcher, make_job: MakeJob, until: Until
) -> None:
    launcher.modes = [["deaf", "0.3"]]
    job = make_job("mug")
    queue.submit(job)
    until(lambda: job.fraction > 0.1, queue.step)
    queue.cancel(job)
    until(lambda: not job.active, queue.step)
    assert job.state is State.CANCELLED


def test_queued_jobs_can_be_put_into_another_order(
    queue: JobQueue, launcher: Launcher, make_job: MakeJob, until: Until
) -> None:
    launcher.modes = [["slow", "0.3"]]
    running, second, third, fourth = jobs = [make_job(name) for name in ("mug", "chair", "lamp", "car")]
    for job in jobs:
        queue.submit(job)
    until(lambda: running.state is State.RUNNING, queue.step)
    assert queue.queued == [second, third, fourth]
    assert queue.move(fourth, -1)
    assert queue.move(second, 1)
    assert queue.queued == [fourth, second, third]
    for job, by in ((running, 1), (fourth, -1), (third, 1), (second, 2)):
        assert not queue.move(job, by), "the running one keeps its place, and there is an end"
    assert queue.jobs == [running, fourth, second, third]
    ended: list[Job] = []
    until(lambda: not queue.active, lambda: ended.extend(job for job in queue.step() if not job.active))
    assert ended == [running, fourth, second, third]
    assert not queue.move(second, -1)


def test_jobs_that_have_ended_keep_their_places_in_the_list(queue: JobQueue, make_job: MakeJob) -> None:
    first, failed, last = jobs = [make_job(name) for name in ("mug", "chair", "lamp")]
    queue.jobs += jobs
    failed.fail(protocol.Error(failed.id, "disk_full", "The disk is full."))
    assert queue.move(last, -1)
    assert queue.jobs == [last, failed, first]


def test_forget_removes_the_folder(queue: JobQueue, make_job: MakeJob, until: Until) -> None:
    job = make_job("mug")
    queue.submit(job)
    until(lambda: not job.active, queue.step)
    assert list(Path(job.request.out).iterdir())
    queue.forget(job)
    assert queue.jobs == []
    assert not Path(job.request.out).exists()


def test_close(queue: JobQueue, launcher: Launcher, make_job: MakeJob, until: Until) -> None:
    launcher.modes = [["slow"]]
    job = make_job("mug")
    queue.submit(job)
    until(lambda: job.fraction > 0.1, queue.step)
    queue.close()
    assert job.fraction < 1.0
    assert not launcher.started[0].alive()
    assert queue.jobs == []
    assert not Path(job.request.out).exists()
