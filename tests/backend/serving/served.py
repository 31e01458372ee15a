"""A backend process as Blender sees it: a real subprocess, real pipes."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from backend import protocol

ROOT = Path(__file__).parents[3]
TIMEOUT = 300.0  # seconds: a first job may have to wait for machine code, on a machine with other things to do
ENDINGS = (protocol.Result, protocol.Error, protocol.Cancelled)

Make = Callable[..., protocol.Generate]


class Server:
    """A backend process and the messages it sends."""

    def __init__(self, log: Path, *options: str) -> None:
        self.log = log
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        with log.open("ab") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "backend", "serve", "--device", "cpu", *options],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
            )
        self._messages: queue.Queue[protocol.Message | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._messages.put(protocol.decode_message(line.decode()))
        self._messages.put(None)

    def write(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def send(self, *requests: protocol.Request) -> None:
        self.write("".join(map(protocol.encode, requests)).encode())

    def close_stdin(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()

    def receive(self) -> protocol.Message:
        message = self._messages.get(timeout=TIMEOUT)
        assert message is not None, f"the process has ended: {self.log.read_text()}"
        return message

    def wait_for(self, wanted: Callable[[Any], bool]) -> list[Any]:
        """All messages up to the first that is wanted, which comes last."""
        messages: list[Any] = []
        while not messages or not wanted(messages[-1]):
            messages.append(self.receive())
        return messages

    def run(self, request: protocol.Generate) -> list[Any]:
        """All messages of a job."""
        self.send(request)
        return self.wait_for(lambda message: isinstance(message, ENDINGS) and message.job == request.job)


def start(folder: Path) -> Server:
    server = Server(folder / "log.txt")
    ready = server.receive()
    assert isinstance(ready, protocol.Ready)
    assert ready.at_once == 1  # a processor is busy with the one it makes
    return server


def long_job(make: Make, job: str) -> protocol.Generate:
    return make(job, steps=1000)


def in_progress(message: Any) -> bool:
    return isinstance(message, protocol.Progress)


def in_the_middle(message: Any) -> bool:
    return isinstance(message, protocol.Progress) and message.stage == "structure" and message.step > 0
