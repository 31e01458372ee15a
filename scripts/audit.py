"""Asks a public database whether versions in the locks have known vulnerabilities.

    python3.11 scripts/dev.py audit [--service osv]

It needs a network. pip-audit is fetched and run by uv, apart from everything else; nothing of a lock is installed.
Torch's own builds (2.13.0+cpu) are looked up as what they were built from (2.13.0). Exit code: 0 if nothing is known,
1 if something is, or if a package could not be looked up.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PIP_AUDIT = "pip-audit==2.10.1"
#: A package in a lock. Its hashes and the systems that it is for follow.
PINNED = re.compile(r"^([A-Za-z0-9][\w.-]*)==([^\s+;]+)", re.MULTILINE)


def pinned(lock: str) -> dict[str, str]:
    """The packages of a lock, for all systems, with their public versions."""
    return dict(PINNED.findall(lock))


def main() -> int:
    """Audit all locks. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="dev.py audit", description="Look for known vulnerabilities in the locks.")
    parser.add_argument("--service", choices=("pypi", "osv"), default="pypi", help="whom to ask (default: pypi)")
    options = parser.parse_args()
    asked: set[tuple[str, str]] = set()
    failed = []
    for lock in sorted(ROOT.glob("requirements*.lock")):
        packages = set(pinned(lock.read_text("utf-8")).items()) - asked
        asked |= packages
        print(f"--- {lock.name}: {len(packages)} packages that no lock before it has", flush=True)
        if packages and ask(packages, options.service) != 0:
            failed.append(lock.name)
    print(f"\nNot without findings: {', '.join(failed)}" if failed else "\nNo known vulnerabilities.", flush=True)
    return 1 if failed else 0


def ask(packages: set[tuple[str, str]], service: str) -> int:
    """Look packages up. Returns pip-audit's exit code, which is also 1 if one of them could not be looked up."""
    with tempfile.TemporaryDirectory() as folder:
        names = Path(folder, "requirements.txt")
        names.write_text("".join(f"{name}=={version}\n" for name, version in sorted(packages)), "utf-8")
        tool = [sys.executable, "-m", "uv", "tool", "run", "--quiet", PIP_AUDIT]
        options = ["--strict", "--no-deps", "--disable-pip", "--vulnerability-service", service]
        environment = os.environ | {"UV_CACHE_DIR": str(ROOT / ".venv" / "uv-cache")}
        command = [*tool, *options, "--requirement", str(names)]
        return subprocess.run(command, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main())
