"""Procedural objects: drawn from a seed, evaluated at any point, voxelised.

An object is identified by (family, number). Its parameters come from a generator seeded with both, so that the data is
the same on every machine. Numbers from ``HELD_OUT`` on are never trained on.
"""

from __future__ import annotations

import colorsys
import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .families import FAMILIES
from .params import INSIDE, Family, Params
from .primitives import Field

#: Object numbers from here on are for evaluation, examples and tests only.
HELD_OUT = 1_000_000

#: How many points a GPU evaluates at once, of all objects together.
GPU_POINTS = 1 << 22

_FAMILY_NAMES = tuple(FAMILIES)


def draw(family: str, numbers: Sequence[int], hidden_draws: Sequence[int] | None = None) -> Params:
    """Parameters of the objects of one family with these numbers.

    ``hidden_draws`` redraws the hidden parameters (and the colour inside hidden choices) and keeps all visible ones:
    draw 0 is the object itself, other values are other completions of the same views.
    """
    return params_of(family, draw_values(family, numbers, hidden_draws))


class Values(NamedTuple):
    """The numbers that objects of one family are made from: quick to send from one process to another."""

    parameters: dict[str, np.ndarray]  # each [B, 1]
    colors: np.ndarray  # [B, 5, 3]


def draw_values(family: str, numbers: Sequence[int], hidden_draws: Sequence[int] | None = None) -> Values:
    """The same as plain arrays."""
    f = FAMILIES[family]
    index = _FAMILY_NAMES.index(family)
    rows = [_draw_one(f, index, n, 0 if hidden_draws is None else hidden_draws[i]) for i, n in enumerate(numbers)]
    values = {name: np.array([[row[0][name]] for row in rows], dtype=np.float32) for name in rows[0][0]}
    return Values(values, np.stack([row[1] for row in rows]).astype(np.float32))


def params_of(family: str, values: Values) -> Params:
    """The parameters of objects, in the middle of the cube."""
    parameters = {name: torch.from_numpy(value) for name, value in values.parameters.items()}
    return FAMILIES[family].params(parameters, torch.from_numpy(values.colors))


def _draw_one(f: Family, index: int, number: int, hidden_draw: int) -> tuple[dict[str, float], np.ndarray]:
    visible = np.random.default_rng([index, number, 1])
    hidden = np.random.default_rng([index, number, 2, hidden_draw])
    values = {name: visible.uniform(*limits) for name, limits in f.visible.items()}
    values["pattern"] = float(visible.choice(4, p=(0.5, 0.2, 0.15, 0.15)))
    values["cell"] = visible.uniform(0.09, 0.18)
    colors = np.stack([_color(visible, f.hues.get(slot, (0.0, 1.0))) for slot in range(5)])
    values |= {name: hidden.uniform(*limits) for name, limits in f.hidden.items()}
    values |= {name: float(hidden.choice(len(p), p=p)) for name, p in f.modes.items()}
    colors[INSIDE] = _color(hidden, (0.0, 1.0))
    return values, colors


def _color(rng: np.random.Generator, hues: tuple[float, float]) -> np.ndarray:
    return np.array(colorsys.hsv_to_rgb(rng.uniform(*hues), rng.uniform(0.3, 0.95), rng.uniform(0.4, 1.0)))


def evaluate(family: str, params: Params, points: Tensor, with_color: bool = False) -> tuple[Tensor, Tensor | None]:
    """The signed distance [B, N] and, if requested, colour [B, N, 3] of B objects at ``points`` [B, N, 3]."""
    field = Field(torch.addcmul(params.middle[:, None], points, params.unit[..., None]), with_color)
    FAMILIES[family].build(field, params)
    return field.distance / params.unit, field.color


@contextmanager
def fused_fields() -> Iterator[None]:
    """Until the block ends, ``evaluate_in_chunks`` compiles each family's field into one loop over its points.

    Distances are found eight times as fast, objects drawn twice as fast. A process compiles for five minutes first. It
    needs a C++ compiler. Distances may differ by 1e-7, so of 60,000 bytes of a picture one differs, mostly by 1.
    """
    token = _FUSED.set(True)
    try:
        yield
    finally:
        _FUSED.reset(token)


_FUSED = ContextVar("fused", default=False)


@functools.cache
def _fused(family: str, with_color: bool) -> Callable[..., tuple[Tensor, Tensor | None]]:
    def field(names: tuple[str, ...], values: tuple[Tensor, ...], colors: Tensor, points: Tensor) -> Any:
        return evaluate(family, Params(dict(zip(names, values, strict=True)), colors), points, with_color)

    torch._dynamo.config.recompile_limit = 256  # it counts those of all families together
    return torch.compile(field, dynamic=True, fullgraph=True)


def evaluate_in_chunks(
    family: str, params: Params, points: Tensor, with_color: bool = False
) -> tuple[Tensor, Tensor | None]:
    """The same, with a bounded number of points at once: what fits a CPU's cache, or keeps a GPU busy."""
    chunk = 4096 if points.device.type == "cpu" else max(1, GPU_POINTS // len(points))
    if _FUSED.get():
        field = partial(_fused(family, with_color), *params.columns)
    else:
        field = partial(evaluate, family, params, with_color=with_color)
    parts = [field(p) for p in points.split(chunk, 1)]
    colors = [color for _, color in parts if color is not None]
    return torch.cat([distance for distance, _ in parts], 1), torch.cat(colors, 1) if with_color else None


def pack(chosen: Tensor) -> tuple[Tensor, Tensor]:
    """The column numbers of the true entries of [B, N], moved to the front: [B, most]; and which of them are valid."""
    counts = chosen.sum(1)
    most = int(counts.max())
    rows, columns = chosen.nonzero(as_tuple=True)
    first = counts.cumsum(0) - counts
    order = torch.zeros(len(chosen), most, dtype=torch.long, device=chosen.device)
    place = torch.arange(max(most, len(rows)), device=chosen.device)
    order[rows, place[: len(rows)] - first[rows]] = columns
    return order, place[:most] < counts[:, None]


def lattice(resolution: int, device: torch.device | None = None) -> Tensor:
    """The corner points of a grid over the cube, [R + 1, R + 1, R + 1, 3] with R = ``resolution``, x slowest."""
    axis = torch.linspace(-0.5, 0.5, resolution + 1, device=device)
    return torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1)


def corner_distances(family: str, params: Params, resolution: int) -> Tensor:
    """Signed distances of B objects on the whole corner lattice, [B, R + 1, R + 1, R + 1]. For metrics, not data."""
    points = lattice(resolution, params.device).reshape(1, -1, 3)
    count = params.colors.shape[0]
    out, _ = evaluate_in_chunks(family, params, points.expand(count, -1, -1))
    return out.reshape(count, *(resolution + 1,) * 3)


@dataclass(frozen=True)
class SurfaceVoxels:
    """The voxels of B objects that their surfaces cross, one object after the other, and what the networks learn.

    count: [B], how many of the N rows each object has; coords: [N, 3] uint8 at ``resolution``; distance: [N, (k+1)^3]
    float16, the signed distance in cells of the mesh grid (k cells along a voxel's side), clamped to +-3, corners in
    order with x slowest; child_color: [N, 8, 3] uint8, at the centres of a voxel's eight children; color: [N, (k+1)^3,
    3] uint8, at the corners, or None.
    """

    count: Tensor
    coords: Tensor
    distance: Tensor
    child_color: Tensor
    color: Tensor | None


def surface_voxels(
    family: str, params: Params, resolution: int, cells: int = 4, with_corner_color: bool = False
) -> SurfaceVoxels:
    """Find the voxels in whose ``cells``^3 mesh cells the sign changes, for B objects of one family."""
    size, device = 1.0 / resolution, params.device
    centers = (lattice(resolution, device)[:-1, :-1, :-1] + size / 2).reshape(-1, 3)
    offsets = lattice(cells, device).reshape(-1, 3) * size
    children = lattice(1, device).reshape(-1, 3) * size / 2
    around = centers.expand(len(params.colors), -1, -1)
    # Distances are a lower bound in magnitude: only voxels nearer than half a diagonal can hold a surface.
    near, valid = pack(evaluate_in_chunks(family, params, around)[0].abs() <= size * 3**0.5 / 2)
    corners = (centers[near][:, :, None] + offsets).flatten(1, 2)
    distance = evaluate_in_chunks(family, params, corners)[0].unflatten(1, (-1, len(offsets)))
    crossed = (distance.amin(2) < 0) & (distance.amax(2) >= 0) & valid
    order, kept = pack(crossed)
    middle = centers[torch.gather(near, 1, order)]

    def colors_at(spread: Tensor) -> Tensor:
        points = (middle[:, :, None] + spread).flatten(1, 2)
        _, color = evaluate_in_chunks(family, params, points, with_color=True)
        assert color is not None
        return (color.unflatten(1, (-1, len(spread)))[kept] * 255).round().to(torch.uint8)

    flat = near[crossed]
    coords = torch.stack([flat // resolution**2, flat // resolution % resolution, flat % resolution], 1)
    cell_units = (distance[crossed] * (resolution * cells)).clamp(-3, 3).half()
    corner_color = colors_at(offsets) if with_corner_color else None
    return SurfaceVoxels(crossed.sum(1), coords.to(torch.uint8), cell_units, colors_at(children), corner_color)
