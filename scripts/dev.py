"""Set up Espalier in a checkout and run it. Needs only Python 3.11 and its standard library.

    python3.11 scripts/dev.py demo             the example images to textured meshes, with a contact sheet
    python3.11 scripts/dev.py test [ARGS...]   the tests (ARGS go to pytest)
                                               --blender all: the add-on's, in every Blender
    python3.11 scripts/dev.py check            lint, format, types, import rules
    python3.11 scripts/dev.py build [ARGS...]  the extension's zips (--help says more)
    python3.11 scripts/dev.py setup            only the set-up, which the others do first

The first command makes the environment ``.venv`` from the hash locks. Later ones find it ready. An older Python must
still be able to parse this file and print what is wrong: no syntax newer than 3.7.
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import importlib.util
import json
import os
import platform
import queue
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = ROOT / ".venv"
MARKER = ENVIRONMENT / "espalier.json"  # {"state": "installing" | "ready", "locks": digest of the lock files}
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
CPU_LOCK = "requirements-torch-cpu.lock"
#: The network that removes backgrounds. It is not committed; ``scripts.matting`` brings it.
MATTING = ROOT / "backend" / "pretrained" / "matting" / "u2netp.onnx"
FREE_DISK = 4e9  # bytes; 2.4 GB stay in use, pip works in the rest
FREE_DISK_CUDA = 12e9  # on Linux, torch's ordinary build includes CUDA's libraries
SILENCE = 15  # seconds without output from pip before this script prints a line
MACHINES = {("Linux", "x86_64"), ("Darwin", "arm64"), ("Windows", "AMD64")}  # pip's bpy exists for these
#: System libraries that bpy is linked with, and the Debian packages that contain them.
SYSTEM_LIBRARIES = {
    "libX11.so.6": "libx11-6",
    "libXrender.so.1": "libxrender1",
    "libXfixes.so.3": "libxfixes3",
    "libXi.so.6": "libxi6",
    "libxkbcommon.so.0": "libxkbcommon0",
    "libSM.so.6": "libsm6",
    "libICE.so.6": "libice6",
    "libGL.so.1": "libgl1",
}
NETWORK_TROUBLE = re.compile(  # as pip words it
    "NewConnectionError|NameResolutionError|getaddrinfo|name resolution|ConnectTimeout|ReadTimeout|ProxyError|SSLError"
    "|Connection (refused|reset|aborted)|Network is unreachable"
)


class Problem(Exception):
    """Something is missing on this machine. The text tells the user what to do."""


# What may be missing


def python_problem(version: tuple[int, int], windows: bool, has_311: bool) -> str:
    """Why this Python is not usable; empty if it is."""
    if version == (3, 11):
        return ""
    run = r"py -3.11 scripts\dev.py" if windows else "python3.11 scripts/dev.py"
    if windows:
        get = "Install it from https://www.python.org/downloads/ (or: winget install Python.Python.3.11)"
    else:
        get = (
            "Install it (Debian: apt install python3.11-venv; Ubuntu: deadsnakes PPA; macOS: brew install python@3.11)"
        )
    needed = "Espalier's tools need Python 3.11, the Python inside Blender 4.2 to 5.0"
    return f"{needed}; this is {version[0]}.{version[1]}. " + (f"Run: {run}" if has_311 else f"{get}, then run: {run}")


def machine_problem(system: str, machine: str) -> str:
    """Why Blender's Python module is not available here; empty if it is."""
    if (system, machine) in MACHINES:
        return ""
    return (
        "Blender's Python module (bpy) is published for Linux x86_64, macOS arm64 and 64-bit Windows only; "
        f"this Python runs on {system} {machine}."
    )


def library_problem(missing: list[str]) -> str:
    """What to install for these shared libraries; empty if there are none."""
    if not missing:
        return ""
    sentence = "Blender's Python module needs system libraries that are missing: " + ", ".join(missing) + ". "
    packages = [SYSTEM_LIBRARIES[name] for name in missing if name in SYSTEM_LIBRARIES]
    if len(packages) == len(missing):
        return sentence + "On Debian or Ubuntu: sudo apt-get install --no-install-recommends " + " ".join(packages)
    return sentence + "On Debian or Ubuntu, apt-file search NAME tells which packages to install."


def import_problem(module: str, error: str) -> str:
    """Why a freshly installed module cannot be imported, from Python's output."""
    missing = re.search(r"(\S+\.so[.\d]*): cannot open shared object file", error)
    if missing:
        return library_problem([missing.group(1)])
    if "DLL load failed" in error:
        return (
            f"{module} cannot be loaded: a Windows library is missing. Install Microsoft's Visual C++ Redistributable "
            "(https://aka.ms/vs/17/release/vc_redist.x64.exe)."
        )
    last = (error.strip().splitlines() or ["it gave no reason"])[-1]
    return f"{module} is installed but cannot be imported: {last}"


def pip_problem(output: str) -> str:
    """Why pip failed, from its output."""
    if re.search(r"No space left on device|Errno 28|not enough space on the disk", output):
        return "The disk is full. Free some space and run this again."
    if "DO NOT MATCH THE HASHES" in output:
        return (
            "A downloaded package does not match the lock, so it was not installed. Run this again. If it happens "
            "again, the package index, or a proxy in between, serves different files."
        )
    if NETWORK_TROUBLE.search(output):
        return "No network: pip cannot reach its package index. Connect (or set a proxy for pip) and run this again."
    unknown = re.search(r"No matching distribution found for ([^\s(]+)", output)
    if unknown:
        return f"The package index that pip uses does not have {unknown.group(1)}."
    return "pip failed. Its last lines:\n" + "\n".join(output.strip().splitlines()[-8:])


def disk_problem(free: float, needed: float) -> str:
    """Why there is too little disk space; empty if there is enough."""
    if free >= needed:
        return ""
    needs = f"the environment needs about {needed / 1e9:.0f} GB in {ROOT}"
    return f"Not enough disk: {needs}; {free / 1e9:.1f} GB are free."


def missing_libraries() -> list[str]:
    """The system libraries of bpy that the loader does not find (Linux)."""
    missing = []
    for name in SYSTEM_LIBRARIES:
        try:
            ctypes.CDLL(name)
        except OSError:
            missing.append(name)
    return missing


def require(problem: str) -> None:
    """Raise Problem with this text, unless it is empty."""
    if problem:
        raise Problem(problem)


# The environment


def has_nvidia_driver() -> bool:
    """Whether torch's CUDA build would be useful here."""
    return Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None


def torch_lock(linux: bool, nvidia: bool) -> str:
    """The lock for torch's build: on Linux the ordinary one is CUDA's, which is useless without the driver."""
    return CPU_LOCK if linux and not nvidia else "requirements-torch.lock"


def environment_python() -> Path:
    """The path of the Python in the checkout's environment, which need not exist yet."""
    return ENVIRONMENT / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def read_marker() -> dict:
    """The marker's content; empty if there is none, or writing it was interrupted."""
    try:
        return dict(json.loads(MARKER.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def write_marker(state: str, digest: str) -> None:
    """Write the marker whole or not at all, without the checkout's modules: they cannot be imported yet."""
    part = MARKER.with_suffix(".part")
    part.write_text(json.dumps({"state": state, "locks": digest}), encoding="utf-8")
    os.replace(str(part), str(MARKER))


def ensure_environment() -> Path:
    """The environment's Python. An environment that is not ready is made again. Raises Problem."""
    linux, nvidia = sys.platform == "linux", has_nvidia_driver()
    locks = [ROOT / "requirements.lock", ROOT / torch_lock(linux, nvidia)]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in locks)).hexdigest()
    if read_marker() == {"state": "ready", "locks": digest}:
        return environment_python()
    require(machine_problem(platform.system(), platform.machine()))
    if importlib.util.find_spec("ensurepip") is None:
        raise Problem("Python's venv module is incomplete here. On Debian: sudo apt-get install python3.11-venv")
    if linux:
        require(library_problem(missing_libraries()))
    print(f"Setting up Espalier in {ENVIRONMENT} (once; mostly downloads)", flush=True)
    print("[1/4] Making the environment", flush=True)
    create_environment(digest, FREE_DISK_CUDA if linux and nvidia else FREE_DISK)
    print("[2/4] Installing the packages of requirements.lock (bpy alone is about 370 MB)", flush=True)
    install(locks[0])
    print(f"[3/4] Installing torch ({locks[1].name})", flush=True)
    install_torch(locks[1])
    print("[4/4] Checking that torch and bpy can be imported", flush=True)
    check_imports(cpu=locks[1].name == CPU_LOCK)
    write_marker("ready", digest)
    print("The environment is ready.\n", flush=True)
    return environment_python()


def create_environment(digest: str, needed: float) -> None:
    """Make an empty environment, marked as not ready yet. Raises Problem."""
    if ENVIRONMENT.exists():
        if not read_marker() and any(path.stem != MARKER.stem for path in ENVIRONMENT.iterdir()):
            raise Problem(f"This script did not make {ENVIRONMENT}. Move it away and run this again.")
        shutil.rmtree(str(ENVIRONMENT))
    require(disk_problem(shutil.disk_usage(str(ROOT)).free, needed))
    ENVIRONMENT.mkdir()
    write_marker("installing", digest)
    made = subprocess.run([sys.executable, "-m", "venv", str(ENVIRONMENT)], capture_output=True, text=True)
    if made.returncode != 0:
        raise Problem("Python could not make the environment: " + (made.stdout + made.stderr).strip())


def install(lock: Path, *options: str) -> None:
    """Install a lock. Raises Problem."""
    command = [str(environment_python()), "-m", "pip", "install", "--require-hashes", "--only-binary", ":all:"]
    command += ["--no-input", "--disable-pip-version-check", "--progress-bar", "off", "-r", str(lock)]
    code, output = run_talking(command + list(options))
    if code != 0:
        raise Problem(pip_problem(output))


def install_torch(lock: Path) -> None:
    """Install torch from pip's index, else from torch's own index: the CPU build for Linux is not on PyPI."""
    try:
        install(lock)
    except Problem as problem:
        if "does not have torch" not in str(problem):
            raise
        print(f"  Not found there: using {CPU_INDEX}", flush=True)
        install(lock, "--extra-index-url", CPU_INDEX)


def run_talking(command: list[str]) -> tuple[int, str]:
    """Run pip, and show what it downloads, and a sign of life if it is silent. Returns (exit code, output)."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    lines: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.put(line)
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    start = time.monotonic()
    output: list[str] = []
    while True:
        try:
            line = lines.get(timeout=SILENCE)
        except queue.Empty:
            print(f"  ... still working after {time.monotonic() - start:.0f} s", flush=True)
            continue
        if line is None:
            return process.wait(), "".join(output)
        output.append(line)
        if line.strip().startswith(("Downloading", "Installing", "WARNING: Retrying")):
            print("  " + line.strip()[:110], flush=True)


def ensure_matting(python: Path) -> None:
    """Bring the network that removes backgrounds, unless it is there. Raises Problem."""
    if MATTING.exists():
        return
    print("Bringing the network that removes backgrounds (4 MB)", flush=True)
    code, output = run_talking([str(python), "-m", "scripts.matting"])
    if code != 0:
        raise Problem(pip_problem(output))


def check_imports(cpu: bool) -> None:
    """Raise Problem unless torch and bpy work, and torch is the intended build."""
    for module, attribute in (("torch", "version.cuda"), ("bpy", "app.version_string")):
        code = f"import {module}; print({module}.{attribute})"
        done = subprocess.run([str(environment_python()), "-c", code], capture_output=True, text=True)
        if done.returncode != 0:
            raise Problem(import_problem(module, done.stderr))
        if module == "torch" and cpu and done.stdout.strip() != "None":
            raise Problem("pip installed torch's CUDA build instead of the CPU build.")


# The commands


def demo(python: Path, arguments: list[str]) -> int:
    """Turn every example image into a .glb, a .blend and a preview, and show them all on one sheet."""
    out = ROOT / "demo"
    batch = [str(python), "scripts/batch.py", "examples", "--out", str(out), "--render"]
    code = subprocess.run(batch + arguments, cwd=str(ROOT)).returncode
    if code not in (0, 1):
        return code
    sheet = subprocess.run([str(python), "-m", "scripts.contact_sheet", str(out)], cwd=str(ROOT)).returncode
    print(f"\nThe assets are in {out}", flush=True)
    print("Look at           {}".format(out / "contact_sheet.png"), flush=True)
    return code or sheet


def test(python: Path, arguments: list[str]) -> int:
    """Run the tests, one process per file, at most four; arguments go to pytest. --blender: under other Blenders."""
    if any(argument.partition("=")[0] == "--blender" for argument in arguments):
        return subprocess.run([str(python), "-m", "scripts.blenders", *arguments], cwd=str(ROOT)).returncode
    # Processes that share the cores use one thread each: with more, they would wait for each other.
    environment = dict(os.environ, OMP_NUM_THREADS="1")
    shared = ["--numprocesses", "auto", "--maxprocesses", "4", "--dist", "loadfile"]
    return subprocess.run([str(python), "-m", "pytest", *shared, *arguments], cwd=str(ROOT), env=environment).returncode


def check(python: Path, arguments: list[str]) -> int:
    """Check lint, format, types and import rules. All of them run, even if one fails."""
    package = link_package()
    tool = [str(python), "-m"]
    types = [*tool, "mypy", str(package / "blender_addon"), "backend", "scripts", "tests"]
    others = {
        "lint": [*tool, "ruff", "check", "."],
        "format": [*tool, "ruff", "format", "--check", "."],
        "import rules": [*tool, "pytest", "--quiet", "tests/test_imports.py"],
    }
    environment = dict(os.environ, MYPYPATH=os.pathsep.join([str(package.parent), str(ROOT)]))
    failed = []
    # The types take longer than all others together, and one core.
    with subprocess.Popen(types, cwd=str(ROOT), env=environment, stdout=subprocess.PIPE, text=True) as checker:
        for name, command in others.items():
            print(f"--- {name}", flush=True)
            if subprocess.run(command, cwd=str(ROOT)).returncode != 0:
                failed.append(name)
        print("--- types", flush=True)
        print(checker.communicate()[0], end="", flush=True)
    if checker.returncode != 0:
        failed.append("types")
    print("\nFailed: {}".format(", ".join(failed)) if failed else "\nAll checks passed.", flush=True)
    return 1 if failed else 0


def campaign(python: Path, arguments: list[str]) -> int:
    """Try faults of many kinds and count what comes of them: [NAME ...] [--minutes N] [--seed N]."""
    environment = dict(os.environ, OMP_NUM_THREADS="1")
    return subprocess.run([str(python), "-m", "tests.campaign", *arguments], cwd=str(ROOT), env=environment).returncode


def audit(python: Path, arguments: list[str]) -> int:
    """Ask a public database for known vulnerabilities of what the locks name. Needs a network."""
    return subprocess.run([str(python), "-m", "scripts.audit", *arguments], cwd=str(ROOT)).returncode


def build(python: Path, arguments: list[str]) -> int:
    """Build the extension's zips, one for each platform. Arguments go to ``scripts.build_extension``."""
    return subprocess.run([str(python), "-m", "scripts.build_extension", *arguments], cwd=str(ROOT)).returncode


def link_package() -> Path:
    """A link to the checkout with the name ``espalier``, which the add-on's relative imports need."""
    link = ENVIRONMENT / "package" / "espalier"
    link.parent.mkdir(exist_ok=True)
    if not link.exists():
        if sys.platform == "win32":
            import _winapi  # a junction needs no privileges, unlike a symbolic link

            _winapi.CreateJunction(str(ROOT), str(link))
        else:
            link.symlink_to(ROOT, target_is_directory=True)
    return link


def setup(python: Path, arguments: list[str]) -> int:
    """Make only the environment that the other commands need."""
    print(f"Ready: {python}")
    return 0


COMMANDS = {command.__name__: command for command in (demo, test, check, campaign, audit, build, setup)}


def main() -> int:
    """Run the chosen command. Exit code: 0 done, 1 failed, 2 wrong usage, 130 stopped."""
    parser = argparse.ArgumentParser(description="Set up Espalier in this checkout and run it.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, command in COMMANDS.items():
        commands.add_parser(name, help=command.__doc__, add_help=False)
    chosen, arguments = parser.parse_known_args()
    if chosen.command is None:
        parser.error("choose a command: " + ", ".join(COMMANDS))
    if arguments and chosen.command in ("check", "setup"):
        parser.error(f"{chosen.command} takes no arguments: {' '.join(arguments)}")
    windows = sys.platform == "win32"
    try:
        require(
            python_problem(sys.version_info[:2], windows, shutil.which("py" if windows else "python3.11") is not None)
        )
        python = ensure_environment()
        ensure_matting(python)
        return COMMANDS[chosen.command](python, arguments)
    except Problem as problem:
        print(f"\n{problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped. Run it again to continue.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
