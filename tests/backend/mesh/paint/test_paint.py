"""A picture painted onto the true shape: how right its colours are, where it was taken from, and what is left alone."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from backend.evaluation import painted as judging
from backend.mesh.paint.camera import Camera
from backend.mesh.paint.paint import Painted, Pictures, View, note_on_views, paint
from backend.mesh.paint.pose import Pose
from tests.backend.mesh.paint.paint_cases import Known, known

FAMILIES = ("chair", "car", "robot")  # with a front, so that each has one right pose


def painted(case: Known, **options: float) -> Painted:
    return paint(case.shape, case.blurred, case.cover, Pictures([case.case.image()], **options))  # type: ignore[arg-type]


def test_on_the_true_shape_the_colors_are_the_true_ones() -> None:
    gains, everywhere = [], []
    for family in FAMILIES:
        case = known(family)
        made = painted(case)
        visible, covered = made.shares > 0.5, case.cover.face >= 0
        assert made.views[0].trusted
        assert visible.sum() > 0.1 * covered.sum()
        after, before = case.psnr(made.texture, visible), case.psnr(case.blurred, visible)
        gains.append(after - before)
        assert after >= 28
        assert after > before - 1.5  # a layout of the UVs, or another, is worth a decibel on one object
        everywhere.append(case.psnr(made.texture, covered) - case.psnr(case.blurred, covered))
    assert np.mean(gains) > 3.5
    assert np.mean(everywhere) > 0.5
    assert min(everywhere) > -0.5


@pytest.mark.parametrize("family", FAMILIES)
def test_the_camera_is_the_true_one(family: str) -> None:
    case = known(family)
    found = painted(case).views[0].camera
    assert found is not None
    assert judging.angle(found, case.camera) < 2
    # The same points of the object are at the same places in the image.
    off = (found.project(case.shape.vertices) - case.camera.project(case.shape.vertices))[:, :2]
    assert np.abs(off).max() < 0.02


@pytest.mark.parametrize("family", FAMILIES)
def test_no_seam_is_seen_where_the_painted_part_ends(family: str) -> None:
    """Steps between neighbours in one face, across the border of the painted part, are no larger than elsewhere."""
    case = known(family)
    made = painted(case)
    face, shown = case.cover.face, made.shares > 0
    same = (face[:, 1:] == face[:, :-1]) & (face[:, 1:] >= 0)
    border = same & (shown[:, 1:] != shown[:, :-1])
    assert border.sum() > 50
    steps = np.abs(np.diff(made.texture.astype(np.int64), axis=1)).mean(axis=2)
    assert steps[border].mean() < steps[same & shown[:, 1:] & shown[:, :-1]].mean() + 1.5  # of 255
    assert np.quantile(steps[border], 0.95) < 8


def test_a_picture_of_something_else_is_not_painted() -> None:
    case, other = known("chair"), known("robot").case.image()
    made = paint(case.shape, case.blurred, case.cover, Pictures([other]))
    assert not made.views[0].trusted
    assert made.views[0].pose is not None
    assert np.array_equal(made.texture, case.blurred)
    assert "does not look like it" in note_on_views(made.views)
    assert "shape strength" not in note_on_views(made.views)
    assert note_on_views(made.views, guided=True).endswith("A lower shape strength may help.")


@pytest.mark.parametrize("side", [0, 1, 8])
def test_what_is_too_small_is_not_painted(side: int) -> None:
    case = known("chair")
    image = np.zeros((64, 48, 4), np.uint8)
    image[20 : 20 + side, 30 : 30 + side] = 255
    made = paint(case.shape, case.blurred, case.cover, Pictures([Image.fromarray(image)]))
    assert made.views == (View(),)
    assert np.array_equal(made.texture, case.blurred)
    assert note_on_views(made.views) == "The image is too small to paint the texture from."


def test_a_picture_that_fills_its_image_does_no_harm() -> None:
    case = known("chair")
    opaque = Image.fromarray(np.full((50, 80, 4), 255, np.uint8))
    assert not paint(case.shape, case.blurred, case.cover, Pictures([opaque])).views[0].trusted


def test_the_same_picture_gives_the_same_bytes() -> None:
    case = known("chair")
    one, other = painted(case), painted(case)
    assert one.texture.tobytes() == other.texture.tobytes()
    assert one.views[0].camera == other.views[0].camera


def test_strength_is_the_share_of_the_picture() -> None:
    case = known("chair")
    assert np.array_equal(painted(case, strength=0.0).texture, case.blurred)
    none, half, whole = (painted(case, strength=s).texture.astype(float) for s in (0.0, 0.5, 1.0))
    assert 0.4 < np.abs(half - none).mean() / np.abs(whole - none).mean() < 0.75


def test_kept_shading_has_the_colors_of_the_picture() -> None:
    case = known("chair")
    lit, plain = painted(case, keep_shading=True), painted(case)
    assert lit.views[0].light is None
    visible = lit.shares > 0.5
    assert case.psnr(lit.texture, visible) < case.psnr(plain.texture, visible) - 3


def test_two_pictures_show_more_than_one() -> None:
    case = known("chair")
    image = case.case.image()
    nothing = Image.new("RGBA", (64, 64))
    both = paint(case.shape, case.blurred, case.cover, Pictures([nothing, image]))
    alone = painted(case)
    assert [view.trusted for view in both.views] == [False, True]
    assert np.array_equal(both.texture, alone.texture)
    assert note_on_views(both.views) == "1 of 2 images is too small to paint the texture from."
    twice = paint(case.shape, case.blurred, case.cover, Pictures([image, image]))
    assert np.abs(twice.texture.astype(int) - alone.texture).max() <= 1


def test_it_can_be_cancelled_at_every_point() -> None:
    case = known("chair")

    class Cancelled(Exception):
        pass

    def cancelled_after(limit: int) -> int:
        calls = 0

        def check() -> None:
            nonlocal calls
            calls += 1
            if calls > limit:
                raise Cancelled

        paint(case.shape, case.blurred, case.cover, Pictures([case.case.image()]), check)
        return calls

    total = cancelled_after(10**9)
    assert total > 200  # of about a second of work
    for limit in (0, 1, total // 3, total - 2):
        with pytest.raises(Cancelled):
            cancelled_after(limit)


def test_notes_are_about_all_images() -> None:
    assert note_on_views([]) == ""
    good = View(None, Pose(Camera(0.0, 0.0, 40.0), 0.1, 0.9, 0.1), trusted=True)
    assert note_on_views([good]) == ""
    assert note_on_views([View(), View(), good]).startswith("2 of 3 images are too small")
