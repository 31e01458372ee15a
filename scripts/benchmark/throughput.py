"""How many objects a minute a backend process makes, asked as the queue and batches ask it: one by one, and with the
next one sent while those before are being finished: as many as the backend takes, or two where it takes one.

Both ways make the same objects, in turns, so that what else the machine does meets both. The figure is the median of
the ratios of neighbours. Nothing is taken from what was kept: the model is loaded anew before each turn, and a first
object, which is not counted, warms it up.
"""

from __future__ import annotations

import hashlib
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend import protocol

from .interactive import EXAMPLES, Served, serve

PAIRS, OBJECTS = 5, 8  # turns of each way, and objects in each
WARMING = 0  # the seed of the object that warms up


@dataclass(frozen=True)
class Run:
    """Objects that were made in a row."""

    seconds: float
    made: float  # seconds from when an object was taken until it was finished only, the median
    finished: float  # seconds from then on
    digests: tuple[str, ...]  # of their .glb


def measure_queue() -> list[dict[str, Any]]:
    """Objects a minute, one by one and overlapped. Raises RuntimeError if the same seed gives other bytes."""
    runs: dict[bool, list[Run]] = {False: [], True: []}
    with serve() as served:
        places = max(1, served.at_once - 1)
        for number in range(PAIRS):
            for overlapped in (False, True) if number % 2 else (True, False):
                at_once = max(2, served.at_once) if overlapped else 1
                run(served, f"warm-{number}-{overlapped}", [WARMING], at_once=1)
                runs[overlapped].append(run(served, f"{number}-{overlapped}", range(1, 1 + OBJECTS), at_once=at_once))
                served.send(protocol.Unload())
                served.stdout.readline()
    if len({each.digests for both in runs.values() for each in both}) > 1:
        raise RuntimeError("overlapped, the same seeds give other bytes")
    alone, over = runs[False], runs[True]
    made, finished = (statistics.median(getattr(each, name) for each in alone) for name in ("made", "finished"))
    ratios = sorted(one.seconds / other.seconds for one, other in zip(alone, over, strict=True))
    return [
        _measurement("one by one", alone) | {"made_s": made, "finished_s": finished},
        _measurement("overlapped", over)
        | {
            "ratio": statistics.median(ratios),
            "ratio_least": ratios[0],
            "ratio_most": ratios[-1],
            # If none took anything from another:
            "ratio_at_best": (made + finished) / max(made, finished / places),
        },
    ]


def run(served: Served, name: str, seeds: Sequence[int], *, at_once: int, images: Sequence[str] = EXAMPLES) -> Run:
    """Make an object of each seed, with so many jobs at once in the backend. Raises RuntimeError if one fails.

    The images are taken in turn, by the seeds.
    """
    waiting = [_request(served.folder, f"{name}-{seed}", seed, images[seed % len(images)]) for seed in seeds]
    taken, finishing, ended = dict[str, float](), dict[str, float](), dict[str, float]()
    digests = dict[str, str]()

    def take() -> None:
        request = waiting.pop(0)
        taken[request.job] = time.perf_counter()
        served.send(request)

    take()
    for line in served.stdout:
        message, now = protocol.decode_message(line), time.perf_counter()
        if isinstance(message, protocol.Error):
            raise RuntimeError(message.message)
        if isinstance(message, protocol.Progress) and message.stage == "finish":
            finishing.setdefault(message.job, now)
        if isinstance(message, protocol.Result):
            ended[message.job] = now
            digests[message.job] = digest(message.glb)
        if len(ended) == len(seeds):
            break
        if waiting and len(taken) - len(ended) < at_once and len(taken) == len(finishing):
            take()
    else:
        raise RuntimeError("the backend has ended")
    made, finished = (
        [after[job] - before[job] for job in taken] for before, after in ((taken, finishing), (finishing, ended))
    )
    seconds = max(ended.values()) - min(taken.values())
    return Run(seconds, statistics.median(made), statistics.median(finished), tuple(digests[job] for job in taken))


def digest(path: str) -> str:
    """The SHA-256 of a file."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def _request(folder: Path, name: str, seed: int, image: str) -> protocol.Generate:
    out = folder / name
    out.mkdir()
    return protocol.Generate(name, (image,), str(out), seed=seed)


def _measurement(stage: str, runs: list[Run]) -> dict[str, Any]:
    """The median turn, as objects a minute and as seconds an object."""
    seconds = statistics.median(each.seconds for each in runs) / OBJECTS
    return {"stage": stage, "warm_s": seconds, "per_minute": 60 / seconds, "runs": len(runs) * OBJECTS}
