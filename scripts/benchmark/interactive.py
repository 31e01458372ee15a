"""How soon candidates and live previews are there: a backend process, asked as Blender asks it.

A time runs from the request until the preview's file has been read. The window adds to it: the add-on looks for
messages 50 times a second, and shading and drawing a mesh takes it some hundredths of a second.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import IO, Any

import numpy as np

from backend import protocol

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = tuple(str(ROOT / "examples" / f"{name}.png") for name in ("mug", "chair", "house", "car"))
COMMAND = [sys.executable, "-m", "backend", "serve"]
CANDIDATES = 8
EXPLORES, CHANGES = 10, 20
BEFORE_CANCEL = 0.1  # seconds that an update has run when it is cancelled


@dataclass
class Served:
    """A running backend. No two requests have the same seed, so nothing is taken from what it has kept."""

    stdin: IO[str]
    stdout: IO[str]
    folder: Path
    at_once: int = 1  # jobs that it takes, if all but the last one are only to be finished
    seeds: Iterator[int] = field(default_factory=lambda: count(1))

    def ask(self, image: str, candidates: int = 1) -> str:
        """Send a request for candidates of an image. Returns the job's id."""
        seeds = tuple(next(self.seeds) for _ in range(candidates))
        out = self.folder / f"job-{seeds[0]}"
        out.mkdir()
        self.send(protocol.Generate(out.name, (image,), str(out), seeds=seeds))
        return out.name

    def cancel(self, job: str) -> None:
        """Cancel a job."""
        self.send(protocol.Cancel(job))

    def previews(self) -> Iterator[float]:
        """The moment at which each candidate of the running job has been read. Ends with the job.

        Raises RuntimeError if the job fails.
        """
        for line in self.stdout:
            message = protocol.decode_message(line)
            if isinstance(message, protocol.Candidate) and message.arrays:
                with np.load(message.arrays) as arrays:
                    _ = [arrays[name] for name in ("vertices", "faces", "colors")]
                yield time.perf_counter()
            elif isinstance(message, protocol.Explored | protocol.Cancelled):
                return
            elif isinstance(message, protocol.Error):
                raise RuntimeError(message.message)
        raise RuntimeError("the backend has ended")

    def send(self, request: protocol.Request) -> None:
        """Send a request."""
        self.stdin.write(protocol.encode(request))
        self.stdin.flush()


@contextmanager
def serve(*options: str) -> Iterator[Served]:
    """A backend that is ready, started with these options."""
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with tempfile.TemporaryDirectory() as folder, subprocess.Popen([*COMMAND, *options], cwd=ROOT, **pipes) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        ready = protocol.decode_message(process.stdout.readline())
        if not isinstance(ready, protocol.Ready):
            raise RuntimeError("the backend has not started")
        yield Served(process.stdin, process.stdout, Path(folder), ready.at_once)
        process.stdin.close()  # ends the process


def measure_explore() -> list[dict[str, Any]]:
    """From the press until the first candidate, and until all of them."""
    first: list[float] = []
    last: list[float] = []
    with serve() as served:
        for number in range(1 + EXPLORES):
            began = time.perf_counter()
            served.ask(EXAMPLES[number % len(EXAMPLES)], CANDIDATES)
            moments = list(served.previews())
            first.append(moments[0] - began)
            last.append(moments[-1] - began)
    return [_measurement("first candidate", first), _measurement(f"{CANDIDATES} candidates", last)]


def measure_live() -> list[dict[str, Any]]:
    """From a change until its preview: of the seed, and of the image. And until a cancelled update has ended."""
    with serve() as served:

        def update(image: str) -> float:
            began = time.perf_counter()
            served.ask(image)
            return max(served.previews()) - began

        def cancelled() -> float:
            job = served.ask(EXAMPLES[0])
            time.sleep(BEFORE_CANCEL)
            began = time.perf_counter()
            served.cancel(job)
            list(served.previews())
            return time.perf_counter() - began

        changing: dict[str, Callable[[int], float]] = {
            "change of the seed to preview": lambda number: update(EXAMPLES[0]),
            "change of the image to preview": lambda number: update(EXAMPLES[number % len(EXAMPLES)]),
            "cancel to end": lambda number: cancelled(),
        }
        return [
            _measurement(name, [change(number) for number in range(1 + CHANGES)]) for name, change in changing.items()
        ]


def _measurement(stage: str, seconds: list[float]) -> dict[str, Any]:
    """The first call, and of the later ones the median and the 95th percentile."""
    first, *rest = seconds
    return {
        "stage": stage,
        "cold_s": first,
        "warm_s": statistics.median(rest),
        "p95_s": float(np.percentile(rest, 95)),
        "runs": len(seconds),
    }
