"""Backends killed and jobs cancelled at random moments: the panel is right within a second, and nothing is lost."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import bpy
import pytest
from espalier.blender_addon import pump
from espalier.blender_addon.jobs.queue import Job, State
from espalier.blender_addon.scene import viewport

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals")]

TIMES = 50
JOB_SECONDS = 0.4  # of the fake backend, from which the random moments are taken
Press = Callable[[], Job]


@pytest.fixture
def press(mode: list[str]) -> Press:
    """Presses Generate 3D in a scene with one object."""
    mode[:] = ["slow", str(JOB_SECONDS)]
    bpy.ops.mesh.primitive_cube_add()

    def press() -> Job:
        assert bpy.ops.espalier.generate() == {"FINISHED"}
        return pump.jobs.jobs[-1]

    return press


class Scene:
    """What the user does meanwhile, an undo step each, and whether it is all still there."""

    def __init__(self) -> None:
        self.steps = 0
        self.made = 0

    def work(self) -> None:
        self.steps += 1
        bpy.data.objects["Cube"].location.x = self.steps
        bpy.ops.ed.undo_push(message=f"Move {self.steps}")

    def check(self) -> None:
        assert bpy.data.objects["Cube"].location.x == self.steps
        assert len(bpy.data.objects) == 1 + self.made
        assert len(bpy.context.scene.espalier.images) == 1


def wait(condition: Callable[[], object], seconds: float) -> float:
    """Step as the timer does until the condition holds. Returns the seconds it took."""
    begin = time.monotonic()
    while not condition():
        assert time.monotonic() < begin + seconds, "it is not so in time"
        pump.step()
        time.sleep(0.005)
    return time.monotonic() - begin


def gone(pid: int) -> bool:
    """Whether no process has this number any more, not even a dead one that nobody has asked for."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def finish_one(press: Press, scene: Scene) -> None:
    """The next job works."""
    job = press()
    wait(lambda: not job.active or job.state is State.DONE, 30)
    wait(lambda: job not in pump.jobs.jobs, 5)
    scene.made += 1


def test_kills(press: Press) -> None:
    moments, scene, pids, delays = random.Random(0), Scene(), set(), []
    for number in range(TIMES):
        job = press()
        assert pump.jobs.backend is not None
        pid = pump.jobs.backend.pid
        assert pid is not None
        pids.add(pid)
        wait_until = time.monotonic() + moments.uniform(0, 2 * JOB_SECONDS)
        while time.monotonic() < wait_until and job in pump.jobs.jobs:
            pump.step()
            time.sleep(0.005)
        scene.work()
        done = job.state is State.DONE or job not in pump.jobs.jobs
        os.kill(pid, signal.SIGKILL)
        delays.append(wait(lambda: pump.jobs.backend is None, 1.0))
        if job in pump.jobs.jobs and job.state is not State.DONE:
            assert job.state is State.FAILED
            assert job.error is not None
            assert "SIGKILL" in job.error.message
        wait(lambda: not any(one.state is State.DONE for one in pump.jobs.jobs), 1.0)
        scene.made = sum(name.startswith("mug") for name in bpy.data.objects.keys())  # noqa: SIM118 - not a dict
        assert not done or scene.made
        assert not viewport.shown(job.id)
        scene.check()
        if number % 10 == 0:
            finish_one(press, scene)
            scene.check()
    finish_one(press, scene)
    assert pump.jobs.backend is not None
    wait(lambda: all(gone(pid) for pid in pids), 2.0)
    print(f"{TIMES} kills, noticed after {max(delays):.3f} s at most")


def test_cancels(press: Press) -> None:
    moments, scene, delays = random.Random(1), Scene(), []
    for number in range(TIMES):
        job = press()
        wait_until = time.monotonic() + moments.uniform(0, JOB_SECONDS)
        while time.monotonic() < wait_until and job in pump.jobs.jobs:
            pump.step()
            time.sleep(0.005)
        scene.work()
        made = job not in pump.jobs.jobs
        if not made:
            assert bpy.ops.espalier.cancel(job=job.id) == {"FINISHED"}
        delays.append(wait(lambda: not pump.jobs.jobs, 1.0))
        scene.made += made
        assert job.state is (State.DONE if made else State.CANCELLED)
        assert not Path(job.request.out).exists()
        scene.check()
        if number % 10 == 0:
            finish_one(press, scene)
            scene.check()
    assert pump.jobs.backend is not None
    pid = pump.jobs.backend.pid
    finish_one(press, scene)
    assert pump.jobs.backend.pid == pid, "its models would have been lost"
    print(f"{TIMES} cancels, answered after {max(delays):.3f} s at most")


def test_the_end_of_blender_ends_the_backend(press: Press) -> None:
    press()
    wait(lambda: pump.jobs.running is not None, 30)
    assert pump.jobs.backend is not None
    pid = pump.jobs.backend.pid
    assert pid is not None
    pump.unregister()
    assert gone(pid)
    pump.register()
