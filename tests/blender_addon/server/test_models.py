"""What the add-on hears of the models: asked for in the background or waited for, and again when something changed."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from espalier.backend import protocol
from espalier.blender_addon.jobs.client import BackendUnavailable
from espalier.blender_addon.server import models
from espalier.blender_addon.server.models import BackendAt, ModelStore

posix = pytest.mark.skipif(sys.platform == "win32", reason="the backend here is a shell script")


@pytest.fixture
def place(root: Path, tmp_path: Path) -> BackendAt:
    """The real backend, and a folder of models that is there."""
    (tmp_path / "models").mkdir()
    return BackendAt(Path(sys.executable), root, str(tmp_path / "models"))


@pytest.fixture
def saying(tmp_path: Path) -> Callable[..., BackendAt]:
    """``saying(line, ..., end="exit 1")`` is a backend that prints these lines."""

    def make(*lines: str, end: str = "") -> BackendAt:
        script = tmp_path / "python"
        told = "".join(f"printf '%s\\n' {shlex.quote(line.strip())}\n" for line in lines)
        script.write_text(f"#!/bin/sh\n{told}{end}\n")
        script.chmod(0o755)
        return BackendAt(script, tmp_path, str(tmp_path))

    return make


def finished(store: ModelStore) -> ModelStore:
    end = time.monotonic() + 60
    while store.working:
        assert time.monotonic() < end
        time.sleep(0.01)
    return store


LIST = protocol.encode(
    protocol.ModelList("/models", 7, (protocol.ModelInfo("a", "A", "own", 1, 1, "", "", (), usable=True),))
)


def test_ask_waits_for_the_real_backends_answer(place: BackendAt) -> None:
    store = ModelStore()
    store.ask(place)
    student = store.known["mini-mdt"]
    assert (student.usable, student.steps, student.teacher) == (True, (2, 2), "mini")
    assert (store.folder, store.known["trellis-image-large"].state) == (place.folder, "not installed")
    assert store.free > 0
    assert not store.working


@posix
def test_lines_of_libraries_are_passed_over(saying: Callable[..., BackendAt]) -> None:
    store = ModelStore()
    store.ask(saying("a warning", "{}", '{"type": "models"}', LIST, '{"type": "ready"}'))
    assert list(store.known) == ["a"]
    assert (store.folder, store.free) == ("/models", 7)


@posix
@pytest.mark.parametrize(
    ("lines", "end", "words"),
    [
        ((), "", "did not list its models"),
        ((protocol.encode(protocol.Done("a")),), "", "did not list its models"),
        (("ImportError: no torch",), "exit 1", "The backend failed: ImportError: no torch"),
        ((protocol.encode(protocol.Error(None, "x", "It is full.", "Empty it.")),), "exit 1", "It is full."),
        ((), "exec sleep 60", "within 0.5 seconds"),
    ],
)
def test_what_goes_wrong_is_said_with_what_to_do(
    saying: Callable[..., BackendAt], lines: tuple[str, ...], end: str, words: str
) -> None:
    store = ModelStore()
    store.known = {"kept": protocol.ModelInfo("kept", "", "own", 0, 0, "", "", ())}
    started = time.monotonic()
    with pytest.raises(BackendUnavailable, match=words) as raised:
        store.ask(saying(*lines, end=end), timeout=0.5 if "sleep" in end else 30.0)
    assert raised.value.hint.endswith(".")
    assert list(store.known) == ["kept"]
    assert time.monotonic() - started < 30


def test_a_python_that_is_not_there(tmp_path: Path) -> None:
    place = BackendAt(tmp_path / "no-python", tmp_path)
    with pytest.raises(BackendUnavailable, match="could not be started"):
        ModelStore().ask(place)
    store = ModelStore()
    store.refresh(place)
    assert finished(store).problem is not None
    assert store.busy_with == ""


def test_it_is_asked_again_when_something_changed_and_only_then(
    place: BackendAt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "FRESH", 0.0)
    store, folder = ModelStore(), Path(place.folder)
    assert store.stale()  # never asked
    store.refresh(place)
    assert "mini" in finished(store).known
    for _ in range(3):
        assert not store.stale()
        store.refresh(place)
        assert not store.working

    def is_noticed() -> bool:
        noticed = store.stale()
        store.refresh(place)
        return noticed and not finished(store).stale()

    (folder / "mine").mkdir()
    assert is_noticed()
    assert "mine" not in store.known
    (folder / "mine" / "pipeline.json").write_text("{}")
    assert is_noticed()
    assert store.known["mine"].state == "own"
    assert not store.known["mine"].usable
    (folder / "mine" / "ckpts").mkdir()
    assert is_noticed()
    (folder / "mine" / "ckpts" / "flow.safetensors").touch()
    assert is_noticed()
    os.utime(folder / "mine" / "pipeline.json", ns=(0, 0))
    assert is_noticed()
    (folder / "mine").rename(tmp_path / "elsewhere")
    assert is_noticed()
    assert "mine" not in store.known


def test_the_folder_is_not_looked_at_for_every_frame(place: BackendAt, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ModelStore()
    store.ask(place)
    looks = []
    monkeypatch.setattr(models, "_times", lambda place: looks.append(1))
    assert not any(store.stale() for _ in range(100))
    assert looks == []
    monkeypatch.setattr(models, "FRESH", 0.0)
    assert store.stale()
    assert all(store.stale() for _ in range(100))  # until it is asked again
    assert looks == [1]


@posix
def test_a_backend_that_fails_is_not_asked_again_and_again(saying: Callable[..., BackendAt]) -> None:
    store, place = ModelStore(), saying("broken", end="exit 1")
    store.refresh(place)
    assert finished(store).problem == ("The backend failed: broken", models.REPAIR)
    store.problem = None
    store.refresh(place)
    assert finished(store).problem is None
    store.refresh(place, anew=True)
    assert finished(store).problem == ("The backend failed: broken", models.REPAIR)


def test_a_folder_that_is_not_there_yet(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "FRESH", 0.0)
    monkeypatch.setenv(protocol.MODELS_VARIABLE, str(tmp_path / "chosen" / "models"))
    store, place = ModelStore(), BackendAt(Path(sys.executable), root)
    store.ask(place)
    assert store.folder == str(tmp_path / "chosen" / "models")
    assert not store.stale()
    (tmp_path / "chosen" / "models").mkdir(parents=True)
    assert store.stale()


@posix
def test_progress_and_a_model_that_is_new(saying: Callable[..., BackendAt]) -> None:
    lines = [protocol.encode(protocol.Transfer("new", action, "f", 1, 4)) for action in ("download", "juggle")]
    store = ModelStore()
    store.carry_out("download", "new", saying(*lines, LIST))
    assert finished(store).problem is None
    assert store.text == "juggle new"
    assert store.fraction == 0.25


@posix
def test_cancel_ends_a_command_and_the_list_comes_all_the_same(saying: Callable[..., BackendAt]) -> None:
    store = ModelStore()
    store.carry_out("download", "a", saying(LIST, end='[ "$8" = models ] || exec sleep 60'))
    store.cancel()
    assert finished(store).problem is None
    assert list(store.known) == ["a"]
