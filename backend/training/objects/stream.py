"""Objects drawn without end, on the device that learns from them."""

from __future__ import annotations

import itertools
import math
import multiprocessing
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from .data import DataConfig, Sketch, joined, make_objects, sketch
from .families import FAMILIES
from .shapes import HELD_OUT

Columns = dict[str, Tensor]


class ObjectStream:
    """A thread that draws objects, ``at_once`` of a family after another, until it is stopped or has ``limit``.

    On a GPU it has a stream of its own, so that training may run beside it. Everything it draws stays on the device.
    """

    def __init__(
        self,
        config: DataConfig,
        device: torch.device,
        *,
        first: int,
        at_once: int,
        limit: int,
        finish: Callable[[Columns], Columns],
        helpers: int = 1,
    ) -> None:
        """``first``: the number of the first object of each family. ``finish`` changes the columns of what was drawn
        (``make_objects``), in the thread. ``helpers``: processes that work out what to draw."""
        self.config, self.device = config, device
        self.first, self.at_once, self.limit, self.finish, self.helpers = first, at_once, limit, finish, helpers
        self.drawn, self.running = 0, False
        self.error: Exception | None = None
        self._parts: list[Columns] = []
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="objects", daemon=True)

    def start(self) -> None:
        """Begin to draw."""
        self.running = True
        self._thread.start()

    def stop(self) -> None:
        """Stop after what is being drawn now."""
        self._stopping.set()
        self._thread.join()

    def wait(self, timeout: float) -> None:
        """Wait until no more objects will come, at most ``timeout`` seconds."""
        self._thread.join(max(0.0, timeout))

    def take(self) -> Columns:
        """The columns of all objects drawn so far. Waits until there are some of every family.

        Raises RuntimeError if there are none and no more will come.
        """
        with self._changed:
            self._changed.wait_for(lambda: self.drawn >= self.at_once * len(FAMILIES) or not self.running)
            if not self._parts:
                raise RuntimeError(f"no objects were drawn: {self.error}") from self.error
            whole = joined(self._parts)
            if self.device.type == "cuda":
                torch.cuda.current_stream(self.device).synchronize()  # the thread may then use the parts' memory
            self._parts = [whole]
            return whole

    def _run(self) -> None:
        try:
            with torch.no_grad(), _own_stream(self.device):
                self._draw()
        except Exception as error:  # told to whoever takes the objects; those drawn before are good
            self.error = error
        finally:
            with self._changed:
                self.running = False
                self._changed.notify_all()

    def _draw(self) -> None:
        for each in self._sketches():
            if self._stopping.is_set():
                return
            columns = self.finish(make_objects(self.config, each, self.device))
            if self.device.type == "cuda":
                torch.cuda.current_stream(self.device).synchronize()
            with self._changed:
                self._parts.append(columns)
                self.drawn += self.at_once
                self._changed.notify_all()

    def _sketches(self) -> Iterator[Sketch]:
        """What to draw, family after family. Other processes work it out ahead: it takes as long as the drawing."""
        jobs = self._jobs()
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(self.helpers, context) as pool:
            ahead = deque(pool.submit(sketch, *job) for job in itertools.islice(jobs, 2 * self.helpers))
            while ahead and not self._stopping.is_set():
                yield ahead.popleft().result()
                ahead.extend(pool.submit(sketch, *job) for job in itertools.islice(jobs, 1))
            for waiting in ahead:
                waiting.cancel()

    def _jobs(self) -> Iterator[tuple[DataConfig, str, range, tuple[int, ...]]]:
        for turn in range(math.ceil(self.limit / (self.at_once * len(FAMILIES)))):
            numbers = range(self.first + turn * self.at_once, self.first + (turn + 1) * self.at_once)
            if numbers.stop > HELD_OUT:
                raise ValueError(f"there are no objects for training from number {HELD_OUT} on")
            for kind, family in enumerate(FAMILIES):
                yield self.config, family, numbers, (kind, numbers.start, 4)


def _own_stream(device: torch.device) -> AbstractContextManager[object]:
    if device.type != "cuda":
        return nullcontext()
    torch.cuda.current_stream(device).synchronize()  # what ``finish`` uses is there
    return torch.cuda.stream(torch.cuda.Stream(device))
