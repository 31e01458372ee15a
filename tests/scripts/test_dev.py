"""The parts of scripts/dev.py that need no installation: what it says when something is missing, and its marker."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from scripts import dev, matting


@pytest.mark.parametrize(
    ("version", "windows", "has_311", "expected"),
    [
        ((3, 12), False, True, ["this is 3.12", "Run: python3.11 scripts/dev.py"]),
        ((3, 9), True, True, ["this is 3.9", r"Run: py -3.11 scripts\dev.py"]),
        ((3, 13), False, False, ["apt install python3.11-venv", "then run: python3.11 scripts/dev.py"]),
        ((3, 10), True, False, ["https://www.python.org/downloads/", r"then run: py -3.11 scripts\dev.py"]),
    ],
)
def test_a_wrong_python_says_which_to_use(
    version: tuple[int, int], windows: bool, has_311: bool, expected: list[str]
) -> None:
    sentence = dev.python_problem(version, windows, has_311)
    assert all(part in sentence for part in ["need Python 3.11", *expected]), sentence


def test_the_right_python_is_no_problem() -> None:
    assert dev.python_problem((3, 11), windows=False, has_311=True) == ""


@pytest.mark.parametrize(("system", "machine"), [("Linux", "aarch64"), ("Darwin", "x86_64"), ("Windows", "ARM64")])
def test_a_machine_without_bpy_is_named(system: str, machine: str) -> None:
    assert f"this Python runs on {system} {machine}" in dev.machine_problem(system, machine)


def test_the_locks_have_a_bpy_for_each_machine() -> None:
    """One wheel for each, and none else."""
    lock = (dev.ROOT / "requirements.lock").read_text("utf-8")
    bpy = lock[lock.index("bpy==") :].split("==")[1]
    assert bpy.count("--hash") == len(dev.MACHINES)


@pytest.mark.parametrize(("linux", "nvidia", "cpu"), [(True, False, True), (True, True, False), (False, False, False)])
def test_only_linux_without_nvidia_needs_the_cpu_build(linux: bool, nvidia: bool, cpu: bool) -> None:
    assert (dev.torch_lock(linux, nvidia) == dev.CPU_LOCK) == cpu


def test_no_cuda_package_is_in_the_cpu_locks() -> None:
    text = (dev.ROOT / dev.CPU_LOCK).read_text("utf-8") + (dev.ROOT / "requirements.lock").read_text("utf-8")
    assert "torch==2.13.0+cpu" in text
    assert not any(name in text for name in ("nvidia", "cuda", "triton"))
    assert "nvidia" in (dev.ROOT / "requirements-torch.lock").read_text("utf-8")


def test_every_locked_package_is_pinned_and_hashed() -> None:
    for lock in dev.ROOT.glob("requirements*.lock"):
        for package in lock.read_text("utf-8").replace("\\\n", " ").splitlines()[1:]:
            assert "==" in package.split()[0], f"{lock.name}: {package[:60]}"
            assert "--hash=sha256:" in package, f"{lock.name}: {package[:60]}"


def test_the_locks_hold_what_pyproject_asks_for() -> None:
    project = tomllib.loads((dev.ROOT / "pyproject.toml").read_text("utf-8"))
    wanted = {*project["project"]["dependencies"], *project["dependency-groups"]["dev"]}
    for locks in (["requirements.lock", "requirements-torch.lock"], ["requirements.lock", dev.CPU_LOCK]):
        text = "".join((dev.ROOT / lock).read_text("utf-8") for lock in locks)
        pinned = {line.split()[0].partition("+")[0] for line in text.splitlines() if "==" in line.partition(" ")[0]}
        assert wanted <= pinned


def test_the_version_is_the_manifests() -> None:
    project = tomllib.loads((dev.ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    manifest = tomllib.loads((dev.ROOT / "blender_manifest.toml").read_text("utf-8"))
    assert project["version"] == manifest["version"]


IMPORT_ERROR = """Traceback (most recent call last):
  File "<string>", line 1, in <module>
ImportError: {}: cannot open shared object file: No such file or directory
"""


def test_a_missing_library_names_its_package() -> None:
    sentence = dev.import_problem("bpy", IMPORT_ERROR.format("libXi.so.6"))
    assert "needs system libraries that are missing: libXi.so.6." in sentence
    assert sentence.endswith("sudo apt-get install --no-install-recommends libxi6")


def test_several_missing_libraries_come_in_one_command() -> None:
    assert dev.library_problem(["libSM.so.6", "libGL.so.1"]).endswith("--no-install-recommends libsm6 libgl1")


def test_an_unknown_library_is_named_all_the_same() -> None:
    sentence = dev.import_problem("bpy", IMPORT_ERROR.format("libodd.so.3"))
    assert "libodd.so.3" in sentence
    assert "apt-file search" in sentence


def test_what_the_loader_does_not_find_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dev, "SYSTEM_LIBRARIES", {"libthere-is-no-such-thing.so.1": "nothing"})
    assert dev.missing_libraries() == ["libthere-is-no-such-thing.so.1"]


def test_other_import_errors_are_passed_on() -> None:
    assert "Visual C++" in dev.import_problem("torch", "ImportError: DLL load failed while importing _C")
    assert "Illegal instruction" in dev.import_problem("torch", "Traceback\nIllegal instruction\n")


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("WARNING: Retrying ... NewConnectionError(': [Errno 101] Network is unreachable')\nERROR: No matching "
         "distribution found for bpy==4.5.15", "No network"),
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "disk is full"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES", "does not match the lock"),
        ("ERROR: No matching distribution found for torch==2.13.0+cpu (from -r x)", "does not have torch==2.13.0+cpu."),
        ("something\nERROR: odd", "pip failed. Its last lines:\nsomething\nERROR: odd"),
    ],
    ids=["network", "disk", "hash", "absent", "other"],
)  # fmt: skip
def test_pips_failures_are_told_apart(output: str, expected: str) -> None:
    assert expected in dev.pip_problem(output)


def test_too_little_disk_says_how_much_is_needed() -> None:
    sentence = dev.disk_problem(free=1.5e9, needed=4e9)
    assert "about 4 GB" in sentence
    assert "1.5 GB are free" in sentence
    assert dev.disk_problem(free=5e9, needed=4e9) == ""


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment elsewhere than the one these tests run in."""
    folder = tmp_path / ".venv"
    monkeypatch.setattr(dev, "ENVIRONMENT", folder)
    monkeypatch.setattr(dev, "MARKER", folder / "espalier.json")
    return folder


def test_a_half_made_environment_is_made_anew(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One whose making was killed is thrown away; only when all is installed and works is it marked as ready."""
    environment.mkdir()
    dev.write_marker("installing", "whatever")
    (environment / "left-over").touch()
    installed: list[str] = []

    def install(lock: Path, *options: str) -> None:
        assert dev.read_marker()["state"] == "installing"
        assert not (environment / "left-over").exists()
        installed.append(lock.name)

    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        return real_run(
            [*command, "--without-pip"], **options
        )  # nothing is installed: spare the seconds that pip takes

    real_run = subprocess.run
    monkeypatch.setattr(dev.subprocess, "run", run)
    monkeypatch.setattr(dev, "install", install)
    monkeypatch.setattr(dev, "check_imports", lambda cpu: None)
    assert dev.ensure_environment() == dev.environment_python()
    assert dev.environment_python().exists()
    assert installed[0] == "requirements.lock"
    assert dev.ensure_environment() == dev.environment_python()
    assert len(installed) == 2, "it was made again though it was ready"


def test_a_foreign_environment_is_left_alone(environment: Path) -> None:
    environment.mkdir()
    (environment / "precious").touch()
    with pytest.raises(dev.Problem, match="This script did not make"):
        dev.ensure_environment()
    assert (environment / "precious").exists()


def test_a_marker_that_was_cut_off_counts_as_none(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dev.subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 0))
    environment.mkdir()
    dev.MARKER.with_suffix(".part").write_text('{"state": "rea', "utf-8")
    assert dev.read_marker() == {}
    dev.create_environment("digest", needed=0)
    assert dev.read_marker() == {"state": "installing", "locks": "digest"}


def test_torch_comes_from_its_own_index_where_pip_has_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, ...]] = []

    def install(lock: Path, *options: str) -> None:
        calls.append(options)
        if not options:
            raise dev.Problem(dev.pip_problem("ERROR: No matching distribution found for torch==2.13.0+cpu"))

    monkeypatch.setattr(dev, "install", install)
    dev.install_torch(Path("any.lock"))
    assert calls == [(), ("--extra-index-url", dev.CPU_INDEX)]


def test_a_silent_command_shows_life_and_its_output_is_kept(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(dev, "SILENCE", 0.1)
    code = "import time, sys; time.sleep(0.5); print('Downloading bpy'); print('quiet'); sys.exit(3)"
    assert dev.run_talking([sys.executable, "-c", code]) == (3, "Downloading bpy\nquiet\n")
    printed = capsys.readouterr().out
    assert "still working" in printed
    assert "Downloading bpy" in printed
    assert "quiet" not in printed


def test_other_scripts_run_as_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only this one and batch.py, which Blender runs too, by their path; none looks for its imports by itself."""
    commands: list[list[str]] = []

    def run(command: list[str], *, cwd: str, **options: Any) -> subprocess.CompletedProcess[str]:
        assert cwd == str(dev.ROOT)
        commands.append(command[1:])
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(dev.subprocess, "run", run)
    assert dev.demo(Path("python"), []) == dev.build(Path("python"), ["--index"]) == 0
    assert dev.test(Path("python"), ["--blender", "all"]) == 0
    batch, *modules = commands
    assert batch[0] == "scripts/batch.py"
    assert [command[:2] for command in modules] == [
        ["-m", "scripts.contact_sheet"],
        ["-m", "scripts.build_extension"],
        ["-m", "scripts.blenders"],
    ]
    others = [path for path in (dev.ROOT / "scripts").rglob("*.py") if path.name != "batch.py"]
    assert [path.name for path in others if re.search(r"sys\.path|noqa", path.read_text("utf-8"))] == []


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["check", "this"]])
def test_wrong_usage_ends_with_2(arguments: list[str]) -> None:
    done = subprocess.run([sys.executable, str(dev.ROOT / "scripts" / "dev.py"), *arguments], capture_output=True)
    assert done.returncode == 2


def test_the_matting_network_is_brought_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    started: list[list[str]] = []

    def run(command: list[str]) -> tuple[int, str]:
        started.append(command)
        return 1, "NewConnectionError: no network"

    monkeypatch.setattr(dev, "run_talking", run)
    monkeypatch.setattr(dev, "MATTING", tmp_path / "u2netp.onnx")
    with pytest.raises(dev.Problem, match="No network"):
        dev.ensure_matting(Path("python"))
    assert started == [["python", "-m", "scripts.matting"]]
    dev.MATTING.touch()
    dev.ensure_matting(Path("python"))
    assert len(started) == 1


def test_the_matting_network_lies_where_it_is_looked_for() -> None:
    assert dev.MATTING == matting.FILE
