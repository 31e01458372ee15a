"""Builds of torch without a lock, and builds that do not work: what is refused, and what is offered instead."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from espalier.blender_addon.server import plan
from espalier.blender_addon.server.devices import Gpu, Gpus
from espalier.blender_addon.server.environment import read_marker
from espalier.blender_addon.server.install import Installer, State
from espalier.blender_addon.server.plan import Options

from tests.fakes.installing import finish, install, make_installer
from tests.fakes.package_index import FakeIndex, Fault, make_wheel, serve_index
from tests.fakes.tiny_extension import gpu_wheel, make_extension, torch_wheel

pytest.importorskip("uv", reason="the installer carries uv, which this Python lacks")

CPU = torch_wheel()
LIBRARY = make_wheel("nvidia_thing", "12.6", {"nvidia_thing.py": b""})
CUDA = gpu_wheel(requires=("nvidia-thing==12.6", "numpy", 'never-there==1 ; sys_platform == "solaris"'))
NEXT = "Install the Next Best"

Machine = Callable[[int], None]


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeIndex]:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with serve_index() as server:
        server.files = dict((CPU, CUDA, LIBRARY))
        yield server


@pytest.fixture
def options(index: FakeIndex) -> Options:
    return Options(python=sys.executable, index=index.url, torch_index=index.torch_url)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Gives this machine a GPU, with this driver."""

    def has(driver: int) -> None:
        gpu = Gpu("RTX Fake", "nvidia", driver, 8.6, "", 8 << 30)
        monkeypatch.setattr(plan, "find_gpus", lambda environ: Gpus((gpu,)))

    has(560)
    return has


@pytest.fixture(scope="module")
def unlocked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An extension that knows cu126 only by its version."""
    return make_extension(tmp_path_factory.mktemp("unlocked") / "espalier", CPU, cu126="1.0+cu126")


@pytest.fixture
def installer(unlocked: Path, tmp_path: Path, machine: Machine) -> Iterator[Installer]:
    made = make_installer(tmp_path / "user", unlocked)
    yield made
    made.close()


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def build(installer: Installer) -> str:
    marker = read_marker(installer.folders.environment)
    return marker.build if marker else ""


def test_the_published_hash_is_used_shown_and_kept(installer: Installer, options: Options, index: FakeIndex) -> None:
    assert install(installer, options) is State.READY, installer.status()
    status = installer.status()
    assert status.text == "RTX Fake, 8 GB"
    assert f"SHA-256 {digest(CUDA[1])}, by 127.0.0.1" in status.hint
    kept = json.loads(installer.folders.hashes.read_text())
    assert kept == {CUDA[0]: digest(CUDA[1]), LIBRARY[0]: digest(LIBRARY[1])}
    log = installer.folders.log.read_text()
    assert f"{LIBRARY[0]}: SHA-256 {digest(LIBRARY[1])}, by 127.0.0.1" in log
    assert "GPUs: RTX Fake, 8 GB" in log
    assert "Network: without a proxy" in log
    assert install(installer, options, repair=True) is State.READY, "the same files again"


def test_another_hash_than_before_is_refused(installer: Installer, options: Options, index: FakeIndex) -> None:
    assert install(installer, options) is State.READY
    index.files[CUDA[0]] = gpu_wheel(requires=("numpy",))[1]
    index.asked.clear()
    assert install(installer, options, repair=True) is State.FAILED
    status = installer.status()
    assert "another file than the one that was installed before" in status.text
    assert (status.remedy, build(installer)) == (NEXT, "")
    assert f"torch for the processor: {len(CPU[1]) / 1e6:.0f} MB" in status.hint
    assert all(asked is not None for _, asked in index.asked), "at most the list of the wheel's files was looked at"
    assert install(installer, options) is State.READY
    assert build(installer) == "cpu"
    installer.remove()
    assert finish(installer) is State.ABSENT
    assert install(installer, options) is State.READY, "Remove forgets the hash"
    assert build(installer) == "cu126"


def test_a_file_without_a_hash_is_refused(installer: Installer, options: Options, index: FakeIndex) -> None:
    """Its link has a hash of the description, which even happens to be the file's here."""
    index.unhashed = {CUDA[0]}
    assert install(installer, options) is State.FAILED
    status = installer.status()
    assert "publishes no SHA-256" in status.text
    assert (status.remedy, index.asked) == (NEXT, []), "nothing was downloaded"
    assert install(installer, options) is State.READY
    assert build(installer) == "cpu"


def test_a_file_that_is_not_the_published_one_is_refused(
    installer: Installer, options: Options, index: FakeIndex
) -> None:
    """What the index says of it is not kept either: it may have been what was wrong."""
    index.faults = [Fault(content=b"x" * len(CUDA[1]))]
    index.files[CUDA[0]] = CUDA[1]
    assert install(installer, options) is State.FAILED
    assert installer.status().remedy == NEXT
    assert not installer.folders.hashes.exists()


def test_a_library_without_a_hash_is_refused_too(installer: Installer, options: Options, index: FakeIndex) -> None:
    index.unhashed = {LIBRARY[0]}
    assert install(installer, options) is State.FAILED
    assert LIBRARY[0] in installer.status().text


def test_a_folder_of_wheels_stands_for_missing_hashes(
    installer: Installer, options: Options, index: FakeIndex, tmp_path: Path
) -> None:
    index.unhashed = {CUDA[0]}
    assert install(installer, options) is State.FAILED
    folder = tmp_path / "wheels"
    folder.mkdir()
    for name, content in (CUDA, LIBRARY):
        (folder / name).write_bytes(content)
    offline = Options(sys.executable, "http://127.0.0.1:9/simple", str(folder))
    assert install(installer, offline) is State.READY, installer.status()
    assert build(installer) == "cu126"
    assert f"by the folder {folder}" in installer.status().hint


def test_an_index_that_cannot_be_reached_is_not_a_missing_hash(installer: Installer, options: Options) -> None:
    nowhere = Options(options.python, options.index, torch_index="http://127.0.0.1:9/whl")
    assert install(installer, nowhere) is State.READY, "the chosen index has it, and states its hash"
    installer.remove()
    assert finish(installer) is State.ABSENT
    nothing = Options(options.python, "http://127.0.0.1:9/simple", torch_index="http://127.0.0.1:9/whl")
    assert install(installer, nothing) is State.FAILED
    assert "connection" in installer.status().text
    assert installer.status().remedy == "Try Again"


# --- what the GPU computes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("broken", "wrong", "said"),
    [
        ("product", "", "It cannot compute a product of matrices: CUDA error: no kernel image is available"),
        ("attention", "", "It cannot compute attention"),
        ("", "convolution", "Its result of a 3-D convolution is wrong (off by 100.0%)"),
        ("crash", "", "The test ended early"),
        ("cuda", "", "torch finds no GPU"),
    ],
)
def test_a_gpu_that_fails_gets_the_next_best_offered(
    tmp_path: Path, options: Options, index: FakeIndex, machine: Machine, broken: str, wrong: str, said: str
) -> None:
    failing = gpu_wheel(broken, wrong)
    index.files[failing[0]] = failing[1]
    installer = make_installer(tmp_path / "user", make_extension(tmp_path / "espalier", CPU, cu126=failing))
    assert install(installer, options) is State.FAILED
    status = installer.status()
    assert "torch for NVIDIA graphics cards (CUDA 12.6) does not work on RTX Fake" in status.text
    assert said in status.text
    assert status.remedy == NEXT
    assert status.hint == f"The next best is torch for the processor: {len(CPU[1]) / 1e6:.0f} MB to download."
    assert {name for name, _ in index.asked} == {failing[0]}, "nothing is fetched unasked"
    assert build(installer) == ""
    assert install(installer, options) is State.READY, installer.status()
    assert build(installer) == "cpu"


def test_a_new_driver_is_a_new_chance(tmp_path: Path, options: Options, index: FakeIndex, machine: Machine) -> None:
    failing = gpu_wheel("attention")
    index.files[failing[0]] = failing[1]
    extension = make_extension(tmp_path / "espalier", CPU, cu126=failing)
    installer = make_installer(tmp_path / "user", extension)
    assert install(installer, options) is State.FAILED
    assert plan.make_plan(installer.folders, installer.packages, options).choice.build == "cpu"
    assert "does not work" in plan.make_plan(installer.folders, installer.packages, options).choice.remark
    assert (installer.plan, installer.surveyed) == (None, None), "the size of the build that failed is not shown again"
    machine(570)
    assert plan.make_plan(installer.folders, installer.packages, options).choice.build == "cu126"


def test_a_build_chosen_by_hand_is_not_replaced(
    tmp_path: Path, options: Options, index: FakeIndex, machine: Machine
) -> None:
    failing = gpu_wheel("attention")
    index.files[failing[0]] = failing[1]
    installer = make_installer(tmp_path / "user", make_extension(tmp_path / "espalier", CPU, cu126=failing))
    chosen = Options(options.python, options.index, build="cu126")
    assert install(installer, chosen) is State.FAILED
    assert installer.status().remedy == "Try Again"
    assert "Choose another build" in installer.status().hint
