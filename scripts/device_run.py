"""Answer, in minutes on a lent GPU, what nothing else can: ``python -m scripts.device_run --out FOLDER``.

The full-size networks get random weights, so the run needs no model. Each part is a process of its own with a time
limit, so that one part's failure does not cost the others. Whatever is measured is a line of JSON in FOLDER/run.jsonl
at once. ``--rehearse`` does all of it at a small size, on the CPU too; ``--part`` only some parts.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: The parts in order of their worth: the module that has them, and the seconds that each may take.
PARTS = {
    "machine": ("correct", 40),
    "attention": ("choices", 40),
    "correct": ("correct", 70),
    "stages": ("times", 70),
    "steps": ("times", 45),
    "plain": ("choices", 45),
    "graphs": ("choices", 30),
    "serve": ("serve", 90),
    "overlap": ("serve", 45),
    "kernels": ("choices", 60),
    "profile": ("times", 40),
    "memory": ("memory", 80),
    "tests": ("correct", 60),
}

Say = Callable[[dict[str, Any]], None]


def recorder(file: Path, part: str) -> Say:
    """A function that adds a measurement to the file at once, and prints it."""

    def say(values: dict[str, Any]) -> None:
        line = json.dumps({"part": part} | values)
        with file.open("a", encoding="utf-8") as stream:
            stream.write(line + "\n")
        print(line[:300], flush=True)

    return say


def run_part(name: str, options: argparse.Namespace) -> None:
    """Run one part in this process."""
    from scripts.benchmark.device.setup import Scale

    scale = Scale.small(options.device) if options.rehearse else Scale.full(options.device)
    module = importlib.import_module(f"scripts.benchmark.device.{PARTS[name][0]}")
    getattr(module, name)(scale, recorder(options.out / "run.jsonl", name))


def run_apart(name: str, limit: float, options: argparse.Namespace) -> None:
    """Run one part in a process of its own. Its failure is a measurement, too."""
    command = [sys.executable, "-m", "scripts.device_run", "--out", str(options.out), "--device", options.device]
    command += ["--rehearse"] * options.rehearse + ["--part", name, "--here"]
    say, started = recorder(options.out / "run.jsonl", name), time.monotonic()
    log = options.out / f"{name}.log"
    try:
        with log.open("w", encoding="utf-8") as stream:
            code = subprocess.run(
                command,
                timeout=limit,
                stdout=stream,
                stderr=subprocess.STDOUT,
                env=os.environ | {"PYTHONUNBUFFERED": "1"},
            ).returncode
        end = "done" if code == 0 else f"exit code {code}"
    except subprocess.TimeoutExpired:
        end = f"stopped after {limit:.0f} s"
    tail = "" if end == "done" else log.read_text(encoding="utf-8", errors="replace")[-1500:]
    say({"end": end, "seconds": round(time.monotonic() - started, 1)} | ({"tail": tail} if tail else {}))
    if end == "done":
        log.unlink()


def main() -> int:
    """Run the parts. Exit code: 0, also if parts have failed: the lines say so."""
    parser = argparse.ArgumentParser(prog="python -m scripts.device_run", description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="gets run.jsonl")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    parser.add_argument("--rehearse", action="store_true", help="a small size, to see that everything works")
    parser.add_argument("--part", nargs="+", choices=tuple(PARTS), help="only these")
    parser.add_argument("--seconds", type=float, default=540.0, help="for all parts (default: %(default)s)")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)  # in this process
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + options.seconds
    for name in options.part or PARTS:
        if options.here:
            run_part(name, options)
        elif (left := end - time.monotonic()) > 5:
            run_apart(name, min(left, PARTS[name][1] * (10 if options.rehearse else 1)), options)
        else:
            recorder(options.out / "run.jsonl", name)({"end": "no time left"})
    return 0


if __name__ == "__main__":
    sys.exit(main())
