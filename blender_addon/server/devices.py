"""The GPUs of this machine: NVIDIA's, AMD's and Intel's. No bpy.

Each source of knowledge has a function that asks the system and one that reads the answer. The latter are pure, and
tested with recorded answers. Windows is asked through its registry, not through WMI, which is slow and often broken.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from .child import NO_WINDOW

CUDA_DEVICES = Path(__file__).with_name("cuda_devices.py")
#: What nvidia-smi is asked. Drivers before 515 do not know the last one, and are too old for every build.
QUERY = "name,driver_version,memory.total,uuid,compute_cap"
#: Seconds that a driver has for its answer.
PATIENCE = 20.0

PROC = Path("/proc/driver/nvidia")
SYS = Path("/sys")
#: The display adapters in Windows' registry: a numbered key for each.
DISPLAY_CLASS = r"SYSTEM\CurrentControlSet\Control\Class\{4d36e968-e325-11ce-bfc1-08002be10318}"

VENDORS = {"10de": "nvidia", "1002": "amd", "8086": "intel"}
#: How the PCI numbers begin of the Intel GPUs that torch's XPU build is made for, and what they are called.
INTEL_GPUS = {
    "0bd": "Intel Data Center GPU Max",
    "56": "Intel Arc A-series",
    "e2": "Intel Arc B-series",
    "7d": "Intel Core Ultra GPU",
    "64": "Intel Core Ultra 200V GPU",
    "b0": "Intel Core Ultra 300 GPU",
}


@dataclass(frozen=True)
class Gpu:
    """A GPU. What is not known is None or empty.

    ``driver`` is the major version of NVIDIA's driver, ``capability`` the compute capability. ``architecture`` is what
    AMD's compiler calls the GPU (gfx1100), or Intel's series. ``memory`` is in bytes. ``uuid`` tells two GPUs of one
    kind apart.
    """

    name: str
    vendor: str
    driver: int | None = None
    capability: float | None = None
    architecture: str = ""
    memory: int | None = None
    uuid: str = ""

    @property
    def title(self) -> str:
        """The GPU as people read it: *NVIDIA GeForce RTX 4070, 12 GB*."""
        return f"{self.name}, {self.memory / 2**30:.0f} GB" if self.memory else self.name


@dataclass(frozen=True)
class Gpus:
    """The GPUs of this machine. Those that torch sees come first, in torch's order; the first one is the one it uses.

    ``hidden`` are those that ``CUDA_VISIBLE_DEVICES`` hides from torch. ``certain`` is whether CUDA told the order.
    """

    visible: tuple[Gpu, ...] = ()
    hidden: tuple[Gpu, ...] = ()
    certain: bool = True


def find_gpus(environ: Mapping[str, str]) -> Gpus:
    """The GPUs of this machine. This can take a few seconds."""
    others = tuple(gpu for gpu in other_gpus() if gpu.vendor != "nvidia")
    told = parse_cuda(_output([sys.executable, "-I", "-B", str(CUDA_DEVICES)]) if _is_python(sys.executable) else "")
    listed = nvidia_gpus()
    if told is None:
        found = ordered(listed, environ)
    else:
        seen = {gpu.uuid for gpu in told}
        found = Gpus(tuple(told), tuple(gpu for gpu in listed if gpu.uuid and gpu.uuid not in seen))
    return replace(found, visible=(*found.visible, *others))


def nvidia_gpus() -> list[Gpu]:
    """NVIDIA's GPUs, in the order of their slots: from nvidia-smi, else from the kernel or the registry."""
    tool = shutil.which("nvidia-smi")
    if tool is not None:
        for fields in (QUERY, QUERY.rpartition(",")[0]):
            output = _output([tool, f"--query-gpu={fields}", "--format=csv,noheader,nounits"])
            if output:
                return parse_nvidia_smi(output)
        return []  # a driver that does not answer is of no use to torch either
    if sys.platform == "win32":
        return [gpu for gpu in other_gpus() if gpu.vendor == "nvidia"]
    return parse_proc(_text(PROC / "version"), [_text(path / "information") for path in sorted(PROC.glob("gpus/*"))])


def other_gpus() -> list[Gpu]:
    """The GPUs that the system knows of, whatever their vendor. On Linux these are AMD's and Intel's."""
    if sys.platform == "win32":
        return parse_registry(_registry())
    return [*parse_kfd(_kfd_nodes()), *parse_drm(_drm_cards())]


# --- what answers mean -----------------------------------------------------------------------------------------------


def parse_cuda(answer: str) -> list[Gpu] | None:
    """The answer of ``cuda_devices.py``: the GPUs in torch's order. None if CUDA did not answer."""
    try:
        values = json.loads(answer)
        driver = _major(values["driver"])
        return [
            Gpu(gpu["name"], "nvidia", driver, float(gpu["capability"]), "", int(gpu["memory"]), gpu["uuid"])
            for gpu in values["gpus"]
        ]
    except (ValueError, KeyError, TypeError):
        return None


def parse_nvidia_smi(table: str) -> list[Gpu]:
    """nvidia-smi's answer to ``QUERY``, or to all of it but the capability: a line for each GPU."""
    gpus = []
    for line in table.splitlines():
        fields = [field.strip() for field in line.split(",")]
        if len(fields) < 4 or _major(fields[1]) is None:
            continue  # a warning, or "No devices were found"
        name, driver, memory, uuid = fields[:4]
        capability = fields[4] if len(fields) > 4 and re.fullmatch(r"\d+\.\d+", fields[4]) else None
        gpus.append(
            Gpu(
                name,
                "nvidia",
                _major(driver),
                float(capability) if capability else None,
                "",
                int(memory) << 20 if memory.isdecimal() else None,
                uuid.removeprefix("GPU-").replace("-", "").lower(),
            )
        )
    return gpus


def parse_proc(version: str, cards: Iterable[str]) -> list[Gpu]:
    """What NVIDIA's kernel module says on Linux: its version, and the information about each card."""
    found = re.search(r"\s(\d+)\.\d+", version)
    if found is None:
        return []
    names = [match.group(1) for card in cards if (match := re.search(r"^Model:\s*(.+?)\s*$", card, re.MULTILINE))]
    return [Gpu(_nvidia(name), "nvidia", int(found.group(1))) for name in names or ["NVIDIA GPU"]]


def parse_registry(adapters: Iterable[Mapping[str, object]]) -> list[Gpu]:
    """The display adapters of Windows' registry. Those of other vendors are left out, as are copies of one."""
    gpus = []
    for values in adapters:
        place = re.match(r"pci\\ven_([0-9a-f]{4})&dev_([0-9a-f]{4})", str(values.get("MatchingDeviceId", "")).lower())
        vendor = VENDORS.get(place.group(1), "") if place else ""
        if not place or not vendor:
            continue
        memory = values.get("HardwareInformation.qwMemorySize")
        gpu = Gpu(
            str(values.get("DriverDesc", "")) or f"{vendor.upper()} GPU",
            vendor,
            windows_driver(str(values.get("DriverVersion", ""))) if vendor == "nvidia" else None,
            None,
            intel_series(place.group(2)) if vendor == "intel" else "",
            memory if isinstance(memory, int) and memory > 0 else None,
        )
        if gpu not in gpus:
            gpus.append(gpu)
    return gpus


def windows_driver(version: str) -> int | None:
    """The major version of NVIDIA's driver in Windows' way of writing it: 32.0.15.6094 is 560.94."""
    digits = "".join(version.split(".")[-2:])
    return int(digits[-5:-2]) if version.count(".") == 3 and digits.isdecimal() and len(digits) >= 5 else None


def parse_kfd(nodes: Iterable[tuple[str, str]]) -> list[Gpu]:
    """AMD's GPUs from the nodes of Linux' compute driver: for each its properties, and those of its memory."""
    gpus = []
    for properties, memory in nodes:
        version = int(_property(properties, "gfx_target_version") or 0)
        if version:  # processors are nodes too
            size = int(_property(memory, "size_in_bytes") or 0)
            name = gfx(version)
            gpus.append(Gpu(f"AMD GPU ({name})", "amd", None, None, name, size or None))
    return gpus


def gfx(version: int) -> str:
    """What AMD's compiler calls a GPU: 110001 is gfx1101, and 90010 is gfx90a."""
    return f"gfx{version // 10000}{version // 100 % 100:x}{version % 100:x}"


def parse_drm(cards: Iterable[tuple[str, str]]) -> list[Gpu]:
    """Intel's GPUs from Linux' graphics cards: the PCI numbers of vendor and device, such as 0x8086 and 0x56a0."""
    found = [device.strip()[2:].lower() for vendor, device in cards if vendor.strip() == "0x8086"]
    return [Gpu(intel_series(device) or "Intel GPU", "intel", architecture=intel_series(device)) for device in found]


def intel_series(device: str) -> str:
    """Which series an Intel GPU belongs to, by its PCI number; empty if torch's XPU build is not made for it."""
    return next((name for start, name in INTEL_GPUS.items() if device.startswith(start)), "")


def ordered(gpus: Iterable[Gpu], environ: Mapping[str, str]) -> Gpus:
    """NVIDIA's GPUs in torch's order, where CUDA did not tell it.

    With ``CUDA_DEVICE_ORDER=PCI_BUS_ID`` that is the order of the slots. Otherwise CUDA puts the fastest first; a
    newer generation, and more memory, stand for speed here.
    """
    listed = list(gpus)
    by_slot = environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID"
    if not by_slot:
        listed.sort(key=lambda gpu: (int(gpu.capability or 0), gpu.memory or 0), reverse=True)
    wanted = environ.get("CUDA_VISIBLE_DEVICES")
    visible = listed if wanted is None else _chosen(listed, wanted)
    return Gpus(tuple(visible), tuple(gpu for gpu in listed if gpu not in visible), by_slot or len(listed) < 2)


def _chosen(gpus: list[Gpu], wanted: str) -> list[Gpu]:
    """The GPUs that ``CUDA_VISIBLE_DEVICES`` names, by number or UUID. CUDA stops at the first name that is wrong."""
    chosen: list[Gpu] = []
    for word in wanted.split(","):
        name = word.strip().removeprefix("GPU-").replace("-", "").lower()
        if word.strip().isdecimal():
            found = gpus[int(word) : int(word) + 1]
        else:
            found = [gpu for gpu in gpus if name and gpu.uuid.startswith(name)][:1]
        if not found:
            break
        chosen += found
    return chosen


def _major(version: str) -> int | None:
    found = re.match(r"(\d+)\.\d+", version)
    return int(found.group(1)) if found else None


def _nvidia(name: str) -> str:
    return name if name.startswith("NVIDIA") else f"NVIDIA {name}"


def _property(text: str, name: str) -> str:
    found = re.search(rf"^{name} (\d+)$", text, re.MULTILINE)
    return found.group(1) if found else ""


# --- asking the system -----------------------------------------------------------------------------------------------


def _output(command: list[str]) -> str:
    """What a command prints; empty if it fails, or does not answer in time."""
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=PATIENCE, creationflags=NO_WINDOW, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else ""


def _is_python(program: str) -> bool:
    """Whether it is a Python: a Blender without one of its own names itself, and would open a window."""
    return Path(program).name.lower().startswith("python")


def _text(path: Path) -> str:
    """A file's text; empty if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _kfd_nodes() -> list[tuple[str, str]]:
    nodes = sorted(SYS.glob("class/kfd/kfd/topology/nodes/*"))
    return [(_text(node / "properties"), _text(node / "mem_banks" / "0" / "properties")) for node in nodes]


def _drm_cards() -> list[tuple[str, str]]:
    cards = sorted(path for path in SYS.glob("class/drm/card*") if re.fullmatch(r"card\d+", path.name))
    return [(_text(card / "device" / "vendor"), _text(card / "device" / "device")) for card in cards]


def _registry() -> list[dict[str, object]]:
    """The values of the display adapters in Windows' registry, as far as it can be read."""
    adapters: list[dict[str, object]] = []
    if sys.platform == "win32":
        import winreg

        try:
            with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, DISPLAY_CLASS) as folder:
                keys = [winreg.EnumKey(folder, index) for index in range(winreg.QueryInfoKey(folder)[0])]
                for name in filter(str.isdecimal, keys):
                    with winreg.OpenKey(folder, name) as key:
                        values = [winreg.EnumValue(key, index) for index in range(winreg.QueryInfoKey(key)[1])]
                        adapters.append({name: value for name, value, _ in values})
        except OSError:
            return adapters
    return adapters
