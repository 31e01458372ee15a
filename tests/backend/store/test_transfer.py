"""The one download, against a server on loopback that does what networks do. What hubs and indexes add is theirs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest

from backend.errors import StoreError
from backend.store import transfer
from backend.store.transfer import Expected, Fault, Origin, asked_wait, complete, copy, download, patiently
from tests.fakes import hub as fake
from tests.fakes.hub import FakeHub, serve_hub

CONTENT = bytes(range(256)) * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
FILE = Expected("noise.bin", len(CONTENT), SHA256)
PATH = "/some/thing/resolve/main/noise.bin"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A server that has the file. Waiting takes no time."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr(transfer, "WAITS", (0.0, 0.0, 0.0))
    with serve_hub() as server:
        server.repositories["some/thing"] = {"noise.bin": CONTENT}
        yield server


def explain(error: Exception) -> Fault | None:
    if isinstance(error, httpx2.HTTPStatusError):
        status = error.response.status_code
        return Fault(
            StoreError("refused", f"{status}.", "h"), transfer.may_pass(status), asked_wait(error.response.headers)
        )
    if isinstance(error, (httpx2.RequestError, ConnectionError)):
        return Fault(StoreError("broken", f"{error}.", "h"), passing=True)
    return None


def bring(server: FakeHub, target: Path, file: Expected = FILE, seen: list[int] | None = None) -> str:
    counts = [] if seen is None else seen
    with httpx2.Client() as client:
        origin = Origin(client, explain)
        return complete(
            file, target, lambda part: download(origin, lambda: server.url + PATH, file, part, counts.append)
        )


def refused(server: FakeHub, target: Path, file: Expected = FILE) -> StoreError:
    with pytest.raises(StoreError) as caught:
        bring(server, target, file)
    assert not target.exists()
    return caught.value


def part_of(target: Path, digest: str = SHA256) -> Path:
    return target.with_name(f"{target.name}.{digest[:16]}.part")


def ranges(server: FakeHub) -> list[str | None]:
    return [asked for _, asked in server.downloads()]


def test_a_file_comes_and_is_not_asked_for_again(server: FakeHub, tmp_path: Path) -> None:
    target, seen = tmp_path / "new" / "noise.bin", [0]
    assert bring(server, target, seen=seen) == SHA256
    assert target.read_bytes() == CONTENT
    assert seen == sorted(seen)
    assert seen[-1] == len(CONTENT)
    assert list(target.parent.iterdir()) == [target]
    assert bring(server, target) == SHA256
    assert ranges(server) == [None]


def test_it_goes_on_where_it_stopped(server: FakeHub, tmp_path: Path) -> None:
    server.faults = [fake.Fault("noise.bin", times=3, cut=50_000)]
    bring(server, tmp_path / "noise.bin")
    assert ranges(server) == [None, "bytes=50000-", "bytes=100000-", "bytes=150000-"]


def test_tries_that_bring_bytes_start_the_series_again(server: FakeHub, tmp_path: Path) -> None:
    server.faults = [fake.Fault("noise.bin", times=40, cut=6_000)]
    bring(server, tmp_path / "noise.bin")
    assert len(ranges(server)) == 41


def test_tries_that_bring_nothing_end(server: FakeHub, tmp_path: Path) -> None:
    server.faults = [fake.Fault("noise.bin", times=1, cut=50_000), fake.Fault("noise.bin", cut=0)]
    assert refused(server, tmp_path / "noise.bin").code == "broken"
    assert len(ranges(server)) == 1 + len(transfer.WAITS)
    assert part_of(tmp_path / "noise.bin").stat().st_size == 50_000  # for the next time
    server.faults.clear()
    bring(server, tmp_path / "noise.bin")
    assert ranges(server)[-1] == "bytes=50000-"


def test_a_server_without_ranges_begins_anew(server: FakeHub, tmp_path: Path) -> None:
    server.faults = [fake.Fault("noise.bin", times=1, cut=50_000), fake.Fault("noise.bin", no_ranges=True)]
    bring(server, tmp_path / "noise.bin")
    assert ranges(server) == [None, "bytes=50000-"]


def test_what_is_whole_already_is_only_verified(server: FakeHub, tmp_path: Path) -> None:
    part_of(tmp_path / "noise.bin").write_bytes(CONTENT)
    bring(server, tmp_path / "noise.bin")
    assert server.asked == []


def test_a_part_that_is_too_long_is_none(server: FakeHub, tmp_path: Path) -> None:
    part_of(tmp_path / "noise.bin").write_bytes(CONTENT + b"more")
    bring(server, tmp_path / "noise.bin")
    assert ranges(server) == [None]


@pytest.mark.parametrize("wrong", [CONTENT[:-1] + b"?", b"x" * len(CONTENT)])
def test_other_bytes_are_deleted(server: FakeHub, tmp_path: Path, wrong: bytes) -> None:
    server.faults = [fake.Fault("noise.bin", times=1, content=wrong)]
    assert refused(server, tmp_path / "noise.bin").code == "hash_wrong"
    assert list(tmp_path.iterdir()) == []
    bring(server, tmp_path / "noise.bin")


def test_gits_hash_counts_as_well(server: FakeHub, tmp_path: Path) -> None:
    file = Expected("noise.bin", len(CONTENT), git_sha1=fake.git_sha1(CONTENT))
    assert bring(server, tmp_path / "noise.bin", file) == SHA256
    assert refused(server, tmp_path / "other.bin", replace(file, git_sha1="0" * 40)).code == "hash_wrong"


def test_no_more_is_read_than_there_should_be(server: FakeHub, tmp_path: Path) -> None:
    assert refused(server, tmp_path / "noise.bin", replace(FILE, size=1000)).code == "size_wrong"
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_ends_early_for_good(server: FakeHub, tmp_path: Path) -> None:
    longer = replace(FILE, size=len(CONTENT) + 1)
    assert refused(server, tmp_path / "noise.bin", longer).code == "size_wrong"  # 416: there is no such byte
    assert list(tmp_path.iterdir()) == []
    assert ranges(server) == [None, f"bytes={len(CONTENT)}-"]


def test_an_empty_file(server: FakeHub, tmp_path: Path) -> None:
    empty = Expected("empty", 0, hashlib.sha256(b"").hexdigest())
    assert bring(server, tmp_path / "empty", empty) == empty.sha256
    assert (tmp_path / "empty").read_bytes() == b""
    assert server.asked == []


@pytest.mark.parametrize(("status", "tries"), [(404, 1), (403, 1), (429, 4), (408, 4), (503, 4)])
def test_faults_that_may_pass_are_waited_out(server: FakeHub, tmp_path: Path, status: int, tries: int) -> None:
    server.faults = [fake.Fault("noise.bin", status=status)]
    assert refused(server, tmp_path / "noise.bin").code == "refused"
    assert len(server.asked) == tries


@pytest.mark.parametrize(("asked", "waited"), [("17", [17.0]), ("0", [0.0]), ("soon", [0.5]), ("3600", None)])
def test_a_server_says_how_long_to_wait(
    server: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str, waited: list[float] | None
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(transfer, "WAITS", (0.5, 0.5))
    monkeypatch.setattr(transfer.time, "sleep", slept.append)
    server.faults = [fake.Fault("noise.bin", times=1, status=503, headers={"Retry-After": asked})]
    if waited is None:
        refused(server, tmp_path / "noise.bin")  # nobody waits an hour unasked
        assert slept == []
    else:
        bring(server, tmp_path / "noise.bin")
        assert slept == waited


def test_what_is_no_fault_of_the_transfer_is_raised_at_once() -> None:
    tries = []

    def attempt() -> None:
        tries.append(1)
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        patiently(attempt, explain)
    assert tries == [1]


def test_the_address_is_asked_anew_at_each_try(server: FakeHub, tmp_path: Path) -> None:
    addresses = iter([f"{server.url}/some/thing/resolve/main/gone.bin?status", server.url + PATH])
    server.faults = [fake.Fault("gone.bin", status=503)]
    with httpx2.Client() as client:
        download(Origin(client, explain), lambda: next(addresses), FILE, tmp_path / "part")
    assert (tmp_path / "part").read_bytes() == CONTENT


def test_a_copy_is_verified_like_a_download(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(CONTENT)
    seen: list[int] = []
    part_of(target).write_bytes(b"of an earlier attempt")
    assert complete(FILE, target, lambda part: copy(source, part, seen.append)) == SHA256
    assert seen[-1] == len(CONTENT)
    source.write_bytes(CONTENT[::-1])
    target.write_bytes(b"damaged")
    with pytest.raises(StoreError, match="hash"):
        complete(FILE, target, lambda part: copy(source, part))
    assert list(tmp_path.iterdir()) == [source]
