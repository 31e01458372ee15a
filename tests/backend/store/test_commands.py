"""The commands ``models``, ``download``, ``verify`` and ``delete`` as a person and as Blender use them."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backend.__main__ import main
from tests.fakes.hub import FakeHub, Fault, serve_hub

WEIGHTS = bytes(range(256)) * 4000
FILES = {"config.json": b"{}", "model.safetensors": WEIGHTS}
NAME = "dinov2-vitl14-reg"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    for name in (*os.environ,):
        if name.startswith(("HF_", "HUGGINGFACE_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("ESPALIER_MODELS", str(tmp_path / "models"))
    with serve_hub() as server:
        server.repositories["facebook/dinov2-with-registers-large"] = dict(FILES)
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Pretend that a person sits in front of it, who types what is written here."""

    def type_in(text: str) -> None:
        monkeypatch.setattr(sys, "stdin", io.StringIO(text))
        for stream in (sys.stdin, sys.stderr):
            monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)

    return type_in


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def start(*options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "backend", "download", NAME, "--yes", "--json", *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


# --- consent ---------------------------------------------------------------------------------------------------------


def test_nothing_is_downloaded_without_consent(hub: FakeHub, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["download", NAME]) == 2
    told = capsys.readouterr().err
    assert "Apache-2.0" in told
    assert "--yes" in told.splitlines()[-1]
    assert hub.asked == []


def test_json_asks_no_questions(hub: FakeHub, capsys: pytest.CaptureFixture[str], terminal: Any) -> None:
    terminal("y\n")
    assert main(["download", NAME, "--json"]) == 2
    (line,) = lines(capsys)
    assert (line["type"], line["code"]) == ("error", "no_consent")
    assert hub.asked == []


@pytest.mark.parametrize("answer", ["n\n", "\n", ""])
def test_a_person_says_no(hub: FakeHub, capsys: pytest.CaptureFixture[str], terminal: Any, answer: str) -> None:
    terminal(answer)
    assert main(["download", NAME]) == 2
    assert capsys.readouterr().err.endswith("Nothing was downloaded.\n")
    assert hub.asked == []


def test_a_person_says_yes_and_sees_it_come(
    hub: FakeHub, capsys: pytest.CaptureFixture[str], terminal: Any, tmp_path: Path
) -> None:
    terminal("y\n")
    assert main(["download", NAME]) == 0
    told = capsys.readouterr()
    assert f"from     {hub.url}/facebook/dinov2-with-registers-large" in told.err
    assert "\r\x1b[Kdinov2-vitl14-reg: download" in told.err
    assert told.out.endswith(f"{NAME} is ready.\n")
    assert (tmp_path / "models" / NAME / "model.safetensors").read_bytes() == WEIGHTS


def test_what_a_model_takes_is_said_before_anything_is_fetched(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["download", "trellis2-4b-fine", "--models-folder", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    for words in ("DINOv3 License", "HF_TOKEN", "of a GPU at 512", "of a GPU at 1536", "12 GB", "with low memory"):
        assert words in said
    assert "Nothing is downloaded without consent" in said


# --- what the add-on reads -------------------------------------------------------------------------------------------


def test_progress_as_json(hub: FakeHub, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["download", NAME, "--yes", "--json", "--models-folder", str(tmp_path / "other")]) == 0
    told = lines(capsys)
    progress = [line for line in told if line["type"] == "progress"]
    assert progress
    assert progress[-1]["total"] == len(WEIGHTS) + 2
    assert set(progress[-1]) == {"type", "model", "action", "file", "done", "total"}
    assert told[-2:] == [
        {"type": "installed", "model": NAME, "folder": str(tmp_path / "other" / NAME)},
        {"type": "done", "model": NAME, "still_missing": []},
    ]
    assert main(["download", NAME, "--json"]) == 0  # there is nothing to consent to
    assert lines(capsys) == [told[-1]]


def test_an_error_as_json(hub: FakeHub, capsys: pytest.CaptureFixture[str]) -> None:
    hub.faults = [Fault("", status=403)]
    assert main(["download", NAME, "--yes", "--json"]) == 1
    (line,) = lines(capsys)
    assert line["type"] == "error"
    assert line["code"] == "access_denied"
    assert "huggingface.co/facebook/dinov2-with-registers-large" in line["hint"]


def test_the_models(hub: FakeHub, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    def states() -> dict[str, str]:
        assert main(["models", "--json"]) == 0
        (listing,) = lines(capsys)
        assert listing["models_folder"] == str(tmp_path / "models")
        assert listing["free"] > 0
        return {model["name"]: model["state"] for model in listing["models"]}

    before = states()
    assert before["mini"] == "bundled"
    assert before[NAME] == before["mdt-dist"] == "not installed"
    hub.faults = [Fault("model.safetensors", status=404)]
    assert main(["download", NAME, "--yes"]) == 1
    capsys.readouterr()
    assert states()[NAME] == "partial"
    hub.faults.clear()
    assert main(["download", NAME, "--yes"]) == 0
    capsys.readouterr()
    assert states()[NAME] == "installed"
    (tmp_path / "models" / NAME / "model.safetensors").write_bytes(b"")
    assert states()[NAME] == "damaged"
    assert main(["models"]) == 0
    text = capsys.readouterr().out
    for words in ("mini", "damaged", "license: MIT", "https://huggingface.co/microsoft/TRELLIS-image-large", "3.0 GB"):
        assert words in text


def test_a_folder_needs_no_network(hub: FakeHub, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "pipeline.json").write_text("{}")
    for name in ("ss_flow_img_dit_L_16l8_fp16.pt", "slat_flow_img_dit_L_64l8p2_fp16.pt"):
        (source / name).write_bytes(b"weights")
    assert main(["download", "mdt-dist", "--from", str(source), "--yes", "--json"]) == 0
    assert lines(capsys)[-1]["still_missing"] == [NAME, "trellis-image-large"]
    assert hub.asked == []


def test_an_unknown_model(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["download", "mini"])
    assert caught.value.code == 2
    assert "trellis-image-large" in capsys.readouterr().err


# --- processes that end in the middle --------------------------------------------------------------------------------


def test_a_killed_process_leaves_nothing_that_is_used_and_is_resumed(
    hub: FakeHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.faults = [Fault("model.safetensors", times=1, pause=0.02)]
    process = start()
    while not (part := next((tmp_path / "models").rglob("model*.part"), None)) or part.stat().st_size < 50_000:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    assert main(["download", NAME, "--yes", "--json"]) == 1  # another one meanwhile
    assert lines(capsys)[-1]["code"] == "busy"
    process.kill()
    process.communicate()
    assert not (tmp_path / "models" / NAME).exists()
    hub.asked.clear()
    assert main(["download", NAME, "--yes"]) == 0  # the dead process's lock is no obstacle
    ((name, asked),) = hub.downloads()
    assert name == "model.safetensors"
    assert asked is not None
    assert int(asked.removeprefix("bytes=").removesuffix("-")) >= 50_000


@pytest.mark.skipif(sys.platform == "win32", reason="there is no Ctrl-C to send to one process")
def test_ctrl_c(hub: FakeHub) -> None:
    # A shell starts what runs in the background with Ctrl-C ignored, and that would be inherited down to here.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    hub.faults = [Fault("model.safetensors", times=1, pause=0.05)]
    process = start()
    assert process.stdout is not None
    while json.loads(process.stdout.readline())["file"] != "model.safetensors":
        pass
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate(timeout=10)
    assert process.returncode == 130
    assert json.loads(rest.splitlines()[-1]) == {"type": "cancelled"}
    assert errors == ""


# --- verify and delete -----------------------------------------------------------------------------------------------


def test_verify_finds_what_has_the_right_size_and_other_bytes(
    hub: FakeHub, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["verify", NAME]) == 1
    assert "is not installed" in capsys.readouterr().err
    assert main(["download", NAME, "--yes"]) == 0
    capsys.readouterr()
    assert main(["verify", NAME, "--json"]) == 0
    told = lines(capsys)
    assert told[-1] == {"type": "done", "model": NAME, "still_missing": []}
    assert [line["file"] for line in told[:-1]] == list(FILES)
    weights = tmp_path / "models" / NAME / "model.safetensors"
    weights.write_bytes(b"x" * len(WEIGHTS))
    assert main(["verify", NAME, "--json"]) == 1
    error = lines(capsys)[-1]
    assert (error["type"], error["code"]) == ("error", "damaged")
    assert "model.safetensors" in error["message"]
    hub.asked.clear()
    assert main(["download", NAME, "--yes"]) == 0  # as the hint says
    assert weights.read_bytes() == WEIGHTS
    assert [name for name, _ in hub.downloads()] == ["model.safetensors"]


def test_delete(hub: FakeHub, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["download", NAME, "--yes"]) == 0
    assert main(["delete", NAME]) == 0
    assert not (tmp_path / "models" / NAME).exists()
    hub.faults = [Fault("model.safetensors", status=404)]
    assert main(["download", NAME, "--yes"]) == 1
    assert (tmp_path / "models" / ".partial" / NAME).exists()
    assert main(["delete", NAME]) == 0
    assert not (tmp_path / "models" / ".partial" / NAME).exists()
    capsys.readouterr()


def test_an_attached_download_ends_with_its_parent(hub: FakeHub) -> None:
    hub.faults = [Fault("model.safetensors", times=1, pause=0.02)]
    command = [sys.executable, "-m", "backend", "download", NAME, "--yes", "--json", "--attached"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdin is not None
    process.stdout.readline()
    process.stdin.close()
    assert process.wait(timeout=10) == 130
