"""Runs on processes: lines of the protocol, kills, many jobs in one backend, hubs and indexes, batches."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from backend import protocol
from backend.errors import StoreError
from backend.whole import is_whole
from tests.signals import heeded

from .files import folder
from .tally import MOST_SECONDS, Tally, mutated, strange

ROOT = Path(__file__).parents[2]


@contextmanager
def backend(work: Path) -> Iterator[Any]:
    """A backend process of this checkout."""
    from tests.backend.serving import served

    served.TIMEOUT = 300.0  # a trial ends before; only a start on a busy machine takes so long
    server = served.Server(work / "log.txt")
    assert isinstance(server.receive(), protocol.Ready)
    try:
        yield server
    finally:
        server.process.kill()
        server.process.wait()


def lines(tally: Tally) -> None:
    """Lines that are no requests, or requests of anything. Each gets an answer in words, and the process lives."""
    images, box = ("gone.png",), ((-0.5, -0.5, -0.5), (0.5, 0.0, 0.5), 3)
    with folder() as work, backend(work) as server:
        out = str(work)
        requests: list[protocol.Request] = [
            protocol.Generate("j", images, "/nowhere", points=((0.5, 0.5),), painted=(True,)),
            protocol.Generate("j", images, out, seeds=(1, 2), views=((0,), (0,)), voxels="0 0"),
            protocol.Generate("j", images, out, guide="gone.npz", edits=(box,), shape_strength=0.5),
            protocol.Generate("j", images, out, mesh="gone.npz"),
            protocol.Cutout("c", "gone.png", "/nowhere/a.png", "always", (0.5, 0.5), "/nowhere/b.png"),
            protocol.Cancel("j"),
        ]
        while not tally.enough:
            sent = min(200, tally.wanted - tally.tried)
            for _ in range(sent):
                line = protocol.encode(tally.random.choice(requests))
                if tally.random.random() < 0.5:
                    line = json.dumps(strange(json.loads(line), tally.random)) + "\n"
                content = line.encode("utf-8", "replace")
                if tally.random.random() < 0.3:
                    content = mutated(content, tally.random).replace(b"\n", b"") + b"\n"
                if b'"shutdown"' not in content:
                    server.write(content)
            with tally.trial():
                tally.tried += sent - 1
                server.write(b'{"type": "unload"}\n')
                answers = server.wait_for(lambda message: isinstance(message, protocol.Unloaded))
                tally.refused += sum(isinstance(answer, protocol.Error) for answer in answers)
                for answer in answers:
                    if isinstance(answer, protocol.Error) and answer.code == "internal":
                        tally.fault(f"internal: {answer.message}")


def kills(tally: Tally) -> None:
    """SIGKILL and SIGTERM for a backend in the middle of its work: the next one goes on, and no process is left."""
    from espalier.backend import protocol as shared
    from espalier.blender_addon.jobs.client import Backend
    from espalier.blender_addon.jobs.journal import Journal
    from espalier.blender_addon.jobs.queue import Job, JobQueue, State

    fake = [sys.executable, str(ROOT / "tests" / "fakes" / "fake_backend.py"), "slow", "0.3"]
    started: list[int] = []
    with folder() as work:

        def launch() -> Backend:
            process = Backend(fake, work / "log.txt")
            process.start()
            assert process.pid is not None
            started.append(process.pid)
            return process

        queue = JobQueue(launch, Journal(work / "jobs"))
        while not tally.enough:
            with tally.trial():
                assert queue.journal is not None
                first, second = (
                    Job(shared.Generate(f"{tally.tried} {n}", ("a.png",), str(queue.journal.new_folder())))
                    for n in range(2)
                )
                queue.submit(first)
                queue.submit(second)
                _step(queue, lambda one: one.state is not State.QUEUED, first)
                moment = time.monotonic() + tally.random.uniform(0, 0.3)
                _step(queue, lambda end: time.monotonic() > end, moment)
                if first.active:
                    os.kill(started[-1], tally.random.choice([signal.SIGKILL, signal.SIGTERM]))
                for job in (first, second):
                    _step(queue, lambda one: not one.active, job)
                if first.state not in (State.DONE, State.FAILED) or second.state is not State.DONE:
                    tally.fault(f"{first.state} and {second.state}: {second.error}")
                for job in (first, second):
                    queue.forget(job)
        queue.close()
        alive = [pid for pid in started if Path(f"/proc/{pid}").exists()]
        if alive:
            tally.fault(f"left over: {alive}")


def _step(queue: Any, until: Callable[[Any], bool], what: Any) -> None:
    while not until(what):
        queue.step()
        time.sleep(0.005)


def soak(tally: Tally) -> None:
    """Objects of many settings in one backend, one after the other. Its memory stays what it was after the first 50."""
    from tests.backend.images.test_images import disc
    from tests.fakes.tiny_model import write_tiny_model

    with folder() as work, backend(work) as server:
        model = write_tiny_model(work / "tiny")
        disc().save(work / "disc.png")
        memory: list[int] = []  # after each object from the 51st on: it depends on the object a little
        while not tally.enough:
            tally.most_seconds = MOST_SECONDS if tally.tried else 120.0  # the first one also waits for compiling
            out = work / "out"
            out.mkdir()
            request = protocol.Generate(
                f"j{tally.tried}",
                (str(work / "disc.png"),),
                str(out),
                model=str(model),
                steps=tally.random.randint(1, 3),
                seed=tally.random.randrange(1 << 40),
                texture_size=tally.random.choice([16, 64, 128]),
                faces=tally.random.choice([4, 300, 2000]),
                retry_seconds=0.0,
                normal_map=tally.random.random() < 0.5,
                ambient_occlusion=tally.random.random() < 0.3,
            )
            with tally.trial():
                answer = server.run(request)[-1]
                if isinstance(answer, protocol.Error):
                    tally.refused += 1
                    if answer.code == "internal":
                        tally.fault(f"{request.seed}: {answer.message}")
                elif not is_whole(Path(answer.glb)):
                    tally.fault(f"{request.seed}: the .glb is not whole")
            shutil.rmtree(out)
            if tally.tried > 50:
                memory.append(_resident(server.process.pid))
        if len(memory) >= 100:
            growth = statistics.median(memory[-50:]) / statistics.median(memory[:50]) - 1
            tally.notes.append(f"memory {growth:+.1%}, the last 50 against the 51st to 100th")
            if growth > 0.02:
                tally.fault(f"memory grew by {growth:.1%}")


def _resident(pid: int) -> int:
    """Memory of a process in KB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0])


def hubs(tally: Tally) -> None:
    """Hubs and indexes that answer with anything, or break off. Every one ends in words or in the right listing."""
    from backend.store import bounds, transfer
    from backend.store.catalog import PUBLISHED
    from backend.store.hub import Hub
    from backend.store.index import connect, explain, list_files

    waits, slow, silence = transfer.WAITS, bounds.BEFORE_SLOW, transfer.TIMEOUT
    with _server(tally) as address:
        os.environ["HF_ENDPOINT"] = address
        transfer.WAITS, bounds.BEFORE_SLOW, transfer.TIMEOUT = (0.01,) * 4, 0.5, 1.0
        try:
            hub, model = Hub(), PUBLISHED["dinov2-vitl14-reg"]
            while not tally.enough:
                with tally.trial():
                    if tally.random.random() < 0.5:
                        hub.offer(model)
                    else:
                        with connect(1.0) as client:
                            transfer.patiently(lambda: list_files(client, address, "torch"), explain)
        finally:
            transfer.WAITS, bounds.BEFORE_SLOW, transfer.TIMEOUT = waits, slow, silence
            del os.environ["HF_ENDPOINT"]


@contextmanager
def _server(tally: Tally) -> Iterator[str]:
    """A server on loopback whose answers are mutations of good ones, or bombs, or endless."""
    import gzip

    files = [
        {"rfilename": "config.json", "size": 2, "blobId": "9e26dfeeb6e641a33dae4961196235bdb965b21b"},
        {"rfilename": "model.safetensors", "size": 9, "blobId": "0" * 40, "lfs": {"sha256": "a" * 64, "size": 9}},
    ]
    info = {"id": "x/y", "sha": "a" * 40, "siblings": files}
    simple = {"files": [{"filename": "torch-1-py3-none-any.whl", "url": "x", "hashes": {"sha256": "a" * 64}}]}
    page = b'<a href="torch-1-py3-none-any.whl#sha256=' + b"a" * 64 + b'">torch</a>'
    bomb = gzip.compress(gzip.compress(bytes(64 << 20)))
    chance = tally.random
    listener = socket.create_server(("127.0.0.1", 0))

    def body() -> tuple[str, bytes]:
        match chance.randrange(6):
            case 0:
                return "Content-Type: application/json", json.dumps(strange(info, chance)).encode("utf-8", "replace")
            case 1:
                return "Content-Type: application/json", json.dumps(strange(simple, chance)).encode("utf-8", "replace")
            case 2:
                return "Content-Type: text/html", mutated(page, chance)
            case 3:
                encoding = chance.choice(["gzip", "gzip, gzip", "deflate", "br"])
                return f"Content-Encoding: {encoding}", chance.choice([bomb, gzip.compress(bytes(32 << 20)), b"none"])
            case 4:
                return "Content-Type: application/json", b"[" * 100_000
            case _:
                return "Content-Type: application/json", json.dumps(info).encode()

    def answer(connection: socket.socket) -> None:
        with connection:
            connection.settimeout(3)
            try:
                connection.recv(1 << 16)
                header, content = body()
                status = chance.choice([200, 200, 200, 200, 404, 500, 302, 429])
                length = len(content) if chance.random() < 0.8 else chance.choice([0, 5, 1 << 40])
                head = f"HTTP/1.1 {status} x\r\n{header}\r\nContent-Length: {length}\r\nLocation: /x\r\n\r\n".encode()
                whole = head + content
                connection.sendall(mutated(whole, chance) if chance.random() < 0.2 else whole)
            except OSError:
                return  # the client has had enough

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return  # closed
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.close()


def batches(tally: Tally) -> None:
    """Batches over good, damaged and oddly named pictures, with signals, until each is done. Nothing good is lost.

    The first two begin on a disk that is full after some kilobytes.
    """
    ends = [signal.SIGKILL, signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT]
    kills = disks = 0
    while not tally.enough:
        with folder() as work, tempfile.TemporaryDirectory(prefix="campaign-") as temporary:
            count = min(12, tally.wanted - tally.tried)
            command = _batch(work, count, tally)
            environment = os.environ | {"TMPDIR": temporary}
            if disks < 2:
                disks += 1
                code = _run_batch(tally, work, command, environment, room=tally.random.randrange(1 << 13))
                if code not in (0, 1):
                    tally.fault(f"exit code {code} on a full disk")
            code = -1
            for attempt in range(8):
                end = tally.random.choice(ends) if attempt < 4 else None
                code = _run_batch(tally, work, command, environment, end)
                kills += code == -signal.SIGKILL
                if code in (0, 1):
                    break
            _judge_batch(tally, work / "out", count, code)
    tally.notes.append(f"{kills} SIGKILL, {disks} full disks")


def _batch(work: Path, count: int, tally: Tally) -> list[str]:
    """Draw the pictures of a batch. Returns its command."""
    from tests.fakes.fake_backend import write_png

    (work / "in").mkdir()
    for number in range(count):
        mode = tally.random.choice(["", "", "", "error_", "damaged_", "crash_"])
        odd = tally.random.choice(["", "\U0001f600" * 20, "ä", "x" * 200, "a b", os.fsdecode(b"\xe9")])
        write_png(work / "in" / f"{mode}{number}{odd}.png", 4, _plain(number))
    script = [sys.executable, str(ROOT / "tests" / "fakes" / "batch_program.py"), "fussy"]
    return [*script, str(work / "in"), "--out", str(work / "out"), "--format", "glb"]


def _run_batch(
    tally: Tally,
    work: Path,
    command: list[str],
    environment: dict[str, str],
    end: signal.Signals | None = None,
    room: int | None = None,
) -> int:
    """Run a batch until it ends, or is ended by a signal; files end after ``room`` bytes. Returns the exit code."""

    def prepare() -> None:
        heeded()()
        if room is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))

    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, preexec_fn=prepare
    )
    try:
        if end is not None:
            time.sleep(tally.random.uniform(0.2, 1.2))
            process.send_signal(end)
        process.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        process.kill()
        tally.fault(f"a batch did not end: {process.communicate()[1][-300:]}")
        return -1
    for asset in (work / "out").glob("*.glb"):
        if not is_whole(asset):
            tally.fault(f"{asset.name} is not whole after {process.returncode}")
    return process.returncode


def _judge_batch(tally: Tally, out: Path, count: int, code: int) -> None:
    """Count what came of a batch that is done."""
    with tally.trial():
        tally.tried += count - 1
        found = json.loads((out / "report.json").read_text())["assets"]
        bad = [one for one in found if one["status"] not in ("done", "skipped", "failed")]
        good = [one for one in found if not Path(one["images"][0]).name.startswith(("error", "damaged", "crash"))]
        # Two crashes in a row end a batch; what was not tried is done by the next run.
        missing = [one["name"] for one in good if one["status"] == "failed" and one["error"]["code"] != "backend_lost"]
        tally.refused += sum(one["status"] == "failed" for one in found)
        if len(found) != count or bad or missing:
            tally.fault(f"exit code {code}, {len(found)} of {count}, {bad}, lost {missing}")
        if list(out.glob(".espalier-*")):
            tally.fault("partial files are left after a whole run")


def _plain(shade: int) -> Callable[[float, float], tuple[int, ...]]:
    return lambda u, v: (shade, 9, 9)


def downloads(tally: Tally) -> None:
    """Downloads that are killed at any moment, until the model is installed: whole, or not at all."""
    from backend.store import catalog
    from tests.fakes.hub import serve_hub

    with folder() as work, serve_hub() as hub:
        model = catalog.PUBLISHED["isnet-general"]
        content = os.urandom(2_000_000)
        hub.repositories[model.repository] = {"onnx/model.onnx": content}
        installations = kills = 0
        longest = 4.0  # seconds; kept near what an installation takes, so that the signal comes before its end
        ends = [signal.SIGKILL] * 4 + [signal.SIGTERM, signal.SIGINT]
        program = ROOT / "tests" / "fakes" / "download_driver.py"
        environment = os.environ | {"HF_ENDPOINT": hub.url, "ESPALIER_MODELS": str(work / "models")}
        while not tally.enough:
            with tally.trial(refused=(StoreError,)):
                process = subprocess.Popen(
                    [sys.executable, str(program), str(len(content))],
                    env=environment,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    preexec_fn=heeded(),
                )
                time.sleep(tally.random.uniform(0.1, longest))
                process.send_signal(tally.random.choice(ends))
                code = process.wait(60)
                kills += code == -signal.SIGKILL
                there = work / "models" / model.name
                installed = there.is_dir()
                if code not in (0, 130) and code > 0:  # a signal may come before there is a handler
                    tally.fault(f"exit code {code}")
                if installed and (there / "onnx" / "model.onnx").read_bytes() != content:
                    tally.fault("an installed model is damaged")
                longest = longest * 0.8 if installed else min(4.0, longest * 1.1)
                if installed:
                    installations += 1
                    shutil.rmtree(work / "models")
        tally.notes.append(f"{kills} SIGKILL in time, {installations} installed in spite of it")
