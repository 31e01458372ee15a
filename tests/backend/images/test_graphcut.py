"""Colour mends a coarse answer: missed parts come back, background goes; where colours do not tell, nothing changes."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from backend.images import graphcut

Floats = NDArray[np.float32]

HEIGHT, WIDTH = 300, 400
ROWS, COLUMNS = np.mgrid[0:HEIGHT, 0:WIDTH]
BODY = (np.abs(COLUMNS - 200) < 70) & (np.abs(ROWS - 110) < 50)
LEG = (np.abs(COLUMNS - 200) < 14) & (ROWS >= 160) & (ROWS < 260)
TILES = (ROWS // 20 + COLUMNS // 20) % 2 == 0
RED, BLUE, GREEN, PALE = (0.8, 0.2, 0.15), (0.2, 0.25, 0.8), (0.35, 0.5, 0.3), (0.6, 0.65, 0.5)


def scene(body: tuple[float, ...] = RED, leg: tuple[float, ...] = RED) -> Floats:
    """A body on a leg in front of tiles."""
    pixels = np.where(TILES[..., None], GREEN, PALE)
    pixels[BODY], pixels[LEG] = body, leg
    return (pixels + np.random.default_rng(0).normal(0, 0.01, pixels.shape)).clip(0, 1).astype(np.float32)


def answer(*masks: NDArray[np.bool_]) -> Floats:
    """As a network gives it: smooth at the edge."""
    return np.asarray(ndimage.gaussian_filter(np.any(masks, axis=0).astype(np.float32), 2), np.float32)


def overlap(alpha: Floats) -> float:
    """Intersection over union with body and leg."""
    found, wanted = alpha > 0.5, BODY | LEG
    return float((found & wanted).sum() / (found | wanted).sum())


def test_a_missed_part_of_the_object_s_colour_comes_back() -> None:
    assert overlap(answer(BODY)) < 0.85
    assert overlap(graphcut.mended(scene(), answer(BODY))) > 0.97


def test_a_missed_part_of_another_colour_comes_back_where_a_bit_of_it_was_found() -> None:
    bit = LEG & (ROWS < 185)
    assert overlap(graphcut.mended(scene(leg=BLUE), answer(BODY, bit))) > 0.97


def test_the_same_comes_out_again() -> None:
    first, second = (graphcut.mended(scene(), answer(BODY)) for _ in range(2))
    assert (first == second).all()


def test_background_that_the_network_half_believes_goes() -> None:
    more = (np.abs(COLUMNS - 300) < 40) & (np.abs(ROWS - 110) < 40)
    half = np.maximum(answer(BODY, LEG), 0.7 * answer(more))
    assert overlap(half) < 0.8
    assert overlap(graphcut.mended(scene(), half)) > 0.97


def test_a_shadow_that_the_network_half_believes_goes() -> None:
    pixels, shadow = scene(), np.hypot((COLUMNS - 200) / 90, (ROWS - 262) / 16) < 1
    pixels[shadow & ~LEG] *= 0.65
    half = np.maximum(answer(BODY, LEG), 0.6 * answer(shadow))
    assert overlap(half) < 0.85
    assert overlap(graphcut.mended(pixels, half)) > 0.97


def test_another_thing_stays_background() -> None:
    pixels, apart = scene(), (np.abs(COLUMNS - 340) < 20) & (np.abs(ROWS - 110) < 20)
    pixels[apart] = RED
    assert overlap(graphcut.mended(pixels, answer(BODY, LEG))) > 0.97


def test_a_right_answer_stays() -> None:
    right = answer(BODY, LEG)
    assert np.abs(graphcut.mended(scene(), right) - right).max() == 0


def test_where_colours_do_not_tell_the_answer_stays() -> None:
    """Even where the network is hardly sure, and a cut without the leg would be shorter."""
    pixels, hardly = scene(), np.maximum(answer(BODY), 0.6 * answer(LEG))
    pixels[BODY | LEG] = np.where(TILES[..., None], GREEN, PALE)[BODY | LEG]
    assert (graphcut.mended(pixels, hardly) == hardly).all()


def test_what_would_grow_too_much_stays() -> None:
    """A wall of the object's colour, all of which lies inside the image's border, is not a part of the object."""
    pixels = scene()
    wall = (np.abs(COLUMNS - 200) < 180) & (np.abs(ROWS - 150) < 130)
    pixels[wall] = RED
    assert (graphcut.mended(pixels, answer(BODY)) == answer(BODY)).all()


@pytest.mark.parametrize("value", [0, 1])
@pytest.mark.parametrize("shape", [(1, 1), (3, 50), (400, 300)])
def test_nothing_and_everything_stay(shape: tuple[int, int], value: int) -> None:
    coarse = np.full(shape, value, np.float32)
    assert (graphcut.mended(np.full((*shape, 3), 0.5, np.float32), coarse) == coarse).all()
