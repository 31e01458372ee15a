"""The folder of a run: one process at a time, settings that stay, metrics up to the checkpoint."""

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
    """Keep other processes out of a run's folder. The system takes the lock from a process that was killed.

    Raises BackendError if another process is there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "run.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        advice = "wait until it has ended, stop it, or choose another folder with --folder"
        raise BackendError("busy", f"another process is at work in {folder}: {advice}") from error
    try:
        yield
    finally:
        lock.release()


def claim(folder: Path, config: dict[str, Any], write: bool) -> None:
    """Hold a run's settings against those that its folder was begun with; ``write`` them down if it is new.

    Raises ValueError if they differ, or cannot be read.
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
    """Calls ``save`` every ``every`` seconds, or less often where it takes so long that it would be most of the work:
    between two saves there is ``SHARE`` times what the last one took."""

    SHARE = 20

    def __init__(self, save: Callable[[], None], every: float) -> None:
        self.save, self.every = save, every
        self.next = time.monotonic() + every

    def if_due(self) -> None:
        """Save if it is time to."""
        started = time.monotonic()
        if started >= self.next:
            self.save()
            ended = time.monotonic()
            self.next = ended + max(self.every, self.SHARE * (ended - started))


class RunLog:
    """What a run says of itself: means of its metrics in ``metrics.jsonl`` and for TensorBoard if it is there, a line
    for every ``EVERY`` updates, and now and then in words.

    Lines fall on numbers of updates, not on moments. So a run that is saved only when a line was written, and that
    begins by leaving out the lines after its checkpoint, writes the same file however often it was killed.
    """

    EVERY = 10
    SILENCE = 10.0  # seconds between words

    def __init__(self, folder: Path, done: int, steps: int, batch: int, say: Callable[[str], None]) -> None:
        """For a run that has ``done`` of its ``steps`` behind it."""
        self.file = folder / "metrics.jsonl"
        self.first, self.steps, self.batch, self.say = done, steps, batch, say
        self._leave_out_after(done)
        self.board = _tensorboard(folder, done, say)
        self.started = self.spoken = time.monotonic()
        self._clear()

    def _leave_out_after(self, step: int) -> None:
        """Those updates come again. A line without its end was cut off by a kill."""
        if not self.file.exists():
            return
        lines = self.file.read_text("utf-8").splitlines(keepends=True)
        try:
            kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{self.file} is damaged ({error}): move it away, the run goes on without it") from error
        if kept != lines:
            write_whole(self.file, "".join(kept))

    def _clear(self) -> None:
        self.sums: dict[str, float] = {}
        self.counts: dict[str, int] = {}

    def add(self, step: int, values: Metrics) -> bool:
        """Metrics of the update that led to ``step``. One that is not finite says nothing: there was no such sample, or
        fp16 overflowed.

        Returns whether a line was written: only then may the run be saved.
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
    """A writer of TensorBoard's event files; None where TensorBoard, which only training would need, is missing."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        say("TensorBoard is not installed (pip install tensorboard): metrics go to metrics.jsonl alone")
        return None
    return SummaryWriter(str(folder), purge_step=done + 1)  # what was shown after the checkpoint is hidden


def clock(seconds: float) -> str:
    """A length of time in minutes, hours or days, as a person would say it."""
    minutes = int(seconds / 60)
    if minutes >= 2 * 24 * 60:
        return f"{minutes // (24 * 60):,} days"
    return f"{minutes // 60}:{minutes % 60:02d} h" if minutes >= 60 else f"{minutes} min"
