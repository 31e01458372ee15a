"""How long the backend takes from its start until it is ready, beside the time to import torch."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
RUNS = 5


def measure() -> list[dict[str, Any]]:
    """Measure both: the first run of each, then the median of ``RUNS`` later ones, which take turns."""
    ways: dict[str, Callable[[], float]] = {"import torch": _import_torch, "serve until ready": _serve}
    seconds: dict[str, list[float]] = {name: [way()] for name, way in ways.items()}
    for _ in range(RUNS):
        for name, way in ways.items():
            seconds[name].append(way())
    return [
        {"stage": name, "cold_s": first, "warm_s": statistics.median(rest), "runs": 1 + RUNS}
        for name, (first, *rest) in seconds.items()
    ]


def _import_torch() -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import torch"], check=True)
    return time.perf_counter() - started


def _serve() -> float:
    started = time.perf_counter()
    command = [sys.executable, "-m", "backend", "serve"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        message = json.loads(process.stdout.readline())
        seconds = time.perf_counter() - started
        process.stdin.close()  # ends the process
    if message["type"] != "ready":
        raise RuntimeError(f"the backend did not start: {message}")
    return seconds
