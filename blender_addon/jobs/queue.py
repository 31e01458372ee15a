"""Jobs, in their order, from *queued* to *done*, *failed* or *cancelled*. No bpy.

``JobQueue.step()`` must be called again and again: by Blender's timer in a window, by a loop in batch and in tests. It
never waits.
"""

from __future__ import annotations

import dataclasses
import enum
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ...backend import protocol
from ...backend.disk_errors import explain
from ...backend.names import printable
from .client import Backend, BackendUnavailable
from .cutouts import STOPPED, CutOuts
from .failures import of_all
from .inputs import InputWriter
from .journal import Journal, Left, SavedObject
from .timings import Timings

CANCEL_GRACE = 10.0  # seconds that a backend has to answer a cancel before it is ended by force
LAST_STAGE = "finish"  # it needs no model, so the backend can take the next job meanwhile


class State(enum.Enum):
    """The states of a job."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    EXPLORED = "explored"  # all candidates have arrived
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"  # Blender was closed before it finished


@dataclass(frozen=True)
class Target:
    """The place of a job's object. It holds session uids, never pointers: undo and file loading free those."""

    document: int  # counts the files loaded in this session
    scene: int  # session_uid
    collection: int  # session_uid
    location: tuple[float, float, float] = (0.0, 0.0, 0.0)  # of the bottom's centre
    size: float = 1.0  # metres, of the longest side
    replaces: int = 0  # session_uid of the object that is replaced or painted; 0: a new object
    viewport: int = 0  # the one that was used, as ``scene.shading`` numbers them; 0: none
    guide: int = 0  # session_uid of the object whose shape it follows; 0: none


@dataclass(eq=False)
class Job:
    """One object to make. ``request.out`` is the job's own folder. It is deleted with the job.

    A job whose request has ``seeds`` makes candidates instead. They need the folder when the job has ended, so whoever
    asked for them deletes it.
    """

    request: protocol.Generate
    target: Target | None = None
    state: State = State.QUEUED
    stage: str = ""  # a key of protocol.STAGES
    fraction: float = 0.0
    step: int = 0
    steps: int = 0
    preview: Path | None = None
    result: protocol.Result | None = None
    error: protocol.Error | None = None
    cancelling: bool = False
    cancel_by: float = float("inf")  # when the backend must have answered that, on the clock of ``started``
    alone: bool = False  # the backend was lost, or ran out of memory, when it had another one, too
    recovered: bool = False  # from an earlier session
    submitted: float = field(default_factory=time.monotonic)
    started: float | None = None  # when it was sent to the backend, on the same clock
    sources: tuple[str, ...] = ()  # of the images, for ``images.add_source``
    replaces: SavedObject | None = None  # the same object as ``target.replaces``, for a later session
    digests: tuple[str, str] = ("", "")  # ``scene.paint.mesh_digests`` of the mesh to paint
    writer: InputWriter | None = None  # writes files that the request names
    made: int = 0  # session_uid of the object that was made or changed; 0 before that
    on_end: Callable[[], object] | None = None  # called once: its object is there, or it has failed or was dropped
    candidates: list[protocol.Candidate] = field(default_factory=list)  # those that have arrived
    arrivals: list[float] = field(default_factory=list)  # when each of them did, on the same clock
    seconds: float | None = None  # that all candidates took, without loading the model; None until they are there
    places: tuple[tuple[float, float, float], ...] = ()  # of all candidates, as ``Target.location``
    title: str = ""  # the name of the object, if it is not that of the first image

    @property
    def id(self) -> str:
        """The id that the backend knows the job by."""
        return self.request.job

    @property
    def name(self) -> str:
        """The name of the object: that of the first image, if it was given no other."""
        return self.title or printable(Path(self.request.images[0]).stem)

    @property
    def active(self) -> bool:
        """Whether the job is queued or running."""
        return self.state in (State.QUEUED, State.RUNNING)

    def fail(self, error: protocol.Error) -> None:
        """Mark the job as failed."""
        self.state, self.error = State.FAILED, of_all(error, Path(self.request.out))

    @classmethod
    def recover(cls, left: Left) -> Job:
        """A job from an earlier session. It has no target in the scenes of this session."""
        state = State.INTERRUPTED if left.result is None else State.DONE
        return cls(
            left.request,
            state=state,
            result=left.result,
            recovered=True,
            sources=left.sources,
            replaces=left.replaces,
            digests=left.digests,
        )

    def remove_files(self) -> None:
        """Delete the job's folder, unless candidates need it."""
        if not self.request.seeds:
            shutil.rmtree(self.request.out, ignore_errors=True)  # the system clears what cannot be deleted now


class JobQueue:
    """Runs jobs in the order they are submitted, on one backend that is started when it is first needed.

    On a GPU, a job is sent when the one before is only to be finished, which the processor does. If the backend is lost
    while it has several, they are tried again, each alone: then one that it cannot survive fails by itself.

    ``launch`` starts a backend, and raises BackendUnavailable if there is none. With a ``journal``, jobs that are
    unfinished or not yet inserted when the queue is closed can be recovered.
    """

    def __init__(self, launch: Callable[[], Backend], journal: Journal | None = None) -> None:
        self.jobs: list[Job] = []  # all that have not been forgotten
        self.live: Job | None = None  # runs when no other job waits, and gives way to those that are submitted
        self.backend: Backend | None = None
        self.cutouts = CutOuts()
        self.timings = Timings()
        self.device: protocol.Ready | None = None  # what the last backend said of the device that it runs on
        self.journal = journal
        self.busy_at = time.monotonic()  # when a job was last active
        self._launch = launch

    @property
    def running(self) -> Job | None:
        """The job that the backend is working on; of several, the one sent first."""
        return next(iter(self._sent), None)

    @property
    def at_once(self) -> int:
        """How many jobs the backend takes, if all but the last one are only to be finished."""
        ready = self.backend.ready if self.backend is not None else None
        return ready.at_once if ready is not None else 1

    @property
    def _sent(self) -> list[Job]:
        return [job for job in self._all if job.state is State.RUNNING]

    @property
    def active(self) -> bool:
        """Whether any job is queued or running."""
        return any(job.active for job in self._all)

    @property
    def _all(self) -> list[Job]:
        return self.jobs if self.live is None else [*self.jobs, self.live]

    def submit(self, job: Job) -> None:
        """Put a job into the queue. It has failed already if the journal cannot be written: nor could its result.

        Candidates are not journalled.
        """
        self.jobs.append(job)
        if self.live is not None and self.live.state is State.RUNNING:
            self.cancel(self.live)
        if self.journal is None or job.request.seeds:
            return
        try:
            self.journal.asked(job.request, job.sources, job.replaces, job.digests)
        except OSError as error:
            found = explain(error, job.request.out)
            job.fail(protocol.Error(job.id, found.code, found.message, found.hint))

    def follow(self, job: Job) -> None:
        """Make this the live job. There must be no other one."""
        assert self.live is None
        self.live = job

    def recover(self) -> None:
        """Take over the jobs that earlier sessions left in the journal."""
        assert self.journal is not None
        self.jobs += [Job.recover(left) for left in self.journal.take_over()]

    def cancel(self, job: Job) -> None:
        """Cancel a job: a queued one at once, a running one when the backend answers. Ended jobs do not change."""
        if job.state is State.QUEUED:
            job.state = State.CANCELLED
        elif job.state is State.RUNNING and not job.cancelling:
            assert self.backend is not None
            job.cancelling = True
            job.cancel_by = time.monotonic() + CANCEL_GRACE
            self.backend.send(protocol.Cancel(job.id))

    @property
    def queued(self) -> list[Job]:
        """The jobs that wait for their turn, the next one first."""
        return [job for job in self.jobs if job.state is State.QUEUED]

    def move(self, job: Job, by: int) -> bool:
        """Move a queued job so many places among the queued ones, later or (below 0) earlier. False if it cannot be."""
        queued = self.queued
        if job not in queued or not 0 <= queued.index(job) + by < len(queued):
            return False
        places = [number for number, each in enumerate(self.jobs) if each.state is State.QUEUED]
        queued.insert(queued.index(job) + by, queued.pop(queued.index(job)))
        for place, each in zip(places, queued, strict=True):
            self.jobs[place] = each
        return True

    def forget(self, job: Job) -> None:
        """Remove a job that has ended, and delete its folder."""
        assert not job.active
        if job is self.live:
            self.live = None
        else:
            self.jobs.remove(job)
        job.remove_files()

    def give_up(self, job: Job) -> None:
        """Remove a job in whatever state, with its folder. If it is running, its backend is stopped."""
        stops = job.state is State.RUNNING and self.backend is not None
        job.state = State.CANCELLED if job.active else job.state
        if stops:
            self._drop_backend(protocol.Error(None, STOPPED, "The backend was stopped."))
        self.forget(job)

    def step(self) -> list[Job]:
        """Handle the backend's messages and give it work. Returns the jobs that changed."""
        changed: list[Job] = []
        if self.backend is not None:
            for message in self.backend.poll():
                changed += self._receive(message)
        changed += self._end_deaf_backend()
        changed += self._start_next()
        self._ask_for_cutouts()
        if self.active or self.cutouts.pending:
            self.busy_at = time.monotonic()
        return list(dict.fromkeys(changed))

    def release(self) -> None:
        """Stop the backend. No job may be active. The next job starts a new backend."""
        assert not self.active
        self.cutouts.end(protocol.Error(None, STOPPED, "The backend was stopped."))
        if self.backend is not None:
            self.backend.kill()
            self.backend = None

    def close(self) -> None:
        """Stop the backend and remove all jobs, except for what the journal keeps. Waits at most a second."""
        self.cutouts = CutOuts()
        if self.backend is not None:
            self.backend.close()
            self.backend = None
        for job in self._all:
            kept = self.journal is not None and (job.active or job.state in (State.DONE, State.INTERRUPTED))
            job.state = State.CANCELLED if job.active else job.state
            if not kept:
                job.remove_files()
        self.jobs.clear()
        self.live = None
        if self.journal is not None:
            self.journal.close()

    def _receive(self, message: protocol.Message) -> list[Job]:
        if self.cutouts.receive(message):
            return []
        if isinstance(message, protocol.Ready):
            self.device = message
        if isinstance(message, protocol.Ready | protocol.Unloaded):
            return [job for job in self._all if job.active]
        if isinstance(message, protocol.CutoutDone):
            return []  # of one that has been given up
        if isinstance(message, protocol.Error) and message.job is None:
            return self._lose_backend(message)
        job = next((job for job in self._sent if job.id == message.job), None)
        if job is None:
            return []  # it has already ended
        match message:
            case protocol.Progress():
                job.stage, job.step, job.steps = message.stage, message.step, message.steps
                job.fraction = max(job.fraction, message.fraction)
            case protocol.Preview():
                job.preview = Path(message.arrays)
            case protocol.Candidate():
                job.candidates.append(message)
                job.arrivals.append(time.monotonic())
                job.fraction = max(job.fraction, len(job.candidates) / max(1, len(job.request.seeds)))
            case protocol.Explored() if not job.cancelling:
                job.state, job.fraction = State.EXPLORED, 1.0
                job.seconds = message.timings.get("total", 0.0) - message.timings.get("load", 0.0)
            case protocol.Result() if not job.cancelling:
                job.state, job.fraction, job.result = State.DONE, 1.0, message
                self._note(job, message)
            case protocol.Result() | protocol.Explored() | protocol.Cancelled():
                job.state = State.CANCELLED
            case protocol.Error(code="out_of_memory") if len(self._sent) > 1 and not job.cancelling:
                self._again_alone(job)
            case protocol.Error():
                job.fail(message)
                if message.code == protocol.DEVICE_LOST:  # it is about to end: the next job must not go to it
                    self._drop_backend(message)
        return [job]

    def _note(self, job: Job, result: protocol.Result) -> None:
        """Keep what a job took, and its result in the journal. If that fails, they are known in this session only."""
        try:
            whole = "structure" in result.timings and not job.request.edits  # nothing of it had been kept
            if whole and self.backend is not None and self.backend.ready is not None:
                device = self.backend.ready.device
                asked = job.request
                self.timings.note(asked.model, asked.steps, result.timings, device, asked.resolution)
            if self.journal is not None:
                self.journal.finished(job.request, result)
        except OSError as error:
            print(f"Espalier: {job.name} could not be noted, so that the next session will not know it: {error}")

    def _lose_backend(self, error: protocol.Error) -> list[Job]:
        """The process has ended or is of no use. The jobs that depend on it end; the next job gets a new process."""
        assert self.backend is not None
        # A backend that never became ready would fail again, so the queued jobs fail too and do not start it again.
        lost = self._sent if self.backend.ready is not None else [job for job in self._all if job.active]
        either = len(self._sent) > 1
        for job in lost:
            if job.cancelling:
                job.state = State.CANCELLED
            elif not either:
                job.fail(error)
        self._drop_backend(error)
        return lost

    def _drop_backend(self, error: protocol.Error) -> None:
        """Stop the backend. What is still running is tried again."""
        assert self.backend is not None
        self.backend.kill()
        self.backend = None
        self.cutouts.end(error)
        for job in self._sent:
            self._again_alone(job)

    def _again_alone(self, job: Job) -> None:
        job.state, job.alone = State.QUEUED, True
        job.stage, job.fraction, job.step, job.steps, job.started = "", 0.0, 0, 0, None
        job.candidates.clear()
        job.arrivals.clear()

    def _end_deaf_backend(self) -> list[Job]:
        if all(time.monotonic() < job.cancel_by for job in self._sent):
            return []
        return self._lose_backend(
            protocol.Error(None, "cancel_unanswered", "The backend did not respond to the cancellation.")
        )

    def _has_room_for(self, job: Job) -> bool:
        """Whether the backend can take a job now: it has none, or only such as need the GPU no more."""
        sent = self._sent
        if not sent:
            return True
        if len(sent) >= self.at_once or job.alone:
            return False
        return all(other.stage == LAST_STAGE and not other.alone for other in sent)

    def _start_next(self) -> list[Job]:
        job = next((job for job in self._all if job.state is State.QUEUED), None)
        if job is None or not self._has_room_for(job) or (job.writer is not None and job.writer.is_alive()):
            return []
        if job.writer is not None and job.writer.error:
            job.fail(dataclasses.replace(job.writer.error, job=job.id))
            return [job]
        if self.backend is None:
            try:
                self.backend = self._launch()
            except BackendUnavailable as error:
                job.fail(protocol.Error(job.id, "backend_unavailable", str(error), error.hint))
            return [job]
        if self.backend.ready is None:
            return []
        self.backend.send(job.request)
        job.state, job.started = State.RUNNING, time.monotonic()
        return [job]

    def _ask_for_cutouts(self) -> None:
        """Send what was asked for. If there is no backend, one is started: the next job needs it, too."""
        if not self.cutouts.pending:
            return
        if self.backend is None:
            try:
                self.backend = self._launch()
            except BackendUnavailable as error:
                self.cutouts.end(protocol.Error(None, "backend_unavailable", str(error), error.hint))
        elif self.backend.ready is not None:
            self.cutouts.send(self.backend)
