"""How many objects a minute a farm makes, beside batches on the same two cores; and what Ray itself costs.

``measure`` makes the same images one by one, overlapped as batches are on a GPU, and on a farm of this machine, and
then on test clusters of one machine and of two, of one core each. The pace is that from the first object to the last,
so that the start is told apart; ``cores_s`` are the processor's seconds for an object. ``simulate`` sends many rows
through the pipeline with stages that only wait.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from backend.farm.cluster import LOCAL, connected
from backend.farm.pipeline import Plan, attempts, lines
from backend.farm.report import Report
from backend.farm.rows import Row
from backend.farm.stages import Finish, Read, Sample, Work
from backend.farm.stores import Target

from .interactive import EXAMPLES, serve
from .throughput import run

ROOT = Path(__file__).resolve().parents[2]
#: Ray's workers are as nice as the batches that they are measured beside. By itself Ray makes them very nice.
ENVIRONMENT = LOCAL | {"RAY_worker_niceness": "0"}
#: Memory for what waits between the stages, on each machine.
STORE_BYTES = 400 << 20
#: Seconds of a core or of the model that a simulated row takes, and bytes that it hands on: as mini's on one core.
SECONDS = {"read": 0.4, "sample": 0.6, "finish": 1.2}
BYTES = {"read": 300_000, "sample": 3_000_000}


def measure_farm() -> list[dict[str, Any]]:
    """All ways, with a hundred objects."""
    return measure(100, ("batch", "farm", "nodes"))


def measure(objects: int, ways: Sequence[str]) -> list[dict[str, Any]]:
    """Objects a minute and seconds until the first one. ``ways`` are batch, farm and nodes."""
    found = []
    with tempfile.TemporaryDirectory() as folder, Cores() as cores:
        pictures = Path(folder, "pictures")
        pictures.mkdir()
        images = []
        for number in range(objects):  # files of their own: a batch would read the same one only once
            example = Path(EXAMPLES[number % len(EXAMPLES)])
            images.append(str(shutil.copy(example, pictures / f"{example.stem}{number:03}.png")))
        if "batch" in ways:
            for threads in (None, "1"):  # as it is; and with one thread for torch, as all workers of a farm have
                found += _batches(images, cores, threads)
        if "farm" in ways:
            found.append(_farm("farm, 2 cores", pictures, Path(folder, "out"), ["--cpus", "2"], cores))
        for count in (1, 2) if "nodes" in ways else ():
            with _nodes(count) as address:
                title = f"farm, {count} machine{'s' * (count > 1)} of a core"
                found.append(_farm(title, pictures, Path(folder, f"out{count}"), ["--address", address], cores))
    return found


def _batches(images: list[str], cores: Cores, threads: str | None) -> list[dict[str, Any]]:
    """The images one by one, and overlapped as on a GPU, each in a backend of its own: nothing is kept between them."""
    found = []
    for title, at_once in (("one by one", 1), ("overlapped", 2)):
        with patch.dict(os.environ, {} if threads is None else {"OMP_NUM_THREADS": threads}), serve() as served:
            run(served, "warm", [0], at_once=1, images=images)
            began = time.time()
            made = run(served, "batch", range(1, 1 + len(images)), at_once=at_once, images=images)
            cores_s = cores.between(began, time.time()) / len(images)
        name = f"batch, {title}" + (f", {threads} thread" if threads else "")
        found.append(_pace(name, len(images), made.seconds, cores_s=cores_s))
    return found


def _pace(stage: str, objects: int, seconds: float, **more: float) -> dict[str, Any]:
    found = {"stage": stage, "warm_s": seconds / objects, "per_minute": 60 * objects / seconds, "runs": objects} | more
    print(json.dumps(found), flush=True)
    return found


class Cores:
    """Adds up the processor's seconds of this process and all below it, which tell on a busy computer, too."""

    LOOK = 0.25  # seconds

    def __init__(self) -> None:
        self._seconds: dict[int, float] = {}  # by process, those that have ended too
        self._sums: list[tuple[float, float]] = []  # when, and how many until then
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Cores:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def between(self, began: float, ended: float) -> float:
        """The seconds of the processor between two times."""
        time.sleep(2 * self.LOOK)
        first, last = (max(total for when, total in self._sums if when <= until) for until in (began, ended))
        return last - first

    def _watch(self) -> None:
        ticks = os.sysconf("SC_CLK_TCK")
        while not self._ended.wait(self.LOOK):
            parents, seconds = dict[int, int](), dict[int, float]()
            for stat in Path("/proc").glob("[0-9]*/stat"):
                try:
                    words = stat.read_text().rpartition(")")[2].split()
                except (FileNotFoundError, ProcessLookupError):
                    continue  # it has ended meanwhile
                parents[int(stat.parent.name)] = int(words[1])
                seconds[int(stat.parent.name)] = (int(words[11]) + int(words[12])) / ticks
            ours = {os.getpid()}
            while more := {child for child, parent in parents.items() if parent in ours} - ours:
                ours |= more
            self._seconds |= {each: seconds[each] for each in ours if each in seconds}
            self._sums.append((time.time(), sum(self._seconds.values())))


def _farm(stage: str, pictures: Path, out: Path, where: list[str], cores: Cores) -> dict[str, Any]:
    """Run the command, and see when its files appear. Raises RuntimeError if it fails."""
    command = [sys.executable, "-m", "backend", "farm", str(pictures), "--out", str(out), *where]
    began = time.time()
    done = subprocess.run(command, cwd=ROOT, env=os.environ | ENVIRONMENT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)
    ends = sorted(path.stat().st_mtime for path in out.glob("*.glb"))
    assets = json.loads((out / "report.json").read_text())["assets"]
    means = {f"{name}_s": sum(a["seconds"][name] for a in assets) / len(assets) for name in SECONDS}
    means["cores_s"] = cores.between(ends[0], ends[-1]) / (len(ends) - 1)
    return _pace(stage, len(ends) - 1, ends[-1] - ends[0], start_s=ends[0] - began, **means)


@contextmanager
def _nodes(count: int, cpus: int = 1) -> Iterator[str]:
    """The address of Ray's own test cluster."""
    os.environ |= ENVIRONMENT | {"PYTHONPATH": str(ROOT)}
    from ray.cluster_utils import Cluster

    cluster = Cluster()
    try:
        for number in range(count):
            node = cluster.add_node(num_cpus=cpus, object_store_memory=STORE_BYTES)
            if cpus == 1:  # Ray counts cores and does not keep to them
                _keep_to_core(node, number)
        cluster.wait_for_nodes(60)
        yield str(cluster.address)
    finally:
        cluster.shutdown()


def _keep_to_core(node: Any, number: int) -> None:
    """Let the processes of a machine of the test cluster, and all that they start, run on one core only."""
    cores = sorted(os.sched_getaffinity(0))
    for started in node.all_processes.values():
        for process in started:
            os.sched_setaffinity(process.process.pid, {cores[number % len(cores)]})


# --- a simulation ----------------------------------------------------------------------------------------------------


class WaitingRead(Read):
    """Waits as long as reading takes."""

    def _read(self, row: Row, _: bytes) -> bytes:
        time.sleep(self._work.settings["read"])
        return bytes(BYTES["read"])


class WaitingSample(Sample):
    """Waits as long as the model takes."""

    def __init__(self, work: Work, device: str) -> None:
        self._work = work

    def _sample(self, row: Row, state: bytes) -> bytes:
        time.sleep(self._work.settings["sample"])
        return bytes(BYTES["sample"])


class WaitingFinish(Finish):
    """Waits as long as finishing takes."""

    def _finish(self, row: Row, state: bytes) -> bytes:
        time.sleep(self._work.settings["finish"])
        return row.line(status="done").text().encode()


def simulate(rows: int, machines: int, cpus: int, speed: float) -> dict[str, Any]:
    """Send rows through the pipeline on a test cluster. ``speed`` divides the times."""
    with tempfile.TemporaryDirectory() as folder, _nodes(machines, cpus) as address:
        Path(folder, ".farm").mkdir()
        report = Report(Target(folder), {})
        with connected(address, cpus=None, store_bytes=None) as size:
            settings = {name: seconds / speed for name, seconds in SECONDS.items()}
            work = Work(settings, ("glb",), folder, "", "", False, (), attempts())
            plan = Plan.of(size, device="cpu", share=1.0, actors=None)
            wanted = [Row(f"row {number}", [], name=f"row {number}") for number in range(rows)]
            began, ends = time.perf_counter(), []
            for line in lines(wanted, work, plan, stages=(WaitingRead, WaitingSample, WaitingFinish)):
                report.take(line)
                ends.append(time.perf_counter() - began)
        report.write(last=True)
    # Finishing is the longest part: as many at once as have room beside actors and readers.
    ideal = plan.actors / settings["sample"]
    return {
        "stage": f"simulated, {machines} machines of {cpus} cores, {speed:g} times as fast",
        "rows": len(report.lines),
        "failed": sum(line.status != "done" for line in report.lines.values()),
        "start_s": ends[0],
        "seconds": ends[-1],
        "per_second": (rows - 1) / (ends[-1] - ends[0]),
        "per_second_at_best": ideal,
        "actors": plan.actors,
        "driver_mb": _peak_mb(),
    }


def _peak_mb() -> float:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """``python -m scripts.benchmark.farming measure OBJECTS WAYS...`` or ``simulate ROWS MACHINES CPUS SPEED``."""
    what, *given = sys.argv[1:]
    if what == "measure":
        found: Any = measure(int(given[0]), given[1:])
    else:
        rows, machines, cpus, speed = given
        found = simulate(int(rows), int(machines), int(cpus), float(speed))
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
