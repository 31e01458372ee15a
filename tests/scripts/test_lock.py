"""The locks of torch's builds: which hashes are taken, and what is recorded of their wheels."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts import lock
from tests.fakes.package_index import FakeIndex, make_wheel, serve_index

FILE = "torch-1.0+cu126-cp311-cp311-win_amd64.whl"
CONTENT = make_wheel("torch", "1.0+cu126", {"torch.py": b"x" * 5000})[1]
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeIndex]:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with serve_index() as server:
        monkeypatch.setattr(lock, "TORCH_INDEX", server.torch_url)
        monkeypatch.setattr(lock, "PYPI", server.url)
        monkeypatch.setattr(lock, "ROOT", tmp_path)
        monkeypatch.setattr(lock, "RECORD", tmp_path / "requirements-torch.json")
        monkeypatch.setattr(lock, "STATED", {})
        server.files[FILE] = CONTENT
        yield server


def line(digest: str = DIGEST) -> str:
    return f"torch==1.0+cu126 \\\n    --hash=sha256:{digest}\n"


def test_the_hash_of_the_link_is_locked(index: FakeIndex) -> None:
    assert lock.torch_line("1.0", "cu126", "windows") == line()
    assert lock.torch_line("1.0", "cu126", "linux") == "", "the index has no wheel for Linux"


def test_a_file_without_a_hash_is_not_locked(index: FakeIndex, capsys: pytest.CaptureFixture[str]) -> None:
    """The link has a hash of the wheel's description."""
    index.unhashed = {FILE}
    assert lock.torch_line("1.0", "cu126", "windows") == ""
    assert "no hash of it" in capsys.readouterr().out


def test_what_others_state_is_used_until_the_index_answers(index: FakeIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "STATED", {FILE: (DIGEST, len(CONTENT))})
    assert lock.torch_line("1.0", "cu126", "windows") == line()
    monkeypatch.setattr(lock, "TORCH_INDEX", "http://127.0.0.1:9/whl")
    assert lock.torch_line("1.0", "cu126", "windows") == line()
    with pytest.raises(OSError, match="refused"):
        lock.torch_line("1.0", "cu130", "windows")


def test_two_hashes_of_one_file_stop_everything(index: FakeIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "STATED", {FILE: ("ab" * 32, len(CONTENT))})
    with pytest.raises(SystemExit, match="Find out why"):
        lock.torch_line("1.0", "cu126", "windows")


def test_the_record_has_sizes(index: FakeIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "requirements-torch-cpu.lock").write_text("# a comment\njinja2==3 \\\n    --hash=sha256:00\n")
    (tmp_path / "requirements-torch-cu126-windows.lock").write_text("jinja2==3 \\\n    --hash=sha256:00\n" + line())
    monkeypatch.setattr(lock, "STATED", {FILE: (DIGEST, 1000)})
    with monkeypatch.context() as offline:
        offline.setattr(lock, "TORCH_INDEX", "http://127.0.0.1:9/whl")
        lock.write_record(tmp_path)
    guessed = {"file": FILE, "size": 1000, "unpacked": 1800, "estimated": True}
    assert json.loads(lock.RECORD.read_text()) == {DIGEST: guessed}
    lock.write_record(tmp_path)
    found = json.loads(lock.RECORD.read_text())[DIGEST]
    assert (found["file"], found["size"]) == (FILE, len(CONTENT))
    assert found["unpacked"] > 5000
    assert "estimated" not in found
    index.asked.clear()
    lock.write_record(tmp_path)
    assert index.asked == [], "what is recorded is not asked for again"


def test_the_lock_of_the_tool_server_adds_to_that_of_the_backend() -> None:
    """It is installed beside the other, and a checkout has both."""
    added, carried, everything = (
        lock.by_name((lock.ROOT / name).read_text("utf-8"))
        for name in ("requirements-mcp.lock", "requirements-backend.lock", "requirements.lock")
    )
    assert "mcp" in added
    assert added.keys() & carried.keys() == set()
    assert added.items() <= everything.items()
    assert all("--hash=sha256:" in lines for lines in added.values())
