"""The part of ``scripts.device_run`` that drives the backend process as Blender does, with the bundled student."""

from __future__ import annotations

import queue
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import torch

from backend import protocol

from ..throughput import measure_queue
from .setup import Say, Scale

ROOT = Path(__file__).resolve().parents[3]
TIMEOUT = 60.0
ENDINGS = (protocol.Result, protocol.Error, protocol.Cancelled)


class Backend:
    """A backend process, and what it says with the seconds since its start."""

    def __init__(self, device: str, log: Path) -> None:
        self._log = log.open("wb")
        self.started = time.perf_counter()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "backend", "serve", "--device", device],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
        )
        self._messages: queue.Queue[protocol.Message] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._messages.put(protocol.decode_message(line.decode()))

    def send(self, request: protocol.Request) -> None:
        """Send one request."""
        assert self.process.stdin is not None
        self.process.stdin.write(protocol.encode(request).encode())
        self.process.stdin.flush()

    def receive(self) -> protocol.Message:
        """The next message. Raises queue.Empty after a minute of silence."""
        return self._messages.get(timeout=TIMEOUT)

    def job(self, name: str, folder: Path, *, cancel_at: str = "") -> dict[str, Any]:
        """Make an object; cancel it when a stage is reported. Returns how it ended, and when things came."""
        out = folder / name
        out.mkdir()
        image = str(ROOT / "examples" / "mug.png")
        started = time.perf_counter()
        self.send(protocol.Generate(job=name, images=(image,), out=str(out), seed=1, retry_seconds=0.0))
        found: dict[str, Any] = {"job": name}
        while True:
            message, now = self.receive(), round(time.perf_counter() - started, 4)
            if isinstance(message, protocol.Preview):
                found["preview_s"] = now
            if cancel_at and isinstance(message, protocol.Progress) and message.stage == cancel_at:
                self.send(protocol.Cancel(name))
                cancel_at, started = "", time.perf_counter()
            if isinstance(message, ENDINGS):
                found |= {"ended": type(message).__name__, "s": now}
                if isinstance(message, protocol.Result):
                    found |= {"timings": message.timings, "counts": message.counts}
                if isinstance(message, protocol.Error):
                    found |= {"code": message.code, "message": message.message, "hint": message.hint}
                return found

    def close(self) -> int:
        """End it as Blender's end does. Returns its exit code."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        code = self.process.wait(timeout=TIMEOUT)
        self._log.close()
        return code


def serve(scale: Scale, say: Say) -> None:
    """Cold, five warm, one cancelled, one without memory and a good one after it."""
    device = scale.device
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log = folder / "log"
        backend = Backend(device.type, log)
        ready = backend.receive()
        say({"ready_s": round(time.perf_counter() - backend.started, 3), "message": protocol.encode(ready)[:400]})
        try:
            say(backend.job("cold", folder))
            for number in range(5):
                say(backend.job(f"warm-{number}", folder))
            say(backend.job("cancelled", folder, cancel_at="structure"))
            if device.type == "cuda":
                backend.send(protocol.Unload())
                backend.receive()
                taken = _take_all_memory(device)
                say({"taken_bytes": sum(part.nbytes for part in taken)} | backend.job("out-of-memory", folder))
                taken.clear()
                torch.cuda.empty_cache()
                say(backend.job("after", folder))
            say({"exit_code": backend.close()})
        finally:
            backend.process.kill()
            say({"log": log.read_text(errors="replace")[-1500:]})


def _take_all_memory(device: torch.device) -> list[torch.Tensor]:
    """Occupy the device's memory, in pieces, until there is none."""
    taken: list[torch.Tensor] = []
    size = 1 << 36
    while size >= 1 << 20:
        try:
            taken.append(torch.empty(size, dtype=torch.uint8, device=device))
        except torch.OutOfMemoryError:
            size //= 4
    return taken


def overlap(scale: Scale, say: Say) -> None:
    """Objects a minute, one by one and with several at once in the backend (``bench --stage queue``)."""
    if scale.repeats == 1:
        say({"end": "not rehearsed: it has a test of its own"})
        return
    for measurement in measure_queue():
        say(measurement)
