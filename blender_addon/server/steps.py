"""The steps of an installation: a Python, an environment, the carried wheels, torch, compiling. No bpy.

Each step is a child process: uv, or the backend's own ``fetch``, ``device`` and ``compile``. So *cancel* takes effect
at once, and a crash harms nothing else. However an installation ends, its downloads are kept and the next one continues
from them. A half-made environment is never used.
"""

from __future__ import annotations

import re
import shutil
import stat
import time
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ...backend import protocol
from ...backend.files import sha256
from ...backend.protocol import Wheel
from . import environment, process
from .child import Child, read_report
from .environment import Folders, Installed, Packages, python_in
from .machine import TITLES, Choice, choose_build, find_gpu

PYPI = "https://pypi.org/simple"

#: Bytes on disk of the Python that uv downloads, bytes of that download, and bytes that must stay free.
PYTHON_SIZE = 110 << 20
PYTHON_DOWNLOAD = 30 << 20
SPARE = 256 << 20

#: Bytes a second, and seconds, that the estimates and the progress bar assume.
DOWNLOAD_RATE = 5e6
UNPACK_RATE = 30e6
COMPILE_SECONDS = 30.0

#: How often a silent child and a wish to cancel are checked, in seconds.
INTERVAL = 0.1

#: How many seconds to try to move the environment to its place: on Windows a virus scanner may hold its files.
PLACE_PATIENCE = 20.0

#: The archives of Python that uv installs. uv looks for each in a folder named after its date.
PYTHON_ARCHIVE = re.compile(r"cpython-3\.11\.\d+(?:\+|%2B)(\d{8})-.*\.tar\.gz")


@dataclass(frozen=True)
class Options:
    """The user's choices: a Python 3.11 (empty: downloaded), a package index, a wheels folder (empty: downloaded)."""

    python: str = ""
    index: str = ""
    wheels: str = ""


@dataclass(frozen=True)
class Plan:
    """What an installation will take, in bytes and seconds, and how it reaches the network, in words."""

    choice: Choice
    download: int
    disk: int
    free: int
    seconds: float
    network: str = ""


class Problem(Exception):
    """An expected failure. ``hint`` says what to do, ``remedy`` is the label of the button that helps."""

    def __init__(self, message: str, hint: str = "", remedy: str = "Try Again") -> None:
        super().__init__(message)
        self.hint = hint
        self.remedy = remedy


class Cancelled(Exception):
    """The user has cancelled."""


def make_plan(folders: Folders, packages: Packages, options: Options) -> Plan:
    """Work out what an installation will take on this machine. This can take a few seconds."""
    choice = choose_build(packages.torch, find_gpu())
    wheels = packages.torch[choice.build]
    there = environment.bytes_in(folders.downloads)
    arriving = max(0, sum(wheel.size for wheel in wheels) - there)
    arriving += 0 if options.python else PYTHON_DOWNLOAD
    download = 0 if options.wheels else arriving  # wheels in a folder are copied
    python = 0 if options.python else PYTHON_SIZE
    unpacked = sum(wheel.unpacked for wheel in (*packages.carried, *wheels, packages.uv))
    folders.root.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folders.root).free
    seconds = download / DOWNLOAD_RATE + unpacked / UNPACK_RATE + COMPILE_SECONDS + 20
    return Plan(choice, download, arriving + python + unpacked + SPARE, free, seconds)


class Installation:
    """One installation, from the first step to the last."""

    def __init__(
        self,
        folders: Folders,
        packages: Packages,
        extension: Path,
        options: Options,
        environ: Mapping[str, str],
        report: Callable[[str, float], None],
        check: Callable[[], None],
    ) -> None:
        """``report`` gets the present step and the fraction of the whole, from 0 to 1. ``check`` raises Cancelled."""
        self._folders, self._packages, self._extension = folders, packages, extension
        self._options, self._environ = options, environ
        self._report, self._check = report, check
        self._text = ""
        self._base = 0.0  # where the bar stands before the present step
        self._share = 0.0  # how much of the bar the present step takes

    def install(self, repair: bool) -> None:
        """Install the environment; with ``repair``, from scratch. Raises Problem, Cancelled and OSError."""
        folders = self._folders
        self._step("Checking this computer", 0.0)
        plan = make_plan(folders, self._packages, self._options)
        build = plan.choice.build
        if repair:
            forget(folders.environment)
        for leftover in (*folders.parts(), folders.working):
            _clear(leftover, self._check)
        self._require_space(plan)
        torch = self._packages.torch[build]
        shares = _shares(self._packages, torch)
        self._log_start(build)

        self._step("Unpacking uv", shares["uv"])
        uv = self._unpack_uv()
        self._step("Preparing Python 3.11", shares["python"])
        interpreter = self._interpreter(uv)
        part = folders.part()
        self._step("Creating the environment", shares["environment"])
        self._uv(
            uv, "venv", "--no-project", "--relocatable", "--python", interpreter, "--no-python-downloads", str(part)
        )
        self._step("Installing packages", shares["carried"])
        self._install_wheels(uv, part, self._packages.carried, self._extension / "wheels")
        self._step("Downloading torch", shares["download"])
        self._fetch(part, build)
        self._step("Installing torch", shares["torch"])
        self._install_wheels(uv, part, torch, folders.downloads, "--compile-bytecode")
        self._step("Testing the environment", shares["try"])
        marker = self._try(part, build)
        self._step("Compiling", shares["compile"])
        # Otherwise the first job would have to wait for this, half a minute. The result lies in the environment.
        self._backend(part, ["compile"], "compiling", lambda line: None)
        environment.write_marker(part, marker)
        _place(part, folders.environment, self._check)
        for folder in (folders.downloads, folders.working):
            environment.remove_tree(folder)
        self._report("Ready", 1.0)

    # --- the steps ---

    def _unpack_uv(self) -> Path:
        wheel = self._extension / "wheels" / self._packages.uv.file
        if sha256(wheel) != self._packages.uv.sha256:
            raise Problem(f"{wheel.name} in the extension is damaged.", "Reinstall the extension.")
        self._folders.working.mkdir(parents=True)
        with zipfile.ZipFile(wheel) as archive:
            name = next(name for name in archive.namelist() if re.search(r"\.data/scripts/uv(\.exe)?$", name))
            target = self._folders.working / name.rpartition("/")[2]
            with archive.open(name) as source, target.open("wb") as stream:
                shutil.copyfileobj(source, stream)
        target.chmod(target.stat().st_mode | stat.S_IXUSR)
        return target

    def _interpreter(self, uv: Path) -> str:
        """The argument of ``uv venv --python``: the chosen Python, or one that uv downloads."""
        chosen = self._options.python
        if chosen:
            code = "import sys, json; print(json.dumps(sys.version_info[:2]))"
            lines = self._child([chosen, "-I", "-c", code], "the chosen Python", lambda line: None)
            if not lines or lines[-1] != "[3, 11]":
                hint = "Choose a Python 3.11 in the preferences, or leave it empty to download one."
                raise Problem(f"{chosen} is not Python {environment.PYTHON_VERSION}.", hint)
            return chosen
        install = ["python", "install", environment.PYTHON_VERSION, "--no-bin", "--no-registry"]
        if self._options.wheels:
            install += ["--mirror", self._python_mirror(Path(self._options.wheels)).as_uri()]
        self._uv(uv, *install)
        pythons = self._uv(uv, "python", "find", environment.PYTHON_VERSION, "--managed-python", "--no-project")
        return pythons[-1]

    def _python_mirror(self, folder: Path) -> Path:
        """A copy of the archives of Python in the wheels folder, laid out as uv expects them."""
        mirror = self._folders.working / "mirror"
        for archive in folder.glob("cpython-*.tar.gz"):
            found = PYTHON_ARCHIVE.fullmatch(archive.name)
            if found:
                target = mirror / found.group(1) / archive.name.replace("%2B", "+")
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(archive, target)
        return mirror

    def _install_wheels(self, uv: Path, part: Path, wheels: tuple[Wheel, ...], folder: Path, *more: str) -> None:
        requirements = self._folders.working / "requirements.txt"
        requirements.write_text("\n".join(wheel.requirement for wheel in wheels) + "\n", encoding="utf-8")
        install = ["pip", "install", "--offline", "--no-index", "--find-links", str(folder), "--no-deps"]
        install += ["--require-hashes", "--python", str(python_in(part)), "-r", str(requirements), *more]
        # uv is silent while it unpacks, so the bar follows the free disk space. Others write too, but no step is long.
        free, unpacked = shutil.disk_usage(part).free, sum(wheel.unpacked for wheel in wheels) or 1
        self._uv(uv, *install, on_tick=lambda: self._at((free - shutil.disk_usage(part).free) / unpacked))

    def _fetch(self, part: Path, build: str) -> None:
        packages = self._extension / "packages.json"
        command = ["fetch", str(packages), build, "--to", str(self._folders.downloads), "--attached"]
        command += ["--index-url", self._options.index or PYPI]
        if self._options.wheels:
            command += ["--from", self._options.wheels]
        failure: Problem | None = None

        def on_line(line: str) -> None:
            nonlocal failure
            report = read_report(line)
            if isinstance(report, protocol.Transfer):
                words = f"Downloading torch, {_megabytes(report.done)} of {_megabytes(report.total)}"
                self._at(report.done / max(report.total, 1), words)
            elif isinstance(report, protocol.Error):
                failure = Problem(report.message, report.hint)

        try:
            self._backend(part, command, "downloading torch", on_line)
        except Problem as problem:
            raise failure or problem from None

    def _try(self, part: Path, build: str) -> Installed:
        """Import torch and ask it for the device."""
        lines = self._backend(part, ["device"], "torch", lambda line: None)
        reports = (read_report(line) for line in lines)
        found = next((report for report in reports if isinstance(report, protocol.Device)), None)
        if found is None:
            raise Problem("torch did not report a device.", f"See {self._folders.log} for details.", "Repair")
        digest = self._packages.digest(build)
        return Installed(build, digest, found.device, found.memory, found.torch)

    # --- tools for the steps ---

    def _step(self, text: str, share: float) -> None:
        self._base, self._share = self._base + self._share, share
        self._check()
        self._text = text
        self._report(text, self._base)

    def _at(self, part: float, text: str = "") -> None:
        """Report how much of the present step is done, from 0 to 1."""
        self._report(text or self._text, self._base + self._share * min(max(part, 0.0), 1.0))

    def _uv(self, uv: Path, *arguments: str, on_tick: Callable[[], None] = lambda: None) -> list[str]:
        env = process.backend_environment(self._extension, self._environ)
        env = {name: value for name, value in env.items() if name == "UV_PYTHON_INSTALL_MIRROR" or name[:3] != "UV_"}
        env |= {
            "UV_CACHE_DIR": str(self._folders.working / "cache"),
            "UV_PYTHON_INSTALL_DIR": str(self._folders.interpreters),
            "UV_NO_CONFIG": "1",
            "UV_NO_PROGRESS": "1",
        }
        return self._child([str(uv), *arguments], "uv", lambda line: None, env, on_tick)

    def _backend(self, part: Path, arguments: list[str], what: str, on_line: Callable[[str], None]) -> list[str]:
        return self._child(process.backend_command(python_in(part), *arguments), what, on_line)

    def _child(
        self,
        command: list[str],
        what: str,
        on_line: Callable[[str], None],
        env: Mapping[str, str] | None = None,
        on_tick: Callable[[], None] = lambda: None,
    ) -> list[str]:
        """Run a process to its end and return its lines. Raises Problem if it fails, and Cancelled."""
        if env is None:
            env = process.backend_environment(self._extension, self._environ)
        try:
            child = Child(command, env, self._folders.root, attached="--attached" in command)
        except OSError as error:
            raise Problem(f"{command[0]} could not be started: {error.strerror or error}.") from error
        lines: list[str] = []
        try:
            with self._folders.log.open("a", encoding="utf-8") as log:
                for line in child.lines(INTERVAL):
                    self._check()
                    if line:
                        lines.append(line)
                        log.write(line + "\n")
                        on_line(line)
                    on_tick()
        except BaseException:
            child.kill()
            child.wait()
            raise
        if child.wait() != 0:
            raise _explain(what, lines, self._folders.log)
        return lines

    def _require_space(self, plan: Plan) -> None:
        if plan.free < plan.disk:
            needed, free = f"{plan.disk / 1e9:.1f} GB", f"{plan.free / 1e9:.1f} GB"
            words = f"{needed} are needed in {self._folders.root}, but only {free} are free."
            raise Problem(f"Not enough disk space: {words}", "Free some disk space and try again.")

    def _log_start(self, build: str) -> None:
        self._folders.log.write_text(f"torch {TITLES[build]}, {self._options}\n", encoding="utf-8")


def _shares(packages: Packages, torch: tuple[Wheel, ...]) -> dict[str, float]:
    """How much of the progress bar each step takes: its share of the estimated time."""
    seconds = {
        "uv": 1.0,
        "python": 8.0,
        "environment": 1.0,
        "carried": sum(wheel.unpacked for wheel in packages.carried) / UNPACK_RATE,
        "download": sum(wheel.size for wheel in torch) / DOWNLOAD_RATE,
        "torch": sum(wheel.unpacked for wheel in torch) / UNPACK_RATE,
        "try": 8.0,
        "compile": COMPILE_SECONDS,
    }
    return {step: part / sum(seconds.values()) for step, part in seconds.items()}


def forget(folder: Path) -> None:
    """Remove the marker of an environment, so that it is no longer used, whatever happens next."""
    (folder / environment.MARKER).unlink(missing_ok=True)


def _clear(folder: Path, check: Callable[[], None]) -> None:
    """Delete what a killed attempt left behind. One of its processes may live on for a moment and still write there.

    Raises OSError.
    """
    end = time.monotonic() + PLACE_PATIENCE
    while True:
        check()
        try:
            environment.remove_tree(folder)
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.5)


def _place(part: Path, target: Path, check: Callable[[], None]) -> None:
    """Move a finished environment to its place. Raises OSError."""
    forget(target)
    end = time.monotonic() + PLACE_PATIENCE
    while True:
        check()
        try:
            environment.remove_tree(target)
            part.rename(target)
            return
        except PermissionError:  # Windows, while a file is open
            if time.monotonic() > end:
                raise
            time.sleep(0.5)


def _explain(what: str, lines: list[str], log: Path) -> Problem:
    """Explain why a process failed, from its output."""
    text = "\n".join(lines)
    if re.search(r"No space left on device|os error (28|112)\b|Errno 28|not enough space on the disk", text):
        return Problem("The disk is full.", "Free some disk space and try again. Downloaded data is kept.")
    if re.search(r"Failed to (download|fetch)|error sending request|dns error|connection", text, re.IGNORECASE):
        hint = "Check the network, or choose a Python 3.11 in the preferences."
        return Problem("Python 3.11 could not be downloaded.", f"{hint} See {log} for details.")
    if re.search(r"cpython-\S+: No such file or directory|failed to query metadata of file", text):
        wanted = re.search(r"cpython-[^`/\\]+\.tar\.gz", text)
        name = wanted.group(0) if wanted else "uv's archive of Python 3.11"
        return Problem(
            f"The wheels folder does not contain {name}.", "Copy it there, or set Python 3.11 in the preferences."
        )
    if re.search(r"hash mismatch", text, re.IGNORECASE):
        return Problem("A wheel does not match its recorded hash.", "Reinstall the extension.")
    if "DLL load failed" in text:
        return Problem(
            "torch cannot be loaded: a Windows library is missing.",
            "Install Microsoft's Visual C++ Redistributable: https://aka.ms/vs/17/release/vc_redist.x64.exe",
        )
    last = lines[-1] if lines else "it gave no reason"
    return Problem(f"The installation failed ({what}): {last}", f"See {log} for details.")


def disk_problem(error: OSError) -> Problem:
    """Explain an error of the file system."""
    if error.errno == 28:
        return Problem("The disk is full.", "Free some disk space and try again. Downloaded data is kept.")
    hint = "If another Blender is using the backend, close it and try again."
    return Problem(f"A file or folder could not be accessed: {error}.", hint)


def _megabytes(count: float) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
