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
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from ...backend import protocol
from ...backend.disk_errors import explain
from ...backend.files import sha256
from ...backend.protocol import Wheel
from . import environment, network, process
from .child import Child, read_report
from .environment import Folders, Installed, Packages, python_in
from .failures import Failure, add_failure
from .machine import NAMED
from .plan import COMPILE_SECONDS, DOWNLOAD_RATE, UNPACK_RATE, Options, Plan, arriving, choose, make_plan

PYPI = "https://pypi.org/simple"

#: How often a silent child and a wish to cancel are checked, in seconds.
INTERVAL = 0.1

#: How many seconds a new torch may take to load and to compute a few things: the first time, virus scanners read it.
CHECK_PATIENCE = 300.0

#: What ``fetch`` says if a build cannot be had, so that the next best one is offered.
NOT_TO_BE_HAD = ("hash_missing", "hash_wrong", "wheel_missing", "wheel_invalid")

#: How many seconds to try to move the environment to its place: on Windows a virus scanner may hold its files.
PLACE_PATIENCE = 20.0

#: The archives of Python that uv installs. uv looks for each in a folder named after its date.
PYTHON_ARCHIVE = re.compile(r"cpython-3\.11\.\d+(?:\+|%2B)(\d{8})-.*\.tar\.gz")


class Problem(Exception):
    """An expected failure. ``hint`` says what to do, ``remedy`` is the label of the button that helps."""

    def __init__(self, message: str, hint: str = "", remedy: str = "Try Again") -> None:
        super().__init__(message)
        self.hint = hint
        self.remedy = remedy


class Cancelled(Exception):
    """The user has cancelled."""


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
        plan = make_plan(folders, self._packages, self._options, self._environ)
        build = plan.choice.build
        if repair:
            forget(folders.environment)
        for leftover in (*folders.parts(), folders.working):
            _clear(leftover, self._check)
        self._require_space(plan)
        shares = _shares(self._packages, build)
        self._log_start(plan)

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
        torch = self._fetch(part, plan)
        self._step("Installing torch", shares["torch"])
        self._install_wheels(uv, part, torch.wheels, folders.downloads, "--compile-bytecode")
        self._step("Testing the environment", shares["try"])
        marker = self._try(part, plan, torch)
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

    def _fetch(self, part: Path, plan: Plan) -> protocol.Wheels:
        """Bring torch's wheels, and say which they are. Hashes that no lock has are recorded, to be checked again."""
        options, build = self._options, plan.choice.build
        command = ["fetch", str(self._extension / "packages.json"), build, "--to", str(self._folders.downloads)]
        command += ["--attached", "--recorded", str(self._folders.hashes), "--index-url", options.index or PYPI]
        command += ["--timeout", str(options.timeout or network.TIMEOUT)]
        command += ["--torch-index", options.torch_index] if options.torch_index else []
        command += ["--from", options.wheels] if options.wheels else []
        found: protocol.Wheels | None = None
        failure: protocol.Error | None = None

        def on_line(line: str) -> None:
            nonlocal failure, found
            report = read_report(line)
            if isinstance(report, protocol.Transfer):
                words = f"Downloading torch, {_megabytes(report.done)} of {_megabytes(report.total)}"
                self._at(report.done / max(report.total, 1), words)
            elif isinstance(report, protocol.Wheels):
                found = report
                self._log_hashes(report)
            elif isinstance(report, protocol.Error):
                failure = report

        try:
            self._backend(part, command, "downloading torch", on_line)
        except Problem as problem:
            if failure is None:
                raise problem from None
            if failure.code in NOT_TO_BE_HAD and build in self._packages.unlocked:
                raise self._offer(plan, failure.message, about_gpu=False) from None
            raise Problem(failure.message, failure.hint) from None
        if found is None:
            raise Problem("The download did not say which wheels it brought.", "Reinstall the extension.")
        if found.source:
            environment.record_hashes(self._folders.hashes, found.wheels)
        return found

    def _log_hashes(self, found: protocol.Wheels) -> None:
        """Write the hashes that no lock has to the log."""
        if not found.source:
            return
        with self._folders.log.open("a", encoding="utf-8") as log:
            log.writelines(f"{wheel.file}: SHA-256 {wheel.sha256}, by {found.source}\n" for wheel in found.wheels)

    def _try(self, part: Path, plan: Plan, torch: protocol.Wheels) -> Installed:
        """Import torch, ask it for the device, and let the device compute what the networks are made of."""
        reports: list[protocol.Report | None] = []
        end, ended = time.monotonic() + CHECK_PATIENCE, ""

        def on_tick() -> None:
            if time.monotonic() > end:
                raise Problem(f"torch did not answer within {CHECK_PATIENCE / 60:.0f} minutes.")

        try:
            self._backend(part, ["device"], "torch", lambda line: reports.append(read_report(line)), on_tick)
        except Problem as problem:
            ended = f"The test ended early: {problem}"
            if not any(isinstance(report, protocol.Device) for report in reports):
                raise  # torch itself cannot be loaded
        found = next((report for report in reports if isinstance(report, protocol.Device)), None)
        if found is None:
            raise Problem("torch did not report a device.", f"See {self._folders.log} for details.", "Repair")
        trouble = _trouble(plan.choice.build, found, reports, ended)
        if trouble:
            raise self._offer(plan, trouble, about_gpu=True)
        digest = self._packages.digest(plan.choice.build)
        return Installed(plan.choice.build, digest, found.device, found.memory, found.torch, _note(torch))

    def _offer(self, plan: Plan, why: str, about_gpu: bool) -> Problem:
        """Remember that a build does not work here, drop its files, and offer the next best one with its size."""
        choice, folders = plan.choice, self._folders
        name = choice.gpu.name if choice.gpu is not None else "this computer"
        sentence = f"{choice.title} does not work on {name}: {why}" if about_gpu else why
        gpu, driver = (name, choice.gpu.driver if choice.gpu else None) if about_gpu else ("", None)
        add_failure(folders.failures, choice.build, Failure(sentence, self._packages.digest(choice.build), gpu, driver))
        environment.remove_tree(folders.downloads)
        following = choose(folders, self._packages, self._options, plan.gpus)
        if following.build == choice.build:  # chosen by hand, or the last one
            return Problem(
                sentence, f"Choose another build of torch in the preferences. See {folders.log} for details."
            )
        size = _megabytes(arriving(folders, self._packages, following.build))
        words = f"The next best is {following.title}: {size} to download."
        return Problem(sentence, words, "Install the Next Best")

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
        env |= network.for_uv(self._environ, self._options.timeout)
        return self._child([str(uv), *arguments], "uv", lambda line: None, env, on_tick)

    def _backend(
        self,
        part: Path,
        arguments: list[str],
        what: str,
        on_line: Callable[[str], None],
        on_tick: Callable[[], None] = lambda: None,
    ) -> list[str]:
        return self._child(process.backend_command(python_in(part), *arguments), what, on_line, None, on_tick)

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

    def _log_start(self, plan: Plan) -> None:
        gpus = "; ".join(gpu.title for gpu in (*plan.gpus.visible, *plan.gpus.hidden)) or "none"
        lines = (
            f"{plan.choice.title}, {self._options}",
            f"GPUs: {gpus}",
            plan.choice.remark,
            f"Network: {plan.network}",
        )
        self._folders.log.write_text("\n".join(filter(None, lines)) + "\n", encoding="utf-8")


def _shares(packages: Packages, build: str) -> dict[str, float]:
    """How much of the progress bar each step takes: its share of the estimated time."""
    seconds = {
        "uv": 1.0,
        "python": 8.0,
        "environment": 1.0,
        "carried": sum(wheel.unpacked for wheel in packages.carried) / UNPACK_RATE,
        "download": packages.size(build) / DOWNLOAD_RATE,
        "torch": packages.unpacked(build) / UNPACK_RATE,
        "try": 8.0,
        "compile": COMPILE_SECONDS,
    }
    return {step: part / sum(seconds.values()) for step, part in seconds.items()}


def _trouble(build: str, found: protocol.Device, reports: Iterable[protocol.Report | None], ended: str) -> str:
    """What is wrong with the device that a new torch found; empty if nothing. ``ended`` says why the test broke off."""
    if NAMED[build].vendor and found.device == "cpu":
        return "torch finds no GPU."
    checked = next((report for report in reports if isinstance(report, protocol.DeviceCheck)), None)
    if checked is None:
        return ended or "The test did not say how it ended."
    return " ".join(checked.failed)


def _note(torch: protocol.Wheels) -> str:
    """What torch's hash is and who stated it, if no lock of the extension has it."""
    if not torch.source:
        return ""
    return next((f"SHA-256 {wheel.sha256}, by {torch.source}" for wheel in torch.wheels if wheel.name == "torch"), "")


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
    if "cpython-" in text and re.search(r"hash mismatch|failed to extract archive", text, re.IGNORECASE):
        hint = "Try again, use another network, or choose a Python 3.11 in the preferences."
        return Problem("The downloaded Python 3.11 is not the one that uv knows.", hint)
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


def disk_problem(error: OSError, root: Path) -> Problem:
    """Explain an error of the file system in an installation below ``root``."""
    found = explain(error, root)
    if found.code == "disk_full":
        return Problem(found.message, "Free some disk space and try again. Downloaded data is kept.")
    if found.code in ("file_error", "file_in_use", "folder_forbidden"):
        return Problem(found.message, "If another Blender is using the backend, close it and try again.")
    return Problem(found.message, found.hint)


def _megabytes(count: float) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
