"""Asks the backend for cut-outs, and takes its answers. No bpy."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from pathlib import Path

from ...backend import protocol
from .client import Backend
from .failures import of_all
from .inputs import InputWriter

#: How many the backend has at a time. It answers them one after the other, and refuses more than 64.
MOST_SENT = 8
#: The code of the error of those that were pending when the backend was stopped on purpose.
STOPPED = "backend_stopped"


class State(enum.Enum):
    """The states of a cut-out."""

    WAITING = "waiting"
    SENT = "sent"
    DONE = "done"
    FAILED = "failed"


@dataclass(eq=False)
class CutOut:
    """The cut-out of one image. When it is done, ``answer`` names the file and says what was done."""

    request: protocol.Cutout
    writer: InputWriter | None = None  # writes the image, if it is no file
    state: State = State.WAITING
    answer: protocol.CutoutDone | None = None
    error: protocol.Error | None = None

    def fail(self, code: str, message: str, hint: str = "") -> None:
        """Mark the cut-out as failed."""
        error = protocol.Error(self.request.id, code, message, hint)
        self.state, self.error = State.FAILED, of_all(error, Path(self.request.out).parent)


class CutOuts:
    """Those that have been asked for and not yet answered. ``JobQueue`` has the backend that answers."""

    def __init__(self) -> None:
        self.pending: list[CutOut] = []
        self._news = False

    def ask(self, cutout: CutOut) -> None:
        """Ask for a cut-out. The backend gets the request when it can take it."""
        self.pending.append(cutout)

    def take_news(self) -> bool:
        """Whether any cut-out was answered since the last call."""
        news, self._news = self._news, False
        return news

    def send(self, backend: Backend) -> None:
        """Send what waits to a backend that is ready, up to ``MOST_SENT``."""
        sent = sum(cutout.state is State.SENT for cutout in self.pending)
        for cutout in [cutout for cutout in self.pending if cutout.state is State.WAITING]:
            if cutout.writer is not None and cutout.writer.is_alive():
                continue
            if cutout.writer is not None and cutout.writer.error:
                error = cutout.writer.error
                cutout.fail(error.code, error.message, error.hint)
                self._end(cutout)
            elif sent < MOST_SENT:
                backend.send(cutout.request)
                cutout.state = State.SENT
                sent += 1

    def receive(self, message: protocol.Message) -> bool:
        """Take an answer. False if the message is not about a cut-out."""
        known = {cutout.request.id: cutout for cutout in self.pending}
        match message:
            case protocol.CutoutDone() if message.id in known:
                cutout = known[message.id]
                cutout.state, cutout.answer = State.DONE, message
            case protocol.Error() if message.job in known:
                cutout = known[message.job]
                cutout.fail(message.code, message.message, message.hint)
            case _:
                return False
        self._end(cutout)
        return True

    def end(self, error: protocol.Error) -> None:
        """There is no backend any more, or none that is of use: nothing that was asked for will be answered."""
        for cutout in list(self.pending):
            cutout.fail(error.code, error.message, error.hint)
            self._end(cutout)

    def _end(self, cutout: CutOut) -> None:
        self.pending.remove(cutout)
        self._news = True
