"""Stages that make nothing, for what is true of every pipeline."""

from __future__ import annotations

import os
import signal
import time

from backend.farm.rows import Row
from backend.farm.stages import Finish, Read, Sample, Work

POISON, FAULTY = "poison", "faulty"


class QuickRead(Read):
    def _read(self, row: Row, _: bytes) -> bytes:
        return row.name.encode()


class Deadly(Sample):
    """Kills its worker with some rows, and fails with others. The others tell who made them."""

    def __init__(self, work: Work, device: str) -> None:
        self._work = work

    def _sample(self, row: Row, state: bytes) -> bytes:
        if row.name.startswith(POISON):
            os.kill(os.getpid(), signal.SIGKILL)
        if row.name.startswith(FAULTY):
            raise ValueError("this one cannot be made")
        time.sleep(0.05)
        return state


class QuickFinish(Finish):
    def _finish(self, row: Row, state: bytes) -> bytes:
        return row.line(status="done", note=state.decode()).text().encode()
