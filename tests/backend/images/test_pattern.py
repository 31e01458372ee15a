"""Things in front of a pattern are found by their colours; where the border is no pattern, nothing changes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from backend.images import pattern

Floats = NDArray[np.float32]

HEIGHT, WIDTH = 320, 400
ROWS, COLUMNS = np.mgrid[0:HEIGHT, 0:WIDTH]
THING = (np.abs(COLUMNS - 210) < 60) & (np.abs(ROWS - 150) < 80)
CORNER = (ROWS > 220) & (COLUMNS > 280)
NOTHING = np.zeros((HEIGHT, WIDTH), np.float32)
ONE, OTHER, RED = (0.35, 0.5, 0.3), (0.6, 0.65, 0.5), (0.8, 0.2, 0.15)


def tiles() -> Floats:
    return np.where(((ROWS // 25 + COLUMNS // 25) % 2 == 0)[..., None], ONE, OTHER).astype(np.float32)


def stripes() -> Floats:
    share = (0.5 + 0.5 * np.sin((ROWS + 2 * COLUMNS) / 9))[..., None]
    return (share * ONE + (1 - share) * OTHER).astype(np.float32)


def grain() -> Floats:
    coarse = np.random.default_rng(3).random((HEIGHT, WIDTH))
    share = ndimage.gaussian_filter(coarse, 3)[..., None]
    share = (share - share.min()) / (share.max() - share.min())
    return (share * ONE + (1 - share) * OTHER).astype(np.float32)


PATTERNS = (tiles, stripes, grain)


def noisy(pixels: Floats) -> Floats:
    return (pixels + np.random.default_rng(0).normal(0, 0.01, pixels.shape)).clip(0, 1).astype(np.float32)


def scene(behind: Floats) -> Floats:
    pixels = behind.copy()
    pixels[THING] = RED
    return noisy(pixels)


def overlap(alpha: Floats) -> float:
    found = alpha > 0.5
    return float((found & THING).sum() / (found | THING).sum())


def landscape() -> Floats:
    """Sky above ground: the border does not look the same all around."""
    return np.where((ROWS < 150)[..., None], (0.5, 0.7, 0.9), (0.4, 0.3, 0.2)).astype(np.float32)


@pytest.mark.parametrize("behind", PATTERNS)
def test_a_thing_that_the_network_misses_is_found(behind: Callable[[], Floats]) -> None:
    assert overlap(pattern.with_unlike(scene(behind()), NOTHING)) > 0.94


def test_a_part_that_the_network_misses_is_added() -> None:
    half = (THING & (ROWS < 120)).astype(np.float32)
    assert overlap(half) < 0.55
    assert overlap(pattern.with_unlike(scene(tiles()), half)) > 0.94


def test_what_the_network_finds_in_the_pattern_s_own_colours_stays() -> None:
    pixels = scene(tiles())
    pixels[THING & (ROWS > 180)] = ONE
    assert overlap(pattern.with_unlike(pixels, THING.astype(np.float32))) > 0.94


def test_the_background_taken_for_the_object_is_dropped() -> None:
    assert overlap(pattern.with_unlike(scene(tiles()), np.ones_like(NOTHING))) > 0.94


def test_a_shadow_is_no_part_of_the_thing() -> None:
    pixels, shadow = scene(tiles()), np.hypot((COLUMNS - 210) / 120, (ROWS - 232) / 24) < 1
    pixels[shadow & ~THING] *= 0.65
    assert overlap(pattern.with_unlike(pixels, NOTHING)) > 0.9


@pytest.mark.parametrize("behind", PATTERNS)
def test_a_pattern_alone_shows_nothing(behind: Callable[[], Floats]) -> None:
    found = pattern.with_unlike(noisy(behind()), NOTHING)
    assert (found > 0.5).sum() == 0


def test_dust_and_another_background_are_no_object() -> None:
    dusty, rng = tiles(), np.random.default_rng(1)
    for row, column in zip(rng.integers(20, HEIGHT - 40, 30), rng.integers(20, WIDTH - 40, 30), strict=True):
        dusty[row : row + 14, column : column + 14] = RED
    cornered = tiles()
    cornered[20:, 20:] = RED
    for pixels in (dusty, cornered):
        assert not pattern.with_unlike(noisy(pixels), NOTHING).any()


def test_without_a_pattern_nothing_changes() -> None:
    answer = CORNER.astype(np.float32)
    assert pattern.unlike(scene(landscape())) is None
    assert pattern.with_unlike(scene(landscape()), answer) is answer


@pytest.mark.parametrize("shape", [(1, 1), (2, 300), (300, 5), (33, 17)])
def test_any_size(shape: tuple[int, int]) -> None:
    answer = np.zeros(shape, np.float32)
    assert pattern.with_unlike(np.full((*shape, 3), 0.5, np.float32), answer).shape == shape
