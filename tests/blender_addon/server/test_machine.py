"""Which build of torch a machine gets."""

from __future__ import annotations

import pytest
from espalier.blender_addon.server.machine import Gpu, choose_build, parse_gpu

LINUX = ("cu130", "cpu")
WINDOWS = ("cu130", "cu126", "cpu")


@pytest.mark.parametrize(
    ("table", "gpu"),
    [
        ("NVIDIA GeForce RTX 4070, 580.95.05, 8.9\n", Gpu("NVIDIA GeForce RTX 4070", 580, 8.9)),
        ("NVIDIA H100 80GB HBM3, 575.57.08, 9.0\nNVIDIA T4, 575.57.08, 7.5\n", Gpu("NVIDIA H100 80GB HBM3", 575, 9.0)),
        ("Quadro K620, 470.199.02, [N/A]\n", Gpu("Quadro K620", 470, None)),
        ("No devices were found\n", None),
        ("", None),
    ],
)
def test_what_the_driver_says(table: str, gpu: Gpu | None) -> None:
    assert parse_gpu(table) == gpu


@pytest.mark.parametrize(
    ("builds", "gpu", "build", "remark"),
    [
        (("apple",), None, "apple", ""),
        (LINUX, None, "cpu", ""),
        (LINUX, Gpu("RTX", 580, 8.9), "cu130", ""),
        (LINUX, Gpu("RTX", 595, None), "cu130", ""),
        (LINUX, Gpu("RTX", 550, 8.9), "cpu", "Update it to 580"),
        (LINUX, Gpu("GTX 1080", 580, 6.1), "cpu", "too old"),
        (WINDOWS, Gpu("RTX", 550, 8.9), "cu126", ""),
        (WINDOWS, Gpu("GTX 1080", 580, 6.1), "cu126", ""),
        (WINDOWS, Gpu("RTX", 500, 8.9), "cpu", "Update it to 528"),
        (("cpu",), Gpu("RTX", 580, 8.9), "cpu", "no CUDA build"),
    ],
)
def test_the_build(builds: tuple[str, ...], gpu: Gpu | None, build: str, remark: str) -> None:
    choice = choose_build(builds, gpu)
    assert choice.build == build
    assert remark in choice.remark
    assert bool(choice.remark) == bool(remark)
