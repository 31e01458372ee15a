"""Measuring seconds and peak memory, and the machine's own rates of computing and copying."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

MATMUL_SIDE = {"cpu": 2048, "cuda": 8192}
COPIED_BYTES = {"cpu": 1 << 28, "cuda": 1 << 30}
REPEATS = 5

#: The file where Linux states how much memory the process has, and the file that resets the peak.
STATUS, CLEAR_REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Timing:
    """The seconds of the first call and the median of ``runs`` later ones, and the peak memory of the first."""

    cold: float
    warm: float | None
    runs: int
    peak: int | None  # bytes; None if the system does not tell


class Meter:
    """Measures calls on a device.

    Peak memory is relative to the memory in use when the meter was made: on CUDA in torch's allocator, on the CPU in
    the process's resident set (Linux only). So networks loaded since then count.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._base = torch.cuda.memory_allocated(device) if device.type == "cuda" else _status("VmRSS") or 0

    def measure(self, run: Callable[[], Any], repeats: int) -> Timing:
        """Time a first call and ``repeats`` more."""
        self._forget_peak()
        cold = self.time(run)
        peak = self._peak()
        warm = [self.time(run) for _ in range(repeats)]
        return Timing(cold, statistics.median(warm) if warm else None, len(warm), peak)

    def time(self, run: Callable[[], Any]) -> float:
        """The seconds of one call, including the device's work."""
        self._wait()
        started = time.perf_counter()
        run()
        self._wait()
        return time.perf_counter() - started

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def _forget_peak(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        elif CLEAR_REFS.exists():
            CLEAR_REFS.write_text("5")  # proc(5): resets the peak resident set to what is resident now

    def _peak(self) -> int | None:
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) - self._base
        peak = _status("VmHWM") if CLEAR_REFS.exists() else None
        return None if peak is None else max(peak - self._base, 0)


def _status(field: str) -> int | None:
    """A size in bytes from Linux's status of the process; None on other systems."""
    if not STATUS.exists():
        return None
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024


def rates(device: torch.device) -> dict[str, float]:
    """The best of several runs: operations per second in large matrix products by dtype, bytes per second in copies.

    The dtypes are those that networks compute in: fp32, and on CUDA also fp16. A copy reads and writes, so it counts
    twice its bytes.
    """
    meter = Meter(device)
    side = MATMUL_SIDE[device.type]
    best = {}
    for dtype in [torch.float32] + [torch.float16] * (device.type == "cuda"):
        a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
        seconds = min(meter.time(partial(torch.mm, a, b)) for _ in range(1 + REPEATS))
        best[str(dtype).removeprefix("torch.")] = 2 * side**3 / seconds
    source = torch.zeros(COPIED_BYTES[device.type], dtype=torch.uint8, device=device)
    target = torch.empty_like(source).copy_(source)
    best["copy"] = 2 * len(source) / min(meter.time(lambda: target.copy_(source)) for _ in range(REPEATS))
    return best
