"""What the pipeline gives: rows that fail or kill, where Ray listens, how much is asked of a cluster."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from backend.errors import BackendError
from backend.farm import pipeline
from backend.farm.cluster import Size, connected
from backend.farm.pipeline import Plan, attempts, lines
from backend.farm.rows import Row
from backend.farm.stages import DEATHS, Attempts, Work
from tests.backend.farm.farms import OBJECT_STORE, needs_ray
from tests.backend.farm.stand_ins import FAULTY, POISON, Deadly, QuickFinish, QuickRead

pytestmark = needs_ray
ROWS = 40


@pytest.fixture
def size(ray_here: None) -> Iterator[Size]:
    with connected(None, cpus=2, store_bytes=OBJECT_STORE) as found:
        yield found


def test_rows_that_fail_or_kill_are_named_and_stop_no_other(size: Size, tmp_path: Path) -> None:
    (tmp_path / ".farm").mkdir()
    work = Work({}, ("glb",), str(tmp_path), "", "", False, (), attempts())
    rows = [Row(f"row {number}", []) for number in range(ROWS)]
    rows[7:7] = [Row(POISON, []), Row(FAULTY, [])]
    for row in rows:
        row.name = row.wanted
    found = list(lines(rows, work, Plan(2, 0.0, "cpu"), stages=(QuickRead, Deadly, QuickFinish)))
    assert Counter(line.name for line in found) == Counter(row.name for row in rows)
    failed = {line.name: line.error or {} for line in found if line.status != "done"}
    assert failed.keys() == {POISON, FAULTY}
    assert failed[POISON]["message"] == f"The worker died {DEATHS} times while making it."
    assert "this one cannot be made" in failed[FAULTY]["message"]
    assert {path.stem for path in (tmp_path / ".farm").iterdir()} == {row.name for row in rows}


def test_a_machine_that_died_is_not_asked_for_the_model(
    size: Size, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, listed = pipeline.nodes_with("CPU"), ["ab" * 28]
    assert len(there) == 1

    def nodes_with(resource: str) -> list[str]:
        return [*there, *([listed.pop()] if listed else [])]  # once, as Ray does for some seconds

    monkeypatch.setattr(pipeline, "nodes_with", nodes_with)
    work = Work({"model": "mini"}, ("glb",), str(tmp_path), "", "", False, (), attempts())
    pipeline.require_model(work, Plan(1, 0.0, "cpu"))
    assert not listed
    with pytest.raises(BackendError, match=r"not_there.*On the machine"):
        pipeline.require_model(replace(work, settings={"model": "not_there"}), Plan(1, 0.0, "cpu"))


def test_attempts_are_counted_until_they_end() -> None:
    counted = Attempts()
    assert [counted.begin("sample", "a") for _ in range(2)] == [0, 1]
    assert counted.begin("sample", "b") == counted.begin("finish", "a") == 0
    counted.end("sample", "a")
    assert counted.begin("sample", "a") == 0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_on_one_machine_ray_listens_on_loopback_alone_and_tells_nobody(size: Size) -> None:
    from ray._common.usage import usage_lib

    listening = [where for process in family(os.getpid()) for where in ports(process)]
    assert len(listening) > 3, "nothing was looked at"
    assert all(ip_address(address).is_loopback for address, _ in listening), listening
    assert not usage_lib.usage_stats_enabled()


def test_the_machine_itself_gives_what_the_command_says(size: Size) -> None:
    assert size == Size(2.0, 0.0)


def test_actors_are_as_many_as_there_is_room_for() -> None:
    gpus, cores, one = Size(64.0, 8.0), Size(5.0, 0.0), Size(1.0, 0.0)
    assert Plan.of(gpus, device=None, share=1.0, actors=None) == Plan(8, 1.0, "cuda")
    assert Plan.of(gpus, device=None, share=0.5, actors=None) == Plan(16, 0.5, "cuda")
    assert Plan.of(gpus, device="cpu", share=1.0, actors=None) == Plan(32, 0.0, "cpu")
    assert Plan.of(cores, device=None, share=1.0, actors=None) == Plan(2, 0.0, "cpu")
    assert Plan.of(one, device=None, share=1.0, actors=None) == Plan(1, 0.0, "cpu")
    assert Plan.of(Size(4.0, 0.0, machines=3), device=None, share=1.0, actors=None) == Plan(3, 0.0, "cpu")
    assert Plan.of(cores, device=None, share=1.0, actors=4).actors == 4
    with pytest.raises(BackendError, match="no GPU"):
        Plan.of(cores, device="cuda", share=1.0, actors=None)


def family(process: int) -> set[int]:
    """A process and all below it."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended meanwhile
    found = {process}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def ports(process: int) -> list[tuple[str, int]]:
    """The addresses and ports that a process listens on."""
    try:
        links = [os.readlink(link) for link in Path(f"/proc/{process}/fd").iterdir()]
    except (FileNotFoundError, ProcessLookupError):
        return []
    inodes = {link[8:-1] for link in links if link.startswith("socket:[")}
    found = []
    for table in ("tcp", "tcp6"):
        for entry in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *rest = entry.split()
            if state == "0A" and rest[5] in inodes:
                host, port = local.split(":")
                words = [bytes.fromhex(host[at : at + 8])[::-1] for at in range(0, len(host), 8)]
                address = ip_address(b"".join(words))
                mapped = getattr(address, "ipv4_mapped", None)
                found.append((str(mapped or address), int(port, 16)))
    return found
