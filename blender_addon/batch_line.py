"""The jobs of a batch in their order, and how fast they come.

Each asset is made by the backend and then written here, which a GPU and the backend need not wait for: the next one is
asked for as soon as the present one is only to be finished.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import sys
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

from ..backend import protocol
from ..backend.formats import FORMATS
from .jobs.queue import LAST_STAGE, Job, JobQueue
from .report import Asset

POLL = 0.02  # seconds
AHEAD = 4  # assets that are asked for before their turn, at most


@dataclasses.dataclass
class Pace:
    """The progress of a batch, and its speed."""

    total: int  # assets
    number: int = 0  # of the present asset, from 1
    name: str = ""
    made: list[float] = dataclasses.field(default_factory=list)  # seconds from the asset before to each finished one
    since: float = dataclasses.field(default_factory=time.monotonic)  # when the last one was finished

    @property
    def label(self) -> str:
        """The beginning of a line: *[1/8] car*."""
        return f"[{self.number}/{self.total}] {self.name}"

    def line(self, job: Job) -> str:
        """The progress line. It tells the time left once an asset is finished. The first asset includes the start."""
        line = f"{self.label}: {job.stage or 'starting'} {job.fraction:.0%}"
        if not self.made:
            return line
        left = sum(self.made) / len(self.made) * (self.total - self.number + 1 - job.fraction)
        return f"{line}, about {left / 60:.0f} min left" if left > 90 else f"{line}, about {left:.0f} s left"

    def ended(self) -> None:
        """The present asset is finished."""
        now = time.monotonic()
        self.made.append(now - self.since)
        self.since = now


class Line:
    """The job of the present asset, and those of the next ones. ``work`` is a folder for temporary files."""

    def __init__(self, queue: JobQueue, pace: Pace, work: Path, options: argparse.Namespace) -> None:
        self.pace = pace
        self.work = work
        self._queue = queue
        self._options = options
        self._jobs: dict[str, Job] = {}

    def wait_for(self, asset: Asset, following: Sequence[Asset]) -> Job:
        """The job of an asset, when it has ended. In a terminal, shows its progress. Raises OSError.

        Of the ``following`` ones, as many as the backend takes are asked for meanwhile.
        """
        job = self._ask(asset)
        while job.active:
            self._queue.step()
            if job.stage == LAST_STAGE:
                with contextlib.suppress(OSError):  # it is said when that one's turn has come
                    for each in following[: max(1, self._queue.at_once - 1)]:
                        self._ask(each)
                self._queue.step()  # Blender may write the present asset for long now
            if sys.stdout.isatty():
                say(f"\r\033[K{self.pace.line(job)}", end="")
            time.sleep(POLL)
        if sys.stdout.isatty():
            say("\r\033[K", end="")
        return job

    def drop(self, asset: Asset) -> None:
        """Forget the job of an asset, with its files. If it has not ended, it is given up."""
        job = self._jobs.pop(asset.name, None)
        if job in self._queue.jobs:
            self._queue.give_up(job)

    def _ask(self, asset: Asset) -> Job:
        if (asked := self._jobs.get(asset.name)) is not None:
            return asked
        folder = self.work / uuid.uuid4().hex
        folder.mkdir()
        formats = tuple(name for name in self._options.formats if not FORMATS[name].by_blender and name != "glb")
        settings = self._options.settings
        job = Job(
            protocol.Generate(
                uuid.uuid4().hex, tuple(asset.images), str(folder), name=asset.name, formats=formats, **settings
            )
        )
        self._jobs[asset.name] = job
        self._queue.submit(job)
        return job


def say(text: str, end: str = "\n") -> None:
    """Print something. What the output's encoding lacks is printed as escapes. If nobody reads it, nothing is printed.

    What a batch makes does not depend on what it can print.
    """
    try:
        print(text, end=end, flush=True)
    except UnicodeEncodeError:
        print(text.encode("ascii", "backslashreplace").decode(), end=end, flush=True)
    except (OSError, ValueError) as error:  # the reader has gone, the disk of the log is full, or it is closed
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 (open to the end)
        print(f"The output cannot be written: {error}. The batch goes on.", file=sys.stderr)
