"""The backend process when something is wrong: requests, files, models, disks, cards. Each is said, and it goes on."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from backend import protocol
from backend.kept import Kept
from backend.serving import loop
from tests.backend.serving.served import (
    TIMEOUT,
    Make,
    Server,
    in_the_middle,
    long_job,
    start,
)
from tests.fakes.tiny_model import write_tiny_model


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


def test_a_killed_process_leaves_no_half_file_and_another_goes_on(server: Server, folder: Path, make: Make) -> None:
    killed = start(folder)
    request = long_job(make, "long")
    killed.send(request)
    killed.wait_for(in_the_middle)
    killed.process.kill()
    killed.process.wait(TIMEOUT)
    assert list(Path(request.out).iterdir()) == []
    assert isinstance(server.run(make("long"))[-1], protocol.Result)
