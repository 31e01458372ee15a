"""The backend process as Blender sees it: a real subprocess, real pipes, a tiny model."""

from __future__ import annotations

import hashlib
import io
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from backend import protocol
from backend.__main__ import main
from backend.kept import Kept
from backend.names import seen_from
from backend.serving import loop
from tests.backend.images.test_background import SCENE
from tests.backend.images.test_images import disc
from tests.fakes.tiny_model import write_tiny_model

ROOT = Path(__file__).parents[3]
TIMEOUT = 300.0  # seconds: a first job may have to wait for machine code, on a machine with other things to do
ENDINGS = (protocol.Result, protocol.Error, protocol.Cancelled)


class Server:
    """A backend process and the messages it sends."""

    def __init__(self, log: Path) -> None:
        self.log = log
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        with log.open("ab") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "backend", "serve", "--device", "cpu"],
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


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, and an image to make something of."""
    folder = tmp_path_factory.mktemp("serve")
    write_tiny_model(folder / "tiny")
    disc().save(folder / "disc.png")
    return folder


def start(folder: Path) -> Server:
    server = Server(folder / "log.txt")
    assert isinstance(server.receive(), protocol.Ready)
    return server


@pytest.fixture(scope="module")
def shared(folder: Path) -> Iterator[Server]:
    server = start(folder)
    yield server
    server.send(protocol.Shutdown())
    assert server.process.wait(TIMEOUT) == 0


@pytest.fixture
def server(shared: Server) -> Iterator[Server]:
    """The shared server, which every test has to leave alive and idle."""
    yield shared
    assert shared.process.poll() is None
    shared.send(protocol.Unload())
    assert shared.wait_for(lambda message: True) == [protocol.Unloaded()]


@pytest.fixture
def make(folder: Path, tmp_path: Path) -> Callable[..., protocol.Generate]:
    def make(job: str = "a", **changes: Any) -> protocol.Generate:
        out = tmp_path / f"out {job}"
        out.mkdir(exist_ok=True)
        values: dict[str, Any] = {"images": (str(folder / "disc.png"),), "model": str(folder / "tiny"), "out": str(out)}
        values |= {"texture_size": 64, "faces": 300, "steps": 2}
        return protocol.Generate(job=job, **(values | changes))

    return make


Make = Callable[..., protocol.Generate]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_log_on_a_full_disk_ends_nothing(make: Make) -> None:
    server = Server(Path("/dev/full"))
    assert isinstance(server.receive(), protocol.Ready)
    (*_, failed) = server.run(make("a", images=("/nowhere.png",)))
    assert failed.code == "image_missing"
    assert isinstance(server.run(make("b"))[-1], protocol.Result)
    server.send(protocol.Shutdown())
    assert server.process.wait(TIMEOUT) == 0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of another process")
def test_a_disk_that_is_full_at_any_write_is_said_and_the_next_job_works(server: Server, make: Make) -> None:
    """A limit on the size of files is met like the end of the disk: in preview, texture, arrays and .glb."""
    import resource

    files = ("arrays", "texture", "glb")
    (*_, result) = server.run(make("whole"))
    sizes = sorted(Path(getattr(result, kind)).stat().st_size for kind in files)
    infinite = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    for number, limit in enumerate((0, 4096, sizes[0] - 1, sizes[1] - 1, sizes[2] - 1)):
        request = make(f"limited{number}")
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        try:
            (*_, error) = server.run(request)
        finally:
            resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, infinite)
        assert isinstance(error, protocol.Error)
        assert (error.code, error.hint) == ("disk_full", "Free some space and try again.")
        assert request.out in error.message
        assert not [path.name for path in Path(request.out).iterdir() if not path.name.endswith(".raw.npz")]
    (*_, after) = server.run(make("after"))
    assert isinstance(after, protocol.Result)


def test_what_keeps_it_from_starting_is_said(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Not by an exit code alone: the log of a full disk would not have its last words either."""
    sent: list[protocol.Message] = []
    monkeypatch.setattr(loop, "claim_standard_streams", lambda: (io.BytesIO(), io.BytesIO()))
    monkeypatch.setattr(loop.signal, "signal", lambda *arguments: None)
    monkeypatch.setattr(loop.Outbox, "send", lambda self, message: sent.append(message))
    for error, code in (
        (OSError(28, "No space left on device", "/cache/a"), "disk_full"),
        (ZeroDivisionError(), "internal"),
    ):
        monkeypatch.setattr(loop, "usable_models", lambda error=error: (_ for _ in ()).throw(error))
        assert loop.serve("cpu") == 1
        assert isinstance(sent[-1], protocol.Error)
        assert (sent[-1].job, sent[-1].code) == (None, code)
    monkeypatch.setitem(sys.modules, "torch", None)  # as after a file of it was deleted
    assert loop.serve("cpu") == 1
    assert isinstance(sent[-1], protocol.Error)
    assert sent[-1].code == "backend_damaged"
    assert sent[-1].hint == "Repair the backend in the preferences."


def test_a_job_from_request_to_files(server: Server, make: Make) -> None:
    messages = server.run(make())
    progress = [m for m in messages if isinstance(m, protocol.Progress)]
    stages = list(protocol.STAGES)
    order = [stages.index(p.stage) for p in progress]
    assert order == sorted(order)
    assert set(order) == set(range(len(stages)))
    assert all(a.fraction <= b.fraction for a, b in pairwise(progress))
    assert [(p.step, p.steps) for p in progress if p.stage == "latents"] == [(0, 2), (1, 2), (2, 2)]

    kinds = [type(m) for m in messages if not isinstance(m, protocol.Progress)]
    assert kinds == [protocol.Preview, protocol.Result]
    preview = next(m for m in messages if isinstance(m, protocol.Preview))
    with np.load(preview.arrays) as raw:
        assert raw["vertices"].dtype == raw["colors"].dtype == np.float32
        assert raw["vertices"].shape == raw["colors"].shape
        assert raw["faces"].dtype == np.int32
        assert raw["faces"].max() < len(raw["vertices"])

    result = messages[-1]
    with np.load(result.arrays) as mesh:
        assert mesh["faces"].dtype == np.int32
        assert mesh["uvs"].shape == (len(mesh["faces"]), 3, 2)
        assert mesh["vertices"].dtype == mesh["uvs"].dtype == np.float32
        assert np.abs(mesh["vertices"]).max() <= 0.5
    assert Image.open(result.texture).size == (64, 64)
    assert Path(result.glb).name == "disc.glb"
    assert Path(result.glb).read_bytes()[:4] == b"glTF"
    assert result.settings["steps"] == 2
    assert result.settings["guidance"] == 2.0  # the model's, filled in
    assert result.counts["voxels"] > 0
    assert set(protocol.STAGES) | {"total", "preview"} <= result.timings.keys()
    out = Path(result.arrays).parent
    told: dict[str, Any] = {"images": [seen_from(out, image) for image in result.settings["images"]]}
    told["model"] = seen_from(out, result.settings["model"])
    assert json.loads((out / "disc.json").read_text())["settings"] == result.settings | told
    names = {path.name for path in Path(result.arrays).parent.iterdir()}
    assert names == {
        f"disc{ending}" for ending in (".raw.npz", ".npz", ".texture.png", ".normal_map.png", ".glb", ".json")
    }


def test_cameras_of_the_images_come_with_a_texture_from_them(server: Server, make: Make) -> None:
    result = server.run(make(texture_source="picture"))[-1]
    (camera,) = result.cameras
    assert 0 < camera.angle < 180
    assert json.loads(Path(result.glb).with_suffix(".json").read_text())["cameras"] == [asdict(camera)]
    assert ("not painted" in result.note) == (not camera.painted)


def test_ambient_occlusion_lies_beside_the_texture(server: Server, make: Make) -> None:
    result = server.run(make(ambient_occlusion=True))[-1]
    assert Path(result.occlusion).name == "disc.occlusion.png"
    with Image.open(result.occlusion) as image:
        assert (image.mode, image.size) == ("RGB", (64, 64))
        assert image.getchannel("G").getextrema() == (178, 178)  # 255 times the roughness, 0.7
    assert result.settings["ambient_occlusion"] is True
    assert b'"occlusionTexture"' in Path(result.glb).read_bytes()


def test_the_same_seed_gives_the_same_bytes(server: Server, make: Make) -> None:
    def digests(job: str, seed: int) -> dict[str, str]:
        request = make(job, seed=seed)
        server.run(request)
        files = sorted(path for path in Path(request.out).iterdir() if path.name != "disc.json")
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    first = digests("a", seed=5)
    assert len(first) == 5
    assert digests("b", seed=5) == first
    assert digests("c", seed=6) != first


BAD_REQUESTS: list[tuple[dict[str, Any], str]] = [
    ({"images": ()}, "no_images"),
    ({"images": "disc.png"}, "settings_invalid"),
    ({"images": (3,)}, "settings_invalid"),
    ({"images": ("/nowhere/a.png",)}, "image_missing"),
    ({"images": (__file__,)}, "image_unreadable"),
    ({"model": "no-such-model"}, "model_unknown"),
    ({"model": "x" * 5000}, "model_unknown"),
    ({"model": None}, "settings_invalid"),
    ({"out": "/nowhere"}, "out_missing"),
    ({"out": "x" * 5000}, "out_missing"),
    ({"out": "x" * 5000, "images": ("x" * 5000,)}, "out_missing"),
    ({"steps": 0}, "settings_invalid"),
    ({"steps": "many"}, "settings_invalid"),
    ({"seed": -1}, "settings_invalid"),
    ({"guidance": float("nan")}, "settings_invalid"),
    ({"texture_size": 10**9}, "settings_invalid"),
    ({"faces": True}, "settings_invalid"),
    ({"low_memory": "yes"}, "settings_invalid"),
    ({"ambient_occlusion": 1}, "settings_invalid"),
    ({"background": "sometimes"}, "settings_invalid"),
    ({"points": ((0.5, 0.5), None)}, "settings_invalid"),
    ({"points": ((0.5, 2),)}, "settings_invalid"),
    ({"points": "a"}, "settings_invalid"),
    ({"painted": (True, False)}, "settings_invalid"),
    ({"painted": (1,)}, "settings_invalid"),
]


@pytest.mark.parametrize(("changes", "code"), BAD_REQUESTS)
def test_a_bad_request_is_answered_in_words(server: Server, make: Make, changes: dict[str, Any], code: str) -> None:
    error = server.run(make(**changes))[-1]
    assert isinstance(error, protocol.Error)
    assert error.code == code
    assert error.message.endswith(".")


def test_a_job_works_after_a_damaged_model_and_a_bad_image(
    server: Server, make: Make, folder: Path, tmp_path: Path
) -> None:
    broken = write_tiny_model(tmp_path / "broken")
    (broken / "ckpts" / "latent_flow.safetensors").write_bytes(b"no weights")
    error = server.run(make("a", model=str(broken)))[-1]
    assert error.code == "checkpoint_invalid"
    assert "latent_flow.safetensors" in error.message
    truncated = tmp_path / "cut.png"
    truncated.write_bytes((folder / "disc.png").read_bytes()[:-200])
    assert server.run(make("b", images=(str(truncated),)))[-1].code == "image_truncated"
    assert isinstance(server.run(make("c"))[-1], protocol.Result)


def test_an_empty_structure_is_an_error(server: Server, make: Make, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    empty = write_tiny_model(tmp_path / "empty")
    file = empty / "ckpts" / "structure_decoder.safetensors"
    weights = load_file(file)
    weights["out_layer.2.bias"].fill_(-100)
    save_file(weights, file)
    error = server.run(make(model=str(empty)))[-1]
    assert error.code == "structure_empty"
    assert error.hint


class _Dead:
    """A stand-in for the warm models of a card that fails in the middle of a job, and from then on at every call."""

    device = torch.device("cuda")
    kept = Kept(0)

    def get(self, name: str, **_: object) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")


@pytest.mark.parametrize("lost", [True, False])
def test_a_card_that_failed_for_good_ends_the_process(make: Make, monkeypatch: pytest.MonkeyPatch, lost: bool) -> None:
    def synchronize(device: torch.device) -> None:
        if lost:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(torch.cuda, "synchronize", synchronize)
    said = io.BytesIO()
    outbox = loop.Outbox(said)
    inbox = loop.Inbox(outbox, loop.Cutouts(outbox.send, Kept(0)))
    for job in ("first", "second"):
        inbox._receive(make(job))
    inbox._receive(protocol.Unload())
    monkeypatch.setattr(_Dead, "release", lambda self: setattr(inbox, "_closed", True), raising=False)
    loop._answer(inbox, outbox, _Dead(), Kept(0))  # type: ignore[arg-type]
    messages = [protocol.decode_message(line) for line in said.getvalue().decode().splitlines()]
    errors = [message for message in messages if isinstance(message, protocol.Error)]
    assert [error.job for error in errors] == ["first"] if lost else ["first", "second"]
    assert {error.code for error in errors} == {protocol.DEVICE_LOST if lost else "internal"}
    assert all("illegal memory access" in error.message for error in errors)


def long_job(make: Make, job: str) -> protocol.Generate:
    return make(job, steps=1000)


def in_progress(message: Any) -> bool:
    return isinstance(message, protocol.Progress)


def in_the_middle(message: Any) -> bool:
    return isinstance(message, protocol.Progress) and message.stage == "structure" and message.step > 0


def test_a_cut_out_is_made_in_the_middle_of_a_job(server: Server, make: Make, tmp_path: Path) -> None:
    SCENE.save(tmp_path / "scene.png")
    server.send(long_job(make, "long"))
    server.wait_for(in_the_middle)
    server.send(
        protocol.Cutout("x", str(tmp_path / "scene.png"), str(tmp_path / "x.png")),
        protocol.Cutout("y", str(tmp_path / "nowhere.png"), str(tmp_path / "y.png")),
    )
    answers = [m for m in server.wait_for(lambda m: isinstance(m, protocol.Error)) if not in_progress(m)]
    assert answers[0] == protocol.CutoutDone("x", str(tmp_path / "x.png"), True, (protocol.BACKGROUND_REMOVED,))
    assert (answers[1].job, answers[1].code) == ("y", "image_missing")
    assert len(answers) == 2
    server.send(protocol.Cancel("long"))
    server.wait_for(lambda m: m == protocol.Cancelled("long"))


def test_a_photograph_becomes_an_object(server: Server, make: Make, tmp_path: Path) -> None:
    SCENE.save(tmp_path / "scene.png")
    result = server.run(make(images=(str(tmp_path / "scene.png"),), points=((0.5, 0.5),)))[-1]
    assert isinstance(result, protocol.Result)
    assert (result.settings["background"], result.settings["points"]) == ("automatic", [[0.5, 0.5]])


@pytest.mark.parametrize("background", ["automatic", "always"])
def test_what_a_person_painted_is_used_as_it_is(server: Server, make: Make, tmp_path: Path, background: str) -> None:
    """Nothing is removed from it: not even where hardly anything is transparent."""
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    opaque = np.concatenate([noise, np.full((64, 64, 1), 255, np.uint8)], axis=2)
    Image.fromarray(opaque).save(tmp_path / "painted.png")
    asked = {"images": (str(tmp_path / "painted.png"),), "background": background}
    refused = server.run(make(**asked))[-1]
    assert isinstance(refused, protocol.Error)
    assert refused.code == "background_unclear"
    result = server.run(make("b", **asked, painted=(True,)))[-1]
    assert isinstance(result, protocol.Result)
    assert result.settings["painted"] == [True]


def test_cancel_in_mid_job_leaves_the_model_warm(server: Server, make: Make) -> None:
    server.send(long_job(make, "long"))
    server.wait_for(in_the_middle)
    asked = time.perf_counter()
    server.send(protocol.Cancel("long"))
    ending = server.wait_for(lambda m: isinstance(m, ENDINGS))[-1]
    assert ending == protocol.Cancelled("long")
    assert time.perf_counter() - asked < 5
    result = server.run(make("next"))[-1]
    assert isinstance(result, protocol.Result)
    assert result.timings["load"] < 0.01


def test_a_waiting_job_is_cancelled_at_once(server: Server, make: Make) -> None:
    server.send(long_job(make, "long"))
    server.wait_for(in_the_middle)
    server.send(make("waiting"), protocol.Cancel("waiting"), protocol.Cancel("unknown"))
    assert server.wait_for(lambda m: isinstance(m, ENDINGS))[-1] == protocol.Cancelled("waiting")
    server.send(protocol.Cancel("long"))
    assert server.wait_for(lambda m: isinstance(m, ENDINGS))[-1] == protocol.Cancelled("long")


@pytest.mark.parametrize(
    "line",
    [b"{\n", b"\xff\xfe\x00\n", b"[" * 100_000 + b"\n", b'{"type": "generate", "job": 3, "images": [], "out": ""}\n'],
)
def test_an_unreadable_line_does_not_end_the_process(server: Server, make: Make, line: bytes) -> None:
    server.write(line)
    error = server.receive()
    assert isinstance(error, protocol.Error)
    assert error.job is None
    assert error.code == "request_unreadable"


def test_stdin_closing_ends_a_busy_process(folder: Path, make: Make) -> None:
    server = start(folder)
    server.send(long_job(make, "long"))
    server.wait_for(in_the_middle)
    closed = time.perf_counter()
    server.close_stdin()
    assert server.process.wait(TIMEOUT) == 0
    assert time.perf_counter() - closed < 10  # the job itself would take far longer


def test_a_killed_process_leaves_no_half_file_and_another_goes_on(server: Server, folder: Path, make: Make) -> None:
    killed = start(folder)
    request = long_job(make, "long")
    killed.send(request)
    killed.wait_for(in_the_middle)
    killed.process.kill()
    killed.process.wait(TIMEOUT)
    assert list(Path(request.out).iterdir()) == []
    assert isinstance(server.run(make("long"))[-1], protocol.Result)


def test_nothing_that_a_library_prints_reaches_the_stream() -> None:
    script = """
import os, sys
from backend.serving.loop import claim_standard_streams
stdin, stdout = claim_standard_streams()
print("print"); os.write(1, b"descriptor"); os.system("echo child")
sys.__stdout__.write("original"); sys.__stdout__.flush()
assert os.read(0, 1) == b"" and stdin.read(7) == b"request"
stdout.write(b"message"); stdout.flush()
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, input=b"request", capture_output=True, timeout=TIMEOUT
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == b"message"
    for word in (b"print", b"descriptor", b"child", b"original"):
        assert word in done.stderr


def test_what_comes_before_ready_imports_little() -> None:
    script = """
import sys
import backend.__main__
assert "torch" not in sys.modules and "numpy" not in sys.modules
import torch
before = set(sys.modules)
import backend.serving.loop, backend.serving.device
heavy = {"scipy", "PIL", "trimesh", "safetensors", "fast_simplification"}
assert not heavy & set(sys.modules) - before, heavy & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, timeout=TIMEOUT)


def test_the_command_line_prints_one_line_of_json(folder: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "backend", "generate", str(folder / "disc.png"), "--model", str(folder / "tiny")]
    command += ["--faces", "300", "--texture-size", "64", "--device", "cpu", "--out", str(tmp_path / "new"), "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    summary = json.loads(done.stdout)
    assert all(Path(file).is_file() for file in summary["files"].values())
    assert set(protocol.STAGES) <= summary["timings"].keys()
    assert summary["settings"]["steps"] == 3


@pytest.mark.parametrize("options", [[], ["--seed", "-1"], ["--model", "no-such-model"], ["--steps", "0"]])
def test_the_command_line_says_what_is_wrong_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    assert main(["generate", "missing.png", "--out", str(tmp_path), "--device", "cpu", *options]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.strip().endswith(".")


def test_the_command_line_takes_the_object_at_a_point(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The points reach the request, one for each image: one too few is said, and nothing lies at the corner."""
    SCENE.save(tmp_path / "scene.png")
    command = ["generate", str(tmp_path / "scene.png"), "--model", str(folder / "tiny"), "--out", str(tmp_path / "out")]
    assert main([*command, "--point", "0.5", "0.5", "--point", "0.5", "0.5"]) == 1
    assert "one for each image" in capsys.readouterr().err
    assert main([*command, "--point", "0.01", "0.01"]) == 1
    assert "at the chosen point" in capsys.readouterr().err
