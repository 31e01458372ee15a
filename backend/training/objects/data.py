"""Training data: shards of procedural objects, made once, the same on every machine.

A shard holds ``SHARD`` objects, an equal number of each family, in one safetensors file, written whole or not at all.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ...files import written_whole
from .families import FAMILIES
from .params import INSIDE, Params
from .render import Light, View, conditioning_image, frame, random_light, random_view, render, surface_map
from .shapes import Values, draw_values, fused_fields, params_of, surface_voxels

PER_FAMILY = 8
SHARD = PER_FAMILY * len(FAMILIES)
#: Signed distances (in mesh cells, clamped to +-3) are stored as int8 in this unit.
DISTANCE_UNIT = 3.0 / 127
#: The side of a patch of the image encoder: in pixels, and in points of the map of what they show.
PATCH, PATCH_POINTS = 14, 4
#: Visible parameters are scaled to 0..1 and padded to this many columns.
MAX_VISIBLE = max(len(f.visible) for f in FAMILIES.values())


@dataclass(frozen=True)
class DataConfig:
    """What a data set holds. ``resolution``: structure voxels along a side; each has 4^3 mesh cells."""

    shards: int
    views: int
    image_size: int
    resolution: int
    colored_shards: int  # the first shards also store the colours at every mesh corner, for the latent VAE
    first: int = 0  # the number of the first shard

    @property
    def numbers(self) -> range:
        """The numbers of its shards."""
        return range(self.first, self.first + self.shards)


class Sketch(NamedTuple):
    """What objects of one family are to be, and how they are seen: everything that is random about them."""

    family: str
    values: Values
    views: list[list[View]]  # for every view of the data set, that of each object
    lights: list[list[Light]]


def sketch(config: DataConfig, family: str, numbers: Sequence[int], seed: Sequence[int]) -> Sketch:
    """Draw the objects with these numbers, and from ``seed`` their views. It needs only one core, of any process."""
    rng = np.random.default_rng(seed)
    views, lights = [], []
    for _ in range(config.views):
        views.append([random_view(rng) for _ in numbers])
        lights.append([random_light(rng) for _ in numbers])
    return Sketch(family, draw_values(family, numbers), views, lights)


def make_objects(
    config: DataConfig, sketch: Sketch, device: torch.device, with_corner_color: bool = False
) -> dict[str, Tensor]:
    """The columns of objects, made and left on a device.

    Each of O objects has a row, and in the columns of views [O, views, ...]. The voxels of all objects follow one
    another in the columns of voxels, whose rows ``count`` [O] shares out.
    """
    family = sketch.family
    params = params_of(family, sketch.values).to(device)
    columns: dict[str, list[Tensor]] = {"image": [], "surface": [], "view": []}
    for views, lights in zip(sketch.views, sketch.lights, strict=True):
        windows = frame(family, params, views)
        columns["image"].append(
            conditioning_image(render(family, params, views, lights, 2 * config.image_size, windows))
        )
        side = config.image_size // PATCH * PATCH_POINTS
        columns["surface"].append(surface_map(family, params, views, side, windows))
        columns["view"].append(torch.tensor([[v.azimuth, v.elevation, v.fov] for v in views]).to(device))
    return {
        **{name: torch.stack(parts, 1) for name, parts in columns.items()},
        **_voxels(family, params, config.resolution, with_corner_color),
        **_facts(family, params),
    }


def _voxels(family: str, params: Params, resolution: int, with_corner_color: bool) -> dict[str, Tensor]:
    """The columns of the objects' voxels."""
    voxels = surface_voxels(family, params, resolution, with_corner_color=with_corner_color)
    columns = {
        "count": voxels.count.int(),
        "coords": voxels.coords,
        "distance": (voxels.distance.float() / DISTANCE_UNIT).round().to(torch.int8),
        "child_color": voxels.child_color,
    }
    return columns if voxels.color is None else columns | {"color": voxels.color}


def _facts(family: str, params: Params) -> dict[str, Tensor]:
    """The columns that hold what is known about each object without looking at it."""
    kind = torch.full((len(params.colors),), list(FAMILIES).index(family), dtype=torch.uint8)
    limits = FAMILIES[family].visible
    scaled = torch.cat([(getattr(params, n) - low) / (high - low) for n, (low, high) in limits.items()], 1)
    return {
        "family": kind.to(params.device),
        "visible": torch.nn.functional.pad(scaled, (0, MAX_VISIBLE - len(limits)), value=torch.nan),
        "palette": params.colors[:, :INSIDE],
        "pattern": params.pattern[:, 0].to(torch.uint8),
    }


def joined(parts: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The columns of several sets of objects, one after the other. Columns that not all of them have are left out."""
    names = [name for name in parts[0] if all(name in part for part in parts)]
    return {name: torch.cat([part[name] for part in parts]) for name in names}


def make_shard(config: DataConfig, index: int) -> dict[str, Tensor]:
    """Make a shard: the objects from number ``index * PER_FAMILY`` on of every family, in order of family."""
    numbers = range(index * PER_FAMILY, (index + 1) * PER_FAMILY)
    sketches = [sketch(config, name, numbers, (kind, index, 3)) for kind, name in enumerate(FAMILIES)]
    colored = index - config.first < config.colored_shards
    return joined([make_objects(config, each, torch.device("cpu"), colored) for each in sketches])


def _shard_path(folder: Path, index: int) -> Path:
    return folder / f"shard_{index:04d}.safetensors"


def _make_and_save(job: tuple[DataConfig, Path, int, bool]) -> int:
    config, folder, index, fused = job
    torch.set_num_threads(1)
    with fused_fields() if fused else nullcontext():
        shard = make_shard(config, index)
    with written_whole(_shard_path(folder, index)) as part:
        save_file(shard, part)
    return index


def shards_there(config: DataConfig, folder: Path) -> int:
    """How many of the data set's shards are in a folder."""
    return sum(_shard_path(folder, index).exists() for index in config.numbers)


def make_data(config: DataConfig, folder: Path, report: Callable[[int, int], None], fused: bool = False) -> None:
    """Make the missing shards, with one process per core. ``report(done, total)`` is called first and after each.
    ``fused``: see ``shapes.fused_fields``."""
    folder.mkdir(parents=True, exist_ok=True)
    missing = [i for i in config.numbers if not _shard_path(folder, i).exists()]
    done = config.shards - len(missing)
    report(done, config.shards)
    if not missing:
        return
    # Spawned, not forked: torch's thread pools do not survive a fork.
    with multiprocessing.get_context("spawn").Pool(min(os.cpu_count() or 1, len(missing))) as pool:
        for _ in pool.imap_unordered(_make_and_save, [(config, folder, i, fused) for i in missing]):
            done += 1
            report(done, config.shards)


class Objects:
    """A data set in memory, on one device. Ragged voxel columns are indexed through ``offsets`` [objects + 1]."""

    def __init__(self, column: dict[str, Tensor]) -> None:
        """From columns as ``make_objects`` returns them, ``count`` among them."""
        self.column = column
        self.device = column["count"].device
        count = column["count"].long()
        self.offsets = torch.cat([count.new_zeros(1), count.cumsum(0)])

    @classmethod
    def load(cls, folder: Path, numbers: range, columns: tuple[str, ...]) -> Objects:
        """Load these columns of the shards with these numbers. Raises FileNotFoundError for a missing shard."""
        paths = [_shard_path(folder, i) for i in numbers]
        for path in paths:
            if not path.exists():
                raise FileNotFoundError(f"{path} is missing: run the data stage first")
        shards = [load_file(path) for path in paths]  # mapped, so only what is joined takes memory
        return cls({name: torch.cat([shard[name] for shard in shards]) for name in ("count", *columns)})

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def voxels(self, name: str, index: int) -> Tensor:
        """The rows of a voxel column that belong to one object."""
        return self.column[name][self.offsets[index] : self.offsets[index + 1]]

    def rows(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """The rows of the voxels of objects ``index`` [B], one object after the other, [N]; and the item of each, [N]
        from 0 to B - 1."""
        first, count = self.offsets[index], self.column["count"][index].long()
        item = torch.repeat_interleave(torch.arange(len(index), device=self.device), count)
        within = torch.arange(len(item), device=self.device) - (count.cumsum(0) - count)[item]
        return first[item] + within, item

    def occupancy(self, index: Tensor, resolution: int) -> Tensor:
        """The objects' occupancy, [B, 1, R, R, R] float: 1 where the surface crosses the voxel."""
        rows, item = self.rows(index)
        x, y, z = self.column["coords"][rows].long().unbind(1)
        grid = torch.zeros(len(index), 1, resolution, resolution, resolution, device=self.device)
        grid[item, 0, x, y, z] = 1
        return grid
