"""An object is finished while the next one is made: both jobs keep their promises."""

from __future__ import annotations

import hashlib
import io
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from backend import protocol
from backend.__main__ import main
from backend.errors import GenerationError
from backend.kept import Kept
from backend.serving import loop
from tests.backend.serving.served import ENDINGS, TIMEOUT, Make, Server


class Outbox(loop.Outbox):
    """Keeps what is said."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO())
        self.said: list[protocol.Message] = []

    def send(self, message: protocol.Message) -> None:
        self.said.append(message)


class Models:
    """Stands in for the warm models."""

    device = torch.device("cpu")

    def release(self) -> None:
        pass


class Backend:
    """The loop in this process. A job's two parts are held until a test lets them go, by ``made`` and ``finished``."""

    def __init__(self) -> None:
        self.outbox = Outbox()
        self.said = self.outbox.said
        self.begun: list[str] = []
        self.finishing: list[str] = []
        self.gates: dict[tuple[str, str], threading.Event] = {}
        self.failing: dict[tuple[str, str], Exception] = {}
        self.inbox = loop.Inbox(self.outbox, loop.Cutouts(self.said.append, Kept(0)))
        self.thread = threading.Thread(
            target=loop._answer, args=(self.inbox, self.outbox, Models(), Kept(0)), daemon=True
        )
        self.thread.start()

    def begin(self, request: protocol.Generate, models: Any, *, check: Callable[[], None], **_: Any) -> Any:
        def work() -> Any:
            self.begun.append(request.job)
            self._hold("make", request.job, check)
            return lambda: loop._answered(request, models, finish)

        def finish() -> protocol.Result:
            self.finishing.append(request.job)
            self._hold("finish", request.job, check)
            return protocol.Result(request.job, "", "", "")

        return loop._answered(request, models, work)

    def _hold(self, part: str, job: str, check: Callable[[], None]) -> None:
        while not self.gate(part, job).wait(0.005):
            check()
        if error := self.failing.get((part, job)):
            raise error

    def gate(self, part: str, job: str) -> threading.Event:
        return self.gates.setdefault((part, job), threading.Event())

    def go(self, part: str, *jobs: str) -> None:
        for job in jobs:
            self.gate(part, job).set()

    def ask(self, *jobs: str, **settings: Any) -> None:
        for job in jobs:
            self.inbox._receive(protocol.Generate(job, ("a.png",), "out", **settings))

    def cancel(self, job: str) -> None:
        self.inbox._receive(protocol.Cancel(job))

    def until(self, reached: Callable[[], bool]) -> None:
        end = time.monotonic() + TIMEOUT
        while not reached():
            assert time.monotonic() < end
            time.sleep(0.002)

    def ended(self) -> list[str]:
        return [f"{type(each).__name__} {each.job}" for each in self.said if isinstance(each, ENDINGS)]


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Iterator[Backend]:
    monkeypatch.setattr(loop, "places", lambda: 1)
    with running(monkeypatch) as made:
        yield made


@contextmanager
def running(monkeypatch: pytest.MonkeyPatch) -> Iterator[Backend]:
    made = Backend()
    monkeypatch.setattr(loop, "begin", made.begin)
    monkeypatch.setattr("backend.serving.device.is_lost", lambda device: False)
    yield made
    with made.inbox._changed:
        made.inbox._closed = True
        for turn in made.inbox._turns:
            turn.cancelled = True
        made.inbox._changed.notify()
    made.thread.join(TIMEOUT)
    assert not made.thread.is_alive()
    assert not made.inbox._turns


def in_both(backend: Backend) -> None:
    """Have ``a`` be finished and ``b`` be made."""
    backend.ask("a", "b", "c")
    backend.go("make", "a")
    backend.until(lambda: backend.finishing == ["a"] and backend.begun == ["a", "b"])


def test_at_most_one_is_finished_and_one_made(backend: Backend) -> None:
    in_both(backend)
    backend.go("make", "b", "c")
    backend.go("finish", "b", "c")
    time.sleep(0.1)
    assert (backend.begun, backend.finishing, backend.ended()) == (["a", "b"], ["a"], [])
    backend.go("finish", "a")
    backend.until(lambda: len(backend.ended()) == 3)
    assert backend.ended() == ["Result a", "Result b", "Result c"]


def test_the_one_that_is_finished_can_be_cancelled_alone(backend: Backend) -> None:
    in_both(backend)
    backend.cancel("a")
    backend.until(lambda: backend.ended() == ["Cancelled a"])
    backend.go("make", "b", "c")
    backend.go("finish", "b", "c")
    backend.until(lambda: backend.ended() == ["Cancelled a", "Result b", "Result c"])


def test_the_one_that_is_made_can_be_cancelled_alone(backend: Backend) -> None:
    in_both(backend)
    backend.cancel("b")
    backend.until(lambda: backend.ended() == ["Cancelled b"] and backend.begun[-1] == "c")
    backend.go("finish", "a")
    backend.until(lambda: backend.ended() == ["Cancelled b", "Result a"])


def test_as_many_are_finished_at_once_as_there_are_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "places", lambda: 2)
    with running(monkeypatch) as backend:
        backend.go("make", "a", "b", "c", "d")
        backend.ask("a", "b", "c", "d")
        backend.until(lambda: backend.finishing == ["a", "b"] and backend.begun == ["a", "b", "c"])
        time.sleep(0.05)
        assert (backend.finishing, backend.begun) == (["a", "b"], ["a", "b", "c"])
        backend.go("finish", "b")
        backend.until(lambda: backend.finishing == ["a", "b", "c"] and backend.begun[-1] == "d")
        backend.go("finish", "a", "c", "d")
        backend.until(lambda: len(backend.ended()) == 4)
        assert backend.ended()[0] == "Result b"


@pytest.mark.parametrize(("cores", "found"), [(None, 1), (1, 1), (2, 1), (4, 1), (8, 3), (16, 4), (64, 4)])
def test_places_leave_a_core_to_the_model(monkeypatch: pytest.MonkeyPatch, cores: int | None, found: int) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    assert loop.places() == found


def test_one_that_waits_to_be_finished_can_be_cancelled(backend: Backend) -> None:
    in_both(backend)
    backend.go("make", "b")
    time.sleep(0.05)
    backend.cancel("b")
    backend.until(lambda: backend.ended() == ["Cancelled b"] and backend.begun[-1] == "c")
    assert backend.finishing == ["a"]


@pytest.mark.parametrize(("part", "job"), [("finish", "a"), ("make", "b")])
def test_an_error_is_that_of_its_job(backend: Backend, part: str, job: str) -> None:
    backend.failing[part, job] = GenerationError("mesh_empty", "It has no surface.")
    in_both(backend)
    backend.go(part, job)
    backend.until(lambda: bool(backend.ended()))
    backend.go("make", "b", "c")
    backend.go("finish", "a", "b", "c")
    backend.until(lambda: len(backend.ended()) == 3)
    assert sorted(backend.ended()) == sorted(
        f"{'Error' if each == job else 'Result'} {each}" for each in ("a", "b", "c")
    )


def test_a_lost_card_does_not_take_along_what_is_finished_without_it(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend.failing["make", "b"] = RuntimeError("CUDA error")
    monkeypatch.setattr("backend.serving.device.is_lost", lambda device: True)
    in_both(backend)
    backend.go("make", "b")
    time.sleep(0.05)
    assert backend.ended() == []
    backend.go("finish", "a")
    backend.thread.join(TIMEOUT)
    assert backend.ended() == ["Result a", "Error b"]


def test_with_little_memory_each_is_alone(backend: Backend) -> None:
    backend.ask("a")
    backend.go("make", "a")
    backend.until(lambda: backend.finishing == ["a"])
    backend.ask("b", low_memory=True)
    backend.ask("c")
    time.sleep(0.1)
    assert backend.begun == ["a"]
    backend.go("finish", "a")
    backend.go("make", "b")
    backend.until(lambda: backend.finishing == ["a", "b"])
    time.sleep(0.1)
    assert backend.begun == ["a", "b"]
    backend.go("finish", "b")
    backend.until(lambda: backend.begun == ["a", "b", "c"])


def test_candidates_do_not_wait_for_what_is_finished(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    in_both(backend)
    backend.cancel("c")
    monkeypatch.setattr(loop, "begin", lambda request, models, **_: protocol.Explored(request.job))
    backend.ask("live", seeds=(1,))
    backend.cancel("b")
    backend.until(lambda: protocol.Explored("live") in backend.said)
    assert backend.finishing == ["a"]


def digests(request: protocol.Generate) -> dict[str, str]:
    files = sorted(path for path in Path(request.out).iterdir() if path.suffix != ".json")
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_a_process_makes_the_same_bytes_overlapped(server: Server, make: Make) -> None:
    """And what is cancelled while it is finished leaves nothing but its preview."""
    more = {"texture_size": 256}
    alone = [make(f"alone {seed}", seed=seed, **more) for seed in (1, 2)]
    for request in alone:
        assert isinstance(server.run(request)[-1], protocol.Result)
    server.send(protocol.Unload())
    server.wait_for(lambda message: message == protocol.Unloaded())
    together = [make(f"together {seed}", seed=seed, **more) for seed in (1, 2)]
    server.send(*together)
    messages = server.wait_for(lambda message: isinstance(message, ENDINGS) and message.job == "together 2")
    assert [each.job for each in messages if isinstance(each, protocol.Result)] == [each.job for each in together]
    assert [digests(request) for request in together] == [digests(request) for request in alone]
    first_ended = next(n for n, each in enumerate(messages) if isinstance(each, protocol.Result))
    assert "together 2" in {each.job for each in messages[:first_ended]}, "the second waited for the first"

    long, following = make("long", texture_size=2048), make("following", **more)
    server.send(long, following)
    server.wait_for(lambda message: isinstance(message, protocol.Progress) and message.stage == "finish")
    server.send(protocol.Cancel("long"))
    ended: dict[str, type] = {}
    while len(ended) < 2:
        message = server.receive()
        if isinstance(message, ENDINGS):
            ended[str(message.job)] = type(message)
    assert ended == {"long": protocol.Cancelled, "following": protocol.Result}
    assert {path.name for path in Path(long.out).iterdir()} == {"disc.raw.npz"}


def test_a_batch_overlaps_on_a_processor(make: Make, tmp_path: Path) -> None:
    server = Server(tmp_path / "log.txt", "--overlap")
    try:
        ready = server.receive()
        assert isinstance(ready, protocol.Ready)
        assert ready.at_once == 1 + loop.places()
        assert isinstance(server.run(make("a"))[-1], protocol.Result)
    finally:
        server.close_stdin()
        server.process.wait(TIMEOUT)


@pytest.mark.parametrize(("options", "policy"), [([], None), (["--overlap"], "PASSIVE")])
def test_threads_that_wait_leave_the_core_to_what_overlaps(
    monkeypatch: pytest.MonkeyPatch, options: list[str], policy: str | None
) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "")  # so that what is set here ends with the test
    monkeypatch.delenv("OMP_WAIT_POLICY")
    asked: list[bool] = []

    def serve(device: str | None, *, overlap: bool) -> int:
        asked.append(overlap)
        return 0

    monkeypatch.setattr(loop, "serve", serve)
    assert main(["serve", *options]) == 0
    assert (asked, os.environ.get("OMP_WAIT_POLICY")) == ([bool(options)], policy)
