"""The queue with several jobs at once in the backend: those that are finished, and the next."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from espalier.backend import protocol
from espalier.blender_addon.jobs import queue as queues
from espalier.blender_addon.jobs.client import Backend
from espalier.blender_addon.jobs.queue import Job, JobQueue, State

MakeJob = Callable[..., Job]


class Scripted:
    """A backend that says what a test has it say."""

    pid = 1

    def __init__(self, at_once: int) -> None:
        self.ready = protocol.Ready(1, "0", "3", "2", "NVIDIA H200", ("mini",), at_once)
        self.sent: list[Any] = []
        self.said: list[protocol.Message] = []
        self.killed = False

    def send(self, request: protocol.Request) -> None:
        self.sent.append(request)

    def poll(self) -> list[protocol.Message]:
        said, self.said = self.said, []
        return said

    def kill(self) -> None:
        self.killed = True

    close = kill


class Scene:
    """A queue, and the backends that it has started."""

    def __init__(self, at_once: int, jobs: list[Job]) -> None:
        self.started: list[Scripted] = []
        self.at_once = at_once
        self.queue = JobQueue(self.launch)
        self.jobs = jobs
        for job in jobs:
            self.queue.submit(job)
        self.say()

    def launch(self) -> Backend:
        self.started.append(Scripted(self.at_once))
        return self.started[-1]  # type: ignore[return-value]

    def say(self, *messages: protocol.Message) -> list[Job]:
        if self.started:
            self.started[-1].said += messages
        changed = self.queue.step()
        self.queue.step()
        return changed

    def finishing(self, job: Job) -> None:
        self.say(protocol.Progress(job.id, "finish", 0.9))

    def done(self, job: Job) -> None:
        self.say(protocol.Result(job.id, "a", "b", "c"))

    @property
    def states(self) -> str:
        """A letter for each job: queued, running, done, failed, cancelled."""
        return "".join(job.state.value[0] for job in self.jobs)


@pytest.fixture
def scene(make_job: MakeJob) -> Scene:
    return Scene(2, [make_job(name) for name in ("mug", "chair", "lamp")])


@pytest.fixture
def both(scene: Scene) -> Scene:
    """The first job is finished, the second one made."""
    scene.finishing(scene.jobs[0])
    assert scene.states == "rrq"
    return scene


def test_the_next_is_sent_while_one_is_finished_and_no_third(scene: Scene) -> None:
    first, second, third = scene.jobs
    assert scene.states == "rqq"
    scene.say(protocol.Progress(first.id, "decode", 0.7))
    assert scene.states == "rqq"
    scene.finishing(first)
    assert scene.states == "rrq"
    scene.say(protocol.Progress(second.id, "latents", 0.5))
    assert (first.fraction, second.fraction) == (0.9, 0.5)
    assert scene.queue.running is first
    scene.done(first)
    assert scene.states == "drq"
    scene.finishing(second)
    scene.done(second)
    scene.done(third)
    assert scene.states == "ddd"
    assert [request.job for request in scene.started[0].sent] == [job.id for job in scene.jobs]


def test_as_many_are_finished_at_once_as_the_backend_takes(make_job: MakeJob) -> None:
    scene = Scene(3, [make_job(name) for name in ("mug", "chair", "lamp", "car")])
    first, second, third, _ = scene.jobs
    scene.finishing(first)
    assert scene.states == "rrqq"
    scene.finishing(second)
    assert scene.states == "rrrq"
    scene.finishing(third)
    assert scene.states == "rrrq"
    scene.done(second)
    assert scene.states == "rdrr"


def test_on_a_processor_they_come_one_by_one(make_job: MakeJob) -> None:
    scene = Scene(1, [make_job("mug"), make_job("chair")])
    scene.finishing(scene.jobs[0])
    assert scene.states == "rq"
    scene.done(scene.jobs[0])
    assert scene.states == "dr"


@pytest.mark.parametrize("which", [0, 1])
def test_each_is_cancelled_alone(both: Scene, which: int) -> None:
    cancelled, other = both.jobs[which], both.jobs[1 - which]
    both.queue.cancel(cancelled)
    assert both.started[0].sent[-1] == protocol.Cancel(cancelled.id)
    both.say(protocol.Cancelled(cancelled.id))
    both.finishing(other)
    both.done(other)
    assert (cancelled.state, other.state) == (State.CANCELLED, State.DONE)
    assert not both.started[0].killed


@pytest.mark.parametrize("which", [0, 1])
def test_an_error_is_that_of_its_job(both: Scene, which: int) -> None:
    both.say(protocol.Error(both.jobs[which].id, "mesh_empty", "It has no surface."))
    assert both.jobs[which].state is State.FAILED
    assert both.jobs[1 - which].state is State.RUNNING


def test_a_backend_that_is_lost_with_both_gets_each_alone(both: Scene) -> None:
    """So the one that it cannot survive fails by itself, and the other is made."""
    first, second, _ = both.jobs
    both.say(protocol.Error(None, "backend_ended", "The backend was ended from outside."))
    both.say()
    assert (both.states, len(both.started)) == ("rqq", 2)
    assert first.fraction == 0
    both.finishing(first)
    assert both.states == "rqq"
    both.done(first)
    assert both.states == "drq"
    both.say(protocol.Error(None, "backend_ended", "The backend was ended from outside."))
    assert second.state is State.FAILED


def test_one_that_does_not_answer_a_cancel_takes_no_other_along(both: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queues, "CANCEL_GRACE", 0.0)
    both.queue.cancel(both.jobs[0])
    both.say()
    both.say()
    assert both.states == "crq"
    assert [backend.killed for backend in both.started] == [True, False]


def test_one_that_is_given_up_takes_no_other_along(both: Scene) -> None:
    first, second, _ = both.jobs
    both.queue.give_up(second)
    both.say()
    both.say()
    assert (first.state, first in both.queue.jobs, second in both.queue.jobs) == (State.RUNNING, True, False)
    assert len(both.started) == 2
    assert not Path(second.request.out).exists()


def test_a_lost_card_fails_one_job(both: Scene) -> None:
    both.say(protocol.Error(both.jobs[1].id, protocol.DEVICE_LOST, "The graphics card failed."))
    both.say()
    assert both.states == "rfq"
    assert both.started[0].killed


def test_one_that_runs_out_of_memory_beside_another_is_tried_alone(both: Scene) -> None:
    first, second, third = both.jobs
    both.say(protocol.Error(second.id, "out_of_memory", "There is not enough memory."))
    assert both.states == "rqq"
    both.done(first)
    assert both.states == "drq"
    both.finishing(second)
    assert third.state is State.QUEUED
    both.say(protocol.Error(second.id, "out_of_memory", "There is not enough memory."))
    assert both.states == "dfr"


def test_a_live_job_need_not_wait_for_what_is_finished(make_job: MakeJob) -> None:
    scene = Scene(2, [make_job("mug")])
    live = make_job("chair")
    scene.queue.follow(live)
    scene.jobs.append(live)
    scene.say()
    assert scene.states == "rq"
    scene.finishing(scene.jobs[0])
    assert scene.states == "rr"
    scene.queue.submit(make_job("lamp"))
    assert live.cancelling
