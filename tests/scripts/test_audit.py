"""What of the locks is looked up."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from scripts import audit

ROOT = Path(__file__).parents[2]


def test_every_package_of_every_lock_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, set[str]] = {}

    def run(command: list[str], **more: Any) -> subprocess.CompletedProcess[str]:
        assert "--strict" in command
        for line in Path(command[-1]).read_text().splitlines():
            name, version = line.split("==")
            asked.setdefault(name, set()).add(version)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(audit.subprocess, "run", run)
    monkeypatch.setattr(audit.sys, "argv", ["audit"])
    assert audit.main() == 0
    for lock in ROOT.glob("requirements*.lock"):
        heads = [line for line in lock.read_text().splitlines() if "==" in line and not line.lstrip().startswith("#")]
        assert heads
        for line in heads:
            name, version = line.split(" ")[0].split("==")
            assert version.partition("+")[0] in asked[name]
    assert {"torch", "pillow", "numpy", "bpy"} <= asked.keys()


def test_a_finding_is_a_failure(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(audit, "ask", lambda packages, service: int(any(name == "pillow" for name, _ in packages)))
    monkeypatch.setattr(audit.sys, "argv", ["audit", "--service", "osv"])
    assert audit.main() == 1
    assert "Not without findings: requirements-backend.lock" in capsys.readouterr().out
