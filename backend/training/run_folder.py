"""The folder of a run: one process at a time, fixed settings, metrics up to the checkpoint."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ..errors import BackendError
from ..files import write_whole

Metrics = dict[str, float]


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep other processes out of a run's folder. The system releases the lock of a killed process.

    Raises BackendError if another process is using the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "run.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        advice = "wait until it has finished, stop it, or choose another folder with --folder"
        raise BackendError("busy", f"another process is using {folder}: {advice}") from error
    try:
        yield
    finally:
        lock.release()


def claim(folder: Path, config: dict[str, Any], write: bool) -> None:
    """Compare a run's settings with those that its folder started with. For a new folder, ``write`` records them.

    Raises ValueError if they differ or cannot be read.
    """
    path = folder / "config.json"
    if not path.exists():
        if write:
            write_whole(path, json.dumps(config, indent=1) + "\n")
        return
    try:
        kept = _flat(json.loads(path.read_text("utf-8")))
    except (ValueError, TypeError, AttributeError) as error:
        advice = "choose another folder with --folder, or delete that file if you know whose run this is"
        raise ValueError(f"{path} cannot be read ({error}): {advice}") from error
    asked = _flat(config)
    other = sorted(name for name in kept.keys() | asked.keys() if kept.get(name) != asked.get(name))
    if other:
        differ = f"a run with other settings ({', '.join(other)}: see its config.json)"
        raise ValueError(f"{folder} holds {differ}: choose another folder with --folder")


def _flat(config: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in config.items() if name != "preset"} | config.get("preset", {})


class Saving:
    """Calls ``save`` every ``every`` seconds, or less often if it takes long: between two saves there is at least
    ``SHARE`` times the duration of the last one."""

    SHARE = 20

    def __init__(self, save: Callable[[], None], every: float) -> None:
        self.save, self.every = save, every
        self.next = time.monotonic() + every

    def if_due(self) -> None:
        """Save if it is time."""
        started = time.monotonic()
        if started >= self.next:
            self.save()
            ended = time.monotonic()
            self.next = ended + max(self.every, self.SHARE * (ended - started))


class RunLog:
    """What a run reports: means of its metrics in ``metrics.jsonl`` and for TensorBoard if it is installed, one line
    every ``EVERY`` updates, and now and then in words.

    When a line is written depends on the number of updates, not on the time. The run is saved only after a line was
    written, and a restart drops the lines after the checkpoint. So the file is the same however often the run is
    killed.
    """

    EVERY = 10
    SILENCE = 10.0  # seconds between words

    def __init__(self, folder: Path, done: int, steps: int, batch: int, say: Callable[[str], None]) -> None:
        """For a run that has done ``done`` of its ``steps``."""
        self.file = folder / "metrics.jsonl"
        self.first, self.steps, self.batch, self.say = done, steps, batch, say
        self._leave_out_after(done)
        self.board = _tensorboard(folder, done, say)
        self.started = self.spoken = time.monotonic()
        self._clear()

    def _leave_out_after(self, step: int) -> None:
        """Drop the lines after ``step``: those updates are repeated. A line without its end was cut off by a kill."""
        if not self.file.exists():
            return
        lines = self.file.read_text("utf-8").splitlines(keepends=True)
        try:
            kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{self.file} is damaged ({error}): move it away and the run continues") from error
        if kept != lines:
            write_whole(self.file, "".join(kept))

    def _clear(self) -> None:
        self.sums: dict[str, float] = {}
        self.counts: dict[str, int] = {}

    def add(self, step: int, values: Metrics) -> bool:
        """Add the metrics of the update that led to ``step``. A value that is not finite is ignored: there was no such
        sample, or fp16 overflowed.

        Returns whether a line was written. Only then may the run be saved.
        """
        for name, value in values.items():
            if math.isfinite(value):
                self.sums[name] = self.sums.get(name, 0.0) + value
                self.counts[name] = self.counts.get(name, 0) + 1
        if step % self.EVERY and step < self.steps:
            return False
        means = {name: value / self.counts[name] for name, value in self.sums.items()}
        self._clear()
        self._write(step, means)
        if time.monotonic() - self.spoken > self.SILENCE or step == self.steps:
            self._speak(step, means)
        return True

    def _write(self, step: int, means: Metrics) -> None:
        with self.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **means}) + "\n")
        if self.board is not None:
            for name, value in means.items():
                self.board.add_scalar(name, value, step)

    def _speak(self, step: int, means: Metrics) -> None:
        self.spoken = time.monotonic()
        pace = (self.spoken - self.started) / (step - self.first)
        words = "  ".join(f"{name} {value:.4f}" for name, value in means.items())
        left = clock(pace * (self.steps - step))
        self.say(f"{step}/{self.steps}  {words}  {self.batch / pace:.1f}/s  {left} left")


def _tensorboard(folder: Path, done: int, say: Callable[[str], None]) -> Any:
    """A writer of TensorBoard's event files; None if TensorBoard, which only training uses, is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        say("TensorBoard is not installed (pip install tensorboard): metrics go only to metrics.jsonl")
        return None
    return SummaryWriter(str(folder), purge_step=done + 1)  # what was shown after the checkpoint is hidden


def clock(seconds: float) -> str:
    """A duration in minutes, hours or days, as people write it."""
    minutes = int(seconds / 60)
    if minutes >= 2 * 24 * 60:
        return f"{minutes // (24 * 60):,} days"
    return f"{minutes // 60}:{minutes % 60:02d} h" if minutes >= 60 else f"{minutes} min"
