"""Rotary positions, beside loops over channels."""

from __future__ import annotations

import math

import pytest
import torch

from backend.models.layers import SelfAttention
from backend.models.rotary import grid_rotation, patch_rotation
from tests.backend.golden import assert_close


def test_neighbouring_channels_turn_by_frequency_times_position() -> None:
    generator = torch.Generator().manual_seed(0)
    coords, x = torch.tensor([[3, 0, 63], [95, 7, 1]]), torch.randn(2, 3, 20, generator=generator)
    expected = x.clone()
    for token, position in enumerate(coords.tolist()):
        for pair in range(9):  # three for each axis; the tenth stays
            angle = position[pair // 3] * 10000 ** (-(pair % 3) / 3)
            a, b = x[token, :, 2 * pair], x[token, :, 2 * pair + 1]
            expected[token, :, 2 * pair] = a * math.cos(angle) - b * math.sin(angle)
            expected[token, :, 2 * pair + 1] = a * math.sin(angle) + b * math.cos(angle)
    found = grid_rotation(coords, 20).of_neighbours(x)
    assert_close(found, expected, 1e-5)
    assert torch.equal(found[..., 18:], x[..., 18:])


def test_patches_turn_channels_half_a_head_apart() -> None:
    x = torch.randn(2, 6, 1, 16, generator=torch.Generator().manual_seed(0))  # 2 rows of 3 patches
    expected = x.clone()
    for patch in range(6):
        centre = ((patch // 3 + 0.5) / 2 * 2 - 1, (patch % 3 + 0.5) / 3 * 2 - 1)
        for pair in range(8):  # four for y, four for x
            angle = 2 * math.pi * centre[pair // 4] * 100 ** (-(pair % 4) / 4)
            a, b = x[:, patch, :, pair], x[:, patch, :, pair + 8]
            expected[:, patch, :, pair] = a * math.cos(angle) - b * math.sin(angle)
            expected[:, patch, :, pair + 8] = a * math.sin(angle) + b * math.cos(angle)
    assert_close(patch_rotation(2, 3, 16, 100.0, torch.device("cpu")).of_halves(x), expected, 1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_angles_are_those_of_single_precision_whatever_is_turned(dtype: torch.dtype) -> None:
    x = torch.randn(4, 2, 20, generator=torch.Generator().manual_seed(0)).to(dtype)
    rotation = grid_rotation(torch.tensor([[63, 62, 61], [1, 2, 3], [95, 0, 0], [0, 0, 0]]), 20)
    assert rotation.cos.dtype == torch.float32
    found = rotation.of_neighbours(x)
    assert found.dtype == dtype
    assert torch.equal(found, rotation.of_neighbours(x.float()).to(dtype))


def test_attention_sees_how_far_apart_tokens_are_not_where() -> None:
    torch.manual_seed(0)
    attention = SelfAttention(40, 2).requires_grad_(False)
    x, coords = torch.randn(1, 5, 40), torch.randint(0, 30, (5, 3))
    here = attention(x, grid_rotation(coords, 20))
    assert_close(attention(x, grid_rotation(coords + 17, 20)), here, 1e-4)
    assert not torch.allclose(attention(x, grid_rotation(2 * coords, 20)), here, atol=1e-3)
