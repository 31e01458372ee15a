"""What preferences and panel show of the installation and of the models, in each of their states."""

from __future__ import annotations

import dataclasses
import sys
import time
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import bpy
import pytest
from espalier import blender_addon
from espalier.backend.protocol import ModelInfo
from espalier.blender_addon import choices, installation, pump
from espalier.blender_addon.extension import ROOT
from espalier.blender_addon.jobs.timings import Timings
from espalier.blender_addon.server import computer, process
from espalier.blender_addon.server.computer import GB, Computer
from espalier.blender_addon.server.install import State, Status
from espalier.blender_addon.server.machine import NAMED, Choice
from espalier.blender_addon.server.models import ModelStore
from espalier.blender_addon.server.plan import Plan
from espalier.blender_addon.ui import panels, setup_page

from tests.blender_addon.request.test_quality import know
from tests.blender_addon.ui.drawing import Layout, texts

PLAN = Plan(Choice("cpu"), 192_000_000, 1_460_000_000, 50_000_000_000, 90.0)


class FakeInstaller:
    def __init__(self, status: Status) -> None:
        self.now, self.plan, self.surveying = status, PLAN, False
        self.computer: Computer | None = Computer(8, 16 * GB)
        self.working = status.state is State.INSTALLING
        self.python = Path("/env/bin/python") if status.state is State.READY else None
        self.folders = types.SimpleNamespace(log=Path("/nowhere/install.log"))
        self.started: list[bool] = []
        self.cancelled = self.removed = False

    def status(self) -> Status:
        return self.now

    def start(self, options: Any, repair: bool) -> None:
        self.started.append(repair)

    def cancel(self) -> None:
        self.cancelled = True

    def remove(self) -> None:
        self.removed = True

    def close(self) -> None:
        pass


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    monkeypatch.setattr(installation, "models", ModelStore())
    monkeypatch.setattr(installation, "FOLDER", tmp_path)  # no checkout's environment
    monkeypatch.delenv("ESPALIER_PYTHON", raising=False)
    blender_addon.register()
    yield
    blender_addon.unregister()


@pytest.fixture
def addon(registered: None) -> Iterator[Any]:
    added = bpy.context.preferences.addons.new()
    added.module = ROOT
    yield added.preferences
    bpy.context.preferences.addons.remove(added)


def use(monkeypatch: pytest.MonkeyPatch, state: State, text: str, hint: str = "", **more: Any) -> FakeInstaller:
    fake = FakeInstaller(Status(state, text, hint, **more))
    monkeypatch.setattr(installation, "_installer", fake)
    return fake


def allow_network(monkeypatch: pytest.MonkeyPatch, allowed: bool) -> None:
    reason = "" if allowed else "Turn on Allow Online Access in Preferences > System"
    monkeypatch.setattr(installation, "offline_reason", lambda context: reason)


def panel() -> str:
    context: Any = types.SimpleNamespace(
        scene=bpy.context.scene,
        preferences=types.SimpleNamespace(
            system=types.SimpleNamespace(ui_scale=1.0, network_timeout=10), addons=bpy.context.preferences.addons
        ),
        region=types.SimpleNamespace(width=280),
        active_object=None,
        space_data=types.SimpleNamespace(shading=types.SimpleNamespace(type="RENDERED")),
    )
    drawn: list[tuple[str, Any]] = []
    this: Any = types.SimpleNamespace(layout=Layout(drawn))
    panels.EspalierPanel.draw(this, context)
    return texts(drawn)


def page(addon: Any) -> str:
    drawn: list[tuple[str, Any]] = []
    setup_page.draw(Layout(drawn), addon, bpy.context)
    return texts(drawn)


def test_first_of_all_the_panel_says_what_to_do(registered: None, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = use(monkeypatch, State.ABSENT, "Not installed.", remedy="Install")
    allow_network(monkeypatch, True)
    told = panel()
    assert "Install the Backend" in told
    assert "192 MB to download" in " ".join(told.split("\n"))
    assert "espalier.generate" not in told
    assert bpy.ops.espalier.install_backend() == {"FINISHED"}
    assert fake.started == [False]


def test_every_build_of_torch_can_be_chosen(registered: None, addon: Any) -> None:
    items = addon.bl_rna.properties["torch_build"].enum_items.keys()
    assert set(items) == {"AUTOMATIC", *NAMED} - {"apple"}, "of which macOS has only one"
    assert installation.options(bpy.context).build == ""
    addon.torch_build = "cu126"
    chosen = installation.options(bpy.context)
    assert (chosen.build, chosen.timeout) == ("cu126", bpy.context.preferences.system.network_timeout)


@pytest.mark.parametrize(
    ("machine", "words", "fit"),
    [
        (Computer(8, 16 * GB), "processor with 8 cores, 16 GB of memory, no graphics card", computer.SLOW),
        (Computer(2, None), "This computer: processor with 2 cores.", ""),
        (Computer(8, 16 * GB, "NVIDIA GeForce RTX 4070", 12 * GB), "NVIDIA GeForce RTX 4070, 12 GB.", computer.FITS),
    ],
)
def test_what_this_computer_is_and_what_fits(
    addon: Any, monkeypatch: pytest.MonkeyPatch, machine: Computer, words: str, fit: str
) -> None:
    for state, remedy in ((State.ABSENT, "Install"), (State.READY, "")):
        fake = use(monkeypatch, state, "Not installed.", remedy=remedy)
        fake.computer = machine
        allow_network(monkeypatch, True)
        for told in (page(addon), *([panel()] if remedy else [])):
            assert words in " ".join(told.split("\n"))
            assert fit in " ".join(told.split("\n"))


def test_how_the_network_is_reached(addon: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = use(monkeypatch, State.ABSENT, "Not installed.", remedy="Install")
    assert "Network:" not in page(addon)
    fake.plan = dataclasses.replace(PLAN, network="through the proxy proxy:8080")
    assert "Network: through the proxy proxy:8080." in page(addon)


def test_the_measured_time(addon: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, State.READY, "CPU")
    know(monkeypatch, *BUNDLED)
    monkeypatch.setattr(pump.jobs, "timings", Timings())
    bpy.context.scene.espalier.images.add().path = "/images/mug.png"
    assert "The first object measures" in page(addon)
    assert "for an object" not in panel()
    pump.jobs.timings.note("mini-mdt", None, {"load": 1.0, "total": 1.63}, "cpu")
    pump.jobs.timings.note("mini", 25, {"total": 150.0}, "cpu")
    told = page(addon)
    assert "0.6 s for an object (mini-mdt, default steps), measured here" in told
    assert "2:30 min for an object (mini, 25 steps), measured here" in told
    assert "About 0.6 s for an object" in panel()


def test_images_from_before_the_installation_are_shown(registered: None, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, State.ABSENT, "Not installed.", remedy="Install")
    allow_network(monkeypatch, True)
    assert "onto the viewport" in panel()
    bpy.ops.espalier.add_images("EXEC_DEFAULT", directory="/images", files=[{"name": "mug.png"}])
    assert "mug.png" in panel()
    assert pump.jobs.backend is None
    use(monkeypatch, State.READY, "CPU")
    know(monkeypatch, *BUNDLED)
    assert "mug.png" in panel()
    assert bpy.ops.espalier.generate.poll()


def test_a_failed_installation_has_three_buttons(
    registered: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake = use(monkeypatch, State.FAILED, "The disk is full.", "Free some space.", remedy="Try Again")
    allow_network(monkeypatch, True)
    told = panel()
    assert "Open Log" not in told, "there is none"
    fake.folders.log = tmp_path / "install.log"
    fake.folders.log.touch()
    told = panel()
    for button in ("Try Again", "espalier.preferences_show", "Open Log"):
        assert button in told, button


def test_without_the_network_it_says_how_to_allow_it(
    registered: None, addon: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake = use(monkeypatch, State.ABSENT, "Not installed.", remedy="Install")
    allow_network(monkeypatch, False)
    for told in (panel(), page(addon)):
        assert "Allow Online Access" in " ".join(told.split("\n"))
    with pytest.raises(RuntimeError, match="Allow Online Access"):
        bpy.ops.espalier.install_backend()
    assert fake.started == []
    addon.wheels_folder = str(tmp_path)  # which needs no network
    assert bpy.ops.espalier.install_backend() == {"FINISHED"}


def test_blenders_own_setting_is_asked(registered: None) -> None:
    assert bool(installation.offline_reason(bpy.context)) != bpy.app.online_access


def test_while_it_installs(addon: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = use(monkeypatch, State.INSTALLING, "Downloading torch, 80 MB of 192 MB", fraction=0.43)
    for told in (panel(), page(addon)):
        assert "Downloading torch, 80 MB of 192 MB (43%)" in told
        assert "espalier.cancel_installation" in told
    bpy.ops.espalier.cancel_installation()
    assert fake.cancelled
    assert not bpy.ops.espalier.install_backend.poll()
    assert not bpy.ops.espalier.remove_backend.poll()


@pytest.mark.parametrize(
    ("status", "words", "button"),
    [
        (Status(State.FAILED, "The disk is full.", "Free some space.", "Try Again"), "Failed: The disk", "Try Again"),
        (Status(State.FAILED, "It cannot start.", "", "Repair"), "Failed: It cannot start.", "Repair"),
        (Status(State.OUTDATED, "Other packages are needed.", "", "Update"), "Other packages", "Update"),
        (Status(State.ELSEWHERE, "Another Blender (process 7) is installing it."), "process 7", ""),
    ],
)
def test_other_states(addon: Any, monkeypatch: pytest.MonkeyPatch, status: Status, words: str, button: str) -> None:
    fake = use(monkeypatch, State.ABSENT, "")
    fake.now = status
    allow_network(monkeypatch, True)
    for told in (panel(), page(addon)):
        assert words in " ".join(told.split("\n"))
        assert button in told
    if button:
        bpy.ops.espalier.install_backend(repair=button == "Repair")
        assert fake.started == [button == "Repair"]


def test_ready(addon: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, State.READY, "NVIDIA GeForce RTX 4070, 12 GB", "torch 2.13.0")
    told = page(addon)
    assert "Ready (NVIDIA GeForce RTX 4070, 12 GB)" in told
    assert "Repair" in told
    assert installation.backend_python(bpy.context) == Path("/env/bin/python")
    know(monkeypatch, *BUNDLED)
    told = panel()
    assert "espalier.generate" in told
    assert "demonstration model" in " ".join(told.split("\n"))


BUNDLED = [
    ModelInfo(name, name, "bundled", 1, 1, "", "", (), usable=True, steps=(steps, steps), teacher=teacher)
    for name, steps, teacher in (("mini", 25, ""), ("mini-mdt", 2, "mini"))
]


def entry(name: str, state: str, *needs: str, present: int = 0) -> ModelInfo:
    return ModelInfo(name, name.upper(), state, 3_000_000_000, present, "MIT", "https://page", needs)


def test_models(addon: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, State.READY, "CPU")
    allow_network(monkeypatch, True)
    dino = entry("dinov2-vitl14-reg", "installed", present=3_000_000_000)
    trellis = entry(installation.OFFERED, "partial", dino.name, present=1_000_000_000)
    damaged = entry("mdt-dist", "damaged", installation.OFFERED, present=5)
    know(monkeypatch, *BUNDLED, dino, trellis, damaged, entry("u2net", "not installed"))
    told = page(addon)
    assert "U2NET: 3.0 GB" in told.split("\n")
    for words in ("DINOV2-VITL14-REG: 3.0 GB, downloaded", "1.0 GB of 3.0 GB downloaded", "damaged: download it again"):
        assert words in told
    for button in ("espalier.verify_model", "Resume", "Download"):
        assert button in told
    assert installation.models.missing("mdt-dist") == [trellis, damaged]
    assert "Download TRELLIS (2.0 GB)..." in panel()
    installation.models.problem = ("It broke.", "Try again.")
    assert "It broke." in page(addon)
    assert "It broke." in panel()


def test_a_big_model_ends_the_offer(registered: None, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, State.READY, "CPU")
    know(monkeypatch, *BUNDLED)
    assert "demonstration" in panel()
    know(monkeypatch, *BUNDLED, dataclasses.replace(entry(installation.OFFERED, "installed"), usable=True))
    assert "demonstration" not in panel()


def test_the_store_speaks_with_the_backend(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """List, refuse, delete: with the real backend."""
    pytest.importorskip("filelock", reason="the backend's lock needs filelock, which this Python lacks")
    import sys

    from espalier.blender_addon.server.models import BackendAt

    def wait(store: ModelStore) -> tuple[str, str] | None:
        end = time.monotonic() + 60
        while store.working:
            assert time.monotonic() < end
            time.sleep(0.01)
        return store.problem

    store, place = ModelStore(), BackendAt(Path(sys.executable), root, str(tmp_path / "models"))
    store.refresh(place)
    assert wait(store) is None
    assert store.known["mini"].state == "bundled"
    assert store.folder == str(tmp_path / "models")
    assert [model.name for model in store.missing("mdt-dist")][-1] == "mdt-dist"
    store.carry_out("verify", "mdt-dist", place)
    problem = wait(store)
    assert problem is not None
    assert "not installed" in problem[0]
    (tmp_path / "models" / ".partial" / "mdt-dist").mkdir(parents=True)
    store.carry_out("delete", "mdt-dist", place)
    assert wait(store) is None
    assert not (tmp_path / "models" / ".partial" / "mdt-dist").exists()


def test_models_come_first_and_the_installer_is_folded(addon: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, State.READY, "CPU")
    allow_network(monkeypatch, True)
    drawn = page(addon).split("\n")
    assert drawn.index("Models") < drawn.index("Backend")
    assert "torch_build" not in drawn
    addon.show_installer = True
    assert {"base_python", "package_index", "wheels_folder", "torch_build", "backend_python"} <= set(
        page(addon).split()
    )
    use(monkeypatch, State.ABSENT, "Not installed.", remedy="Install")
    drawn = page(addon).split("\n")
    assert drawn.index("Backend") < drawn.index("Models"), "without a backend there are none"


def test_the_notice_of_the_demonstration_can_be_hidden_and_shown_again(
    addon: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, State.READY, "CPU")
    know(monkeypatch, *BUNDLED)
    monkeypatch.setattr(installation, "is_installed", lambda context: True)
    bpy.context.scene.espalier.model = "mini"
    words = "is a demonstration model"
    assert words in panel().replace("\n", " ")
    assert bpy.ops.espalier.hide_demonstration() == {"FINISHED"}
    assert words not in panel().replace("\n", " ")
    installation.models.problem = ("The download failed.", "Try again.")
    assert "The download failed." in panel(), "what goes wrong is still said"
    addon.show_demonstration = True
    assert words in panel().replace("\n", " ")
    assert "show_demonstration" in page(addon)


def test_the_folder_of_images_is_remembered(addon: Any) -> None:
    assert choices.image_folder(bpy.context) == ""
    choices.set_image_folder(bpy.context, "/images")
    assert choices.image_folder(bpy.context) == addon.image_folder == "/images"


def test_a_draw_looks_for_the_backend_once(registered: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """It asks about thirty times, and each look is several questions to the disk."""
    monkeypatch.setattr(installation, "FRESH", 1e9)
    monkeypatch.setenv("ESPALIER_PYTHON", sys.executable)
    monkeypatch.setattr(installation.models, "knows", lambda backend: True)
    find = Mock(wraps=process.find_python)
    monkeypatch.setattr(process, "find_python", find)
    for _ in range(30):
        assert installation.is_installed(bpy.context)
        installation.usable_models(bpy.context)
    assert find.call_count == 1
    monkeypatch.setenv("ESPALIER_PYTHON", "/no/such/python")
    assert installation.backend(bpy.context) is None, "what it depends on is looked at each time"
