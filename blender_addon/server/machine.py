"""Which build of torch suits this machine: what each needs, and why a better one is not used. No bpy."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from .devices import Gpu, Gpus


@dataclass(frozen=True)
class Build:
    """A build of torch, and what it needs.

    ``drivers`` has the lowest major version of the driver for each system. Compute capabilities run from ``lowest`` to
    ``highest``: a build holds no kernels for cards newer than its CUDA. ``architectures`` are AMD's GPUs that it has
    kernels for, or how Intel's series begin. An untested one is used only where it is asked for.
    """

    name: str
    title: str
    vendor: str = ""  # of the GPU it is for; empty: for the processor
    drivers: Mapping[str, int] = field(default_factory=dict)
    lowest: float = 0.0
    highest: float = 1000.0
    architectures: tuple[str, ...] = ()
    tested: bool = True


#: The builds, best first. CUDA 13.0 needs driver 580 and dropped all cards before Turing; CUDA 12.6 works with drivers
#: from 525.60 (Windows: 528.33), and has no kernels for Blackwell. docs.nvidia.com/deploy/cuda-compatibility and
#: pytorch's .ci/manywheel/build_cuda.sh.
BUILDS = (
    Build("cu130", "for NVIDIA graphics cards (CUDA 13.0)", "nvidia", {"linux": 580, "win32": 580}, 7.5),
    Build("cu126", "for NVIDIA graphics cards (CUDA 12.6)", "nvidia", {"linux": 525, "win32": 528}, 5.0, 9.0),
    Build(
        "rocm7.2",
        "for AMD graphics cards (ROCm 7.2, untested)",
        "amd",
        architectures=(
            *("gfx908", "gfx90a", "gfx942", "gfx950", "gfx1030", "gfx1100", "gfx1101", "gfx1102"),
            *("gfx1150", "gfx1151", "gfx1200", "gfx1201"),
        ),
        tested=False,
    ),
    Build("xpu", "for Intel graphics (XPU, untested)", "intel", architectures=("Intel",), tested=False),
    Build("apple", "for Apple silicon"),
    Build("cpu", "for the processor"),
)
NAMED = {build.name: build for build in BUILDS}


@dataclass(frozen=True)
class Choice:
    """A build of torch, and the GPU it is for. ``remark`` says why it is not a better one, and which GPU is used."""

    build: str
    remark: str = ""
    gpu: Gpu | None = None

    @property
    def title(self) -> str:
        """The build as people read it: *torch for the processor*."""
        return f"torch {NAMED[self.build].title}"


def choose_build(
    offered: Collection[str],
    gpus: Gpus,
    system: str,
    failed: Mapping[str, str] | None = None,
    wanted: str = "",
) -> Choice:
    """The best build for this machine, of those that the extension offers.

    ``system`` is Python's ``sys.platform``. ``failed`` says in a sentence, for each build that did not work on this
    machine, why it is left out. ``wanted`` is a build that was chosen by hand; it is taken unless this system has none.
    """
    failed = failed or {}
    plain = next(name for name in ("apple", "cpu") if name in offered)
    if wanted in offered:
        return Choice(wanted, _used(NAMED[wanted], gpus), _first(gpus, NAMED[wanted].vendor))
    left_out = [f"There is no torch {NAMED[wanted].title} for this system."] if wanted in NAMED else []
    if plain == "apple":
        return Choice(plain, " ".join(left_out))
    left_out += [why for name, why in failed.items() if name in offered]
    for build in BUILDS:
        gpu = _first(gpus, build.vendor)
        usable = gpu is not None and build.tested and build.name in offered and not obstacle(build, gpu, system)
        if gpu is not None and usable and build.name not in failed:
            return Choice(build.name, " ".join([*left_out, _used(build, gpus)]).strip(), gpu)
    return Choice(plain, " ".join([*left_out, *_unused(offered, gpus, system, failed)]))


def obstacle(build: Build, gpu: Gpu, system: str) -> str:
    """Why a build for a GPU of this vendor does not work with this one; empty if it does.

    A capability that the driver does not tell is no obstacle: the test after the installation decides.
    """
    needed = build.drivers.get(system)
    if gpu.capability is not None and gpu.capability < build.lowest:
        return "too old"
    if gpu.capability is not None and gpu.capability > build.highest:
        return "too new"
    if needed is not None and (gpu.driver is None or gpu.driver < needed):
        return "driver"
    if build.architectures and not gpu.architecture.startswith(build.architectures):
        return "unknown"
    return ""


def gpu_for(build: str, gpus: Gpus) -> Gpu | None:
    """The GPU that a build would use; None if it needs none, or there is none."""
    return _first(gpus, NAMED[build].vendor) if build in NAMED else None


def _first(gpus: Gpus, vendor: str) -> Gpu | None:
    """The GPU of a vendor that torch would use."""
    return next((gpu for gpu in gpus.visible if vendor and gpu.vendor == vendor), None)


def _used(build: Build, gpus: Gpus) -> str:
    """Which of several GPUs is used; empty if there is no choice."""
    rivals = [gpu for gpu in gpus.visible if gpu.vendor == build.vendor]
    hidden = [gpu.title for gpu in gpus.hidden if gpu.vendor == build.vendor]
    if not build.vendor or len(rivals) + len(hidden) < 2 or not rivals:
        return ""
    others = ", ".join(gpu.title for gpu in rivals[1:])
    words = f"{rivals[0].title} is used" if gpus.certain else f"{rivals[0].title} is probably used"
    words += f", not {others}." if others else "."
    return f"{words} CUDA_VISIBLE_DEVICES hides {', '.join(hidden)}." if hidden else words


def _unused(offered: Collection[str], gpus: Gpus, system: str, failed: Collection[str]) -> list[str]:
    """A sentence for each vendor's GPU that is not used: why, and what to do."""
    sentences = []
    for vendor in ("nvidia", "amd", "intel"):
        gpu = _first(gpus, vendor)
        builds = [build for build in BUILDS if build.vendor == vendor and build.name in offered]
        if gpu is not None and not any(build.name in failed for build in builds):
            sentences += [words] if (words := _why_unused(gpu, builds, system)) else []
    if gpus.hidden and not gpus.visible:
        sentences.append(f"{gpus.hidden[0].title} is not used: CUDA_VISIBLE_DEVICES hides it.")
    return sentences


def _why_unused(gpu: Gpu, builds: list[Build], system: str) -> str:
    if not builds:
        return "" if gpu.vendor == "intel" else f"{gpu.name} is not used: torch has no build for it on this system."
    obstacles = {build.name: obstacle(build, gpu, system) for build in builds}
    untested = [build for build in builds if not obstacles[build.name]]
    if untested:
        return f"{gpu.name} is not used: torch {untested[0].title} is taken only if you choose it in the preferences."
    waiting = [build.drivers[system] for build in builds if obstacles[build.name] == "driver"]
    if waiting:
        has = f"its driver is {gpu.driver}" if gpu.driver else "the version of its driver is not known"
        return f"{gpu.name} is not used: {has}. Update it to {min(waiting)} or later."
    if gpu.vendor == "intel":
        return ""  # most processors have such graphics; nobody expects them to be used
    reason = "too new for" if "too new" in obstacles.values() else "too old for"
    reason = "not among the cards of" if "unknown" in obstacles.values() else reason
    return f"{gpu.name} is not used: it is {reason} the builds of torch that this release offers."
