"""Symmetries: which ones an object has, and that they carry a picture to where it was not taken from."""

from __future__ import annotations

import numpy as np
import pytest

from backend.mesh.paint import paint as module
from backend.mesh.paint import symmetry
from backend.mesh.paint.camera import Camera
from backend.mesh.paint.paint import Pictures, paint
from backend.mesh.paint.shape import Shape
from tests.backend.mesh.paint.paint_cases import known

CAMERA = Camera(25.0, 20.0, 36.0, 0.05, 0.0, 0.8)
SIDE = 128


def box(extents: tuple[float, float, float], texture: np.ndarray, bump: float = 0.0) -> Shape:
    """A closed box whose texture is projected along Y, and at +X with a pyramid on it of this height."""
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * np.array(extents) / 2
    top = [[extents[0] / 2 + bump, 0.0, 0.0]]
    faces = [[0, 2, 3], [0, 3, 1], [0, 1, 5], [0, 5, 4], [2, 6, 7], [2, 7, 3], [0, 4, 6], [0, 6, 2], [1, 3, 7]]
    faces += [[1, 7, 5], [4, 5, 8], [5, 7, 8], [7, 6, 8], [6, 4, 8]]
    vertices, indices = np.concatenate([corners, top]).astype(np.float32), np.array(faces)
    a, b, c = (vertices[indices[:, k]] for k in range(3))
    inward = (np.cross(b - a, c - a) * (a + b + c)).sum(axis=1) < 0
    indices[inward] = indices[inward][:, ::-1]
    uvs = (vertices[:, [0, 2]] / 2 + 0.5)[indices]
    return Shape.of(vertices, indices, uvs, texture)


def halves(left: tuple[int, int, int], right: tuple[int, int, int]) -> np.ndarray:
    texture = np.empty((64, 64, 3), np.uint8)
    texture[:, :32], texture[:, 32:] = left, right
    return texture


PLAIN, HALVES = halves((200, 60, 60), (200, 60, 60)), halves((200, 60, 60), (60, 60, 200))


def found(shape: Shape) -> list[tuple[bool, float]]:
    """Whether each twin is mirrored, and where it is."""
    seen = shape.seen(CAMERA, SIDE)
    return [(twin.mirrored, twin.camera.azimuth % 360) for twin in symmetry.twins(shape, CAMERA, seen, lambda: None)]


def test_what_is_seen_of_a_closed_shape_is_its_outer_side() -> None:
    shape = box((0.8, 0.5, 0.6), PLAIN, 0.1)
    assert shape.closed
    opened = Shape(shape.vertices, shape.faces[:-1], shape.uvs[:-1], shape.normals[:-1], shape.colors)
    inside_out = Shape(shape.vertices, shape.faces[:, ::-1].copy(), shape.uvs, shape.normals, shape.colors)
    assert not opened.closed
    assert not inside_out.closed
    for azimuth in (0.0, 70.0, 200.0):
        camera = Camera(azimuth, 20.0, 36.0)
        both_sides = inside_out.drawn(camera, SIDE)
        assert np.array_equal(shape.drawn(camera, SIDE)[0], both_sides[0])
        assert np.allclose(shape.drawn(camera, SIDE)[2], both_sides[2])


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        # A box that is wider than deep looks the same after half a turn, and in both mirrors.
        (box((0.8, 0.5, 0.6), PLAIN), {(True, 335.0), (True, 155.0), (False, 205.0)}),
        # If one half has another colour, only the mirror along Y is left. So it is with a pyramid on one side.
        (box((0.8, 0.5, 0.6), HALVES), {(True, 155.0)}),
        (box((0.6, 0.5, 0.5), PLAIN, 0.25), {(True, 155.0)}),
    ],
)
def test_symmetries_are_those_of_shape_and_colors(shape: Shape, expected: set[tuple[bool, float]]) -> None:
    assert set(found(shape)) == expected


def test_of_many_symmetries_some_are_used() -> None:
    assert len(found(box((0.6, 0.6, 0.6), PLAIN))) == symmetry.MOST


def test_a_twin_sees_what_its_camera_sees() -> None:
    shape = box((0.8, 0.5, 0.6), HALVES)
    seen = shape.seen(CAMERA, SIDE)
    (twin,) = symmetry.twins(shape, CAMERA, seen, lambda: None)
    mirrored = twin.turned(seen.colors)
    sure = twin.agreement > 0.99
    assert sure.sum() > 0.6 * seen.shown.sum()
    assert np.abs(mirrored - twin.seen.colors)[sure].mean() < 0.01
    assert not twin.agreement[~twin.seen.shown].any()


def test_two_symmetries_make_no_double_image() -> None:
    """Where two twins show a texel, the first one's colours are there, not a mixture."""
    layer = module._Layer.empty(8)
    one, other = np.full((8, 8, 3), 0.2, np.float32), np.full((8, 8, 3), 0.8, np.float32)
    whole, half = np.ones((8, 8), np.float32), np.full((8, 8), 0.5, np.float32)
    layer.fill(one, whole)
    layer.fill(other, whole)
    assert np.allclose(layer.colors, 0.2)
    layer = module._Layer.empty(8)
    layer.fill(one, half)
    layer.fill(other, whole)
    assert np.allclose(layer.shares, 1)
    assert np.allclose(layer.colors, (0.2 + 0.8) / 2)


@pytest.mark.parametrize(("family", "gain"), [("rocket", 1.0), ("chair", -0.1)])
def test_where_no_picture_shows_the_object_its_symmetry_helps(
    family: str, gain: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gains in dB over what no picture shows. A chair has next to no detail there; it must not get worse."""
    case = known(family)

    def hidden_psnr() -> float:
        made = paint(case.shape, case.blurred, case.cover, Pictures([case.case.image()]))
        return case.psnr(made.texture, (made.shares == 0) & (case.cover.face >= 0))

    helped = hidden_psnr()
    monkeypatch.setattr(symmetry, "KINDS", ())
    assert helped > hidden_psnr() + gain
