"""Weights that depend on a network's keys alone, to check and measure networks without their published weights.

A parameter's values are a function of its key and shape, so anyone can make the same full-size network again. The
reference figures of the full-size networks were computed with these weights.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import torch
from torch import Tensor, nn

GAIN_SCALE = 0.02  # of norm gains and layer scales, around 1
TIME_SCALE = 0.1  # of the time embedding: larger, so that the modulation by time matters


def rule_tensor(key: str, shape: Sequence[int], salt: str = "", scale: float = 0.02) -> Tensor:
    """The values of the parameter ``key`` with this shape: fp32, on the CPU.

    A generator seeded with the CRC-32 of ``salt + key`` draws r ~ N(0, 1). Gains (a last key part ``gamma``, or
    ``weight`` with one axis) are 1 + 0.02 r, the time embedding's parameters 0.1 r, all others ``scale`` r.
    """
    generator = torch.Generator().manual_seed(zlib.crc32((salt + key).encode()))
    values = torch.randn(tuple(shape), generator=generator)
    last = key.rpartition(".")[2]
    if last == "gamma" or (last == "weight" and len(shape) == 1):
        return values.mul_(GAIN_SCALE).add_(1)
    return values.mul_(TIME_SCALE if key.startswith("t_embedder.") else scale)


@torch.no_grad()
def fill_by_rule(network: nn.Module, salt: str = "", scale: float = 0.02) -> None:
    """Give every parameter of a network the values of ``rule_tensor``, in its own dtype. Buffers stay as they are."""
    for key, parameter in network.named_parameters():
        parameter.copy_(rule_tensor(key, parameter.shape, salt, scale))
