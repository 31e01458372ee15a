"""The backend's installation, from a package index that does what networks do, killed and cancelled on the way."""

from __future__ import annotations

import collections
import hashlib
import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from espalier.blender_addon.server import steps
from espalier.blender_addon.server.environment import MARKER, python_in
from espalier.blender_addon.server.install import Installer, State
from espalier.blender_addon.server.plan import Options

from tests.fakes.installing import finish, install, make_installer
from tests.fakes.package_index import FakeIndex, Fault, serve_index
from tests.fakes.tiny_extension import ROOT, locked, make_extension, torch_wheel

pytest.importorskip("uv", reason="the installer carries uv, which this Python lacks")

DRIVER = ROOT / "tests" / "fakes" / "install_driver.py"
TORCH = torch_wheel()


@pytest.fixture(scope="module")
def extension(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_extension(tmp_path_factory.mktemp("extension") / "espalier", TORCH)


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeIndex]:
    """An index that has torch. Proxies of this machine play no part."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with serve_index() as server:
        server.files[TORCH[0]] = TORCH[1]
        yield server


@pytest.fixture
def installer(extension: Path, tmp_path: Path) -> Iterator[Installer]:
    made = make_installer(tmp_path / "user", extension)
    yield made
    made.close()


@pytest.fixture
def options(index: FakeIndex) -> Options:
    return Options(python=sys.executable, index=index.url)


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


def usable(installer: Installer) -> bool:
    return installer.python is not None


def tree(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*")}


def arrived(installer: Installer) -> int:
    return sum(path.stat().st_size for path in installer.folders.downloads.glob("*"))


def test_the_whole_way(installer: Installer, options: Options, extension: Path) -> None:
    before = tree(extension)
    assert installer.status().state is State.ABSENT
    assert installer.status().remedy == "Install"
    assert not usable(installer)
    installer.start(options)
    seen = {}
    while installer.working:
        status = installer.status()
        seen[status.text] = status.fraction
        assert status.state is State.INSTALLING
        time.sleep(0.005)
    status = installer.status()
    assert (status.state, status.text) == (State.READY, "CPU"), status
    assert "torch 1.0+cpu" in status.hint
    assert list(seen.values()) == sorted(seen.values())
    assert any("Downloading torch" in text for text in seen)
    assert (installer.folders.environment / "compiled").is_dir()
    assert installer.python == python_in(installer.folders.environment)
    assert sorted(path.name for path in installer.folders.root.iterdir()) == ["env", "install.lock", "install.log"]
    assert tree(extension) == before, "the extension's own folder was written to"


def test_a_connection_that_breaks_is_taken_up_where_it_broke(
    installer: Installer, options: Options, index: FakeIndex
) -> None:
    index.faults = [Fault(times=3, cut=100_000), Fault(times=1, status=503)]
    assert install(installer, options) is State.READY
    ranges = [asked for _, asked in index.asked]
    assert ranges[:3] == [None, "bytes=100000-", "bytes=200000-"]


def test_a_wrong_file_is_never_installed(installer: Installer, options: Options, index: FakeIndex) -> None:
    index.faults = [Fault(times=1, content=b"x" * len(TORCH[1]))]
    assert install(installer, options) is State.FAILED
    status = installer.status()
    assert "hash" in status.text
    assert status.remedy == "Try Again"
    assert arrived(installer) == 0
    assert install(installer, options) is State.READY


def test_an_index_that_does_not_have_it(installer: Installer, options: Options, index: FakeIndex) -> None:
    index.files.clear()
    installer.start(Options(options.python, index.url))
    assert finish(installer) is State.FAILED
    status = installer.status()
    assert "package index" in status.text + status.hint


def test_no_network(installer: Installer, options: Options) -> None:
    assert install(installer, Options(options.python, "http://127.0.0.1:9/simple")) is State.FAILED
    assert "network" in installer.status().hint


def test_a_disk_that_is_too_small(installer: Installer, options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = collections.namedtuple("usage", "total used free")
    with monkeypatch.context() as patch:
        patch.setattr(steps.shutil, "disk_usage", lambda path: usage(0, 0, 10_000_000))
        assert install(installer, options) is State.FAILED
    assert "Not enough disk" in installer.status().text
    assert install(installer, options) is State.READY


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is always full")
def test_a_disk_that_fills_up(installer: Installer, options: Options) -> None:
    installer.folders.downloads.mkdir(parents=True)
    part = installer.folders.downloads / f"{TORCH[0]}.{hashlib.sha256(TORCH[1]).hexdigest()[:16]}.part"
    part.symlink_to("/dev/full")
    assert install(installer, options) is State.FAILED
    assert installer.status().text == f"The disk of the folder {installer.folders.downloads} is full."
    part.unlink()
    assert install(installer, options) is State.READY


def test_cancel_and_go_on(installer: Installer, options: Options, index: FakeIndex) -> None:
    index.faults = [Fault(times=1, pause=0.02)]
    installer.start(options)
    until(lambda: arrived(installer) > 50_000)
    installer.cancel()
    assert finish(installer) is State.ABSENT
    assert arrived(installer) < len(TORCH[1])
    status = installer.status()
    assert (status.remedy, "already downloaded" in status.hint) == ("Resume", True)
    assert install(installer, options) is State.READY
    assert index.asked[-1][1] not in (None, "bytes=0-")


def test_two_blenders(installer: Installer, options: Options, extension: Path, index: FakeIndex) -> None:
    other = make_installer(installer.folders.root, extension)
    index.faults = [Fault(times=1, pause=0.02)]
    installer.start(options)
    until(lambda: arrived(installer) > 0)
    assert other.status().state is State.ELSEWHERE
    assert install(other, options) is State.ELSEWHERE
    assert finish(installer) is State.READY
    time.sleep(1.1)  # it looks once a second
    assert other.status().state is State.READY


def test_repair_and_remove(installer: Installer, options: Options, index: FakeIndex) -> None:
    assert install(installer, options) is State.READY
    index.faults = [Fault(times=1, status=404)]
    assert install(installer, options, repair=True) is State.FAILED
    assert not usable(installer), "what is being repaired is not used"
    assert install(installer, options) is State.READY
    installer.remove()
    assert finish(installer) is State.ABSENT
    assert sorted(path.name for path in installer.folders.root.iterdir()) == ["install.lock", "install.log"]


def test_a_python_that_went_away(installer: Installer, options: Options) -> None:
    assert install(installer, options) is State.READY
    python_in(installer.folders.environment).unlink()
    time.sleep(1.1)
    status = installer.status()
    assert (status.state, status.remedy) == (State.FAILED, "Repair")


def test_an_update_that_needs_other_packages(
    installer: Installer, options: Options, extension: Path, tmp_path: Path, index: FakeIndex
) -> None:
    assert install(installer, options) is State.READY
    newer = torch_wheel("1.1+cpu")
    index.files[newer[0]] = newer[1]
    updated = tmp_path / "updated"
    shutil.copytree(extension, updated)
    packages = json.loads((updated / "packages.json").read_text())
    packages["torch"]["cpu"] = [locked(newer)]
    (updated / "packages.json").write_text(json.dumps(packages))
    again = make_installer(installer.folders.root, updated)
    status = again.status()
    assert (status.state, status.remedy) == (State.OUTDATED, "Update")
    assert again.python is None
    assert install(again, options) is State.READY


def test_a_torch_that_cannot_be_imported(tmp_path: Path, options: Options, index: FakeIndex) -> None:
    broken = torch_wheel("1.2+cpu", b"raise ImportError('DLL load failed while importing _C')")
    index.files[broken[0]] = broken[1]
    installer = make_installer(tmp_path / "user", make_extension(tmp_path / "broken", broken))
    assert install(installer, options) is State.FAILED
    assert "Visual C++" in installer.status().hint
    assert not (installer.folders.environment / MARKER).exists()


def test_a_folder_of_wheels_needs_no_index(installer: Installer, tmp_path: Path) -> None:
    (tmp_path / "wheels").mkdir()
    offline = Options(sys.executable, "http://127.0.0.1:9/simple", str(tmp_path / "wheels"))
    assert install(installer, offline) is State.FAILED
    assert TORCH[0] in installer.status().text
    (tmp_path / "wheels" / TORCH[0]).write_bytes(TORCH[1])
    assert install(installer, offline) is State.READY
    no_python = Options("", "", str(tmp_path / "wheels"))
    assert install(installer, no_python, repair=True) is State.FAILED
    assert "does not contain cpython-3.11" in installer.status().text


@pytest.mark.skipif(sys.platform == "win32", reason="the other Python is a shell script")
def test_a_python_of_another_version(installer: Installer, options: Options, tmp_path: Path) -> None:
    other = tmp_path / "python3.13"
    other.write_text("#!/bin/sh\necho '[3, 13]'\n")
    other.chmod(0o755)
    assert install(installer, Options(str(other), options.index)) is State.FAILED
    assert "is not Python 3.11" in installer.status().text
    assert install(installer, Options(str(tmp_path / "nothing"), options.index)) is State.FAILED


def test_what_it_will_take(installer: Installer, options: Options) -> None:
    installer.survey(options)
    until(lambda: installer.plan is not None)
    plan = installer.plan
    assert plan is not None
    assert (plan.choice.build, plan.download) == ("cpu", len(TORCH[1]))
    assert plan.disk > plan.download
    assert plan.free > 0
    assert plan.seconds > 0
    installer.survey(Options(options.python, wheels="/wheels"))
    until(lambda: not installer.surveying)
    assert installer.plan is not None
    assert (installer.plan.download, installer.plan.disk) == (0, plan.disk), "from a folder it is copied"


# --- killed on the way -----------------------------------------------------------------------------------------------


def drive(extension: Path, folder: Path, url: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(DRIVER), str(ROOT), str(extension), str(folder), url]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_at_random(
    installer: Installer, options: Options, extension: Path, index: FakeIndex, kills: int
) -> None:
    """Blender dies at any moment: the state is clear, nothing half-made is used, and the next attempt ends ready."""
    moments = random.Random(kills)
    folder = installer.folders.root
    index.faults = [Fault(pause=0.005)]
    longest = 6.0
    for _ in range(kills):
        process = drive(extension, folder, index.url)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(moments.uniform(0.0, longest))
        process.kill() if sys.platform == "win32" else process.send_signal(signal.SIGKILL)
        rest, _ = process.communicate()
        state = make_installer(folder, extension).status()
        assert state.state in (State.ABSENT, State.READY), state
        if rest.strip() == State.READY.value:
            shutil.rmtree(installer.folders.environment)  # once more
        elif state.state is State.ABSENT:
            assert not (installer.folders.environment / MARKER).exists()
            assert state.text == "The installation was interrupted."
    assert install(installer, options) is State.READY, installer.status()
    assert subprocess.run([str(installer.python), "-c", "import torch"]).returncode == 0
    assert installer.folders.parts() == []


def test_a_killed_blenders_download_ends_with_it(
    installer: Installer, options: Options, extension: Path, index: FakeIndex
) -> None:
    index.faults = [Fault(times=1, pause=0.02)]
    process = drive(extension, installer.folders.root, index.url)
    until(lambda: arrived(installer) > 20_000)
    process.kill()
    process.communicate()
    sizes = [arrived(installer)]
    while len(sizes) < 3 or sizes[-1] != sizes[-3]:
        time.sleep(0.5)
        sizes.append(arrived(installer))
    assert sizes[-1] < len(TORCH[1])
    assert install(installer, options) is State.READY
