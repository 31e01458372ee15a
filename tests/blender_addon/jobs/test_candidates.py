"""The job queue with jobs that make candidates, and with a live job beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from espalier.blender_addon.jobs.client import Backend
from espalier.blender_addon.jobs.journal import Journal
from espalier.blender_addon.jobs.queue import Job, JobQueue, State

Until = Callable[..., None]
MakeJob = Callable[..., Job]
SEEDS = (3, 100, 5)  # of which the fake backend makes no object of the second


@pytest.fixture
def mode() -> list[str]:
    return ["ok"]


@pytest.fixture
def queue(start: Callable[..., Backend], mode: list[str], tmp_path: Path) -> Iterator[JobQueue]:
    queue = JobQueue(lambda: start(*mode), Journal(tmp_path / "journal"))
    yield queue
    queue.close()


def seeded(job: Job, *seeds: int) -> Job:
    job.request = replace(job.request, seeds=seeds or SEEDS)
    return job


def test_candidates_arrive_one_by_one(queue: JobQueue, make_job: MakeJob, until: Until) -> None:
    job = seeded(make_job("mug"))
    queue.submit(job)
    seen: list[int] = []

    def step() -> None:
        queue.step()
        seen.append(len(job.candidates))

    until(lambda: not job.active, step)
    assert job.state is State.EXPLORED
    assert seen == sorted(seen)
    assert [candidate.number for candidate in job.candidates] == [0, 1, 2]
    assert [Path(each.arrays).is_file() for each in job.candidates if each.arrays] == [True, True]
    assert job.candidates[1].problem
    assert job.seconds == 0.0
    assert queue.timings.measured() == {}, "what candidates take says nothing of objects"


def test_what_a_taken_candidate_takes_is_no_objects_time(queue: JobQueue, make_job: MakeJob, until: Until) -> None:
    """The backend kept what it made of it and only finishes it: objects that are made from images take longer."""
    for job, expected in ((seeded(make_job("mug")), 0), (make_job("mug", seed=SEEDS[0]), 0), (make_job("mug"), 1)):
        queue.submit(job)
        until(lambda job=job: not job.active, queue.step)
        assert len(queue.timings.measured()) == expected


def test_the_folder_of_candidates_stays_with_those_who_need_it(
    queue: JobQueue, make_job: MakeJob, until: Until
) -> None:
    job = seeded(make_job("mug"))
    queue.submit(job)
    until(lambda: not job.active, queue.step)
    queue.forget(job)
    assert Path(job.candidates[0].arrays).is_file()
    assert not Path(job.request.out, "asked.json").exists(), "candidates are not journalled"


def test_a_cancel_keeps_what_has_arrived(queue: JobQueue, mode: list[str], make_job: MakeJob, until: Until) -> None:
    mode[:] = ["slow", "3"]
    job = seeded(make_job("mug"), 1, 2, 3, 4, 5, 6)
    queue.submit(job)
    until(lambda: job.candidates, queue.step)
    queue.cancel(job)
    until(lambda: not job.active, queue.step)
    assert job.state is State.CANCELLED
    assert 1 <= len(job.candidates) < 6


def test_a_lost_backend_fails_the_job_and_keeps_what_has_arrived(
    queue: JobQueue, mode: list[str], make_job: MakeJob, until: Until
) -> None:
    mode[:] = ["crash", "0.2"]
    job = seeded(make_job("mug"))
    queue.submit(job)
    until(lambda: not job.active, queue.step)
    assert job.state is State.FAILED
    assert len(job.candidates) == 1


def test_a_live_job_waits_for_the_others(queue: JobQueue, make_job: MakeJob, until: Until) -> None:
    live, other = seeded(make_job("live"), 1), make_job("mug")
    queue.follow(live)
    queue.submit(other)
    assert queue.active
    until(lambda: live.state is State.EXPLORED, queue.step)
    assert other.state is State.DONE
    assert live not in queue.jobs
    queue.forget(live)
    assert queue.live is None


def test_a_live_job_that_runs_gives_way(queue: JobQueue, mode: list[str], make_job: MakeJob, until: Until) -> None:
    mode[:] = ["slow", "2"]
    live, other = seeded(make_job("live"), 1), make_job("mug")
    queue.follow(live)
    until(lambda: live.state is State.RUNNING, queue.step)
    queue.submit(other)
    assert live.cancelling
    until(lambda: other.state is State.RUNNING, queue.step)
    assert live.state is State.CANCELLED
    assert live.candidates == []


def test_nothing_of_a_live_job_is_left_when_the_queue_is_closed(
    queue: JobQueue, mode: list[str], make_job: MakeJob, until: Until
) -> None:
    mode[:] = ["slow", "2"]
    live = seeded(make_job("live"), 1)
    queue.follow(live)
    until(lambda: live.state is State.RUNNING, queue.step)
    queue.close()
    assert (queue.live, live.state) == (None, State.CANCELLED)
