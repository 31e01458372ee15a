"""Training data: shards of procedural objects, made once, the same on every machine.

A shard holds ``SHARD`` objects, an equal number of each family, in one safetensors file, written whole or not at all.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ...files import written_whole
from .families import FAMILIES
from .params import INSIDE
from .render import conditioning_image, frame, random_light, random_view, render, surface_map
from .shapes import draw, surface_voxels

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


def make_shard(config: DataConfig, index: int) -> dict[str, Tensor]:
    """Make a shard: the objects from number ``index * PER_FAMILY`` on of every family, in order of family."""
    columns: dict[str, list[Tensor]] = {}

    def put(name: str, value: Tensor) -> None:
        columns.setdefault(name, []).append(value)

    numbers = [index * PER_FAMILY + i for i in range(PER_FAMILY)]
    for kind, (name, family) in enumerate(FAMILIES.items()):
        params = draw(name, numbers)
        rng = np.random.default_rng([kind, index, 3])
        for _ in range(config.views):
            views = [random_view(rng) for _ in numbers]
            lights = [random_light(rng) for _ in numbers]
            windows = frame(name, params, views)
            put("image", conditioning_image(render(name, params, views, lights, 2 * config.image_size, windows)))
            put("surface", surface_map(name, params, views, config.image_size // PATCH * PATCH_POINTS, windows))
            put("view", torch.tensor([[v.azimuth, v.elevation, v.fov] for v in views]))
        for voxels in surface_voxels(name, params, config.resolution, with_corner_color=index < config.colored_shards):
            put("count", torch.tensor([len(voxels.coords)], dtype=torch.int32))
            put("coords", voxels.coords)
            put("distance", (voxels.distance.float() / DISTANCE_UNIT).round().to(torch.int8))
            put("child_color", voxels.child_color)
            if voxels.color is not None:
                put("color", voxels.color)
        put("family", torch.full((PER_FAMILY,), kind, dtype=torch.uint8))
        scaled = [(getattr(params, n) - lo) / (hi - lo) for n, (lo, hi) in family.visible.items()]
        padding = torch.full((PER_FAMILY, MAX_VISIBLE - len(scaled)), torch.nan)
        put("visible", torch.cat([*scaled, padding], 1))
        put("palette", params.colors[:, :INSIDE])
        put("pattern", params.pattern[:, 0].to(torch.uint8))
    shard = {name: torch.cat(parts) for name, parts in columns.items()}
    # They were rendered view by view: bring the views of an object together.
    order = (
        torch.arange(SHARD * config.views)
        .reshape(len(FAMILIES), config.views, PER_FAMILY)
        .transpose(1, 2)
        .reshape(SHARD, config.views)
    )
    for column in ("image", "surface", "view"):
        shard[column] = shard[column][order]
    return shard


def _shard_path(folder: Path, index: int) -> Path:
    return folder / f"shard_{index:04d}.safetensors"


def _make_and_save(job: tuple[DataConfig, Path, int]) -> int:
    config, folder, index = job
    torch.set_num_threads(1)
    shard = make_shard(config, index)
    with written_whole(_shard_path(folder, index)) as part:
        save_file(shard, part)
    return index


def shards_there(config: DataConfig, folder: Path) -> int:
    """How many of the data set's shards are in a folder."""
    return sum(_shard_path(folder, index).exists() for index in range(config.shards))


def make_data(config: DataConfig, folder: Path, report: Callable[[int, int], None]) -> None:
    """Make the missing shards, with one process per core. ``report(done, total)`` is called first and after each."""
    folder.mkdir(parents=True, exist_ok=True)
    missing = [i for i in range(config.shards) if not _shard_path(folder, i).exists()]
    done = config.shards - len(missing)
    report(done, config.shards)
    if not missing:
        return
    # Spawned, not forked: torch's thread pools do not survive a fork.
    with multiprocessing.get_context("spawn").Pool(min(os.cpu_count() or 1, len(missing))) as pool:
        for _ in pool.imap_unordered(_make_and_save, [(config, folder, i) for i in missing]):
            done += 1
            report(done, config.shards)


class Objects:
    """A data set in memory. Ragged voxel columns are indexed through ``offsets`` [objects + 1]."""

    def __init__(self, folder: Path, shards: int, columns: tuple[str, ...]) -> None:
        """Load these columns of the first ``shards`` shards. Raises FileNotFoundError for a missing shard."""
        paths = [_shard_path(folder, i) for i in range(shards)]
        for path in paths:
            if not path.exists():
                raise FileNotFoundError(f"{path} is missing: run the data stage first")
        parts: dict[str, list[Tensor]] = {name: [] for name in ("count", *columns)}
        for path in paths:
            shard = load_file(path)
            for name, rows in parts.items():
                rows.append(shard[name])
        self.column = {name: torch.cat(parts.pop(name)) for name in list(parts)}
        count = self.column["count"].long()
        self.offsets = torch.cat([count.new_zeros(1), count.cumsum(0)])

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def voxels(self, name: str, index: int) -> Tensor:
        """The rows of a voxel column that belong to one object."""
        return self.column[name][self.offsets[index] : self.offsets[index + 1]]

    def occupancy(self, index: Tensor, resolution: int) -> Tensor:
        """The objects' occupancy, [B, 1, R, R, R] float: 1 where the surface crosses the voxel."""
        grid = torch.zeros(len(index), 1, resolution, resolution, resolution)
        for row, i in enumerate(index.tolist()):
            x, y, z = self.voxels("coords", i).long().unbind(1)
            grid[row, 0, x, y, z] = 1
        return grid
