"""Cut-outs that are asked for: answered beside jobs, and ended with the backend."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from espalier.backend import protocol
from espalier.blender_addon.jobs.client import Backend, BackendUnavailable
from espalier.blender_addon.jobs.cutouts import MOST_SENT, STOPPED, CutOut, State
from espalier.blender_addon.jobs.inputs import InputWriter
from espalier.blender_addon.jobs.queue import Job, JobQueue

Until = Callable[..., None]


@pytest.fixture
def queue(start: Callable[..., Backend]) -> Iterator[JobQueue]:
    queue = JobQueue(lambda: start("slow", "30"))
    yield queue
    queue.close()


@pytest.fixture
def cutout(tmp_path: Path) -> Callable[..., CutOut]:
    """``cutout("mug")`` is the cut-out of an image of that name."""

    def make(name: str, exists: bool = True) -> CutOut:
        image = tmp_path / f"{name}.png"
        if exists:
            image.write_bytes(b"an image")
        return CutOut(protocol.Cutout(f"cut {name}", str(image), str(tmp_path / f"{name} out.png")))

    return make


def is_in(state: State, cutout: CutOut) -> bool:
    return cutout.state is state


def test_a_backend_is_started_and_answers(queue: JobQueue, cutout: Callable[..., CutOut], until: Until) -> None:
    asked = [cutout(name) for name in ("mug", "edge", "nothing", "broken")]
    for one in asked:
        queue.cutouts.ask(one)
    until(lambda: not queue.cutouts.pending, queue.step)
    assert [one.state for one in asked] == [State.DONE, State.DONE, State.DONE, State.FAILED]
    mug, edge, nothing, broken = asked
    assert mug.answer is not None
    assert Path(mug.answer.out).is_file()
    assert mug.answer.notes == (protocol.BACKGROUND_REMOVED,)
    assert edge.answer is not None
    assert protocol.EDGE_TOUCHED in edge.answer.notes
    assert nothing.answer is not None
    assert (nothing.answer.removed, nothing.answer.notes) == (False, (protocol.NOTHING_STANDS_OUT,))
    assert broken.error is not None
    assert broken.error.code == "image_unreadable"
    assert queue.cutouts.take_news()
    assert not queue.cutouts.take_news()


def test_it_is_answered_while_a_job_runs(
    queue: JobQueue, cutout: Callable[..., CutOut], make_job: Callable[..., Job], until: Until
) -> None:
    job = make_job("chair")
    queue.submit(job)
    until(lambda: job.fraction > 0, queue.step)
    asked = cutout("mug")
    queue.cutouts.ask(asked)
    until(lambda: is_in(State.DONE, asked), queue.step)
    assert queue.running is job


def test_a_broken_image_does_not_fail_the_job_that_runs(
    queue: JobQueue, cutout: Callable[..., CutOut], make_job: Callable[..., Job], until: Until
) -> None:
    job = make_job("chair")
    queue.submit(job)
    until(lambda: job.fraction > 0, queue.step)
    asked = cutout("broken")
    queue.cutouts.ask(asked)
    until(lambda: is_in(State.FAILED, asked), queue.step)
    assert queue.running is job


def test_only_some_are_sent_at_a_time(queue: JobQueue, cutout: Callable[..., CutOut], until: Until) -> None:
    asked = [cutout(f"mug {number}") for number in range(3 * MOST_SENT)]
    for one in asked:
        queue.cutouts.ask(one)
    most = 0

    def step() -> None:
        nonlocal most
        queue.step()
        most = max(most, sum(one.state is State.SENT for one in asked))

    until(lambda: not queue.cutouts.pending, step)
    assert all(one.state is State.DONE for one in asked)
    assert 0 < most <= MOST_SENT


def test_an_image_is_written_first(
    queue: JobQueue, cutout: Callable[..., CutOut], tmp_path: Path, until: Until
) -> None:
    gate = threading.Event()

    class Slow(InputWriter):
        def run(self) -> None:
            gate.wait(60)
            super().run()

    asked = cutout("mug", exists=False)
    asked.writer = Slow({Path(asked.request.image): b"an image"})
    asked.writer.start()
    queue.cutouts.ask(asked)
    until(lambda: queue.backend is not None and queue.backend.ready, queue.step)
    queue.step()
    assert is_in(State.WAITING, asked)
    gate.set()
    until(lambda: is_in(State.DONE, asked), queue.step)
    unwritable = cutout("cup", exists=False)
    (tmp_path / "file").touch()
    unwritable.writer = InputWriter({tmp_path / "file" / "cup.png": b"an image"})
    unwritable.writer.start()
    queue.cutouts.ask(unwritable)
    until(lambda: unwritable.state is State.FAILED, queue.step)
    assert unwritable.error is not None
    assert (unwritable.error.code, unwritable.error.job) == ("folder_missing", unwritable.request.id)
    assert "Errno" not in unwritable.error.message


def test_they_end_with_the_backend(queue: JobQueue, cutout: Callable[..., CutOut], until: Until) -> None:
    first = cutout("mug")
    queue.cutouts.ask(first)
    until(lambda: first.state is State.DONE, queue.step)
    assert queue.backend is not None
    assert queue.backend.pid is not None
    os.kill(queue.backend.pid, signal.SIGSTOP if hasattr(signal, "SIGSTOP") else signal.SIGTERM)
    second = cutout("cup")
    queue.cutouts.ask(second)
    queue.step()
    assert is_in(State.SENT, second)
    os.kill(queue.backend.pid, signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
    until(lambda: is_in(State.FAILED, second), queue.step)
    assert second.error is not None
    assert second.error.code == "backend_ended"
    third = cutout("plate")
    queue.cutouts.ask(third)
    queue.release()
    assert third.error is not None
    assert third.error.code == STOPPED


def test_without_a_backend_it_says_so(cutout: Callable[..., CutOut]) -> None:
    def launch() -> Backend:
        raise BackendUnavailable("The backend is not installed.", "Install it.")

    queue = JobQueue(launch)
    asked = cutout("mug")
    queue.cutouts.ask(asked)
    queue.step()
    assert asked.error is not None
    assert (asked.error.code, asked.error.hint) == ("backend_unavailable", "Install it.")
