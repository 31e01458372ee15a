"""How long jobs will still take."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from espalier.blender_addon.jobs.progress import queue_seconds, seconds_left
from espalier.blender_addon.jobs.queue import Job, State
from espalier.blender_addon.jobs.timings import Timings

MakeJob = Callable[..., Job]
STAGES = {"load": 2.0, "structure": 6.0, "finish": 4.0, "total": 12.0}


def started(job: Job, at: float, fraction: float) -> Job:
    job.state, job.started, job.fraction = State.RUNNING, at, fraction
    return job


def test_a_queue_takes_what_its_jobs_took_the_last_time(make_job: MakeJob) -> None:
    timings = Timings()
    timings.note("mini-mdt", None, STAGES, "cpu")
    timings.note("mini", None, {"total": 100.0}, "cpu")
    jobs = [make_job("mug"), make_job("chair"), make_job("car", model="mini")]
    assert queue_seconds(jobs, timings, 0.0) == 10.0 + 10.0 + 100.0
    running = started(jobs[0], at=5.0, fraction=0.5)
    left = seconds_left(running, timings.stages("mini-mdt", None), 7.0)
    assert left is not None
    assert 0 < left < 12
    assert queue_seconds(jobs, timings, 7.0) == pytest.approx(left + 110.0)
    running.state = State.DONE
    assert queue_seconds(jobs, timings, 7.0) == 110.0
    assert queue_seconds([], timings, 7.0) == 0.0


def test_before_anything_was_measured_jobs_like_the_running_one_take_as_long(make_job: MakeJob) -> None:
    first, second = started(make_job("mug"), at=0.0, fraction=0.25), make_job("chair")
    assert queue_seconds([second, first], Timings(), 10.0) == pytest.approx(30.0 + 40.0)
    other = make_job("car", steps=25)
    assert queue_seconds([first, second, other], Timings(), 10.0) is None, "of other steps nothing is known"
    first.fraction = 0.01
    assert queue_seconds([first, second], Timings(), 10.0) is None, "it is too early to tell"


def test_candidates_come_at_the_pace_of_those_before_them(make_job: MakeJob) -> None:
    job = started(make_job("mug", seeds=(1, 2, 3, 4, 5)), at=0.0, fraction=0.4)
    job.arrivals = [30.0]  # with the model's loading
    assert seconds_left(job, STAGES, 31.0) is None
    job.arrivals = [30.0, 32.0, 34.0]
    assert seconds_left(job, STAGES, 34.5) == pytest.approx(3.5)
    assert seconds_left(job, None, 99.0) == 0.0


def test_a_mesh_of_ones_own_takes_another_time(make_job: MakeJob) -> None:
    timings = Timings()
    timings.note("mini-mdt", None, STAGES, "cpu")
    painted = make_job("block", mesh="/block.npz")
    assert queue_seconds([make_job("mug"), painted], timings, 0.0) is None
    running = started(make_job("cube", mesh="/cube.npz"), at=0.0, fraction=0.5)
    assert queue_seconds([running, painted], timings, 3.0) == pytest.approx(3.0 + 6.0)
