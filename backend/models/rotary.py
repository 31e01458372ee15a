"""Rotary position embeddings: queries and keys are turned by angles that grow with the position of their token.

Su et al. 2021 ("RoFormer"), with a share of the channels for each axis (Heo et al. 2024). The product of a query and a
key then depends on how far apart their tokens are. The flows turn channels that are neighbours, the image encoder those
that are half a head apart.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Rotation(NamedTuple):
    """The cosines and sines of every token's angles, fp32, [..., L, 1, pairs]: the same for all heads."""

    cos: Tensor
    sin: Tensor

    def of_neighbours(self, x: Tensor) -> Tensor:
        """Turn the channels (0, 1), (2, 3), ... of [..., L, heads, 2 pairs], in fp32; the dtype stays."""
        a, b = x.float().unflatten(-1, (-1, 2)).unbind(-1)
        return torch.stack(self._turned(a, b), dim=-1).flatten(-2).to(x.dtype)

    def of_halves(self, x: Tensor) -> Tensor:
        """Turn the channels (0, pairs), (1, pairs + 1), ... of [..., L, heads, 2 pairs], in fp32; the dtype stays."""
        return torch.cat(self._turned(*x.float().chunk(2, dim=-1)), dim=-1).to(x.dtype)

    def _turned(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        return a * self.cos - b * self.sin, a * self.sin + b * self.cos


def rotation_of(angles: Tensor) -> Rotation:
    """The rotation by angles [..., L, pairs] in radians."""
    return Rotation(angles.cos()[..., None, :], angles.sin()[..., None, :])


def _falling(base: float, count: int, device: torch.device) -> Tensor:
    """The frequencies ``base^(-i / count)``, i < count."""
    return 1.0 / base ** (torch.arange(count, dtype=torch.float32, device=device) / count)


def grid_rotation(coords: Tensor, head_dim: int) -> Rotation:
    """The rotation of voxels [L, 3] for heads of ``head_dim`` channels: ``head_dim // 6`` pairs for x, then y, then z.

    The frequencies are ``10000^(-i / n)``, the positions are indices. The pairs that are left over stay as they are.
    """
    pairs = head_dim // 2
    angles = (coords[..., None].float() * _falling(10000.0, pairs // 3, coords.device)).flatten(-2)
    return rotation_of(F.pad(angles, (0, pairs - angles.shape[-1])))


def patch_rotation(rows: int, columns: int, head_dim: int, base: float, device: torch.device) -> Rotation:
    """The rotation of an image's patches, row by row: ``head_dim // 4`` pairs for y, then as many for x.

    The frequencies are ``2 pi base^(-i / n)``; the positions are the patches' centres in -1..1 (Siméoni et al. 2025,
    "DINOv3", section 3.2).
    """
    y, x = ((torch.arange(side, device=device) + 0.5) / side * 2 - 1 for side in (rows, columns))
    centres = torch.cartesian_prod(y, x)  # [L, 2]
    frequencies = 2 * math.pi * _falling(base, head_dim // 4, device)
    return rotation_of((centres[..., None] * frequencies).flatten(-2))
