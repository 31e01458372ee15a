"""The farm on Ray's own test cluster: machines, workers and the driver die, and every object is made once."""

from __future__ import annotations

import contextlib
import os
import random
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.backend.farm.farms import Farm, Nodes, assert_agree, needs_ray, wait_until

pytestmark = [needs_ray, pytest.mark.slow]

IMAGES, DEATHS = 40, 10


def done(out: Path) -> int:
    return len(list(out.glob("*.glb")))


def assert_all_there(pictures: Path, out: Path) -> None:
    files = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    assert_agree({path.stem for path in pictures.iterdir()}, files, os.listdir(out / ".farm"))


def test_a_machine_is_lost(
    pictures: Callable[[int], Path], farm: Callable[..., Farm], nodes: Callable[[int], Nodes], tmp_path: Path
) -> None:
    source, out, cluster = pictures(IMAGES), tmp_path / "out", nodes(2)
    process = farm(source, out, cluster.address).start()
    wait_until(lambda: done(out) >= IMAGES // 3, process)
    cluster.lose(1)
    said, errors = process.communicate()
    assert process.returncode == 0, said + errors
    assert_all_there(source, out)


def test_workers_die_at_random(
    pictures: Callable[[int], Path], farm: Callable[..., Farm], nodes: Callable[[int], Nodes], tmp_path: Path
) -> None:
    source, out, cluster = pictures(IMAGES), tmp_path / "out", nodes(2)
    draw = random.Random(7)
    again = farm(source, out, cluster.address)
    process = again.start()
    for when in sorted(draw.randrange(IMAGES - 4) for _ in range(DEATHS)):
        wait_until(lambda least=when: done(out) >= least and bool(cluster.workers()), process)  # type: ignore[misc]
        with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
            os.kill(draw.choice(cluster.workers()), signal.SIGKILL)
    said, errors = process.communicate()
    assert process.returncode in (0, 1), said + errors
    if process.returncode:  # chance hit one row twice: it was given up by its name, and is made by the next run
        assert "The worker died 2 times" in said
        again.run()
    assert_all_there(source, out)


def test_the_driver_dies_and_the_command_is_run_again(
    pictures: Callable[[int], Path], farm: Callable[..., Farm], nodes: Callable[[int], Nodes], tmp_path: Path
) -> None:
    source, out, cluster = pictures(IMAGES), tmp_path / "out", nodes(2)
    command = farm(source, out, cluster.address)
    process = command.start()
    wait_until(lambda: len(list((out / ".farm").glob("*.json"))) >= IMAGES // 3, process)
    process.kill()
    process.communicate()
    made = {path.stem for path in (out / ".farm").glob("[!.]*.json")}
    times = {name: (out / f"{name}.glb").stat().st_mtime_ns for name in made}
    assert f"{IMAGES} failed" not in command.run()
    assert_all_there(source, out)
    assert {name: (out / f"{name}.glb").stat().st_mtime_ns for name in made} == times, "what was done is done again"
