"""Where the latents of a finer sample are, beside a loop over voxels."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from backend.cascade import cells_of, refined
from backend.modes import MODES


@pytest.fixture
def coords() -> Tensor:
    """Voxels of two shapes at 512^3."""
    generator = torch.Generator().manual_seed(0)
    near = torch.randint(200, 230, (400, 3), generator=generator)
    return torch.cat([(torch.arange(400) // 300)[:, None], near], dim=1).int()


@pytest.mark.parametrize("side", [64, 72, 88, 96])
def test_cells_hold_the_centres_of_voxels(coords: Tensor, side: int) -> None:
    expected = {(b, *(int((c + 0.5) / 512 * side) for c in voxel)) for b, *voxel in coords.tolist()}
    found = cells_of(coords, 512, side)
    assert found.tolist() == [list(cell) for cell in sorted(expected)]
    assert found.dtype == torch.int32
    assert torch.equal(found, cells_of(coords.long(), 512, side))


def test_the_resolution_is_lowered_while_there_are_as_many_cells_as_the_limit(coords: Tensor) -> None:
    counts = {resolution: len(cells_of(coords, 512, resolution // 16)) for resolution in range(1024, 1537, 128)}
    free = refined(coords, 512, 1536, counts[1536] + 1)
    assert (free.resolution, free.tried) == (1536, ((1536, counts[1536]),))
    equal = refined(coords, 512, 1536, counts[1536])
    assert equal.tried[:2] == ((1536, counts[1536]), (1408, counts[1408]))
    least = refined(coords, 512, 1536, 1)
    assert least.resolution == 1024
    assert [resolution for resolution, _ in least.tried] == [1536, 1408, 1280, 1152, 1024]
    assert torch.equal(least.coords, cells_of(coords, 512, 64))


def test_the_voxels_do_not_change(coords: Tensor) -> None:
    before = coords.long().clone()
    given = before.clone()
    refined(given, 512, 1536, 1)
    assert torch.equal(given, before)


def test_modes_begin_on_the_grid_that_their_first_shape_needs() -> None:
    assert {name: mode.voxels for name, mode in MODES.items()} == {
        "512": 32,
        "1024": 64,
        "1024_cascade": 32,
        "1536_cascade": 32,
    }
