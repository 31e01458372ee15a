"""The small picture of a finished mesh, and that it looks like the add-on's of a raw one."""

from __future__ import annotations

import numpy as np
import pytest
from espalier.blender_addon.scene import portrait as raw_portrait

from backend.mesh import RawMesh
from backend.mesh.extract.flexicubes import extract_mesh
from backend.mesh.finish import FinishedMesh, finish
from backend.mesh.portrait import draw_portrait
from backend.mesh.sound.inspect import inspect
from backend.portrait_facts import SIZE
from tests.backend.shells import chair, features_of

RED, GREEN, BLUE, WHITE, YELLOW, CYAN = (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 1), (1, 1, 0), (0, 1, 1)
#: Sides of a box as seen from outside: its first corner is the lower left one, then to the right, then up.
SIDES = {
    "front": ((-1, -1, -1), (2, 0, 0), (0, 0, 2)),
    "right": ((1, -1, -1), (0, 2, 0), (0, 0, 2)),
    "top": ((-1, -1, 1), (2, 0, 0), (0, 2, 0)),
    "back": ((1, 1, -1), (-2, 0, 0), (0, 0, 2)),
    "left": ((-1, 1, -1), (0, -2, 0), (0, 0, 2)),
    "bottom": ((-1, 1, -1), (2, 0, 0), (0, -2, 0)),
}
#: Where each side is in the texture: its lower left corner, v up. Those that are not seen are black.
PLACES = {"front": (0.0, 0.0), "right": (0.5, 0.0), "top": (0.5, 0.5)}


@pytest.fixture(scope="module")
def box() -> FinishedMesh:
    """A box whose front is of four colours: red and green above, blue and white below."""
    vertices: list[np.ndarray] = []
    faces: list[list[int]] = []
    uvs: list[np.ndarray] = []
    for side, (corner, along, up) in SIDES.items():
        at, way, high = (np.array(each, np.float32) / 4 for each in (corner, along, up))
        first, (u, v) = len(vertices), PLACES.get(side, (0.0, 0.5))
        vertices += [at, at + way, at + way + high, at + high]
        places = np.array([(u, v), (u + 0.5, v), (u + 0.5, v + 0.5), (u, v + 0.5)], np.float32)
        for corners in ((0, 1, 2), (0, 2, 3)):
            faces.append([first + k for k in corners])
            uvs.append(places[list(corners)])
    texture = np.zeros((64, 64, 3), np.uint8)  # row 0 at v = 1
    texture[32:48, :16], texture[32:48, 16:32] = np.multiply(RED, 255), np.multiply(GREEN, 255)
    texture[48:, :16], texture[48:, 16:32] = np.multiply(BLUE, 255), np.multiply(WHITE, 255)
    texture[32:, 32:], texture[:32, 32:] = np.multiply(CYAN, 255), np.multiply(YELLOW, 255)
    arrays = np.array(vertices), np.array(faces, np.int64), np.array(uvs)
    return FinishedMesh(*arrays, texture, None, None, {}, {}, inspect(*arrays))


@pytest.fixture(scope="module")
def raw_chair() -> RawMesh:
    return extract_mesh(*features_of(chair, 32), 32)


def at(picture: np.ndarray, point: tuple[float, float, float]) -> tuple[int, ...]:
    """Which channels are on at a point of the box, which is seen 30 degrees from its right and 20 from above."""
    turn, tilt = np.radians(30), np.radians(20)

    def seen(x: float, y: float, z: float) -> np.ndarray:
        away = -np.sin(turn) * x + np.cos(turn) * y
        return np.array((np.cos(turn) * x + np.sin(turn) * y, np.sin(tilt) * away + np.cos(tilt) * z))

    corners = np.array([seen(*np.array(((k & 1), (k >> 1 & 1), (k >> 2 & 1))) - 0.5) for k in range(8)])
    low, high = corners.min(axis=0), corners.max(axis=0)
    place = 0.5 + 0.92 * (seen(*point) - (low + high) / 2) / (high - low).max()
    pixel = picture[int((1 - place[1]) * SIZE), int(place[0] * SIZE)]
    assert pixel[3] == 255
    return tuple(int(channel > 100) for channel in pixel[:3])


def test_the_texture_is_where_it_belongs(box: FinishedMesh) -> None:
    picture = draw_portrait(box)
    assert (picture.shape, picture.dtype) == ((SIZE, SIZE, 4), np.uint8)
    found = {color: at(picture, (x, -0.5, z)) for color, x, z in (
        (RED, -0.25, 0.25), (GREEN, 0.25, 0.25), (BLUE, -0.25, -0.25), (WHITE, 0.25, -0.25)
    )}  # fmt: skip
    assert found == {color: color for color in found}
    assert at(picture, (0.5, 0.0, 0.0)) == CYAN
    assert at(picture, (0.0, 0.0, 0.5)) == YELLOW


def test_it_is_transparent_outside_and_soft_at_the_edge(box: FinishedMesh) -> None:
    alpha = draw_portrait(box)[..., 3]
    assert not alpha[[0, 0, -1, -1], [0, -1, 0, -1]].any()
    assert (alpha == 255).mean() > 0.4
    assert 0.01 < ((alpha > 0) & (alpha < 255)).mean() < 0.1
    for places in np.nonzero(alpha):
        assert abs(places.min() - (SIZE - 1 - places.max())) <= 1, "in the middle"


def test_an_edge_has_the_colour_of_the_object(box: FinishedMesh) -> None:
    """Nothing of what is behind it: alpha is not multiplied in."""
    white = draw_portrait(FinishedMesh(**vars(box) | {"texture": np.full((8, 8, 3), 255, np.uint8)}))
    assert white[white[..., 3] > 0, :3].min() > 120
    assert not white[white[..., 3] == 0].any()


@pytest.mark.parametrize("shape", ["box", "chair"])
def test_it_looks_as_the_add_on_draws_the_same_mesh(shape: str, box: FinishedMesh, raw_chair: RawMesh) -> None:
    mesh = box if shape == "box" else finish(raw_chair, faces=2000, texture_size=64)
    grey = FinishedMesh(**vars(mesh) | {"texture": np.full((8, 8, 3), 204, np.uint8)})
    ours = draw_portrait(grey)
    theirs = raw_portrait.draw_portrait(grey.vertices, grey.faces.astype(np.int32), np.full_like(grey.vertices, 0.8))
    inside, there = ours[..., 3] > 127, theirs[..., 3] > 127
    assert (inside & there).sum() > 0.95 * (inside | there).sum()
    both = (ours[..., 3] == 255) & there
    apart = np.abs(ours[both, :3].astype(int) - theirs[both, :3])
    assert np.median(apart) <= 1, "the light is the same"
    assert (apart > 10).mean() < 0.1
    assert draw_portrait(grey).tobytes() == ours.tobytes()
