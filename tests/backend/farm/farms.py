"""The command in a process of its own, Ray's test cluster, and what a target must be like in the end."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.signals import heeded

ROOT = Path(__file__).parents[3]
EXAMPLES = sorted((ROOT / "examples").glob("*.png"))
#: Small objects: a second of one core each. Without retries the bytes depend on no time.
SMALL = ("--steps", "1", "--texture-size", "64", "--faces", "500", "--no-normal-map", "--retry-seconds", "0")
MISSING = [name for name in ("ray", "pyarrow", "pandas") if importlib.util.find_spec(name) is None]
WITHOUT_RAY = f"needs {' and '.join(MISSING)}: CONTRIBUTING.md says how to install the extra farm"
OBJECT_STORE = 200 << 20
PATIENCE = 540.0  # seconds
STARTS = 3  # of a cluster

needs_ray = pytest.mark.skipif(bool(MISSING), reason=WITHOUT_RAY)


def environment(**more: str) -> dict[str, str]:
    """Of every process: Ray on loopback alone, quiet, and the threads that the farm's workers have."""
    from backend.farm.cluster import LOCAL

    # Ray and uv read what the other proxies are; nothing of this may leave the machine.
    kept = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    # By itself Ray makes workers so nice that they starve on a busy computer.
    ours = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "RAY_worker_niceness": "0"}
    return kept | LOCAL | ours | more


@dataclass
class Farm:
    """The command in a process of its own."""

    source: str
    out: str
    address: str | None
    environment: dict[str, str]
    more: tuple[str, ...] = ()
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(self) -> subprocess.Popen[str]:
        where = ["--address", self.address] if self.address else ["--object-store", "200", "--cpus", "2"]
        command = [sys.executable, "-m", "backend", "farm", self.source, "--out", self.out, *where, *SMALL, *self.more]
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        heeds = heeded() if os.name == "posix" else None
        process = subprocess.Popen(command, cwd=ROOT, env=self.environment, preexec_fn=heeds, **pipes)
        self.started.append(process)
        return self.started[-1]

    def run(self, code: int = 0) -> str:
        """Run it to its end, and return what it said."""
        process = self.start()
        said, errors = process.communicate(timeout=PATIENCE)
        assert process.returncode == code, said + errors
        return said + errors


class Nodes:
    """Ray's own test cluster: machines of one core, which are processes of this one."""

    def __init__(self, count: int) -> None:
        from ray.cluster_utils import Cluster

        for attempt in range(STARTS):
            self.cluster = Cluster()
            try:
                self.nodes = [self.cluster.add_node(num_cpus=1, object_store_memory=OBJECT_STORE) for _ in range(count)]
                self.cluster.wait_for_nodes(60)
                return
            except Exception as error:  # Ray gives a machine 30 seconds, which a busy computer does not always have
                self.cluster.shutdown()
                if attempt == STARTS - 1 or "timed out" not in str(error):
                    raise

    @property
    def address(self) -> str:
        return str(self.cluster.address)

    def workers(self) -> list[int]:
        """The processes that work for a farm."""
        raylets = {node.all_processes["raylet"][0].process.pid for node in self.cluster.list_all_nodes()}
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                title = (folder / "cmdline").read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue  # it has ended meanwhile
            if parent in raylets and title.startswith(("ray::Map", "ray::Attempts")):
                found.append(int(folder.name))
        return found

    def lose(self, number: int) -> None:
        """End a machine at once."""
        self.cluster.remove_node(self.nodes[number], allow_graceful=False)


def wait_until(holds: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait for something while a farm runs."""
    end = time.monotonic() + PATIENCE
    while not holds():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.1)


def assert_agree(expected: set[str], files: dict[str, bytes], own: list[str]) -> None:
    """A target has every object once and whole, and its two reports say so."""
    import io

    from pyarrow import parquet

    assets = json.loads(files.pop("report.json"))["assets"]
    rows = parquet.read_table(io.BytesIO(files.pop("report.parquet"))).to_pylist()
    files.pop(".farm.lock", None)
    assert own == []
    assert sorted(row["name"] for row in rows) == sorted(expected)
    assert [row["name"] for row in rows] == [asset["name"] for asset in assets]
    assert {asset["status"] for asset in assets} <= {"done", "skipped"}, assets
    digests = {asset["files"]["glb"]: asset["digests"]["glb"] for asset in assets}
    assert {name: hashlib.sha256(content).hexdigest() for name, content in files.items()} == digests
    assert [json.loads(row["digests"])["glb"] for row in rows] == [asset["digests"]["glb"] for asset in assets]
