"""What this computer is, and which model fits it. No bpy."""

from __future__ import annotations

import ctypes
import os
import sys
from dataclasses import dataclass

GB = 1 << 30

#: What a full-size model needs on a GPU: 5.5 GB were counted for one object. With *Low Memory*, its largest network and
#: what that works on. Never measured on a GPU.
GPU_NEEDS = 6 * GB
GPU_NEEDS_LOW_MEMORY = 4 * GB
#: The same beside Blender where the processor works: 3.0 GB were measured.
MEMORY_NEEDS = 8 * GB

#: Which model fits, in a sentence.
FITS = "TRELLIS fits this computer."
FITS_LOW_MEMORY = "TRELLIS fits this computer if Low Memory is turned on in the Advanced panel."
SLOW = "The demonstration model fits this computer. TRELLIS takes minutes for each object without a graphics card."
TOO_SMALL = "The demonstration model fits this computer. TRELLIS needs more memory than there is."
FITTING = (FITS, FITS_LOW_MEMORY, SLOW, TOO_SMALL)

#: A little less counts as well: a card of 6 GB reports 5.8.
TOLERANCE = 0.93


@dataclass(frozen=True)
class Computer:
    """What the networks will run on. ``gpu`` is the name of a GPU, empty if there is none that is used.

    Memories are in bytes, None if they are not known.
    """

    cores: int
    memory: int | None
    gpu: str = ""
    gpu_memory: int | None = None

    @property
    def fit(self) -> str:
        """Which model fits, in one sentence; empty if too little is known to say."""
        if not self.gpu and self.memory is not None:
            return SLOW if self.memory >= MEMORY_NEEDS * TOLERANCE else TOO_SMALL
        if not self.gpu or self.gpu_memory is None:
            return ""
        if self.gpu_memory >= GPU_NEEDS * TOLERANCE:
            return FITS
        return FITS_LOW_MEMORY if self.gpu_memory >= GPU_NEEDS_LOW_MEMORY * TOLERANCE else TOO_SMALL


def this_computer(gpu: str = "", gpu_memory: int | None = None) -> Computer:
    """This computer, with the GPU that is used, if any."""
    return Computer(os.cpu_count() or 1, memory_size(), gpu, gpu_memory)


def memory_size() -> int | None:
    """The computer's memory in bytes; None if the system does not tell."""
    if sys.platform == "win32":
        status = _MemoryStatus(ctypes.sizeof(_MemoryStatus))
        told = ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))
        return int(status.total) if told else None
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError):
        return None


class _MemoryStatus(ctypes.Structure):
    """MEMORYSTATUSEX of the Windows API."""

    _fields_ = (
        ("length", ctypes.c_ulong),
        ("load", ctypes.c_ulong),
        ("total", ctypes.c_ulonglong),
        ("others", ctypes.c_ulonglong * 6),
    )
