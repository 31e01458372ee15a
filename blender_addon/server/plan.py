"""What an installation will take on this machine: which build of torch, how many bytes, how long. No bpy."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from . import environment, network
from .devices import Gpus, find_gpus
from .environment import Folders, Packages
from .failures import read_failures
from .machine import Choice, choose_build, gpu_for

#: Bytes on disk of the Python that uv downloads, bytes of that download, and bytes that must stay free.
PYTHON_SIZE = 110 << 20
PYTHON_DOWNLOAD = 30 << 20
SPARE = 256 << 20

#: Bytes a second, and seconds, that the estimates and the progress bar assume.
DOWNLOAD_RATE = 5e6
UNPACK_RATE = 30e6
COMPILE_SECONDS = 30.0


@dataclass(frozen=True)
class Options:
    """The user's choices. What is empty is left to the installer.

    ``python`` is a Python 3.11, ``index`` a package index, ``wheels`` a folder of wheels, so that nothing is
    downloaded, ``build`` a build of torch (see ``machine.BUILDS``), ``torch_index`` what stands for torch's own index,
    and ``timeout`` the seconds that a server may be silent.
    """

    python: str = ""
    index: str = ""
    wheels: str = ""
    build: str = ""
    torch_index: str = ""
    timeout: int = 0


@dataclass(frozen=True)
class Plan:
    """What an installation will take, in bytes and seconds, on which machine, and how it reaches the network."""

    choice: Choice
    download: int
    disk: int
    free: int
    seconds: float
    gpus: Gpus = field(default_factory=Gpus)
    network: str = ""


def make_plan(folders: Folders, packages: Packages, options: Options, environ: Mapping[str, str] = os.environ) -> Plan:
    """Work out what an installation will take on this machine. This can take a few seconds."""
    gpus = find_gpus(environ)
    choice = choose(folders, packages, options, gpus)
    coming = arriving(folders, packages, choice.build) + (0 if options.python else PYTHON_DOWNLOAD)
    download = 0 if options.wheels else coming  # wheels in a folder are copied
    python = 0 if options.python else PYTHON_SIZE
    unpacked = sum(wheel.unpacked for wheel in (*packages.carried, packages.uv)) + packages.unpacked(choice.build)
    folders.root.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folders.root).free
    seconds = download / DOWNLOAD_RATE + unpacked / UNPACK_RATE + COMPILE_SECONDS + 20
    way = network.in_words(environ, options.timeout)
    return Plan(choice, download, coming + python + unpacked + SPARE, free, seconds, gpus, way)


def choose(folders: Folders, packages: Packages, options: Options, gpus: Gpus) -> Choice:
    """The build for this machine, without those that did not work on it."""
    failed = {
        build: failure.why
        for build, failure in read_failures(folders.failures).items()
        if build in packages.builds
        and failure.stands(packages.digest(build), gpu_for(build, gpus), bool(options.wheels))
    }
    choice = choose_build(packages.builds, gpus, sys.platform, failed, options.build)
    if choice.build not in packages.unlocked or options.wheels:
        return choice
    words = "Sizes are estimates: this extension knows no hashes of this build, so those of torch's own index are used."
    return replace(choice, remark=f"{choice.remark} {words}".strip())


def arriving(folders: Folders, packages: Packages, build: str) -> int:
    """How many bytes of a build's wheels are not there yet."""
    locked = packages.torch.get(build)
    if locked is None:
        return max(0, packages.size(build) - environment.bytes_in(folders.downloads))
    there = sum(path.stat().st_size for wheel in locked for path in folders.downloads.glob(f"{wheel.file}*"))
    return max(0, packages.size(build) - there)
