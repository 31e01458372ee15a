"""The backend process: requests on stdin, messages on stdout, jobs in their order, models kept warm.

The main thread runs jobs as far as they need the model. Then another one finishes them, while the main thread takes the
next job if there is one (``finisher``). A reader thread keeps reading meanwhile, so that a cancel arrives in the middle
of a sampling step, and the end of stdin (Blender has gone) ends the process at once. One more makes cut-outs
(``cutouts``).
"""

from __future__ import annotations

import os
import platform
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, TypeVar

from .. import protocol
from ..config import version
from ..errors import BackendError, JobCancelled, describe
from ..kept import Kept
from ..memory import give_back, share_one_arena
from . import log
from .cutouts import Cutouts
from .finisher import Finisher, places
from .model_list import usable_models

if TYPE_CHECKING:
    import torch

    from .warm_models import WarmModels

Made = TypeVar("Made")

#: Seconds that a running job has to notice that stdin has closed. After that the process ends without waiting for it.
EXIT_GRACE = 1.0

#: Bytes of cut-outs that are kept, so that what the panel shows need not be made again for a job.
IMAGES_BYTES = 128 << 20

#: The longest line that is read as a request, in bytes.
MAX_LINE = 1 << 20


def serve(device_name: str | None = None, *, overlap: bool = False) -> int:
    """Answer requests until stdin closes or a ``shutdown`` arrives, then end the process. Returns only on failure.

    With ``overlap``, one object is finished while the next is made on a processor too, as always on a GPU. That pays
    only where torch's threads do not spin while they wait, so a single object takes longer.
    """
    share_one_arena()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in Blender's terminal is for Blender to handle
    stdin, stdout = claim_standard_streams()
    outbox = Outbox(stdout)
    try:
        device = _start(outbox, device_name, overlap)
    except Exception as error:  # before it is ready: without a message, Blender could only tell an exit code
        outbox.send(protocol.Error(None, *describe(error)))
        if not isinstance(error, BackendError):
            traceback.print_exc()
        return 1
    kept = Kept(IMAGES_BYTES)
    cutouts = Cutouts(outbox.send, kept)
    inbox = Inbox(outbox, cutouts)
    threading.Thread(target=inbox.read, args=(stdin,), daemon=True, name="reader").start()

    from . import explore, job  # noqa: F401  # import what only a job needs, while Blender already shows "ready"
    from .warm_models import WarmModels

    threading.Thread(target=warm_up, args=(device,), daemon=True, name="warm").start()
    threading.Thread(target=cutouts.work, daemon=True, name="cutouts").start()
    _answer(inbox, outbox, WarmModels(device), kept)
    sys.stderr.flush()
    os._exit(0)  # not sys.exit: Python's normal shutdown does not survive a thread that compiles, as "warm" may


def _start(outbox: Outbox, device_name: str | None, overlap: bool) -> torch.device:
    """Import torch, choose the device, and say that the backend is ready. Raises BackendError, and any other."""
    try:
        import torch  # only now that the streams are safe: anything below may print

        from .device import choose_device, device_memory, device_title
    except (ImportError, OSError) as error:  # OSError: a library that torch loads
        if isinstance(error, OSError) and error.errno is not None:
            raise
        words = f"The backend's environment is damaged: {error}".rstrip(".")
        raise BackendError("backend_damaged", f"{words}.", "Repair the backend in the preferences.") from error
    device = choose_device(device_name)
    outbox.send(
        protocol.Ready(
            protocol=protocol.PROTOCOL_VERSION,
            version=version(),
            python=platform.python_version(),
            torch=torch.__version__,
            device=device_title(device),
            models=usable_models(),
            at_once=1 if device.type == "cpu" and not overlap else 1 + places(),
            memory=device_memory(device),
        )
    )
    return device


def warm_up(device: torch.device) -> None:
    """Compile what the first job would wait for: for a thread beside it."""
    from ..images import refine
    from ..mesh import finish
    from .device import warm

    warm(device)
    finish.warm()
    refine.warm()


def _answer(inbox: Inbox, outbox: Outbox, models: WarmModels, kept: Kept) -> None:
    finisher = Finisher(places())
    while (turn := inbox.next()) is not None:
        if isinstance(turn, protocol.Unload):
            models.release()
            outbox.send(protocol.Unloaded())
            continue
        message = _take(turn, inbox, outbox, models, kept, finisher)
        if message is None:  # it is being finished
            continue
        lost = isinstance(message, protocol.Error) and message.code == protocol.DEVICE_LOST
        if lost:
            finisher.wait()  # what needs the device no more is not lost with it
        _end(turn, message, inbox, outbox)
        if lost:
            return  # the next process gets the device anew
    finisher.wait()  # else what it writes would be left half written


def _take(
    turn: Turn, inbox: Inbox, outbox: Outbox, models: WarmModels, kept: Kept, finisher: Finisher
) -> protocol.Message | None:
    """Run a job as far as it needs the model, and have it finished. Returns the message that ends it, if it has ended.

    With little memory, its job is the only one.
    """
    request = turn.request

    def work() -> protocol.Message | None:
        if request.low_memory:
            finisher.wait(turn.check)
        begun = begin(request, models, check=turn.check, send=outbox.send, kept=kept)
        if isinstance(begun, protocol.Message):
            return begun
        finisher.take(lambda: _end(turn, begun(), inbox, outbox), turn.check)
        if request.low_memory:
            finisher.wait()
        return None

    return _answered(request, models, work)


def _end(turn: Turn, message: protocol.Message, inbox: Inbox, outbox: Outbox) -> None:
    inbox.end(turn)
    outbox.send(message)
    give_back()  # else what a job leaves between the next one's blocks grows for hundreds of jobs


def carry_out(
    request: protocol.Generate,
    models: WarmModels,
    *,
    check: Callable[[], None],
    send: Callable[[protocol.Message], None],
    kept: Kept | None = None,
) -> protocol.Message:
    """Run a job and return the one message that ends it. The arguments are those of ``begin``."""
    begun = begin(request, models, check=check, send=send, kept=kept)
    return begun if isinstance(begun, protocol.Message) else begun()


def begin(
    request: protocol.Generate,
    models: WarmModels,
    *,
    check: Callable[[], None],
    send: Callable[[protocol.Message], None],
    kept: Kept | None = None,
) -> protocol.Message | Callable[[], protocol.Message]:
    """Run a job as far as it needs the model. Returns a function that finishes it in any thread, and itself returns the
    one message that ends the job; or this message, if the job has ended already.

    Neither ever raises: the process stays alive for the next job. ``check()`` ends the job by raising JobCancelled, and
    ``send`` gets its progress, its preview and its candidates. ``kept`` has cut-outs of images.
    """
    from . import explore, job

    def progress(stage: str, step: int, steps: int) -> None:
        send(protocol.Progress(request.job, stage, job.fraction(stage, step, steps), step, steps))

    def preview(path: os.PathLike[str]) -> None:
        send(protocol.Preview(request.job, os.fspath(path)))

    def work() -> protocol.Message | Callable[[], protocol.Message]:
        if request.seeds:
            return explore.run(request, models, on_progress=progress, on_candidate=send, check=check, kept=kept)
        begun = job.begin(request, models, on_progress=progress, on_preview=preview, check=check, kept=kept)
        return lambda: _answered(request, models, begun.finish)

    return _answered(request, models, work)


def _answered(
    request: protocol.Generate, models: WarmModels, work: Callable[[], Made]
) -> Made | protocol.Cancelled | protocol.Error:
    """What ``work`` returns; or the message that ends the job, if it raises."""
    from .device import is_lost

    try:
        return work()
    except JobCancelled:
        return protocol.Cancelled(request.job)
    except Exception as error:  # a job may fail in any way: Blender is told why, and the process keeps serving
        code, message, hint = describe(error, request.out if isinstance(request.out, str) else "")
        if is_lost(models.device):
            code, message = protocol.DEVICE_LOST, f"The graphics card failed: {message}"
            hint = "The backend starts anew with the next object. If it happens again, update the card's driver."
        print(f"job {request.job}: {code}: {message}", file=sys.stderr, flush=True)
        if not isinstance(error, BackendError):
            traceback.print_exc()
        if code == "out_of_memory":
            models.release()
        return protocol.Error(request.job, code, message, hint)


class Outbox:
    """Sends messages from any thread. Once nobody reads them, they are dropped: stdin will close soon after."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._open = True

    def send(self, message: protocol.Message) -> None:
        """Write a message as one line at once. Does nothing if nobody reads any more."""
        line = protocol.encode(message).encode("ascii")
        with self._lock:
            if not self._open:
                return
            try:
                self._stream.write(line)
                self._stream.flush()
            except OSError as error:
                self._open = False
                print(f"nobody reads the messages any more: {error}", file=sys.stderr, flush=True)


@dataclass(eq=False)
class Turn:
    """A job that is being carried out, from when it is taken until its last message."""

    request: protocol.Generate
    cancelled: bool = False

    def check(self) -> None:
        """Raise JobCancelled if the job should end."""
        if self.cancelled:
            raise JobCancelled


class Inbox:
    """Requests in order of arrival, and which of them have been cancelled since."""

    def __init__(self, outbox: Outbox, cutouts: Cutouts) -> None:
        self._outbox = outbox
        self._cutouts = cutouts
        self._changed = threading.Condition()
        self._waiting: deque[protocol.Generate | protocol.Unload] = deque()
        self._turns: list[Turn] = []
        self._closed = False

    # --- the reader thread ---

    def read(self, stream: BinaryIO) -> None:
        """Receive requests until the stream ends or a ``shutdown`` arrives. Then make sure that the process ends."""
        for line in read_lines(stream):
            try:
                request = protocol.decode_request(line)
            except protocol.ProtocolError as error:
                self._outbox.send(protocol.Error(None, "request_unreadable", f"A request could not be read: {error}."))
                continue
            if isinstance(request, protocol.Shutdown):
                break
            self._receive(request)
        with self._changed:
            self._closed = True
            for turn in self._turns:
                turn.cancelled = True
            self._changed.notify()
        time.sleep(EXIT_GRACE)
        os._exit(0)  # reached only if the main thread is in one long call: otherwise it has ended the process by now

    def _receive(self, request: protocol.Generate | protocol.Cutout | protocol.Cancel | protocol.Unload) -> None:
        if isinstance(request, protocol.Cancel):
            self._cutouts.cancel(request.job)
            self._cancel(request.job)
            return
        if isinstance(request, protocol.Cutout):
            self._cutouts.receive(request)
            return
        if isinstance(request, protocol.Generate) and (not isinstance(request.job, str) or not request.job):
            self._outbox.send(protocol.Error(None, "request_unreadable", "A job must have a name."))
            return
        with self._changed:
            self._waiting.append(request)
            self._changed.notify()

    def _cancel(self, job: object) -> None:
        """Drop a waiting job at once, or mark a running one. A job that has just ended needs no further answer."""
        with self._changed:
            running = [turn for turn in self._turns if turn.request.job == job]
            for turn in running:
                turn.cancelled = True
            if running:
                return
            waiting = [r for r in self._waiting if isinstance(r, protocol.Generate) and r.job == job]
            for request in waiting:
                self._waiting.remove(request)
        for request in waiting:
            self._outbox.send(protocol.Cancelled(request.job))

    # --- the threads that carry jobs out ---

    def next(self) -> Turn | protocol.Unload | None:
        """Wait for the next request; None when there will be no more."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            if self._closed:
                return None
            request = self._waiting.popleft()
            if isinstance(request, protocol.Unload):
                return request
            self._turns.append(Turn(request))
            return self._turns[-1]

    def end(self, turn: Turn) -> None:
        """A job is over; a cancel that comes now is too late."""
        with self._changed:
            self._turns.remove(turn)


def claim_standard_streams() -> tuple[BinaryIO, BinaryIO]:
    """Take this process's stdin (unbuffered) and stdout as private streams that no library can touch.

    Afterwards file descriptor 1, which ``print``, C code and child processes write to, leads to stderr, the log. File
    descriptor 0 is empty.
    """
    sys.stdout.flush()
    stdin, stdout = os.dup(0), os.dup(1)
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    os.dup2(2, 1)
    log.forgive()
    sys.stdout = sys.stderr
    return os.fdopen(stdin, "rb", buffering=0), os.fdopen(stdout, "wb")


def read_lines(stream: BinaryIO) -> Iterator[str]:
    """The lines of an unbuffered stream as they arrive. A line longer than ``MAX_LINE`` comes out in pieces.

    The stream is unbuffered because a buffered reader that blocks in a daemon thread makes the interpreter abort when
    it exits.
    """
    rest = b""
    while chunk := stream.read(1 << 16):
        *lines, rest = (rest + chunk).split(b"\n")
        if len(rest) > MAX_LINE:
            lines, rest = [*lines, rest], b""
        for line in lines:
            if line.strip():
                yield line.decode("utf-8", "replace")
