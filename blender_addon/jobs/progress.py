"""Estimates how long a job will still take. No bpy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ...backend import protocol
from .queue import Job, State
from .timings import Timings

#: During a first job there is no estimate before this fraction.
ENOUGH = 0.15


def seconds_left(job: Job, timings: Mapping[str, float] | None, now: float) -> float | None:
    """Seconds until a running job ends; None if there is no estimate yet.

    ``timings`` are the seconds that each stage took the last time with the same model and steps. Without them the
    estimate assumes that the job's fraction grows evenly. Candidates come at the pace of those before them. ``now`` is
    on the same clock as ``job.started``.
    """
    if job.started is None:
        return None
    if job.request.seeds:
        return _of_candidates(job, now)
    if timings:
        return _from_timings(job, timings)
    if job.fraction < ENOUGH:
        return None
    return (now - job.started) * (1 - job.fraction) / job.fraction


def queue_seconds(jobs: Iterable[Job], timings: Timings, now: float) -> float | None:
    """Seconds until the last of the active jobs ends; None if one of them cannot be estimated.

    A queued job takes what such a job took the last time, else what the running one does if it is of the same kind.
    """
    total = 0.0
    like_running: dict[tuple[str, int | None, int | None, bool], float] = {}
    active = [job for job in jobs if job.active]
    for job in sorted(active, key=lambda job: job.state is not State.RUNNING):
        if job.state is State.RUNNING:
            seconds = seconds_left(job, expected(job, timings), now)
            if seconds is not None and job.started is not None:
                like_running[_kind(job)] = now - job.started + seconds
        else:
            measured = None if job.request.mesh else timings.seconds(*_kind(job)[:3])
            seconds = like_running.get(_kind(job)) if measured is None else measured
        if seconds is None:
            return None
        total += seconds
    return total


def expected(job: Job, timings: Timings) -> Mapping[str, float] | None:
    """What the stages of a job took the last time; None where nothing like it was measured, as for a given mesh."""
    return None if job.request.mesh else timings.stages(*_kind(job)[:3])


def _kind(job: Job) -> tuple[str, int | None, int | None, bool]:
    return job.request.model, job.request.steps, job.request.resolution, bool(job.request.mesh)


def _from_timings(job: Job, timings: Mapping[str, float]) -> float:
    begin, left = 0.0, 0.0
    for stage, share in protocol.STAGES.items():
        done = min(max((job.fraction - begin) / share, 0.0), 1.0)
        left += (1 - done) * timings.get(stage, 0.0)
        begin += share
    return left


def _of_candidates(job: Job, now: float) -> float | None:
    """None before the second one: the first also waits for the model to be loaded."""
    there = len(job.arrivals)
    if there < 2:
        return None
    first, *_, last = job.arrivals
    pace = (last - first) / (there - 1)
    return max(0.0, last + pace * (len(job.request.seeds) - there) - now)


def clock(seconds: float) -> str:
    """Seconds as text: *0:07*, *2:30*, *1:05:00*."""
    minutes, rest = divmod(max(1, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def duration(seconds: float) -> str:
    """How long something takes, as text: *0.6 s*, *12 s*, *2:30 min*."""
    if seconds < 9.95:
        return f"{max(seconds, 0.1):.1f} s"
    return f"{seconds:.0f} s" if seconds < 99.5 else f"{clock(seconds)} min"
