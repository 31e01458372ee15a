"""The add-on's tests under every Blender that is available here.

    python3.11 scripts/dev.py test --blender all | 4.2 | 4.5 | 5.0 | real  [--share]  [ARGS for pytest]

The numbers are versions of pip's bpy. Each has its own environment beside ``.venv``, made from its hash lock when it is
first needed (about 400 MB each). *real* means Blenders with an interface: the commands in ``ESPALIER_BLENDER`` (one per
line), else ``blender``, else those that ``tests/real_blender/rig.py`` has set up. In these the add-on's tests run in
the background, then the zip is installed and sessions are driven in a window; with ``--share`` each session in one of
the Blenders only, in half the time. A missing Blender is reported, but is not a failure.

Exit codes: 0 all tests that could run have passed, 1 some failed, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from backend.files import sha256, write_whole
from tests.real_blender import rig

ROOT = Path(__file__).resolve().parent.parent
#: pip's bpy in the checkout's own environment, and those with separate ones: scripts/lock.py has their versions.
OWN = "4.5"
OTHERS = tuple(path.stem.removeprefix("requirements-bpy-") for path in sorted(ROOT.glob("requirements-bpy-*.lock")))
ADDON_TESTS = "tests/blender_addon"


class Missing(Exception):
    """A Blender is not available here. The text says why."""


def environment(version: str) -> Path:
    """The Python of the environment with this bpy, which is made if it is missing. Raises Missing."""
    folder, lock = ROOT / f".venv-bpy-{version}", ROOT / f"requirements-bpy-{version}.lock"
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    marker, digest = folder / "lock.sha256", sha256(lock)
    if marker.is_file() and marker.read_text() == digest:
        return python
    print(f"Making {folder.name}", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder, with_pip=True)
    install = [str(python), "-m", "pip", "install", "--quiet", "--require-hashes", "--only-binary", ":all:"]
    done = subprocess.run([*install, "-r", str(lock)], capture_output=True, text=True)
    if done.returncode != 0:
        raise Missing(f"bpy {version} cannot be installed: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
    write_whole(marker, digest)
    return python


def run_bpy(version: str, arguments: list[str]) -> int:
    """Run the add-on's tests under a version of pip's bpy. Returns pytest's exit code. Raises Missing."""
    python = Path(sys.executable) if version == OWN else environment(version)
    command = [str(python), "-m", "pytest", ADDON_TESTS, "-p", "no:cacheprovider", *arguments]
    return subprocess.run(command, cwd=ROOT).returncode


def real_blenders() -> list[str]:
    """The commands of the real Blenders here. Raises Missing."""
    chosen = os.environ.get("ESPALIER_BLENDER", "").strip().splitlines()
    if chosen:
        return chosen
    if shutil.which("blender"):
        return ["blender"] if os.environ.get("DISPLAY") else [shlex.join([*rig.XVFB, "blender"])]
    found = [shlex.join([sys.executable, str(ROOT / rig.SCRIPT), "run", suite]) for suite in rig.ready()]
    if not found:
        raise Missing(f"no real Blender: ESPALIER_BLENDER is not set, there is no command blender, and {rig.missing()}")
    return found


def run_real(command: str, arguments: list[str], share: str) -> tuple[int, str]:
    """Run the add-on's tests inside this Blender, then the zip and its ``share`` of the sessions from outside.

    Returns the exit code and what they wrote.
    """
    script = str(ROOT / "tests" / "real_blender" / "addon_tests.py")
    inside = [*shlex.split(command), "--background", "--factory-startup", "--python", script, "--", *arguments]
    first = subprocess.run(inside, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    outside = [sys.executable, "-m", "pytest", "tests/real_blender", "--real-blender", "-p", "no:cacheprovider"]
    seen = {"ESPALIER_PICTURES": str(ROOT / "dist" / "session")}  # in the checkout, which is visible inside a rig
    environment = {**os.environ, **seen, "ESPALIER_BLENDER": command, "ESPALIER_SHARE": share}
    then = subprocess.run(
        outside, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    return first.returncode or then.returncode, first.stdout + then.stdout


def run_side_by_side(commands: list[str], arguments: list[str], is_shared: bool) -> Iterator[tuple[str, int]]:
    """Run the tests in several real Blenders at once, each written out when it is done. A session mostly waits."""
    shares = [f"{number}/{len(commands)}" if is_shared else "0/1" for number in range(len(commands))]
    with ThreadPoolExecutor(len(commands)) as threads:
        runs = {
            threads.submit(run_real, command, arguments, share): command
            for command, share in zip(commands, shares, strict=True)
        }
        print(f"--- {len(commands)} real Blenders at once, about {8 if is_shared else 14} minutes", flush=True)
        for run in as_completed(runs):
            code, said = run.result()
            print(f"--- {runs[run]}\n{said}", flush=True)
            yield runs[run], code


def main(arguments: list[str]) -> int:
    """Run the tests under the chosen Blenders, and print the outcome of each. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="dev.py test", description="The add-on's tests under other Blenders.")
    parser.add_argument("--blender", required=True, choices=("all", *sorted((OWN, *OTHERS)), "real"))
    parser.add_argument("--share", action="store_true", help="drive each session in one of the real Blenders only")
    options, rest = parser.parse_known_args(arguments)
    chosen = [*sorted((OWN, *OTHERS)), "real"] if options.blender == "all" else [options.blender]
    outcome: dict[str, str] = {}
    for version in chosen:
        try:
            if version == "real":
                runs = run_side_by_side(real_blenders(), rest, options.share)
                outcome |= {command: "passed" if code == 0 else f"FAILED ({code})" for command, code in runs}
                continue
            print(f"--- bpy {version}", flush=True)
            code = run_bpy(version, rest)
            outcome[f"bpy {version}"] = "passed" if code == 0 else f"FAILED ({code})"
        except Missing as missing:
            outcome[version if version == "real" else f"bpy {version}"] = f"missing: {missing}"
    print("\n" + "\n".join(f"{name}: {what}" for name, what in outcome.items()), flush=True)
    return 1 if any(what.startswith("FAILED") for what in outcome.values()) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
