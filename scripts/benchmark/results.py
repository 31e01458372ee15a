"""Storing measurements: one JSON file for each kind of run and device, with facts about the machine."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from backend.files import write_whole

from .stages import Case

ROOT = Path(__file__).resolve().parents[2]


class Results:
    """Measurements of one commit on one machine, written after each. If ``header`` differs, old ones are dropped."""

    def __init__(self, folder: Path, run: str, header: Mapping[str, Any]) -> None:
        slug = re.sub(r"[^a-z0-9]+", "-", str(header["device"]).lower()).strip("-")
        self.file = folder / f"{run}-{slug}.json"
        self.values: dict[str, Any] = {**header, "commands": [], "rates": {}, "measurements": []}
        if self.file.exists():
            stored = json.loads(self.file.read_text("utf-8"))
            if all(stored.get(key) == value for key, value in header.items()):
                self.values = stored
        command = " ".join(["python -m scripts.bench", *sys.argv[1:]])
        if command not in self.values["commands"]:
            self.values["commands"].append(command)

    @property
    def measurements(self) -> list[dict[str, Any]]:
        """The measurements, in the order in which they were made."""
        found: list[dict[str, Any]] = self.values["measurements"]
        return found

    @property
    def rates(self) -> dict[str, float]:
        """The machine's rates, see ``meter.rates``; empty until they are measured."""
        found: dict[str, float] = self.values["rates"]
        return found

    def has(self, case: Case) -> bool:
        """Whether a case has been measured."""
        return any(all(m.get(name, 0) == value for name, value in asdict(case).items()) for m in self.measurements)

    def add(self, measurement: dict[str, Any]) -> None:
        """Store a measurement, with its floor if its work was counted and the machine's rates are known."""
        if "dtype" in measurement and self.rates:
            measurement["floor_s"] = max(
                measurement["operations"] / self.rates[measurement["dtype"]], measurement["bytes"] / self.rates["copy"]
            )
        self.measurements.append(measurement)
        self.write()

    def write(self) -> None:
        """Write the file whole or not at all."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.file, json.dumps(self.values, indent=1) + "\n")


def machine(device: str, title: str) -> dict[str, Any]:
    """What a file says about the machine that its figures come from."""
    import torch

    return {
        "device": title,
        "kind": device,
        "threads": torch.get_num_threads(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def cpu_title() -> str:
    """The processor's name if the system tells it, else its architecture; and the number of cores."""
    info = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*: (.+)$", info.read_text(), re.MULTILINE) if info.exists() else None
    return f"{found.group(1).strip() if found else platform.processor() or platform.machine()} ({os.cpu_count()} cores)"


def current_commit() -> str:
    """The current commit, marked if tracked files have changed since; ``unknown`` without git."""
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return described.stdout.strip()


#: The columns of the table: the heading, and the text for a measurement.
COLUMNS: tuple[tuple[str, Callable[[dict[str, Any]], str]], ...] = (
    ("stage", lambda m: m["stage"]),
    ("grid", lambda m: f"{m['resolution']}^3" if "resolution" in m else ""),
    ("voxels", lambda m: str(m.get("voxels", ""))),
    ("steps", lambda m: str(m.get("steps", ""))),
    ("load", lambda m: in_words(m.get("load_s"))),
    ("cold", lambda m: in_words(m.get("cold_s"))),
    ("warm", lambda m: in_words(m.get("warm_s"))),
    ("95 %", lambda m: in_words(m.get("p95_s"))),
    ("a minute", lambda m: f"{m['per_minute']:.1f}" if "per_minute" in m else ""),
    ("times", lambda m: f"{m['ratio']:.2f}" if "ratio" in m else ""),
    ("least", lambda m: f"{m['ratio_least']:.2f}" if "ratio_least" in m else ""),
    ("at best", lambda m: f"{m['ratio_at_best']:.2f}" if "ratio_at_best" in m else ""),
    ("floor", lambda m: in_words(m.get("floor_s"))),
    ("GFLOP", lambda m: f"{m['operations'] / 1e9:,.1f}" if m.get("operations") else ""),
    ("peak", lambda m: f"{m['peak_bytes'] / 1e6:,.0f} MB" if "peak_bytes" in m else ""),
    ("faces", lambda m: f"{m['faces']:,}" if "faces" in m else ""),
    ("same", lambda m: {True: "yes", False: "NO"}.get(m.get("same_mesh", ""), "")),
)


def table(measurements: list[dict[str, Any]]) -> str:
    """The measurements as text, without empty columns."""
    columns = [[heading, *(value(m) for m in measurements)] for heading, value in COLUMNS]
    columns = [column for column in columns if any(column[1:])]
    widths = [max(map(len, column)) for column in columns]
    rows = (
        "  ".join(
            cell.ljust(width) if index == 0 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in zip(*columns, strict=True)
    )
    return "\n".join(row.rstrip() for row in rows)


def in_words(seconds: float | None) -> str:
    """A time with its unit."""
    return "" if seconds is None else f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"
