from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from backend.mesh.base.bits import count_of, filled, grown, packed, runs_of, shrunk, unpacked
from backend.mesh.base.flood import _regions

SHAPES = [(9, 7, 11), (3, 5, 64), (4, 3, 130), (1, 1, 1)]


@pytest.fixture(params=SHAPES, ids=str)
def cells(request: pytest.FixtureRequest) -> np.ndarray:
    return np.asarray(np.random.default_rng(0).random(request.param) < 0.4)


@pytest.mark.parametrize("margin", [0, 1, 3])
def test_cells_are_packed_with_a_margin_and_unpacked(cells: np.ndarray, margin: int) -> None:
    bits = packed(cells, margin)
    np.testing.assert_array_equal(unpacked(bits, cells.shape, margin), cells)
    assert count_of(~bits) == (~cells).sum()


def test_cells_grow_and_shrink_through_their_sides(cells: np.ndarray) -> None:
    bits = packed(cells, 1)
    whole = unpacked(bits, (*bits.shape[:2], 64 * bits.shape[2]), 0)
    for made, plain in (
        (grown(bits), ndimage.binary_dilation(whole)),
        (shrunk(bits), ndimage.binary_erosion(whole, border_value=1)),
    ):
        np.testing.assert_array_equal(unpacked(made, whole.shape, 0), plain)


def test_runs_are_those_of_a_loop(cells: np.ndarray) -> None:
    bits = packed(cells, 1)
    whole = unpacked(bits, (*bits.shape[:2], 64 * bits.shape[2]), 0)
    expected: list[tuple[int, ...]] = []
    begins: list[int] = []
    for x, y in np.ndindex(*whole.shape[:2]):
        begins += [len(expected)] if y else [len(expected)] * (1 + (x > 0))
        change = np.flatnonzero(np.diff(whole[x, y].astype(int), prepend=0, append=0))
        expected += [(x, y, *ends) for ends in change.reshape(-1, 2).tolist()]
    runs, found = runs_of(bits)
    np.testing.assert_array_equal(runs, expected)
    np.testing.assert_array_equal(found.reshape(-1), [*begins, len(expected)])
    np.testing.assert_array_equal(filled(*bits.shape, runs), bits)


def test_many_runs_find_room() -> None:
    cells = np.arange(2 * 2 * 256).reshape(2, 2, 256) % 2 == 0
    runs, _ = runs_of(packed(cells, 0))
    assert len(runs) == cells.sum()


def test_regions_are_those_of_scipy(cells: np.ndarray) -> None:
    bits = packed(cells, 1)
    shape = (*bits.shape[:2], 64 * bits.shape[2])
    expected, count = ndimage.label(unpacked(bits, shape, 0))
    runs, region = _regions(bits)
    found = sum(
        (number + 1) * unpacked(filled(*bits.shape, runs[region == number]), shape, 0) for number in range(count)
    )
    np.testing.assert_array_equal(found, expected)
