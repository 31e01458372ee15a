"""Cameras, pictures, light and texels, each beside a plain reference."""

from __future__ import annotations

import math

import numpy as np
import pytest
from PIL import Image

from backend.evaluation import painted as judging
from backend.evaluation.viewing import look
from backend.mesh.paint import light, pose, texels, tone
from backend.mesh.paint.camera import Camera
from backend.mesh.paint.picture import MARGIN, Picture
from backend.training.objects.render import View, Window
from tests.backend.mesh.paint.paint_cases import known

VIEW, WINDOW = View(-130.0, 33.0, 41.0), Window(0.1, -0.05, 0.8)
CAMERA = judging.as_camera(VIEW, WINDOW)
SIZE = 64


def test_a_camera_sees_what_a_rendered_view_sees() -> None:
    shape = known("chair").shape
    face, weights, near = shape.drawn(CAMERA, SIZE)
    plain = look(shape.vertices, shape.faces, VIEW, SIZE, WINDOW)
    shown = np.flatnonzero(face.reshape(-1) >= 0)
    assert np.mean(np.isin(shown, plain.pixel)) > 0.999
    assert abs(len(shown) - len(plain.pixel)) <= 2
    both = np.isin(plain.pixel, shown)
    assert np.mean(face.reshape(-1)[plain.pixel[both]] == plain.face[both]) > 0.99
    same = both & (face.reshape(-1)[plain.pixel] == plain.face)
    assert np.abs(weights.reshape(-1, 2)[plain.pixel[same]] - plain.weights[same, 1:]).max() < 1e-3
    depth = np.einsum("pk,pkc->pc", plain.weights[same], shape.vertices[shape.faces[plain.face[same]]])
    assert np.allclose(1 / near.reshape(-1)[plain.pixel[same]], CAMERA.project(depth)[:, 2], atol=1e-4)


def test_axes_and_position_are_those_of_the_view() -> None:
    assert np.allclose(CAMERA.axes(), VIEW.basis().numpy(), atol=1e-6)
    assert np.allclose(CAMERA.position(), VIEW.position(), atol=1e-6)


def test_a_picture_is_the_square_around_the_object() -> None:
    pixels = np.zeros((90, 140, 4), np.uint8)
    pixels[20:60, 70:100] = (200, 100, 50, 255)
    picture = Picture.of(Image.fromarray(pixels))
    assert picture is not None
    assert picture.side == math.ceil(40 * MARGIN / 2) * 2
    assert picture.left + picture.side / 2 == pytest.approx(85, abs=1)
    assert picture.top + picture.side / 2 == pytest.approx(40, abs=1)
    small = picture.reduced(16)
    assert small[8, 8] == pytest.approx([200 / 255, 100 / 255, 50 / 255, 1])
    cover = small[..., 3] > 0.05
    assert np.abs(small[cover][:, :3] - np.array([200, 100, 50]) / 255).max() < 1.1 / 255  # no dark rim
    assert small[..., 3].mean() == pytest.approx(40 * 30 / picture.side**2, rel=0.05)


@pytest.mark.parametrize("size", [(90, 140), (140, 90)])
def test_the_camera_of_the_whole_image_sees_the_same(size: tuple[int, int]) -> None:
    pixels = np.zeros((*size, 4), np.uint8)
    pixels[20:60, 40:85] = 255
    picture = Picture.of(Image.fromarray(pixels))
    assert picture is not None
    points = np.random.default_rng(0).uniform(-0.4, 0.4, (20, 3))
    square = CAMERA.project(points)[:, :2] * picture.side + [picture.left, picture.top]  # in pixels of the image
    height, width = size
    side = max(size)
    corner = np.array([(width - side) / 2, (height - side) / 2])
    assert np.allclose(picture.whole(CAMERA).project(points)[:, :2] * side + corner, square)


def ball(side: int) -> tuple[np.ndarray, np.ndarray]:
    """Normals [N, N, 3] of a ball that CAMERA sees, and where it is."""
    y, x = np.mgrid[0:side, 0:side] * 2.0 / (side - 1) - 1
    inside = x**2 + y**2 < 0.95
    z = np.sqrt(np.maximum(1 - x**2 - y**2, 0))
    axes = CAMERA.axes()
    return np.stack([x, -y, z], -1) @ np.array([axes[0], axes[1], -axes[2]]), inside


def test_the_light_of_a_picture_is_found() -> None:
    normals, inside = ball(48)
    true = light.Light(CAMERA.axes().T @ np.array([0.6, 0.48, -0.64]), 0.45, 1.05)
    rng = np.random.default_rng(0)
    colors = rng.uniform(0.2, 0.9, (48, 48, 3)).astype(np.float32)
    predicted = np.clip(colors + rng.normal(0, 0.1, colors.shape), 0, 1)
    lit = colors * true.shade(normals)[..., None]
    lit[rng.random((48, 48)) < 0.1] = 1.0  # highlights, which are no light on a colour
    found = light.fit(normals[inside], predicted[inside], lit[inside], CAMERA.axes())
    assert found.direction @ true.direction > math.cos(math.radians(12))
    assert np.abs(found.shade(normals) / true.shade(normals) - 1)[inside].max() < 0.12


def test_a_part_that_was_predicted_too_bright_does_not_turn_the_light() -> None:
    normals, inside = ball(48)
    true = light.Light(CAMERA.axes().T @ np.array([-0.48, 0.36, -0.8]), 0.4)
    colors = np.full((48, 48, 3), (0.7, 0.4, 0.2), np.float32)
    colors[:20] = (0.2, 0.4, 0.5)
    lit = colors * true.shade(normals)[..., None]
    predicted = colors.copy()
    predicted[:20] *= 1.25
    found = light.fit(normals[inside], predicted[inside], lit[inside], CAMERA.axes())
    assert found.direction @ true.direction > math.cos(math.radians(8))
    assert np.abs(found.shade(normals) / true.shade(normals) - 1)[inside].max() < 0.08


def test_without_pixels_there_is_a_light_all_the_same() -> None:
    nothing = np.empty((0, 3))
    assert 0 <= light.fit(nothing, nothing, nothing, CAMERA.axes()).direct <= light.MAX_DIRECT


def opaque(colors: np.ndarray) -> np.ndarray:
    """A picture [S, S, 4] of colours [S, S, 3]."""
    return np.concatenate([colors, np.ones_like(colors[..., :1])], axis=2).astype(np.float32)


def test_colors_without_shade_are_even_where_only_the_shape_is_wavy() -> None:
    size = 128
    wave = 0.8 * (1 + np.random.default_rng(0).normal(0, 0.04, size).clip(-0.08, 0.08))
    shade = np.broadcast_to(wave, (size, size)).copy()
    picture = opaque(np.full((size, size, 3), (0.8, 0.5, 0.2)) * 0.8)
    picture[:8, :, 3] = 0
    made = light.albedo(picture, shade, np.ones((size, size), bool))
    divided = picture[8:, :, :3] / shade[8:, :, None]
    assert made[8:, :, 0].std() < 0.8 * divided[..., 0].std()
    assert np.array_equal(made[:8], picture[:8])  # what is transparent stays as it is


def test_colors_without_shade_do_not_change_at_edges_that_are_a_little_off() -> None:
    size = 128
    shade, true_shade = np.ones((size, size)), np.ones((size, size))
    shade[:, 64:], true_shade[:, 65:] = 0.6, 0.6  # the shape's edge is a pixel off the picture's
    colors = np.zeros((size, size, 3), np.float32)
    colors[:64], colors[64:] = (0.8, 0.5, 0.2), (0.3, 0.5, 0.6)
    picture = opaque(colors * true_shade[..., None])
    made = light.albedo(picture, shade, np.ones((size, size), bool))[..., :3]
    assert np.abs(picture[..., :3] / shade[..., None] - colors).max() > 0.3  # what dividing would do
    assert np.abs(made - colors).max() < 0.05


def test_texels_take_their_colors_from_where_the_camera_sees_them() -> None:
    case = known("chair")
    shape, side = case.shape, 96
    seen = shape.seen(CAMERA, 128)
    rng = np.random.default_rng(0)
    picture = np.concatenate([rng.uniform(0, 1, (side, side, 3)), np.ones((side, side, 1))], 2).astype(np.float32)
    trust = np.full((128, 128), 0.5, np.float32)
    colors, shares = texels.paint(shape, CAMERA, seen, trust, picture, case.cover)
    rows, columns = np.nonzero(case.cover.face >= 0)
    chosen = rng.permutation(len(rows))[:3000]
    rows, columns = rows[chosen], columns[chosen]
    face = case.cover.face[rows, columns]
    s, t = case.cover.weights[rows, columns].T
    weights = np.stack([1 - s - t, s, t], 1)[:, :, None]
    points = (weights * shape.vertices[shape.faces[face]]).sum(1)
    normals = (weights * shape.normals[face]).sum(1)
    toward = CAMERA.position() - points
    slant = (normals * toward).sum(1) / np.linalg.norm(normals, axis=1) / np.linalg.norm(toward, axis=1)
    x, y, depth = CAMERA.project(points).T
    i, j = ((place * 128).astype(int).clip(0, 127) for place in (y, x))
    nearest = 1 / np.maximum(seen.near[i, j], 1e-9)
    inside = (np.minimum(x, y) > 0) & (np.maximum(x, y) < 1)
    found, share = colors[rows, columns], shares[rows, columns]
    assert (share[slant < texels.SLANTS[0]] == 0).all()
    assert (share[depth > nearest + 0.1] == 0).all()
    sure = inside & (slant > texels.SLANTS[1]) & (depth < nearest + texels.BEHIND)
    assert sure.sum() > 100
    assert np.allclose(share[sure], 0.5, atol=1e-6)
    px, py = x[sure] * side - 0.5, y[sure] * side - 0.5
    j, i = px.astype(int), py.astype(int)
    fx, fy = (px - j)[:, None], (py - i)[:, None]
    upper = picture[i, j] * (1 - fx) + picture[i, j + 1] * fx
    lower = picture[i + 1, j] * (1 - fx) + picture[i + 1, j + 1] * fx
    assert np.allclose(found[sure], (upper * (1 - fy) + lower * fy)[:, :3], atol=1e-3)


def test_like_colors_move_alike_and_others_stay() -> None:
    predicted = np.full((40, 40, 3), (200, 60, 60), np.uint8)
    predicted[20:] = (40, 60, 200)
    painted = predicted.astype(np.float32) / 255
    painted[:20] += (-0.2, 0.1, 0.0)
    shares = np.zeros((40, 40), np.float32)
    shares[:10] = 1
    table = tone.moves(predicted, painted, shares)
    cell = (np.array([200, 60, 60]) / 255 * tone.CELLS).astype(int)
    assert table[tuple(cell)] == pytest.approx([-0.2, 0.1, 0.0], abs=0.02)
    cell = (np.array([40, 60, 200]) / 255 * tone.CELLS).astype(int)
    assert np.abs(table[tuple(cell)]).max() < 0.01


def test_comparing_agrees_with_a_plain_reference() -> None:
    case = known("chair")
    picture = Picture.of(case.case.image())
    assert picture is not None
    pixels = picture.reduced(48)
    camera = Camera(20.0, 25.0, pose.USUAL_FOV, 0.02, -0.05, 0.75)
    (cost, overlap, mismatch) = pose._Comparison(case.shape, pixels, lambda: None).these(camera.values()[None])[0]
    seen = case.shape.seen(camera, 48)
    alpha = pixels[..., 3]
    alone = np.where(seen.shown, 1 - alpha, alpha).sum()
    either = np.where(seen.shown, 1, alpha).sum()
    assert overlap == pytest.approx(1 - alone / either)
    both = seen.shown & (alpha >= 0.5)
    basis = np.concatenate([np.ones((both.sum(), 1)), seen.normals[both]], 1)
    rows = (basis[:, None] * seen.colors[both][:, :, None]).reshape(-1, 4).astype(np.float64)
    gram = rows.T @ rows
    ridge = pose.LIGHT_RIDGE * gram[0, 0] + 1e-6
    right = rows.T @ pixels[both][:, :3].reshape(-1) + ridge * np.eye(4)[0]
    shade = np.clip(basis @ np.linalg.solve(gram + ridge * np.eye(4), right), *pose.SHADES)
    error = np.square(seen.colors[both] * shade[:, None] - pixels[both][:, :3]).sum(1)
    expected = error / (error + pose.COLOR_LIMIT)
    assert mismatch == pytest.approx(expected.mean(), rel=1e-4)
    unusual = pose.USUAL * ((25.0 - pose.USUAL_ELEVATION) / pose.ELEVATION_SPREAD) ** 2
    assert cost == pytest.approx((alone + pose.COLOR_WEIGHT * expected.sum()) / either + unusual, rel=1e-4)
