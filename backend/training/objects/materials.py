"""What procedural objects are made of: metalness, roughness and alpha of each of their colours."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .families import FAMILIES

#: How likely a part is of metal, and how likely it lets light through; all others are opaque and no metal.
_METAL, _CLEAR = 0.4, 0.05


def draw_materials(family: str, number: int) -> np.ndarray:
    """Metallic, roughness and alpha of an object's colours, [5, 3] float32 in 0..1, in the order of ``params``' slots.

    They depend on family and number only, and on nothing else that is drawn for the object.
    """
    rng = np.random.default_rng([list(FAMILIES).index(family), number, 5])
    return np.array([_material(rng) for _ in range(5)], np.float32)


def in_patches(points: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Base colour, metallic, roughness and alpha [M, 6] of ``points`` [M, 3] in 0..1: ``count`` patches, each of one
    material, around drawn middles.

    An object of its own has five materials, so that few of them teach little. These are as many as one likes.
    """
    middles, drawn, made = (torch.rand(count, width, generator=generator) for width in (3, 6, 1))
    drawn[:, 3:4] = (made < _METAL).float()
    drawn[:, 5:6] = torch.where(made > 1 - 2 * _CLEAR, 0.2 + 0.4 * drawn[:, 5:6], 1.0)
    return drawn[torch.cdist(points, middles).argmin(1)]


def _material(rng: np.random.Generator) -> tuple[float, float, float]:
    kind = rng.uniform()
    if kind < _METAL:
        return 1.0, rng.uniform(0.1, 0.5), 1.0
    if kind < _METAL + _CLEAR:
        return 0.0, rng.uniform(0.05, 0.2), rng.uniform(0.2, 0.6)
    return 0.0, rng.uniform(0.1, 0.9), 1.0
