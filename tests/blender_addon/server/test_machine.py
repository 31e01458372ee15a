"""Which build of torch a machine gets. The table of machines is the one in docs/using.md."""

from __future__ import annotations

import re

import pytest
from espalier.blender_addon.server.devices import Gpu, Gpus
from espalier.blender_addon.server.machine import BUILDS, NAMED, choose_build, gpu_for, obstacle

from scripts.build_extension import PLATFORMS
from tests.fakes.tiny_extension import ROOT

LINUX, WINDOWS, MACOS = (tuple(platform.torch) for platform in PLATFORMS)
SYSTEMS = {"Linux": ("linux", LINUX), "Windows": ("win32", WINDOWS), "macOS": ("darwin", MACOS)}
TABLE = re.compile(r"<!-- machines: .*? -->\n\n\|.*?\|\n\|[-|]+\|\n(.*?)\n\n<!-- end -->", re.DOTALL)

RTX = Gpu("RTX", "nvidia", 580, 8.9, "", 12 << 30)


def machines() -> list[list[str]]:
    """The rows of the table: system, card, capability, driver, memory, build, what is said."""
    found = TABLE.search((ROOT / "docs" / "using.md").read_text("utf-8"))
    assert found is not None
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in found.group(1).splitlines()]


def gpus_of(cards: str, kinds: str, driver: str, memories: str) -> Gpus:
    """The GPUs of a row. Several are separated by "and"; capability and memory of each stand in the same place."""
    if cards in ("no GPU", "Apple M3"):
        return Gpus()
    names = cards.split(" and ")
    return Gpus(
        tuple(gpu(*one, driver) for one in zip(names, cells(kinds, names), cells(memories, names), strict=True))
    )


def cells(cell: str, names: list[str]) -> list[str]:
    words = [word.strip() for word in re.split(r"\band\b", cell)]
    assert len(words) == len(names), cell
    return words


def gpu(name: str, kind: str, memory: str, driver: str) -> Gpu:
    vendor = "nvidia" if "NVIDIA" in name else "amd" if "AMD" in name else "intel"
    capability = float(kind) if vendor == "nvidia" else None
    size = int(memory.removesuffix(" GB")) << 30 if memory else None
    return Gpu(name, vendor, int(driver) if vendor == "nvidia" else None, capability, "" if capability else kind, size)


def test_there_are_thirty_machines_of_every_kind() -> None:
    rows = machines()
    assert len(rows) >= 30
    assert {row[0] for row in rows} == set(SYSTEMS)
    assert {row[5] for row in rows} == {build.name for build in BUILDS if build.tested}


@pytest.mark.parametrize("row", machines(), ids=lambda row: ", ".join(filter(None, row[:4])))
def test_a_machine_of_the_table(row: list[str]) -> None:
    system, cards, kinds, driver, memory, build, said = row
    name, offered = SYSTEMS[system]
    choice = choose_build(offered, gpus_of(cards, kinds, driver, memory), name)
    assert (choice.build, choice.remark) == (build, said)
    assert (choice.gpu is not None) == bool(NAMED[build].vendor)


@pytest.mark.parametrize(
    ("build", "system", "driver", "capability", "why"),
    [
        ("cu130", "linux", 580, 7.5, ""),
        ("cu130", "win32", 580, 12.0, ""),
        ("cu130", "linux", 579, 9.0, "driver"),
        ("cu130", "linux", 580, 7.0, "too old"),
        ("cu130", "linux", 580, None, ""),
        ("cu126", "linux", 525, 5.0, ""),
        ("cu126", "linux", 524, 5.0, "driver"),
        ("cu126", "win32", 527, 8.9, "driver"),
        ("cu126", "win32", 528, 9.0, ""),
        ("cu126", "win32", 600, 12.0, "too new"),
        ("cu126", "linux", 600, 10.0, "too new"),
        ("cu126", "linux", 600, 3.7, "too old"),
        ("cu126", "linux", None, 8.0, "driver"),
    ],
)
def test_what_a_build_needs(build: str, system: str, driver: int | None, capability: float | None, why: str) -> None:
    assert obstacle(NAMED[build], Gpu("X", "nvidia", driver, capability), system) == why


def test_every_build_of_the_zips_is_in_the_table_of_builds() -> None:
    assert {*LINUX, *WINDOWS, *MACOS} == set(NAMED)
    assert choose_build(("cpu",), Gpus((RTX,)), "linux").remark.endswith("torch has no build for it on this system.")


def test_a_build_that_failed_is_left_out_and_why_is_said() -> None:
    gpus = Gpus((RTX,))
    failed = {"cu130": "CUDA 13.0 failed."}
    assert choose_build(WINDOWS, gpus, "win32", failed).build == "cu126"
    assert choose_build(WINDOWS, gpus, "win32", failed).remark == "CUDA 13.0 failed."
    failed["cu126"] = "So did CUDA 12.6."
    choice = choose_build(WINDOWS, gpus, "win32", failed)
    assert (choice.build, choice.remark) == ("cpu", "CUDA 13.0 failed. So did CUDA 12.6.")


def test_a_build_chosen_by_hand_is_taken() -> None:
    radeon = Gpu("AMD GPU (gfx1100)", "amd", architecture="gfx1100")
    choice = choose_build(LINUX, Gpus((radeon,)), "linux", {"rocm7.2": "It failed."}, "rocm7.2")
    assert (choice.build, choice.gpu) == ("rocm7.2", radeon)
    elsewhere = choose_build(WINDOWS, Gpus((RTX,)), "win32", {}, "rocm7.2")
    assert elsewhere.build == "cu130"
    assert choose_build(MACOS, Gpus(), "darwin", {}, "cu130").remark.startswith("There is no torch for NVIDIA")


def test_the_one_of_several_that_torch_uses_is_judged_and_named() -> None:
    old = Gpu("GTX", "nvidia", 580, 6.1, "", 8 << 30)
    first = choose_build(LINUX, Gpus((old, RTX)), "linux")
    assert (first.build, first.gpu, first.remark) == ("cu126", old, "GTX, 8 GB is used, not RTX, 12 GB.")
    guessed = choose_build(LINUX, Gpus((RTX, old), certain=False), "linux")
    assert (guessed.build, guessed.remark) == ("cu130", "RTX, 12 GB is probably used, not GTX, 8 GB.")
    hidden = choose_build(LINUX, Gpus((RTX,), (old,)), "linux")
    assert hidden.remark == "RTX, 12 GB is used. CUDA_VISIBLE_DEVICES hides GTX, 8 GB."
    none = choose_build(LINUX, Gpus((), (RTX,)), "linux")
    assert (none.build, none.remark) == ("cpu", "RTX, 12 GB is not used: CUDA_VISIBLE_DEVICES hides it.")
    assert gpu_for("cpu", Gpus((RTX,))) is None
