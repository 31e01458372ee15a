"""Shells that leak are filled all the same; what is meant to be open stays open; scraps go and small parts stay."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest
import torch

from backend.mesh import Mesh, finish
from backend.mesh.base.flood import CORE, OPEN, RADII, flood
from backend.mesh.base.topology import open_edges
from backend.mesh.clean import simplify
from backend.mesh.clean.cleanup import drop_scraps, keep_outer_faces
from backend.mesh.clean.holes import close_holes
from backend.mesh.finish import clean
from backend.mesh.sound import mend
from backend.mesh.sound.inspect import inspect
from backend.mesh.sound.mend import Mended
from tests.backend.shells import grid, raw_of

Cell = tuple[int, ...]
SIDE = 41  # corners
STEPS = [(1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)]


def from_middle() -> np.ndarray:
    """[3, SIDE, SIDE, SIDE] places, the middle at the origin."""
    return np.moveaxis(grid(SIDE).numpy().reshape(SIDE, SIDE, SIDE, 3), -1, 0) - SIDE // 2


def shell(hole: int, *, outer: float = 15, inner: float = 11.5) -> np.ndarray:
    """A hollow ball with a square hole in its top, so many corners wide."""
    x, y, z = from_middle()
    distance = np.sqrt(x * x + y * y + z * z)
    drilled = (z > 0) & (x >= 0) & (x < hole) & (y >= 0) & (y < hole)
    return np.asarray((distance < outer) & (distance > inner) & ~drilled)


@pytest.mark.parametrize("hole", [0, 1, 2, 4])
def test_a_shell_with_a_pin_hole_is_filled(hole: int) -> None:
    x, y, z = from_middle()
    truth = np.sqrt(x * x + y * y + z * z) < 15
    filled = ~flood(~shell(hole))
    assert not (filled & ~truth).any()
    assert (truth & ~filled).sum() <= 4 * hole * hole  # of the hole itself
    mesh = clean(raw_of(torch.from_numpy(shell(hole))))
    assert not len(open_edges(mesh.faces)[0])
    assert np.linalg.norm(mesh.vertices, axis=1).min() > 11.4 / (SIDE - 1)  # nothing of the inner side
    ball = clean(raw_of(torch.from_numpy(truth)))
    assert volume(mesh) == pytest.approx(volume(ball), rel=0.01)


def test_holes_that_are_large_for_their_shell_are_closed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = raw_of(torch.from_numpy(shell(4)))
    opened = keep_outer_faces(raw.numpy())
    monkeypatch.setattr(finish, "LEAK", 1e-6)
    left = close_holes(Mesh(opened.vertices, opened.faces, opened.colors), 1e-6)
    assert len(open_edges(left.faces)[0]), "the hole is not for the limit"
    assert not len(open_edges(clean(raw).faces)[0])


def test_where_a_closed_hole_crosses_the_surface_it_is_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fan over a hole in the shape of a U lies on the tongue within it. Here patches are not tried on it."""
    x, y, z = from_middle()
    raw = raw_of(torch.from_numpy(np.maximum(np.maximum(abs(x), abs(y)), abs(z)) < 15))
    middles = raw.vertices[raw.faces].mean(dim=1) * (SIDE - 1)
    on_top = middles[:, 2] > 14
    around, tongue = (
        (middles[:, 0].abs() < 8) & (middles[:, 1].abs() < 8),
        (middles[:, 0].abs() < 4) & (middles[:, 1] > -4),
    )
    hidden = on_top & around & ~tongue
    corners = torch.where(hidden, raw.inside_corners[len(raw.inside_corners) // 2], raw.face_corners)
    raw = replace(raw, face_corners=corners)
    opened = keep_outer_faces(raw.numpy())
    assert len(open_edges(opened.faces)[0]), "nothing was opened"
    fan = close_holes(Mesh(opened.vertices, opened.faces, opened.colors), 1.0)
    assert "faces cross" in inspect(fan.vertices, fan.faces).problems()
    monkeypatch.setattr(simplify, "patched", lambda vertices, faces, check: Mended(vertices, faces, sound=False))
    monkeypatch.setattr(mend, "HOPELESS", -1.0)
    made = finish.finish(raw, faces=100_000, texture_size=64)
    assert not made.certificate.problems()
    assert len(made.faces) == len(raw.faces)


def test_a_wide_hole_is_an_opening() -> None:
    np.testing.assert_array_equal(flood(~shell(5)), plain_flood(~shell(5)))
    raw = raw_of(torch.from_numpy(shell(5)))
    assert len(clean(raw).faces) == len(raw.faces)


def test_things_with_openings_stay_as_they_are() -> None:
    x, y, z = from_middle()
    radius = np.hypot(x, y)
    mug = (radius < 14) & (abs(z) < 15) & ~((radius < 11) & (z > -12))
    body, neck = (radius < 12) & (abs(z) < 12), (radius < 5) & (z >= 0) & (z < 18)
    bottle = (body | neck) & ~((radius < 9) & (abs(z) < 9)) & ~((radius < 2.9) & (z > 0))
    wall = np.maximum(np.maximum(abs(x), abs(y)), abs(z))
    bars = ((x % 4 < 2) | (y % 4 < 2)) & ((y % 4 < 2) | (z % 4 < 2)) & ((x % 4 < 2) | (z % 4 < 2))
    cage = (wall <= 14) & (wall > 12) & bars
    for thing in (mug, bottle, cage):
        np.testing.assert_array_equal(flood(~thing), plain_flood(~thing))
        raw = raw_of(torch.from_numpy(thing))
        assert len(keep_outer_faces(raw.numpy()).faces) == len(raw.faces)


def test_a_crevice_is_not_eaten() -> None:
    x, y, z = from_middle()
    block = np.maximum(np.maximum(abs(x), abs(y)), abs(z)) < 15
    groove = block & (abs(x) < 2) & (z > 0)
    widened = groove | (block & (abs(x) < 3) & (abs(y) < 3) & (abs(z - 4) < 3))
    for cut in (groove, widened):
        np.testing.assert_array_equal(flood(~(block & ~cut)), plain_flood(~(block & ~cut)))


@pytest.mark.parametrize("seed", range(6))
def test_the_flood_is_that_of_the_plain_reference(seed: int) -> None:
    """Boxes in boxes, with walls, slits and holes at random."""
    rng = np.random.default_rng(seed)
    free = np.ones((18, 16, 20), dtype=bool)
    for turn in range(10):
        low = rng.integers(0, 8, 3)
        high = low + rng.integers(3, 14, 3)
        free[tuple(map(slice, low, high))] = turn % 2 == 1
        if turn % 3 == 0:
            free[tuple(map(slice, low + 2, high - 2))] = True
    for _ in range(12):
        low = rng.integers(0, 18, 3)
        free[tuple(map(slice, low, low + rng.integers(1, 7, 3)))] = True
    np.testing.assert_array_equal(flood(free), reference(free))


def test_the_reference_finds_a_pocket() -> None:
    free = np.ones((12, 12, 12), dtype=bool)
    free[:11, :11, :11] = False
    free[2:9, 2:9, 2:9] = True
    assert np.array_equal(reference(free), plain_flood(free))  # a cavity
    free[4:6, 4:6, :2] = True
    assert not np.array_equal(reference(free), plain_flood(free))
    np.testing.assert_array_equal(flood(free), reference(free))


def test_holes_that_touch_are_closed() -> None:
    count = 8
    v, u = np.divmod(np.arange((count + 1) ** 2), count + 1)
    sheet = np.stack([u, v, np.zeros_like(u)], axis=1).astype(np.float32)
    corner = (np.arange(count)[:, None] * (count + 1) + np.arange(count)).reshape(-1)
    quads = np.stack([corner, corner + 1, corner + count + 2, corner + count + 1], axis=1)
    quads = quads[~np.isin(np.arange(len(quads)), [27, 36])]  # two squares that share a corner
    faces = quads[:, [0, 1, 2, 0, 2, 3]].reshape(-1, 3)
    closed = close_holes(Mesh(sheet, faces, sheet), limit=0.05)
    assert len(open_edges(closed.faces)[0]) == 4 * count  # the sheet's own border
    assert len(closed.faces) == len(faces) + 8
    assert np.bincount(closed.faces.reshape(-1)).min() > 0
    assert closed.colors is not None
    np.testing.assert_array_equal(closed.colors, closed.vertices)


def test_scraps_and_floaters_go_and_small_parts_stay() -> None:
    inside = torch.zeros(SIDE, SIDE, SIDE, dtype=torch.bool)
    inside[4:34, 4:34, 4:24] = True  # 4,200 squares of surface
    inside[10:12, 10:12, 25:27] = True  # 24 of them, a corner above it
    whole = clean(raw_of(inside))
    assert whole.vertices[:, 2].max() > 25 / (SIDE - 1) - 0.5
    inside[18:22, 18:22, 36:38] = True  # 64, far above
    assert clean(raw_of(inside)).faces.shape == whole.faces.shape
    lid = (whole.faces == whole.vertices[:, 2].argmax()).any(axis=1)
    opened = Mesh(whole.vertices, whole.faces[~lid], None)
    assert drop_scraps(opened).vertices[:, 2].max() < 25 / (SIDE - 1) - 0.5


# --- the plain reference ----------------------------------------------------------------------------------------------


def reference(free: np.ndarray) -> np.ndarray:
    """``flood``, cell by cell."""
    margin = max(RADII) + 1
    shape = tuple(side + 2 * margin for side in free.shape)
    cells = {tuple(int(n) - margin for n in place) for place in np.ndindex(*shape)}
    walls = {tuple(int(n) for n in place) for place in np.argwhere(~free)}
    start = (-margin,) * 3
    outside = spread([start], cells - walls)
    for radius in RADII:
        blocked = (cells - outside) | spread(cells - outside, cells, radius)
        core = cells - blocked
        reached = spread(spread([start], core), outside, radius)
        left = core - spread([start], core)
        while left:
            space = spread([next(iter(left))], left)
            left -= space
            pocket = spread(space, outside - reached, 2 * radius + 1)
            border = spread(pocket, cells, 1) - pocket
            if len(space) >= CORE and len(border & outside) <= OPEN * len(border):
                outside = outside - pocket
    found = np.zeros(free.shape, dtype=bool)
    for place in np.ndindex(*free.shape):
        found[place] = place in outside
    return found


def spread(start: Iterable[Cell], within: set[Cell], steps: int = 10**9) -> set[Cell]:
    """What can be reached from these cells in so many steps, all of them in ``within``; the first ones may be not."""
    queue = deque((cell, 0) for cell in start)
    found = {cell for cell, _ in queue}
    while queue:
        (x, y, z), step = queue.popleft()
        for dx, dy, dz in STEPS if step < steps else []:
            cell = (x + dx, y + dy, z + dz)
            if cell in within and cell not in found:
                found.add(cell)
                queue.append((cell, step + 1))
    return found


def plain_flood(free: np.ndarray) -> np.ndarray:
    """All that is connected to the border, leaks and all."""
    from scipy import ndimage

    regions, _ = ndimage.label(np.pad(free, 1, constant_values=True))
    return np.asarray(regions == regions[0, 0, 0])[1:-1, 1:-1, 1:-1]


def volume(mesh: Mesh) -> float:
    a, b, c = mesh.vertices[mesh.faces].astype(np.float64).swapaxes(0, 1)
    return float((a * np.cross(b, c)).sum() / 6)
