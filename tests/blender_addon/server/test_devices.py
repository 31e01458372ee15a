"""What the systems say about their GPUs, as recorded, and what it means."""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from espalier.blender_addon.server import cuda_devices, devices
from espalier.blender_addon.server.devices import (
    Gpu,
    Gpus,
    find_gpus,
    gfx,
    intel_series,
    ordered,
    parse_cuda,
    parse_drm,
    parse_kfd,
    parse_nvidia_smi,
    parse_proc,
    parse_registry,
    windows_driver,
)

GB = 1 << 30
UUID = "GPU-5f2a8c1e-0b7d-4c55-9f0e-3d1b6a7c8e90"
PLAIN = UUID[4:].replace("-", "")

OLD = Gpu("NVIDIA GeForce GTX 1080", "nvidia", 580, 6.1, "", 8 * GB, "0a")
BIG = Gpu("NVIDIA GeForce RTX 3090", "nvidia", 580, 8.6, "", 24 * GB, "0b")
NEW = Gpu("NVIDIA GeForce RTX 4060", "nvidia", 580, 8.9, "", 8 * GB, "0c")


@pytest.mark.parametrize(
    ("table", "gpus"),
    [
        (
            f"NVIDIA GeForce RTX 4070, 580.95.05, 12282, {UUID}, 8.9\n",
            [Gpu("NVIDIA GeForce RTX 4070", "nvidia", 580, 8.9, "", 12282 << 20, PLAIN)],
        ),
        (
            "NVIDIA H100 80GB HBM3, 575.57.08, 81559, GPU-aa, 9.0\nTesla T4, 575.57.08, 15360, GPU-bb, 7.5\n",
            [
                Gpu("NVIDIA H100 80GB HBM3", "nvidia", 575, 9.0, "", 81559 << 20, "aa"),
                Gpu("Tesla T4", "nvidia", 575, 7.5, "", 15360 << 20, "bb"),
            ],
        ),
        ("Quadro K620, 470.199.02, 2000, GPU-cc\n", [Gpu("Quadro K620", "nvidia", 470, None, "", 2000 << 20, "cc")]),
        ("NVIDIA GB10, 580.95.05, [N/A], GPU-dd, 12.1\n", [Gpu("NVIDIA GB10", "nvidia", 580, 12.1, "", None, "dd")]),
        ("No devices were found\n", []),
        ("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver, sorry, and so on.\n", []),
        ("", []),
    ],
)
def test_nvidia_smi(table: str, gpus: list[Gpu]) -> None:
    assert parse_nvidia_smi(table) == gpus


def test_nvidias_kernel_module() -> None:
    version = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  550.163.01  Release Build  (dvs-builder@U16)\n"
    card = "Model: \t\t NVIDIA GeForce RTX 2060\nIRQ:   \t\t 138\nGPU UUID: \t GPU-????????\n"
    assert parse_proc(version, [card, card]) == [Gpu("NVIDIA GeForce RTX 2060", "nvidia", 550)] * 2
    assert parse_proc(version, []) == [Gpu("NVIDIA GPU", "nvidia", 550)]
    assert parse_proc("", [card]) == []


def test_windows_registry() -> None:
    nvidia: dict[str, object] = {
        "DriverDesc": "NVIDIA GeForce RTX 3060",
        "DriverVersion": "32.0.15.6094",
        "MatchingDeviceId": r"PCI\VEN_10DE&DEV_2504&SUBSYS_397D1462",
        "HardwareInformation.qwMemorySize": 12 * GB,
    }
    arc: dict[str, object] = {
        "DriverDesc": "Intel(R) Arc(TM) A770 Graphics",
        "DriverVersion": "32.0.101.6913",
        "MatchingDeviceId": r"pci\ven_8086&dev_56a0",
        "HardwareInformation.qwMemorySize": b"\x00\x00\x00\x00\x04\x00\x00\x00",
    }
    radeon: dict[str, object] = {"MatchingDeviceId": r"PCI\VEN_1002&DEV_744C&REV_C8"}
    remote: dict[str, object] = {"DriverDesc": "Microsoft Remote Display Adapter", "MatchingDeviceId": "rdpidd"}
    assert parse_registry([remote, nvidia, nvidia, arc, radeon, {}]) == [
        Gpu("NVIDIA GeForce RTX 3060", "nvidia", 560, None, "", 12 * GB),
        Gpu("Intel(R) Arc(TM) A770 Graphics", "intel", None, None, "Intel Arc A-series"),
        Gpu("AMD GPU", "amd"),
    ]


@pytest.mark.parametrize(
    ("version", "driver"),
    [
        ("32.0.15.6094", 560),
        ("31.0.15.2802", 528),
        ("27.21.14.5671", 456),
        ("32.0.16.1047", 610),
        ("", None),
        ("x", None),
    ],
)
def test_nvidias_driver_on_windows(version: str, driver: int | None) -> None:
    assert windows_driver(version) == driver


def test_amd_on_linux() -> None:
    processor = "cpu_cores_count 16\nsimd_count 0\ngfx_target_version 0\nvendor_id 0\n"
    card = "cpu_cores_count 0\nsimd_count 192\ngfx_target_version 110000\nvendor_id 4098\ndevice_id 29772\n"
    memory = "heap_type 1\nsize_in_bytes 25753026560\nflags 0\n"
    assert parse_kfd([(processor, memory), (card, memory), (card, "")]) == [
        Gpu("AMD GPU (gfx1100)", "amd", None, None, "gfx1100", 25753026560),
        Gpu("AMD GPU (gfx1100)", "amd", None, None, "gfx1100"),
    ]
    assert [gfx(version) for version in (90010, 90402, 100300, 120001)] == ["gfx90a", "gfx942", "gfx1030", "gfx1201"]


def test_intel_on_linux() -> None:
    cards = [("0x8086\n", "0x56a0\n"), ("0x8086\n", "0x3e92\n"), ("0x1002\n", "0x744c\n"), ("", "")]
    assert parse_drm(cards) == [
        Gpu("Intel Arc A-series", "intel", architecture="Intel Arc A-series"),
        Gpu("Intel GPU", "intel"),
    ]
    assert intel_series("e20b") == "Intel Arc B-series"
    assert intel_series("9a49") == ""


# --- in which order torch sees them ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environ", "visible", "hidden", "certain"),
    [
        ({}, (BIG, NEW, OLD), (), False),
        ({"CUDA_DEVICE_ORDER": "FASTEST_FIRST"}, (BIG, NEW, OLD), (), False),
        ({"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}, (OLD, NEW, BIG), (), True),
        ({"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": "1"}, (NEW,), (OLD, BIG), True),
        ({"CUDA_VISIBLE_DEVICES": "2,0"}, (OLD, BIG), (NEW,), False),
        ({"CUDA_VISIBLE_DEVICES": "GPU-0c,7,0"}, (NEW,), (BIG, OLD), False),
        ({"CUDA_VISIBLE_DEVICES": ""}, (), (BIG, NEW, OLD), False),
        ({"CUDA_VISIBLE_DEVICES": "-1"}, (), (BIG, NEW, OLD), False),
    ],
)
def test_the_order_without_cuda(
    environ: dict[str, str], visible: tuple[Gpu, ...], hidden: tuple[Gpu, ...], certain: bool
) -> None:
    assert ordered([OLD, NEW, BIG], environ) == Gpus(visible, hidden, certain)


def test_one_gpu_is_certain() -> None:
    assert ordered([OLD], {}) == Gpus((OLD,), (), True)


def test_cuda_itself_tells_the_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever one would guess: here it puts the older card first, and does not show the third."""
    told = {
        "driver": "580.95.05",
        "gpus": [
            {"name": gpu.name, "capability": str(gpu.capability), "memory": gpu.memory, "uuid": gpu.uuid}
            for gpu in (OLD, BIG)
        ],
    }
    monkeypatch.setattr(devices, "_output", lambda command: json.dumps(told))
    monkeypatch.setattr(devices, "nvidia_gpus", lambda: [NEW, BIG, OLD])
    monkeypatch.setattr(devices, "other_gpus", lambda: [Gpu("Intel GPU", "intel")])
    assert find_gpus({}) == Gpus((OLD, BIG, Gpu("Intel GPU", "intel")), (NEW,))


@pytest.mark.parametrize(
    "answer", ["", "{}", "[]", '{"problem": "cuInit failed with 100"}', '{"driver": 1, "gpus": []}']
)
def test_cuda_that_does_not_answer(answer: str) -> None:
    assert parse_cuda(answer) is None


class FakeDriver:
    """The two libraries of NVIDIA's driver, with two GPUs. ``failing`` is a call that returns an error."""

    def __init__(self, failing: str = "") -> None:
        self.failing = failing

    def __getattr__(self, name: str) -> Callable[..., int]:
        def call(*arguments: Any) -> int:
            if name == self.failing:
                return 100
            self._answer(name, arguments)
            return 0

        call.__name__ = name
        return call

    def _answer(self, name: str, arguments: tuple[Any, ...]) -> None:
        values = {
            "nvmlSystemGetDriverVersion": b"535.216.01",
            "cuDeviceGetCount": 2,
            "cuDeviceGet": arguments[1] if len(arguments) > 1 else 0,
            "cuDeviceGetName": b"Tesla T4",
            "cuDeviceTotalMem_v2": 16 * GB,
            "cuDeviceGetAttribute": {75: 7, 76: 5}[arguments[1]] if name == "cuDeviceGetAttribute" else 0,
        }
        if name == "cuDeviceGetUuid":
            ctypes.memmove(arguments[0], bytes(15) + bytes([arguments[1].value]), 16)
        elif name in values:
            target = arguments[0] if isinstance(values[name], bytes) else arguments[0]._obj
            target.value = values[name]


def test_the_drivers_own_answer() -> None:
    answer = cuda_devices.query(FakeDriver(), FakeDriver())
    first, second = parse_cuda(json.dumps(answer)) or []
    assert first == Gpu("Tesla T4", "nvidia", 535, 7.5, "", 16 * GB, "0" * 32)
    assert second.uuid == "0" * 31 + "1"
    with pytest.raises(OSError, match="cuInit failed with 100"):
        cuda_devices.query(FakeDriver("cuInit"), FakeDriver())


def test_a_machine_without_a_driver_says_so_in_a_process_of_its_own() -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-B", str(devices.CUDA_DEVICES)], capture_output=True, text=True, check=True
    )
    answer = json.loads(done.stdout)
    assert "problem" in answer or "gpus" in answer


def test_this_machine_is_looked_at_without_an_error() -> None:
    assert isinstance(find_gpus({}), Gpus)


def test_a_tool_that_fails_names_nothing(tmp_path: Path) -> None:
    assert devices._output([str(tmp_path / "no-such-tool")]) == ""
    assert devices._output([sys.executable, "-c", "import sys; print('x'); sys.exit(9)"]) == ""
