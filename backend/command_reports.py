"""What the commands that Blender starts as processes of their own print: one line of JSON a report.

``models`` prints a ModelList, ``device`` a Device and then a DeviceCheck. ``download``, ``verify``, ``delete`` and
``fetch`` print Transfers while they work and Installed after each model, and end with Done, ``protocol.Error`` (its
``job`` is None) or Interrupted. ``fetch`` prints Wheels first. Standard library only; ``protocol`` exports it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

#: The share of a GPU's memory that a job may take beside Blender.
FILLED = 0.9


@dataclass(frozen=True)
class Peak:
    """What an object at a resolution takes of a GPU's memory, in bytes. Counted, see docs/models.md."""

    resolution: int
    low_memory: int  # with one network at a time
    at_once: int

    def fits(self, memory: float, *, low_memory: bool) -> bool:
        """Whether a GPU with so many bytes has room for it."""
        return (self.low_memory if low_memory else self.at_once) <= FILLED * memory


@dataclass(frozen=True)
class ModelInfo:
    """What Blender needs to know about a model. ``name`` is its name in ``Generate.model``. Sizes are in bytes.

    ``state`` is ``bundled``, ``own`` (the person's, in the models folder), ``installed``, ``damaged``, ``partial`` or
    ``not installed``. The fields from ``usable`` on are about generating. A model that cannot be used sets only
    ``problem`` of them.
    """

    name: str
    title: str
    state: str
    size: int  # of the whole model
    present: int  # how much of it is on the disk
    licence: str
    source: str  # the page where it is published; "" if it does not come from a download
    needs: tuple[str, ...]  # names of other models that it cannot work without
    folder: str = ""
    usable: bool = False  # all networks and the image encoder are there, and for an overlay its base
    steps: tuple[int, int] = (0, 0)  # the steps it was made for: structure, latents
    teacher: str = ""  # the name of an overlay's base; "" for a whole model
    gaussians: bool = False  # whether a texture can be made from 3-D Gaussians
    stamp: str = ""  # changes when a file of the model or of its base changes
    problem: str = ""  # why the model cannot be used although it is there
    materials: bool = False  # whether it makes metalness, roughness and alpha, too
    resolution: int = 0  # cells along each side of the grid that its surfaces are decoded on
    resolutions: tuple[int, ...] = ()  # values of the setting that can be chosen, ascending; none: it has no choice
    own_resolution: int = 0  # the one of them that is made if none is chosen
    guides: bool = True  # whether a guide can have any strength, and boxes can be made anew
    peaks: tuple[Peak, ...] = ()  # what it takes of a GPU, also with the parts that can be downloaded for it
    part_of: str = ""  # the model that it belongs to, if it can do nothing by itself but make that one finer

    @property
    def published(self) -> bool:
        """Whether it comes from a download, and can be verified and deleted."""
        return bool(self.source)


@dataclass(frozen=True)
class ModelList:
    """All models: bundled, the person's own, and published ones, installed or not."""

    type: ClassVar[str] = "models"
    models_folder: str
    free: int  # bytes, on the folder's disk
    models: tuple[ModelInfo, ...]


@dataclass(frozen=True)
class Transfer:
    """``done`` of ``total`` bytes are there. ``model`` is the name of a model or of a package."""

    type: ClassVar[str] = "progress"
    model: str
    action: str  # download, copy or verify
    file: str
    done: int
    total: int


@dataclass(frozen=True)
class Installed:
    """A model is installed, in ``folder``."""

    type: ClassVar[str] = "installed"
    model: str
    folder: str


@dataclass(frozen=True)
class Done:
    """A command has succeeded. ``still_missing`` names models that ``model`` needs and that are not installed."""

    type: ClassVar[str] = "done"
    model: str = ""
    still_missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class Interrupted:
    """Ctrl-C ended a command. What has arrived is kept."""

    type: ClassVar[str] = "cancelled"


@dataclass(frozen=True)
class Device:
    """What the networks would run on. The report also shows that torch can be imported."""

    type: ClassVar[str] = "device"
    device: str  # a GPU's name, or "cpu"
    memory: int | None  # bytes, of a GPU
    torch: str  # its version


@dataclass(frozen=True)
class DeviceCheck:
    """What the device of the last ``Device`` computed wrongly or not at all, a sentence for each; empty if nothing."""

    type: ClassVar[str] = "device_check"
    failed: tuple[str, ...]


@dataclass(frozen=True)
class Wheel:
    """An entry of ``packages.json``, the extension's locks: the exact wheel to install. Sizes are in bytes.

    ``scripts/build_extension.py`` writes the file. The installation in Blender and the command ``fetch`` read it.
    """

    name: str
    version: str
    file: str
    sha256: str
    size: int
    unpacked: int  # its size when installed

    @property
    def requirement(self) -> str:
        """A line of a requirements file."""
        return f"{self.name}=={self.version} --hash=sha256:{self.sha256}"


@dataclass(frozen=True)
class Unlocked:
    """An entry of ``packages.json``: a build of torch whose hashes no lock has. Sizes are estimates, in bytes."""

    version: str  # of torch, such as 2.13.0+cu126
    size: int  # of all wheels that the build adds to those that the extension carries
    unpacked: int


@dataclass(frozen=True)
class Wheels:
    """The wheels that ``fetch`` is about to bring. ``source`` says who states the hashes that no lock has, else ""."""

    type: ClassVar[str] = "wheels"
    wheels: tuple[Wheel, ...]
    source: str = ""
