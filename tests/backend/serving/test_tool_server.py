"""The tool server as an assistant has it: a process of its own, the SDK's client, the bundled model."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from backend.serving import tool_server

ROOT = Path(__file__).parents[3]
#: With the model that takes many steps, so that there is time to cancel.
SLOW = {"model": "mini", "steps": 1000}

needs_sdk = pytest.mark.skipif(importlib.util.find_spec("mcp") is None, reason="the extra mcp is not installed")
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells which sockets a process has")


@pytest.fixture
def allowed(tmp_path: Path) -> Path:
    folder = tmp_path / "allowed"
    folder.mkdir()
    (folder / "mug.png").write_bytes((ROOT / "examples" / "mug.png").read_bytes())
    return folder


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Two threads, and a temporary folder that is looked into afterwards."""
    (tmp_path / "temporary").mkdir()
    return dict(os.environ, OMP_NUM_THREADS="2", TMPDIR=str(tmp_path / "temporary"), TEMP=str(tmp_path / "temporary"))


def command(allowed: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "backend", "mcp", "--allow", str(allowed), "--device", "cpu", *more]


def session(allowed: Path, environment: dict[str, str], talk: Callable[[Any], Any]) -> None:
    """Let ``talk`` use a client of a server of its own."""
    from mcp import Client
    from mcp.client.stdio import StdioServerParameters

    first, *arguments = command(allowed)
    server = StdioServerParameters(command=first, args=arguments, cwd=ROOT, env=environment)

    async def run() -> None:
        async with Client(server) as client:
            await asyncio.wait_for(talk(client), 300)

    asyncio.run(run())


@needs_sdk
def test_an_assistant_makes_and_paints_an_object(allowed: Path, environment: dict[str, str]) -> None:
    heard: list[tuple[float, float | None, str | None]] = []

    async def progress(fraction: float, total: float | None, stage: str | None) -> None:
        heard.append((fraction, total, stage))

    async def talk(client: Any) -> None:
        assert str(allowed) in client.instructions
        listed = await client.list_tools()
        assert [tool.name for tool in listed.tools] == ["generate", "retexture", "list_models"]
        models = (await client.call_tool("list_models")).structured_content
        assert models["default"] in {model["name"] for model in models["models"]}

        given = {"images": ["mug.png"], "out": "assets", "seed": 3, "faces": 2000, "texture_size": 256}
        made = await client.call_tool("generate", given, progress_callback=progress)
        assert not made.is_error, made.content
        found = made.structured_content
        assert json.loads(made.content[0].text) == found
        assert found["counts"]["faces"] <= 2000
        assert Path(found["glb"]).read_bytes()[:4] == b"glTF"
        assert {Path(file).name for file in found["files"]} == {path.name for path in (allowed / "assets").iterdir()}
        assert [fraction for fraction, _, _ in heard] == sorted(fraction for fraction, _, _ in heard)
        assert {stage for _, _, stage in heard} >= {"load", "structure", "finish"}

        again = {"images": ["mug.png"], "out": str(allowed), "mesh": "assets/mug.npz", "texture_size": 256}
        painted = await client.call_tool("retexture", again)
        assert not painted.is_error, painted.content
        assert Path(painted.structured_content["glb"]) == allowed / "mug.glb"
        assert "own UVs" in painted.structured_content["note"]

        (allowed / "words.png").write_text("no image")
        for arguments, words in (
            ({"images": ["words.png"]}, "words.png"),
            ({"images": [str(ROOT / "examples" / "mug.png")]}, "not in a folder"),
            ({"images": ["mug.png"], "sede": 1}, "The setting sede is not known"),
        ):
            failed = await client.call_tool("generate", {"out": "assets", **arguments})
            assert failed.is_error
            assert words in failed.content[0].text
            assert failed.structured_content["hint"] in failed.content[0].text
        unknown = await client.call_tool("paint")
        assert unknown.is_error
        assert "generate" in unknown.content[0].text

    session(allowed, environment, talk)
    assert list(Path(environment["TMPDIR"]).glob("espalier-*")) == []


@needs_sdk
def test_a_cancelled_call_ends_inside_its_step_and_the_next_one_is_answered(
    allowed: Path, environment: dict[str, str]
) -> None:
    async def talk(client: Any) -> None:
        sampling = asyncio.Event()

        async def progress(fraction: float, total: float | None, stage: str | None) -> None:
            if stage == "structure":
                sampling.set()

        slow = client.call_tool("generate", {"images": ["mug.png"], "out": "slow", **SLOW}, progress_callback=progress)
        first = asyncio.create_task(slow)
        await sampling.wait()
        waiting = client.call_tool("generate", {"images": ["mug.png"], "out": "waiting", **SLOW})
        second = asyncio.create_task(waiting)
        await asyncio.sleep(0.2)
        for task in (second, first):
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        quick = {"images": ["mug.png"], "out": "next", "faces": 500, "texture_size": 64}
        made = await client.call_tool("generate", quick)
        assert not made.is_error, made.content

    session(allowed, environment, talk)
    assert list((allowed / "slow").iterdir()) == []
    assert not (allowed / "waiting").exists()
    assert (allowed / "next" / "mug.glb").is_file()


# --- without the SDK's client: what is on the wire, and what is beside it -------------------------------------------


class Wire:
    """A server, spoken to by lines of JSON."""

    def __init__(self, command: list[str], environment: dict[str, str], log: Path) -> None:
        self.lines: list[dict[str, Any]] = []
        with log.open("wb") as stderr:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, cwd=ROOT, env=environment
            )

        self._watchdog = threading.Timer(240, self.process.kill)  # what is never answered must not wait for ever
        self._watchdog.daemon = True
        self._watchdog.start()

    def close(self) -> None:
        self._watchdog.cancel()
        self.process.kill()
        self.process.wait()

    def send(self, **message: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
        self.process.stdin.flush()

    def until(self, heard: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """The next message that was waited for. Whatever is no message of the protocol fails."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            message: dict[str, Any] = json.loads(line)
            assert message["jsonrpc"] == "2.0"
            self.lines.append(message)
            if heard(message):
                return message
        raise AssertionError("the server has ended")

    def greet(self) -> None:
        """The handshake of the protocol as it was in 2025."""
        client = {"name": "test", "version": "1"}
        settings = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": client}
        self.send(id=0, method="initialize", params=settings)
        assert self.until(lambda message: message.get("id") == 0)["result"]["serverInfo"]["name"] == "espalier"
        self.send(method="notifications/initialized")

    def call(self, tool: str, **arguments: Any) -> None:
        self.send(
            id=1, method="tools/call", params={"name": tool, "arguments": arguments, "_meta": {"progressToken": 7}}
        )


@pytest.fixture
def wire(allowed: Path, environment: dict[str, str], tmp_path: Path) -> Iterator[Wire]:
    """A greeted server. Afterwards it has ended."""
    server = Wire(command(allowed), environment, tmp_path / "log")
    server.greet()
    yield server
    server.close()


def listening(process: int) -> list[str]:
    """The sockets of a process and its children that others could connect to."""
    family = {process}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if int((entry / "stat").read_text().rpartition(")")[2].split()[1]) in family:
                family.add(int(entry.name))
        except OSError:
            continue
    found = []
    for member in family:
        try:
            sockets = {os.readlink(link) for link in Path(f"/proc/{member}/fd").iterdir()}
        except OSError:
            continue
        for kind in ("tcp", "tcp6", "udp", "udp6"):
            for line in Path(f"/proc/{member}/net/{kind}").read_text().splitlines()[1:]:
                if f"socket:[{line.split()[9]}]" in sockets:
                    found.append(line)
        for line in Path(f"/proc/{member}/net/unix").read_text().splitlines()[1:]:
            accepts = int(line.split()[3], 16) & 0x10000
            if accepts and f"socket:[{line.split()[6]}]" in sockets:
                found.append(line)
    return found


@needs_sdk
@on_linux
def test_nothing_listens(wire: Wire, tmp_path: Path) -> None:
    assert listening(wire.process.pid) == []
    wire.call("generate", images=["mug.png"], out="assets", **SLOW)
    wire.until(lambda message: message.get("params", {}).get("message") == "structure")
    assert listening(wire.process.pid) == []
    code = "import socket; s = socket.create_server(('127.0.0.1', 0)); print('open', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        assert len(listening(other.pid)) == 1, "a socket would be seen"
        other.kill()


@needs_sdk
def test_it_ends_with_the_assistant_and_leaves_nothing(wire: Wire, allowed: Path, environment: dict[str, str]) -> None:
    wire.call("generate", images=["mug.png"], out="assets", **SLOW)
    wire.until(lambda message: message.get("params", {}).get("message") == "structure")
    assert list(Path(environment["TMPDIR"]).glob("espalier-*"))
    started = time.monotonic()
    assert wire.process.stdin is not None
    wire.process.stdin.close()
    assert wire.process.wait(30) == 0
    assert time.monotonic() - started < 10
    assert list(Path(environment["TMPDIR"]).glob("espalier-*")) == []
    assert list((allowed / "assets").iterdir()) == []


@needs_sdk
@pytest.mark.skipif(sys.platform == "win32", reason="Windows ends processes without asking")
def test_it_ends_when_it_is_asked_to(wire: Wire, environment: dict[str, str]) -> None:
    wire.process.send_signal(signal.SIGTERM)
    assert wire.process.wait(60) == 130
    assert list(Path(environment["TMPDIR"]).glob("espalier-*")) == []


@needs_sdk
def test_lines_that_are_no_messages(wire: Wire) -> None:
    assert wire.process.stdin is not None
    wire.process.stdin.write(b"no message\n\xff\xfe\n[]\n")
    wire.call("generate", images=7)
    told = wire.until(lambda message: message.get("id") == 1)["result"]
    assert told["isError"] is True
    assert told["structuredContent"]["code"] == "settings_invalid"


@needs_sdk
@on_linux
def test_names_that_are_no_unicode(allowed: Path, environment: dict[str, str], tmp_path: Path) -> None:
    """They cannot be written as JSON, and are told as far as they can be read."""
    folder = allowed / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    wire = Wire(command(folder), environment, tmp_path / "log")
    try:
        wire.greet()
        wire.call("generate", images=["../mug.png"], out="made")
        told = wire.until(lambda message: message.get("id") == 1)["result"]
        assert told["structuredContent"]["code"] == "path_not_allowed"
        assert "caf\ufffd" in told["content"][0]["text"]
    finally:
        wire.close()


@needs_sdk
@pytest.mark.parametrize("folder", ["nothing", "allowed/mug.png"])
def test_a_folder_that_is_none(folder: str, allowed: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(
        command(allowed.parent / folder), cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert folder in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_without_the_extra_it_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for missing, words in (({"mcp"}, "-m pip install"), ({"mcp", "pip"}, "uv pip install --python")):
        monkeypatch.setattr(importlib.util, "find_spec", lambda name, missing=missing: None if name in missing else 1)
        assert tool_server.serve([tmp_path]) == 1
        told = capsys.readouterr()
        assert told.out == ""
        assert words in told.err
        assert told.err.strip().endswith(tool_server.SDK)


def test_it_answers_before_torch_is_there() -> None:
    code = "import sys, backend.serving.tool_server; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=120).returncode == 0


def test_the_sdk_is_the_one_that_is_locked() -> None:
    described = (ROOT / "pyproject.toml").read_text("utf-8")
    assert f'mcp = ["{tool_server.SDK}"]' in described
    assert len(re.findall(r'"mcp==[^"]+"', described)) == described.count(f'"{tool_server.SDK}"') == 2
    lock = (ROOT / "requirements-mcp.lock").read_text("utf-8")
    assert re.search(rf"^{re.escape(tool_server.SDK)} ", lock, re.M)
    carried = (ROOT / "requirements-backend.lock").read_text("utf-8")
    assert not re.search(r"^mcp==", carried, re.M), "it is no part of the zip"
