"""Which build of torch suits this machine. No bpy."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from .child import NO_WINDOW

QUERY = ("--query-gpu=name,driver_version,compute_cap", "--format=csv,noheader")
KERNEL_MODULE = Path("/proc/driver/nvidia/version")

#: Build -> the oldest driver and the lowest compute capability that it works with. CUDA 13 needs driver 580, and does
#: not support cards older than Turing. CUDA 12 needs driver 528 (525 on Linux).
NEEDS = {"cu130": (580, 7.5), "cu126": (528, 5.0)}

TITLES = {
    "cu130": "for NVIDIA graphics cards (CUDA 13.0)",
    "cu126": "for NVIDIA graphics cards (CUDA 12.6)",
    "cpu": "for the processor",
    "apple": "for Apple silicon",
}


@dataclass(frozen=True)
class Gpu:
    """An NVIDIA GPU, with the major version of its driver. ``capability`` is None if the driver does not tell it."""

    name: str
    driver: int
    capability: float | None
    memory: int | None = None  # bytes


@dataclass(frozen=True)
class Choice:
    """A build of torch, and the GPU it is for. ``remark`` says why it is not a better one."""

    build: str
    remark: str = ""
    gpu: Gpu | None = None


def find_gpu() -> Gpu | None:
    """The first NVIDIA GPU that has a driver. This can take a few seconds."""
    tool = shutil.which("nvidia-smi")
    if tool is not None:
        try:
            done = subprocess.run([tool, *QUERY], capture_output=True, text=True, timeout=20, creationflags=NO_WINDOW)
        except (OSError, subprocess.TimeoutExpired):
            return None  # a driver that does not answer is of no use to torch either
        return parse_gpu(done.stdout) if done.returncode == 0 else None
    if KERNEL_MODULE.exists():
        found = re.search(r"\s(\d+)\.\d+", KERNEL_MODULE.read_text(encoding="utf-8", errors="replace"))
        return Gpu("NVIDIA GPU", int(found.group(1)), None) if found else None
    return None


def parse_gpu(table: str) -> Gpu | None:
    """The first GPU in nvidia-smi's answer: ``name, driver version, compute capability``."""
    found = re.match(r"\s*(.+?), (\d+)[.\d]*, ([\d.]+|\S+)", table)
    if found is None:
        return None
    capability = found.group(3)
    return Gpu(
        found.group(1), int(found.group(2)), float(capability) if re.fullmatch(r"\d+\.\d+", capability) else None
    )


def choose_build(builds: Collection[str], gpu: Gpu | None) -> Choice:
    """The best build for this machine, of those that the extension has locks for."""
    plain = next(build for build in ("apple", "cpu") if build in builds)
    if plain == "apple" or gpu is None:
        return Choice(plain)
    for build, (driver, capability) in NEEDS.items():
        if build in builds and gpu.driver >= driver and (gpu.capability is None or gpu.capability >= capability):
            return Choice(build, gpu=gpu)
    offered = [NEEDS[build] for build in NEEDS if build in builds]
    if not offered:
        return Choice(plain, f"{gpu.name} is not used: this release has no CUDA build for this system.")
    driver = min(needed for needed, _ in offered)
    if gpu.driver < driver:
        return Choice(plain, f"{gpu.name} is not used: its driver is {gpu.driver}. Update it to {driver} or later.")
    return Choice(plain, f"{gpu.name} is not used: it is too old for this release's CUDA build.")
