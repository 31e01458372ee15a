"""Estimates how long a job will still take. No bpy."""

from __future__ import annotations

from collections.abc import Mapping

from ...backend import protocol
from .queue import Job

#: During a first job there is no estimate before this fraction.
ENOUGH = 0.15


def seconds_left(job: Job, timings: Mapping[str, float] | None, now: float) -> float | None:
    """Seconds until a running job ends; None if there is no estimate yet.

    ``timings`` are the seconds that each stage took the last time with the same model and steps. Without them the
    estimate assumes that the job's fraction grows evenly. ``now`` is on the same clock as ``job.started``.
    """
    if job.started is None:
        return None
    if timings:
        return _from_timings(job, timings)
    if job.fraction < ENOUGH:
        return None
    return (now - job.started) * (1 - job.fraction) / job.fraction


def _from_timings(job: Job, timings: Mapping[str, float]) -> float:
    begin, left = 0.0, 0.0
    for stage, share in protocol.STAGES.items():
        done = min(max((job.fraction - begin) / share, 0.0), 1.0)
        left += (1 - done) * timings.get(stage, 0.0)
        begin += share
    return left


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
